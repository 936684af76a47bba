"""Clients that keep to nothing, against the whole process: what they send, in which pieces, over which listener, and how
they go away is drawn, while the configuration changes. Whatever was answered is delivered, and nothing of them is left."""

import os
import random
import re
import signal
import socket
import threading
import time

from lib import Wire, check, constant, equal, free_port, no_verify, session_limits, update, wait_until
from test_bans import PROXY
from test_frontends import proxy_v2
from test_management import Managed
from test_slow import total

SECONDS = float(os.environ.get("HOSTILE_SECONDS", "5"))
SEED = int(os.environ.get("HOSTILE_SEED", "0")) or random.randrange(1, 1 << 30)
ADDRESSES = [f"203.0.113.{n}" for n in range(1, 9)] + [f"2001:db8:{n}::1" for n in range(1, 5)]
PER_CLIENT = 6
CLIENTS = 12

ENVELOPE = b"MAIL FROM:<a@example.net>\r\nRCPT TO:<alice@example.org>\r\n"
ODD = [b"FOO\r\n", b"\r\n", b"A" * 5000 + b"\r\n", b"GET / HTTP/1.0\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\x00\x01\r\n", b"X" * 30000,
       b"BDAT 100000\r\n" + b"y" * 50000, b"BDAT 5\r\nabcde", b"BDAT 3 LAST\r\na\nb", b"HELP\r\n" * 50, b"NOOP\r\n" * 300,
       b"RCPT TO:<nobody@example.org>\r\n" * 3, ENVELOPE + b"DATA\r\n", b"line\n.\nline\r\n", b"RSET\r\nEHLO c\r\n", b"QUIT\r\n", b"STARTTLS\r\n",
       b"EHLO c\r\nMAIL FROM:<>\r\n", b".\r\n"]


class Client(threading.Thread):
    """Connects again and again until its time is over."""

    def __init__(self, number, port, implicit, until):
        super().__init__(daemon=True)
        self.random = random.Random(SEED * 100 + number)
        self.number, self.port, self.implicit, self.until = number, port, implicit, until
        self.connections, self.answered, self.problem = 0, [], None

    def chance(self, of_ten):
        return self.random.random() * 10 < of_ten

    def run(self):
        while time.monotonic() < self.until:
            self.connections += 1
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as sock:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self.session(sock)
            except (OSError, ValueError):
                pass  # refused, cut off, no TLS after all
            except Exception as e:  # told by the test
                self.problem = e
                return

    def header(self):
        address = self.random.choice(ADDRESSES)
        kind = self.random.randrange(10)
        if kind < 6:
            return proxy_v2(address)
        if kind < 8:
            return b"PROXY UNKNOWN\r\n" if kind == 6 else proxy_v2(command=0)
        return proxy_v2(address)[:self.random.randrange(28)] if kind == 8 else self.random.randbytes(20)

    def send(self, sock, data):
        """In pieces, now and then."""
        if data and self.chance(2):
            cut = self.random.randrange(len(data))
            sock.sendall(data[:cut])
            time.sleep(self.random.random() * 0.03)
            data = data[cut:]
        sock.sendall(data)

    def tls(self, sock):
        sock = no_verify().wrap_socket(sock, do_handshake_on_connect=False)
        sock.settimeout(1)
        if self.chance(9):
            sock.do_handshake()
        return sock

    def steps(self):
        message = b"Subject: x\r\n\r\nx\r\n"
        chunk = b"BDAT %d LAST\r\n" % len(message) + message
        steps = [b"EHLO client.example.net\r\n", ENVELOPE, b"DATA\r\n", message + b".\r\n", b"STARTTLS\r\n", b"EHLO c\r\n", ENVELOPE, chunk, b"QUIT\r\n"]
        if self.chance(3):
            steps = [self.random.choice(ODD) for _ in range(self.random.randrange(1, 10))]
        elif self.chance(4):
            steps.insert(self.random.randrange(len(steps)), self.random.choice(ODD))
        return steps

    def session(self, sock):
        self.send(sock, self.header() + (self.random.choice(ODD) if self.chance(1) else b""))
        if self.implicit and self.chance(9):
            sock = self.tls(sock)
        sock.settimeout(self.random.choice((0.05, 0.5)))
        waits = self.chance(8)
        for step in self.steps():
            self.send(sock, step)
            got = b""
            try:
                got = sock.recv(65536) if waits else b""
            except TimeoutError:
                pass
            self.answered += re.findall(rb"250 2\.0\.0 Queued as (\S+)\r\n", got)
            if step == b"STARTTLS\r\n" and b"220 2.0.0" in got:
                sock = self.tls(sock)
        end = self.random.randrange(4)
        if end == 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        elif end == 1:
            socket.socket.shutdown(sock, socket.SHUT_WR)
            while sock.recv(65536):
                pass
        elif end == 2:
            time.sleep(self.random.random())
        sock.close()


def change(s, rng):
    """One change of the configuration, as an administrator makes it."""
    def singleton(kind, **value):
        return lambda: s.api.update(kind, "singleton", **value)

    def a_while(kind, **value):
        def make_and_take_away():
            made = s.api.create(kind, **value)
            time.sleep(0.1)
            s.api.destroy(kind, made)
        return make_and_take_away
    rng.choice((
        singleton("MtaInboundSession", errorDelay=rng.choice((0, 30, 200)), errorDelayAfter=rng.choice((0, 2))),
        singleton("MtaInboundSession", unauthorizedPipelining=rng.choice(("refuse", "tolerate"))),
        singleton("MtaStageRcpt", waitOnFail=constant(rng.choice(("0", "50ms", "1s")))),
        singleton("SystemSettings", maxConnections=rng.choice((5, 100)), maxConnectionsPerClient=rng.choice((1, PER_CLIENT))),
        a_while("BlockedIp", address=rng.choice(ADDRESSES)),
        a_while("MtaInboundThrottle", description="some", key={rng.choice(("remoteIp", "sender", "heloDomain", "rcpt")): True},
                rate={"count": rng.choice((1, 5)), "period": 1000}),
        a_while("NetworkListener", name="short", bind={f"127.0.0.1:{free_port()}": True}),
        lambda: s.api.update("NetworkListener", s.api.find("NetworkListener", name="late"), greetDelay=rng.choice((0, 20, 200))),
        lambda: s.signal(signal.SIGHUP),
    ))()


def test_hostile_clients():
    """For some seconds, at all listeners; HOSTILE_SECONDS and HOSTILE_SEED for longer and others."""
    late, implicit = free_port(), free_port()
    tight = session_limits(timeout="1s", dataTimeout="2s", maxDuration="3s", maxErrors="6", minDataRateGrace="1s")
    nobody = update("Security", scanBanRate=None, abuseBanRate=None, loiterBanRate=None)
    with Managed(settings=PROXY | {"maxConnectionsPerClient": PER_CLIENT}, allow_relaying=False, extra=[tight, nobody]) as s:
        s.api.create("NetworkListener", name="late", bind={f"127.0.0.1:{late}": True}, greetDelay=50)
        s.api.create("NetworkListener", name="implicit", bind={f"127.0.0.1:{implicit}": True}, tlsImplicit=True)
        until = time.monotonic() + SECONDS
        clients = [Client(n, (s.port, late, implicit)[n % 3], n % 3 == 2, until) for n in range(CLIENTS)]
        for client in clients:
            client.start()
        rng = random.Random(SEED)
        while time.monotonic() < until and s.process.poll() is None:
            change(s, rng)
            time.sleep(0.05)
        for client in clients:
            client.join()
            check(client.problem is None, f"client {client.number} of seed {SEED}: {client.problem!r}")
        equal(s.process.poll(), None, f"the server ended, seed {SEED}: {s.log()[-500:]}")
        answered = {queue_id.decode() for client in clients for queue_id in client.answered}
        check(len(answered) > SECONDS, f"messages of {sum(c.connections for c in clients)} connections: {len(answered)}, seed {SEED}")

        wait_until(lambda: total(s, "sessions") + total(s, "proxy_headers_awaited") == 0, 20, f"the end of all sessions, seed {SEED}")
        s.api.update("SystemSettings", "singleton", maxConnections=1000, maxConnectionsPerClient=PER_CLIENT)
        s.api.update("NetworkListener", s.api.find("NetworkListener", name="late"), greetDelay=0)
        for address in ADDRESSES:  # who has left a place behind has one less
            wires = [Wire(late, first=proxy_v2(address)) for _ in range(PER_CLIENT)]
            for w in wires:
                w.then("220 ", f"banner for {address}, seed {SEED}")
            for w in wires:
                w.sock.close()

        def delivered():
            return {re.search(r"\.Q([^R]+)R", name)[1] for name in os.listdir(os.path.join(s.data, "mail/example.org/alice/new"))}
        wait_until(lambda: answered <= delivered(), 20, f"delivery of all that was answered, seed {SEED}")
