"""ringmx-cli top and stats."""

import fcntl
import itertools
import json
import os
import pty
import struct
import subprocess
import termios
import threading

import lib
import talks
from client import at_server, environment, start_with
from lib import check, equal, wait_until
from test_management import Managed


# Of top, split at blanks.
COLUMNS = ("Core", "State", "Busy%", "Turn", "Sessions", "Msg/s", "Queue", "Dlv/s", "Dfr/s", "Fail/s", "Down", "Ref/s",
           "Acc/s", "Ack", "Sync", "Rec/commit", "Conns", "Nobuf/s", "In", "Out")
HISTOGRAM = {"count": 10, "sum": 0.5, "max": 0.2, "p50": 0.1, "p90": 0.1, "p99": 0.15, "p999": 0.2}
NOBODY = {"STALWART_USER": None, "STALWART_PASSWORD": None}


def page(grown, others=1):
    """/stats of a core that works and of others that do not answer, after so much."""
    core = {"core": 0, "ready": 1, "core_answered": 1, "delivery_paused": 1, "messages_received_total": 100 + grown,
            "recipients_delivered_total": [{"class": "local", "value": 7}, {"class": "smtp", "value": grown}],
            "core_busy_seconds": [{"step": "completions", "value": 0.0015}], "loop_turn_longest_seconds": 8.0,
            "loop_turn_seconds": dict(HISTOGRAM, count=10 + grown, sum=0.5 + grown / 1000),
            "journal_sync_seconds": dict(HISTOGRAM, count=10 + grown, sum=0.5 + grown / 100)}
    dead = [dict(core, core=1 + i, ready=0, core_answered=0, core_silent_seconds=3.25,
                 core_busy_seconds=[{"step": "hooks", "value": 3.5}]) for i in range(others)]
    total = {k: v for k, v in core.items() if k not in ("core", "core_busy_seconds")}
    return 200, {}, json.dumps({"version": "x", "total": total, "cores": [core, *dead]}).encode()


def rows(text, start):
    return [dict(zip(COLUMNS, line.split())) for line in text.splitlines() if line.startswith(start)]


def on_terminal(size, again):
    """Views of 33 cores on a terminal of so many columns and lines, which has another size after the first of them."""
    ours, theirs = pty.openpty()

    def resize(columns, lines):
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    asked = itertools.count(1)

    def stats():
        if next(asked) == 3:  # the first view is out before the page of the second is asked for
            resize(*again)
        return page(0, others=32)
    resize(*size)
    with talks.Player([], override={"/stats": stats}) as player:
        command = [os.path.join(lib.BUILD, "ringmx-cli"), "top", "--no-color", "--interval", "0.1", "--count", "2"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, env=environment(player, NOBODY))
        os.close(theirs)
        said = b""
        try:
            while part := os.read(ours, 65536):
                said += part
        except OSError:  # the other side is closed
            pass
        process.wait(30)
    os.close(ours)
    equal(process.returncode, 0, "exit code on a terminal")
    return [view.split("\r\n") for view in said.decode().split("\x1b[H\x1b[2J")[1:]]


def test_cli_top_terminal():
    """On a terminal a view has its width and height of the moment; what matters least is left out, and how many cores."""
    small, wide = on_terminal((80, 20), (200, 40))
    for view, columns, lines in ((small, 80, 20), (wide, 200, 40)):
        check(max(len(line) for line in view) <= columns and len(view) <= lines, f"within {columns} x {lines}: {view}")
    equal(len(small), 20, "lines of a small terminal, the cursor's among them")
    equal(small[0].split()[:5], ["Core", "State", "Busy%", "Turn", "ms"], "first columns")
    check("Fail/s" in small[0] and "Out" not in small[0], f"columns of a small terminal: {small[0]}")
    equal([line.split()[0] for line in small[1:-3]], [str(i) for i in range(16)], "cores")
    check(small[-3].startswith("all "), f"all: {small}")
    equal(small[-2:], ["Cores not shown: 17", ""], "what is said of the others")
    check(wide[0].endswith("Out KiB/s"), f"all columns: {wide[0]}")
    equal([line.split()[0] for line in wide[1:-1]], [str(i) for i in range(33)] + ["all"], "all cores")


def test_cli_top():
    """ringmx-cli top and stats, once and again, without a terminal; rates are those of the time between."""
    _, done = start_with(arguments=["stats"], env=NOBODY, override={"/stats": page(0)})
    lines = [line.split() for line in done.stdout.splitlines()]
    check(["Name", "Total", "Core", "0", "Core", "1"] in lines, f"columns: {done.stdout}")
    check(["recipients_delivered_total{class=local}", "7", "7", "7"] in lines, f"rows with labels: {done.stdout}")
    check("10 x p50 0.1 p99 0.15 max 0.2" in done.stdout, f"a histogram: {done.stdout}")
    _, done = start_with(arguments=["stats", "--watch", "--json", "--interval", "0.05", "--count", "3"], env=NOBODY,
                         override={"/stats": page(0)})
    decoder, text, count = json.JSONDecoder(), done.stdout, 0
    while text.strip():
        value, end = decoder.raw_decode(text.lstrip())
        text, count = text.lstrip()[end:], count + 1
        equal(value["version"], "x", "a page")
    equal(count, 3, "pages")
    _, done = start_with(arguments=["top", "--once", "--interval", "0.5"], env=NOBODY, override={"/stats": page(0)})
    head, first, second, everything = done.stdout.splitlines()
    check(head.startswith("Core  State") and everything.startswith("all "), f"top: {done.stdout}")
    equal(first.split()[:2], ["0", "paused"], "state of a core")
    equal(second.split()[:3], ["1", "SILENT", "3.2s"], "state of a core that does not answer")
    equal([first.split()[3], second.split()[4], everything.split()[3]], ["1.5", "3500.0", "3500.0"], "present turns")
    grown = itertools.count(100, 100)
    _, done = start_with(arguments=["top", "--interval", "0.2", "--count", "3"], env=NOBODY,
                         override={"/stats": lambda: page(next(grown))})
    rates = [float(row["Msg/s"]) for row in rows(done.stdout, "0 ")]
    check(len(rates) == 3 and all(0 < rate <= 100 / 0.2 for rate in rates), f"100 more each time: {done.stdout}")
    fallen = itertools.chain([1000], itertools.repeat(20))
    _, done = start_with(arguments=["top", "--interval", "0.2", "--count", "2"], env=NOBODY,
                         override={"/stats": lambda: page(next(fallen))})
    anew, still = rows(done.stdout, "all ")
    check(0 < float(anew["Msg/s"]) <= 120 / 0.2 and 0 < float(anew["Dlv/s"]) <= 27 / 0.2, f"counters that fell: {done.stdout}")
    check(float(anew["Busy%"]) > 0 and float(anew["Sync"]) > 0, f"histograms that fell: {done.stdout}")
    equal((still["Msg/s"], still["Dlv/s"]), ("0.0", "0.0"), "counters that stood")
    strained = json.loads(page(0)[2])
    strained["cores"][0]["overload_level"] = [{"resource": "memory", "value": 0}, {"resource": "descriptors", "value": 1}]
    _, done = start_with(arguments=["top", "--once", "--interval", "0.1"], env=NOBODY,
                         override={"/stats": (200, {}, json.dumps(strained).encode())})
    equal(done.stdout.splitlines()[1].split()[:2], ["0", "strained"], "state of a core that is short of something")
    for wrong in (["top", "--interval", "0"], ["stats", "--count", "x"]):
        start_with(1, "is no number", arguments=wrong, env=NOBODY, override={"/stats": page(0)})
    with Managed(cores=2) as s:
        def views(*arguments):
            done = at_server(s, *arguments)
            check("\x1b" not in done.stdout, f"escape sequences without a terminal: {done.stdout!r}")
            return rows(done.stdout, "all ")
        stop = threading.Event()

        def work():
            while not stop.is_set():
                s.submit("alice@example.org")
        worker = threading.Thread(target=work)
        worker.start()
        try:
            def busy():
                """Two views; the worker may not have had its turn between them."""
                both = views("top", "--interval", "0.5", "--count", "2")
                equal(len(both), 2, "views")
                return all(float(row["Msg/s"]) > 0 and float(row["Sync"]) > 0 and row["State"] == "ok" for row in both)
            wait_until(busy, 60, "two views of a busy server")
        finally:
            stop.set()
            worker.join()
