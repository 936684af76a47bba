"""Statistics: every one moves when it should, and is there when a core is not."""

import ctypes
import json
import os
import re
import resource
import shutil
import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import lib
from lib import (DROP, Sink, Skip, check, constant, equal, free_port, no_verify, relay_route, session_limits,
                 sink_tls, throwaway_certificate, update, wait_until, work_folder)
from nameserver import NameServer
from client import at_server, start_with
from test_lists import mailing_list
from test_management import Api, Managed
from test_queue_api import act

# What no test of this kind can reach, and where it is tested instead (file, and a word in it).
ELSEWHERE = {
    "inbound_throttle_forgotten_total": ("tests/core/test_rate_table.c", "a_full_table_forgets_what_was_used_least"),
    "expression_keys_forgotten_total": ("tests/core/test_key_table.c", "full_of_keys"),
    "ring_overflowed_total": ("tests/io/check_ring.c", "stats.overflowed > 0"),
}
# Rows that need memory to run out (tests/smtp/check_alloc_mail.c does that), or the moment in which a listener ends;
# and what is not tried here: a thousand silent proxies (test_proxy.py does), mailboxes have no connections, a server
# checks no certificates, MX hosts are foreign.
NEVER = {
    "sessions_refused_total{reason=no_session}",
    "sessions_refused_total{reason=stopping}", "sessions_refused_total{reason=proxy_waits}", "recipients_total{verdict=no_memory}",
    "tls_server_handshakes_failed_total{reason=certificate}",
} | {f"delivery_connections{kind}_total{{class={c}}}" for kind in ("", "_failed", "_reused")
     for c in ("local", "mx")} | {
    "delivery_attempts_total{class=mx}", "delivery_attempt_seconds{class=mx}", "delivery_age_seconds{class=mx}",
    "recipients_delivered_total{class=mx}", "recipients_failed_total{class=mx}",
}


def flat(statistics):
    """{name or name{label=value,...}: number}; of a histogram the count."""
    numbers = {}
    for name, value in statistics.items():
        if isinstance(value, dict):
            numbers[name] = value["count"]
        elif isinstance(value, list):
            for row in value:
                labels = ",".join(f"{k}={v}" for k, v in row.items() if isinstance(v, str))
                numbers[f"{name}{{{labels}}}"] = row["value"] if "value" in row else row["count"]
        else:
            numbers[name] = value
    return numbers


class Watch:
    """What was ever seen to be other than zero, in all servers of a test."""

    def __init__(self):
        self.known, self.moved = set(), set()

    def look(self, server):
        """All cores together; what is told apart by core only, of each."""
        status, _, body = server.api.http("GET", "/stats", headers={})
        equal(status, 200, "status of /stats")
        stats = json.loads(body)
        numbers = flat(stats["total"])
        for core in stats["cores"]:
            for name, value in flat(core).items():
                self.known.add(name)
                if value:
                    self.moved.add(name)
                if name not in numbers:
                    numbers[name] = value
        return numbers

    def until(self, server, name, holds=lambda value: value > 0, seconds=15):
        """Looks until one statistic is as it should be."""
        return wait_until(lambda: (lambda n: n if holds(n.get(name, 0)) else None)(self.look(server)), seconds,
                          f"{name} of /stats")


def changes(before, after):
    return {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}


def expect_changes(watch, server, act_, expected, seconds=15):
    """After act_() these have grown by so much, and nothing else of the same names has moved."""
    before = watch.look(server)
    act_()
    names = {name.split("{")[0] for name in expected}

    def settled():
        got = {k: v for k, v in changes(before, watch.look(server)).items() if k.split("{")[0] in names}
        return got if got == expected else None
    try:
        wait_until(settled, seconds, "the changes")
    except lib.Fail:
        got = {k: v for k, v in changes(before, watch.look(server)).items() if k.split("{")[0] in names}
        equal(got, expected, "changes of the statistics")


def preload(server, **files):
    """Starts a server with the faults of hold_core.c."""
    server.start(env=dict(server.env, LD_PRELOAD=os.path.join(lib.BUILD, "tests", "hold_core.so"),
                          ASAN_OPTIONS="verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", ""), **files))


def leave_waiting(wire):
    """The server waits for the client's end, having half-closed (where hold_core.c holds it): there was more behind QUIT."""
    wire.send(b"QUIT\r\nNOOP\r\n")
    wire.then("221")


# --- scenarios: each moves a part of the statistics -----------------------------------------------

LMTP_TOO = {"match": {"0": {"if": "rcpt == 'lucy@example.org'", "then": "'lmtp'"},
                      "1": {"if": "rcpt == 'max@example.org'", "then": "'mx'"},
                      "2": {"if": "is_local_address(rcpt)", "then": "'local'"}}, "else": "'source'"}


def mail(watch):
    """Mail in and out, counted to the last one."""
    def reply(session, verb, line):
        if verb == "RCPT" and "refused" in line:
            return "550 5.1.1 no"
        if verb == "RCPT" and "later" in line:
            return "450 4.2.0 later"
        return None

    with Sink(hook=reply) as sink, Sink(lmtp=True) as lmtp, \
            Managed(relay=sink.port, extra=[relay_route(lmtp.port, name="lmtp", protocol="lmtp"),
                                            update("MtaOutboundStrategy", route=LMTP_TOO)], cores=1) as s:
        before = watch.look(s)
        with s.wire() as w:
            w.message(["alice@example.org", "alice@example.org"], b"Subject: x\r\n\r\n" + b"y" * 2000 + b"\r\n")
            w.message("bob@example.org", b"Subject: two\r\n\r\n")
            w.message(["lucy@example.org", "carl@example.org"], b"Subject: three\r\n\r\n")
            w.expect("MAIL FROM:<s@example.net>", "250")
            w.expect("RCPT TO:<x@elsewhere.example>", "550")
            w.expect("RCPT TO:<max@example.org>", "250")
            w.expect("NONSENSE", "500")
            w.expect("RSET", "250")
            w.send("BDAT 5\r\nabcde")
            w.then("503")
        watch.until(s, "recipients_delivered_total{class=local}", lambda v: v == 1)
        watch.until(s, "recipients_delivered_total{class=lmtp}", lambda v: v == 1)
        got = changes(before, watch.until(s, "recipients_delivered_total{class=smtp}", lambda v: v == 2))
        for name, value in {
                "sessions_accepted_total": 1, "listener_accepted_total{listener=smtp}": 1,
                "messages_received_total": 3, "message_size_bytes": 3, "message_acknowledge_seconds": 3,
                "recipients_total{verdict=local}": 1, "recipients_total{verdict=duplicate}": 1,
                "recipients_total{verdict=relay}": 3, "recipients_total{verdict=mx}": 1,
                "recipients_total{verdict=unknown_domain}": 1,
                "smtp_replies_total{verb=connect,code=220,reply=banner}": 1,
                "smtp_replies_total{verb=ehlo,code=250,reply=helo_ok}": 1,
                "smtp_replies_total{verb=mail,code=250,reply=sender_ok}": 4,
                "smtp_replies_total{verb=rcpt,code=250,reply=rcpt_ok}": 6,
                "smtp_replies_total{verb=rcpt,code=550,reply=relay_denied}": 1,
                "smtp_replies_total{verb=data,code=354,reply=data_go}": 3,
                "smtp_replies_total{verb=data,code=250,reply=queued}": 3,
                "smtp_replies_total{verb=unknown,code=500,reply=unknown_command}": 1,
                "smtp_replies_total{verb=rset,code=250,reply=done}": 1,
                "smtp_replies_total{verb=bdat,code=503,reply=wrong_order}": 1,
                "delivery_attempts_total{class=local}": 1, "delivery_attempts_total{class=smtp}": 2,
                "delivery_attempts_total{class=lmtp}": 1, "route_delivered_total{route=source}": 2,
                "route_delivered_total{route=local}": 1, "route_delivered_total{route=lmtp}": 1,
                "delivery_age_seconds{class=smtp}": 2, "delivery_attempt_seconds{class=lmtp}": 1,
                "delivery_connections_total{class=lmtp}": 1, "route_evaluations_total": 22}.items():
            equal(got.get(name, 0), value, name)
        # Kept connections are used again; some are refused, some later.
        s.submit("bob@example.org")
        watch.until(s, "delivery_connections_reused_total{class=smtp}")
        s.submit("lucy@example.org")
        watch.until(s, "delivery_connections_reused_total{class=lmtp}")
        lmtp.hook = lambda session, verb, line: {"lucy@example.org": "550 5.1.1 no"}.get(line) if verb == "RESULT" \
            else None
        s.submit("lucy@example.org")
        watch.until(s, "recipients_failed_total{class=lmtp}")
        lmtp.hook = lambda session, verb, line: "450 4.2.0 later" if verb == "RESULT" else None
        s.submit("lucy@example.org")
        watch.until(s, "recipients_deferred_total{class=lmtp}")
        lmtp.stop()
        s.submit("refused@example.org", sender="")
        watch.until(s, "recipients_failed_total{class=smtp}")
        s.submit("later@example.org")
        watch.until(s, "recipients_deferred_total{class=smtp}")
        watch.until(s, "journal_reads_total")
        s.submit("max@example.org")
        watch.until(s, "recipients_deferred_total{class=mx}")
        watch.until(s, "delivery_connections_failed_total{class=lmtp}", seconds=20)
        watch.until(s, "next_hops_down")
        watch.until(s, "route_failed_total{route=source}")
        watch.until(s, "route_deferred_total{route=mx}")


def verifications(watch):
    """Relays that are asked about recipients."""
    gate, mood = threading.Event(), {"later": "450 4.2.1 busy", "no": "550 5.1.1 no", "cut": DROP}

    def reply(session, verb, line):
        if verb != "RCPT":
            return None
        if "silent" in line or "held" in line:
            gate.wait(30)
        return next((answer for name, answer in mood.items() if f"<{name}" in line), None)
    with Sink(hook=reply) as sink, Managed(relay=sink.port, cores=1, extra=[
            {"@type": "update", "object": "Domain", "id": "#d", "value": {"verifyRecipients": "defer"}},
            update("Performance", verificationTimeout=60000)]) as s:
        def rcpts(*names):
            with s.wire(seconds=40) as w:
                w.expect("MAIL FROM:<a@example.net>", "250")
                return [w.cmd(f"RCPT TO:<{name}@example.org>")[:3] for name in names]
        expect_changes(watch, s, lambda: equal(rcpts("bob", "no", "later", "no", "alice"), ["250", "550", "451", "550", "250"],
                                               "replies"),
                       {"verifications_total{result=accepted}": 1, "verifications_total{result=refused}": 1,
                        "verifications_total{result=undecided}": 1, "verifications_kept_total": 1,
                        "recipients_total{verdict=refused_there}": 2, "recipients_total{verdict=not_verified}": 1,
                        "recipients_total{verdict=local}": 1, "recipients_total{verdict=relay}": 1})
        watch.until(s, "verification_connections")
        tune(s, verificationQuestions=1)
        waiting_ = [s.wire(seconds=40) for _ in range(2)]
        for w in waiting_:
            w.expect("MAIL FROM:<a@example.net>", "250")
            w.send(b"RCPT TO:<held@example.org>\r\n")
        watch.until(s, "verifications_shared_total")
        equal(rcpts("other"), ["451"], "over the bound")
        watch.until(s, "verifications_total{result=full}")
        gate.set()
        for w in waiting_:
            w.then("250")
            w.sock.close()
        gate.clear()
        tune(s, verificationTimeout=100)
        equal(rcpts("silent"), ["451"], "no answer")
        gate.set()
        watch.until(s, "verifications_total{result=late}")
        tune(s, verificationTimeout=60000)
        wait_until(lambda: rcpts("cut") and watch.look(s).get("verifications_total{result=unreachable}"), 20,
                   "unreachable")


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


def tls_client(watch):
    """Handshakes with next hops."""
    tls = sink_tls()
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.load_cert_chain(*throwaway_certificate(work_folder()))
    with Sink(tls=tls, extensions=Sink.ALL + ("STARTTLS",)) as sink, \
            Managed(relay=sink.port, cores=1, retry_ms=200) as s:
        s.submit("bob@example.org")
        watch.until(s, "tls_client_handshakes_full_total")
        relay = s.api.find("MtaRoute", name="source")
        s.api.update("MtaRoute", relay, address="localhost")
        for _ in range(2):  # by name, since sessions are kept by name; a changed route makes a new hop
            s.submit("bob@example.org")
            wait_until(lambda: watch.look(s)["queue_messages"] == 0, 10, "an empty queue")
            s.api.update("MtaRoute", relay, port=free_port())
            s.api.update("MtaRoute", relay, port=sink.port)
        watch.until(s, "tls_client_handshakes_resumed_total")
        s.api.update("MtaRoute", relay, implicitTls=True, allowInvalidCerts=False)
    with Sink(tls=tls) as sink, Managed(relay=sink.port, cores=1, retry_ms=200, relay_fields={
            "implicitTls": True, "allowInvalidCerts": False}) as s:
        s.submit("bob@example.org")
        watch.until(s, "tls_client_handshakes_failed_total{reason=certificate}")

    def breaks(answer, reason):
        """A next hop that does not do as it said it would."""
        def reply(session, verb, line):
            if verb == "STARTTLS":
                session.sock.sendall(b"220 go\r\n")
                session.sock.recv(4096)
                if answer:
                    session.sock.sendall(answer)
                    time.sleep(0.05)
                return DROP
            return None
        with Sink(hook=reply, extensions=Sink.ALL + ("STARTTLS",)) as sink, Managed(relay=sink.port, cores=1) as s:
            s.submit("bob@example.org")
            watch.until(s, f"tls_client_handshakes_failed_total{{reason={reason}}}")
    breaks(b"", "closed")
    breaks(b"250 what?\r\n", "protocol")
    breaks(b"\x15\x03\x01\x00\x02\x02\x28", "alert")  # handshake_failure
    # ServerHello with a cipher that no client has offered... a version that it does not speak: TLS 1.0
    hello = b"\x03\x01" + bytes(32) + b"\x00" + b"\x00\x2f" + b"\x00"
    hello = b"\x02" + len(hello).to_bytes(3, "big") + hello
    breaks(b"\x16\x03\x01" + len(hello).to_bytes(2, "big") + hello, "no_common")


def queue(watch):
    """A queue that waits: paused, for connections, in memory."""
    with Sink(hook=lambda session, verb, line: wait_a_little() if verb == "EOD" else None) as sink, \
            Managed(relay=sink.port, cores=1) as s:
        act(s, "PauseMtaQueue")
        for _ in range(30):
            s.submit("bob@example.org")
        numbers = watch.until(s, "queue_messages", lambda v: v == 30)
        equal(numbers["delivery_paused"], 1, "paused")
        act(s, "ResumeMtaQueue")
        watch.until(s, "delivery_waiting")
        watch.until(s, "delivery_connections")
        watch.until(s, "queue_active_messages")
        numbers = watch.until(s, "queue_messages", lambda v: v == 0, seconds=30)
        equal(numbers["delivery_paused"], 0, "paused, after it was resumed")


def wait_a_little():
    time.sleep(0.1)


def trouble(watch):
    """A route expression that cannot be evaluated, a mailbox and a journal that cannot be written."""
    cannot = {"match": {"0": {"if": "[rcpt, sender] * 2 > 0", "then": "'local'"}}, "else": "'local'"}
    folder = work_folder()
    fail = os.path.join(folder, "fail")
    with Managed(cores=1, start=False) as s:
        preload(s, FAIL_WRITES=fail)
        with s.wire() as w:
            w.message("alice@example.org", b"Subject: good\r\n\r\n")
            s.delivered(1)
            watch.until(s, "queue_messages", lambda v: v == 0)  # its outcome is written
            open(fail, "w").close()
            w.begin("alice@example.org")
            w.expect("DATA", "354")
            w.send(b"Subject: bad\r\n\r\n.\r\n")
            w.then("451")
            os.remove(fail)
            numbers = watch.until(s, "messages_not_stored_total")
            check(numbers["journal_commits_failed_total"] > 0, "failed commits")

        def taken():
            with s.wire() as w:
                return w.cmd("MAIL FROM:<a@example.net>").startswith("250")
        wait_until(taken, 10, "the journal's recovery")
        s.api.update("MtaOutboundStrategy", "singleton", route=cannot)
        with s.wire() as w:
            w.expect("MAIL FROM:<a@example.net>", "250")
            w.expect("RCPT TO:<alice@example.org>", "451")
        numbers = watch.until(s, "route_evaluations_failed_total")
        equal(numbers["recipients_total{verdict=no_route}"], 1, "recipients without a route")
        watch.until(s, "route_steps_total")
        watch.until(s, "route_evaluation_seconds")
    with Managed(cores=1) as s:
        s.submit("alice@example.org")
        s.delivered(1)
        new = os.path.join(s.data, "mail", "example.org", "alice", "tmp")
        os.rmdir(new)
        open(new, "w").close()  # not a folder
        s.submit("alice@example.org")
        watch.until(s, "recipients_deferred_total{class=local}")
        os.remove(new)
        s.delivered(2)


def stall(watch):
    """A core that stands still: seen from outside, logged, and the other core goes on."""
    folder = work_folder()
    hold = os.path.join(folder, "hold")
    with Managed(start=False, cores=2) as s:
        preload(s, HOLD_CORE=hold)
        s.api.update("Performance", "singleton", receiveBuffers=8)
        burst = [s.wire() for _ in range(60)]
        for _ in range(8):  # buffers that are too many go when they have been used
            for other in burst:
                other.expect("NOOP", "250")
        open(hold, "w").close()
        with s.wire() as w:
            leave_waiting(w)
            for other in burst:
                other.send(b"NOOP\r\n")
            wait_until(lambda: " core-stalled " in s.log(), 10, "the log line core-stalled")
            line = next(x for x in s.log().splitlines() if " core-stalled " in x)
            numbers = watch.look(s)
            equal(numbers["core_answered"], 0, "whether all cores answer")
            equal(numbers["ready"], 0, "whether all are ready")
            stats = s.api.stats()
            [dead] = [c for c in stats if not c["core_answered"]]
            [alive] = [c for c in stats if c["core_answered"]]
            check(dead["core_silent_seconds"] > 0, f"silent: {dead['core_silent_seconds']}")
            check(dead["core_busy_seconds"][0]["value"] >= 1, f"busy: {dead['core_busy_seconds']}")
            check(dead["core_busy_seconds"][0]["step"] != "waiting", f"at what: {dead['core_busy_seconds']}")
            equal(alive["core_busy_seconds"][0]["step"], "waiting", "what the other core does")
            check(f"step={dead['core_busy_seconds'][0]['step']}" in line, f"the step in the log: {line}")
            equal(s.api.http("GET", "/healthz/ready", headers={})[0], 503, "readiness")
            os.remove(hold)
        wait_until(lambda: " core-goes-on " in s.log(), 10, "the log line core-goes-on")
        for other in burst:
            other.then("250")
        watch.until(s, "core_answered", lambda v: v == 1)
        numbers = watch.until(s, "ring_no_buffer_total")  # more arrived at once than there are buffers
        check(numbers["loop_turn_longest_seconds"] >= 1, "the longest turn")
        for other in burst:
            other.sock.close()


def logs(watch):
    """Log lines that nobody writes out in time are dropped and counted."""
    folder = work_folder()
    hold = os.path.join(folder, "hold")
    many = [update("MtaStageData", maxMessages=constant("100000")), session_limits(maxCommands="100000")]
    with Managed(start=False, cores=1, extra=many) as s:
        preload(s, HOLD_LOG=hold)
        with s.wire() as w:
            open(hold, "w").close()
            for _ in range(11):
                w.send(b"MAIL FROM:<a@example.net>\r\nRCPT TO:<alice@example.org>\r\nBDAT 2 LAST\r\n\r\n" * 100)
                for _ in range(300):
                    w.then("250")
            os.remove(hold)
        watch.until(s, "log_lines_dropped_total")


def tune(server, **fields):
    """Changes properties of Performance; in force when this returns."""
    server.api.update("Performance", "singleton", **fields)


def histogram(server, name):
    """Of the only core."""
    return server.api.stats()[0][name]


def memory(watch):
    """A smaller bound for content: new sessions are refused, until it is raised again."""
    with Managed(cores=1) as s:
        busy = [s.wire() for _ in range(25)]
        for w in busy:
            w.begin("alice@example.org")
            w.expect("DATA", "354")
            w.send(b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 400)

        def taken():
            [used] = [r["value"] for r in s.api.stats()[0]["pool_used_bytes"] if r["pool"] == "blocks"]
            return used > 760000
        wait_until(taken, 10, "content in memory")
        tune(s, contentMemory=1 << 20)
        with s.wire(hello=False) as w:
            w.then("421")
        watch.until(s, "sessions_refused_total{reason=memory}")
        tune(s, contentMemory=None)
        for w in busy:
            w.send(b".\r\n")
            w.then("250")
            w.sock.close()
        s.delivered(25)


def overload(watch):
    """Too long a queue: new connections are refused until it is shorter (test_overload.py has all resources)."""
    with Managed(cores=1) as s:
        act(s, "PauseMtaQueue")
        s.submit("alice@example.org")
        tune(s, overloadQueueMessages=1)
        watch.until(s, "overload_level{resource=queue_messages}")
        with s.wire(hello=False) as w:
            w.then("421")
        watch.until(s, "sessions_refused_total{reason=overload}")
        act(s, "ResumeMtaQueue")
        s.delivered()


def limits(watch):
    """What quotas refuse and throttles of deliveries put off; mail that is made here: a report, and for a list's members."""
    def reply(session, verb, line):
        return "550 5.1.1 no" if verb == "RCPT" and "nobody" in line else None
    with Sink(hook=reply) as sink, Managed(relay=sink.port, cores=1, extra=[mailing_list("team", "alice@example.org")]) as s:
        s.api.create("MtaOutboundThrottle", description="slow", key={"rcptDomain": True}, rate={"count": 1, "period": 3600000})
        before = watch.look(s)
        for _ in range(3):
            s.submit("bob@example.org")
        numbers = watch.until(s, "outbound_throttle_over_total{throttle=slow}", lambda v: v == 2)
        equal(numbers["outbound_throttle_passed_total{throttle=slow}"], 1, "what the throttle let pass")
        s.api.create("MtaQueueQuota", description="small", messages=1)
        s.submit("alice@example.org")
        watch.until(s, "queue_messages", lambda v: v == 2)
        s.submit("bob@example.org")
        with s.wire() as w:
            w.begin("alice@example.org")
            w.expect("DATA", "354")
            w.send(b"Subject: too many\r\n\r\n.\r\n")
            w.then("452")
        numbers = watch.until(s, "queue_quota_refused_total{quota=small}", lambda v: v == 1)
        equal(changes(before, numbers)["messages_received_total"], 5, "messages")
    with Sink(hook=reply) as sink, Managed(relay=sink.port, cores=1, extra=[mailing_list("team", "alice@example.org")]) as s:
        expect_changes(watch, s, lambda: s.submit("team@example.org"),
                       {"list_messages_total": 1, "recipients_delivered_total{class=local}": 2})  # the list, its member
        before = watch.look(s)
        s.submit("nobody@example.org", sender="alice@example.org")
        numbers = watch.until(s, "recipients_delivered_total{class=local}", lambda v: v == 3)
        equal(changes(before, numbers).get("reports_total"), 1, "reports")


def names(watch):
    """Lookups: asked, kept, by TCP, without an answer in time, without any."""
    asks = {"match": {}, "else": "is_empty(dns_query(sender_domain, 'ipv4'))"}
    with NameServer({"a.example": {"A": ["192.0.2.1"]}}, ttl=600) as server, \
            Managed(cores=1, extra=[server.resolver(timeout=500, attempts=2), update("MtaStageMail", isSenderAllowed=asks)]) as s:
        def mail_from(domain, code):
            with s.wire(seconds=30) as w:
                w.expect(f"MAIL FROM:<x@{domain}>", code)
        expect_changes(watch, s, lambda: mail_from("a.example", "5"),
                       {"dns_lookups_total": 1, "dns_queries_total": 1, "dns_lookup_seconds": 1})
        expect_changes(watch, s, lambda: mail_from("A.example", "5"), {"dns_lookups_kept_total": 1})
        server.mode = "truncate"
        expect_changes(watch, s, lambda: mail_from("b.example", "250"),
                       {"dns_lookups_total": 1, "dns_queries_total": 2, "dns_queries_tcp_total": 1})
        server.mode = "silent"
        with s.wire(seconds=30) as w:
            w.send(b"MAIL FROM:<x@c.example>\r\n")
            watch.until(s, "dns_lookups")
            w.then("451")
        numbers = watch.until(s, "dns_lookups_failed_total", lambda v: v == 1)
        equal((numbers["dns_queries_timed_out_total"], numbers["dns_lookups"]), (2, 0), "timeouts, lookups under way")


SCENARIOS = (mail, verifications, states, refusals, tls_server, tls_client, queue, trouble, stall, logs, memory, overload,
             limits, names)


def table():
    """The names of all statistics, from the reference page."""
    done = lib.run_ringmx("reference", "statistics")
    equal(done.returncode, 0, "exit code of reference statistics")
    return [line.split("`")[1] for line in done.stdout.splitlines() if line.startswith("| `")]


def test_every_statistic_moves():
    """Every statistic, and every value of its fixed labels, is other than zero when it should be."""
    watch = Watch()
    with ThreadPoolExecutor(4) as pool:  # each has servers of its own and waits most of the time
        for done in [pool.submit(scenario, watch) for scenario in SCENARIOS]:
            done.result()
    names = table()
    check(len(names) > 70, f"the table of statistics has {len(names)} rows")
    known = {k.split("{")[0] for k in watch.known} - {"core"}
    equal(sorted(set(names) ^ known), [], "the table and /stats")
    for name, (path, word) in ELSEWHERE.items():
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        with open(os.path.join(root, path), encoding="utf-8") as f:
            check(word in f.read(), f"{path} does not test {name}")
    by_name = {k.split("{")[0] for k in watch.moved}
    equal(sorted(set(names) - by_name - set(ELSEWHERE)), [], "statistics that never moved")
    fixed = re.compile(r"\{(state|reason|verdict|class)=")
    still = {k for k in watch.known - watch.moved if fixed.search(k) and k.split("{")[0] not in ELSEWHERE}
    equal(sorted(still - NEVER), [], "values that never moved")
    equal(sorted(NEVER & watch.moved), [], "values that cannot move, and did")


# --- tuning: every property of Performance has its effect, without a restart ----------------------


def tune_receive_buffers(s, sink):
    for count in (4096, 8, 300):
        tune(s, receiveBuffers=count)
        equal(s.api.stats()[0]["receive_buffers"], count, "receive buffers")
        s.submit("alice@example.org", b"Subject: long\r\n\r\n" + b"z" * 900000 + b"\r\n" if count == 8 else b"\r\n")
    # Those of the 4096 that were too many have gone as they came back, or are still at the kernel.
    check(s.api.stats()[0]["receive_buffers_free"] >= 300, "free receive buffers")


def burst(s, clients, data, replies):
    """Everything at once: the core is held meanwhile."""
    with s.wire() as w:
        open(s.hold, "w").close()
        leave_waiting(w)
        wait_until(lambda: s.api.stats()[0]["core_busy_seconds"][0]["step"] != "waiting", 5, "a core that is held")
        for client in clients:
            client.send(data)
        os.remove(s.hold)
    for client in clients:
        for _ in range(replies):
            client.then("250")


def tune_turn_completions(s, sink):
    clients = [s.wire() for _ in range(30)]
    tune(s, turnCompletions=1)
    before = histogram(s, "loop_turn_completions")
    burst(s, clients, b"NOOP\r\n", 1)
    after = histogram(s, "loop_turn_completions")
    equal(after["sum"] - before["sum"] <= after["count"] - before["count"], True, "at most one completion a turn")
    tune(s, turnCompletions=1024)
    before = after["max"]
    burst(s, clients, b"NOOP\r\n", 1)
    check(histogram(s, "loop_turn_completions")["max"] > max(1, before - 1), "several completions a turn")
    for client in clients:
        client.sock.close()


def tune_session_steps(s, sink):
    """One burst of one session takes more turns with fewer steps a turn."""
    data = b"RSET\r\nMAIL FROM:<a@example.net>\r\n" + b"RCPT TO:<alice@example.org>\r\n" * 800

    def turns(steps):
        tune(s, sessionSteps=steps)
        before = s.api.stats()[0]["loop_turns_total"]
        with s.wire() as w:
            burst(s, [w], data, 802)
        return s.api.stats()[0]["loop_turns_total"] - before
    check(turns(16) > 800 / 16, "turns with 16 steps a turn")


def tune_commit_delay(s, sink):
    act(s, "PauseMtaQueue")  # no outcome has begun to wait before them
    tune(s, commitDelay=50000)
    before = histogram(s, "message_acknowledge_seconds")
    for _ in range(3):
        s.submit("alice@example.org")
    after = histogram(s, "message_acknowledge_seconds")
    act(s, "ResumeMtaQueue")
    wait_until(lambda: s.api.stats()[0]["queue_messages"] == 0, 10, "an empty queue")
    equal(after["count"] - before["count"], 3, "acknowledged messages")
    check(after["sum"] - before["sum"] >= 3 * 0.05, f"time to acknowledge: {after}")


def tune_commit_records(s, sink):
    tune(s, commitRecords=2, commitDelay=50000)
    before = histogram(s, "journal_commit_records")
    clients = [s.wire() for _ in range(20)]
    for client in clients:
        client.begin("alice@example.org")
        client.expect("DATA", "354")
    burst(s, clients, b".\r\n", 1)
    after = histogram(s, "journal_commit_records")
    check(after["sum"] - before["sum"] <= 2 * (after["count"] - before["count"]), "records of a commit")
    for client in clients:
        client.sock.close()


def tune_outcome_delay(s, sink):
    tune(s, outcomeDelay=1)
    s.submit("alice@example.org")
    wait_until(lambda: s.api.stats()[0]["queue_messages"] == 0, 10, "an empty queue")


def waiting(s, sink, count):
    """So many messages for a next hop that does not answer before `sink.gate` is opened."""
    sink.gate.clear()
    for _ in range(count):
        s.submit("bob@example.org")


def settled(s, name, value):
    """It comes to this value, and no further."""
    wait_until(lambda: s.api.stats()[0][name] == value, 10, f"{name} of {value}: {s.api.stats()[0][name]}")
    time.sleep(0.2)
    equal(s.api.stats()[0][name], value, name)


def flow(s, sink):
    sink.gate.set()
    wait_until(lambda: s.api.stats()[0]["queue_messages"] == 0, 20, "an empty queue")


def tune_active_messages(s, sink):
    tune(s, activeMessages=16, connectionsPerHop=4)
    waiting(s, sink, 30)
    settled(s, "queue_active_messages", 16)
    tune(s, activeMessages=20)
    settled(s, "queue_active_messages", 20)
    flow(s, sink)


def tune_delivery_memory(s, sink):
    tune(s, deliveryMemory=1 << 20)
    sink.gate.clear()
    for _ in range(6):
        s.submit("bob@example.org", b"Subject: big\r\n\r\n" + (b"w" * 70 + b"\r\n") * 4000)
    [pool] = [r["value"] for r in s.api.stats()[0]["pool_limit_bytes"] if r["pool"] == "delivery-content"]
    equal(pool, 1 << 20, "limit of the pool")
    wait_until(lambda: s.api.stats()[0]["queue_messages"] == 6, 5, "a queue")
    check(s.api.stats()[0]["queue_active_messages"] <= 6, "messages in memory")
    flow(s, sink)


def tune_connections_per_hop(s, sink):
    tune(s, connectionsPerHop=2)
    waiting(s, sink, 10)
    settled(s, "delivery_connections", 2)
    tune(s, connectionsPerHop=7)
    settled(s, "delivery_connections", 7)
    flow(s, sink)


def tune_connection_idle(s, sink):
    s.submit("bob@example.org")
    wait_until(lambda: s.api.stats()[0]["delivery_connections"] > 0, 10, "a kept connection")
    tune(s, connectionIdle=1000)
    wait_until(lambda: s.api.stats()[0]["delivery_connections"] == 0, 10, "the end of kept connections")


def tune_connection_transactions(s, sink):
    def reused():
        [value] = [r["value"] for r in s.api.stats()[0]["delivery_connections_reused_total"] if r["class"] == "smtp"]
        return value
    tune(s, connectionTransactions=1)
    for _ in range(2):
        s.submit("bob@example.org")
        wait_until(lambda: s.api.stats()[0]["queue_messages"] == 0, 10, "an empty queue")
    before = reused()
    s.submit("bob@example.org")
    wait_until(lambda: s.api.stats()[0]["queue_messages"] == 0, 10, "an empty queue")
    equal(reused(), before, "reused connections")


TUNING = {"receiveBuffers": tune_receive_buffers, "turnCompletions": tune_turn_completions,
          "sessionSteps": tune_session_steps, "commitDelay": tune_commit_delay,
          "commitRecords": tune_commit_records, "outcomeDelay": tune_outcome_delay,
          "activeMessages": tune_active_messages, "deliveryMemory": tune_delivery_memory,
          "connectionsPerHop": tune_connections_per_hop, "connectionIdle": tune_connection_idle,
          "connectionTransactions": tune_connection_transactions,
          "traceMemory": None,  # test_trace.py
          "contentMemory": None} | {  # the scenario `memory` above
              f"overload{f}": None for f in ("Descriptors", "Memory", "DiskFree", "InodesFree", "QueueMessages",
                                             "QueueBytes")} | {  # test_overload.py
              f"verification{f}": None for f in ("Timeout", "KeepAccepted", "KeepRefused", "Cache", "Connections",
                                                 "Questions")}  # test_verify.py


def test_performance_changes_live():
    """Every property of Performance has its effect at once; each says by which statistic it is chosen."""
    gate = threading.Event()
    gate.set()
    folder = work_folder()

    def slow(session, verb, line):
        if verb == "EOD":
            gate.wait(30)
    with Sink(hook=slow) as sink, Managed(relay=sink.port, cores=1, start=False) as s:
        sink.gate, s.hold = gate, os.path.join(folder, "hold")
        preload(s, HOLD_CORE=s.hold)
        [answer] = s.api.calls(("x:Performance/get", {"ids": ["singleton"]}))
        usual = {k: v for k, v in answer["list"][0].items() if k != "id"}
        equal(sorted(usual), sorted(TUNING), "properties of Performance")
        page = lib.run_ringmx("reference").stdout
        names = set(table())
        for name, effect in TUNING.items():
            [row] = [x for x in page.splitlines() if x.startswith(f"| `{name}` |")]
            told = set(re.findall(r"ringmx_(\w+)", row))
            check(told and told <= names, f"{name} names statistics that there are: {told - names or row}")
            if effect is not None:
                effect(s, sink)
                tune(s, **usual)


def test_statistics_while_management_is_busy():
    """The loop answers for the cores while the worker has requests that take long."""
    with Managed(cores=2) as s:
        busy, domain = Api(s.http_port), s.api.find("Domain", name="example.org")
        accounts = {f"n{i}": {"@type": "User", "name": f"user{i}", "domainId": domain, "credentials": {
            "0": {"@type": "Password", "secret": f"correct horse {i}"}}} for i in range(40)}
        ended, answers = threading.Event(), 0

        def work():
            busy.set("Account", create=accounts)  # 40 passwords are hashed
            ended.set()
        worker = threading.Thread(target=work)
        worker.start()
        while not ended.is_set():
            equal(s.api.http("GET", "/stats", headers={})[0], 200, "status of /stats")
            answers += not ended.is_set()
        worker.join()
        # Counted, not timed: the worker's request takes seconds, and none of these waits for it.
        check(answers >= 10, f"answers while the worker was busy: {answers}")


def test_cli_top():
    """ringmx-cli top and stats, once and again, without a terminal; rates are those of the time between."""
    histogram = {"count": 10, "sum": 0.5, "max": 0.2, "p50": 0.1, "p90": 0.1, "p99": 0.15, "p999": 0.2}

    def page(grown):
        core = {"core": 0, "ready": 1, "core_answered": 1, "delivery_paused": 1, "messages_received_total": 100 + grown,
                "recipients_delivered_total": [{"class": "local", "value": 7}, {"class": "smtp", "value": grown}],
                "loop_turn_seconds": dict(histogram, count=10 + grown, sum=0.5 + grown / 1000),
                "journal_sync_seconds": dict(histogram, count=10 + grown, sum=0.5 + grown / 100)}
        dead = dict(core, core=1, ready=0, core_answered=0, core_silent_seconds=3.25)
        total = {k: v for k, v in core.items() if k != "core"}
        return 200, {}, json.dumps({"version": "x", "total": total, "cores": [core, dead]}).encode()
    none = {"STALWART_USER": None, "STALWART_PASSWORD": None}
    _, done = start_with(arguments=["stats"], env=none, override={"/stats": page(0)})
    lines = [line.split() for line in done.stdout.splitlines()]
    check(["Name", "Total", "Core", "0", "Core", "1"] in lines, f"columns: {done.stdout}")
    check(["recipients_delivered_total{class=local}", "7", "7", "7"] in lines, f"rows with labels: {done.stdout}")
    check("10 x p50 0.1 p99 0.15 max 0.2" in done.stdout, f"a histogram: {done.stdout}")
    _, done = start_with(arguments=["stats", "--watch", "--json", "--interval", "0.05", "--count", "3"], env=none,
                         override={"/stats": page(0)})
    decoder, text, count = json.JSONDecoder(), done.stdout, 0
    while text.strip():
        value, end = decoder.raw_decode(text.lstrip())
        text, count = text.lstrip()[end:], count + 1
        equal(value["version"], "x", "a page")
    equal(count, 3, "pages")
    _, done = start_with(arguments=["top", "--once", "--interval", "0.5"], env=none, override={"/stats": page(0)})
    head, first, second, everything = done.stdout.splitlines()
    check(head.startswith("Core  State") and everything.startswith("all "), f"top: {done.stdout}")
    equal(first.split()[:2], ["0", "paused"], "state of a core")
    equal(second.split()[:3], ["1", "SILENT", "3.2s"], "state of a core that does not answer")
    strained = json.loads(page(0)[2])
    strained["cores"][0]["overload_level"] = [{"resource": "memory", "value": 0}, {"resource": "descriptors", "value": 1}]
    _, done = start_with(arguments=["top", "--once", "--interval", "0.1"], env=none,
                         override={"/stats": (200, {}, json.dumps(strained).encode())})
    equal(done.stdout.splitlines()[1].split()[:2], ["0", "strained"], "state of a core that is short of something")
    for wrong in (["top", "--interval", "0"], ["stats", "--count", "x"]):
        start_with(1, "is no number", arguments=wrong, env=none, override={"/stats": page(0)})
    with Managed(cores=2) as s:
        def views(*arguments):
            done = at_server(s, *arguments)
            rows = [dict(zip(COLUMNS, line.split())) for line in done.stdout.splitlines() if line.startswith("all ")]
            check("\x1b" not in done.stdout, f"escape sequences without a terminal: {done.stdout!r}")
            return rows
        stop = threading.Event()

        def work():
            while not stop.is_set():
                s.submit("alice@example.org")
        worker = threading.Thread(target=work)
        worker.start()
        rows = views("top", "--interval", "0.5", "--count", "2")
        stop.set()
        worker.join()
        equal(len(rows), 2, "views")
        for row in rows:
            check(float(row["Msg/s"]) > 0 and float(row["Sync"]) > 0 and row["State"] == "ok", f"a busy server: {row}")


# Of top, split at blanks.
COLUMNS = ("Core", "State", "Busy%", "Sessions", "Acc/s", "Ref/s", "Msg/s", "Ack", "In", "Out", "Rec/commit", "Sync",
           "Queue", "Dlv/s", "Dfr/s", "Fail/s", "Conns", "Down", "Nobuf/s", "Stall")


# --- Prometheus and Grafana -----------------------------------------------------------------------

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RULES = os.path.join(ROOT, "tools", "prometheus")


def promtool(*args, text=None):
    """A run of Debian's promtool, installed or unpacked below build/prometheus (tools/test.sh does that)."""
    unpacked = os.path.join(os.path.dirname(lib.BUILD), "prometheus", "usr", "bin", "promtool")
    program = shutil.which("promtool") or unpacked
    if not os.path.exists(program):
        raise Skip("promtool of Debian's package prometheus is not here")
    done = subprocess.run([program, *args], input=text, capture_output=True, text=True, timeout=60)
    equal(done.returncode, 0, f"exit code of promtool {args} ({done.stdout}{done.stderr})")
    return done.stdout + done.stderr


def traffic(s):
    """A little of everything."""
    for to in ("alice@example.org", "bob@example.org"):
        s.submit(to)
    with s.wire() as w:
        w.expect("STARTTLS", "220")
        w.start_tls()
    with s.wire() as w:
        w.expect("MAIL FROM:<a@example.net>", "250")
        w.expect("RCPT TO:<a@elsewhere.example>", "550")
    s.delivered(1)


def metrics(s):
    status, headers, body = s.api.http("GET", "/metrics", headers={})
    equal((status, headers["Content-Type"]), (200, "text/plain; version=0.0.4"), "status and type of /metrics")
    return body.decode()


def test_metrics_by_the_rules():
    """promtool finds nothing to say about /metrics of a server with traffic; histograms are cumulative."""
    with Sink() as sink, Managed(relay=sink.port) as s:
        traffic(s)
        sink.got(1)
        text = metrics(s)
        equal(promtool("check", "metrics", text=text), "", "what promtool says")
        check(len(text) < 400000, f"bytes of /metrics: {len(text)}")
        buckets = {}
        for line in text.splitlines():
            found = re.match(r'(ringmx_\w+)_bucket{(.*),?le="([^"]+)"} (\d+)$', line)
            if found:
                buckets.setdefault((found[1], found[2]), []).append((float(found[3]), int(found[4])))
        check(len(buckets) > 20, f"histograms: {len(buckets)}")
        for key, series in buckets.items():
            equal([b for b, _ in series], sorted(b for b, _ in series), f"bounds of {key}")
            equal([n for _, n in series], sorted(n for _, n in series), f"counts of {key}")
            equal(series[-1][0], float("inf"), f"last bound of {key}")


# What tells little over time, or what another one says better.
UNSHOWN = {f"ringmx_{name}" for name in """
    config_generation delivery_attempts_total directory_load_ratio directory_slots directory_table_bytes
    dns_lookups listener_refused_total loop_turn_longest_seconds loop_turns_total next_hops pool_taken_bytes
    pool_used_peak_bytes proxy_headers_awaited queue_bytes receive_buffers receive_buffers_free ring_pending
    sessions sessions_accepted_total statistics_read_seconds trace_records_total verification_connections
    """.split()}


def test_alerts_and_dashboard():
    """Alert rules are good and come when they should; rules and dashboard name only what there is."""
    rules = os.path.join(RULES, "alerts.yml")
    check("SUCCESS" in promtool("check", "rules", rules), "check rules")
    check("SUCCESS" in promtool("test", "rules", os.path.join(RULES, "alerts_test.yml")), "test rules")
    with Sink() as sink, Managed(relay=sink.port) as s:
        traffic(s)
        sink.got(1)
        kinds = dict(line.split()[2:] for line in metrics(s).splitlines() if line.startswith("# TYPE "))
    names = {n + suffix for n, kind in kinds.items()
             for suffix in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))}
    with open(rules, encoding="utf-8") as f:
        text = f.read()
    with open(os.path.join(RULES, "grafana.json"), encoding="utf-8") as f:
        board = json.load(f)
    panels = [p for p in board["panels"] if p["type"] != "row"]
    equal(len({p["id"] for p in board["panels"]}), len(board["panels"]), "ids of the panels")
    expressions = [t["expr"] for p in panels for t in p["targets"]]
    check(len(panels) > 30 and all(p["targets"] for p in panels), "panels without a query")
    used = set(re.findall(r"\bringmx_\w+", "\n".join(re.findall(r"expr: (.*)", text) + expressions)))
    equal(sorted(used - names), [], "names that there are not")
    shown = {re.sub("_(bucket|sum|count)$", "", name) if name not in kinds else name for name in used}
    equal(sorted({f"ringmx_{name}" for name in table()} - shown), sorted(UNSHOWN), "statistics that neither has")
    path = os.path.join(work_folder(), "rules.yml")
    with open(path, "w", encoding="utf-8") as f:
        rows = [{"record": f"panel:{i}", "expr": e.replace("$__rate_interval", "5m").replace("$instance", ".*")
                 .replace("$core", ".*")} for i, e in enumerate(expressions)]
        json.dump({"groups": [{"name": "dashboard", "rules": rows}]}, f)
    check("SUCCESS" in promtool("check", "rules", path), "the dashboard's queries")


# --- memory (of idle sessions: test_process.py) ---------------------------------------------------

MESSAGE_BYTES_MAX = 512


def anonymous(server):
    """Bytes of memory of its own that the process has."""
    with open(f"/proc/{server.process.pid}/smaps_rollup", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith("Anonymous:")).split()[1]) * 1024


def small_pages():
    """The kernel gives memory in pages of 4 KiB: with those of 2 MiB the result depends on how many it joins meanwhile."""
    equal(ctypes.CDLL(None).prctl(41, 1, 0, 0, 0), 0, "PR_SET_THP_DISABLE")


def test_memory_of_queued_messages():
    """A queued message with one recipient (two addresses of 32 bytes) takes at most 512 bytes of memory."""
    if "asan" in os.path.basename(lib.BUILD):
        raise Skip("sanitizers have their own memory")
    sender, rcpt = "s" * 18 + "@x.example.net", "r" * 20 + "@example.org"
    equal((len(sender), len(rcpt)), (32, 32), "lengths of the addresses")
    many = [update("MtaStageData", maxMessages=constant("1000000")), session_limits(maxCommands="10000000")]
    many.append(update("Performance", traceMemory=65536))  # it is not the queue's
    with Managed(cores=1, users=("r" * 20,), extra=many, start=False) as s:
        s.spawn(preexec_fn=small_pages)
        wait_until(lambda: " ready " in s.log(), 20, "the log line 'ready'")
        act(s, "PauseMtaQueue")
        parts = ((f"MAIL FROM:<{sender}>\r\nRCPT TO:<{rcpt}>\r\nDATA\r\n".encode(), 3),
                 (b"Subject: x\r\n\r\nhello\r\n.\r\n", 1))
        clients = [s.wire() for _ in range(100)]

        def send(count):
            """As many messages at a time as there are sessions."""
            for _ in range(count // len(clients)):
                for part, replies in parts:
                    for client in clients:
                        client.send(part)
                    for client in clients:
                        for _ in range(replies):
                            check(client.reply()[0] in "23", "a refusal")
        send(2000)  # what is taken once for all
        before, count = anonymous(s), 20000
        send(count)
        took = (anonymous(s) - before) / count
        equal(s.api.stats()[0]["queue_messages"], 2000 + count, "queued messages")
        check(100 < took <= MESSAGE_BYTES_MAX, f"a queued message takes {took:.0f} bytes")
        for client in clients:
            client.sock.close()
        s.kill()
