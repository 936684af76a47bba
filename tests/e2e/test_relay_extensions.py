"""Relay: what a next hop is given that does not offer an extension."""

import time

from lib import Server, Sink, check, equal, marked, wait_until
from reports import bounces, recipients, status_fields
from test_relay import exact, without

UTF8 = "Subject: grün\r\n\r\nü\r\n".encode()


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
