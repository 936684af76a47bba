"""Relay: what the next hop gets, and what its replies lead to."""

import os
import re
import socket
import time

import lib
from lib import (DROP, NO_REPLY, Server, Sink, check, equal, free_port, marked, split_local, split_received, starts,
                 wait_until)
from reports import bounces, recipients, status_fields


def exact(message, body):
    equal(split_received(message.data)[1], body, "content at the sink")


def test_lmtp_outcomes():
    """LMTP: every recipient has its own outcome; the temporary one alone is tried again."""
    tries = []

    def hook(session, verb, line):
        if verb == "RESULT":
            tries.append(line)
            if line.startswith("later") and tries.count(line) < 3:
                return "452 4.2.2 Mailbox full"
            if line.startswith("never"):
                return "550 5.2.1 Mailbox disabled"
        if verb == "RCPT" and "refused" in line:
            return "550 5.1.1 No such user"
        return None
    with Sink(lmtp=True, hook=hook) as sink, Server(relay=sink.port,
                                                    relay_fields={"protocol": "lmtp"}) as s:
        body = marked()
        s.submit([f"{n}@example.org" for n in ("good", "later", "never", "refused")], body,
                 sender="alice@example.org")
        wait_until(lambda: len(sink.messages) == 2, 10, "two messages")
        equal([m.rcpts for m in sink.messages], [["good@example.org"], ["later@example.org"]],
              "recipients by transaction")
        for message in sink.messages:
            exact(message, body)
        check("LHLO mx.example.org" in [c for _, c in sink.commands], "no LHLO")
        failed = set()
        wait_until(lambda: len(s.mailbox()) >= 1, 10, "a DSN")
        time.sleep(0.3)
        for dsn in bounces(s, len(s.mailbox())):
            failed |= set(recipients(dsn))
        equal(failed, {"never@example.org", "refused@example.org"}, "failed ones")
        equal(tries.count("good@example.org"), 1, "deliveries to good")


def without(*names):
    return [e for e in Sink.ALL if not e.startswith(names)]


def failing_then_fine(at, reply, times=1):
    count = [0]

    def hook(session, verb, line):
        if verb == at and count[0] < times:
            count[0] += 1
            return reply
        return None
    return hook


def test_temporary_failures():
    """4xx at any point, and lost connections, are tried again until the message is through."""
    for at in ("BANNER", "EHLO", "MAIL", "RCPT", "DATA", "EOD"):
        for reply in ("421 4.3.2 Not now" if at in ("BANNER", "EHLO") else "451 4.3.0 Not now", DROP):
            with Sink(without("CHUNKING"), hook=failing_then_fine(at, reply, 2)) as sink:
                with Server(relay=sink.port, retry_ms=100) as s:
                    body = marked(f"{at}")
                    s.submit("bob@example.org", body, sender="alice@example.org")
                    exact(sink.got()[0], body)
                    s.stop()
                    equal(s.queue().strip(), "0 messages", f"queue after {at} {reply}")
                    equal(s.mailbox(), [], "DSNs")


def test_lost_connections_say_where():
    """What is logged and reported of a connection that ended says what was waited for."""
    places = {"BANNER": "while waiting for the greeting", "EHLO": "while waiting for the reply to EHLO",
              "MAIL": "while waiting for the reply to MAIL", "RCPT": "while waiting for the reply to RCPT",
              "DATA": "while waiting for the reply to DATA", "EOD": "while waiting for the reply after the message"}
    for at, where in places.items():
        with Sink(without("CHUNKING", "PIPELINING"), hook=lambda session, verb, line, at=at: DROP if verb == at else None) as sink:
            with Server(relay=sink.port, retry_ms=60000) as s:
                s.submit("bob@example.org", marked())
                wait_until(lambda s=s: " deferred " in s.log(), 10, f"{at}: put off")
                [line] = [line for line in s.log().splitlines() if " deferred " in line]
                check(re.search(f'reply="[^"]*(closed|reset) by the peer {where}"', line), f"{at}: {line}")


def test_bdat_temporary_failure():
    """A next hop that refuses BDAT for now is tried again."""
    with Sink(hook=failing_then_fine("EOD", "452 4.3.1 Full", 2)) as sink, Server(relay=sink.port) as s:
        body = marked()
        s.submit("bob@example.org", body)
        exact(sink.got()[0], body)
        equal(sink.messages[0].by, "BDAT", "transfer")


def test_permanent_failures():
    """5xx at RCPT, MAIL, DATA or the end of data: a DSN to the sender's mailbox."""
    for at in ("MAIL", "RCPT", "DATA", "EOD"):
        def hook(session, verb, line):
            return "554 5.7.1 Not wanted: policy" if verb == at else None
        with Sink(without("CHUNKING"), hook=hook) as sink, Server(relay=sink.port) as s:
            with s.wire() as w:
                w.expect("MAIL FROM:<alice@example.org> RET=HDRS ENVID=QQ+3D314", "250")
                w.expect("RCPT TO:<bob@example.org> ORCPT=rfc822;Bob@Example.org", "250")
                w.expect("DATA", "354")
                w.send(b"Subject: original\r\n\r\nbody text\r\n.\r\n")
                w.then("250 2.0.0")
            [dsn] = bounces(s)
            message, [rcpt] = status_fields(dsn)
            equal(message["Reporting-MTA"].replace(" ", ""), "dns;mx.example.org", "Reporting-MTA")
            equal(message["Original-Envelope-Id"], "QQ=314", "Original-Envelope-Id")
            equal(rcpt["Final-Recipient"].replace(" ", ""), "rfc822;bob@example.org",
                  "Final-Recipient")
            equal(rcpt["Original-Recipient"].replace(" ", ""), "rfc822;Bob@Example.org",
                  "Original-Recipient")
            equal(rcpt["Action"], "failed", "Action")
            equal(rcpt["Status"], "5.7.1", "Status")
            starts(rcpt["Diagnostic-Code"], "smtp;554", "Diagnostic-Code")
            check("Not wanted: policy" in rcpt["Diagnostic-Code"], rcpt["Diagnostic-Code"])
            equal(dsn["To"], "alice@example.org", "To")
            check(dsn["Message-ID"] and dsn["Date"] and dsn["From"], "header fields")
            quoted = list(dsn.iter_parts())[2]
            equal(quoted.get_content_type(), "text/rfc822-headers", "third part")
            check("Subject: original" in quoted.as_string(), quoted.as_string())
            check("body text" not in quoted.as_string(), "the body is quoted")
            s.stop()
            equal(s.queue().strip(), "0 messages", f"queue after 5xx to {at}")


def test_success_notice():
    """NOTIFY=SUCCESS: delivered by a mailbox or an LMTP server, relayed by a next hop without DSN."""
    plain = [e for e in Sink.ALL if e != "DSN"]
    for lmtp, action in ((True, b"delivered"), (False, b"relayed")):
        fields = {"protocol": "lmtp" if lmtp else "smtp"}
        with Sink(extensions=plain, lmtp=lmtp) as sink, Server(relay=sink.port, relay_fields=fields) as s:
            with s.wire() as w:
                w.expect("MAIL FROM:<alice@example.org>", "250 2.1.0")
                w.expect("RCPT TO:<bob@example.org> NOTIFY=SUCCESS", "250 2.1.5")
                w.expect("DATA", "354")
                w.send(b"x\r\n.\r\n")
                w.then("250 2.0.0")
            [notice] = s.delivered()
            check(b"\r\nAction: " + action + b"\r\n" in notice, lib.short(notice))


def test_dsn_full():
    """RET=FULL quotes the whole message."""
    def hook(session, verb, line):
        return "550 5.1.1 Nobody" if verb == "RCPT" else None
    with Sink(hook=hook) as sink, Server(relay=sink.port) as s:
        s.submit("bob@example.org", b"Subject: original\r\n\r\nbody text\r\n", "alice@example.org",
                 " RET=FULL")
        [dsn] = bounces(s)
        quoted = list(dsn.iter_parts())[2]
        equal(quoted.get_content_type(), "message/rfc822", "third part")
        check("body text" in quoted.as_string(), quoted.as_string())


def test_no_dsn():
    """No DSN for the null sender, nor with NOTIFY=NEVER."""
    def hook(session, verb, line):
        return "550 5.1.1 Nobody" if verb == "RCPT" else None
    with Sink(hook=hook) as sink, Server(relay=sink.port) as s:
        s.submit("bob@example.org", sender="")
        with s.wire() as w:
            w.expect("MAIL FROM:<alice@example.org>", "250")
            w.expect("RCPT TO:<bob@example.org> NOTIFY=NEVER", "250")
            w.expect("DATA", "354")
            w.send(b"x\r\n.\r\n")
            w.then("250 2.0.0")
        wait_until(lambda: s.log().count("code=550") == 2, 10, "both failures")
        time.sleep(0.5)
        equal(s.mailbox(), [], "DSNs")
        s.stop()
        equal(s.queue().strip(), "0 messages", "queue")


def test_dsn_parameters_passed():
    """DSN parameters go on to a next hop that offers DSN, and not to one that does not."""
    for extensions in (Sink.ALL, without("DSN")):
        with Sink(extensions) as sink, Server(relay=sink.port) as s:
            with s.wire() as w:
                w.expect("MAIL FROM:<alice@example.org> RET=HDRS ENVID=abc", "250")
                w.expect("RCPT TO:<bob@example.org> NOTIFY=FAILURE,DELAY ORCPT=rfc822;b@x.example", "250")
                w.expect("DATA", "354")
                w.send(b"x\r\n.\r\n")
                w.then("250 2.0.0")
            [message] = sink.got()
            offered = "DSN" in extensions
            for word in ("RET=HDRS", "ENVID=abc"):
                equal(word in message.mail, offered, f"{word} in {message.mail}")
            for word in ("NOTIFY=", "ORCPT=rfc822;b@x.example"):
                equal(word in message.rcpt_lines[0], offered, f"{word} in {message.rcpt_lines[0]}")


def test_partial_rcpt_then_data_fails():
    """Some RCPTs fail for good, then DATA fails for now: each recipient has its own outcome."""
    data_failures = [0]

    def hook(session, verb, line):
        if verb == "RCPT" and "gone" in line:
            return "550 5.1.1 Gone"
        if verb == "RCPT" and "busy" in line and data_failures[0] < 1:
            return "450 4.2.1 Busy"
        if verb == "EOD" and data_failures[0] < 1:
            data_failures[0] += 1
            return "451 4.3.0 Later"
        return None
    with Sink(hook=hook) as sink, Server(relay=sink.port) as s:
        s.submit([f"{n}@example.org" for n in ("fine", "gone", "busy", "too")], marked(),
                 sender="alice@example.org")
        [dsn] = bounces(s)
        equal(recipients(dsn), ["gone@example.org"], "failed recipients")
        wait_until(lambda: sorted(r for m in sink.messages for r in m.rcpts) ==
                   ["busy@example.org", "fine@example.org", "too@example.org"], 10, "the other three")


def test_all_rcpts_refused_with_pipelining():
    """The next hop refuses every RCPT but says 354 to DATA: nothing is taken for delivered."""
    def hook(session, verb, line):
        if verb == "RCPT":
            return "450 4.2.1 Not now" if len(tried) < 2 else None
        if verb == "DATA" and not session.message.rcpts:
            tried.append(1)
            session.sock.sendall(b"354 Go\r\n")
            session.dotted()
            return "554 5.5.1 No valid recipients"
        return None
    tried = []
    with Sink(without("CHUNKING"), hook=hook) as sink, Server(relay=sink.port) as s:
        body = marked()
        s.submit("bob@example.org", body, sender="alice@example.org")
        exact(sink.got()[0], body)
        equal(s.mailbox(), [], "DSNs")


def test_hundred_recipients():
    """100 recipients of one message and next hop go in one transaction, each once."""
    with Sink() as sink, Server(relay=sink.port) as s:
        wanted = [f"user{i}@example.org" for i in range(100)]
        body = marked()
        s.submit(wanted, body)
        [message] = sink.got()
        equal(message.rcpts, wanted, "recipients")
        exact(message, body)


def test_large_message():
    """20 MB, local and relayed, by DATA and by BDAT, are the same bytes."""
    line = bytes(b for b in range(32, 127)) * 10 + b"\r\n"
    body = b"Subject: large\r\n\r\n" + line * (20_000_000 // len(line)) + b".\r\nend\r\n"
    for extensions in (Sink.ALL, without("CHUNKING")):
        with Sink(extensions) as sink, Server(relay=sink.port) as s:
            s.submit(["alice@example.org", "bob@example.org"], body)
            check(split_local(s.delivered(seconds=40)[0])[3] == body, "the local copy differs")
            [message] = sink.got(seconds=40)
            check(split_received(message.data)[1] == body, "the relayed copy differs")
    with Sink() as sink, Server(relay=sink.port) as s:
        with s.wire() as w:
            w.begin(["alice@example.org", "bob@example.org"])
            for at in range(0, len(body), 1_000_000):
                chunk = body[at:at + 1_000_000]
                w.send(b"BDAT %d\r\n" % len(chunk) + chunk)
                w.then("250 2.0.0")
            w.expect("BDAT 0 LAST", "250 2.0.0")
        check(split_local(s.delivered(seconds=40)[0])[3] == body, "the local copy differs (BDAT)")
        check(split_received(sink.got(seconds=40)[0].data)[1] == body, "the relayed copy differs (BDAT)")


def test_refused_while_content_leaves():
    """A next hop that says 552 before it has all of a large message, and reads on or hangs up: that is its answer, for each
    recipient, and is not tried again."""
    body = b"Subject: large\r\n\r\n" + (b"x" * 70 + b"\r\n") * 100_000

    def hook(session, verb, _line):
        if verb == "DATA":
            session.sock.sendall(b"354 go on\r\n")
            session.sock.recv(1000)
            session.sock.sendall(b"552-5.3.4 this is more\r\n552 5.3.4 than we take\r\n")
            session.sock.shutdown(socket.SHUT_WR)
            while session.sock.recv(1 << 16):
                pass
            return DROP
        return None
    with Sink(without("CHUNKING"), hook=hook) as sink, Server(relay=sink.port, cores=1) as s:
        s.submit(["bob@example.org", "ann@example.org"], body, sender="alice@example.org")
        [report] = bounces(s)
        check("552 5.3.4 this is more than we take" in report.as_string().replace("\n ", " "), report.as_string()[:3000])
        equal(sink.verbs().count("DATA"), 1, "attempts")


def test_reply_while_content_leaves():
    """A next hop that replies before it has all of a large message, and reads on: a refusal counts at once when all is out, an
    acceptance is not believed; the next attempt has a connection of its own."""
    body = b"Subject: large\r\n\r\n" + b"y" * 70 + b"\r\n" + (b"x" * 70 + b"\r\n") * 60000
    for reply, outcome in (("552 5.3.4 too much", "failed"), ("451 4.3.0 busy", "deferred"), ("250 2.0.0 taken", "deferred")):
        early = []

        def hook(session, verb, _line):
            if verb != "DATA" or early:
                return None
            early.append(session.number)
            session.sock.sendall(f"354 go on\r\n{reply}\r\n".encode())
            session.dotted()
            session.message = None
            return NO_REPLY
        with Sink(without("CHUNKING"), hook=hook) as sink, Server(relay=sink.port, cores=1) as s:
            s.submit("bob@example.org", body, sender="alice@example.org")
            wait_until(lambda: f" {outcome} " in s.log(), 15, f"'{outcome}' after {reply}")
            said = "before it had all of it" if reply[0] == "2" else reply[4:]
            check(said in s.log(), "the reason")
            if outcome == "failed":
                [report] = bounces(s)
                check(reply in report.as_string(), report.as_string()[:3000])
            else:
                exact(sink.got()[0], body)
                check(sink.messages[0].connection != early[0], "over the same connection")
            equal(len(sink.messages), int(outcome == "deferred"), "messages at the sink")
            s.stop()
            equal(s.queue().strip(), "0 messages", "queue")


def test_acceptance_before_small_content():
    """A next hop that says 250 in one piece with its 354 has nothing of the message yet, however soon that has left then."""
    body = b"Subject: small\r\n\r\nhello\r\n"
    early = []

    def hook(session, verb, _line):
        if verb != "DATA" or early:
            return None
        early.append(session.number)
        session.sock.sendall(b"354 go on\r\n250 2.0.0 taken\r\n")
        session.dotted()
        session.message = None
        return NO_REPLY
    with Sink(without("CHUNKING"), hook=hook) as sink, Server(relay=sink.port, cores=1) as s:
        s.submit("bob@example.org", body, sender="alice@example.org")
        wait_until(lambda: " deferred " in s.log(), 15, "'deferred'")
        check("before it had all of it" in s.log(), "the reason")
        exact(sink.got()[0], body)
        check(sink.messages[0].connection != early[0], "over the same connection")
        s.stop()
        equal(s.queue().strip(), "0 messages", "queue")


def test_reply_too_many():
    """Behind a reply that nobody asked for, each would pass for the reply to the next command, that to RCPT for an acceptance of the
    content: no message follows on that connection."""
    bodies = [b"Subject: first\r\n\r\n1\r\n", b"Subject: second\r\n\r\n2\r\n"]
    for extensions in (without("CHUNKING"), Sink.ALL):
        def hook(_session, verb, _line):
            return "250 2.0.0 Taken\r\n250 2.0.0 Taken" if verb == "EOD" else None
        with Sink(extensions, hook=hook) as sink, Server(relay=sink.port, cores=1) as s:
            for i, body in enumerate(bodies):
                s.submit("bob@example.org", body, sender="alice@example.org")
                sink.got(i + 1)
                wait_until(lambda: s.log().count(" delivered ") == i + 1, 15, "'delivered'")
            for message, body in zip(sink.messages, bodies):
                exact(message, body)
            check(sink.messages[0].connection != sink.messages[1].connection, "over the same connection")
            check(" deferred " not in s.log(), "put off")


def test_misbehaving_next_hops():
    """Garbage, endless lines and silence at the end of data leave the message in the queue."""
    def garbage(session, verb, line):
        return "hello there" if verb == "MAIL" else None

    def endless(session, verb, line):
        if verb == "EHLO":
            session.sock.sendall(b"250-x\r\n" * 5000)
            return DROP
        return None

    def long_line(session, verb, line):
        if verb == "RCPT":
            session.sock.sendall(b"250 " + b"x" * 100000 + b"\r\n")
            return DROP
        return None
    for hook in (garbage, endless, long_line):
        with Sink(hook=hook) as sink, Server(relay=sink.port) as s:
            ident = s.submit("bob@example.org", marked(), sender="alice@example.org")
            wait_until(lambda: sink.connections >= 3, 15, f"three attempts with {hook.__name__}")
            equal(s.mailbox(), [], "DSNs")
            s.submit("alice@example.org", marked())
            s.delivered()
            s.stop()
            check(ident in s.queue(), s.queue())


def later(days):
    """The environment in which so many days have passed."""
    return dict(os.environ, LD_PRELOAD=os.path.join(lib.BUILD, "tests", "shift_clock.so"),
                SHIFT_CLOCK_SECONDS=str(int(days * 86400)),
                ASAN_OPTIONS="verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", ""))


def test_delay_and_expiry():
    """A next hop dead for days: a delay DSN after a day, failure after three, both with the last reply."""
    body = b"Subject: slow\r\n\r\n" + marked()
    with Server(relay=free_port(), cores=1) as s:
        ident = s.submit("bob@example.org", body, sender="alice@example.org")
        wait_until(lambda: "deferred" in s.log(), 10, "a deferral")
        equal(s.mailbox(), [], "DSNs at once")
        s.stop()
        for count, (days, action) in enumerate(((1.1, "delayed"), (3.1, "failed"))):
            s.start(env=later(days))
            wait_until(lambda: len(s.mailbox()) > count, 20, f"a DSN after {days} days")
            wait_until(lambda: ("failed " if action == "failed" else "deferred ") + f"id={ident}"
                       in s.log(), 10, "the attempt in the log")
            s.stop()
            queued = ident in s.queue()
            equal(queued, action == "delayed", f"queued after {days} days")
        dsns = bounces(s, 2)
        actions = sorted(status_fields(dsn)[1][0]["Action"] for dsn in dsns)
        equal(actions, ["delayed", "failed"], "actions of the DSNs")
        for dsn in dsns:
            equal(recipients(dsn), ["bob@example.org"], "recipients of the DSN")
            fields = status_fields(dsn)[1][0]
            delayed = fields["Action"] == "delayed"
            equal(fields["Status"], "4.4.1" if delayed else "5.4.7", "Status")
            check("connection to" in fields["Diagnostic-Code"], f"the last reply: {fields['Diagnostic-Code']}")
            equal("Given up" in next(dsn.iter_parts()).get_content(), not delayed, "the text says so")
            equal("Will-Retry-Until" in fields, delayed, "Will-Retry-Until")
