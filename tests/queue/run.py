#!/usr/bin/env python3
"""Queue test: looking at and changing a long queue while mail is accepted.

  run.py --build DIR [--messages N] [--data DIR]

Fills the queue of two cores through the real server (nothing is delivered), then asks the management API for pages in
every order, by every filter, by anchor and by position, for the shape and for changes by filter, and prints how long
the best of some tries took. Checks what the answers say; from a million on also the time that is promised for a first
page, and that no core's loop was held up.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(FOLDER), "e2e"))
import lib  # noqa: E402
from lib import Fail, check, equal, wait_until  # noqa: E402
from test_management import Managed  # noqa: E402

MILLION = 1_000_000
PAGE_S, FAR_PAGE_S = 0.050, 0.250  # promised for a million on a machine with other work: a first page, one anywhere
SENDERS, TRIES, LIMIT = 4, 5, 50
LONG_TURN = "0.004194303"  # seconds: a bucket of the statistic
PAGE, WALK_MAX = 500, 50_000  # of a walk through all pages; no longer queues are walked through
NEEDLES = 20  # messages of a sender of their own, among all others


def fill(server, count, n):
    done = subprocess.run(
        [os.path.join(lib.BUILD, "ringmx-bench"), "send", "--to", f"127.0.0.1:{server.port}", "--from",
         f"sender{n}@example{n}.net", "--rcpt", f"user{n}@example.org", "--sessions", "20", "--messages", str(count), "--size",
         "300", "--quiet"], capture_output=True, text=True)
    check(done.returncode == 0, done.stdout + done.stderr)


class Asking:
    def __init__(self, server, messages):
        self.server, self.messages, self.times = server, messages, {}

    def call(self, method, what, tries=TRIES, **args):
        best = None
        for _ in range(tries):
            began = time.monotonic()
            [answer] = self.server.api.calls((method, args))
            took = time.monotonic() - began
            best = took if best is None else min(best, took)
            check(isinstance(answer, dict), f"{what}: {answer}")
        self.times[what] = best
        print(f"{what:<46} {best * 1000:8.1f} ms", flush=True)
        return answer

    def query(self, what, tries=TRIES, **args):
        return self.call("x:QueuedMessage/query", what, tries, limit=LIMIT, **args)


def turns(server):
    """Turns of all cores so far, and those that took longer than LONG_TURN."""
    _, _, body = server.api.http("GET", "/metrics")
    rows = re.findall(r'^ringmx_loop_turn_seconds_bucket\{core="\d+",le="([^"]+)"\} (\d+)$', body.decode(), re.M)
    counts = {end: sum(int(value) for le, value in rows if le == end) for end, _ in rows}
    return counts["+Inf"], counts["+Inf"] - counts[LONG_TURN]


def ask(asking):
    count = asking.messages
    first = asking.query("first page, newest first")
    equal((len(first["ids"]), first["position"]), (LIMIT, 0), "first page")
    answer = asking.query("the same with the total", calculateTotal=True)
    equal((answer["total"], answer["ids"]), (count + NEEDLES, first["ids"]), "total")
    asking.query("by next attempt", sort=[{"property": "due", "isAscending": True}])
    second = asking.query("next page by anchor", anchor=first["ids"][-1], anchorOffset=1)
    equal(second["position"], LIMIT, "position of the next page")
    equal(asking.query("next page by position", position=LIMIT)["ids"], second["ids"], "by position")
    middle = asking.query("a page from the middle", position=count // 2)
    equal((middle["position"], len(middle["ids"])), (count // 2, LIMIT), "middle")
    due = [{"property": "due", "isAscending": True}]
    middle = asking.query("the same by next attempt", position=count // 2, sort=due)
    equal((middle["position"], len(middle["ids"])), (count // 2, LIMIT), "middle by next attempt")
    end = asking.query("the last page, counted from the end", position=-LIMIT)
    equal((end["position"], len(end["ids"])), (count + NEEDLES - LIMIT, LIMIT), "end")
    equal(len(asking.query("first page by a common recipient", filter={"to": "user3@"})["ids"]), LIMIT, "recipient")
    equal(len(asking.query("first page by a common sender", filter={"returnPath": "@example1.net"})["ids"]), LIMIT, "sender")
    equal(len(asking.query("by a rare sender", filter={"returnPath": "needle@"})["ids"]), NEEDLES, "rare sender")
    equal(asking.query("nobody by a sender", filter={"returnPath": "absent@nowhere.test"})["ids"], [], "absent")
    equal(asking.query("nobody by the last reply", filter={"error": "greylisted"})["ids"], [], "reply")
    equal(len(asking.query("first page by status", filter={"status": "fresh"})["ids"]), LIMIT, "status")
    page = asking.query("first page by queue, with the total", filter={"queueName": "remote"}, calculateTotal=True)
    equal((len(page["ids"]), page["total"]), (LIMIT, count + NEEDLES), "queue")
    equal(asking.query("nobody by a queue", filter={"queueName": "local"})["ids"], [], "another queue")
    began = time.monotonic()
    status, _, _ = asking.server.api.http("GET", "/api/queue/shape")
    print(f"{'shape':<46} {(time.monotonic() - began) * 1000:8.1f} ms", flush=True)
    equal(status, 200, "shape")
    change = {"@type": "ChangeMtaQueue", "operation": "hold", "returnPath": "needle@"}
    answer = asking.call("x:Action/set", "20 messages held by filter", 1, create={"n": change})
    made = answer["created"]["n"]
    equal((made["changed"], made["cursor"]), (NEEDLES, None), "held")
    change = {"@type": "ChangeMtaQueue", "operation": "hold"}
    made = asking.call("x:Action/set", "500 messages held, one call", 1, create={"n": change})["created"]["n"]
    equal((made["changed"], made["cursor"] is not None), (500, count > 500), "held")


def walk(asking, **args):
    """All ids, page by page, each from the last one of the page before."""
    ids, anchor = [], {}
    while True:
        [page] = asking.server.api.calls(("x:QueuedMessage/query", {"limit": PAGE, **anchor, **args}))
        equal(page["position"], len(ids), "position of a page")
        if not page["ids"]:
            return ids
        ids += page["ids"]
        anchor = {"anchor": ids[-1], "anchorOffset": 1}


def places(asking):
    """A place is the same place, whether it is gone to or walked to: held messages come last, or first."""
    orders = {"newest first": {}, **{f"by next attempt, ascending: {up}": {"sort": [{"property": "due", "isAscending": up}]}
                                     for up in (True, False)}}
    for what, sort in orders.items():
        ids = walk(asking, **sort)
        equal((len(ids), len(set(ids))), (asking.messages + NEEDLES,) * 2, "messages that are walked to")
        for place in (2048, 3000, len(ids) // 2, len(ids) - 521, len(ids) - 519, len(ids) - 10, len(ids)):
            [page] = asking.server.api.calls(("x:QueuedMessage/query", {"limit": LIMIT, "position": place, **sort}))
            equal((page["position"], page["ids"]), (place, ids[place:place + LIMIT]), f"{what}: place {place}")
        far = {"limit": LIMIT, "anchor": ids[7], "anchorOffset": 4000}
        [page] = asking.server.api.calls(("x:QueuedMessage/query", {**far, **sort}))
        equal((page["position"], page["ids"]), (4007, ids[4007:4007 + LIMIT]), f"{what}: far behind an anchor")


def run(options):
    server = Managed(retry_ms=None, start=False, folder=tempfile.mkdtemp(prefix="queue-", dir=options.data),
                     relay=lib.free_port())
    server.args = server.args + ["--delivery=off"]
    with server:
        server.start()
        began = time.monotonic()
        for n in range(SENDERS):
            fill(server, options.messages // SENDERS, n)
            with server.wire() as w:
                for _ in range(NEEDLES // SENDERS):
                    w.message("rare@example.org", lib.marked(), sender="needle@haystack.example")
        print(f"{options.messages} messages queued in {time.monotonic() - began:.0f} s", flush=True)
        asking = Asking(server, options.messages)
        before = turns(server)
        ask(asking)
        after = turns(server)
        print(f"turns of a core meanwhile: {after[0] - before[0]}, of them longer than 4 ms: "
              f"{after[1] - before[1]}", flush=True)
        if options.messages <= WALK_MAX:
            places(asking)
        if options.messages >= MILLION:
            slow = {what: took for what, took in asking.times.items()
                    if took > (PAGE_S if what.startswith("first page") else FAR_PAGE_S)}
            check(not slow, f"later than {PAGE_S * 1000:.0f} ms, or {FAR_PAGE_S * 1000:.0f} ms: {slow}")
        server.kill()
        server.api.connection = None
        server.start()
        wait_until(lambda: "queue-recovered" in server.log(), 60, "the queue is taken over")
        wait_until(lambda: server.api.calls(("x:QueuedMessage/query", {"limit": 1, "calculateTotal": True}))[0]["total"] ==
                   options.messages + NEEDLES, 60, "all are there")
        print("after a restart, when no address has been looked at yet:", flush=True)
        equal(asking.query("first page, newest first", 1)["position"], 0, "first page")
        equal(len(asking.query("first page by a common recipient", 1, filter={"to": "user3@"})["ids"]), LIMIT, "recipient")
        equal(len(asking.query("first page by queue", 1, filter={"queueName": "remote"})["ids"]), LIMIT, "queue")
        equal(len(asking.query("first page by status held", 1, filter={"status": "held"})["ids"]), LIMIT, "held")
        check("core-stalled" not in server.log(), "a core stood still")
        server.kill()


def main():
    parser = argparse.ArgumentParser(description="Queue test.")
    parser.add_argument("--build", required=True, help="folder of the binaries")
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--data", help="folder for the queue (default: beside --build)")
    options = parser.parse_args()
    lib.BUILD = os.path.abspath(options.build)
    options.data = tempfile.mkdtemp(prefix="queue-", dir=options.data or os.path.dirname(lib.BUILD))
    failed = 0
    try:
        run(options)
    except Fail as error:
        failed = 1
        print(f"FAIL queue of {options.messages} messages: {error}")
    finally:
        for server in lib.running:
            server.kill()
        shutil.rmtree(options.data, ignore_errors=True)
    print(f"{1 - failed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
