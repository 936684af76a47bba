"""Memory: of an idle session, of a queued message."""

import ctypes
import os

import lib
from lib import Server, Skip, check, constant, equal, ringmx, session_limits, update, wait_until
from test_management import Managed
from test_queue_api import act


def anonymous(server):
    """Bytes of memory of its own that the process has."""
    with open(f"/proc/{server.process.pid}/smaps_rollup", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith("Anonymous:")).split()[1]) * 1024


def test_memory_of_idle_sessions():
    """An idle plaintext session costs at most 1 KiB of user-space memory, also after EHLO."""
    if "asan" in ringmx():
        raise Skip("sanitizers have their own memory")
    # Small pages: a large one more or less would be 3 KiB a session.
    with Server(cores=1, env_more={"MALLOC_CONF": "thp:never"}) as s:
        wires = []

        def idle(count):
            for _ in range(count):
                wires.append(s.wire(hello=False))
                wires[-1].then("220")
                wires[-1].expect("EHLO client.example.net", "250-")
        try:
            idle(100)
            before = anonymous(s)
            idle(700)
            each = (anonymous(s) - before) / 700
            check(each <= 1024, f"{each:.0f} bytes per idle session")
        finally:
            for w in wires:
                w.sock.close()


MESSAGE_BYTES_MAX = 512


def small_pages():
    """The kernel gives memory in pages of 4 KiB: with those of 2 MiB the result depends on how many it joins meanwhile."""
    equal(ctypes.CDLL(None).prctl(41, 1, 0, 0, 0), 0, "PR_SET_THP_DISABLE")


def test_memory_of_queued_messages():
    """A queued message with one recipient (two addresses of 32 bytes) takes at most 512 bytes of memory."""
    if "asan" in os.path.basename(lib.BUILD):
        raise Skip("sanitizers have their own memory")
    sender, rcpt = "s" * 18 + "@x.example.net", "r" * 20 + "@example.org"
    equal((len(sender), len(rcpt)), (32, 32), "lengths of the addresses")
    many = [update("MtaStageData", maxMessages=constant("1000000")), session_limits(maxCommands="10000000")]
    many.append(update("Performance", traceMemory=65536))  # it is not the queue's
    with Managed(cores=1, users=("r" * 20,), extra=many, start=False) as s:
        s.spawn(preexec_fn=small_pages)
        wait_until(lambda: " ready " in s.log(), 20, "the log line 'ready'")
        act(s, "PauseMtaQueue")
        parts = ((f"MAIL FROM:<{sender}>\r\nRCPT TO:<{rcpt}>\r\nDATA\r\n".encode(), 3),
                 (b"Subject: x\r\n\r\nhello\r\n.\r\n", 1))
        clients = [s.wire() for _ in range(100)]

        def send(count):
            """As many messages at a time as there are sessions."""
            for _ in range(count // len(clients)):
                for part, replies in parts:
                    for client in clients:
                        client.send(part)
                    for client in clients:
                        for _ in range(replies):
                            check(client.reply()[0] in "23", "a refusal")
        send(2000)  # what is taken once for all
        before, count = anonymous(s), 20000
        send(count)
        took = (anonymous(s) - before) / count
        equal(s.api.stats()[0]["queue_messages"], 2000 + count, "queued messages")
        check(100 < took <= MESSAGE_BYTES_MAX, f"a queued message takes {took:.0f} bytes")
        for client in clients:
            client.sock.close()
        s.kill()
