"""Scenarios of test_stats.py: mail in and out, verifications, the queue, its limits, name look-ups."""

import ssl
import threading
import time

from lib import DROP, Sink, equal, free_port, relay_route, sink_tls, throwaway_certificate, update, wait_until, work_folder
from nameserver import NameServer
from stats_watch import changes, expect_changes, tune
from test_lists import mailing_list
from test_management import Managed
from test_queue_api import act


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
