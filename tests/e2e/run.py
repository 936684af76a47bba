#!/usr/bin/env python3
"""End-to-end tests on the real process.

  run.py --build DIR [--only NAME] [--file FILE] [--without NAME] [--list] [--postfix DIR] [--exim DIR] [--dns DIR] [--dovecot DIR] [--jobs N] [--slowest N]

DIR of --build has the binary `ringmx`. --only takes a test's name or a part of it and may be
repeated. --postfix names a folder into which Debian's postfix package was unpacked (dpkg -x), --exim, --dns
and --dovecot one with Exim, with nsd and unbound, with Dovecot, and the libraries that they need.
"""

import argparse
import glob
import importlib
import os
import sys
import tempfile
import time
import traceback

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, FOLDER)
import lib  # noqa: E402

WORDS = {"passed": "ok", "failed": "FAIL", "skipped": "skip"}
OUTCOMES = list(WORDS)


# What takes longest, most of it waiting, begins first, so that nothing is left to wait for alone.
LONGEST = ("bench_send_every_option", "change_is_everywhere_when_it_is_answered", "scale_in_small", "bench_examples",
           "smtp_sink_every_option", "every_statistic_moves", "temporary_failures", "verify_unavailable", "cli_hostile_server", "device_read_error",
           "stop_during_data", "memory_limit", "mx_many_domains", "mx_no_storm", "names_gone", "clock_steps",
           "kill_during_account_set", "kill_during_domain_set", "kill_during_apply", "secrets_leave_no_trace",
           "compare_in_small", "haproxy_health_checks")


def longest_first(tests):
    order = {name: number for number, name in enumerate(LONGEST)}
    return sorted(tests, key=lambda test: order.get(test[0], len(order)))


def find_tests(files=()):
    """(name, function) of every test, in the order of the files; files: only of test_FILE.py."""
    tests = []
    for path in sorted(glob.glob(os.path.join(FOLDER, "test_*.py"))):
        if files and os.path.basename(path)[len("test_"):-len(".py")] not in files:
            continue
        module = importlib.import_module(os.path.splitext(os.path.basename(path))[0])
        for name, value in vars(module).items():
            if name.startswith("test_") and callable(value):
                assert value.__doc__, f"{name} has no docstring"
                tests.append((name[len("test_"):], value))
    names = [name for name, _ in tests]
    assert files or set(LONGEST) <= set(names), f"no such tests: {set(LONGEST) - set(names)}"
    assert len(names) == len(set(names)), "two tests have one name"
    return tests


def run_here(name, function):
    """Runs a test; returns passed, failed or skipped."""
    try:
        function()
        print(f"ok {name}", flush=True)
        return "passed"
    except lib.Skip as skip:
        print(f"skip {name}: {skip}", flush=True)
        return "skipped"
    except Exception as error:  # a test that breaks has failed
        where = traceback.extract_tb(error.__traceback__)
        here = [f for f in where if os.path.basename(f.filename).startswith("test_")]
        place = f" ({os.path.basename(here[-1].filename)}:{here[-1].lineno})" if here else ""
        kind = "" if isinstance(error, lib.Fail) else f"{type(error).__name__}: "
        print(f"FAIL {name}: {kind}{error}{place}")
        for server in lib.running:
            if not os.path.exists(server.log_path):
                continue
            with open(server.log_path, errors="replace") as f:
                for line in f.read().splitlines()[-15:]:
                    print(f"    {line}")
        print(f"    {lib.how_to_repeat(f'python3 tests/e2e/run.py --build {os.path.relpath(lib.BUILD)} --exact {name}')}")
        sys.stdout.flush()
        return "failed"
    finally:
        lib.clean_up()


class Apart:
    """Tests in processes of their own, several at a time. A process is a fork of this one, which has the modules
    already: loading them takes longer than many a test."""

    def __init__(self, jobs):
        self.jobs, self.running, self.results = jobs, {}, {}

    def start(self, name, function):
        out, began = tempfile.TemporaryFile("w+"), time.monotonic()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            code = 1
            try:
                code = OUTCOMES.index(run_here(name, function))
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        self.running[pid] = (name, out, began)

    def wait(self):
        """For one to end; what it printed is shown."""
        pid, status, used = os.wait3(0)
        name, out, began = self.running.pop(pid)
        with out:
            out.seek(0)
            text = out.read()
        code = os.waitstatus_to_exitcode(status)
        outcome = OUTCOMES[code] if 0 <= code < len(OUTCOMES) else "failed"
        said = any(line.startswith(WORDS[outcome] + " ") for line in text.splitlines())
        print(text if said else f"FAIL {name}: ended with {code}\n{text}", end="", flush=True)
        self.results[name] = (outcome if said else "failed", time.monotonic() - began, used.ru_utime + used.ru_stime)

    def run(self, tests):
        for name, function in tests:
            if len(self.running) == self.jobs:
                self.wait()
            self.start(name, function)
        while self.running:
            self.wait()
        return self.results


def run_all_here(tests):
    """The same one after another in this process."""
    results = {}
    for name, function in tests:
        began, before = time.monotonic(), os.times()
        outcome = run_here(name, function)
        results[name] = (outcome, time.monotonic() - began, sum(os.times()[:4]) - sum(before[:4]))
    return results


def say_slowest(results, count):
    """Where the time goes: what is beyond the processors' time is waiting."""
    slowest = sorted(results.items(), key=lambda item: -item[1][1])[:count]
    print("slowest, seconds (of processors):", file=sys.stderr)
    for name, (_, seconds, used) in slowest:
        print(f"  {seconds:6.1f} ({used:5.1f}) {name}", file=sys.stderr)
    seconds, used = (sum(result[i] for result in results.values()) for i in (1, 2))
    print(f"e2e: all tests one after another {seconds:.0f} s ({used:.0f} s of processors)", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description="End-to-end tests on the real process.")
    parser.add_argument("--build", help="folder of the ringmx binary")
    parser.add_argument("--only", action="append", default=[], help="name of a test, or a part of it")
    parser.add_argument("--file", action="append", default=[], help="tests of test_FILE.py; may be repeated")
    parser.add_argument("--without", action="append", default=[], help="not this test; may be repeated")
    parser.add_argument("--exact", help="exactly this test")
    parser.add_argument("--list", action="store_true", help="name the tests and what they show")
    parser.add_argument("--postfix", help="folder with Debian's postfix package unpacked")
    parser.add_argument("--exim", help="folder with Debian's exim4-daemon-light package unpacked")
    parser.add_argument("--dns", help="folder with Debian's nsd and unbound packages unpacked")
    parser.add_argument("--dovecot", help="folder with Debian's dovecot-core and dovecot-lmtpd packages unpacked")
    parser.add_argument("--jobs", type=int, default=1, help="tests at a time")
    parser.add_argument("--slowest", type=int, default=20, help="how many are named with their times")
    options = parser.parse_args()

    found = find_tests(options.file)
    if unknown := set(options.without) - {name for name, _ in found}:
        parser.error(f"--without: no such test: {', '.join(sorted(unknown))}")
    tests = [(name, function) for name, function in found
             if (not options.only or any(part in name for part in options.only))
             and options.exact in (None, name) and name not in options.without]
    if options.list:
        for name, function in tests:
            print(f"{name}: {' '.join(function.__doc__.split())}")
        return 0
    if not options.build:
        parser.error("--build is needed")
    if not tests:
        parser.error("no such test")
    lib.BUILD = os.path.abspath(options.build)
    lib.POSTFIX = os.path.abspath(options.postfix) if options.postfix else None
    lib.EXIM = os.path.abspath(options.exim) if options.exim else None
    lib.DNS = os.path.abspath(options.dns) if options.dns else None
    lib.DOVECOT = os.path.abspath(options.dovecot) if options.dovecot else None

    began = time.monotonic()
    results = Apart(options.jobs).run(longest_first(tests)) if options.jobs > 1 else run_all_here(tests)
    outcomes = [outcome for outcome, _, _ in results.values()]
    line = f"{outcomes.count('passed')} passed, {outcomes.count('failed')} failed"
    if "skipped" in outcomes:
        line += f", {outcomes.count('skipped')} skipped"
    if len(tests) > 1:
        say_slowest(results, options.slowest)
    print(f"e2e: {time.monotonic() - began:.1f} s", file=sys.stderr)
    print(line)
    return 1 if "failed" in outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
