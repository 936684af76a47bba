#!/usr/bin/env python3
"""What many slow clients do to good ones.

  slow_clients.py --build DIR [--clients N] [--rounds N] [--seconds N] [--rate N] [--quick] [--json FILE]
  slow_clients.py --build DIR --over-limit N [--rounds N] ...

A server that is configured for so many sessions, and otherwise as by default, gets messages at a fixed rate (open loop:
latency counts from the moment at which each was due), in every round once alone and once beside slow clients, in turn
which comes first. The slow ones, from 127.40.0.0/16, are in equal parts: silent; one byte of a session a second; floods of
commands without reading a reply; and content of a message, one byte a second. A process of its own makes those of a kind.

Figures are ratios of one round, their median decides: goodput of the good ones beside the slow ones to alone (at least
0.9), p99 of a message likewise (at most 2), and the server's memory for each slow client (at most 20 KiB on average: a deaf
one may have 50 (replies, and input that is parked), a slow sender 8, the others 2).

With --over-limit there are no slow clients but N connections a second of one that is over its limit and never closes, at
a server with few places for sessions; the good ones connect anew for each message, so they notice whoever keeps a place.
"""

import argparse
import collections
import contextlib
import json
import multiprocessing
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "e2e"))
import lib  # noqa: E402
import test_frontends  # noqa: E402
import test_management  # noqa: E402

DRIPPING = ("drip", "slow-data")
KINDS = ("silent", "drip", "slow-reader", "slow-data")
SPARE_FILES = 400  # of the server: journals, good clients, management
GOODPUT_LEAST = 0.9
P99_MOST = 2.0
MEMORY_MOST = 20 * 1024
CONNECT_SECONDS = 180
CALM_BYTES = 256 * 1024  # a second, ten times what drips, for
CALM_SECONDS = 3
FLOODER, GOOD_ONES = "203.0.113.7", "198.51.100.0/24"
PLACES, PLACES_OF_ONE = 200, 32
FLOOD_HELD = 4000  # connections that the flooder keeps open, more than there are places


def start(options):
    if options.over_limit:
        return test_management.Managed(cores=options.cores, settings={
            "maxConnections": PLACES, "maxConnectionsPerClient": PLACES_OF_ONE, "proxyTrustedNetworks": {"127.0.0.0/8": True}})
    big = options.clients + 10000
    server = test_management.Managed(
        cores=options.cores, settings={"maxConnections": big}, fields={"maxConnections": big, "socketBacklog": 4096},
        extra=[test_management.update("Performance", overloadDescriptors=100)])
    return server


def most_clients(descriptors):
    """From nine tenths of its descriptors on a server sheds load: that is not what is measured here."""
    return descriptors * 9 // 10 - SPARE_FILES


def sessions(server):
    return sum(core["sessions"] for core in server.api.stats())


def resident(server):
    with open(f"/proc/{server.process.pid}/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


def cpu_seconds(server):
    return time.clock_gettime((~server.process.pid << 3) | 2)  # the CPU-time clock of another process


def kernel_tcp_bytes():
    with open("/proc/net/sockstat") as f:
        words = next(line for line in f if line.startswith("TCP:")).split()
    return int(words[words.index("mem") + 1]) * resource.getpagesize()


def bench(server, *args, **how):
    return subprocess.Popen([os.path.join(lib.BUILD, "ringmx-bench"), "send", "--to", f"127.0.0.1:{server.port}", "--from",
                             "s@remote.example", "--rcpt", "alice@example.org", "--quiet", *map(str, args)], **how)


def wait_for_calm(server, each):
    """Until every client is at what it does, and the deaf ones have filled what there is between them and the server: that
    is over once, and then they wait."""
    def in_state(name):
        rows = [row for core in server.api.stats() for row in core["sessions_by_state"]]
        return sum(row["value"] for row in rows if row["state"] == name)
    lib.wait_until(lambda: min(in_state("greeted"), in_state("data")) >= 0.99 * each, CONNECT_SECONDS, "deaf and slow senders")

    def received():
        return sum(core["network_received_bytes_total"] for core in server.api.stats())
    seen = [received()]

    def calm():
        time.sleep(1)
        seen.append(received())
        return len(seen) > CALM_SECONDS and seen[-1] - seen[-1 - CALM_SECONDS] < CALM_SECONDS * CALM_BYTES
    lib.wait_until(calm, CONNECT_SECONDS, "the first flood to be over")


def wait_for_sessions(server, running, want):
    """As long as more and more come, however slow the machine is; a generator that ends, or a server that refuses, is told."""
    most, since = 0, time.monotonic()
    while most < want:
        now = sessions(server)
        if now > most:
            most, since = now, time.monotonic()
        ended = [kind for kind, process in zip(KINDS, running) if process.poll() is not None]
        lib.check(not ended, f"the generator of these clients has ended: {ended}")
        if time.monotonic() - since > CONNECT_SECONDS:
            reasons = [row for core in server.api.stats() for row in core["sessions_refused_total"] if row["value"]]
            raise lib.Fail(f"{most} of {want:.0f} slow clients are connected, and no more in {CONNECT_SECONDS} s; refused: {reasons}")
        time.sleep(0.02)


@contextlib.contextmanager
def slow_clients(server, options):
    """All of them connected, once at least; what they are told is nothing to us."""
    each = options.clients // len(KINDS)
    running = [bench(server, "--sessions", 0, "--messages", 0, "--hostile", f"{kind}:{each}",
                     *(("--drip", 1000) if kind in DRIPPING else ()), "--source", "127.40.0.0/16", "--json",
                     stdout=subprocess.PIPE, text=True) for kind in KINDS]
    result = {}
    try:
        wait_for_sessions(server, running, 0.99 * each * len(KINDS))
        wait_for_calm(server, each)
        yield result
    finally:
        for process in running:
            process.terminate()
        for kind, process in zip(KINDS, running):
            out, _ = process.communicate(timeout=120)
            result[kind] = json.loads(out)["hostile"][kind] if out.strip() else {}
    lib.wait_until(lambda: sessions(server) == 0, 120, "the end of the slow clients")


def flood(port, rate):
    """Connections of one client, each with its header, closed by nobody but the server; in a process of its own."""
    held, began, made = collections.deque(), time.monotonic(), 0
    while True:
        try:
            held.append(socket.create_connection(("127.0.0.1", port)))
            held[-1].sendall(test_frontends.proxy_v2(FLOODER))
        except OSError:
            pass  # the server ends
        made += 1
        if len(held) > FLOOD_HELD:
            held.popleft().close()
        time.sleep(max(0, began + made / rate - time.monotonic()))


def refused(server):
    return sum(row["value"] for core in server.api.stats() for row in core["sessions_refused_total"] if row["reason"] == "client_full")


@contextlib.contextmanager
def over_limit(server, options):
    process = multiprocessing.Process(target=flood, args=(server.port, options.over_limit), daemon=True)
    process.start()
    result = {}
    try:
        lib.wait_until(lambda: refused(server) > PLACES, CONNECT_SECONDS, "the flood")
        first, began = refused(server), time.monotonic()
        yield result
        result["refused_per_second"] = (refused(server) - first) / (time.monotonic() - began)
    finally:
        process.kill()
        process.join()
    lib.wait_until(lambda: sessions(server) == 0, 120, "the end of the flood")


def good_load(server, options):
    before = cpu_seconds(server)
    anew = ("--per-connection", 1, "--proxy", "v2", "--clients", GOOD_ONES) if options.over_limit else ()
    done = bench(server, *anew, "--sessions", 16, "--arrivals", f"constant:{options.rate}", "--time", options.seconds, "--warmup", 1,
                 "--json", stdout=subprocess.PIPE, text=True)
    out, _ = done.communicate(timeout=options.seconds + 120)
    result = json.loads(out)
    lib.check(result["accepted"] > 0, f"the good clients: {result}")
    return {"rate": result["rate"], "errors": result["errors"], "p50_ms": result["phases"]["message"]["p50_ns"] / 1e6,
            "p99_ms": result["phases"]["message"]["p99_ns"] / 1e6, "cpu_s": cpu_seconds(server) - before}


def one_round(server, options, slow_first):
    row = {"load": os.getloadavg()[0]}

    def alone():
        row["alone_bytes"], row["alone"] = resident(server), good_load(server, options)

    def beside():
        kernel = kernel_tcp_bytes()
        before = resident(server)
        with (over_limit if options.over_limit else slow_clients)(server, options) as told:
            row["slow_bytes"], row["kernel_bytes"] = resident(server) - before, kernel_tcp_bytes() - kernel
            row["beside"], row["sessions"] = good_load(server, options), sessions(server)
        row["told"] = told
    for part in (beside, alone) if slow_first else (alone, beside):
        part()
    row["goodput_ratio"] = row["beside"]["rate"] / row["alone"]["rate"]
    row["p99_ratio"] = row["beside"]["p99_ms"] / row["alone"]["p99_ms"]
    return row


def show(row):
    a, b = row["alone"], row["beside"]
    print(f"load {row['load']:.1f}  good/s {a['rate']:.0f} -> {b['rate']:.0f} ({row['goodput_ratio']:.3f})  "
          f"p99 {a['p99_ms']:.1f} -> {b['p99_ms']:.1f} ms ({row['p99_ratio']:.2f})  errors {a['errors']}, {b['errors']}  "
          f"CPU {a['cpu_s']:.1f} -> {b['cpu_s']:.1f} s  sessions {row['sessions']}  memory {row['slow_bytes'] / 2**20:.0f} MiB, "
          f"kernel {row['kernel_bytes'] / 2**20:.0f} MiB", flush=True)


def options_of(arguments):
    parser = argparse.ArgumentParser(description="Good clients beside many slow ones.")
    parser.add_argument("--build", required=True, help="folder of the binaries")
    parser.add_argument("--clients", type=int, default=20000, help="slow ones in all; as many as descriptors allow")
    parser.add_argument("--over-limit", type=int, default=0, metavar="N", help="instead: connections a second of a client over its limit")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement")
    parser.add_argument("--rate", type=int, default=500, help="messages a second of the good clients")
    parser.add_argument("--cores", type=int, default=2, help="of the server")
    parser.add_argument("--quick", action="store_true", help="400 clients, one short round, no limit to the p99: does it run?")
    parser.add_argument("--folder", help="where the data are (default: the folder of the binaries)")
    parser.add_argument("--json", help="write the figures of every round")
    options = parser.parse_args(arguments)
    if options.quick:
        options.clients, options.rounds, options.seconds, options.rate = 400, 1, 2, 50
    return options


def main():
    options = options_of(sys.argv[1:])
    lib.BUILD = os.path.abspath(options.build)
    tempfile.tempdir = options.folder or lib.BUILD  # a memory file system would make durability free
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if options.over_limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    elif hard != resource.RLIM_INFINITY and options.clients > most_clients(hard):
        options.clients = most_clients(hard)
        print(f"{options.clients} slow clients: a process may have no more than {hard} descriptors here")
    try:
        server = start(options)
        good_load(server, options)  # warm
        rows = []
        for number in range(options.rounds):
            rows.append(one_round(server, options, number % 2 == 1))
            show(rows[-1])
        server.stop()
    finally:
        lib.clean_up()
    goodput, p99 = (statistics.median(row[f"{name}_ratio"] for row in rows) for name in ("goodput", "p99"))
    memory = max(row["slow_bytes"] for row in rows) / options.clients
    if options.over_limit:
        pace = statistics.median(row["told"]["refused_per_second"] for row in rows)
        print(f"{pace:.0f} connections a second over a limit: goodput {goodput:.3f}, p99 {p99:.2f} x")
    else:
        print(f"{options.clients} slow clients: goodput {goodput:.3f}, p99 {p99:.2f} x, memory {memory / 1024:.1f} KiB for each")
    if options.json:
        with open(options.json, "w") as f:
            json.dump({"clients": options.clients, "rounds": rows, "goodput": goodput, "p99": p99, "memory": memory}, f)
    lib.check(all(row["beside"]["errors"] == 0 for row in rows), "good clients had errors")
    lib.check(goodput >= GOODPUT_LEAST, f"the goodput is {goodput:.3f} of that without slow clients")
    lib.check(options.quick or p99 <= P99_MOST, f"the p99 is {p99:.2f} times that without slow clients")
    lib.check(options.quick or options.over_limit or memory <= MEMORY_MOST, f"a slow client takes {memory:.0f} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
