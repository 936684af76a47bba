"""Scenarios of test_stats.py: what cannot be written, cores that stand still, log lines, memory, overload."""

import os

from lib import check, constant, equal, session_limits, update, wait_until, work_folder
from stats_watch import leave_waiting, preload, tune
from test_management import Managed
from test_queue_api import act


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
