"""The server on the disk that a power cut has left, and what must be found there and at the next hop."""

import collections
import os
import time

import hop
import lib
import load

USERS = ("alice", "carol", "sender")
# From a next hop's 250 to our durable mark: outcomes are committed within 50 ms; the rest is for a machine on
# which everything waits for the disk and for the load.
MARK_S = 2.0
STILL_S = 30  # without any delivery: the rest does not come
READY_S = 60
STARTS = 20  # until nothing is queued
# After the last copy, for what may not come (its 250 had not arrived) and for marks: longer with every start.
PAUSE_S, LONGER, MOST_S = 0.1, 1.5, 5

# A copy that a reader took out of a mailbox: from `began` on it may be gone, from `ended` on it is, durably.
Fetched = collections.namedtuple("Fetched", "copy path began ended")


def as_sent(file):
    """A mailbox file without our trace; what was sent begins with a From field."""
    lib.starts(file, b"Return-Path: <", "first line of the mailbox copy")
    return file[file.index(b"\r\nFrom: ") + 2:]


def names(folder):
    return os.listdir(folder) if os.path.isdir(folder) else []


class Mailboxes:
    """Those of a data folder. Every file is read once."""

    def __init__(self, data):
        self.folders = [(user, os.path.join("mail", "example.org", user, "new")) for user in USERS]
        self.data, self.files = data, {}  # path below data: copy

    def look(self):
        """The copies that have come."""
        fresh = []
        for user, folder in self.folders:
            for name in names(os.path.join(self.data, folder)):
                path = os.path.join(folder, name)
                if path not in self.files:
                    with open(os.path.join(self.data, path), "rb") as file:
                        self.files[path] = identify(user, file.read())
                    fresh.append(self.files[path])
        return fresh


def identify(user, content):
    if user == "sender":
        return hop.report(content)
    ident, sha = hop.identify(as_sent(content))
    return hop.Copy(ident, f"{user}@example.org", sha, 0)


class Cut:
    """One image, and the moments of all cuts that leave it, in order."""

    def __init__(self, recording, server, relayed, moments, still=STILL_S):
        self.recording, self.server, self.relayed = recording, server, relayed
        self.moments, self.still = moments, still
        self.known = {attempt.ident: attempt for attempt in recording.attempts}
        self.boxes = Mailboxes(server.data)

    def acked(self, at):
        """What must be somewhere after a cut at that moment."""
        return {(a.ident, rcpt) for a in self.recording.acked(at) for rcpt in a.rcpts}

    def relayed_before(self, at):
        return [c for c in self.recording.copies if c.at <= at]

    def fetched_before(self, at):
        return [f for f in self.recording.fetched if f.began <= at]

    def wait(self):
        """Until everything is there, or nothing has come for long."""
        at, taken = self.moments[-1], 0
        missing = self.acked(at) - {(c.ident, c.rcpt) for c in self.relayed_before(at)} - \
            {(f.copy.ident, f.copy.rcpt) for f in self.fetched_before(at)} - \
            {(c.ident, c.rcpt) for c in self.boxes.files.values()}
        since = time.monotonic()
        while True:
            with self.relayed.lock:
                fresh, taken = self.relayed.copies[taken:], len(self.relayed.copies)
            fresh += self.boxes.look()
            missing.difference_update((c.ident, c.rcpt) for c in fresh)
            if fresh:
                since = time.monotonic()
            if not missing or time.monotonic() - since > self.still:
                return
            time.sleep(0.02)

    def recover(self, cores):
        """Starts, delivers, stops; again while something is queued."""
        problems, pause = [], PAUSE_S
        for _ in range(STARTS):
            self.server.start(cores, READY_S)
            lib.wait_until(lambda: " queue-indexed " in self.server.log(), READY_S, "the log line 'queue-indexed'")
            self.wait()
            time.sleep(pause)
            pause = min(pause * LONGER, MOST_S)
            problems += [f"logged: {line}" for line in self.server.log().splitlines()
                         if line.split(" ")[1:2] in (["ERROR"], ["FATAL"], ["error"], ["fatal"])]
            self.server.stop()
            listed = self.server.queue()
            if listed.strip() == "0 messages":
                self.boxes.look()
                return problems
        return problems + [f"still queued: {lib.short(listed)}"]

    def judge(self):
        problems = []
        for at in self.moments:
            problems += [text for text in self.judge_at(at) if text not in problems]
        return problems

    def judge_at(self, at):
        relayed, fetched = self.relayed_before(at), self.fetched_before(at)
        problems = [f"{f.copy.ident} to {f.copy.rcpt}: its file was removed, and is back" for f in fetched
                    if f.path in self.boxes.files and f.ended <= at]
        local = list(self.boxes.files.values()) + [f.copy for f in fetched if f.path not in self.boxes.files]
        count = collections.Counter()
        for position, copy in enumerate(local + relayed + self.relayed.copies):
            key = copy.ident, copy.rcpt
            attempt = self.known.get(copy.ident)
            count[key] += 1
            if attempt is None or copy.rcpt not in attempt.rcpts:
                problems.append(f"{copy.ident} to {copy.rcpt}: nobody sent that")
            elif copy.rcpt not in load.REFUSED and copy.sha != attempt.sha:
                problems.append(f"{copy.ident} to {copy.rcpt}: altered")
            elif position < len(local) and count[key] > 1:
                problems.append(f"{copy.ident} to {copy.rcpt}: twice in the mailbox")
        problems += [f"{ident} to {rcpt}: acknowledged and LOST"
                     for ident, rcpt in sorted(self.acked(at) - count.keys())]
        return problems + self.revived(relayed, at)

    def revived(self, relayed, at):
        """A copy was relayed again although its delivery had been noted long before the cut."""
        old = {(c.ident, c.rcpt) for c in relayed
               if c.at < at - MARK_S and (c.ident, c.rcpt) not in self.recording.unanswered}
        return [f"{c.ident} to {c.rcpt}: relayed again" for c in self.relayed.copies
                if (c.ident, c.rcpt) in old]
