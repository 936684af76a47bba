"""Who does not wait for its turn, or speaks something else than SMTP: refused at once, counted, logged."""

import threading
import time

import lib
from lib import Server, Wire, check, comes_to, equal, free_port, listener, update, wait_until
from test_bans import PROXY, banned, bans, say, served, session_of
from nameserver import NameServer
from test_management import Managed
from test_stages import when

LONG_MS = 60000  # nobody waits for it
NOOPS = 20000    # more than a session keeps for later
HELLO = b"\x16\x03\x01\x00\xc0\x01\x00\x00\xbc\x03\x03" + bytes(60)


def refused(s, port, said, reason, text):
    """Says it without having heard anything; the answer is the refusal, and the end. One log line."""
    before = s.log().count(f"reason={reason.upper()} ")
    with Wire(port, first=said) as w:
        lib.starts(w.reply(), text, f"reply to {said[:20]}")
        w.at_end()
    line = wait_until(lambda: [x for x in s.log().splitlines() if f"reason={reason.upper()} " in x][before:], 10, f"{reason} in the log")
    equal(len(line), 1, "log lines")
    check("session-refused session=" in line[0] and " client=127.0.0.1 " in line[0] and " code=554 " in line[0], line[0])


def test_greet_delay():
    """The banner waits as long as the listener says; who speaks before it is told so at once."""
    ports = free_port(), free_port(), free_port()
    listeners = {"now": listener(ports[0], name="now"), "soon": listener(ports[1], name="soon", greetDelay=700),
                 "late": listener(ports[2], name="late", greetDelay=LONG_MS)}
    with Server(listeners=listeners) as s:
        for said, reason, text in ((b"EHLO x\r\n", "early_talker", "554 5.5.1 You spoke"), (b"\r", "early_talker", "554 5.5.1 You spoke"),
                                   (HELLO, "speaks_tls", "554 5.5.1 This is SMTP, TLS"),
                                   (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "speaks_http", "554 5.5.1 This is SMTP and not HTTP")):
            began = time.monotonic()
            refused(s, ports[2], said, reason, text)
            check(time.monotonic() - began < LONG_MS / 2000, "the refusal has waited as well")
        began = time.monotonic()
        with s.wire(port=ports[1], hello=False) as w:
            w.then("220 ")
            check(time.monotonic() - began >= 0.7, f"the banner came after {time.monotonic() - began} s")
            w.expect("EHLO client.example.net", "250-")
            w.message("alice@example.org", b"Subject: x\r\n\r\nx\r\n")
        with Wire(ports[2]) as silent, Wire(ports[2]):
            silent.sock.close()  # before the banner: nothing to say
            with s.wire(port=ports[0]) as w:
                w.expect("QUIT", "221")
            comes_to(lambda: s.log().count("session-refused"), 4, "log lines of refusals")
        s.delivered()


def test_greet_delay_changes_live():
    """The next connection finds another delay; behind implicit TLS it is the banner that waits; not for HTTP."""
    port = free_port()
    with Managed(listeners={"l": listener(port, tlsImplicit=True, greetDelay=LONG_MS)}) as s:
        s.port = port
        with Wire(port) as w:
            w.start_tls()
            w.send("EHLO early\r\n")
            w.then("554 5.5.1 You spoke")
        row = s.api.find("NetworkListener", name="smtp")
        waiting = Wire(port)
        waiting.start_tls()
        s.api.update("NetworkListener", row, greetDelay=0)
        with Wire(port) as w:
            w.start_tls()
            w.hello()
        waiting.sock.close()
        done = s.api.set("NetworkListener", update={row: {"greetDelay": 60001}})
        check("greetDelay" in str(done), f"a delay of more than a minute: {done}")


def test_greet_delay_behind_a_proxy():
    """The delay begins behind the PROXY header; who waits is served, the proxy itself does not wait."""
    with Server(settings=PROXY, fields={"greetDelay": 500}) as s:
        began = time.monotonic()
        with Wire(s.port, first=b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 25\r\n") as w:
            w.hello()
            check(time.monotonic() - began >= 0.5, "the banner came at once")
            w.message("alice@example.org", b"Subject: x\r\n\r\nx\r\n")
        s.delivered()
    with Server(settings=PROXY, fields={"greetDelay": LONG_MS}) as s:
        with Wire(s.port, seconds=LONG_MS / 2000, first=b"PROXY UNKNOWN\r\n") as w:
            w.then("220 ")


def test_greet_delay_then_the_dns():
    """A banner that waits for the delay and then for the DNS: what is sent meanwhile stays where it is, however much that is."""
    noops = b"EHLO client.example.net\r\n" + NOOPS * b"NOOP\r\n"
    with NameServer({"late.example": {"A": ["192.0.2.1"]}}) as names:
        greeting = update("MtaStageConnect", smtpGreeting=when("is_empty(dns_query('late.example', 'ipv4'))", "'none'", "'some'"))
        names.mode = "silent"
        with Server(cores=1, extra=[names.resolver(attempts=8), lib.TOLERANT, greeting, lib.session_limits(maxCommands=30000)],
                    fields={"greetDelay": 1}) as s, Wire(s.port) as w:
            wait_until(lambda: names.asked > 0, 10, "a question")
            sender = threading.Thread(target=w.send, args=(noops,), daemon=True)
            sender.start()
            asked = names.asked
            wait_until(lambda: names.asked > asked, 20, "the question again, a second later")
            names.mode = "answer"
            w.then("220 some")
            w.then("250-")
            for _ in range(NOOPS):
                w.then("250")
            sender.join()


def test_foreign_protocols():
    """TLS and HTTP on a listener without delay: one reply, closed, never a command carried out."""
    with Server() as s:
        for said, reason in ((HELLO, "speaks_tls"), (b"GET / HTTP/1.0\n\n", "speaks_http"),
                             (b"POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\nEHLO x\r\nMAIL FROM:<a@example.net>\r\n", "speaks_http")):
            with s.wire(hello=False) as w:
                w.then("220 ")
                w.send(said)
                w.then("554 5.5.1 This is SMTP")
                w.at_end()
        wait_until(lambda: s.log().count("reason=SPEAKS_HTTP ") == 2 and s.log().count("reason=SPEAKS_TLS ") == 1, 10, "log lines")


def test_pipelining_refused():
    """Who does not wait where it has to is turned away, unless that is tolerated; who keeps to the rules may pipeline."""
    early = b"EHLO client.example.net\r\nMAIL FROM:<a@example.net>\r\n"
    content = b"DATA\r\nSubject: early\r\n\r\nx\r\n.\r\n"
    group = b"MAIL FROM:<a@example.net>\r\nRCPT TO:<alice@example.org>\r\n"
    with Managed() as s:
        with s.wire(hello=False) as w:
            w.then("220 ")
            w.send(early)
            w.then("554 5.5.1 You did not wait")
            w.at_end()
        with s.wire() as w:
            w.send(group + content)
            w.then("250"), w.then("250")
            w.then("554 5.5.1 You did not wait")
            w.at_end()
        with s.wire() as w:
            w.send(group + b"DATA\r\n")
            w.then("250"), w.then("250"), w.then("354")
            w.send(b"Subject: good\r\n\r\nx\r\n.\r\n" + group + b"RSET\r\nQUIT\r\n")
            for code in ("250 2.0.0 Queued", "250", "250", "250", "221"):
                w.then(code)
        s.api.update("MtaInboundSession", "singleton", unauthorizedPipelining="tolerate")
        with s.wire(hello=False) as w:
            w.then("220 ")
            w.send(early)
            w.then("250-"), w.then("250 2.1.0")
            w.send(b"RCPT TO:<alice@example.org>\r\n" + content)
            w.then("250"), w.then("354"), w.then("250 2.0.0 Queued")
        wait_until(lambda: len(s.delivered(2)) == 2, 10, "both are delivered")


def test_early_talkers_are_banned():
    """All of it is scanning: the client is banned; so are commands before EHLO. Forgetting EHLO after STARTTLS is not."""
    with Managed(settings=PROXY) as s:
        row = s.api.find("NetworkListener", name="smtp")
        s.api.update("Security", "singleton", scanBanRate={"count": 2, "period": 3600000})
        for n, said in enumerate(("GET / HTTP/1.1", "EHLO x\r\nMAIL FROM:<>", "\x16\x03\x01", "MAIL FROM:<a@example.net>")):
            client = f"203.0.113.{n + 1}"
            for _ in range(3):
                session = session_of(s, client)
                check(say(session, said)[:1] == "5", f"{said!r} is refused")
                session.close()
            banned(s, client, "portScanning")
        session = session_of(s, "203.0.113.60")
        for _ in range(3):
            equal(say(session, "NOOP")[:3], "250", "NOOP before EHLO")
        session.close()
        for _ in range(5):  # mistakes and no scans: empty lines, and the end in one packet
            session = session_of(s, "203.0.113.61")
            equal(say(session, "HELO x")[:3], "250", "HELO")
            equal(say(session, ""), "500 5.5.2 Empty command line\r\n", "an empty line")
            with session.makefile("rb") as replies:
                session.sendall(b"RSET\r\nQUIT\r\n")
                equal([replies.readline()[:3] for _ in range(3)], [b"250", b"221", b""], "RSET and QUIT at once")
            session.close()
        s.api.update("NetworkListener", row, greetDelay=LONG_MS)
        for _ in range(3):
            with Wire(s.port, first=b"PROXY TCP4 203.0.113.50 192.0.2.1 4711 25\r\nEHLO x\r\n") as w:
                w.then("554 5.5.1 You spoke")
        banned(s, "203.0.113.50", "portScanning")  # told in the order in which it happened
        check("203.0.113.61" not in bans(s), "mistakes were counted as scans")
        check(not served(s, "203.0.113.50"), "it is served")
        pairs = {("connect", "early_talker"), ("unknown", "speaks_http"), ("unknown", "speaks_tls"), ("ehlo", "not_waited"),
                 ("mail", "hello_first")}
        comes_to(lambda: pairs - {(r["verb"], r["reply"]) for core in s.api.stats() for r in core["smtp_replies_total"]}, set(),
                 "not counted")
