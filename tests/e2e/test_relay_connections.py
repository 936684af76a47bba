"""Relay: connections to next hops: how many, kept, shared, and what a next hop that is away delays."""

import threading
import time

from lib import DROP, Server, Sink, check, equal, free_port, marked, split_received, wait_until


def test_dead_hop_delays_nobody():
    """With a next hop that accepts and never speaks, and one that refuses, local mail flows."""
    gate = threading.Event()

    def hook(session, verb, line):
        gate.wait()
        return DROP
    with Sink(hook=hook) as silent:
        for port in (silent.port, free_port()):
            with Server(relay=port) as s:
                with s.wire() as w:
                    for i in range(20):
                        w.message(f"bob{i}@example.org", marked())
                    for _ in range(20):
                        w.message("alice@example.org", marked())
                s.delivered(20)
        gate.set()


def test_silent_hop_with_large_mail():
    """However much mail waits for a next hop that never speaks, local mail finds memory."""
    def hook(session, verb, line):
        time.sleep(3600)
        return DROP
    body = b"Subject: large\r\n\r\n" + (b"z" * 98 + b"\r\n") * 2500
    with Sink(hook=hook) as silent, Server(relay=silent.port, cores=1) as s:
        with s.wire() as w:
            for _ in range(700):  # more than all deliveries together may hold in memory
                w.message("bob@example.org", body)
            w.message("alice@example.org", marked())
        s.delivered(1, seconds=5)


def at_most_four(session, verb, line):
    """A hook: more connections are refused, and a message takes its time."""
    if verb == "BANNER" and len(session.sink.open_sockets) > 4:
        return "421 4.7.0 Too many connections"
    if verb == "EOD":
        time.sleep(0.005)
    return None


def test_next_hop_limits_connections():
    """A next hop that refuses more than four connections gets its mail over those, and is not down."""
    with Sink(hook=at_most_four) as sink, Server(relay=sink.port, cores=1, retry_ms=None) as s:
        with s.wire() as w:
            for _ in range(100):
                w.message("bob@example.org", b"x\r\n")
        sink.got(100)  # without retry_ms a deferred message would wait for minutes
        check("next-hop-down" not in s.log(), "the next hop was taken for dead")


def test_cores_share_connections():
    """When one core's connections are all that the next hop gives, the other core gets its part."""
    with Sink(hook=at_most_four) as sink, Server(relay=sink.port, cores=2) as s:
        for _ in range(16):  # sessions fall on both cores
            with s.wire() as w:
                for _ in range(10):
                    w.message("bob@example.org", b"x\r\n")
        sink.got(160)


def test_hop_comes_back():
    """The queue drains when the next hop is back."""
    sink = Sink(start=False)
    with Server(relay=sink.port) as s:
        bodies = {marked() for _ in range(30)}
        with s.wire() as w:
            for body in bodies:
                w.message("bob@example.org", body)
        time.sleep(1)
        with sink:
            sink.start()
            sink.got(30, seconds=20)
            equal({split_received(m.data)[1] for m in sink.messages}, bodies, "contents")
            s.stop()
            equal(s.queue().strip(), "0 messages", "queue")


def test_many_messages_per_connection():
    """A burst goes over few connections, each used for many messages."""
    with Sink() as sink, Server(relay=sink.port, cores=1) as s:
        with s.wire() as w:
            for _ in range(200):
                w.message("bob@example.org", b"x\r\n")
        sink.got(200)
        check(sink.connections <= 40, f"{sink.connections} connections for 200 messages")


def test_idle_relay_connection_closed():
    """A kept connection that the next hop closes is replaced, and nothing is lost or doubled."""
    def hook(session, verb, line):
        if verb == "EOD":
            # A 250, then the end without a word.
            with session.sink.lock:
                session.sink.messages.append(line)
            session.sock.sendall(b"250 2.0.0 Taken\r\n")
            return DROP
        return None
    with Sink(hook=hook) as sink, Server(relay=sink.port, cores=1) as s:
        for _ in range(5):
            s.submit("bob@example.org", marked())
            time.sleep(0.1)
        sink.got(5)


def test_given_back_delivery_forgets_its_connection():
    """A message that was given back because its kept connection had died, and then finds nobody: what is told of
    it names neither host nor peer, which lay in the memory of that connection."""
    def hook(session, verb, _line):
        if verb == "MAIL" and len(session.sink.messages) == 1:
            session.sink.stop()
            return DROP
        return None
    with Sink(hook=hook) as sink, Server(relay=sink.port, cores=1, retry_ms=60000) as s:
        s.submit("bob@example.org", marked())
        sink.got()
        s.submit("ann@example.org", marked())

        def deferred():
            return [line for line in s.log().splitlines() if " deferred " in line]
        [line] = wait_until(deferred, 10, "a deferral")
        check("to=ann@example.org" in line, f"another recipient: {line}")
        check(" peer=" not in line and " host=" not in line and " tls=" not in line, f"a host that did not speak: {line}")
        equal(sink.verbs(1).count("MAIL"), 2, "transactions begun on the kept connection")
