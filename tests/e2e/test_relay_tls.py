"""Relay: TLS with next hops."""

import threading
import time

from lib import DROP, Server, Sink, check, equal, marked, sink_tls, wait_until
from test_relay import exact


def test_relay_starttls():
    """STARTTLS is used when the next hop offers it, then EHLO again."""
    with Sink((*Sink.ALL, "STARTTLS"), tls=sink_tls()) as sink, Server(relay=sink.port) as s:
        body = marked()
        s.submit("bob@example.org", body)
        [message] = sink.got()
        exact(message, body)
        check(message.tls, "not under TLS")
        equal(sink.verbs()[:3], ["EHLO", "STARTTLS", "EHLO"], "commands")


def test_relay_starttls_fails():
    """When the handshake fails the same attempt goes on without TLS (opportunistic)."""
    def hook(session, verb, line):
        if verb == "STARTTLS":
            session.sock.sendall(b"220 Go on\r\nthis is not a handshake")
            time.sleep(0.2)
            return DROP
        return None
    with Sink((*Sink.ALL, "STARTTLS"), hook=hook) as sink, Server(relay=sink.port) as s:
        s.submit("bob@example.org", marked())
        check(not sink.got()[0].tls, "under TLS")
        wait_until(lambda: "goes on without TLS" in s.log(), 10, "the line that says so")


def test_relay_starttls_fails_where_it_is_required():
    """When the handshake fails and the host takes nothing in clear (530), the mail is put off, not bounced."""
    def hook(session, verb, line):
        if verb == "STARTTLS":
            session.sock.sendall(b"220 Go on\r\nthis is not a handshake")
            time.sleep(0.2)
            return DROP
        return "530 5.7.0 Must issue a STARTTLS command first" if verb == "MAIL" else None
    with Sink((*Sink.ALL, "STARTTLS"), hook=hook) as sink, Server(relay=sink.port, retry_ms=60000) as s:
        s.submit("bob@example.org", marked())
        wait_until(lambda: "code=530" in s.log(), 10, "an outcome")
        check(" deferred " in s.log() and " failed " not in s.log(), "bounced")


def test_relay_handshake_dropped():
    """A next hop that closes in the handshake, without a word: the same attempt goes on without TLS."""
    def hook(session, verb, _line):
        if verb == "STARTTLS":
            session.sock.sendall(b"220 Go on\r\n")
            return DROP
        return None
    with Sink((*Sink.ALL, "STARTTLS"), hook=hook) as sink, Server(relay=sink.port) as s:
        s.submit("bob@example.org", marked())
        check(not sink.got()[0].tls, "under TLS")


def test_stop_during_a_silent_handshake():
    """SIGTERM while a next hop says nothing in the handshake: nothing of the message is on its way, so the end does
    not wait for it, and the message stays in the queue."""
    begun, over = threading.Event(), threading.Event()

    def hook(session, verb, _line):
        if verb == "STARTTLS":
            session.sock.sendall(b"220 Go on\r\n")
            begun.set()
            over.wait(60)
            return DROP
        return None
    with Sink((*Sink.ALL, "STARTTLS"), hook=hook) as sink, Server(relay=sink.port) as s:
        s.submit("bob@example.org", marked())
        check(begun.wait(10), "no handshake began")
        s.stop(10)
        over.set()
        check("1 message" in s.queue(), s.queue())


def test_relay_implicit_tls():
    """implicitTls: the handshake comes first; an invalid certificate counts unless allowed."""
    with Sink(tls=sink_tls()) as sink:
        with Server(relay=sink.port, relay_fields={"implicitTls": True}) as s:
            s.submit("bob@example.org", marked())
            check(sink.got()[0].tls, "not under TLS")
        with Server(relay=sink.port, relay_fields={"implicitTls": True,
                                                   "allowInvalidCerts": False}) as s:
            s.submit("bob@example.org", marked())
            time.sleep(1)
            equal(len(sink.messages), 1, "messages over an unverified connection")
            s.stop()
            check("1 message" in s.queue(), s.queue())
