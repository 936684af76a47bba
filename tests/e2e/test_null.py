"""ringmx-bench null: it takes every message, says how many, and speaks TLS."""

import contextlib
import io
import json
import os
import resource
import signal
import subprocess
import sys

import lib
from lib import Wire, equal, free_port, starts


class Null:
    """`ringmx-bench null` on a free port, as a context; `summary` is its last line."""

    def __init__(self, *args):
        self.port = free_port()
        self.command = [os.path.join(lib.BUILD, "ringmx-bench"), "null", "--listen", f"127.0.0.1:{self.port}", *args]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        equal(self.process.stdout.readline(), "null ready\n", "first line")
        return self

    def __exit__(self, kind, value, trace):
        self.process.send_signal(signal.SIGTERM if kind is None else signal.SIGKILL)
        self.summary, err = self.process.communicate(timeout=30)
        if kind is None:
            equal(self.process.returncode, 0, f"exit code ({err})")

    def send(self, *args):
        done = subprocess.run([os.path.join(lib.BUILD, "ringmx-bench"), "send", "--to", f"127.0.0.1:{self.port}",
                               "--from", "s@example.net", "--rcpt", "b@example.org", "--json", *args],
                              capture_output=True, text=True, timeout=60)
        return done.returncode, json.loads(done.stdout)


def takes_everything(*args):
    loads = ((), ("--bdat", "0"), ("--bdat", "0", "--per-connection", "1"), ("--per-connection", "1"),
             ("--bdat", "50", "--no-pipelining", "--size", "200-100000"))
    with Null(*args) as null:
        for load in loads:
            code, result = null.send("--sessions", "20", "--messages", "300", *load)
            equal((code, result["accepted"]), (0, 300), f"exit code and messages of {load}")
    starts(null.summary.split(": ", 1)[1].split(" connections, ", 1)[1], "1500 messages, 0 dropped", "summary")


def test_null_takes_everything():
    """The io_uring loop: DATA and BDAT, pipelined and not, connections kept and not, small and large."""
    takes_everything()


def test_null_epoll_takes_everything():
    """The same with epoll."""
    takes_everything("--epoll")


def talks_tls(*args):
    with Null("--starttls", *args) as null:
        for _ in range(2):
            with Wire(null.port) as wire:
                greeting = wire.hello()
                equal("250-STARTTLS" in greeting, True, "STARTTLS in the greeting")
                wire.expect("STARTTLS", "220 2.0.0")
                wire.start_tls()
                equal("STARTTLS" in wire.expect("EHLO client.example.net", "250-"), False, "STARTTLS under TLS")
                wire.message("b@example.org", b"Subject: x\r\n\r\n" + b"line\r\n" * 20000)
                wire.expect("QUIT", "221")
                wire.at_end()
    starts(null.summary, "null: 2 connections, 2 messages, 0 dropped", "summary")


def test_null_talks_tls():
    """STARTTLS, a message of several records, and the end of the connection, with io_uring."""
    talks_tls()


def test_null_epoll_talks_tls():
    """The same with epoll."""
    talks_tls("--epoll")


def test_null_refuses():
    """--refuse: every recipient is answered 550."""
    with Null("--refuse") as null:
        code, result = null.send("--messages", "10")
        equal((code, result["accepted"], result["refused"]), (1, 0, 10), "exit code, accepted and refused")
        equal(result["first_refusal"], 550, "code of the refusal")


def compared(done, path):
    """The figures of a run of bench/compare."""
    if "needs a control group" in done.stdout:
        raise lib.Skip("bench/compare needs a control group of its own")
    equal(done.returncode, 0, f"exit code ({done.stderr[-300:]})")
    with open(path) as f:
        return json.load(f)["results"]


def test_compare_in_small():
    """bench/compare measures null and ringmx in two scenarios and relates them; with the sync left out as well; and the sink."""
    root = os.path.join(os.path.dirname(os.path.abspath(lib.__file__)), "..", "..")
    path = os.path.join(lib.work_folder(), "result.json")
    done = subprocess.run([os.path.join(root, "bench/compare"), "--build", lib.BUILD, "--servers", "null,ringmx,ringmx-nosync",
                           "--scenarios", "A,D,A-lmtp", "--rounds", "1", "--scale", "0.005", "--json", path],
                          capture_output=True, text=True, timeout=120)
    results = compared(done, path)
    for scenario in ("A", "D"):
        for name in ("null", "ringmx", "ringmx-nosync"):
            run, = results[scenario][name]
            lib.check(run["cpu_us"] > 0 and run["rate"] > 0, f"figures of {name} in {scenario}: {run}")
    lib.check(" x" in done.stdout.split("\nA-lmtp")[0].rsplit("ringmx", 1)[1], "a ratio in the table")
    lib.check(results["A-lmtp"]["ringmx"][0]["sink_us"] > 0, f"CPU time of the sink: {results['A-lmtp']['ringmx']}")
    equal(done.stdout.count("sinks: "), 2, f"lines about the sinks ({done.stdout[-500:]})")


def test_compare_by_address():
    """bench/compare --address: a server that runs already, with its CPU time or without; what it is not measured in is said."""
    compare = [os.path.join(os.path.dirname(os.path.abspath(lib.__file__)), "..", "..", "bench/compare"), "--build", lib.BUILD,
               "--servers", "null", "--rounds", "1", "--scale", "0.2"]
    path = os.path.join(lib.work_folder(), "result.json")
    with Null() as null:
        place = f"127.0.0.1:{null.port}"
        done = subprocess.run([*compare, "--scenarios", "A,maildir", "--address", f"mine={place},{null.process.pid}",
                               "--address", f"rate={place}", "--address", "far=192.0.2.7:25", "--json", path],
                              capture_output=True, text=True, timeout=120)
    results = compared(done, path)
    equal((sorted(results["A"]), sorted(results["maildir"])), (["mine", "null", "rate"], ["null"]), "servers")
    run, = results["A"]["mine"]
    lib.check(run["cpu_us"] > 0 and run["rate"] > 0, f"figures of a server with its process: {run}")
    lib.check(results["A"]["rate"][0]["rate"] > 0 and results["A"]["rate"][0]["cpu_us"] is None, f"only a rate: {results['A']}")
    for why in ("without mine (maildir): ", "without far (accept): 192.0.2.7 is no loopback address: --allow-remote"):
        lib.check(why in done.stdout, f"'{why}' in {done.stdout}")
    done = subprocess.run([*compare, "--address", "mine=localhost"], capture_output=True, text=True, timeout=120)
    equal(done.returncode, 2, "exit code for what is no address")
    lib.check("not ADDRESS:PORT[,PID]" in done.stderr, f"why: {done.stderr}")


def test_scale_in_small():
    """bench/scale.py measures every curve and the memory, and draws them."""
    root = os.path.join(os.path.dirname(os.path.abspath(lib.__file__)), "..", "..")
    result, drawing = (os.path.join(lib.work_folder(), name) for name in ("result.json", "curves.svg"))
    done = subprocess.run([os.path.join(root, "bench/scale.py"), "--build", lib.BUILD, "--quick", "--json", result, "--svg", drawing,
                           "--folder", lib.work_folder()],
                          capture_output=True, text=True, timeout=240)
    if "needs a control group" in done.stderr:
        raise lib.Skip("bench/scale.py needs a control group of its own")
    equal(done.returncode, 0, f"exit code ({done.stderr[-300:]})")
    with open(result) as f:
        found = json.load(f)
    equal(list(found["curves"]), ["sessions", "accounts", "queued", "waiting", "size"], "curves")
    for name, of in found["curves"].items():
        for series, points in of.items():
            equal(len(points), 2, f"points of {name}")
            for point in points:
                lib.check(min(point["cpu_us"]) > 0 and min(point["ratio"]) > 0, f"figures of {series} in {name}: {point}")
    equal(sorted(found["memory"]), ["idle session", "queued message"], "memory")
    with open(drawing) as f:
        equal(f.read().count("<polyline"), 7, "lines: five of ringmx, two of the null responder")


def test_scale_holds_what_descriptors_allow():
    """bench/scale.py: where a process may have few descriptors, as many idle sessions as fit are measured, all of them."""
    root = os.path.join(os.path.dirname(os.path.abspath(lib.__file__)), "..", "..")
    done = subprocess.run([os.path.join(root, "bench/scale.py"), "--build", lib.BUILD, "--quick", "--curves", "memory"],
                          capture_output=True, text=True, timeout=120,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (600, 600)))
    if "needs a control group" in done.stderr:
        raise lib.Skip("bench/scale.py needs a control group of its own")
    equal(done.returncode, 0, f"exit code ({done.stderr[-300:]})")
    lib.check("idle session: " in done.stdout, f"the memory of a session ({done.stdout[-300:]})")


def test_scale_judges():
    """bench/scale.py --check: a curve that grows and memory over its limit are found, flat ones are not."""
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(lib.__file__)), "../../bench"))
    import scale

    def judged(factor, session_bytes):
        points = [{"x": x, "cpu_us": [20 * f], "ratio": [f]} for x, f in ((0, 1.0), (1000, 1.05), (1000000, factor))]
        with contextlib.redirect_stdout(io.StringIO()) as said:
            code = scale.judge({"curves": {"queued": {"ringmx": points}}, "memory": {"idle session": (session_bytes, 1024)}})
        return code, said.getvalue()
    equal(judged(1.2, 1024), (0, ""), "within the bounds")
    code, said = judged(1.3, 1024)
    equal((code, "queued messages: 1.30 x" in said), (1, True), f"a curve that grows ({said})")
    code, said = judged(1.0, 1025)
    equal((code, "idle session: 1025 bytes" in said), (1, True), f"memory ({said})")
    sessions = lambda values: [{"x": x, "cpu_us": [v], "ratio": [v / values[0]]} for x, v in enumerate(values)]  # noqa: E731
    of = {"ringmx": sessions([60, 30, 40]), "null": sessions([20, 20, 26])}
    lib.check(1.02 < scale.growth("sessions", of) < 1.03, f"sessions: {scale.growth('sessions', of)}")
    curve = type("Curve", (), {"name": "size", "points": [1024, 65536, 131072, 262144]})
    run = [{"s": 10.0}, {"s": 10.0 + 63}, {"s": 73.0 + 64}, {"s": 137.0 + 256}]
    equal(scale.ratios_of(curve, run, "s"), [1.0, 1.0, 1.0, 2.0], "what a KiB costs")
