#!/usr/bin/env python3
"""What counting costs: instructions of ringmx per message, with and without.

  bench/count_cost.py [--build build/release] [--without build/nocount] [--messages N] [--real]

Builds a second time without counting (RINGMX_NO_COUNTING, core/count.h) and lets valgrind's callgrind count the
instructions in the folders core, io, route and smtp: those of a long run less those of a short one, per message. The C
library's are left out, so the share is rather too high. Exit code 1 when counting takes over 2 %.

By default the simulation (tests/sim) runs: messages of up to 8 KiB over four sessions that use all of SMTP in all kinds
of pieces, received, committed and delivered. A run is a function of its seed, so both builds do the same to the last
byte, which their trace hashes show, and the difference is counting alone.

With --real: the real process on one core, 4 KiB messages by DATA, pipelined over one session, accepted only. How
messages share turns and commits varies from run to run, so rounds alternate and medians are compared. valgrind lets no
other thread run while one waits in the ring, so it waits otherwise there (tests/e2e/poll_ring.c); its own system calls
are none that the sandbox lets pass."""

import argparse
import glob
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = ("core", "io", "route", "smtp")
LIMIT = 0.02
SHORT = 40


def build_without(folder):
    for command in (["cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                     "-DCMAKE_C_FLAGS=-DRINGMX_NO_COUNTING"], ["cmake", "--build", folder, "--target", "sim", "ringmx"]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def is_own(name):
    """A file of one of our folders, by its last two parts: a compiler's cache may name the tree of another build."""
    place = os.path.normpath(name).split(os.sep)[-2:]
    return place[0] in FOLDERS and os.path.exists(os.path.join(ROOT, *place))


def own_instructions(path):
    """Self cost of the lines of our folders, by file, from a callgrind output (its manual, chapter 'format')."""
    names, costs, file, skip = {}, {}, None, False
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            found = re.match(r"(fl|fi|fe)=\((\d+)\)(?: (.*))?$", line)
            if found:
                if found[3]:
                    names[found[2]] = found[3]
                file = names[found[2]]
            elif line.startswith("cfi=") or line.startswith("cfl="):
                found = re.match(r"cf[il]=\((\d+)\)(?: (.*))?$", line)
                if found and found[2]:
                    names[found[1]] = found[2]
            elif line.startswith("calls="):
                skip = True  # the next line is the cost of what was called
            elif line[:1].isdigit() or line[:1] in "+-*":
                if not skip and file is not None:
                    costs[file] = costs.get(file, 0) + int(line.split()[1])
                skip = False
    return {name: cost for name, cost in costs.items() if is_own(name)}


def run(build, messages):
    """(instructions by file, hash of what happened)"""
    with tempfile.TemporaryDirectory(prefix="ringmx-count-") as folder:
        out = os.path.join(folder, "out")
        done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}",
                               os.path.join(build, "tests", "sim", "sim"), "--load", str(messages)],
                              capture_output=True, text=True, check=True)
        return own_instructions(out), re.search(r"trace (\w+)", done.stdout)[1]


# --- the real process ---------------------------------------------------------------------------------------------


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def plan(port):
    return [{"@type": "upsert", "object": "Domain", "matchOn": ["name"], "value": {"d": {"name": "example.org"}}},
            {"@type": "update", "object": "SystemSettings", "value": {"defaultHostname": "mx.example.org"}},
            {"@type": "create", "object": "Account", "value": {"a": {"@type": "User", "name": "alice", "domainId": "#d"}}},
            {"@type": "destroy", "object": "NetworkListener"},
            {"@type": "create", "object": "NetworkListener",
             "value": {"l": {"name": "smtp", "bind": {f"127.0.0.1:{port}": True}}}}]


def wait_for(port, server):
    for _ in range(600):
        with socket.socket() as s:
            if server.poll() is None and s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("the server does not start under valgrind")


def run_server(build, load, waits, messages):
    """Instructions by file of the thread that took the mail."""
    with tempfile.TemporaryDirectory(prefix="ringmx-count-") as folder:
        port, ringmx, data = free_port(), os.path.join(build, "ringmx"), os.path.join(folder, "data")
        path = os.path.join(folder, "plan.ndjson")
        with open(path, "w", encoding="ascii") as f:
            f.writelines(json.dumps(line) + "\n" for line in plan(port))
        subprocess.run([ringmx, "apply", "--data", data, path], check=True, stdout=subprocess.DEVNULL)
        server = subprocess.Popen(
            ["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={folder}/out", ringmx,
             "serve", "--data", data, "--cores", "1", "--delivery", "off", "--http", "off", "--no-pin", "--no-sandbox"],
            stderr=subprocess.DEVNULL, env=dict(os.environ, LD_PRELOAD=waits))
        try:
            wait_for(port, server)
            subprocess.run([load, "send", "--to", f"127.0.0.1:{port}", "--from", "s@remote.example", "--rcpt",
                            "alice@example.org", "--messages", str(messages), "--size", "4096", "--bdat", "0", "--seed",
                            "1"], check=True, stdout=subprocess.DEVNULL)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(120)
        threads = [own_instructions(out) for out in glob.glob(f"{folder}/out*")]

        def smtp(costs):
            return sum(cost for name, cost in costs.items() if "/smtp/" in name)
        return max(threads, key=smtp)


def real(options):
    with tempfile.TemporaryDirectory(prefix="ringmx-count-") as folder:
        waits = os.path.join(folder, "poll_ring.so")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", waits, os.path.join(ROOT, "tests", "e2e", "poll_ring.c"), "-luring"],
                       check=True)
        load, found = os.path.join(options.build, "ringmx-bench"), {"with": [], "without": []}
        for _ in range(options.rounds):
            for name, build in (("with", options.build), ("without", options.without)):
                few, many = (sum(run_server(build, load, waits, n).values()) for n in (SHORT, SHORT + options.messages))
                found[name].append((many - few) / options.messages)
        for name, costs in found.items():
            print(f"  {name} counting: {sorted(map(round, costs))}")
        return {name: statistics.median(costs) for name, costs in found.items()}


# --- the simulation -----------------------------------------------------------------------------------------------


def simulated(options):
    per_message, hashes = {}, {}
    for name, build in (("with", options.build), ("without", options.without)):
        few, hash_few = run(build, SHORT)
        many, hash_many = run(build, SHORT + options.messages)
        hashes[name] = hash_few, hash_many
        per_message[name] = {f: (many.get(f, 0) - few.get(f, 0)) / options.messages for f in {*few, *many}}
    if hashes["with"] != hashes["without"]:
        raise SystemExit(f"the two builds did different things: {hashes}")
    return {name: sum(files.values()) for name, files in per_message.items()}


def main():
    parser = argparse.ArgumentParser(description="Instructions per message with and without counting.")
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "release"))
    parser.add_argument("--without", default=os.path.join(ROOT, "build", "nocount"))
    parser.add_argument("--messages", type=int, default=400)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    build_without(options.without)
    total = real(options) if options.real else simulated(options)
    share = (total["with"] - total["without"]) / total["with"]
    print(f"instructions per message: {total['with']:.0f} with counting, {total['without']:.0f} without: "
          f"{100 * share:.2f} % (at most {100 * LIMIT:.0f} %)")
    return 1 if share > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
