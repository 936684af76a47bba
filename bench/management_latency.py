#!/usr/bin/env python3
"""What management work does to mail, and how fast health and statistics answer meanwhile.

  management_latency.py --build DIR [--rounds N] [--seconds N] [--quick] [--json FILE]

One core (`--cores 1`) on the first CPU, management on the second. In every round, one after the other: nothing,
then each kind of management work, each for some seconds. All the time two `ringmx-bench probe` ask at a fixed rate:
RCPT to its answer, and the content's first byte to its 250. During the work a third client asks the health and
statistics pages in turn.

The clients have no third CPU: they share the second one with management. The probes run with real-time priority
(when allowed: root), so that they are measured when the server answers, not when management lets them run; so what
is left of the sharing is that they take about a tenth of the CPU from management. The client of the pages has the
same priority, for the same reason. Work is compared with the rest of its own round; the median over the rounds is
what counts, since neighbours on the machine disturb single rounds. `--realtime-core` gives the core's thread real-time
priority too: for machines with busy neighbours, whose processes would otherwise be measured. What it cannot hide:
work that management gives the core itself, locks, the disk they share.
"""

import argparse
import contextlib
import http.client
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "e2e"))
import lib  # noqa: E402
import test_management  # noqa: E402

PAGES = ("/healthz/live", "/healthz/ready", "/stats", "/metrics")
PAGE_EVERY_S = 0.01
PAGE_LIMIT_MS = 50
SET_OBJECTS = 500
IMPORT_ACCOUNTS = 20000
PRIORITY = 10  # of SCHED_FIFO


def in_front(cpus):
    """Makes the calling process one that runs when it wants to, on these CPUs."""
    os.sched_setaffinity(0, cpus)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))


class Probe:
    """`ringmx-bench probe`, as a context; afterwards `result`."""

    def __init__(self, server, what, rate, cpus):
        self.command = [os.path.join(lib.BUILD, "ringmx-bench"), "probe", "--to", f"127.0.0.1:{server.port}", "--from",
                        "probe@example.net", "--rcpt", "alice@example.org", "--what", what, "--rate", str(rate),
                        "--seconds", "0"]
        self.cpus, self.result = cpus, None

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        preexec_fn=lambda: in_front(self.cpus))
        return self

    def __exit__(self, kind, value, trace):
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=60)
        lib.equal(self.process.returncode, 0, f"exit code of the probe ({err.strip()})")
        self.result = json.loads(out)


def ask_pages(port, cpus, stop):
    """Asks the pages in turn until stop is closed; milliseconds by page as JSON on the standard output."""
    in_front(cpus)
    times, connection = {page: [] for page in PAGES}, http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.connect()
    while not times[PAGES[-1]] or not select.select([stop], [], [], 0)[0]:  # once at least, on a busy machine too
        for page in PAGES:
            began = time.monotonic()
            connection.request("GET", page)
            response = connection.getresponse()
            response.read()
            times[page].append((time.monotonic() - began) * 1000)
            if response.status != 200 and (page, response.status) != ("/healthz/ready", 503):  # a core without its CPU
                raise SystemExit(f"{page}: status {response.status}")
            time.sleep(PAGE_EVERY_S)
    print(json.dumps(times))


class Pages:
    """The client of the pages in a process of its own, as a context; afterwards `times`."""

    def __init__(self, server, cpus):
        self.command = [sys.executable, os.path.abspath(__file__), "--ask-pages", str(server.http_port), "--cpus",
                        ",".join(map(str, cpus))]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, kind, value, trace):
        out, _ = self.process.communicate("", timeout=60)
        lib.equal(self.process.returncode, 0, "exit code of the client of the pages")
        self.times = json.loads(out)


# Work: each takes a server and runs until `stop` is set; what it did is counted in `done`.


class Work:
    name = "nothing"

    def __init__(self, server, options, number):
        self.server, self.options, self.number, self.done = server, options, number, 0
        self.stop = threading.Event()

    def run(self):
        self.stop.wait()

    def __enter__(self):
        self.failed = None

        def body():
            try:
                self.api = test_management.Api(self.server.http_port)
                self.run()
            except Exception as e:
                self.failed = e
        self.thread = threading.Thread(target=body)
        self.thread.start()
        return self

    def __exit__(self, *unused):
        self.stop.set()
        self.thread.join()
        if self.failed is not None:
            raise self.failed


class Stranger(Work):
    """A process that has nothing to do with ringmx and keeps management's CPU busy: what the machine itself costs."""
    name = "a stranger's loop"

    def run(self):
        process = subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=self.settle)
        try:
            while not self.stop.wait(0.1):
                lib.equal(process.poll(), None, "exit code of the stranger")
                self.done += 1
        finally:
            process.kill()
            process.wait(30)

    def settle(self):
        os.sched_setaffinity(0, self.options.client_cpus)
        os.nice(5)


class Sets(Work):
    name = "500-object sets"

    def run(self):
        domain = self.api.find("Domain", name="example.org")
        while not self.stop.is_set():
            made = self.api.set("Account", create={
                f"n{i}": {"@type": "User", "name": f"set{self.number}-{i}", "domainId": domain}
                for i in range(SET_OBJECTS)})
            ids = [value["id"] for value in made["created"].values()]
            lib.equal(len(ids), SET_OBJECTS, "created")
            lib.equal(len(self.api.set("Account", destroy=ids)["destroyed"]), SET_OBJECTS, "destroyed")
            self.done += 2


class Import(Work):
    name = "import (ringmx-cli apply)"

    def run(self):
        path, part = os.path.join(self.server.folder, "import.ndjson"), 0
        while not self.stop.is_set():
            write_accounts(path, f"import{self.number}-{part}-", IMPORT_ACCOUNTS)
            process = subprocess.Popen(cli(self.server, "apply", "--file", path), stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT, text=True, env=cli_env(self.server))
            while process.poll() is None and not self.stop.wait(0.02):
                pass
            if process.poll() is None:
                process.terminate()  # what it has sent stays
                process.wait(30)
            else:
                lib.equal(process.returncode, 0, f"exit code of apply ({process.stdout.read()[-300:]})")
            process.stdout.close()
            part, self.done = part + 1, self.done + 1


class Hashing(Work):
    name = "passwords and sign-ins"

    def run(self):
        domain = self.api.find("Domain", name="example.org")
        user = f"signer{self.number}"
        account = self.api.create("Account", **{"@type": "User"}, name=user, domainId=domain,
                                  credentials={"0": {"@type": "Password", "secret": f"secret of round {self.number}"}})
        while not self.stop.is_set():
            secret = f"kelp-{self.number}-wharf-{self.done}-Tundra"
            self.api.update("Account", account, **{"credentials/0/secret": secret})
            signer = test_management.Api(self.server.http_port, f"{user}@example.org:{secret}")
            answer = signer.http("POST", "/jmap", json.dumps({"using": [], "methodCalls": []}))
            lib.equal(answer[0], 200, f"signing in ({answer[2][:200]})")
            signer.connection.close()
            self.done += 1


class Scrape(Work):
    name = "statistics scraped"

    def run(self):
        while not self.stop.wait(0.005):
            self.api.http("GET", ("/stats", "/metrics")[self.done % 2])
            self.done += 1


WORKS = (Stranger, Sets, Import, Hashing, Scrape)


def write_accounts(path, prefix, count, per_line=SET_OBJECTS):
    with open(path, "w") as f:
        f.write(json.dumps({"@type": "upsert", "object": "Domain", "matchOn": ["name"],
                            "value": {"d": {"name": "example.org"}}}) + "\n")
        for begin in range(0, count, per_line):
            value = {f"a{i}": {"@type": "User", "name": f"{prefix}{i:07d}", "domainId": "#d"}
                     for i in range(begin, min(count, begin + per_line))}
            f.write(json.dumps({"@type": "create", "object": "Account", "value": value}) + "\n")


def cli(server, *args):
    return [os.path.join(lib.BUILD, "ringmx-cli"), *args]


def cli_env(server):
    user, password = test_management.ADMIN.split(":", 1)
    return dict(os.environ, STALWART_URL=f"http://127.0.0.1:{server.http_port}", STALWART_USER=user,
                STALWART_PASSWORD=password)


def measure(server, work, options):
    """p99 of both probes in microseconds, the times of the pages, what was done."""
    with work, Pages(server, options.client_cpus) if type(work) is not Work else contextlib.nullcontext() as pages:
        with Probe(server, "rcpt", options.rate, options.client_cpus) as rcpt, \
             Probe(server, "message", options.rate, options.client_cpus) as message:
            time.sleep(options.seconds)
    return {"rcpt": rcpt.result, "message": message.result, "pages": pages.times if pages else {}, "done": work.done}


def describe(values, digits=2):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def percentile(values, percent):
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def report(results, options):
    print(f"\n{options.rounds} rounds of {options.seconds} s each; median (range) of the rounds")
    print(f"{'':28}{'RCPT p99, ms':>24}{'ratio':>20}{'data to 250 p99, ms':>26}{'ratio':>20}{'done':>8}")
    worst = {}
    for name, rounds in results.items():
        line = f"{name:28}"
        for what, width in (("rcpt", 24), ("message", 26)):
            line += f"{describe([r[what]['p99_ns'] / 1e6 for r in rounds]):>{width}}"
            ratios = [r[what]["p99_ns"] / q[what]["p99_ns"] for r, q in zip(rounds, results[Work.name])]
            line += f"{describe(ratios):>20}"
            worst[name, what] = statistics.median(ratios)
        print(line + f"{sum(r['done'] for r in rounds):>8}")
    print(f"\n{'pages meanwhile, ms':28}" + "".join(f"{page:>26}" for page in PAGES) + "   (median, p99, longest)")
    longest = {}
    for name, rounds in results.items():
        if name == Work.name:
            continue
        line = f"{name:28}"
        for page in PAGES:
            times = [t for r in rounds for t in r["pages"][page]]
            longest[name, page] = [max(r["pages"][page]) for r in rounds]
            line += f"{statistics.median(times):>10.1f}{percentile(times, 99):>8.1f}{max(times):>8.1f}"
        print(line)
    return worst, longest


def start(options, extra=()):
    server = test_management.Managed(cores=1, start=False, extra=[
        lib.session_limits(maxCommands=10000000), lib.update("MtaStageData", maxMessages=lib.constant(1000000)), *extra])
    server.args += ["--delivery", "off"]

    def two_cpus():
        os.sched_setaffinity(0, options.server_cpus)
    server.spawn(preexec_fn=two_cpus)
    lib.wait_until(lambda: " ready " in server.log(), 30, "the log line 'ready'")
    if options.realtime_core:
        tasks = threads(server)
        lib.check("ringmx-0" in tasks.values(), f"the core's thread has another name: {tasks}")
        for task, name in tasks.items():
            if name in ("ringmx-0", f"iou-wrk-{task_of(tasks, 'ringmx-0')}"):
                os.sched_setscheduler(task, os.SCHED_FIFO, os.sched_param(PRIORITY))
    return server


def threads(server):
    """Names of the server's threads by their numbers."""
    folder, names = f"/proc/{server.process.pid}/task", {}
    for task in os.listdir(folder):
        with open(f"{folder}/{task}/comm") as f:
            names[int(task)] = f.read().strip()
    return names


def task_of(tasks, name):
    return next(task for task, given in tasks.items() if given == name)


def options_of(arguments):
    parser = argparse.ArgumentParser(description="Mail latency beside management work.")
    parser.add_argument("--build", help="folder of the binaries")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rate", type=int, default=200, help="questions in a second, of each probe")
    parser.add_argument("--realtime-core", action="store_true", help="real-time priority for the core's thread")
    parser.add_argument("--folder", help="where the data are (default: the folder of the binaries)")
    parser.add_argument("--quick", action="store_true", help="one short round: does it run?")
    parser.add_argument("--json", help="write the figures of every round")
    parser.add_argument("--ask-pages", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--cpus", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.ask_pages is None and options.build is None:
        parser.error("--build is needed")
    if options.quick:
        options.rounds, options.seconds = 1, 1
    return options


def main():
    options = options_of(sys.argv[1:])
    if options.ask_pages is not None:
        ask_pages(options.ask_pages, [int(c) for c in options.cpus.split(",")], sys.stdin)
        return 0
    lib.BUILD = os.path.abspath(options.build)
    tempfile.tempdir = options.folder or lib.BUILD  # a memory file system would make durability free
    cpus = sorted(os.sched_getaffinity(0))
    options.server_cpus, options.client_cpus = set(cpus[:2]), set(cpus[1:2] or cpus)
    results = {}
    try:
        server = start(options)
        measure(server, Work(server, options, 0), options)  # warm
        for number in range(options.rounds):
            for kind in (Work, *WORKS):
                work = kind(server, options, number)
                results.setdefault(kind.name, []).append(measure(server, work, options))
            print(f"round {number + 1} of {options.rounds}, load of the machine {os.getloadavg()[0]:.1f}", flush=True)
        server.stop()
    finally:
        lib.clean_up()
    worst, longest = report(results, options)
    if options.json:
        with open(options.json, "w") as f:
            json.dump(results, f)
    for key, values in longest.items():
        lib.check(options.quick or statistics.median(values) <= PAGE_LIMIT_MS,
                  f"{key[1]} took {statistics.median(values):.1f} ms beside {key[0]}")
    for name in results:
        lib.check(name == Work.name or results[name][0]["done"] > 0 or options.quick, f"nothing was done: {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
