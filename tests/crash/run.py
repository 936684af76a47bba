#!/usr/bin/env python3
"""Crash test: load, kill -9 at a random moment, restart with another number of cores, again and again.

  run.py --build DIR [--kills N] [--seed N] [--data DIR] [--keep]

`ringmx-bench send` loads the server; mail goes to Maildir, to a relay by SMTP and to one by LMTP, both of
them `ringmx-bench sink` with misbehaviour on order. Meanwhile the configuration changes (see changes.py), so
that mail to one domain goes now to the one and now to another of them, and to an account that is there or not.
After every 100 kills, and at the end, the queue is drained and `ringmx-bench verify` compares: every copy that
was acknowledged arrived (or a failure report for it), unaltered, once; again only where a kill fell into its
delivery or the next hop was told to lose its reply. A message without its 250 may exist or not, but not in part.
The data folder should be on a real file system (default: a new folder in that of --build); it takes some GB.
"""

import argparse
import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(FOLDER), "e2e"))
import changes  # noqa: E402
import lib  # noqa: E402
import pace  # noqa: E402
from test_management import ADMIN  # noqa: E402

SERIES_KILLS = 100  # then everything is drained and judged, and the next lives have a new data folder
FREE_BYTES = 4 << 30  # the disk is not filled up: others may live on it
READY_S = 60
STILL_S = 90  # without any delivery: the drain has ended
# From a next hop's 250 to our durable mark: outcomes are committed within 50 ms; the rest is for the load. A
# kill on a machine on which everything waits for CPUs or the disk is allowed what pace.py has measured during
# that life, if it is more. Some lives are much longer, so that a mark that is never made shows.
MARK_MS = 1000
LIVES_S = (0.5, 1, 1, 4)
CHANGE_S = 0.02  # into a change of the configuration
SENDER = "sender@example.org"  # a local account: gets the reports
USERS = ("alice", "carol", "sender")
RCPTS = ("alice@example.org", "carol@example.org", "bob@example.org", "Dave@example.org", "refused@example.org",
         "erin@lmtp.example", "Frank@lmtp.example", "full@lmtp.example", "gina@moves.example", "guest@moves.example")
MOVING = ("gina", "guest")  # of moves.example
# What is sent: (share of the rounds, options).
LOADS = ((1.0, ("--sessions", "10", "--rate", "400", "--size", "100-40000")),
         (0.5, ("--sessions", "2", "--rate", "8", "--size", "100000-3000000")))
LOAD = ("--rcpts-per-message", "1-4", "--per-connection", "1-60", "--bdat", "50")
SMTP_FAULTS = ("connect:drop:10%", "banner:421:5%", "ehlo:drop:5%", "mail:drop:0.2%", "mail:4xx:0.2%", "mail:421:0.1%",
               "rcpt:550:100%:refused@", "rcpt:4xx:2%", "rcpt:drop:0.1%", "data:4xx:0.5%", "data:drop:0.1%",
               "eod:delay=200:0.3%", "eod:4xx:0.5%", "eod:5xx:0.2%", "eod:drop:0.3%", "eod:lost:0.3%", "quit:drop:20%")
LMTP_FAULTS = ("connect:drop:10%", "ehlo:4xx:5%", "rcpt:4xx:1%", "data:drop:0.2%", "eod:552:100%:full@",
               "eod:delay=100:0.2%", "eod:4xx:2%", "eod:5xx:0.2%", "eod:drop:0.3%", "eod:lost:0.3%")


def bench(*args):
    return [os.path.join(lib.BUILD, "ringmx-bench"), *args]


def microseconds():
    """As in the ledgers."""
    return time.monotonic_ns() // 1000


class Hop:
    """A next hop: a sink that misbehaves, and whose ledger goes on when it is started again."""

    def __init__(self, folder, name, seed, faults, lmtp=False):
        self.port, self.ledger = lib.free_port(), os.path.join(folder, f"{name}.ledger")
        self.log_path = os.path.join(folder, f"{name}.log")
        self.command = bench("sink", "--listen", f"127.0.0.1:{self.port}", "--quiet", "--ledger", self.ledger,
                             *(("--lmtp",) if lmtp else ()), *(w for f in faults for w in ("--fault", f)))
        self.dice, self.process, self.hits = random.Random(f"{seed}-{name}"), None, collections.Counter()

    def start(self):
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                self.command + ["--fault-seed", str(self.dice.randrange(1 << 32))], stdout=log, stderr=log)
        lib.wait_until(lambda: "sink ready" in self.log() or self.process.poll() is not None, READY_S,
                       f"a sink on port {self.port}")

    def log(self):
        with open(self.log_path) as f:
            return f.read()

    def stop(self):
        if self.process is None:
            return
        self.process.terminate()
        code = self.process.wait(READY_S)
        self.process = None
        lib.equal(code, 0, f"exit code of a sink ({self.log()[-300:]})")
        for line in self.log().splitlines():
            if line.startswith("fault "):
                rule, hits = line[len("fault "):].rsplit(": ", 1)
                self.hits[rule] += int(hits)


class Load:
    """The sending processes of one round."""

    def __init__(self, port, ledger, name, dice):
        self.processes = []
        for i, (share, options) in enumerate(LOADS):
            if dice.random() < share:
                command = bench("send", "--quiet", "--to", f"127.0.0.1:{port}", "--from", SENDER, "--ledger", ledger,
                                "--messages", "0", "--retry", "--ids", f"{name}-{i}", "--json", "--seed",
                                str(dice.randrange(1 << 32)), *LOAD, *options, *(w for r in RCPTS for w in ("--rcpt", r)))
                self.processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))

    def end(self):
        """Counts of what was sent; the server is gone or going."""
        sent = collections.Counter()
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                out, _ = process.communicate(timeout=READY_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise lib.Fail("the load does not end") from None
            if process.returncode == -signal.SIGTERM:
                continue  # it takes the signal as an order before it sends anything
            lib.check(process.returncode in (0, 1) and out, f"the load ended with {process.returncode}")
            sent.update({k: v for k, v in json.loads(out).items() if isinstance(v, int)})
        return sent


class Crash:
    def __init__(self, options):
        self.options, self.dice, self.folder = options, random.Random(options.seed), options.data
        self.smtp = Hop(self.folder, "smtp", options.seed, SMTP_FAULTS)
        self.lmtp = Hop(self.folder, "lmtp", options.seed, LMTP_FAULTS, lmtp=True)
        extra = [{"@type": "upsert", "object": "Domain", "matchOn": ["name"],
                  "value": {"lmtp-domain": {"name": "lmtp.example", "allowRelaying": True}}},
                 lib.relay_route(self.lmtp.port, name="lmtp", protocol="lmtp")]
        self.server = lib.Server(relay=self.smtp.port, users=USERS, start=False, retry_ms=200, folder=self.folder,
                                 env_more={"STALWART_RECOVERY_ADMIN": ADMIN}, extra=extra)
        self.http_port = lib.free_port()
        self.configuration = changes.Configuration(self.server, self.http_port, self.smtp.port, options.seed,
                                                   self.problem)
        self.server.apply(self.configuration.plan())
        self.sent = os.path.join(self.folder, "sent.ledger")
        self.kills = os.path.join(self.folder, "kills.ledger")
        self.totals, self.cores, self.problems = collections.Counter(), 0, []
        self.pace, self.marks_s = pace.Pace(self.folder), []  # what a mark may have taken, for every kill

    def problem(self, text):
        self.problems.append(text)
        print(f"PROBLEM {text}", flush=True)

    def other_cores(self):
        self.cores = self.dice.choice([n for n in (1, 2, 3, 4) if n != self.cores])
        return self.cores

    def kill(self):
        before, mark_us = microseconds(), self.pace.mark_us()
        self.marks_s.append(mark_us / 1000000)
        code = self.server.process.poll()
        if code is not None and code != 0:
            self.problem(f"the server ended by itself with {code}: {self.server.log()[-500:]}")
        self.server.kill()
        with open(self.kills, "a") as f:
            f.write(f"kill {before} {microseconds()} {mark_us}\n")

    def set_args(self, queue_only=False):
        self.server.args = ["--http", f"127.0.0.1:{self.http_port}"] + (["--delivery=off"] if queue_only else [])

    def look_at_log(self):
        """Errors are problems; not a core that stood still where everything did."""
        slow = self.marks_s and self.marks_s[-1] > MARK_MS / 1000
        for line in self.server.log().splitlines():
            words = line.split(" ")
            if len(words) > 2 and words[1].upper() in ("ERROR", "FATAL") and not (slow and words[2] == "core-stalled"):
                self.problem(f"logged: {line}")

    def round(self, number):
        """One life of the server. Kills fall into the start, the load, and the orderly stop."""
        lib.check(shutil.disk_usage(self.folder).free > FREE_BYTES, "less than 4 GiB of the disk are free")
        dice = self.dice
        moment = dice.choices(("start", "load", "stop"), (2, 10, 2))[0]
        queue_only = moment == "load" and dice.random() < 0.2
        down = [hop for hop in (self.smtp, self.lmtp) if dice.random() < 0.1]
        after = dice.uniform(0, 0.3) if moment == "start" else dice.uniform(0.02, dice.choice(LIVES_S))
        into_stop = dice.uniform(0, 0.2)
        into_change = dice.uniform(0, CHANGE_S) if moment == "load" and dice.random() < 0.6 else None
        self.set_args(queue_only)
        life = changes.Life(self.configuration, not queue_only)
        for hop in down:
            hop.stop()
        load = Load(self.server.port, self.sent, f"r{number}", dice)
        self.pace.begin()
        cores = self.other_cores()
        try:
            if moment == "start":
                self.server.spawn(cores)
            else:
                self.server.start(cores, READY_S)
            life.start()
            time.sleep(after)
            if into_change is not None and life.asked.wait(0.3):
                time.sleep(into_change)
            life.dying = True
            if moment == "stop":
                self.server.signal(signal.SIGTERM)
                time.sleep(into_stop)
            self.kill()
            life.join()
        finally:
            sent = load.end()
        self.totals.update(sent)
        self.look_at_log()
        for hop in down:
            hop.start()
        what = (", delivery off" if queue_only else "") + (f", {len(down)} next hops down" if down else "")
        print(f"round {number}: {cores} cores{what}, killed {after:.3f} s into the {moment}; "
              f"{sent['accepted']} acknowledged of {sent['begun']}; marks within {self.marks_s[-1]:.2f} s", flush=True)

    def verify(self, quiet=True):
        """(exit code, counts)."""
        folders = [os.path.join(self.server.data, "mail", "example.org", user) for user in USERS]
        folders += [os.path.join(self.server.data, "mail", changes.MOVES, user) for user in MOVING]
        ledgers = (self.sent, self.kills, self.smtp.ledger, self.lmtp.ledger)
        command = bench("verify", "--mark-ms", str(MARK_MS), *(w for path in ledgers for w in ("--ledger", path)),
                        *(w for folder in folders if os.path.isdir(folder) for w in ("--maildir", folder)))
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.DEVNULL if quiet else None)
        return done.returncode, json.loads(done.stdout) if done.stdout else None

    def drain(self):
        """Starts once more and waits until everything is there and nothing moves, or nothing moves any more."""
        self.set_args()
        self.server.start(self.other_cores(), READY_S)
        life = changes.Life(self.configuration, delivery=True, changes=False)
        life.run()
        before, since = None, time.monotonic()
        while True:
            began = time.monotonic()
            _, counts = self.verify()
            now = time.monotonic()
            moved = counts and {k: v for k, v in counts.items() if k != "excused_age_us"}  # by times of files
            if moved != before:
                before, since = moved, now
            elif now - since > (3 if counts is not None and counts["lost"] == 0 else STILL_S):
                break
            time.sleep(max(1.0, now - began))
        self.server.stop()
        self.look_at_log()
        missing = self.configuration.probes.missing()
        if missing:
            self.problem(f"probes that did not arrive: {lib.short(missing)}")
        listed = self.server.queue()
        if "example" in listed:
            self.problem(f"the queue is not empty: {lib.short(listed)}")

    def run(self):
        try:
            for hop in (self.smtp, self.lmtp):
                hop.start()
            for number in range(1, self.options.rounds + 1):
                self.round(number)
            self.drain()
        finally:
            for hop in (self.smtp, self.lmtp):
                hop.stop()
            self.configuration.probes.stop()
            self.pace.stop()
        slow = sum(mark > MARK_MS / 1000 for mark in self.marks_s)
        print(f"by the pace of the machine a mark took {max(self.marks_s):.2f} s at most"
              f"{f', at {slow} kills more than {MARK_MS} ms: allowed' if slow else ''}")
        for name, hop in (("smtp", self.smtp), ("lmtp", self.lmtp)):
            print(f"{name} faults: " + ", ".join(f"{rule} {hits}" for rule, hits in sorted(hop.hits.items())))
        found = self.configuration.counts
        print("configuration: " + ", ".join(f"{what} {count}" for what, count in found.items()))
        code, counts = self.verify(quiet=False)
        if code != 0:
            self.problem("copies were lost, duplicated, altered or unexpected")
        print(json.dumps(counts))
        print(f"{self.options.rounds} kills, {self.totals['begun']} messages, {self.totals['accepted']} acknowledged to all, "
              f"{len(self.problems)} problems")
        return not self.problems and counts["acked"] > 0 and counts["bounced"] > 0 and \
            found["answered"] > 0 and found["checked lives"] > 0 and found["probes"] > 0


def series(options, number, kills):
    """One series of lives on data of its own; what it leaves is removed when it was good."""
    folder = os.path.join(options.data, str(number))
    os.makedirs(folder)
    one = argparse.Namespace(data=folder, rounds=kills, seed=f"{options.seed}-{number}" if number else options.seed)
    good = False
    try:
        good = Crash(one).run()
    except lib.Fail as failure:
        print(f"PROBLEM {failure}")
    finally:
        lib.clean_up()
        if good and not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"the data is kept in {folder}")
    return good


def main():
    parser = argparse.ArgumentParser(description="Crash test: load, kill -9, restart, count.")
    parser.add_argument("--build", required=True, help="folder of the binaries")
    parser.add_argument("--kills", type=int, default=50, help="lives that end by kill -9")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--data", help="folder for the data, must not exist")
    parser.add_argument("--keep", action="store_true", help="do not remove the data at the end")
    options = parser.parse_args()
    lib.BUILD = os.path.abspath(options.build)
    if options.data is None:
        options.data = tempfile.mkdtemp(prefix="crash-", dir=lib.BUILD)
    else:
        os.makedirs(options.data)
    print(f"seed {options.seed}, {options.kills} kills, data in {options.data}", flush=True)
    began, good, done = time.monotonic(), True, 0
    while good and done < options.kills:
        count = min(SERIES_KILLS, options.kills - done)
        good = series(options, done // SERIES_KILLS, count)
        done += count
    if good and not options.keep:
        shutil.rmtree(options.data, ignore_errors=True)
    print(f"crash test {'passed' if good else 'FAILED'} with seed {options.seed}: {done} kills in "
          f"{time.monotonic() - began:.0f} s")
    if not good:
        print(lib.how_to_repeat(f"CRASH_SEED={options.seed} CRASH_ROUNDS={options.kills} tools/test.sh crash"))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
