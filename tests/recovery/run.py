#!/usr/bin/env python3
"""Recovery test: a start with many queued messages.

  run.py --build DIR [--messages N] [--size BYTES] [--data DIR]

Fills one set, then two sets, through the real server, kills it, empties the page cache of the journal, starts
it again and sends mail while the old queue is read. Prints figures. Checks that nothing is missing and nothing
is there twice, that full segments were read by their index, that mail was accepted before the old queue had
been read, and, from MANY messages on, memory per message; from a million on also the times that are promised.
"""

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(FOLDER), "e2e"))
import lib  # noqa: E402
from lib import Fail, check, equal  # noqa: E402

MANY, MILLION = 200_000, 1_000_000
ACCEPT_S, INDEX_S = 1.0, 10.0  # promised for a million
MESSAGE_BYTES = 640  # memory per queued message at the peak of the recovery, which has found it and is handing it over
DELIVERED_MAX = 10_000  # so many are delivered and counted
DRAIN_S = 120
SESSION_MESSAGES = 100


def fill(server, count, size):
    """`count` messages by ringmx-bench; all must be accepted."""
    done = subprocess.run(
        [os.path.join(lib.BUILD, "ringmx-bench"), "send", "--to", f"127.0.0.1:{server.port}",
         "--from", "sender@example.net", "--rcpt", "alice@example.org", "--sessions", "20",
         "--messages", str(count), "--size", str(size)], capture_output=True, text=True)
    check(done.returncode == 0 and f"accepted {count} " in done.stdout, done.stdout + done.stderr)


def segments(server):
    root = os.path.join(server.data, "journal")
    return [os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names
            if name.endswith(".seg")]


def empty_cache(server):
    for path in segments(server):
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def memory(server, key):
    with open(f"/proc/{server.process.pid}/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith(key + ":"))


def first_banner(port):
    """Waits for the first connection that is answered."""
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
                if s.recv(4) == b"220 ":
                    return
        except OSError:
            pass
        time.sleep(0.002)


def field(line, key):
    return int(re.search(rf" {key}=(\d+)", line)[1])


def log_line(server, event):
    return next((x for x in server.log().splitlines() if f" {event} " in x), None)


def send_until(server, event):
    """One message after the other until the log has the event: count, the longest, and that line."""
    count, longest = 0, 0.0
    while True:
        with server.wire() as w:
            for _ in range(SESSION_MESSAGES):
                line = log_line(server, event)
                if line is not None:
                    return count, longest, line
                check(server.process.poll() is None, f"the server ended: {server.log()[-300:]}")
                began = time.monotonic()
                w.message("alice@example.org", lib.marked())
                longest = max(longest, time.monotonic() - began)
                count += 1


def empty_memory(server):
    """What a start with an empty queue takes."""
    server.start()
    size = memory(server, "VmHWM")
    server.stop()
    return size


def deliver(server, count):
    server.args = []
    server.start()
    server.delivered(count, seconds=DRAIN_S)
    server.stop()
    equal(server.queue().strip(), "0 messages", "the queue at the end")


def run(sets, options):
    server = lib.Server(cores=sets, retry_ms=None, start=False, args=["--delivery=off"],
                        folder=tempfile.mkdtemp(prefix=f"sets-{sets}-", dir=options.data))
    with server:
        base = empty_memory(server)
        server.start()
        fill(server, options.messages, options.size)
        server.kill()
        empty_cache(server)
        began = time.monotonic()
        server.spawn()
        first_banner(server.port)
        accepting_s = time.monotonic() - began
        check(log_line(server, "queue-recovered") is None, "the old queue was read before mail was accepted")
        fresh, longest, line = send_until(server, "queue-recovered")
        recovered_s = time.monotonic() - began
        indexed = log_line(server, "queue-indexed")
        per_message = (memory(server, "VmHWM") - base) / options.messages
        found = field(line, "messages")
        by_index, scanned = field(indexed, "by-index"), field(indexed, "segments")
        print(f"{sets} set(s), {options.messages} messages of {options.size} bytes, cold cache: accepting after "
              f"{accepting_s:.3f} s, indexed after {field(indexed, 'ms') / 1000:.2f} s ({by_index} of {scanned} "
              f"segments by index), taken over after {recovered_s:.2f} s; {fresh} messages accepted meanwhile, "
              f"longest {longest * 1000:.0f} ms; {per_message:.0f} bytes of memory per message", flush=True)
        equal(found, options.messages, "messages recovered")
        equal(field(line, "damaged-records"), 0, "damaged records")
        check(by_index > 0, "no segment was read by its index")
        check(scanned - by_index <= 4 * sets, f"{scanned - by_index} segments of {scanned} had no index")
        if options.messages >= MANY:
            check(per_message <= MESSAGE_BYTES, f"{per_message:.0f} bytes per message")
        if options.messages >= MILLION:
            check(accepting_s <= ACCEPT_S, f"accepting after {accepting_s:.3f} s")
            check(recovered_s <= INDEX_S, f"indexed after {recovered_s:.2f} s")
        server.stop(60)
        if options.messages <= DELIVERED_MAX:
            deliver(server, options.messages + fresh)


def main():
    parser = argparse.ArgumentParser(description="Recovery test.")
    parser.add_argument("--build", required=True, help="folder of the binaries")
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--data", help="folder on the disk to be measured (default: beside --build)")
    options = parser.parse_args()
    lib.BUILD = os.path.abspath(options.build)
    options.data = tempfile.mkdtemp(prefix="recovery-", dir=options.data or os.path.dirname(lib.BUILD))
    passed = failed = 0
    for sets in (1, 2):
        try:
            run(sets, options)
            passed += 1
        except Fail as error:
            failed += 1
            print(f"FAIL recovery of {sets} set(s): {error}")
        finally:
            for server in lib.running:
                server.kill()
            lib.running.clear()
    shutil.rmtree(options.data, ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
