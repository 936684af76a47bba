"""The SMTP session: commands, replies, content, limits."""

import smtplib
import socket
import ssl
import subprocess
import time

import lib
from lib import (TOLERANT, Fail, Server, Wire, check, constant, equal, free_port, listener, marked,
                 need_program, session_limits, split_local, starts, update, wait_until)
from test_management import Managed, session_on_every_core


def swaks(server, *args):
    command = [need_program("swaks"), "--server", f"127.0.0.1:{server.port}", "--from",
               "sender@example.net", "--to", "alice@example.org", *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    equal(done.returncode, 0, f"exit code of swaks ({done.stdout[-300:]})")
    return done.stdout


def test_swaks_plain():
    """swaks delivers to a local mailbox."""
    with Server() as s:
        swaks(s, "--body", "by swaks")
        [message] = s.delivered()
        _, _, received, rest = split_local(message)
        check("with ESMTP id" in received, received)
        check(b"by swaks" in rest, "the body is missing")


def test_swaks_starttls():
    """swaks over STARTTLS with the self-made certificate."""
    with Server() as s:
        out = swaks(s, "--tls", "--body", "by swaks")
        check("TLS started" in out, "no TLS")
        [message] = s.delivered()
        check("with ESMTPS " in split_local(message)[2], split_local(message)[2])


def test_smtplib_no_pipelining():
    """smtplib sends one command at a time and the message arrives."""
    with Server() as s:
        body = b"Subject: by smtplib\r\n\r\n.dot\r\n..dots\r\nend\r\n"
        with smtplib.SMTP("127.0.0.1", s.port, "client.example.net") as client:
            refused = client.sendmail("sender@example.net", ["alice@example.org"], body)
            equal(refused, {}, "refused recipients")
            equal(client.noop()[0], 250, "NOOP")
        [message] = s.delivered()
        equal(split_local(message)[3], body, "content")


def batch():
    return (b"EHLO client.example.net\r\nMAIL FROM:<sender@example.net>\r\n"
            b"RCPT TO:<alice@example.org>\r\nRCPT TO:<x@elsewhere.example>\r\nDATA\r\n"
            b"Subject: a batch\r\n\r\n..stuffed\r\n.\r\nRSET\r\nNOTHING\r\nNOOP\r\nQUIT\r\n")


def replies_until_end(wire):
    replies = []
    while True:
        replies.append(wire.reply())
        if replies[-1].startswith("221"):
            return replies


def without_id(replies):
    return [r.rsplit(" ", 1)[0] if "Queued as" in r else r for r in replies]


def test_pipelined_batch():
    """A whole session in one segment and byte by byte gives the same replies."""
    with Server(extra=[TOLERANT]) as s:
        with s.wire(hello=False) as w:
            w.send(batch())
            whole = replies_until_end(w)
            w.at_end()
        with s.wire(hello=False) as w:
            for byte in batch():
                w.send(bytes([byte]))
            single = replies_until_end(w)
            w.at_end()
        equal(without_id(single), without_id(whole), "replies byte by byte")
        equal([r[:3] for r in whole],
              ["220", "250", "250", "250", "550", "354", "250", "250", "500", "250", "221"], "codes")
        for message in s.delivered(2):
            equal(split_local(message)[3], b"Subject: a batch\r\n\r\n.stuffed\r\n", "content")


def test_bdat_chunks():
    """BDAT in several chunks, the last of them empty, arrives as one message."""
    with Server() as s:
        first, second = b"Subject: chunks\r\n\r\n.a dot\r", b"\nand \x80 8-bit\r\n"
        with s.wire() as w:
            w.begin("alice@example.org", mail_args=" BODY=8BITMIME")
            w.send(b"BDAT %d\r\n" % len(first) + first)
            w.then("250 2.0.0")
            w.send(b"BDAT %d\r\n" % len(second) + second)
            w.then("250 2.0.0")
            w.expect("BDAT 0 LAST", "250 2.0.0 Queued")
            w.begin("alice@example.org")
            # All in one segment.
            w.send(b"BDAT 5\r\nA: b\rBDAT 4 LAST\r\n\n\r\nx")
            w.then("250 2.0.0")
            w.then("250 2.0.0 Queued")
        rests = {split_local(m)[3] for m in s.delivered(2)}
        check(first + second in rests, f"chunks: {rests}")
        check(b"A: b\r\n\r\nx" in rests or b"A: b\r\n\r\nx\r\n" in rests, f"one segment: {rests}")


def test_mailbox_headers():
    """A local copy has Return-Path, Delivered-To and Received on top and the content unchanged."""
    body = b"Subject: exact\r\nX-Long: " + b"x" * 3000 + b"\r\n\r\n" + bytes(
        b for b in range(1, 256) if b not in b"\r\n") + b"\r\n.\r\n..\r\n\r\n"
    with Server() as s:
        ident = s.submit("alice@example.org", body)
        [message] = s.delivered()
        return_path, delivered_to, received, rest = split_local(message)
        equal(return_path, b"Return-Path: <sender@example.net>", "Return-Path")
        equal(delivered_to, b"Delivered-To: alice@example.org", "Delivered-To")
        starts(received, "Received: from client.example.net ([127.0.0.1]) by mx.example.org with "
               f"ESMTP id {ident} for <alice@example.org>; ", "Received")
        equal(rest, body, "content")


def test_empty_message():
    """A message without any content is taken and delivered."""
    with Server() as s:
        s.submit("alice@example.org", b"")
        equal(split_local(s.delivered()[0])[3], b"", "content")


def test_helo_session():
    """HELO: plain SMTP in Received, no parameters."""
    with Server() as s:
        with s.wire(hello=False) as w:
            w.then("220 ")
            w.expect("HELO client.example.net", "250 mx.example.org")
            w.expect("MAIL FROM:<a@example.net> SIZE=10", "555 5.5.4")
            w.message("alice@example.org", marked())
        check(" with SMTP id " in split_local(s.delivered()[0])[2], "not with SMTP")


def test_replies():
    """Every reply code and enhanced code of the command phase, and the session goes on."""
    with Server(allow_relaying=False, fields={"useTls": False}) as s:
        with s.wire(hello=False) as w:
            w.then("220 ")
            w.expect("MAIL FROM:<a@example.net>", "503 5.5.1")
            w.expect("EHLO", "501 5.5.4")
            offered = w.expect("EHLO client.example.net", "250-")
            check("STARTTLS" not in offered, "STARTTLS offered without TLS")
            w.expect("HELP", "214 2.0.0")
            w.expect("VRFY alice", "252 2.5.2")
            w.expect("VRFY", "501 5.5.4")
            w.expect("NOOP", "250 2.0.0")
            w.expect("NOOP anything", "250 2.0.0")
            w.expect("RSET", "250 2.0.0")
            w.expect("RSET now", "501 5.5.4")
            w.expect("NOTHING", "500 5.5.2")
            w.expect("EXPN list", "502 5.5.1")
            w.expect("STARTTLS", "454 4.7.0")
            w.expect("RCPT TO:<alice@example.org>", "503 5.5.1")
            w.expect("DATA", "503 5.5.1")
            w.expect("MAIL FROM:sender", "501 5.1.7")
        with s.wire() as w:
            w.expect("MAIL FROM:<a b@example.net>", "501 5.1.7")
            w.expect("MAIL FROM:<a@example.net> NONSENSE=1", "555 5.5.4")
            w.expect("MAIL FROM:<a@example.net> HOLDFOR=10", "555 5.5.4")
            w.expect("MAIL FROM:<a@example.net> MT-PRIORITY=1", "555 5.5.4")
            w.expect("MAIL FROM:<a@example.net> BODY=BINARYMIME", "555 5.5.4")
            w.expect("MAIL FROM:<a@example.net> SIZE=999999999", "552 5.3.4")
            w.expect("MAIL FROM:<a@example.net>", "250 2.1.0")
            w.expect("MAIL FROM:<a@example.net>", "503 5.5.1")
            w.expect("RCPT TO:<>", "501 5.1.3")
            w.expect("RCPT TO:<alice@example.org> NONSENSE", "555 5.5.4")
            w.expect("RCPT TO:<nobody@example.org>", "550 5.1.1")
            w.expect("RCPT TO:<alice@elsewhere.example>", "550 5.7.1")
            w.expect("DATA", "554 5.5.1")
            w.expect("RCPT TO:<alice@example.org>", "250 2.1.5")
            w.expect("DATA", "354")
            w.send(b"\r\nstill taken\r\n.\r\n")
            w.then("250 2.0.0 Queued as ")
            w.expect("QUIT", "221 2.0.0")
            w.at_end()
        s.delivered()


def test_starttls_order():
    """STARTTLS under TLS is 503, and the state before the handshake is forgotten."""
    with Server() as s:
        with s.wire() as w:
            w.expect("STARTTLS now", "501 5.5.4")
            w.expect("MAIL FROM:<a@example.net>", "250 2.1.0")
            w.expect("STARTTLS", "503 5.5.1")
            w.expect("RSET", "250")
            w.expect("STARTTLS", "220 2.0.0")
            w.start_tls()
            w.expect("MAIL FROM:<a@example.net>", "503 5.5.1")
            check("STARTTLS" not in w.expect("EHLO client.example.net", "250-"), "offered twice")
            w.expect("STARTTLS", "503 5.5.1")
            w.message("alice@example.org", marked())
        s.delivered()


def test_starttls_injection():
    """Bytes sent in clear after STARTTLS are thrown away."""
    with Server(extra=[TOLERANT]) as s:
        with s.wire() as w:
            w.send("STARTTLS\r\nEHLO injected\r\nMAIL FROM:<injected@example.net>\r\n")
            w.then("220 2.0.0")
            equal(w.buffer, b"", "bytes after 220")
            w.start_tls()
            w.expect("NOOP", "250 2.0.0")
            equal(w.buffer, b"", "replies to injected commands")
            w.expect("RCPT TO:<alice@example.org>", "503 5.5.1")
            w.expect("EHLO client.example.net", "250-")
            w.message("alice@example.org", marked())
            time.sleep(0.1)
            equal(w.buffer, b"", "late replies")
        check("client.example.net" in split_local(s.delivered()[0])[2], "wrong helo in Received")


def test_implicit_tls():
    """A listener with tlsImplicit speaks TLS from the first byte."""
    port = free_port()
    with Server(listeners={"l": listener(port, tlsImplicit=True)}) as s:
        with Wire(port) as w:
            w.start_tls()
            check("STARTTLS" not in w.hello(), "STARTTLS offered under TLS")
            w.message("alice@example.org", marked())
        check(" with ESMTPS " in split_local(s.delivered()[0])[2], "not with ESMTPS")


def test_sessions_that_tls_ends():
    """One line for each: who, at which listener, in which phase and why; garbage in the handshake and behind it, an alert, no
    common version, a client that goes away."""
    def failed(s, count):
        wait_until(lambda: s.log().count(" tls-failed ") == count, 60, f"{count} lines")
        return [x for x in s.log().splitlines() if " tls-failed " in x][-1]

    def starttls(s):
        w = s.wire()
        w.expect("STARTTLS", "220")
        return w
    ports = [free_port(), free_port()]
    with Server(listeners={"plain": listener(ports[0], name="plain"),
                           "wrapped": listener(ports[1], name="wrapped", tlsImplicit=True)}) as s:
        s.port = ports[0]
        old = lib.no_verify()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        old.set_ciphers("AES128-SHA")

        def no_cipher(sock):
            try:
                old.wrap_socket(sock)
            except ssl.SSLError:
                pass
        cases = ((lambda sock: sock.sendall(b"GET / HTTP/1.1\r\n\r\n"), "does not speak TLS"),
                 (lambda sock: sock.sendall(bytes.fromhex("15030300020228")), "refused"),
                 (no_cipher, "no version or cipher in common"), (lambda sock: None, "went away"))
        for number, (act, reason) in enumerate(cases):
            w = starttls(s)
            act(w.sock)
            w.sock.close()
            line = failed(s, number + 1)
            check(all(x in line for x in (" client=127.0.0.1", " listener=plain ", " phase=handshake ", reason)), line)
        raw = socket.create_connection(("127.0.0.1", ports[1]), timeout=60)
        tls = lib.no_verify().wrap_socket(raw)
        tls.recv(100)
        with socket.socket(fileno=tls.detach()) as bare:
            bare.sendall(bytes.fromhex("1703030020") + b"x" * 32)
        line = failed(s, 5)
        check(" listener=wrapped " in line and " phase=session " in line, line)
        s.submit("alice@example.org")
        s.delivered()
        equal(s.log().count(" tls-failed "), 5, "lines")


def test_tls_garbage():
    """Clear text where a handshake is due ends the connection and nothing else."""
    with Server() as s:
        with s.wire() as w:
            w.expect("STARTTLS", "220")
            time.sleep(0.1)
            w.send(b"EHLO client.example.net\r\n")
            try:
                while w.fill():
                    pass
            except ConnectionResetError:
                pass
        s.submit("alice@example.org")
        s.delivered()


def refused_content(server, content, code):
    with server.wire() as w:
        w.begin("alice@example.org")
        w.expect("DATA", "354")
        w.send(content)
        w.then(code, f"reply to {content!r}")
        w.message("alice@example.org", marked())
        w.begin("alice@example.org")
        chunk = content[:-3]
        w.send(b"BDAT %d LAST\r\n" % len(chunk) + chunk)
        w.then(code, f"reply to BDAT of {content!r}")
        w.expect("QUIT", "221")


def test_bare_newlines():
    """Bare CR and LF: read to the end, 550 5.5.2, and the session goes on; nothing is smuggled."""
    with Server() as s:
        for content in (b"a\nb\r\n.\r\n", b"a\rb\r\n.\r\n", b"a\r\n.\nMAIL FROM:<b@c>\r\n.\r\n",
                        b"a\n.\nb\r\n.\r\n", b"a\n.\r\nb\r\n.\r\n", b"a\r.\r\nb\r\n.\r\n"):
            refused_content(s, content, "550 5.5.2")
        s.delivered(6)


def test_normalize():
    """bareNewlines normalize: bare CR and LF become CRLF."""
    with Server(extra=[update("MtaStageData", bareNewlines="normalize")]) as s:
        with s.wire() as w:
            w.begin("alice@example.org")
            w.expect("DATA", "354")
            w.send(b"A: b\n\nx\ry\n.\nz\r\n.\r\n")
            w.then("250 2.0.0 Queued")
        rest = split_local(s.delivered()[0])[3]
        # A dot alone between bare LFs neither ends the data nor is it lost or doubled.
        check(rest in (b"A: b\r\n\r\nx\r\ny\r\n.\r\nz\r\n", b"A: b\r\n\r\nx\r\ny\r\n\r\nz\r\n"), repr(rest))


def test_nul_bytes():
    """A NUL in the content is 550 5.5.2, in a command 500 or 501, and the session goes on."""
    with Server() as s:
        refused_content(s, b"a\0b\r\n.\r\n", "550 5.5.2")
        with s.wire() as w:
            reply = w.cmd(b"NOOP \0")
            check(reply[:9] in ("500 5.5.2", "501 5.5.4"), reply)
            w.expect(b"MAIL FROM:<a\0b@example.net>", "501 5.1.7")
            w.expect("NOOP", "250")


def test_long_command_line():
    """A command line over the limit is 500 5.5.2 and the session goes on."""
    with Server() as s:
        with s.wire() as w:
            w.expect("NOOP " + "x" * 4091, "250 2.0.0")
            w.expect("NOOP " + "x" * 4092, "500 5.5.2")
            w.expect("NOOP " + "x" * 300000, "500 5.5.2")
            w.expect("MAIL FROM:<" + "x" * 300 + "@example.net>", "501 5.1.7")
            w.expect("NOOP", "250 2.0.0")


def test_smtputf8():
    """Non-ASCII addresses need SMTPUTF8; with it they are taken."""
    with Server() as s:
        with s.wire() as w:
            w.expect("MAIL FROM:<grün@example.net>", "553 5.6.7")
            w.expect("MAIL FROM:<a@example.net>", "250 2.1.0")
            w.expect("RCPT TO:<grün@example.org>", "553 5.6.7")
            w.expect("RSET", "250")
            w.expect("MAIL FROM:<grün@example.net> SMTPUTF8", "250 2.1.0")
            w.expect("RCPT TO:<alice@example.org>", "250 2.1.5")
            w.expect("DATA", "354")
            w.send("Subject: grün\r\n\r\nü\r\n.\r\n")
            w.then("250 2.0.0")
            w.expect(b"MAIL FROM:<\xff\xfe@example.net> SMTPUTF8", "501 5.1.7")
            w.expect("NOOP", "250")
        return_path, _, received, _ = split_local(s.delivered()[0])
        equal(return_path, "Return-Path: <grün@example.net>".encode(), "Return-Path")
        check(" with UTF8SMTP id " in received, received)


def test_size():
    """A message over the limit is 552 5.3.4: by SIZE, after DATA, and by BDAT."""
    with Server(extra=[update("MtaStageData", maxMessageSize=constant(2000))]) as s:
        with s.wire() as w:
            check("SIZE 2000" in w.expect("EHLO client.example.net", "250-"), "SIZE not announced")
            w.expect("MAIL FROM:<a@example.net> SIZE=2001", "552 5.3.4")
            w.begin("alice@example.org", mail_args=" SIZE=2000")
            w.expect("DATA", "354")
            w.send(b"x" * 1999 + b"\r\n.\r\n")
            w.then("552 5.3.4")
            w.begin("alice@example.org")
            w.send(b"BDAT 2001 LAST\r\n" + b"x" * 2001)
            w.then("552 5.3.4")
            w.begin("alice@example.org")
            w.send(b"BDAT 1500\r\n" + b"x" * 1500)
            w.then("250 2.0.0")
            w.send(b"BDAT 501\r\n" + b"x" * 501)
            w.then("552 5.3.4")
            w.expect("BDAT 0 LAST", "503 5.5.1")
            w.message("alice@example.org", b"x" * 1998 + b"\r\n")
        s.delivered()


def test_too_many_recipients():
    """One recipient more than the limit is 452 4.5.3; the others are kept."""
    with Server(extra=[update("MtaStageRcpt", maxRecipients=constant(3))]) as s:
        with s.wire() as w:
            check("LIMITS RCPTMAX=3" in w.expect("EHLO client.example.net", "250-"), "RCPTMAX")
            w.begin(["alice@example.org", "alice+1@example.org", "alice+2@example.org"])
            w.expect("RCPT TO:<alice+3@example.org>", "452 4.5.3")
            w.expect("DATA", "354")
            w.send(b"three\r\n.\r\n")
            w.then("250 2.0.0")
        wait_until(s.mailbox, 10, "delivery")


def test_received_loop():
    """Too many Received fields are a loop: 554 5.4.6."""
    with Server(extra=[update("MtaStageData", maxReceivedHeaders=constant(5))]) as s:
        hops = b"Received: from a by b; Tue, 1 Jul 2025 10:00:00 +0000\r\n"
        with s.wire() as w:
            w.begin("alice@example.org")
            w.expect("DATA", "354")
            w.send(hops * 6 + b"\r\nx\r\n.\r\n")
            w.then("554 5.4.6")
            w.message("alice@example.org", hops * 5 + b"\r\n" + hops * 6)
        s.delivered()


def test_too_many_errors():
    """The last error allowed is followed by 421 4.7.0 and the end."""
    with Server(extra=[session_limits(maxErrors=3)]) as s:
        with s.wire() as w:
            w.expect("NOTHING", "500")
            w.expect("NOTHING", "500")
            w.expect("NOTHING", "500")
            w.then("421 4.7.0")
            w.at_end()


def test_too_many_commands():
    """Commands and messages of one session are limited: 421 4.7.0."""
    with Server(extra=[session_limits(maxCommands=5),
                       update("MtaStageData", maxMessages=constant(2))]) as s:
        with s.wire() as w:
            for _ in range(4):
                w.expect("NOOP", "250")
            w.expect("NOOP", "421 4.7.0")
            w.at_end()
        with s.wire() as w:
            w.expect("MAIL FROM:<>", "250")
            w.expect("RSET", "250")
            w.expect("MAIL FROM:<>", "250")
            w.expect("RSET", "250")
            w.expect("MAIL FROM:<>", "421 4.7.0")
            w.at_end()


def test_timeouts():
    """Idle sessions, and clients that never end their data, get 421 4.4.2; so does a long session."""
    with Server(extra=[session_limits(timeout="1s", dataTimeout="2s", maxDuration="5s")]) as s:
        with s.wire() as idle, s.wire() as data, s.wire() as busy:
            began = time.monotonic()
            data.begin("alice@example.org")
            data.expect("DATA", "354")
            idle.then("421 4.4.2")
            check(time.monotonic() - began > 0.8, f"idle after {time.monotonic() - began}")
            idle.at_end()
            data.then("421 4.4.2")
            data.at_end()
            check(time.monotonic() - began > 1.8, f"data after {time.monotonic() - began}")
            try:
                while time.monotonic() - began < 60:
                    if busy.cmd("NOOP").startswith("421 4"):
                        break
                    time.sleep(0.2)
                else:
                    raise Fail("the session has no end")
            except OSError:
                raise Fail("no 421 at the end of the session") from None
        s.submit("alice@example.org")
        s.delivered()


def test_shorter_times_end_resting_sessions():
    """A shorter timeout, and a shorter duration, hold for sessions that rest already, on every core."""
    with Managed(cores=2, extra=[session_limits(timeout="1h", maxDuration="3h")]) as s:
        for field in ("timeout", "maxDuration"):
            resting = session_on_every_core(s)
            s.api.update("MtaInboundSession", "singleton", **{field: constant("1s")})
            for client in resting:
                client.sock.settimeout(60)
                equal(client.getreply()[0], 421, f"with a shorter {field}")
                client.close()
            s.api.update("MtaInboundSession", "singleton", **{field: constant("1h")})


def test_limits_by_session():
    """Limits differ by listener and client; what is announced is what holds, also when the configuration changes; where
    a condition cannot be evaluated the session is told to come again."""
    ports = [free_port(), free_port(), free_port()]
    listeners = {name: listener(port, name=name) for name, port in zip(("wide", "narrow", "odd"), ports)}
    heavy = "matches('^(x+x+)+[yz]', '" + "x" * 40 + "' + listener)"
    extra = [update("MtaStageData", maxMessageSize={
                 "match": {"0": {"if": "listener == 'narrow' && is_ip_in_cidr(remote_ip, '127.0.0.0/8')", "then": "2048"},
                           "1": {"if": f"local_port == {ports[2]} && {heavy}", "then": "4096"}}, "else": "8192"}),
             update("MtaStageRcpt", maxRecipients={
                 "match": {"0": {"if": "local_port == %d" % ports[1], "then": "2"}}, "else": "3"}),
             session_limits(maxErrors=5)]
    with Server(listeners=listeners, extra=extra) as s:
        for port, size, rcpts in ((ports[0], 8192, 3), (ports[1], 2048, 2)):
            with s.wire(port=port, hello=False) as w:
                w.reply()
                w.send(b"EHLO client.example.net\r\n")
                check(f"SIZE {size}" in w.reply(), f"SIZE on port {port}")
                w.expect(f"MAIL FROM:<a@example.net> SIZE={size + 1}", "552 5.3.4")
                w.expect(f"MAIL FROM:<a@example.net> SIZE={size}", "250")
                for n in range(rcpts):
                    w.expect(f"RCPT TO:<alice+{n}@example.org>", "250")
                w.expect("RCPT TO:<alice+more@example.org>", "452")
        with s.wire(port=ports[2], hello=False) as w:
            starts(w.reply(), "421 ", "a condition that takes too many steps")
        wait_until(lambda: 'expression-failed field=' in s.log() and "a regular expression takes too many steps" in s.log(), 10,
                   "it is logged")
