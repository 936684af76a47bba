"""ringmx-cli top and stats."""

import itertools
import json
import threading

from client import at_server, start_with
from lib import check, equal, wait_until
from test_management import Managed


# Of top, split at blanks.
COLUMNS = ("Core", "State", "Busy%", "Sessions", "Acc/s", "Ref/s", "Msg/s", "Ack", "In", "Out", "Rec/commit", "Sync",
           "Queue", "Dlv/s", "Dfr/s", "Fail/s", "Conns", "Down", "Nobuf/s", "Stall")


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
    grown = itertools.count(100, 100)
    _, done = start_with(arguments=["top", "--interval", "0.2", "--count", "3"], env=none,
                         override={"/stats": lambda: page(next(grown))})
    rates = [float(dict(zip(COLUMNS, line.split()))["Msg/s"]) for line in done.stdout.splitlines() if line.startswith("0 ")]
    check(len(rates) == 3 and all(0 < rate <= 100 / 0.2 for rate in rates), f"100 more each time: {done.stdout}")
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
        try:
            def busy():
                """Two views; the worker may not have had its turn between them."""
                rows = views("top", "--interval", "0.5", "--count", "2")
                equal(len(rows), 2, "views")
                return all(float(row["Msg/s"]) > 0 and float(row["Sync"]) > 0 and row["State"] == "ok" for row in rows)
            wait_until(busy, 60, "two views of a busy server")
        finally:
            stop.set()
            worker.join()
