"""The server under load on a recorded block device: what was written, sent, relayed and fetched."""

import os
import pickle
import random
import threading
import time

import blockdev
import hop
import judge
import lib
import load
import replay

DEVICE_MIB = 1024
SESSIONS = 4
LOAD_S = 120  # the load lasts no longer
AFTER_S = 2  # of load after a segment was reused
FETCH_S = 0.5  # between two looks into the mailboxes
# Mail is fetched when it is so old: its mark is as durable as it must be (judge.MARK_S), and what is younger,
# which is where a cut does harm, stays to be compared.
FETCH_AGE_S = 2 * judge.MARK_S
SAVED = ("seed", "port", "relay_port", "attempts", "copies", "fetched", "unanswered", "began")


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


class Reader(threading.Thread):
    """Fetches mail, as mailbox clients do: a cut then has to do with the mail of the last seconds only."""

    def __init__(self, data, stop):
        super().__init__(daemon=True)
        self.data, self.boxes, self.stop = data, judge.Mailboxes(data), stop
        self.fetched, self.seen = [], {}

    def run(self):
        while not self.stop.wait(FETCH_S):
            self.boxes.look()
            for path in self.boxes.files:
                self.seen.setdefault(path, time.monotonic())
            for _, folder in self.boxes.folders:
                self.fetch(folder)

    def fetch(self, folder):
        old = [path for path, at in self.seen.items()
               if os.path.dirname(path) == folder and at < time.monotonic() - FETCH_AGE_S]
        if not old:
            return
        began = time.monotonic()
        for path in old:
            os.remove(os.path.join(self.data, path))
        fd = os.open(os.path.join(self.data, folder), os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(fd)
        os.close(fd)
        ended = time.monotonic()
        for path in old:
            self.fetched.append(judge.Fetched(self.boxes.files.pop(path), path, began, ended))
            del self.seen[path]


class Recording:
    """Made by record(), or read from a folder in which one was saved."""

    def __init__(self, folder, seed):
        self.folder, self.seed = folder, seed
        self.log = os.path.join(folder, "log")
        self.saved = os.path.join(folder, "recording")

    def record(self, load_mib):
        self.dice = random.Random(self.seed)
        self.relayed = hop.Relayed(self.seed)
        device = blockdev.BlockDevice(DEVICE_MIB, record=True, folder=self.folder)
        with self.relayed.sink, device:
            self.data = os.path.join(device.mount, "data")
            server = lib.Server(data=self.data, retry_ms=200, cores=self.dice.choice((1, 2)),
                                users=judge.USERS, relay=self.relayed.sink.port, start=False)
            self.port, self.relay_port = server.port, self.relayed.sink.port
            self.began = time.monotonic()
            try:
                server.start(seconds=judge.READY_S)
                self.send(load_mib)
                server.stop()
            finally:
                server.kill()  # it keeps the device busy
        with self.relayed.lock:
            self.copies, self.unanswered = list(self.relayed.copies), set(self.relayed.unanswered)
        with open(self.saved + ".new", "wb") as file:
            pickle.dump({name: getattr(self, name) for name in SAVED}, file)
        os.rename(self.saved + ".new", self.saved)
        self.read_log()

    def load(self):
        with open(self.saved, "rb") as file:
            self.__dict__.update(pickle.load(file))
        self.read_log()

    def read_log(self):
        self.entries = replay.read_log(self.log)
        self.times = [entry.time for entry in self.entries]
        self.flushes = [i for i, entry in enumerate(self.entries)
                        if entry.kind == replay.FLUSH and entry.time > self.began]

    def send(self, load_mib):
        stop, read = threading.Event(), threading.Event()
        sessions = [Session(self.port, f"p{i}", f"{self.seed}-{i}", stop, []) for i in range(SESSIONS)]
        reader = Reader(self.data, read)
        for thread in (*sessions, reader):
            thread.start()
        end = time.monotonic() + LOAD_S
        while time.monotonic() < end and (sum(s.sent for s in sessions) < load_mib << 20 or
                                          self.reused(growing=True) == 0):
            time.sleep(0.2)
        time.sleep(AFTER_S)
        stop.set()
        for session in sessions:
            session.join()
        read.set()
        reader.join()
        self.attempts = [attempt for session in sessions for attempt in session.attempts]
        self.fetched = reader.fetched

    def reused(self, growing=False):
        return replay.reused_segments(self.log, replay.read_log(self.log, growing))

    def acked(self, at=float("inf")):
        return [a for a in self.attempts if a.acked and a.at <= at]

    def describe(self):
        writes = sum(entry.kind == replay.WRITE for entry in self.entries)
        return f"{writes} writes, {len(self.flushes)} flushes under load; {len(self.attempts)} messages, " \
               f"{len(self.acked())} acknowledged, {len(self.fetched)} copies fetched; " \
               f"{self.reused()} segments reused"
