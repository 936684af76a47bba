"""Performance: every property has its effect, without a restart."""

import math
import os
import re
import threading
import time

import lib
from lib import Sink, check, equal, wait_until, work_folder
from stats_watch import leave_waiting, preload, tune
from test_management import Managed
from test_queue_api import act
from test_stats import table


def histogram(server, name):
    """Of the only core."""
    return server.api.stats()[0][name]


def tune_receive_buffers(s, sink):
    for count in (4096, 8, 300):
        tune(s, receiveBuffers=count)
        equal(s.api.stats()[0]["receive_buffers"], count, "receive buffers")
        s.submit("alice@example.org", b"Subject: long\r\n\r\n" + b"z" * 900000 + b"\r\n" if count == 8 else b"\r\n")
    # Those of the 4096 that were too many have gone as they came back, or are still at the kernel.
    check(s.api.stats()[0]["receive_buffers_free"] >= 300, "free receive buffers")


def burst(s, clients, data, replies):
    """Everything at once: the core is held meanwhile. Returns its statistics of before."""
    def held():
        core = s.api.stats()[0]
        return core if core["core_answered"] == 0 and core["core_busy_seconds"][0]["step"] != "waiting" else None
    with s.wire() as w:
        open(s.hold, "w").close()
        leave_waiting(w)
        before = wait_until(held, 5, "a core that is held")
        for client in clients:
            client.send(data)
        os.remove(s.hold)
    for client in clients:
        for _ in range(replies):
            client.then("250")
    return before


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
    """One burst of one session takes more turns with fewer steps a turn: so many that without them there are fewer."""
    data = (b"RSET\r\nMAIL FROM:<a@example.net>\r\n" + b"RCPT TO:<alice@example.org>\r\n" * 800) * 5

    def turns():
        with s.wire() as w:
            before = burst(s, [w], data, data.count(b"\n"))
        return s.api.stats()[0]["loop_turns_total"] - before["loop_turns_total"]
    usual = turns()
    tune(s, sessionSteps=16)
    few, least = turns(), 5 * 800 / 16
    check(usual < least <= few, f"turns: {usual}, with 16 steps a turn {few}, which are {least} at least")


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


class Standing:
    """A server whose steady clock stands where a test has put it."""

    def __init__(self, server):
        self.server, self.path = server, os.path.join(work_folder(), "stands")
        # Behind the kernel's, which it goes back to at the end: it never goes backwards.
        self.began_ms = time.monotonic_ns() // 10**6 - 10000
        self.at(0)
        server.start(env=dict(server.env, LD_PRELOAD=os.path.join(lib.BUILD, "tests", "shift_clock.so"),
                              STAND_STEADY_FILE=self.path,
                              ASAN_OPTIONS="verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", "")))

    def at(self, ms):
        with open(self.path + ".new", "w", encoding="ascii") as f:
            f.write(str(self.began_ms + ms))
        os.replace(self.path + ".new", self.path)

    def delivered(self):
        """A message, until its outcome waits for a commit."""
        ident = self.server.submit("alice@example.org")
        wait_until(lambda: f" delivered id={ident}" in self.server.log(), 10, "a delivery")

    def end(self):
        os.remove(self.path)


def tune_outcome_delay(s, sink):
    """On a clock that stands. An outcome that waits for 50 ms is written with a message that comes 30 ms after it, when the
    usual 20 ms were over; one that waits for 1 ms is written after 2 ms, when they are not."""
    with Managed(cores=1, start=False) as own:
        clock = Standing(own)

        def journal():
            core = own.api.stats()[0]
            return core["journal_commits_total"], core["journal_records_total"]

        def empty():
            return own.api.stats()[0]["queue_messages"] == 0
        try:
            tune(own, outcomeDelay=50)
            commits, records = journal()
            clock.delivered()
            clock.at(30)
            clock.delivered()
            equal(journal(), (commits + 2, records + 3), "commits and records: the second message with the first outcome")
            clock.at(100)
            wait_until(empty, 10, "an empty queue")
            equal(journal(), (commits + 3, records + 4), "commits and records, with the second outcome")
            tune(own, outcomeDelay=1)
            clock.delivered()
            clock.at(102)
            wait_until(empty, 10, "an empty queue after 2 ms")
        finally:
            clock.end()


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
    """What comes while the memory is full is read from the disk when its turn comes, all else is delivered from memory."""
    body = b"Subject: big\r\n\r\n" + (b"w" * 70 + b"\r\n") * 2000
    count = 12

    def reads():
        before = s.api.stats()[0]["journal_reads_total"]
        sink.gate.clear()
        for _ in range(count):
            s.submit("bob@example.org", body)
        flow(s, sink)
        return s.api.stats()[0]["journal_reads_total"] - before

    def pool(name):
        [value] = [r["value"] for r in s.api.stats()[0][name] if r["pool"] == "delivery-content"]
        return value
    usual = reads()
    check(pool("pool_used_peak_bytes") >= (count - usual) * len(body), f"peak of the pool: {pool('pool_used_peak_bytes')}")
    tune(s, deliveryMemory=1 << 20)
    equal(pool("pool_limit_bytes"), 1 << 20, "limit of the pool")
    few, least = reads(), count - math.ceil((1 << 20) / len(body))
    check(usual < least <= few, f"messages read from the disk: {usual}, with 1 MiB {few}, which are {least} at least")


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
          "contentMemory": None} | {  # the scenario `memory` of test_stats.py
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
