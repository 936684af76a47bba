"""How connections to next hops are made: TLS and connection strategies, by recipient and host."""

import contextlib
import ctypes
import os
import re
import socket
import ssl
import subprocess
import threading
import time

from lib import (DROP, Server, Sink, Skip, check, equal, free_port, marked, need_program, relay_route, sink_tls, update,
                 wait_until, work_folder)

TLS_SINK = (*Sink.ALL, "STARTTLS")


def tls_strategy(name="default", **fields):
    return {"@type": "upsert", "object": "MtaTlsStrategy", "matchOn": ["name"], "value": {f"t-{name}": {"name": name} | fields}}


def connection_strategy(name="default", **fields):
    return {"@type": "upsert", "object": "MtaConnectionStrategy", "matchOn": ["name"],
            "value": {f"c-{name}": {"name": name} | fields}}


def chosen(kind, condition, name):
    """The expression of MtaOutboundStrategy: one strategy for some, else the default."""
    return update("MtaOutboundStrategy", **{kind: {"match": {"0": {"if": condition, "then": f"'{name}'"}}, "else": "'default'"}})


def in_log(s, text, seconds=15):
    wait_until(lambda: text in s.log(), seconds, f"'{text}' in the log")


def test_tls_required_and_not_offered():
    """startTls require: a next hop without STARTTLS gets nothing; when it has it, the mail goes."""
    with Sink() as sink, Server(relay=sink.port, extra=[tls_strategy(startTls="require")]) as s:
        s.submit("bob@example.org", marked())
        in_log(s, "TLS is required and was not offered")
        equal(len(sink.messages), 0, "messages in clear")
        sink.tls = sink_tls()
        sink.extensions.append("STARTTLS")
        check(sink.got()[0].tls, "not under TLS")


def test_tls_required_handshake_fails():
    """startTls require: no clear text when the handshake fails, not even much later."""
    def hook(session, verb, line):
        if verb == "STARTTLS":
            session.sock.sendall(b"220 Go on\r\nthis is not a handshake")
            time.sleep(0.1)
            return DROP
        return None
    with Sink(TLS_SINK, hook=hook) as sink, Server(relay=sink.port, extra=[tls_strategy(startTls="require")]) as s:
        s.submit("bob@example.org", marked())
        in_log(s, "TLS handshake with 127.0.0.1")
        wait_until(lambda: sink.verbs().count("STARTTLS") >= 3, 30, "further handshakes")
        check("MAIL" not in sink.verbs() and not sink.messages, "mail in clear")
        check("without TLS" not in s.log(), "a way without TLS")


def test_tls_required_certificate():
    """startTls require: the certificate has to verify, unless allowInvalidCerts says otherwise."""
    with Sink(TLS_SINK, tls=sink_tls()) as sink:
        with Server(relay=sink.port, relay_fields={"allowInvalidCerts": False},
                    extra=[tls_strategy(startTls="require")]) as s:
            s.submit("bob@example.org", marked())
            in_log(s, "the certificate does not verify")
            equal(len(sink.messages), 0, "messages over an unverified connection")
        with Server(relay=sink.port, relay_fields={"allowInvalidCerts": False},
                    extra=[tls_strategy(startTls="require", allowInvalidCerts=True)]) as s:
            s.submit("bob@example.org", marked())
            check(sink.got()[0].tls, "not under TLS")


def signed_certificate(folder, name):
    """(CA file, certificate, key): a CA of its own, and a certificate of it for a DNS name."""
    need_program("openssl")
    at = {n: os.path.join(folder, n) for n in ("ca.pem", "ca.key", "cert.pem", "cert.key", "cert.csr", "ext")}
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]

    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, capture_output=True)
    openssl("req", "-x509", *key, "-keyout", at["ca.key"], "-out", at["ca.pem"], "-days", "2", "-subj", "/CN=Test CA")
    openssl("req", *key, "-keyout", at["cert.key"], "-out", at["cert.csr"], "-subj", f"/CN={name}")
    with open(at["ext"], "w") as f:
        f.write(f"subjectAltName=DNS:{name}\n")
    openssl("x509", "-req", "-in", at["cert.csr"], "-CA", at["ca.pem"], "-CAkey", at["ca.key"], "-CAcreateserial", "-days", "2",
            "-extfile", at["ext"], "-out", at["cert.pem"])
    return at["ca.pem"], at["cert.pem"], at["cert.key"]


TRUST = "/etc/ssl/certs/ca-certificates.crt"


def trusting(ca):
    """For the child: the system's trust store is this file, in a mount namespace of its own."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter():
        new_namespace, private, recursive, bind = 0x20000, 1 << 18, 16384, 4096
        if libc.unshare(new_namespace) or libc.mount(b"none", b"/", None, private | recursive, None) or \
                libc.mount(ca.encode(), TRUST.encode(), None, bind, None):
            os._exit(99)
    return enter


def test_tls_required_trust_store():
    """A certificate that the system's trust store vouches for is good for the name of the host, and for no other."""
    if os.geteuid() != 0 or not os.path.exists(TRUST):
        raise Skip("needs root and a trust store")
    ca, cert, key = signed_certificate(work_folder(), "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    for address, good in (("localhost", True), ("127.0.0.1", False)):
        with Sink(TLS_SINK, tls=context) as sink, \
                Server(relay=sink.port, start=False, relay_fields={"allowInvalidCerts": False, "address": address},
                       extra=[tls_strategy(startTls="require")]) as s:
            s.spawn(preexec_fn=trusting(ca))
            in_log(s, " ready ")
            s.submit("bob@example.org", marked())
            if good:
                check(sink.got()[0].tls, "not under TLS")
            else:
                in_log(s, "the certificate does not verify")
                equal(len(sink.messages), 0, "messages for another name")


def test_tls_disabled():
    """startTls disable: STARTTLS is not used although it is offered."""
    with Sink(TLS_SINK, tls=sink_tls()) as sink, Server(relay=sink.port, extra=[tls_strategy(startTls="disable")]) as s:
        s.submit("bob@example.org", marked())
        check(not sink.got()[0].tls, "under TLS")
        check("STARTTLS" not in sink.verbs(), "STARTTLS")


def test_tls_optional_falls_back_for_one_attempt():
    """A handshake that fails costs its own attempt the TLS, and no other: the next connection tries it again."""
    failures = [1]

    def hook(session, verb, line):
        if verb == "STARTTLS" and failures[0] > 0:
            failures[0] -= 1
            session.sock.sendall(b"220 Go on\r\nthis is not a handshake")
            time.sleep(0.1)
            return DROP
        return None
    with Sink(TLS_SINK, tls=sink_tls(), hook=hook) as sink, Server(relay=sink.port, cores=1, retry_ms=60000) as s:
        s.submit("bob@example.org", marked())
        check(not sink.got()[0].tls, "under TLS")
        check(" deferred " not in s.log(), "not within the attempt")
        s.submit("bob@example.org", marked())
        check(sink.got(2)[1].tls, "the fallback stays")


def test_tls_optional_whoever_drops_it():
    """A host that offers STARTTLS and hangs up when it is said, or under TLS, gets the mail in clear within the same attempt."""
    for at in ("STARTTLS", "EHLO under TLS"):
        def hook(session, verb, _line):
            return DROP if (verb if not session.tls else f"{verb} under TLS") == at else None
        with Sink(TLS_SINK, tls=sink_tls(), hook=hook) as sink, Server(relay=sink.port, cores=1, retry_ms=60000) as s:
            s.submit("bob@example.org", marked())
            check(not sink.got()[0].tls, f"{at}: under TLS")
            in_log(s, "goes on without TLS")
            in_log(s, " delivered ")
            check(" deferred " not in s.log(), f"{at}: not within the attempt")
    with Sink(TLS_SINK, tls=sink_tls(), hook=lambda session, verb, line: DROP if verb == "STARTTLS" else None) as sink, \
            Server(relay=sink.port, cores=1, retry_ms=60000, extra=[tls_strategy(startTls="require")]) as s:
        s.submit("bob@example.org", marked())
        in_log(s, "deferred")
        check("MAIL" not in sink.verbs(), "mail in clear where TLS is required")


def test_tls_timeout():
    """tlsTimeout: a handshake that makes no progress ends, and the attempt goes on in clear."""
    def hook(session, verb, _line):
        if verb == "STARTTLS":
            session.sock.sendall(b"220 Go on\r\n")
            time.sleep(600)
            return DROP
        return None
    with Sink(TLS_SINK, hook=hook) as sink, Server(relay=sink.port, extra=[tls_strategy(tlsTimeout=300)]) as s:
        began = time.monotonic()
        s.submit("bob@example.org", marked())
        check(not sink.got()[0].tls, "under TLS")
        check(time.monotonic() - began < 120, "it waited for longer than the strategy says")


def test_tls_strategy_by_recipient():
    """One message, two recipients at one next hop with different strategies: each goes by its own, and what one cannot
    have does not hold the other up."""
    require = [tls_strategy("strict", startTls="require", allowInvalidCerts=True),
               tls_strategy("never", startTls="disable"),
               update("MtaOutboundStrategy", tls={"match": {"0": {"if": "rcpt == 'bank@example.org'", "then": "'strict'"},
                                                            "1": {"if": "rcpt == 'old@example.org'", "then": "'never'"}},
                                                  "else": "'default'"})]
    with Sink(TLS_SINK, tls=sink_tls()) as sink, Server(relay=sink.port, extra=require) as s:
        s.submit(["bank@example.org", "old@example.org", "bob@example.org"], marked())
        sink.got(3)
        equal({m.rcpts[0]: m.tls for m in sink.messages},
              {"bank@example.org": True, "old@example.org": False, "bob@example.org": True}, "recipient: under TLS")
    with Sink() as sink, Server(relay=sink.port, extra=require, retry_ms=60000) as s:
        s.submit(["bank@example.org", "bob@example.org"], marked())
        equal(sink.got()[0].rcpts, ["bob@example.org"], "who got it in clear")
        in_log(s, "TLS is required and was not offered")
        s.submit("bob@example.org", marked())
        sink.got(2)
        check("next-hop-down" not in s.log(), "the next hop is down for everybody")


def test_tls_strategy_after_a_failure():
    """last_error 'tls' tells an expression that the last attempt failed for want of TLS."""
    plan = [tls_strategy("strict", startTls="require"),
            chosen("tls", "!(retry_num > 0 && last_error == 'tls')", "strict")]
    with Sink(TLS_SINK, tls=sink_tls()) as sink, \
            Server(relay=sink.port, relay_fields={"allowInvalidCerts": False}, extra=plan) as s:
        s.submit("bob@example.org", marked())
        in_log(s, "the certificate does not verify")
        check(sink.got()[0].tls, "the second attempt: optional TLS with any certificate")


def test_tls_strategy_changes_live():
    """A connection made by the strategy of before is not used when it has changed."""
    from test_management import Managed
    with Sink(TLS_SINK, tls=sink_tls()) as sink, Managed(relay=sink.port, cores=1) as s:
        s.submit("bob@example.org", marked())
        check(sink.got()[0].tls, "not under TLS at first")
        s.api.update("MtaTlsStrategy", s.api.find("MtaTlsStrategy", name="default"), startTls="disable")
        s.submit("bob@example.org", marked())
        check(not sink.got(2)[1].tls, "the old connection was used")


def peers(sessions):
    """A sink's hook that notes where its clients come from."""
    def hook(session, verb, _line):
        if verb == "BANNER":
            sessions.append(session.sock.getpeername()[0])
        return None
    return hook


def test_connection_source_and_name():
    """sourceIps and ehloHostname: where connections come from and what the server calls itself there; a source of the
    other family is not used."""
    seen = []
    two = {"0": {"sourceIp": "127.0.0.7", "ehloHostname": "seven.example.org"}, "1": {"sourceIp": "::1"},
           "2": {"sourceIp": "127.0.0.8"}}
    plan = [connection_strategy(sourceIps=two, ehloHostname="out.example.org")]
    with Sink(hook=peers(seen)) as sink, Server(relay=sink.port, extra=plan) as s:
        names = {"127.0.0.7": "EHLO seven.example.org", "127.0.0.8": "EHLO out.example.org"}
        for count in range(1, 60):
            s.submit("bob@example.org", marked())
            sink.got(count)
            for at in list(sink.open_sockets):  # a new connection for the next one
                at.shutdown(2)
            wait_until(lambda: not sink.open_sockets, 10, "the connection's end")
            if set(seen) == set(names):
                break
        equal(set(seen), set(names), "where connections came from")
        with sink.lock:
            said = {n: c for n, c in sink.commands if c.startswith("EHLO")}
        equal([names[peer] for peer in seen], [said[n + 1] for n in range(len(seen))], "what it called itself")


def test_connection_source_is_not_ours():
    """A source address that this machine has not: the mail waits, and the log says why."""
    with Sink() as sink, Server(relay=sink.port, extra=[connection_strategy(sourceIps={"0": {"sourceIp": "192.0.2.7"}})]) as s:
        s.submit("bob@example.org", marked())
        in_log(s, "from 192.0.2.7 failed")
        equal(sink.connections, 0, "connections")


def test_connection_source_is_not_ours_for_some():
    """Mail whose connection cannot be made is put off; the connection that others have is not to blame."""
    plan = [connection_strategy("away", sourceIps={"0": {"sourceIp": "192.0.2.7"}}),
            chosen("connection", "rcpt == 'carol@example.org'", "away")]
    with Sink() as sink, Server(relay=sink.port, cores=1, retry_ms=60000, extra=plan) as s:
        s.submit("bob@example.org", marked())
        sink.got()
        s.submit("carol@example.org", marked())
        in_log(s, "deferred")
        check("next-hop-down" not in s.log(), "the next hop is down for everybody")
        s.submit("bob@example.org", marked())
        sink.got(2)


def test_connection_strategy_by_host():
    """The expression sees the host: mx, remote_ip and, for TLS, the source that the connection strategy chose."""
    seen = []
    plan = [connection_strategy("seven", sourceIps={"0": {"sourceIp": "127.0.0.7"}}),
            tls_strategy("never", startTls="disable"),
            update("MtaOutboundStrategy",
                   connection={"match": {"0": {"if": "mx == '127.0.0.1' && remote_ip == '127.0.0.1' && rcpt == 'bob@example.org'",
                                               "then": "'seven'"}}, "else": "'default'"},
                   tls={"match": {"0": {"if": "local_ip == '127.0.0.7'", "then": "'never'"}}, "else": "'default'"})]
    with Sink(TLS_SINK, tls=sink_tls(), hook=peers(seen)) as sink, Server(relay=sink.port, extra=plan) as s:
        s.submit("bob@example.org", marked())
        check(not sink.got()[0].tls, "bob's under TLS")
        s.submit("carol@example.org", marked())
        check(sink.got(2)[1].tls, "carol's not under TLS")
        equal(seen, ["127.0.0.7", "127.0.0.1"], "where they came from")


def silent_at(at):
    def hook(_session, verb, _line):
        if verb == at:
            time.sleep(20)
            return DROP
        return None
    return hook


def test_connection_timeouts():
    """Each of the strategy's times ends its own wait, and only its own."""
    times = {"greetingTimeout": "BANNER", "ehloTimeout": "EHLO", "mailFromTimeout": "MAIL", "rcptToTimeout": "RCPT",
             "dataTimeout": "EOD"}
    plan = [update("MtaOutboundStrategy", route={"match": {str(i): {"if": f"rcpt == '{name}@example.org'", "then": f"'{name}'"}
                                                           for i, name in enumerate(n.lower() for n in times)},
                                                 "else": "'local'"},
                   connection={"match": {str(i): {"if": f"rcpt == '{name.lower()}@example.org'", "then": f"'{name}'"}
                                         for i, name in enumerate(times)}, "else": "'default'"})]
    sinks = {name: Sink(hook=silent_at(at)) for name, at in times.items()}
    routes = [relay_route(sink.port, name.lower()) for name, sink in sinks.items()]
    strategies = [connection_strategy(name, **{name: 400}) for name in times]
    with Server(relay=free_port(), retry_ms=60000, extra=routes + strategies + plan) as s:
        began = time.monotonic()
        s.submit([f"{name.lower()}@example.org" for name in times], marked())
        wait_until(lambda: s.log().count(" deferred ") == len(times), 15, "a temporary failure at each")
        check(time.monotonic() - began < 120, "longer than the strategies say")
        for name in times:
            check(f"to={name.lower()}@example.org" in s.log(), f"{name} had no effect")
    for sink in sinks.values():
        sink.stop()


def test_connection_timeout_of_rset():
    """What a next hop has refused is refused, also when it never answers the RSET behind that: it has the time for MAIL at most."""
    asked = threading.Event()

    def hook(_session, verb, _line):
        if verb == "RSET":
            asked.set()
            time.sleep(60)
            return DROP
        return "550 5.1.1 no such user" if verb == "RCPT" else None
    with Sink(hook=hook) as sink, Server(relay=sink.port, retry_ms=60000, extra=[connection_strategy(mailFromTimeout=400)]) as s:
        s.submit("bob@example.org", marked())
        check(asked.wait(10), "no RSET")
        in_log(s, " failed ")


def test_connection_timeouts_are_for_whole_replies():
    """A next hop that keeps sending a reply, byte by byte, has no more time for it than one that says nothing; what is slow but whole
    in time is heard."""
    def dripping(at):
        def hook(session, verb, _line):
            if verb != at:
                return None
            for byte in (b"220-x\r\n" if at == "BANNER" else b"250-x\r\n") * 1000:
                session.sock.sendall(bytes([byte]))
                time.sleep(0.05)
            return DROP
        return hook
    places = ("banner", "ehlo", "mail", "rcpt", "eod")
    times = {name: 600 for name in ("greetingTimeout", "ehloTimeout", "mailFromTimeout", "rcptToTimeout", "dataTimeout")}
    route = update("MtaOutboundStrategy", route={"match": {str(i): {"if": f"rcpt == '{at}@example.org'", "then": f"'{at}'"}
                                                           for i, at in enumerate(places)}, "else": "'local'"})
    with contextlib.ExitStack() as stack:
        sinks = [stack.enter_context(Sink(hook=dripping(at.upper()))) for at in places]
        s = stack.enter_context(Server(retry_ms=60000, extra=[
            *(relay_route(sink.port, at) for at, sink in zip(places, sinks)), route, connection_strategy(**times)]))
        began = time.monotonic()
        s.submit([f"{at}@example.org" for at in places], marked())
        wait_until(lambda: s.log().count(" deferred ") == len(places), 10, "a temporary failure at each")
        check(time.monotonic() - began < 120, "they had more time")
        equal(len(re.findall(' deferred .*reply="[^"]*timed out', s.log())), len(places), f"reasons: {s.log()[-2000:]}")

    def slow(session, verb, _line):
        time.sleep(0.3)
    with Sink(hook=slow) as sink, Server(relay=sink.port, extra=[connection_strategy(**times)]) as s:
        s.submit("bob@example.org", marked())
        sink.got()
        in_log(s, " delivered ")


def test_connection_connect_timeout():
    """connectTimeout: a host that does not answer a connection at all."""
    with socket.socket() as deaf, contextlib.ExitStack() as waiting:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):  # its queue is full
            s = waiting.enter_context(socket.socket())
            s.setblocking(False)
            s.connect_ex(deaf.getsockname())
        with Server(relay=deaf.getsockname()[1], retry_ms=60000, extra=[connection_strategy(connectTimeout=400)]) as s:
            s.submit("bob@example.org", marked())
            in_log(s, " deferred ", 15)
            check("timed out" in s.log() or "timeout" in s.log(), "not by the timeout")


def counting(most, delay=0.01):
    """A sink's hook that notes how many sessions there are at a time: from the greeting to QUIT."""
    active = set()

    def hook(session, verb, _line):
        with session.sink.lock:
            if verb == "BANNER":
                active.add(session.number)
                most.append(len(active))
            elif verb == "QUIT":
                active.discard(session.number)
        if verb == "EOD":
            time.sleep(delay)
        return None
    return hook


def submit_many(s, count, sessions, to="bob@example.org"):
    def run():
        with s.wire() as w:
            for _ in range(count // sessions):
                w.message(to, b"x\r\n")
    threads = [threading.Thread(target=run) for _ in range(sessions)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def test_connections_of_all_cores():
    """connectionsPerHop counts for the whole process: on any number of cores there are as many connections as it says,
    and never more."""
    for cores in (1, 2, 3, 4):
        most = []
        with Sink(hook=counting(most)) as sink, \
                Server(relay=sink.port, cores=cores, extra=[update("Performance", connectionsPerHop=10)]) as s:
            submit_many(s, 480, 16)
            sink.got(480, 60)
            equal(max(most), 10, f"most connections at a time, with {cores} cores")


def test_one_connection_goes_round():
    """A next hop that may have one connection: every core gets its mail through, one after the other."""
    most, by_core = [], {}
    with Sink(hook=counting(most, 0.002)) as sink, \
            Server(relay=sink.port, cores=3, retry_ms=None, extra=[update("Performance", connectionsPerHop=1)]) as s:
        submit_many(s, 90, 18)
        sink.got(90, 60)
        equal(max(most), 1, "most connections at a time")
        check(sink.connections >= 2, "no core gave the connection up")
        check("next-hop-down" not in s.log() and " deferred " not in s.log(), "mail was put off")
        for line in s.log().splitlines():
            if " received " in line:
                core = line.split("core=")[1].split(" ")[0]
                by_core[core] = by_core.get(core, 0) + 1
        check(len(by_core) > 1, f"mail came to one core only: {by_core}")


BY_NAME = [tls_strategy("one", startTls="disable"), tls_strategy("two", tlsTimeout=20000), tls_strategy("three", tlsTimeout=30000),
           update("MtaOutboundStrategy", tls={"match": {str(i): {"if": f"rcpt == '{name}@example.org'", "then": f"'{name}'"}
                                                        for i, name in enumerate(("one", "two", "three"))}, "else": "'default'"})]


def test_mixed_strategies_keep_their_connections():
    """Messages of several strategies to one next hop, in turns: each strategy keeps a connection of its own, on any core."""
    for cores, names in ((1, ["one", "two", "three", "bob"]), (2, ["one", "bob"])):  # five are what a host may have at first
        with Sink() as sink, Server(relay=sink.port, cores=cores, extra=BY_NAME) as s:
            for count in range(1, 41):
                with s.wire() as w:
                    w.message(f"{names[count % len(names)]}@example.org", b"x\r\n")
                sink.got(count)
            check(sink.connections <= 4, f"connections for 40 messages with {cores} cores: {sink.connections}")
            check("QUIT" not in sink.verbs(), "a connection was given up")


def test_mixed_strategies_within_the_limit():
    """Where the limit allows fewer connections than there are strategies, one that rests makes room: all mail arrives at
    once, and there are never more."""
    names = ["one", "two", "three", "bob"]
    for cores in (1, 3):
        most = []
        with Sink(hook=counting(most, 0)) as sink, Server(
                relay=sink.port, cores=cores, retry_ms=None, extra=[*BY_NAME, update("Performance", connectionsPerHop=2)]) as s:
            for count in range(1, 25):
                with s.wire() as w:
                    w.message(f"{names[count % 4]}@example.org", b"x\r\n")
                sink.got(count)
            check(max(most) <= 2, f"most connections at a time, with {cores} cores: {max(most)}")
            with s.wire() as w:
                for n in range(40):
                    w.message(f"{names[n // 3 % 4]}@example.org", b"x\r\n")
            sink.got(64, 30)
            check(max(most) <= 2, f"most connections at a time, with {cores} cores: {max(most)}")
            check("next-hop-down" not in s.log() and " deferred " not in s.log(), "mail was put off")
