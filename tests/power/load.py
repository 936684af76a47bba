"""The load of the power cut test: sessions that send messages of their own until the server is gone.

Independent of the product's code: plain sockets, SHA-256, every attempt with its own id."""

import hashlib
import random
import socket
import string
import threading
import time

LOCAL = ("alice@example.org", "carol@example.org")
RELAYED = ("bob@example.org", "Dave@example.org")
REFUSED = ("refused@example.org",)  # by the next hop, for good
SENDER = "sender@example.org"  # gets the reports
LARGE_BYTES = 3 * 1024 * 1024
REPLY_S = 30  # a silent server ends the session
FILLER = (string.ascii_letters + string.digits + " .,").encode()


class Attempt:
    """One message that was sent, perhaps not to the end."""

    def __init__(self, ident, rcpts, content):
        self.ident, self.rcpts = ident, rcpts
        self.sha = hashlib.sha256(content).hexdigest()
        self.acked = False


def make_content(ident, size, dice):
    """Lines of different lengths, some of them beginning with a dot."""
    lines = [b"From: " + SENDER.encode(), b"X-Power-Id: " + ident.encode(), b"Subject: load", b""]
    pool = bytes(dice.choices(FILLER, k=min(size, 4096) + 200))
    while size > 0:
        start, count = dice.randrange(len(pool) - 100), dice.randrange(100)
        lines.append((b"." if dice.random() < 0.1 else b"") + pool[start:start + count])
        size -= len(lines[-1]) + 2
    return b"\r\n".join(lines) + b"\r\n"


class Session(threading.Thread):
    """Sends until the connection breaks or `stop` is set."""

    def __init__(self, port, name, seed, stop, attempts):
        super().__init__(daemon=True)
        self.port, self.prefix, self.stop, self.attempts = port, name, stop, attempts
        self.dice = random.Random(seed)
        self.sock, self.replies = None, None

    def run(self):
        number = 0
        while not self.stop.is_set():
            try:
                self.connect()
                for _ in range(self.dice.randrange(1, 60)):
                    if self.stop.is_set():
                        break
                    number += 1
                    self.message(f"{self.prefix}-{number}")
                self.sock.sendall(b"QUIT\r\n")
            except (OSError, EOFError):
                time.sleep(0.01)  # the server may not listen yet, or no longer
            finally:
                if self.sock is not None:
                    self.sock.close()

    def connect(self):
        self.sock = None
        self.sock = socket.create_connection(("127.0.0.1", self.port), timeout=REPLY_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.replies = self.sock.makefile("rb")
        self.reply()
        self.sock.sendall(b"EHLO load.sender.example\r\n")
        self.reply()

    def reply(self):
        while True:
            line = self.replies.readline()
            if not line.endswith(b"\r\n"):
                raise EOFError
            if line[3:4] != b"-":
                return line

    def rcpts(self):
        return self.dice.choice([LOCAL[:1], RELAYED[:1], (LOCAL[1], RELAYED[1]), LOCAL + RELAYED,
                                 LOCAL[:1] + RELAYED[1:] + REFUSED])

    def size(self):
        draw = self.dice.random()
        if draw < 0.01:
            return self.dice.randrange(LARGE_BYTES)
        return self.dice.randrange(100, 100_000 if draw < 0.1 else 5000)

    def message(self, ident):
        content = make_content(ident, self.size(), self.dice)
        attempt = Attempt(ident, self.rcpts(), content)
        self.attempts.append(attempt)
        batch = b"MAIL FROM:<%s>\r\n" % SENDER.encode()
        batch += b"".join(b"RCPT TO:<%s>\r\n" % rcpt.encode() for rcpt in attempt.rcpts)
        good = self.by_bdat(batch, content, attempt) if self.dice.random() < 0.4 else \
            self.by_data(batch, content, attempt)
        if good:
            attempt.acked = True
        else:
            self.sock.sendall(b"RSET\r\n")
            self.reply()

    def by_data(self, batch, content, attempt):
        self.sock.sendall(batch + b"DATA\r\n")
        codes = [self.reply() for _ in range(len(attempt.rcpts) + 2)]
        if codes[-1][:3] != b"354":
            return False
        self.sock.sendall((b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n")
        return self.reply()[:1] == b"2" and all(code[:1] == b"2" for code in codes[:-1])

    def by_bdat(self, batch, content, attempt):
        cut = self.dice.randrange(len(content)) if self.dice.random() < 0.5 else 0
        if cut:
            batch += b"BDAT %d\r\n" % cut + content[:cut]
        self.sock.sendall(batch + b"BDAT %d LAST\r\n" % (len(content) - cut) + content[cut:])
        codes = [self.reply() for _ in range(len(attempt.rcpts) + (3 if cut else 2))]
        return all(code[:1] == b"2" for code in codes)
