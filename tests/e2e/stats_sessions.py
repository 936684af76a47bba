"""Scenarios of test_stats.py: sessions in every state, those that are refused, their handshakes."""

import resource
import socket
import ssl

import lib
from lib import check, constant, equal, free_port, no_verify, session_limits, update, wait_until
from stats_watch import leave_waiting
from test_management import Managed
from test_queue_api import act


def states(watch):
    """One session in every state."""
    implicit = free_port()
    port = free_port()
    listeners = {"l": lib.listener(port), "t": lib.listener(implicit, name="tls", tlsImplicit=True)}
    with Managed(listeners=listeners, cores=1, allow_relaying=False) as s:
        s.port = port
        greeted, in_data, in_chunk, chunked, skipping, failed, mailing, rcpting, tls = [s.wire() for _ in range(9)]
        bannered = s.wire(hello=False)
        bannered.then("220")
        starting = socket.create_connection(("127.0.0.1", implicit), timeout=10)
        mailing.expect("MAIL FROM:<a@example.net>", "250")
        for w in (rcpting, in_data, in_chunk, chunked, skipping, failed):
            w.begin("alice@example.org")
        in_data.expect("DATA", "354")
        in_chunk.send(b"BDAT 100\r\nabc")
        chunked.send(b"BDAT 3\r\nabc")
        chunked.then("250")
        skipping.send(b"BDAT 999999999999\r\nabc")
        failed.send(b"BDAT 200000000\r\n")
        tls.expect("STARTTLS", "220")
        rows = {"greeted": 1, "data": 1, "chunk": 1, "chunked": 1, "mail": 1, "rcpt": 1, "tls_handshake": 1,
                "bannered": 1, "start": 1, "closed": 0, "skip": 2, "chunk_failed": 0}
        want = {f"sessions_by_state{{state={k}}}": v for k, v in rows.items()}
        last = {}

        def there():
            last.update(watch.look(s))
            return {k: last[k] for k in want} == want
        try:
            wait_until(there, 15, "a session in every state")
        except lib.Fail:
            equal({k: last[k] for k in want}, want, "sessions by state")
        equal(last["sessions"], sum(want.values()), "sessions")

        def closing():
            """Over, and not yet closed by the client; that lasts two seconds at most."""
            closed = s.wire()
            leave_waiting(closed)
            return watch.look(s)["sessions_by_state{state=closed}"] > 0
        wait_until(closing, 15, "a session that is over")
        for w in (greeted, in_data, in_chunk, chunked, skipping, failed, mailing, rcpting, tls, bannered):
            w.sock.close()
        starting.close()
        numbers = watch.until(s, "sessions", lambda v: v == 0)
        equal({k: numbers[k] for k in want}, {k: 0 for k in want}, "sessions by state when all have gone")
    with Managed(cores=1, extra=[update("MtaStageData", maxMessageSize=constant("2000"))]) as s, s.wire() as w:
        w.begin("alice@example.org")
        w.send(b"BDAT 3000\r\n" + b"x" * 3000)
        w.then("552")
        watch.until(s, "sessions_by_state{state=chunk_failed}")
    with Managed(cores=1, allow_relaying=False) as s:
        act(s, "PauseMtaQueue")
        with s.wire() as w:
            w.message("alice@example.org", b"Subject: too late\r\n\r\n", sender="")
            w.expect("MAIL FROM:<a@example.net>", "250")
            w.expect("RCPT TO:<nobody@example.org>", "550")
            watch.until(s, "recipients_total{verdict=unknown_user}")
        s.api.destroy("Account", s.api.find("Account", name="alice"))
        act(s, "ResumeMtaQueue")
        watch.until(s, "recipients_failed_total{class=local}")


def refusals(watch):
    """Connections that are not served, by reason."""
    with Managed(cores=1, fields={"maxConnections": 2}) as s:
        with s.wire(), s.wire(), s.wire(hello=False) as w:
            w.then("421")
            numbers = watch.until(s, "sessions_refused_total{reason=listener_full}")
            equal(numbers["listener_refused_total{listener=smtp}"], 1, "refusals of the listener")
    with Managed(cores=1, settings={"maxConnections": 1}) as s:
        with s.wire(), s.wire(hello=False) as w:
            w.then("421")
            watch.until(s, "sessions_refused_total{reason=server_full}")
    with Managed(cores=1, settings={"proxyTrustedNetworks": {"127.0.0.1/32": True}, "maxConnectionsPerClient": 1}) as s:
        header = b"PROXY TCP4 203.0.113.7 127.0.0.1 4000 25\r\n"
        with s.wire(hello=False, first=header) as w, s.wire(hello=False, first=header) as other:
            w.then("220")
            other.then("421")
            watch.until(s, "sessions_refused_total{reason=client_full}")
    with Managed(cores=1, settings={"proxyTrustedNetworks": {"127.0.0.1/32": True}, "maxConnectionsPerNetwork": 1}) as s:
        with s.wire(hello=False, first=b"PROXY TCP4 203.0.113.7 127.0.0.1 4000 25\r\n") as w:
            w.then("220")
            with s.wire(hello=False, first=b"PROXY TCP4 203.0.113.8 127.0.0.1 4000 25\r\n") as other:
                other.then("421")
            watch.until(s, "sessions_refused_total{reason=network_full}")
    with Managed(cores=1, extra=[update("MtaInboundSession", errorDelay=1, errorDelayAfter=0)]) as s, s.wire() as w:
        w.expect("NONSENSE", "500")
        watch.until(s, "replies_delayed_total")
    with Managed(cores=1) as s, s.wire() as w:
        s.api.create("MtaInboundThrottle", description="per recipient", key={"rcpt": True}, rate={"count": 1, "period": 3600000})
        s.api.update("MtaStageMail", "singleton", isSenderAllowed={"match": {}, "else": "counter_incr('*', sender)"})
        w.expect("MAIL FROM:<a@example.net>", "250")
        w.expect("RCPT TO:<alice@example.org>", "250")
        w.expect("RSET", "250")
        w.expect("MAIL FROM:<a@example.net>", "250")
        w.expect("RCPT TO:<alice@example.org>", "452")
        watch.until(s, "expression_keys")
        for name in ("inbound_throttle_passed_total{throttle=per recipient}", "inbound_throttle_over_total{throttle=per recipient}",
                     "recipients_total{verdict=throttled}"):
            watch.until(s, name)
    with Managed(cores=1, settings={"proxyTrustedNetworks": {"127.0.0.1/32": True}},
                 extra=[{"@type": "create", "object": "BlockedIp",
                         "value": {"b": {"address": "203.0.113.0/24"}}}]) as s:
        for _ in range(30):
            with s.wire(hello=False) as w:
                w.send("not a header\r\n")
                w.at_end()
        watch.until(s, "sessions_refused_total{reason=proxy_header}")
        watch.until(s, "log_repeats_total")
        with s.wire(hello=False):
            watch.until(s, "proxy_headers_awaited")
            watch.until(s, "sessions_refused_total{reason=proxy_timeout}")
        with s.wire(hello=False, first=b"PROXY TCP4 203.0.113.7 127.0.0.1 4000 25\r\n") as w:
            w.at_end()
        watch.until(s, "sessions_refused_total{reason=blocked}")
    with Managed(cores=1, extra=[session_limits(timeout="1s")]) as s, s.wire() as w:
        w.then("421")
        watch.until(s, "sessions_timed_out_total")
    slow = session_limits(timeout="1s", maxCommands="100000000", minDataRateGrace="1s")
    with Managed(cores=1, extra=[slow]) as s, s.wire() as w:
        w.begin("alice@example.org")
        w.expect("DATA", "354")
        w.then("421")
        watch.until(s, "sessions_slow_data_total")
        with s.wire() as deaf:
            deaf.sock.settimeout(0.2)
            try:
                while True:
                    deaf.send(b"NOOP\r\n" * 10000)
            except OSError:  # no more is taken, or it is over
                watch.until(s, "sessions_slow_readers_total")
    with Managed(cores=1, start=False, extra=[update("Performance", overloadDescriptors=100)]) as s:
        s.spawn(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)))
        wait_until(lambda: " ready " in s.log(), 20, "the log line 'ready'")
        watch.look(s)  # the endpoint's connection stays open
        waiting = [s.wire(hello=False) for _ in range(100)]
        watch.until(s, "accept_shortages_total")
        for w in waiting:
            w.sock.close()


def tls_server(watch):
    """Handshakes of clients: full, resumed, failed by reason."""
    def started(server):
        w = server.wire()
        w.expect("STARTTLS", "220")
        return w

    def fails(server, context, reason):
        w = started(server)
        try:
            context.wrap_socket(w.sock, server_hostname="mx.example.org")
            raise lib.Fail(f"a handshake that should fail ({reason})")
        except (ssl.SSLError, OSError):
            w.sock.close()
        watch.until(server, f"tls_server_handshakes_failed_total{{reason={reason}}}")

    with Managed(cores=1) as s:
        context = no_verify()
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # its tickets come with the handshake
        w = started(s)
        first = context.wrap_socket(w.sock)
        first.sendall(b"EHLO x\r\n")
        first.recv(4096)
        session = first.session
        watch.until(s, "tls_server_handshakes_full_total", lambda v: v == 1)
        w = started(s)
        again = context.wrap_socket(w.sock, session=session)
        check(again.session_reused, "the session is not resumed")
        again.sendall(b"EHLO x\r\n")
        again.recv(4096)  # the client's message ends the handshake: by now it has been read
        watch.until(s, "tls_server_handshakes_resumed_total", lambda v: v == 1)
        first.close(), again.close()
        rsa_only = no_verify()
        rsa_only.maximum_version = ssl.TLSVersion.TLSv1_2
        rsa_only.set_ciphers("AES128-SHA")
        fails(s, rsa_only, "no_common")  # the certificate's key is not for it
        strict = ssl.create_default_context()
        strict.maximum_version = ssl.TLSVersion.TLSv1_2  # with TLS 1.3 OpenSSL's alert is not readable there
        fails(s, strict, "alert")
        w = started(s)
        w.send(b"EHLO in clear\r\n")
        watch.until(s, "tls_server_handshakes_failed_total{reason=protocol}")
        w.sock.close()
        w = started(s)
        w.sock.close()
        watch.until(s, "tls_server_handshakes_failed_total{reason=closed}")
