#!/usr/bin/env python3
"""Crash test: load, kill -9 at a random moment, restart with another number of cores, again and again.

  run.py --build DIR [--rounds N] [--seed N] [--data DIR] [--keep]

At the end the queue is drained and every copy is looked at. Every message that was acknowledged must have
reached each of its recipients, unaltered (SHA-256), once; a relayed copy may come twice only if a kill fell
into its delivery (or the next hop broke off before its 250). A recipient that the next hop refused must have
been reported to the sender, once. A message without its 250 may exist or not, but not in part. The next hop
fails now and then. The data folder should be on a real file system (default: a new folder in that of --build).
"""

import argparse
import collections
import hashlib
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [FOLDER, os.path.join(os.path.dirname(FOLDER), "e2e")]
import lib  # noqa: E402
import load  # noqa: E402

PROCESSES, SESSIONS = 2, 6  # of the load
READY_S = 60
STILL_S = 90  # without any delivery: the drain has ended
# From a next hop's 250 to our durable mark: outcomes are committed within 50 ms; the rest is for a
# machine on which everything waits for the disk and for the load.
MARK_S = 2.0
SOCKET_S = 1.0  # what a dead server had sent may be read so much later

Kill = collections.namedtuple("Kill", "before after")

USERS = ("alice", "carol", "sender")

Copy = collections.namedtuple("Copy", "ident rcpt sha at")


class Relayed:
    """The next hop: refuses one recipient, fails now and then, and keeps what is needed to judge a copy."""

    def __init__(self, seed):
        self.copies, self.lock = [], threading.Lock()
        self.unanswered = set()  # (id, recipient) of copies whose 250 it did not send
        self.dice = random.Random(seed)
        self.sink = lib.Sink(hook=self.hook)

    def hook(self, _session, verb, line):
        if verb == "RCPT":
            if load.REFUSED[0] in line:
                return "550 5.1.1 Never heard of"
            return "451 4.2.0 Not now" if self.dice.random() < 0.02 else None
        return self.message(line) if verb == "EOD" else None

    def message(self, message):
        at, draw = time.monotonic(), self.dice.random()
        if draw < 0.002:
            return lib.DROP  # neither taken nor answered
        _, content = lib.split_received(message.data)
        ident, sha = identify(content)
        message.data = b""
        with self.lock:
            self.copies += [Copy(ident, rcpt, sha, at) for rcpt in message.rcpts]
            if draw > 0.998:
                self.unanswered.update((ident, rcpt) for rcpt in message.rcpts)
                return lib.DROP
        return None

    def count(self):
        with self.lock:
            return len(self.copies)


def identify(content):
    mark = b"\r\nX-Crash-Id: "
    start = content.find(mark) + len(mark)
    ident = content[start:content.index(b"\r\n", start)].decode() if start >= len(mark) else None
    return ident, hashlib.sha256(content).hexdigest()


def report(content):
    """A failure report, as the copy of the recipient that failed."""
    failed = re.search(rb"\r\nFinal-Recipient: rfc822; *([^\r]+)\r\n", content)
    mark = re.search(rb"\r\nX-Crash-Id: ([^\r]+)\r\n", content)
    if failed is None or mark is None or b"\r\nAction: failed\r\n" not in content:
        return Copy(None, "sender@example.org", lib.short(content), 0)
    return Copy(mark[1].decode(), failed[1].decode(), None, 0)


class Load:
    """The sending processes of one round."""

    def __init__(self, port, name, seed):
        self.stop, self.out = multiprocessing.Event(), multiprocessing.Queue()
        self.processes = [
            multiprocessing.Process(target=load.work, daemon=True,
                                    args=(port, f"{name}-{i}", seed, SESSIONS, self.stop, self.out))
            for i in range(PROCESSES)]
        for process in self.processes:
            process.start()

    def end(self):
        """What was attempted; the server is gone or going."""
        self.stop.set()
        attempts = [a for _ in self.processes for a in self.out.get(timeout=120)]
        for process in self.processes:
            process.join()
        return attempts


class Crash:
    def __init__(self, options):
        self.options, self.dice = options, random.Random(options.seed)
        self.relayed = Relayed(options.seed)
        self.server = lib.Server(relay=self.relayed.sink.port, users=USERS, start=False,
                                 retry_ms=200, folder=options.data)
        self.attempts, self.kills = [], []
        self.local = {}  # path of a mailbox file -> Copy
        self.cores, self.problems = 0, []

    def problem(self, text):
        self.problems.append(text)

    def other_cores(self):
        self.cores = self.dice.choice([n for n in (1, 2, 3, 4) if n != self.cores])
        return self.cores

    def kill(self):
        before = time.monotonic()
        code = self.server.process.poll()
        if code is not None and code != 0:
            self.problem(f"the server ended by itself with {code}: {self.server.log()[-500:]}")
        self.server.kill()
        self.kills.append(Kill(before, time.monotonic()))

    def look_at_log(self):
        for line in self.server.log().splitlines():
            words = line.split(" ")
            if len(words) > 1 and words[1].upper() in ("ERROR", "FATAL"):
                self.problem(f"logged: {line}")

    def round(self, number):
        """One life of the server. Kills fall into the start, the load, and the orderly stop."""
        moment = self.dice.choices(("start", "load", "stop"), (2, 10, 2))[0]
        queue_only = moment == "load" and self.dice.random() < 0.2
        self.server.args = ["--delivery=off"] if queue_only else []
        hop_up = self.dice.random() < 0.85
        if not hop_up:
            self.relayed.sink.stop()
        sending = Load(self.server.port, f"r{number}", self.options.seed)
        cores = self.other_cores()
        if moment == "start":
            self.server.spawn(cores)
            after = self.dice.uniform(0, 0.3)
        else:
            self.server.start(cores, READY_S)
            after = self.dice.uniform(0.02, 1.5)
        time.sleep(after)
        if moment == "stop":
            self.server.signal(signal.SIGTERM)
            time.sleep(self.dice.uniform(0, 0.2))
        self.kill()
        attempts = sending.end()
        self.attempts += attempts
        self.look_at_log()
        if not hop_up:
            self.relayed.sink.start()
        acked = sum(a.acked for a in attempts)
        what = (", delivery off" if queue_only else "") + ("" if hop_up else ", next hop down")
        print(f"round {number}: {cores} cores{what}, killed {after:.3f} s "
              f"into the {moment}; {acked} acknowledged of {len(attempts)}, {self.relayed.count()} relayed so far",
              flush=True)

    def read_mailboxes(self):
        """Reads the files that are new since the last time."""
        for local in USERS:
            folder = os.path.join(self.server.data, "mail", "example.org", local, "new")
            for name in os.listdir(folder) if os.path.isdir(folder) else []:
                path = os.path.join(folder, name)
                if path not in self.local:
                    with open(path, "rb") as f:
                        content = f.read()
                    if local == "sender":
                        self.local[path] = report(content)
                    else:
                        ident, sha = identify(lib.split_local(content)[3])
                        self.local[path] = Copy(ident, f"{local}@example.org", sha, 0)

    def copies(self):
        self.read_mailboxes()
        with self.relayed.lock:
            return list(self.local.values()) + self.relayed.copies

    def missing(self):
        wanted = {(a.ident, rcpt) for a in self.attempts if a.acked for rcpt in a.rcpts}
        return len(wanted - {(c.ident, c.rcpt) for c in self.copies()})

    def drain(self):
        """Starts once more and waits until everything is there, or nothing moves any more."""
        self.server.args = []
        self.server.start(self.other_cores(), READY_S)
        before, since = None, time.monotonic()
        while self.missing() > 0 and time.monotonic() - since < STILL_S:
            time.sleep(0.5)
            if len(self.copies()) != before:
                before, since = len(self.copies()), time.monotonic()
        self.wait_for_the_rest()
        self.server.stop()
        self.look_at_log()
        listed = self.server.queue()
        if any(a.ident in listed for a in self.attempts) or load.SENDER in listed:
            self.problem(f"the queue is not empty: {lib.short(listed)}")

    def wait_for_the_rest(self):
        """Copies that were not acknowledged, and repeats."""
        before = None
        while len(self.copies()) != before:
            before = len(self.copies())
            time.sleep(2)

    def judge(self):
        known = {a.ident: a for a in self.attempts}
        by_target = collections.defaultdict(list)
        for copy in self.copies():
            attempt = known.get(copy.ident)
            if attempt is None or copy.rcpt not in attempt.rcpts:
                self.problem(f"{copy.ident} to {copy.rcpt}: nobody sent that")
            elif copy.sha != attempt.sha and copy.rcpt not in load.REFUSED:
                self.problem(f"{copy.ident} to {copy.rcpt}: altered")
            else:
                by_target[copy.ident, copy.rcpt].append(copy)
        for attempt in self.attempts:
            for rcpt in attempt.rcpts:
                self.judge_copies(attempt, rcpt, by_target[attempt.ident, rcpt])
        return by_target

    def judge_copies(self, attempt, rcpt, copies):
        if attempt.acked and not copies:
            self.problem(f"{attempt.ident} to {rcpt}: acknowledged and LOST")
        if rcpt not in load.RELAYED:  # a repeat finds its own file; a report and its mark are one record
            if len(copies) > 1:
                self.problem(f"{attempt.ident} to {rcpt}: {len(copies)} files in the mailbox")
            return
        if (attempt.ident, rcpt) in self.relayed.unanswered:
            return
        copies.sort(key=lambda c: c.at)
        for first, second in zip(copies, copies[1:]):
            if not any(kill.before - MARK_S <= first.at <= kill.after + SOCKET_S and kill.before <= second.at
                       for kill in self.kills):
                self.problem(f"{attempt.ident} to {rcpt}: twice, {second.at - first.at:.3f} s apart, and no kill "
                             "fell into its delivery")

    def run(self):
        with self.relayed.sink:
            for number in range(1, self.options.rounds + 1):
                self.round(number)
            self.drain()
        by_target = self.judge()
        acked = sum(a.acked for a in self.attempts)
        found = {ident for (ident, _), copies in by_target.items() if copies}
        unanswered = sum(not a.acked and a.ident in found for a in self.attempts)
        twice = sum(len(copies) > 1 for copies in by_target.values())
        for text in self.problems[:20]:
            print(f"PROBLEM {text}")
        if len(self.problems) > 20:
            print(f"and {len(self.problems) - 20} more")
        print(f"{len(self.kills)} kills, {len(self.attempts)} attempts, {acked} acknowledged, {unanswered} arrived "
              f"without their 250, {twice} relayed copies twice, {len(self.problems)} problems")
        return not self.problems and acked > 0


def main():
    parser = argparse.ArgumentParser(description="Crash test: load, kill -9, restart, count.")
    parser.add_argument("--build", required=True, help="folder of the ringmx binary")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--data", help="folder for the data, must not exist")
    parser.add_argument("--keep", action="store_true", help="do not remove the data at the end")
    options = parser.parse_args()
    lib.BUILD = os.path.abspath(options.build)
    if options.data is None:
        options.data = tempfile.mkdtemp(prefix="crash-", dir=lib.BUILD)
    else:
        os.makedirs(options.data)
    print(f"seed {options.seed}, {options.rounds} rounds, data in {options.data}", flush=True)
    began, good = time.monotonic(), False
    try:
        good = Crash(options).run()
    except lib.Fail as failure:
        print(f"PROBLEM {failure}")
    finally:
        lib.clean_up()
        if good and not options.keep:
            shutil.rmtree(options.data, ignore_errors=True)
        else:
            print(f"the data is kept in {options.data}")
    print(f"crash test {'passed' if good else 'FAILED'} with seed {options.seed} in {time.monotonic() - began:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    sys.exit(main())
