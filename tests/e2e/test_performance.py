"""Performance: every property has its effect, without a restart."""

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
