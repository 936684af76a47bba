#!/usr/bin/env python3
"""What one slow next hop takes from 99 others.

  next_hops.py --build DIR [--rounds N] [--messages N] [--cores N] [--json FILE]

A server with 101 relays: 99 and a spare one lead to a sink that takes everything at once, the last to one that takes
two seconds for each message. In every round the same load twice, one after the other: a hundredth of it for the
spare relay, then for the slow one, whose mail stays behind. Counted is how fast the mail of the 99 arrives: the
median over the rounds of slow / spare. Exit code 1: below 0.95.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "e2e"))
import lib  # noqa: E402

HOPS = 99
SPARE, SLOW = HOPS, HOPS + 1
LEAST = 0.95


class BenchSink:
    """`ringmx-bench sink` with a ledger, as a context."""

    def __init__(self, *options):
        self.port = lib.free_port()
        self.ledger = os.path.join(lib.work_folder(), "ledger")
        self.process = subprocess.Popen([os.path.join(lib.BUILD, "ringmx-bench"), "sink", "--listen", f"127.0.0.1:{self.port}",
                                         "--quiet", "--ledger", self.ledger, *options], stdout=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.terminate()
        self.process.wait()

    def taken(self):
        """Copies for the 99."""
        with open(self.ledger, "rb") as f:
            return sum(b"u%d@" % SPARE not in line for line in f if b"@" in line)


def address(n):
    return f"u{n}@example.org"


def server(fast, slow, cores):
    routes = [lib.relay_route(slow.port if n == SLOW else fast.port, f"hop{n}") for n in range(HOPS + 2)]
    strategy = {"match": {str(n): {"if": f"rcpt == '{address(n)}'", "then": f"'hop{n}'"} for n in range(HOPS + 1)},
                "else": f"'hop{SLOW}'"}
    return lib.Server(relay=fast.port, cores=cores, retry_ms=None, users=("alice",), extra=routes + [
        lib.update("MtaOutboundStrategy", route=strategy)])


def load(s, fast, last, messages):
    """Messages of the 99 a second, from the first one sent to the last one at the sink."""
    path = os.path.join(lib.work_folder(), "rcpts")
    with open(path, "w", encoding="ascii") as f:
        f.writelines(address(n) + "\n" for n in [*range(HOPS), last])
    before, began = fast.taken(), time.monotonic()
    subprocess.run([os.path.join(lib.BUILD, "ringmx-bench"), "send", "--to", f"127.0.0.1:{s.port}", "--from", "s@example.net",
                    "--rcpt-file", path, "--rcpts-per-message", "1", "--sessions", "20", "--messages", str(messages),
                    "--size", "1000", "--seed", "1", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    # How many were for the last one is chance, but the same chance both times: it ends when nothing more comes.
    count, seen, changed = 0, 0, time.monotonic()
    while time.monotonic() - changed < 1:
        count = fast.taken() - before
        if count != seen:
            seen, changed = count, time.monotonic()
        time.sleep(0.005)
    return count, count / (changed - began)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--messages", type=int, default=10000)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--json")
    args = parser.parse_args()
    lib.BUILD = os.path.abspath(args.build)
    ratios, rates = [], []
    try:
        with BenchSink() as fast, BenchSink("--fault", "eod:delay=2000") as slow, server(fast, slow, args.cores) as s:
            load(s, fast, SPARE, args.messages)  # connections, caches
            for _ in range(args.rounds):
                count, spare = load(s, fast, SPARE, args.messages)
                again, with_slow = load(s, fast, SLOW, args.messages)
                lib.equal(again, count, "messages of the 99")
                rates.append((spare, with_slow))
                ratios.append(with_slow / spare)
                print(f"{count} messages for 99 next hops: {spare:.0f}/s, beside a slow one {with_slow:.0f}/s, "
                      f"ratio {ratios[-1]:.3f}", flush=True)
            s.kill()  # what waits for the slow one may be lost
    finally:
        lib.clean_up()
    ratio = statistics.median(ratios)
    print(f"median ratio {ratio:.3f}, of at least {LEAST}")
    if args.json:
        with open(args.json, "w", encoding="ascii") as f:
            json.dump({"ratio": ratio, "ratios": ratios, "rates": rates}, f)
    return 0 if ratio >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
