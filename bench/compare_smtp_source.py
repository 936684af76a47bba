#!/usr/bin/env python3
"""Postfix's load generator into ringmx, and into Postfix's own smtp-sink, interleaved in one run.

  compare_smtp_source.py --build DIR --postfix DIR [--rounds N] [--messages N] [--json FILE]

runs `smtp-source -s 20 -m 20000 -l 4096`, with and without -d (one connection kept for all messages of a
session), into
  smtp-sink         reads and forgets: what the client can do at most
  ringmx            durable: every message synced before its 250; delivery off
  ringmx+delivery   durable, and delivered over SMTP to `ringmx-bench sink`
Each server has one CPU to itself and the client and the sink the others. CPU time is that of the server's
threads, user and system, from the first connection until all is accepted (with delivery: delivered).
Prints the median of the rounds and the range; nothing is left out.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "e2e"))
import lib  # noqa: E402

DRAIN_S = 300


def cpu_ns(pid):
    """CPU time of a process's threads."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            total += int(f.read().split()[0])
    return total


class Target:
    """A server under the load, as a context: port, pid, and when it is done."""

    def __init__(self, options):
        self.options, self.processes = options, []

    def spawn(self, command, cpus, **more):
        log = open(os.path.join(lib.work_folder(), "log"), "wb+")
        process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=lambda: os.sched_setaffinity(0, cpus), **more)
        self.processes.append(process)
        return process

    def __exit__(self, *unused):
        for process in reversed(self.processes):
            process.terminate()
            process.wait(30)
        lib.clean_up()

    def done(self):
        pass


class SmtpSink(Target):
    name = "smtp-sink"

    def __enter__(self):
        program, env = lib.postfix_program("smtp-sink")
        self.port = lib.free_port()
        user = ["-u", "nobody"] if os.getuid() == 0 else []
        self.pid = self.spawn([program, *user, f"127.0.0.1:{self.port}", "1024"], self.options.server_cpus, env=env).pid
        return self


class Ringmx(Target):
    name = "ringmx"
    arguments = ("--delivery=off",)

    def __enter__(self):
        self.relay = lib.free_port()
        self.next_hop()
        # With -d a session carries more messages than the default allows.
        server = lib.Server(relay=self.relay, start=False, folder=lib.work_folder(),
                            extra=[lib.session_limits(maxCommands=10000000),
                                   lib.update("MtaStageData", maxMessages=lib.constant(1000000))])
        self.port = server.port
        command = [lib.ringmx(), "serve", "--data", server.data, "--cores", "1", *self.arguments]
        process = self.spawn(command, self.options.server_cpus)
        self.pid = process.pid
        return self

    def next_hop(self):
        pass


class RingmxDelivering(Ringmx):
    name = "ringmx+delivery"
    arguments = ()

    def next_hop(self):
        self.ledger = os.path.join(lib.work_folder(), "ledger")
        self.spawn([os.path.join(lib.BUILD, "ringmx-bench"), "sink", "--listen", f"127.0.0.1:{self.relay}", "--quiet",
                    "--ledger", self.ledger], self.options.client_cpus)

    def count(self):
        with open(self.ledger, "rb") as f:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: f.read(1 << 20), b""))

    def done(self):
        lib.wait_until(lambda: self.count() >= self.options.messages, DRAIN_S, "the last delivery")
        lib.equal(self.count(), self.options.messages, "messages at the sink")


def wait_for_port(target):
    def answers():
        for process in target.processes:
            lib.check(process.poll() is None, f"{process.args[0]} ended with {process.returncode}")
        try:
            with lib.Wire(target.port) as wire:
                return wire.reply().startswith("220 ")
        except OSError:
            return False
    lib.wait_until(answers, 20, "the banner")


def measure(kind, keep, options):
    """One run: messages in a second, CPU microseconds for a message."""
    program, env = lib.postfix_program("smtp-source")
    with kind(options) as target:
        wait_for_port(target)
        command = [program, *(["-d"] if keep else []), "-s", "20", "-m", str(options.messages), "-l", "4096",
                   "-f", "sender@example.net", "-t", "bob@example.org", f"127.0.0.1:{target.port}"]
        before, began = cpu_ns(target.pid), time.monotonic()
        done = subprocess.run(command, env=env, capture_output=True, text=True,
                              preexec_fn=lambda: os.sched_setaffinity(0, options.client_cpus))
        took = time.monotonic() - began
        lib.equal(done.returncode, 0, f"exit code of smtp-source ({done.stderr[-300:]})")
        target.done()
        drained = time.monotonic() - began
        return {"rate": options.messages / took, "cpu_us": (cpu_ns(target.pid) - before) / 1000 / options.messages,
                "until_delivered": options.messages / drained}


def describe(values, digits):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def main():
    parser = argparse.ArgumentParser(description="smtp-source into ringmx and into smtp-sink.")
    parser.add_argument("--build", required=True, help="folder of the binaries")
    parser.add_argument("--postfix", required=True, help="folder with Debian's postfix package unpacked")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=20000)
    parser.add_argument("--json", help="write the figures of every round")
    options = parser.parse_args()
    lib.BUILD, lib.POSTFIX = os.path.abspath(options.build), os.path.abspath(options.postfix)
    # On the file system of the build: a memory file system would make durability free.
    tempfile.tempdir = lib.BUILD
    cpus = sorted(os.sched_getaffinity(0))
    options.server_cpus, options.client_cpus = set(cpus[:1]), set(cpus[1:] or cpus)
    kinds, results = (SmtpSink, Ringmx, RingmxDelivering), {}
    for number in range(options.rounds):
        for keep in (True, False):
            for kind in kinds:
                results.setdefault((keep, kind.name), []).append(measure(kind, keep, options))
        print(f"round {number + 1} of {options.rounds}, load of the machine {os.getloadavg()[0]:.1f}", flush=True)
    print(f"smtp-source -s 20 -m {options.messages} -l 4096; {len(cpus)} CPUs, kernel {os.uname().release}")
    print(f"{'':28} {'messages/s':>26} {'CPU us/message':>24} {'CPU against smtp-sink':>22}")
    for keep in (True, False):
        base = statistics.median(r["cpu_us"] for r in results[keep, SmtpSink.name])
        for kind in kinds:
            runs = results[keep, kind.name]
            ratio = statistics.median(r["cpu_us"] for r in runs) / base
            print(f"{'-d ' if keep else '   '}{kind.name:25} {describe([r['rate'] for r in runs], 0):>26} "
                  f"{describe([r['cpu_us'] for r in runs], 1):>24} {ratio:>20.2f} x")
    if options.json:
        with open(options.json, "w") as f:
            json.dump([{"keep": keep, "server": name, "runs": runs} for (keep, name), runs in results.items()], f)
    return 0


if __name__ == "__main__":
    sys.exit(main())
