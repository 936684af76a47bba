"""What moves in the statistics of a server, and what makes it move: for test_stats.py and its scenarios (stats_*.py)."""

import json
import os

import lib
from lib import equal, wait_until


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


def tune(server, **fields):
    """Changes properties of Performance; in force when this returns."""
    server.api.update("Performance", "singleton", **fields)
