"""Slow and greedy clients: what they may take, and that the others do not notice."""

import signal
import socket
import time

import lib
from lib import Server, check, equal, session_limits, split_local, wait_until
from test_management import Managed


def total(s, name):
    return sum(core[name] for core in s.api.stats())


def drip(w, byte, every, most):
    """One byte at a time until the server says something; how many."""
    w.sock.settimeout(every)
    for sent in range(most):
        w.send(byte)
        try:
            w.buffer += w.sock.recv(4096)
            break
        except TimeoutError:
            continue
    w.sock.settimeout(20)
    return sent + 1


def test_data_rate():
    """Message data below the least rate is cut off with 421, by DATA and BDAT, in silence and byte by byte."""
    with Managed(extra=[session_limits(minDataRate="1000", minDataRateGrace="1s")]) as s:
        with s.wire() as silent, s.wire() as slow, s.wire() as chunk, s.wire() as between:
            began = time.monotonic()
            for w in (silent, slow, chunk, between):
                w.begin("alice@example.org")
            between.send("BDAT 5\r\nabcde")
            between.then("250")
            chunk.send("BDAT 10000\r\nabc")
            silent.expect("DATA", "354")
            slow.expect("DATA", "354")
            check(drip(slow, b"x", 0.1, 300) < 300, "it drips for ever")
            for w in (slow, silent, chunk):
                w.then("421 4.4.2 Data comes too slowly")
                w.at_end()
            check(time.monotonic() - began >= 1, "before its time")
            between.expect("BDAT 0 LAST", "250 2.0.0 Queued")  # between chunks commands are awaited
        wait_until(lambda: s.log().count("reason=TOO_SLOW ") == 3, 10, "log lines")
        equal((total(s, "sessions_slow_data_total"), total(s, "sessions_timed_out_total")), (3, 3), "counted")
        s.delivered()


def test_data_rate_off():
    """With a least rate of 0 there is none; and it may differ by client."""
    by_client = {"match": {"0": {"if": "is_ip_in_cidr(remote_ip, '127.0.0.9')", "then": "1000"}}, "else": "0"}
    with Server(extra=[lib.update("MtaInboundSession", minDataRate=by_client, minDataRateGrace=lib.constant("1s"))]) as s:
        cut = s.wire(hello=False)
        cut.sock.close()
        cut.sock = socket.create_connection(("127.0.0.1", s.port), 20, ("127.0.0.9", 0))
        with s.wire() as w, cut:
            cut.hello()
            for client in (w, cut):
                client.begin("alice@example.org")
                client.expect("DATA", "354")
            cut.then("421 4.4.2 Data comes too slowly")
            time.sleep(0.5)
            w.send(b"Subject: late\r\n\r\nx\r\n.\r\n")
            w.then("250 2.0.0 Queued")
        s.delivered()


def test_data_rate_and_a_busy_server():
    """Time in which the server does not look is not the client's: what it sent meanwhile counts."""
    with Server(cores=1, extra=[session_limits(minDataRate="10000", minDataRateGrace="1s")]) as s:
        content = b"Subject: big\r\n\r\n" + (b"x" * 70 + b"\r\n") * 800
        for _ in range(3):
            with s.wire() as w:
                w.begin("alice@example.org")
                w.expect("DATA", "354")
                s.signal(signal.SIGSTOP)
                try:
                    w.send(content + b".\r\n")
                    time.sleep(2.5)
                finally:
                    s.signal(signal.SIGCONT)
                w.then("250 2.0.0 Queued")
        equal(split_local(s.delivered(3)[0])[3], content, "content")


def test_command_deadline():
    """A command has one deadline, however often a byte of it comes; whole commands begin a new one."""
    with Server(extra=[session_limits(timeout="1s")]) as s:
        with s.wire(hello=False) as w:
            w.then("220 ")
            w.send("EHLO ")
            check(drip(w, b"x", 0.1, 300) < 300, "it drips for ever")
            w.then("421 4.4.2")
            w.at_end()
        with s.wire() as w:
            w.send("NOOP " + "x" * 5000)  # too long: the same
            check(drip(w, b"x", 0.1, 300) < 300, "an over-long line drips for ever")
            w.then("421 4.4.2")


def test_slow_reader():
    """Who sends commands and reads no reply is cut off, in time; the others are served meanwhile."""
    with Managed(cores=1, extra=[session_limits(timeout="2s", maxCommands="100000000")]) as s:
        blocks = total_of(s, "blocks")
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(0.2)
        raw.connect(("127.0.0.1", s.port))
        raw.sendall(b"EHLO client.example.net\r\n")
        time.sleep(0.1)  # not behind EHLO
        sent = 0
        try:
            while total(s, "sessions_slow_readers_total") == 0:
                check(sent < 64 << 20, f"{sent} bytes were taken")
                try:
                    sent += raw.send(b"NOOP\r\n" * 1000)
                except TimeoutError:
                    s.submit("alice@example.org")
        except (ConnectionResetError, BrokenPipeError):
            pass
        wait_until(lambda: total(s, "sessions_slow_readers_total") == 1, 20, "it is cut off")
        wait_until(lambda: total_of(s, "blocks") <= blocks, 20, "its memory is free again")
        raw.close()
        s.submit("alice@example.org")


def total_of(s, pool):
    return sum(row["value"] for core in s.api.stats() for row in core["pool_used_bytes"] if row["pool"] == pool)


def test_session_ends_between_transactions():
    """A message that is on its way when the session's time is over is taken, then the session ends; so does one that
    sends more at once, and one that only waits."""
    with Managed(cores=1, extra=[session_limits(maxDuration="2s")]) as s:
        with s.wire() as idle, s.wire() as busy, s.wire() as pipelining, s.wire() as envelope:
            for w in (busy, pipelining):
                w.begin("alice@example.org")
                w.expect("DATA", "354")
                w.send("Subject: on its way\r\n\r\n")
            envelope.expect("MAIL FROM:<a@example.net>", "250")
            idle.then("421 4.4.2")
            idle.at_end()
            more = "MAIL FROM:<a@example.net>\r\nRCPT TO:<alice@example.org>\r\n"
            for w, behind in ((busy, ""), (pipelining, more)):
                w.send("x\r\n.\r\n" + behind)
                w.then("250 2.0.0 Queued")
                w.then("421 4.4.2")
                w.at_end()
            envelope.expect("RCPT TO:<alice@example.org>", "250")
            envelope.send("RSET\r\n" + more)
            envelope.then("250")
            envelope.then("421 4.4.2")
            envelope.at_end()
        s.delivered(2)
        wait_until(lambda: total(s, "sessions") == 0, 10, "all sessions have ended")
        equal(total(s, "sessions_timed_out_total"), 4, "counted")
