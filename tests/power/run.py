#!/usr/bin/env python3
"""Power cuts: the real process on a recorded block device, cut at its flushes, recovered and judged.

  run.py --build DIR [--cuts N|all] [--seed N] [--load-mib N] [--keep]

The server runs with its data on ext4 on a device that records every write and every flush (see
../e2e/blockdev.py) while messages are sent to mailboxes, to a next hop, and to one that refuses them.
Then, for N flushes (or all of them): the disk as it may be when the power goes just before that flush
is done, which is everything flushed earlier and a random subset of the other writes, some of them torn,
is mounted; the server starts on it and delivers. Every message whose 250 had arrived before the cut
(the device and the sender read the same clock) must be in the mailbox, once, at the next hop, or reported
to its sender, byte for byte. What had no 250 may be there or not, but not in part.

A second test lets the device lose what it had flushed during the last part of the load: that the judge
must see.
"""

import argparse
import bisect
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback

FOLDER = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(FOLDER)
sys.path[:0] = [FOLDER, os.path.join(TESTS, "e2e")]
import blockdev  # noqa: E402
import hop  # noqa: E402
import lib  # noqa: E402
import load  # noqa: E402
import replay  # noqa: E402

DEVICE_MIB = 1024
USERS = ("alice", "carol", "sender")
# From a next hop's 250 to our durable mark: outcomes are committed within 50 ms; the rest is for a machine on
# which everything waits for the disk and for the load.
MARK_S = 2.0
SESSIONS = 4
LOAD_S = 120  # the load lasts no longer
AFTER_S = 2  # of load after a segment was reused
STILL_S = 30  # without any delivery: the rest does not come
LOSING_S = 1.0  # what the device of the second test loses
READY_S = 60


class Session(load.Session):
    """More large messages, to fill segments with few; notes when the 250 was there."""

    sent = 0  # bytes

    def size(self):
        size = self.dice.randrange(load.LARGE_BYTES) if self.dice.random() < 0.02 else super().size()
        self.sent += size
        return size

    def message(self, ident):
        super().message(ident)
        if self.attempts[-1].acked:
            self.attempts[-1].at = time.monotonic()


class Recording:
    """One run of the server under load: what was written to the device, sent and relayed."""

    def __init__(self, options, folder):
        self.options = options
        self.dice = random.Random(options.seed)
        self.relayed = hop.Relayed(options.seed)
        self.device = blockdev.BlockDevice(DEVICE_MIB, record=True, folder=folder)
        self.attempts = []

    def record(self):
        with self.device:
            self.server = lib.Server(data=os.path.join(self.device.mount, "data"), retry_ms=200,
                                     cores=self.dice.choice((1, 2)), users=USERS,
                                     relay=self.relayed.sink.port, start=False)
            self.began = time.monotonic()
            try:
                self.server.start(seconds=READY_S)
                self.send()
                self.server.stop()
            finally:
                self.server.kill()  # it keeps the device busy
        self.entries = replay.read_log(self.device.log)
        self.times = [entry.time for entry in self.entries]
        self.flushes = [i for i, entry in enumerate(self.entries)
                        if entry.kind == replay.FLUSH and entry.time > self.began]

    def send(self):
        stop = threading.Event()
        sessions = [Session(self.server.port, f"p{i}", f"{self.options.seed}-{i}", stop, [])
                    for i in range(SESSIONS)]
        for session in sessions:
            session.start()
        end = time.monotonic() + LOAD_S
        while time.monotonic() < end and (sum(s.sent for s in sessions) < self.options.load_mib << 20 or
                                          self.reused(growing=True) == 0):
            time.sleep(0.2)
        time.sleep(AFTER_S)
        stop.set()
        for session in sessions:
            session.join()
        self.attempts = [attempt for session in sessions for attempt in session.attempts]

    def reused(self, growing=False):
        return replay.reused_segments(self.device.log, replay.read_log(self.device.log, growing))

    def acked(self, at=float("inf")):
        return [a for a in self.attempts if a.acked and a.at <= at]


def as_sent(file):
    """A mailbox file without our trace; what was sent begins with a From field."""
    lib.starts(file, b"Return-Path: <", "first line of the mailbox copy")
    return file[file.index(b"\r\nFrom: ") + 2:]


class Cut:
    """The server on the disk that a power cut has left."""

    def __init__(self, recording, at, number, still=STILL_S):
        self.at, self.number, self.still = at, number, still
        self.server, self.relayed = recording.server, recording.relayed
        self.acked = recording.acked(at)
        self.known = {a.ident: a for a in recording.attempts}
        # What the next hop had before the cut, and what it gets now.
        self.before = [c for c in recording.copies if c.at <= at]
        self.files = {}

    def local(self):
        for user in USERS:
            folder = os.path.join(self.server.data, "mail", "example.org", user, "new")
            for name in os.listdir(folder) if os.path.isdir(folder) else []:
                path = os.path.join(folder, name)
                if path in self.files:
                    continue
                with open(path, "rb") as f:
                    content = f.read()
                if user == "sender":
                    self.files[path] = hop.report(content)
                else:
                    ident, sha = hop.identify(as_sent(content))
                    self.files[path] = hop.Copy(ident, f"{user}@example.org", sha, 0)
        return list(self.files.values())

    def copies(self):
        with self.relayed.lock:
            return self.local() + self.before + self.relayed.copies

    def missing(self):
        there = {(c.ident, c.rcpt) for c in self.copies()}
        return [(a.ident, rcpt) for a in self.acked for rcpt in a.rcpts if (a.ident, rcpt) not in there]

    def recover(self, cores):
        """Starts, delivers, stops; again while something is queued."""
        self.relayed.copies.clear()
        problems = []
        for _ in range(20):
            self.server.start(cores, READY_S)
            before, since = None, time.monotonic()
            while self.missing() and time.monotonic() - since < self.still:
                time.sleep(0.02)
                if len(self.copies()) != before:
                    before, since = len(self.copies()), time.monotonic()
            time.sleep(0.1)
            problems += [f"logged: {line}" for line in self.server.log().splitlines()
                         if line.split(" ")[1:2] in (["ERROR"], ["FATAL"], ["error"], ["fatal"])]
            self.server.stop()
            listed = self.server.queue()
            if listed.strip() == "0 messages":
                return problems
        return problems + [f"still queued: {lib.short(listed)}"]

    def judge(self):
        problems, count = [], {}
        local = len(self.local())
        for position, copy in enumerate(self.copies()):
            key = copy.ident, copy.rcpt
            attempt = self.known.get(copy.ident)
            count[key] = count.get(key, 0) + 1
            if attempt is None or copy.rcpt not in attempt.rcpts:
                problems.append(f"{copy.ident} to {copy.rcpt}: nobody sent that")
            elif copy.rcpt not in load.REFUSED and copy.sha != attempt.sha:
                problems.append(f"{copy.ident} to {copy.rcpt}: altered")
            elif position < local and count[key] > 1:
                problems.append(f"{copy.ident} to {copy.rcpt}: twice in the mailbox")
        problems += [f"{ident} to {rcpt}: acknowledged and LOST" for ident, rcpt in self.missing()]
        return problems + self.revived(count)

    def revived(self, count):
        """A copy was relayed again although its delivery had been noted long before the cut."""
        old = {(c.ident, c.rcpt) for c in self.before
               if c.at < self.at - MARK_S and (c.ident, c.rcpt) not in self.relayed.unanswered}
        return [f"{c.ident} to {c.rcpt}: relayed again" for c in self.relayed.copies
                if (c.ident, c.rcpt) in old]


class Cuts:
    """The replay: cuts at ascending positions of the log."""

    def __init__(self, recording, folder):
        self.recording, self.folder = recording, folder
        self.dice = random.Random(f"{recording.options.seed}-cuts")
        self.images = 0

    def one(self, disk, index, at, still=STILL_S):
        """Returns (description, problems)."""
        # A file of its own: the last one's loop device may live on for a moment, with what it has cached.
        self.images += 1
        image = os.path.join(self.folder, f"image-{self.images}")
        left = disk.cut(image, self.dice)
        mount = self.recording.device.mount
        wrong = blockdev.mount_image(image, mount)
        os.remove(image)  # the loop device keeps it
        if wrong:
            return left, [f"the file system cannot be mounted: {wrong}"]
        try:
            cut = Cut(self.recording, at, index, still)
            cores = self.dice.choice((1, 2, 3))
            problems = cut.recover(cores) + cut.judge()
            left += f"; {cores} cores, {len(cut.acked)} acknowledged, {len(cut.files)} in mailboxes, " \
                    f"{len(cut.before)} relayed before and {len(self.recording.relayed.copies)} after"
            return left, problems
        finally:
            self.recording.server.kill()
            blockdev.unmount(mount)

    def chosen(self):
        flushes, wanted = self.recording.flushes, self.recording.options.cuts
        if wanted == "all" or int(wanted) >= len(flushes):
            return flushes
        return sorted(self.dice.sample(flushes, int(wanted)))

    def disk(self):
        return replay.Disk(self.recording.device.log, self.recording.entries, DEVICE_MIB, self.folder)


def test_power_cut(recording, cuts):
    """Every message acknowledged before a power cut is there after it."""
    disk, bad = cuts.disk(), 0
    chosen = cuts.chosen()
    for number, index in enumerate(chosen, 1):
        disk.advance(index)
        at = recording.times[index]
        left, problems = cuts.one(disk, index, at)
        print(f"cut {number} of {len(chosen)}, {at - recording.began:.3f} s after the start: {left}", flush=True)
        for text in problems[:10]:
            print(f"PROBLEM at entry {index}: {text}", flush=True)
        bad += bool(problems)
    disk.close()
    lib.check(bad == 0, f"{bad} of {len(chosen)} cuts with problems")


def test_lying_device(recording, cuts):
    """The judge notices when a device loses what it has flushed."""
    last = recording.flushes[bisect.bisect(recording.flushes, bisect.bisect(
        recording.times, max(a.at for a in recording.acked()))) - 1]
    at = recording.times[last]
    disk = cuts.disk()
    disk.advance(bisect.bisect(recording.times, at - LOSING_S))
    disk.pending.clear()
    _, problems = cuts.one(disk, last, at, still=3)
    disk.close()
    lost = [text for text in problems if text.endswith("LOST")]
    print(f"the lying device: {len(lost)} copies lost, as the judge says")
    lib.check(lost, "nothing was missed after flushed writes were taken away")


def outcome(name, function, *args):
    try:
        function(*args)
        print(f"ok {name}", flush=True)
        return "passed"
    except lib.Skip as skip:
        print(f"skip {name}: {skip}", flush=True)
        return "skipped"
    except Exception as error:
        if not isinstance(error, lib.Fail):
            traceback.print_exc()
        print(f"FAIL {name}: {error}", flush=True)
        return "failed"


def main():
    parser = argparse.ArgumentParser(description="Power cuts on a recorded block device.")
    parser.add_argument("--build", required=True, help="folder of the ringmx binary")
    parser.add_argument("--cuts", default="20", help="number of flushes at which to cut, or all")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--load-mib", type=int, default=80,
                        help="content sent at least; it goes on until a segment was freed and reused")
    parser.add_argument("--keep", action="store_true", help="do not remove the recording at the end")
    options = parser.parse_args()
    lib.BUILD = os.path.abspath(options.build)
    # The images are in memory where that is possible: they are copied for every cut.
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else lib.BUILD
    folder = tempfile.mkdtemp(prefix="ringmx-power-", dir=shared)
    recording = Recording(options, folder)
    cuts = Cuts(recording, folder)
    print(f"seed {options.seed}, {options.cuts} cuts, recording in {folder}", flush=True)
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unmounts before it ends
    try:
        with recording.relayed.sink:
            outcomes = [outcome("recording", recording.record)]
            if outcomes[0] == "passed":
                with recording.relayed.lock:
                    recording.copies = list(recording.relayed.copies)
                reused = recording.reused()
                writes = sum(e.kind == replay.WRITE for e in recording.entries)
                print(f"recorded: {writes} writes, {len(recording.flushes)} flushes under load; "
                      f"{len(recording.attempts)} messages, {len(recording.acked())} acknowledged; "
                      f"{reused} segments reused; "
                      f"{time.monotonic() - began:.1f} s", flush=True)
                outcomes.append(outcome("load_reuses_segments", lib.check, reused > 0,
                                        "the load freed and reused no segment"))
                outcomes.append(outcome("power_cut", test_power_cut, recording, cuts))
                outcomes.append(outcome("lying_device", test_lying_device, recording, cuts))
    finally:
        lib.clean_up()
        blockdev.clean_up()
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"power cuts with seed {options.seed}: {time.monotonic() - began:.0f} s")
    if "failed" in outcomes:
        print(lib.how_to_repeat(f"POWER_SEED={options.seed} POWER_CUTS={options.cuts} tools/test.sh power"))
    line = f"{outcomes.count('passed')} passed, {outcomes.count('failed')} failed"
    print(line + (f", {outcomes.count('skipped')} skipped" if "skipped" in outcomes else ""))
    return 1 if "failed" in outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
