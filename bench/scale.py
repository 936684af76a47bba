#!/usr/bin/env python3
"""Does a message cost the same CPU time when there is more of everything? Curves, and memory.

  bench/scale.py --build DIR [--curves sessions,accounts,queued,waiting,size,memory] [--rounds N] [--accounts N]
                 [--queued N] [--quick] [--check] [--json FILE] [--svg FILE]

Curves     sessions  connections at a time, 10 to 10,000; 10 messages each
           accounts  accounts of the domain, 1,000 to 1,000,000 (--accounts 10000000); recipients are drawn from all
           queued    messages in the queue, 0 to 1,000,000; delivery is paused
           waiting   the same number of messages waits for a next hop that does not answer, and messages are taken
                     and delivered to another one
           size      bytes of a message, 1 KiB to 4 MiB
Memory     of an idle plaintext session, and of a queued message (one recipient, two addresses of 32 bytes)

The server has one core on the first CPU, client and sink are on the second. In every round each point is measured
once, in turn, every other round backwards, each with a server that has just started and an empty journal, after some
messages to warm up. CPU time is that of the server's whole process. Ratios to the first point are worked out within a
round; printed are the median and the smallest and largest of the rounds. Where the kernel's part grows, the responder
that stores nothing (`ringmx-bench null`) is measured beside it. For sizes the ratio is that of what a KiB more costs.
--check sets the exit code: no ratio above its bound, memory within its limits.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "tests", "e2e")]
import compare_servers as servers  # noqa: E402
import lib  # noqa: E402

SIZES = [1 << n for n in range(10, 23, 2)]
FULL = {"sessions": [10, 100, 1000, 10000], "size": SIZES}
QUICK = {"sessions": [10, 100], "accounts": [100, 2000], "queued": [0, 500], "waiting": [0, 500], "size": [1024, 65536]}
# What a ratio may be at most: noise of a busy machine, the misses of caches that no table avoids, and no growth.
BOUNDS = {"sessions": 1.25, "accounts": 1.25, "queued": 1.25, "waiting": 1.25, "size": 1.25}
LABELS = {"sessions": "sessions", "accounts": "accounts", "queued": "queued messages",
          "waiting": "messages that wait for another next hop", "size": "bytes of a message"}
SESSION_BYTES_MAX, QUEUED_BYTES_MAX = 1024, 512
IDLE_SESSIONS = 20000
FILL_SESSIONS = 2000
SENDER = "sender-".ljust(20, "s") + "@example.net"  # 32 bytes
BOB = "bob@" + servers.DOMAIN
LONG_RCPT = "recipient-".ljust(20, "r") + "@" + servers.DOMAIN  # 32 bytes
WAITING_RCPT, RELAY_RCPT = "erin@" + servers.LMTP_DOMAIN, "carol@" + servers.SMTP_DOMAIN
DRAIN_S, QUIET_S, SETTLE_S = 600, 600, 0.3
SIZE_BASE = 65536
RCPTS_MAX = 1000000  # of a file that the client draws from


class Server(servers.Ringmx):
    """ringmx with some number of accounts, started for each point with an empty journal."""

    start_s = 300  # ten million are read first

    def __init__(self, options, name, sinks, accounts=0):
        super().__init__(options, "relay" if name == "waiting" else "accept", sinks)
        self.accounts = accounts
        self.name = f"ringmx-{name}-{accounts}"

    def address(self, number):
        return f"account{number:08d}@{servers.DOMAIN}"

    def prepare(self):
        super().prepare()
        path = os.path.join(self.folder, "accounts.ndjson")
        with open(path, "w") as f:
            names = [LONG_RCPT.split("@")[0], *(self.address(i).split("@")[0] for i in range(self.accounts))]
            for first in range(0, len(names), 500):
                value = {n: {"@type": "User", "name": n, "domainId": "#d"} for n in names[first:first + 500]}
                f.write(json.dumps({"@type": "upsert", "object": "Domain", "matchOn": ["name"],
                                    "value": {"d": {"name": servers.DOMAIN}}}) + "\n" if first == 0 else "")
                f.write(json.dumps({"@type": "create", "object": "Account", "value": value}) + "\n")
        done = subprocess.run([lib.ringmx(), "apply", "--data", self.server.data, path], capture_output=True, text=True)
        lib.equal(done.returncode, 0, f"exit code of apply ({done.stderr.strip()[-300:]})")
        os.remove(path)

    def write_rcpts(self):
        """A file of recipients: all accounts, or as many of them as the client takes, evenly spread."""
        path, step = os.path.join(self.folder, "rcpts"), max(1, self.accounts // RCPTS_MAX)
        with open(path, "w") as f:
            f.writelines(self.address(i) + "\n" for i in range(0, self.accounts, step))
        return path

    def start(self):
        if self.folder is None:
            self.group = servers.Group(self.name)
            self.folder = lib.work_folder()
            self.prepare()
        self.spawn(self.command())
        self.wait_for_banner()

    def end(self):
        """Ends the process and throws its journal away."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(os.path.join(self.server.data, "journal"))


class Null(servers.Null):
    def end(self):
        pass


def anonymous_bytes(target):
    with open(f"/proc/{target.process.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon:")) * 1024


def send(options, target, messages, rcpt, *more, size=4096, sessions=64, per_connection=100):
    """Messages, all of which have to be taken."""
    rcpts = ["--rcpt-file", rcpt] if rcpt.startswith("/") else ["--rcpt", rcpt]
    command = [os.path.join(lib.BUILD, "ringmx-bench"), "send", "--to", f"127.0.0.1:{target.port}", "--from", SENDER, *rcpts,
               "--messages", str(messages), "--json", "--bdat", "0", "--size", str(size), "--sessions", str(sessions),
               "--per-connection", str(per_connection), "--source", "127.20.0.0/16", "--timeout", "120", "--quiet", *more]
    done = subprocess.run(command, capture_output=True, text=True,
                          preexec_fn=lambda: os.sched_setaffinity(0, options.client_cpus))
    try:
        result = json.loads(done.stdout)
    except ValueError:
        raise lib.Fail(f"{' '.join(command)}: {done.stderr.strip()[-300:]}") from None
    lib.equal(result["accepted"], messages, f"messages that {target.name} took")


def cpu_us(target, messages, work):
    """CPU time of the server for a message while work() runs, and until what it does behind is done."""
    began = target.group.cpu_ns()
    work()
    time.sleep(SETTLE_S)
    return (target.group.cpu_ns() - began) / 1000 / messages


def wait_until_quiet(target):
    if not servers.comes_to_rest(target, QUIET_S):
        raise lib.Fail(f"{target.name} does not come to rest")


# --- curves ---


class Curve:
    """Points on an axis; measure(x) gives CPU us for a message by series."""

    with_null = False

    def __init__(self, options, name, points):
        self.options, self.name, self.points, self.runs, self.bytes = options, name, points, [], []
        self.null = Null(options, "accept", {}) if self.with_null else None
        self.server = None

    def open(self):
        if self.null:
            self.null.name = f"null-{self.name}"
            self.null.start()
        self.server = Server(self.options, self.name, {"smtp": 9, "lmtp": 9})

    def close(self):
        for target in (self.null, self.server):
            if target and target.group:
                target.stop()

    def targets(self, x):
        del x
        return {"ringmx": self.server, **({"null": self.null} if self.null else {})}

    def measure(self, x):
        result = {}
        for series, target in self.targets(x).items():
            if series == "ringmx":
                target.start()
            try:
                result[series] = self.measure_one(target, x)
            finally:
                if target.process:
                    target.end()
        return result


class Sessions(Curve):
    with_null = True

    def measure_one(self, target, x):
        messages = self.options.messages * 2
        send(self.options, target, max(messages // 10, 2 * x), BOB, sessions=x, per_connection=10)
        return cpu_us(target, messages, lambda: send(self.options, target, messages, BOB, sessions=x, per_connection=10))


class Accounts(Curve):
    def open(self):
        self.of = {x: Server(self.options, self.name, {"smtp": 9, "lmtp": 9}, x) for x in self.points}
        self.rcpts = {}

    def close(self):
        for server in self.of.values():
            if server.group:
                server.stop()

    def targets(self, x):
        return {"ringmx": self.of[x]}

    def measure_one(self, target, x):
        if x not in self.rcpts:
            self.rcpts[x] = target.write_rcpts()
        work = lambda n: send(self.options, target, n, self.rcpts[x])  # noqa: E731
        lib.wait_until(lambda: self.accepts(target, x), target.start_s, "an account that is known")
        work(self.options.messages // 4)
        return cpu_us(target, self.options.messages, lambda: work(self.options.messages))

    def accepts(self, target, x):
        with lib.Wire(target.port) as wire:
            wire.hello()
            wire.cmd(f"MAIL FROM:<{SENDER}>")
            return wire.cmd(f"RCPT TO:<{target.address(x - 1)}>").startswith("250")


class Queued(Curve):
    def measure_one(self, target, x):
        work = lambda n: send(self.options, target, n, LONG_RCPT, size=256)  # noqa: E731
        work(self.options.messages // 4)
        wait_until_quiet(target)
        before = anonymous_bytes(target)
        if x > 0:
            send(self.options, target, x, LONG_RCPT, size=256, sessions=min(x, FILL_SESSIONS))
            wait_until_quiet(target)
            self.bytes.append((x, (anonymous_bytes(target) - before) / x))
        return cpu_us(target, self.options.messages, lambda: work(self.options.messages))


class Waiting(Curve):
    def open(self):
        self.port = lib.free_port()
        self.ledger = os.path.join(lib.work_folder(), "ledger")
        self.sink = subprocess.Popen([os.path.join(lib.BUILD, "ringmx-bench"), "sink", "--listen", f"127.0.0.1:{self.port}",
                                      "--quiet", "--ledger", self.ledger], stdout=subprocess.DEVNULL,
                                     preexec_fn=lambda: os.sched_setaffinity(0, self.options.client_cpus))
        self.server = Server(self.options, self.name, {"smtp": self.port, "lmtp": lib.free_port()})

    def close(self):
        super().close()
        self.sink.terminate()
        self.sink.wait(30)

    def arrived(self):
        with open(self.ledger, "rb") as f:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: f.read(1 << 20), b""))

    def deliver(self, target, messages):
        before = self.arrived()
        send(self.options, target, messages, RELAY_RCPT, size=1024)
        lib.wait_until(lambda: self.arrived() >= before + messages, DRAIN_S, "the last delivery")

    def measure_one(self, target, x):
        messages = self.options.messages // 2
        self.deliver(target, messages // 4)
        if x > 0:
            send(self.options, target, x, WAITING_RCPT, size=256, sessions=min(x, FILL_SESSIONS))
            wait_until_quiet(target)
        return cpu_us(target, messages, lambda: self.deliver(target, messages))


class Size(Curve):
    with_null = True

    def measure_one(self, target, x):
        messages = max(40, min(self.options.messages, self.options.messages * 4096 // x))
        work = lambda n: send(self.options, target, n, BOB, size=x, sessions=16)  # noqa: E731
        work(max(10, messages // 4))
        return cpu_us(target, messages, lambda: work(messages))


CURVES = {"sessions": Sessions, "accounts": Accounts, "queued": Queued, "waiting": Waiting, "size": Size}


def ratios_of(curve, run, series):
    """To the first point. For sizes: what a KiB more costs between a point and the one before, from 64 KiB on, to what it
    costs there (what a message costs without its bytes is left out)."""
    values = [point[series] for point in run]
    if curve.name != "size":
        return [value / values[0] for value in values]
    kib = [0, *((b - a) * 1024 / (y - x) for a, b, x, y in zip(values, values[1:], curve.points, curve.points[1:]))]
    first = next((i for i, x in enumerate(curve.points) if x >= SIZE_BASE), len(kib) - 1)
    return [1.0 if i <= first else k / kib[first] for i, k in enumerate(kib)]


# --- memory ---


def idle_session_count(options):
    """As many as client and server may have descriptors for; near its limit a server sheds load."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] * 3 // 4
    return min(500 if options.quick else IDLE_SESSIONS, most)


def idle_session_bytes(options):
    count, holder = idle_session_count(options), None
    server = Server(options, "memory", {"smtp": 9, "lmtp": 9})
    server.limits = {**server.limits, "timeout": 86400000, "maxDuration": 86400000}  # none ends while others are opened
    try:
        server.start()
        send(options, server, 1000, BOB)
        wait_until_quiet(server)
        before = anonymous_bytes(server)
        holder = subprocess.Popen([os.path.join(lib.BUILD, "ringmx-bench"), "send", "--to", f"127.0.0.1:{server.port}",
                                   "--from", SENDER, "--rcpt", BOB, "--sessions", "0", "--time", "86400", "--idle", str(count),
                                   "--source", "127.20.0.0/16", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  preexec_fn=lambda: os.sched_setaffinity(0, options.client_cpus))
        holder.stderr.readline()  # the first line of progress comes when all have said EHLO, or were lost
        after = anonymous_bytes(server)
        holder.terminate()
        held = json.loads(holder.communicate()[0])
        lib.equal((held["idle_held"], held["idle_lost"]), (count, 0), "idle connections held and lost")
        return (after - before) / count
    finally:
        if holder is not None and holder.poll() is None:
            holder.kill()
            holder.wait()
        server.stop()


# --- the run ---


def spread(values, digits):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def machine():
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), platform.machine())
    return f"{len(os.sched_getaffinity(0))} CPUs, {model}, Linux {os.uname().release}"


def run(options, names):
    curves = []
    with contextlib.ExitStack() as stack:
        for name in names:
            curve = CURVES[name](options, name, options.points[name])
            stack.callback(curve.close)
            curve.open()
            curves.append(curve)
        for number in range(options.rounds if curves else 0):
            for curve in curves:
                indexes = range(len(curve.points))
                found = {i: curve.measure(curve.points[i]) for i in (reversed(indexes) if number % 2 else indexes)}
                curve.runs.append([found[i] for i in indexes])
            print(f"round {number + 1} of {options.rounds}, load of the machine {os.getloadavg()[0]:.1f}", flush=True)
    return curves


def figures(curve):
    """Of a curve, by series: for each point x, CPU us and ratio of every round."""
    result = {}
    for series in curve.runs[0][0]:
        ratios = [ratios_of(curve, run, series) for run in curve.runs]
        result[series] = [{"x": x, "cpu_us": [run[i][series] for run in curve.runs], "ratio": [r[i] for r in ratios]}
                          for i, x in enumerate(curve.points)]
    return result


def report(result):
    print(f"\n{result['machine']}, {result['date']}, {result['rounds']} rounds; median (smallest-largest)")
    for name, of in result["curves"].items():
        print(f"\n{LABELS[name]}")
        for series, points in of.items():
            for p in points:
                print(f"{series:8} {p['x']:>10}  {spread(p['cpu_us'], 1):>28} us   {spread(p['ratio'], 2)} x")
    for what, (value, limit) in result["memory"].items():
        print(f"\n{what}: {value:.0f} bytes (at most {limit})")


def charts(result):
    """For `ringmx-bench plot --curves`."""
    place = f"{result['machine']}, {result['date']}, median of {result['rounds']} rounds"
    return {"charts": [{"title": f"CPU time for a message: {place}", "x": LABELS[name], "y": "CPU us",
                        "x_log": True, "y_log": name == "size",
                        "series": [{"label": series, "points": [[max(p["x"], 1), statistics.median(p["cpu_us"])] for p in points]}
                                   for series, points in of.items()]}
                       for name, of in result["curves"].items()]}


def growth(name, of):
    """The largest ratio of a curve. Few sessions share few writes, so the first point is the dearest: there each point is
    set against the cheapest before it, less what the responder that stores nothing grows by between the two."""
    if name != "sessions":
        return max(statistics.median(p["ratio"]) for p in of["ringmx"])
    own, null = ([statistics.median(p["cpu_us"]) for p in of[series]] for series in ("ringmx", "null"))
    worst = 1.0
    for i in range(1, len(own)):
        j = min(range(i), key=own.__getitem__)
        worst = max(worst, own[i] / own[j] / max(1.0, null[i] / null[j]))
    return worst


def judge(result):
    grown = []
    for name, of in result["curves"].items():
        worst = growth(name, of)
        if worst > BOUNDS[name]:
            grown.append(f"{LABELS[name]}: {worst:.2f} x, at most {BOUNDS[name]} x")
    grown += [f"{what}: {value:.0f} bytes, at most {limit}" for what, (value, limit) in result["memory"].items() if value > limit]
    for line in grown:
        print(f"grows: {line}")
    return 1 if grown else 0


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="folder of the binaries")
    parser.add_argument("--curves", default="sessions,accounts,queued,waiting,size,memory")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--accounts", type=int, default=1000000, help="of the last point")
    parser.add_argument("--queued", type=int, default=1000000, help="of the last point")
    parser.add_argument("--messages", type=int, default=20000, help="for a point, of 4 KiB")
    parser.add_argument("--folder", help="where the data are (default: the folder of the binaries)")
    parser.add_argument("--quick", action="store_true", help="small numbers, one round: does it run?")
    parser.add_argument("--check", action="store_true", help="exit code 1 when something grows")
    parser.add_argument("--json", help="write the figures of every round")
    parser.add_argument("--svg", help="draw the curves")
    options = parser.parse_args()
    options.names = options.curves.split(",")
    if unknown := [n for n in options.names if n not in (*CURVES, "memory")]:
        parser.error(f"unknown: {', '.join(unknown)}")
    powers = lambda first, last: [x for x in (10 ** n for n in range(3, 9)) if first <= x < last] + [last]  # noqa: E731
    options.points = QUICK if options.quick else {
        **FULL, "accounts": powers(1000, options.accounts), "queued": [0, *powers(1000, options.queued)],
        "waiting": [0, *powers(1000, options.queued)]}
    if options.quick:
        options.rounds, options.messages = 1, 400
    lib.BUILD = os.path.abspath(options.build)
    cpus = sorted(os.sched_getaffinity(0))
    options.server_cpus, options.client_cpus = set(cpus[:1]), set(cpus[1:2] or cpus)
    return options


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("scale.py: stopped"))  # and all servers with it
    tempfile.tempdir = options.folder or lib.BUILD  # a memory file system would make durability free
    result = {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "rounds": options.rounds, "curves": {}, "memory": {}}
    try:
        curves = run(options, [n for n in options.names if n != "memory"])
        result["curves"] = {curve.name: figures(curve) for curve in curves}
        if "memory" in options.names:
            result["memory"]["idle session"] = (idle_session_bytes(options), SESSION_BYTES_MAX)
        for curve in curves:
            if curve.bytes:
                most = max(x for x, _ in curve.bytes)
                result["memory"]["queued message"] = (statistics.median(b for x, b in curve.bytes if x == most), QUEUED_BYTES_MAX)
    finally:
        lib.clean_up()
    report(result)
    if options.json:
        with open(options.json, "w") as f:
            json.dump(result, f)
    if options.svg:
        path = os.path.join(lib.work_folder(), "charts.json")
        with open(path, "w") as f:
            json.dump(charts(result), f)
        done = subprocess.run([os.path.join(lib.BUILD, "ringmx-bench"), "plot", "--curves", path, "--output", options.svg])
        lib.equal(done.returncode, 0, "exit code of plot")
        lib.clean_up()
    return judge(result) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
