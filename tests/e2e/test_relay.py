"""Relay: what the next hop gets, and what happens when it misbehaves."""

import email
import email.policy
import os
import socket
import threading
import time

import lib
from lib import (DROP, NO_REPLY, Server, Sink, check, equal, free_port, marked, sink_tls, split_local,
                 split_received, starts, wait_until)

UTF8 = "Subject: grün\r\n\r\nü\r\n".encode()


def exact(message, body):
    equal(split_received(message.data)[1], body, "content at the sink")


def bounces(server, count=1):
    """The parsed DSNs in alice's mailbox."""
    parsed = []
    for raw in server.delivered(count):
        return_path, _, _, rest = split_local(raw) if b"\r\nReceived:" in raw[:300] else (
            raw.split(b"\r\n")[0], None, None, raw.split(b"\r\n", 2)[2])
        equal(return_path, b"Return-Path: <>", "Return-Path of a DSN")
        parsed.append(email.message_from_bytes(rest, policy=email.policy.SMTPUTF8))
    return parsed


def status_fields(dsn):
    """(fields of the message, [fields of each recipient]) of a DSN."""
    equal(dsn.get_content_type(), "multipart/report", "type of the DSN")
    equal(dsn.get_param("report-type"), "delivery-status", "report-type")
    parts = list(dsn.iter_parts())
    check(len(parts) >= 2, f"{len(parts)} parts")
    if parts[1].get_content_type() == "message/global-delivery-status":
        # Python takes it for a message: the first group is its header, the others its body.
        first = parts[1].get_payload(0)
        text = first.get_payload(decode=True).decode().replace("\r\n", "\n")
        groups = [first] + [email.message_from_string(g + "\n\n", policy=email.policy.SMTPUTF8)
                            for g in text.strip().split("\n\n")]
    else:
        equal(parts[1].get_content_type(), "message/delivery-status", "second part")
        groups = parts[1].get_payload()
    return groups[0], groups[1:]


def recipients(dsn):
    """Addresses of the recipients that a DSN is about."""
    return sorted(g["Final-Recipient"].split(";")[1].strip() for g in status_fields(dsn)[1])


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


def without(name):
    return [e for e in Sink.ALL if not e.startswith(name)]


def test_sink_without_pipelining():
    """Without PIPELINING no command is sent before the reply to the one before."""
    early = []

    def hook(session, verb, line):
        if verb not in ("EOD", "BANNER"):
            time.sleep(0.02)
            session.sock.setblocking(False)
            try:
                more = session.sock.recv(100)
                session.buffer += more
                early.append((verb, more))
            except BlockingIOError:
                pass
            session.sock.setblocking(True)
            if session.buffer:
                early.append((verb, bytes(session.buffer)))
    with Sink(without("PIPELINING"), hook=hook) as sink, Server(relay=sink.port) as s:
        body = marked()
        s.submit(["bob@example.org", "bill@example.org"], body)
        [message] = sink.got()
        exact(message, body)
        equal(early, [], "sent early")


def test_sink_without_chunking():
    """Without CHUNKING content goes by DATA with dots doubled, with a final CRLF of its own."""
    with Sink(without("CHUNKING")) as sink, Server(relay=sink.port) as s:
        with s.wire() as w:
            w.begin("bob@example.org")
            part = b"Subject: x\r\n\r\n.\r\n..\r\nno line end"
            w.send(b"BDAT %d LAST\r\n" % len(part) + part)
            w.then("250 2.0.0")
        [message] = sink.got()
        equal(message.by, "DATA", "transfer")
        exact(message, part + b"\r\n")


def test_sink_with_chunking():
    """With CHUNKING content goes by BDAT, byte for byte, also without a final CRLF."""
    with Sink() as sink, Server(relay=sink.port) as s:
        part = b"Subject: x\r\n\r\n.\r\n..\r\nno line end"
        with s.wire() as w:
            w.begin("bob@example.org")
            w.send(b"BDAT %d LAST\r\n" % len(part) + part)
            w.then("250 2.0.0")
        [message] = sink.got()
        equal(message.by, "BDAT", "transfer")
        exact(message, part)


def test_sink_without_8bitmime():
    """A next hop without 8BITMIME gets 8-bit content unchanged and no BODY parameter."""
    with Sink(without("8BITMIME")) as sink, Server(relay=sink.port) as s:
        s.submit("bob@example.org", UTF8, mail_args=" BODY=8BITMIME")
        [message] = sink.got()
        exact(message, UTF8)
        check("BODY" not in message.mail, message.mail)


def test_sink_with_8bitmime():
    """BODY=8BITMIME is passed on when it is offered."""
    with Sink() as sink, Server(relay=sink.port) as s:
        s.submit("bob@example.org", UTF8, mail_args=" BODY=8BITMIME")
        check("BODY=8BITMIME" in sink.got()[0].mail, sink.messages[0].mail)


def test_sink_without_smtputf8():
    """A next hop without SMTPUTF8: envelopes that need it fail with 5.6.7, others pass."""
    with Sink(without("SMTPUTF8")) as sink, Server(relay=sink.port) as s:
        # ASCII addresses and header: not needed, whatever the client said.
        s.submit("ascii@example.org", b"Subject: x\r\n\r\nx\r\n", mail_args=" SMTPUTF8")
        s.submit(["bob@example.org", "grün@example.org"], marked(), sender="alice@example.org",
                 mail_args=" SMTPUTF8")
        [dsn] = bounces(s)
        failed = status_fields(dsn)[1]
        equal([g["Status"] for g in failed], ["5.6.7"], "Status")
        equal(recipients(dsn), ["grün@example.org"], "failed recipients")
        sink.got(2)
        equal({r for m in sink.messages for r in m.rcpts}, {"ascii@example.org", "bob@example.org"},
              "recipients at the sink")
        check(not any("SMTPUTF8" in m.mail for m in sink.messages), "SMTPUTF8 sent")


def test_orcpt_utf8():
    """An ORCPT in UTF-8 goes on as it is to a next hop with SMTPUTF8, coded to any other (RFC 6533 section 3)."""
    for smtputf8 in (True, False):
        extensions = [e for e in Sink.ALL if smtputf8 or e != "SMTPUTF8"]
        with Sink(extensions=extensions) as sink, Server(relay=sink.port) as s:
            coded = "utf-8;bøb\\x{E9}@old.example" if smtputf8 else "utf-8;b\\x{F8}b\\x{E9}@old.example"
            for orcpt, passed in (("utf-8;bøb\\x{E9}@old.example", coded), ("rfc822;bob@old.example",) * 2,
                                  (f"utf-8;{'ø' * 200}", f"utf-8;{'ø' * 200}" if smtputf8 else None)):
                with s.wire() as w:
                    w.expect("MAIL FROM:<sender@example.net> SMTPUTF8", "250 2.1.0")
                    w.expect(f"RCPT TO:<bob@example.org> ORCPT={orcpt}", "250 2.1.5")
                    w.expect("DATA", "354")
                    w.send(b"x\r\n.\r\n")
                    w.then("250 2.0.0")
                wait_until(lambda: sink.messages, 15, "the message")
                [line] = sink.messages.pop().rcpt_lines
                equal(line, "<bob@example.org>" + (f" ORCPT={passed}" if passed else ""), "RCPT TO")


def test_sink_with_smtputf8():
    """SMTPUTF8 and the non-ASCII address are passed on as they came."""
    with Sink() as sink, Server(relay=sink.port) as s:
        s.submit("grün@example.org", UTF8, mail_args=" SMTPUTF8")
        [message] = sink.got()
        equal(message.rcpts, ["grün@example.org"], "recipient")
        check("SMTPUTF8" in message.mail, message.mail)


def test_sink_size():
    """SIZE is sent when offered; a message over the next hop's limit is not sent at all."""
    small = [e if not e.startswith("SIZE") else "SIZE 1000" for e in Sink.ALL]
    with Sink(small) as sink, Server(relay=sink.port) as s:
        s.submit("bob@example.org", marked())
        check("SIZE=" in sink.got()[0].mail, sink.messages[0].mail)
        s.submit("bob@example.org", b"x" * 1500 + b"\r\n", sender="alice@example.org")
        [dsn] = bounces(s)
        equal(status_fields(dsn)[1][0]["Status"], "5.3.4", "Status")
        equal(len(sink.messages), 1, "messages at the sink")
    with Sink(without("SIZE")) as sink, Server(relay=sink.port) as s:
        s.submit("bob@example.org", marked())
        check("SIZE=" not in sink.got()[0].mail, sink.messages[0].mail)


def test_sink_helo_only():
    """A next hop that refuses EHLO gets HELO and plain SMTP."""
    def hook(session, verb, line):
        return "502 Not implemented" if verb == "EHLO" else None
    with Sink((), hook=hook) as sink, Server(relay=sink.port) as s:
        s.submit("bob@example.org", UTF8)
        [message] = sink.got()
        exact(message, UTF8)
        check("HELO mx.example.org" in [c for _, c in sink.commands], "no HELO")
        equal(message.mail.strip(), "<sender@example.net>", "MAIL")


def test_relay_starttls():
    """STARTTLS is used when the next hop offers it, then EHLO again."""
    with Sink((*Sink.ALL, "STARTTLS"), tls=sink_tls()) as sink, Server(relay=sink.port) as s:
        body = marked()
        s.submit("bob@example.org", body)
        [message] = sink.got()
        exact(message, body)
        check(message.tls, "not under TLS")
        equal(sink.verbs()[:3], ["EHLO", "STARTTLS", "EHLO"], "commands")


def test_relay_starttls_fails():
    """When the handshake fails the same attempt goes on without TLS (opportunistic)."""
    def hook(session, verb, line):
        if verb == "STARTTLS":
            session.sock.sendall(b"220 Go on\r\nthis is not a handshake")
            time.sleep(0.2)
            return DROP
        return None
    with Sink((*Sink.ALL, "STARTTLS"), hook=hook) as sink, Server(relay=sink.port) as s:
        s.submit("bob@example.org", marked())
        check(not sink.got()[0].tls, "under TLS")
        wait_until(lambda: "goes on without TLS" in s.log(), 10, "the line that says so")


def test_relay_starttls_fails_where_it_is_required():
    """When the handshake fails and the host takes nothing in clear (530), the mail is put off, not bounced."""
    def hook(session, verb, line):
        if verb == "STARTTLS":
            session.sock.sendall(b"220 Go on\r\nthis is not a handshake")
            time.sleep(0.2)
            return DROP
        return "530 5.7.0 Must issue a STARTTLS command first" if verb == "MAIL" else None
    with Sink((*Sink.ALL, "STARTTLS"), hook=hook) as sink, Server(relay=sink.port, retry_ms=60000) as s:
        s.submit("bob@example.org", marked())
        wait_until(lambda: "code=530" in s.log(), 10, "an outcome")
        check(" deferred " in s.log() and " failed " not in s.log(), "bounced")


def test_relay_handshake_dropped():
    """A next hop that closes in the handshake, without a word: the same attempt goes on without TLS."""
    def hook(session, verb, _line):
        if verb == "STARTTLS":
            session.sock.sendall(b"220 Go on\r\n")
            return DROP
        return None
    with Sink((*Sink.ALL, "STARTTLS"), hook=hook) as sink, Server(relay=sink.port) as s:
        s.submit("bob@example.org", marked())
        check(not sink.got()[0].tls, "under TLS")


def test_stop_during_a_silent_handshake():
    """SIGTERM while a next hop says nothing in the handshake: nothing of the message is on its way, so the end does
    not wait for it, and the message stays in the queue."""
    begun, over = threading.Event(), threading.Event()

    def hook(session, verb, _line):
        if verb == "STARTTLS":
            session.sock.sendall(b"220 Go on\r\n")
            begun.set()
            over.wait(60)
            return DROP
        return None
    with Sink((*Sink.ALL, "STARTTLS"), hook=hook) as sink, Server(relay=sink.port) as s:
        s.submit("bob@example.org", marked())
        check(begun.wait(10), "no handshake began")
        s.stop(10)
        over.set()
        check("1 message" in s.queue(), s.queue())


def test_relay_implicit_tls():
    """implicitTls: the handshake comes first; an invalid certificate counts unless allowed."""
    with Sink(tls=sink_tls()) as sink:
        with Server(relay=sink.port, relay_fields={"implicitTls": True}) as s:
            s.submit("bob@example.org", marked())
            check(sink.got()[0].tls, "not under TLS")
        with Server(relay=sink.port, relay_fields={"implicitTls": True,
                                                   "allowInvalidCerts": False}) as s:
            s.submit("bob@example.org", marked())
            time.sleep(1)
            equal(len(sink.messages), 1, "messages over an unverified connection")
            s.stop()
            check("1 message" in s.queue(), s.queue())


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


def test_dead_hop_delays_nobody():
    """With a next hop that accepts and never speaks, and one that refuses, local mail flows."""
    def hook(session, verb, line):
        time.sleep(60)
        return DROP
    with Sink(hook=hook) as silent:
        for port in (silent.port, free_port()):
            with Server(relay=port) as s:
                with s.wire() as w:
                    for i in range(20):
                        w.message(f"bob{i}@example.org", marked())
                    began = time.monotonic()
                    for _ in range(20):
                        w.message("alice@example.org", marked())
                    took = time.monotonic() - began
                s.delivered(20, seconds=3)
                check(took < 3, f"receiving took {took:.1f} s")


def test_silent_hop_with_large_mail():
    """However much mail waits for a next hop that never speaks, local mail finds memory."""
    def hook(session, verb, line):
        time.sleep(60)
        return DROP
    body = b"Subject: large\r\n\r\n" + (b"z" * 98 + b"\r\n") * 2500
    with Sink(hook=hook) as silent, Server(relay=silent.port, cores=1) as s:
        with s.wire() as w:
            for _ in range(700):  # more than all deliveries together may hold in memory
                w.message("bob@example.org", body)
            w.message("alice@example.org", marked())
        s.delivered(1, seconds=5)


def test_next_hop_limits_connections():
    """A next hop that refuses more than four connections gets its mail over those, and is not down."""
    def hook(session, verb, line):
        if verb == "BANNER" and len(session.sink.open_sockets) > 4:
            return "421 4.7.0 Too many connections"
        if verb == "EOD":
            time.sleep(0.005)
        return None
    with Sink(hook=hook) as sink, Server(relay=sink.port, cores=1, retry_ms=None) as s:
        with s.wire() as w:
            for _ in range(100):
                w.message("bob@example.org", b"x\r\n")
        sink.got(100)  # without retry_ms a deferred message would wait for minutes
        check("next-hop-down" not in s.log(), "the next hop was taken for dead")


def test_cores_share_connections():
    """When one core's connections are all that the next hop gives, the other core gets its part."""
    def hook(session, verb, line):
        if verb == "BANNER" and len(session.sink.open_sockets) > 4:
            return "421 4.7.0 Too many connections"
        if verb == "EOD":
            time.sleep(0.005)
        return None
    with Sink(hook=hook) as sink, Server(relay=sink.port, cores=2) as s:
        for _ in range(16):  # sessions fall on both cores
            with s.wire() as w:
                for _ in range(10):
                    w.message("bob@example.org", b"x\r\n")
        sink.got(160)


def test_hop_comes_back():
    """The queue drains when the next hop is back."""
    sink = Sink(start=False)
    with Server(relay=sink.port) as s:
        bodies = {marked() for _ in range(30)}
        with s.wire() as w:
            for body in bodies:
                w.message("bob@example.org", body)
        time.sleep(1)
        with sink:
            sink.start()
            sink.got(30, seconds=20)
            equal({split_received(m.data)[1] for m in sink.messages}, bodies, "contents")
            s.stop()
            equal(s.queue().strip(), "0 messages", "queue")


def test_many_messages_per_connection():
    """A burst goes over few connections, each used for many messages."""
    with Sink() as sink, Server(relay=sink.port, cores=1) as s:
        with s.wire() as w:
            for _ in range(200):
                w.message("bob@example.org", b"x\r\n")
        sink.got(200)
        check(sink.connections <= 40, f"{sink.connections} connections for 200 messages")


def test_idle_relay_connection_closed():
    """A kept connection that the next hop closes is replaced, and nothing is lost or doubled."""
    def hook(session, verb, line):
        if verb == "EOD":
            # A 250, then the end without a word.
            with session.sink.lock:
                session.sink.messages.append(line)
            session.sock.sendall(b"250 2.0.0 Taken\r\n")
            return DROP
        return None
    with Sink(hook=hook) as sink, Server(relay=sink.port, cores=1) as s:
        for _ in range(5):
            s.submit("bob@example.org", marked())
            time.sleep(0.1)
        sink.got(5)


def test_given_back_delivery_forgets_its_connection():
    """A message that was given back because its kept connection had died, and then finds nobody: what is told of
    it names neither host nor peer, which lay in the memory of that connection."""
    def hook(session, verb, _line):
        if verb == "MAIL" and len(session.sink.messages) == 1:
            session.sink.stop()
            return DROP
        return None
    with Sink(hook=hook) as sink, Server(relay=sink.port, cores=1, retry_ms=60000) as s:
        s.submit("bob@example.org", marked())
        sink.got()
        s.submit("ann@example.org", marked())

        def deferred():
            return [line for line in s.log().splitlines() if " deferred " in line]
        [line] = wait_until(deferred, 10, "a deferral")
        check("to=ann@example.org" in line, f"another recipient: {line}")
        check(" peer=" not in line and " host=" not in line and " tls=" not in line, f"a host that did not speak: {line}")
        equal(sink.verbs(1).count("MAIL"), 2, "transactions begun on the kept connection")


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
