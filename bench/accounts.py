#!/usr/bin/env python3
"""What many accounts cost: to apply them, in memory, at a start, and what mail notices of it.

  accounts.py --build DIR [--accounts N] [--realtime-core] [--quick] [--json FILE]

One core on the first CPU, management and clients on the second, as in management_latency.py, which says what that
means for the figures. `ringmx-cli apply` carries out a plan that creates the accounts (default: a million, 500 to a
line) while two probes ask for RCPT and for whole messages; before and after it the same probes ask a server that
does nothing else. Then the server starts again, with one core and with two: until the banner is there and RCPT of
an account of the plan is answered with 250. Memory is anonymous resident memory, less that of the server without
the accounts; the store's page cache (at most 32 MiB) is in it.
"""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

import management_latency as latency
from management_latency import lib

APPLY_S_MAX, RESTART_S_MAX, TABLE_BYTES_MAX = 600, 5, 40
PREFIX = "account"


def address_of(number):
    return f"{PREFIX}{number:07d}@example.org"


def anonymous_kib(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon:"))


def table_bytes(server):
    return [core["directory_table_bytes"] for core in latency.test_management.Api(server.http_port).stats()]


def watch(server, options, until):
    """p99 of both probes in milliseconds while until() runs, and what it returned."""
    with latency.Probe(server, "rcpt", options.rate, options.client_cpus) as rcpt, \
         latency.Probe(server, "message", options.rate, options.client_cpus) as message:
        value = until()
    return {"rcpt": rcpt.result, "message": message.result}, value


def elsewhere(options):
    """A client on another machine would not keep this one's disk from telling that it is done (bench/compare.md)."""
    os.sched_setaffinity(0, options.client_cpus)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def apply(server, path, options):
    """Seconds and the largest resident set of the client, in KiB (of its last half second it is not known)."""
    began, peak = time.monotonic(), 0
    process = subprocess.Popen(latency.cli(server, "apply", "--quiet", "--file", path), stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True, env=latency.cli_env(server),
                               preexec_fn=lambda: elsewhere(options))
    while process.poll() is None:
        with contextlib.suppress(OSError, StopIteration), open(f"/proc/{process.pid}/status") as f:
            peak = max(peak, next(int(line.split()[1]) for line in f if line.startswith("VmHWM:")))
        time.sleep(0.5 if peak else 0.01)
    took = time.monotonic() - began
    lib.equal(process.returncode, 0, f"exit code of apply ({process.stderr.read()[-300:]})")
    process.stderr.close()
    return took, peak


def accepts(port, address):
    """Whether RCPT of the address is answered with 250 by whoever listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as s, s.makefile("rb") as replies:
            for command in (None, "EHLO start.example", "MAIL FROM:<s@example.net>", f"RCPT TO:<{address}>"):
                if command is not None:
                    s.sendall(command.encode() + b"\r\n")
                line = replies.readline()
                while line[3:4] == b"-":
                    line = replies.readline()
                if not line.startswith(b"2"):
                    return False
            return True
    except OSError:
        return False


def restart(server, cores, options):
    """Seconds until mail is accepted, anonymous KiB, bytes of every core's tables."""
    began = time.monotonic()
    server.spawn(cores=cores, preexec_fn=lambda: os.sched_setaffinity(0, options.server_cpus))
    while not accepts(server.port, address_of(options.accounts - 1)):
        lib.check(server.process.poll() is None, f"the server ended: {server.log()[-300:]}")
        lib.check(time.monotonic() - began < 120, "no mail is accepted")
        time.sleep(0.005)
    took = time.monotonic() - began
    lib.wait_until(lambda: " ready " in server.log(), 60, "the log line 'ready'")
    time.sleep(options.settle)
    result = {"cores": cores, "seconds": took, "anonymous_kib": anonymous_kib(server.process.pid),
              "table_bytes": table_bytes(server)}
    server.stop()
    return result


def measure(options):
    server = latency.start(options)
    path = os.path.join(server.folder, "accounts.ndjson")
    latency.write_accounts(path, PREFIX, options.accounts)
    result = {"accounts": options.accounts, "plan_bytes": os.path.getsize(path),
              "empty_kib": {1: anonymous_kib(server.process.pid)}}
    quiet = lambda: time.sleep(options.seconds)  # noqa: E731
    watch(server, options, quiet)  # warm
    result["before"], _ = watch(server, options, quiet)
    result["during"], (result["apply_s"], result["client_kib"]) = watch(server, options, lambda: apply(server, path, options))
    result["after"], _ = watch(server, options, quiet)
    time.sleep(options.settle)
    result["applied_kib"] = anonymous_kib(server.process.pid)
    result["applied_table_bytes"] = table_bytes(server)
    server.stop()
    result["registry_bytes"] = os.path.getsize(os.path.join(server.data, "registry.db"))
    result["restarts"] = [restart(server, cores, options) for cores in (1, 2)]
    return result


def report(r):
    n = r["accounts"]
    print(f"{n} accounts, a plan of {r['plan_bytes'] / 1e6:.0f} MB, {len(address_of(0))} bytes of address each; load of the "
          f"machine {os.getloadavg()[0]:.1f}")
    print(f"apply          {r['apply_s']:.1f} s, {n / r['apply_s']:.0f} accounts/s; largest resident set of ringmx-cli "
          f"{r['client_kib'] / 1024:.1f} MiB")
    for what, title in (("rcpt", "RCPT"), ("message", "data to 250")):
        p99 = {phase: r[phase][what]["p99_ns"] / 1e6 for phase in ("before", "during", "after")}
        base = (p99["before"] + p99["after"]) / 2
        print(f"{title:14} p99 {p99['before']:.2f} ms before, {p99['during']:.2f} ms during ({p99['during'] / base:.2f} "
              f"times the mean of before and after), {p99['after']:.2f} ms after; longest "
              f"{r['during'][what]['max_ns'] / 1e6:.1f} ms of {r['during'][what]['count']}")
    print(f"memory         {(r['applied_kib'] - r['empty_kib'][1]) * 1024 / n:.1f} bytes an account after applying, of "
          f"which {r['applied_table_bytes'][0] / n:.1f} in the core's table; registry.db "
          f"{r['registry_bytes'] / n:.0f} bytes an account")
    for start in r["restarts"]:
        print(f"start          {start['cores']} cores: {start['seconds']:.2f} s until mail is accepted; "
              f"{(start['anonymous_kib'] - r['empty_kib'][1]) * 1024 / n:.1f} bytes an account, "
              f"{max(start['table_bytes']) / n:.1f} in each core's table")


def judge(r, timed):
    lib.check(not timed or r["apply_s"] <= APPLY_S_MAX, f"apply took {r['apply_s']:.0f} s")
    lib.check(r["applied_table_bytes"][0] / r["accounts"] <= TABLE_BYTES_MAX, "the core's table is too large")
    for start in r["restarts"]:
        lib.check(not timed or start["seconds"] <= RESTART_S_MAX, f"a start took {start['seconds']:.1f} s")
        lib.check(max(start["table_bytes"]) / r["accounts"] <= TABLE_BYTES_MAX, "a core's table is too large")


def main():
    parser = argparse.ArgumentParser(description="What many accounts cost.")
    parser.add_argument("--build", required=True, help="folder of the binaries")
    parser.add_argument("--accounts", type=int, default=1000000)
    parser.add_argument("--rate", type=int, default=200, help="questions in a second, of each probe")
    parser.add_argument("--realtime-core", action="store_true", help="real-time priority for the core's thread")
    parser.add_argument("--folder", help="where the data are (default: the folder of the binaries)")
    parser.add_argument("--quick", action="store_true", help="5000 accounts: does it run?")
    parser.add_argument("--json", help="write the figures")
    options = parser.parse_args()
    options.seconds, options.settle = 20, 12  # the allocator gives memory back after ten
    if options.quick:
        options.accounts, options.seconds, options.settle = 5000, 1, 0
    lib.BUILD = os.path.abspath(options.build)
    tempfile.tempdir = options.folder or lib.BUILD  # a memory file system would make durability free
    cpus = sorted(os.sched_getaffinity(0))
    options.server_cpus, options.client_cpus = set(cpus[:2]), set(cpus[1:2] or cpus)
    try:
        result = measure(options)
    finally:
        lib.clean_up()
    report(result)
    if options.json:
        with open(options.json, "w") as f:
            json.dump(result, f)
    judge(result, timed=not options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
