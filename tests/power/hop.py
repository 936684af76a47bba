"""The next hop of the power cut test, and how it and the judge tell messages apart."""

import collections
import hashlib
import random
import re
import threading
import time

import lib
import load

Copy = collections.namedtuple("Copy", "ident rcpt sha at")


class Relayed:
    """The next hop: refuses one recipient, fails now and then, and keeps what is needed to judge a copy."""

    def __init__(self, seed, port=None):
        self.copies, self.lock = [], threading.Lock()
        self.unanswered = set()  # (id, recipient) of copies whose 250 it did not send
        self.dice = random.Random(seed)
        self.sink = lib.Sink(hook=self.hook, port=port)

    def forget(self):
        """What it has taken until now; the sink keeps it too."""
        with self.lock:
            self.copies.clear()
            self.unanswered.clear()
        with self.sink.lock:
            self.sink.messages.clear()
            self.sink.commands.clear()

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


def identify(content):
    mark = b"\r\nX-Power-Id: "
    start = content.find(mark) + len(mark)
    ident = content[start:content.index(b"\r\n", start)].decode() if start >= len(mark) else None
    return ident, hashlib.sha256(content).hexdigest()


def report(content):
    """A failure report, as the copy of the recipient that failed."""
    failed = re.search(rb"\r\nFinal-Recipient: rfc822; *([^\r]+)\r\n", content)
    mark = re.search(rb"\r\nX-Power-Id: ([^\r]+)\r\n", content)
    if failed is None or mark is None or b"\r\nAction: failed\r\n" not in content:
        return Copy(None, "sender@example.org", lib.short(content), 0)
    return Copy(mark[1].decode(), failed[1].decode(), None, 0)
