"""ringmx-bench send in all its modes, against ringmx, its own sink and Debian's smtp-sink; ringmx-bench plot."""

import json
import os
import pty
import re
import shlex
import socket
import subprocess
import time
import xml.etree.ElementTree as ElementTree

import lib
from lib import Server, check, equal, free_port, listener, postfix_program, wait_until, work_folder
from test_bench import BenchSink, bench, found, verify

TO_ALICE = ("--from", "s@example.net", "--rcpt", "alice@example.org")


def send(port, *args, code=0, who=TO_ALICE, seconds=60):
    """A run with --json; its result."""
    done = bench("send", "--to", f"127.0.0.1:{port}", *who, "--json", "--quiet", *args, seconds=seconds)
    equal(done.returncode, code, f"exit code of send {args} ({done.stdout[:200]} {done.stderr[:300]})")
    return json.loads(done.stdout)


def socket_count(pid):
    folder = f"/proc/{pid}/fd"
    return sum(os.readlink(os.path.join(folder, fd)).startswith("socket:") for fd in os.listdir(folder))


class SmtpSink:
    """Debian's smtp-sink on a free port, as a context."""

    def __enter__(self):
        program, environment = postfix_program("smtp-sink")
        self.port = free_port()
        self.process = subprocess.Popen([program, "-u", "nobody", f"127.0.0.1:{self.port}", "100"], env=environment,
                                        stderr=subprocess.DEVNULL)

        def up():
            check(self.process.poll() is None, f"smtp-sink ended with {self.process.returncode}")
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", self.port)) == 0
        wait_until(up, 10, "smtp-sink listens")
        return self

    def __exit__(self, *unused):
        self.process.kill()
        self.process.wait()


def good(result, messages):
    equal((result["accepted"], result["begun"], result["errors"]), (messages, messages, 0), "accepted, begun, errors")


def codes(result, verb):
    return {int(code): count for code, count in result["replies"].get(verb, {}).items()}


def times(result, phase):
    """A phase whose percentiles are in order."""
    h = result["phases"][phase]
    order = [h[name] for name in ("p50_ns", "p75_ns", "p90_ns", "p95_ns", "p99_ns", "p99.9_ns", "p99.99_ns", "max_ns")]
    check(order == sorted(order) and h["mean_ns"] <= h["max_ns"], f"{phase}: {h}")
    ticks = h["percentiles"]
    check(ticks == sorted(ticks) and ticks[0][0] == 0 and ticks[-1] == [100.0, h["max_ns"]], f"ticks of {phase}: {ticks}")
    return h


def test_bench_send_tells_every_phase_and_reply():
    """A closed loop into ringmx: each phase is timed as often as it happened, each reply is counted, and all of it
    arrives."""
    with Server() as server:
        r = send(server.port, "--messages", "60", "--sessions", "3", "--per-connection", "10", "--bdat", "0", "--seed", "1")
        good(r, 60)
        equal((r["loop"], r["seed"], r["measured"]), ("closed", 1, 60), "loop, seed, measured")
        n = r["connections"]
        check(6 <= n <= 8, f"{n} connections for 60 messages by tens in 3 sessions")
        for phase, count in {"connect": n, "banner": n, "ehlo": n, "mail": 60, "rcpt": 60, "data": 60, "end": 60, "quit": n,
                             "message": 60}.items():
            equal(times(r, phase)["count"], count, f"times of {phase}")
        check("starttls" not in r["phases"], "there was no TLS")
        for verb, code, count in (("banner", 220, n), ("ehlo", 250, n), ("mail", 250, 60), ("rcpt", 250, 60),
                                  ("data", 354, 60), ("end", 250, 60), ("quit", 221, n)):
            equal(codes(r, verb), {code: count}, f"replies to {verb}")
        check(r["phases"]["message"]["p50_ns"] >= r["phases"]["end"]["p50_ns"], "a message takes as long as its end")
        server.delivered(60)
        for fact in ("cpu", "cpus", "kernel", "memory_bytes", "date", "ringmx"):
            check(r["machine"].get(fact), f"no {fact} of the machine: {r['machine']}")
        check("--seed" in r["command"] and r["cpu"]["user_ns"] + r["cpu"]["system_ns"] > 0, "command and CPU time")


def test_bench_send_pipelining_and_chunks():
    """PIPELINING off, on and full, with DATA, BDAT and BDAT in chunks, into ringmx, the sink and smtp-sink."""
    def all_modes(port, chunking, messages=20):
        for pipelining in ("off", "on", "full"):
            for bdat, chunk in ((0, None), (100, None), (100, 1000)):
                more = () if chunk is None else ("--chunk", str(chunk))
                r = send(port, "--messages", str(messages), "--sessions", "2", "--pipelining", pipelining, "--bdat", str(bdat),
                         "--size", "4096", *more)
                good(r, messages)
                chunks = 0 if not (bdat and chunking) else 1 if chunk is None else 5  # 4096 and headers by thousands
                want = {} if chunks == 1 else {250: (chunks - 1) * messages} if chunks else {354: messages}
                equal(codes(r, "data"), want, f"pipelining {pipelining}, BDAT {bdat}, chunk {chunk}")
                equal(codes(r, "end"), {250: messages}, "final replies")
        return 9 * messages
    with Server() as server:
        server.delivered(all_modes(server.port, True))
    with BenchSink() as sink:
        sent = all_modes(sink.port, True)
        equal(len(sink.lines("taken")), sent, "messages in the sink")
        _, out, _ = sink.stop()
        check(" 0 altered, 0 unmarked" in out, f"sink: {out}")
    with SmtpSink() as sink:  # offers no CHUNKING
        all_modes(sink.port, False)


def test_bench_send_open_loop_counts_from_the_intended_start():
    """A server that takes 300 ms for each message, one session, an arrival every 50 ms: the closed loop sees 300 ms,
    the open loop what the arrivals have waited."""
    with BenchSink(faults=["eod:delay=300"]) as sink:
        r = send(sink.port, "--messages", "5", "--arrivals", "constant:20")
        good(r, 5)
        equal((r["loop"], r["arrivals"]), ("open", "constant"), "loop")
        check(times(r, "message")["max_ns"] >= (5 * 300 - 4 * 50) * 1e6, f"the last has waited: {r['phases']['message']}")
        check(r["phases"]["end"]["count"] == 5 and r["phases"]["end"]["p50_ns"] >= 300e6, f"end: {r['phases']['end']}")
        first = r["phases"]["message"]["percentiles"][0][1]
        check(300e6 <= first < r["phases"]["message"]["max_ns"] - 900e6, f"the first has not: {first}")
        done = bench("send", "--to", f"127.0.0.1:{sink.port}", *TO_ALICE, "--messages", "1")
        check("(closed loop, 1 sessions" in done.stdout, f"the text of a closed loop says so: {done.stdout}")
        done = bench("send", "--to", f"127.0.0.1:{sink.port}", *TO_ALICE, "--messages", "1", "--arrivals", "poisson:9")
        check("(open loop, Poisson, 1 sessions" in done.stdout, f"the text of an open loop says so: {done.stdout}")


def test_bench_send_open_loop_rate():
    """Arrivals come neither before their time nor never: so many in so long, at even distances or not, with a
    connection for each and without."""
    with BenchSink() as sink:
        for arrivals, more in (("constant:100", ()), ("poisson:100", ()), ("constant:100", ("--per-connection", "1"))):
            r = send(sink.port, "--messages", "100", "--sessions", "20", "--arrivals", arrivals, "--seed", "5", *more)
            good(r, 100)
            if arrivals == "constant:100":
                check(r["took_ns"] >= 0.99e9, f"100 at 100/s in {r['took_ns'] / 1e9:.3f} s")
            if more:
                equal(r["connections"], 100, "connections")
        equal(len(sink.lines("taken")), 300, "messages in the sink")


def test_bench_send_overdue():
    """What was due and could not begin in time is told; a sweep ends beyond the knee."""
    with BenchSink(faults=["eod:delay=400"]) as sink:
        r = send(sink.port, "--time", "1", "--arrivals", "constant:50")
        check(r["accepted"] <= 4 and r["overdue"] >= 40, f"accepted {r['accepted']}, overdue {r['overdue']}")
        done = bench("send", "--to", f"127.0.0.1:{sink.port}", *TO_ALICE, "--time", "1", "--arrivals", "constant:50",
                     "--assert", "overdue=0")
        equal(done.returncode, 1, "exit code with overdue=0")
        # Whoever has not begun has waited: of some 50 four at most were taken.
        for term in ("p90<60s", "max<60s", "mean<60s"):
            done = bench("send", "--to", f"127.0.0.1:{sink.port}", *TO_ALICE, "--time", "1", "--arrivals", "constant:50",
                         "--assert", f"end.p90<60s,{term}")
            check(done.returncode == 1 and f" {term} does not hold: " in done.stderr and "were due" in done.stderr and
                  "end.p90" not in done.stderr, f"{term} with overdue messages: {done.returncode} {done.stderr}")
        out = os.path.join(sink.folder, "sweep.json")
        r = send(sink.port, "--sweep", "50-100:5", "--time", "1", "--output", out)
        steps = r["sweep"]
        equal([s["beyond_knee"] for s in steps], [True], "the first rate is too much")
        equal(steps[0]["rate"], 50, "rate of the first step")
        check(steps[0]["reached"] < 0.95 * 50, f"reached: {steps[0]}")
    with BenchSink() as sink:
        r = send(sink.port, "--sweep", "20-80:3", "--time", "1", "--sessions", "100", "--arrivals", "constant")
        equal([(s["rate"], s["beyond_knee"]) for s in r["sweep"]], [(20, False), (40, False), (80, False)], "steps")


def test_bench_send_think_time_and_warm_up():
    """Pauses are made between messages, on one connection and between connections; what happens in the warm-up is
    sent, but not in the figures."""
    with BenchSink() as sink:
        for more in ((), ("--per-connection", "1")):
            r = send(sink.port, "--messages", "4", "--think", "200", *more)
            good(r, 4)
            check(r["took_ns"] >= 0.6e9, f"4 messages with 3 pauses of 200 ms in {r['took_ns'] / 1e9:.3f} s")
        r = send(sink.port, "--warmup", "1", "--time", "1", "--rate", "50", "--interval", "1")
        before = r["warm_up"]
        check(r["accepted"] > 0 and before["accepted"] > 0, f"accepted {r['accepted']}, before {before}")
        equal([times(r, "message")["count"], r["measured"], codes(r, "end")[250]], [r["accepted"]] * 3, "times, measured, replies")
        equal(sum(p["completed"] for p in r["series"]), r["accepted"] + before["accepted"], "the series has all of it")
        equal((r["connections"], before["connections"]), (0, 1), "connections")
        check(r["rate"] <= 56, f"rate {r['rate']}")


def test_bench_send_warm_up_decides_nothing():
    """What went wrong in the warm-up is told apart, and no term of --assert sees it."""
    load = ("--warmup", "1", "--time", "1", "--rate", "20", "--per-connection", "1")
    with BenchSink(faults=["mail:451"]) as sink:
        r = send(sink.port, *load, code=1)
        before = r["warm_up"]["errors"]
        check(r["errors"] > 0 and before > 0, f"errors {r['errors']}, before {before}")
        done = bench("send", "--to", f"127.0.0.1:{sink.port}", *TO_ALICE, *load, "--assert", "refused=0")
        check(done.returncode == 1 and "refused=0 does not hold" in done.stderr, f"refused=0: {done.returncode} {done.stderr}")
        check(re.search(r"in the warm-up: accepted 0  errors [1-9]", done.stdout), f"the warm-up in the text: {done.stdout[:300]}")


def test_bench_send_what_is_due_at_the_end():
    """Of an open loop's arrivals all have begun or are overdue, and the one that is due when the time is over is neither."""
    with BenchSink() as sink:
        r = send(sink.port, "--time", "1", "--sessions", "20", "--arrivals", "constant:100")
        equal(r["begun"] + r["overdue"], 100, f"begun {r['begun']} and overdue {r['overdue']} of 100 in a second")


def test_bench_send_stopped_is_told():
    """SIGTERM ends a run; text and JSON say so, and what had not ended makes the exit code 1."""
    with BenchSink(faults=["eod:silent"]) as sink:
        for json_too in ((), ("--json",)):
            command = [os.path.join(lib.BUILD, "ringmx-bench"), "send", "--to", f"127.0.0.1:{sink.port}", *TO_ALICE, "--timeout", "600",
                       "--quiet", *json_too]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            try:
                wait_until(lambda: socket_count(process.pid) > 0, lib.PATIENCE_S, "a connection")
                for _ in range(2):  # the second: what is under way is not waited for
                    process.terminate()
                    time.sleep(0.1)
                out, _ = process.communicate(timeout=lib.PATIENCE_S)
            finally:
                process.kill()
            equal(process.returncode, 1, "exit code")
            told = json.loads(out)["stopped"] if json_too else "it was stopped by a signal" in out
            equal(told, True, f"that it was stopped ({out[:300]})")


def test_bench_send_sizes():
    """Fixed, even and lognormal sizes, and a seed that decides them."""
    def sizes(sink, *args, messages=300):
        before = len(sink.lines("taken"))
        good(send(sink.port, "--messages", str(messages), "--ids", "x", "--seed", "9", *args), messages)
        return [int(w[5]) for w in sink.lines("taken")[before:]]
    with BenchSink() as sink:
        fixed = sizes(sink, "--size", "5000")
        check(max(fixed) - min(fixed) <= 2 and 5000 < min(fixed) < 5300, f"of 5000: {min(fixed)} to {max(fixed)}")
        many = sizes(sink, "--size", "lognormal:5000:1.5")
        check(110 <= sum(s < 5200 for s in many) <= 190, f"{sum(s < 5200 for s in many)} of 300 below the median")
        check(max(many) > 30000 and min(many) < 1200, f"from {min(many)} to {max(many)}")
        equal(sizes(sink, "--size", "lognormal:5000:1.5"), many, "the same seed again")
        two = sizes(sink, "--size", "1000:3,20000:1")
        check(45 <= sum(s > 20000 for s in two) <= 105, f"{sum(s > 20000 for s in two)} of 300 with a quarter")


def test_bench_send_folder():
    """Real messages, with dots, bare line feeds and bytes over 127, arrive as they are but for their line ends."""
    folder, kept = work_folder(), work_folder()
    os.makedirs(os.path.join(folder, "new"))
    texts = [b"Subject: one\r\n\r\n.dot\r\n..\r\nend", b"Subject: two\n\nunix\n.\nlines\n", b"Subject: drei\r\n\r\n\xc3\xa4\r\n"]
    for i, text in enumerate(texts):
        with open(os.path.join(folder, "new" if i == 2 else "", f"{i}"), "wb") as f:
            f.write(text)
    with BenchSink("--dir", kept) as sink:
        for bdat in ("0", "100"):
            good(send(sink.port, "--messages", "40", "--folder", folder, "--bdat", bdat), 40)
        _, out, _ = sink.stop()
        check("80 messages" in out and " 0 altered, 0 unmarked" in out, f"sink: {out}")
    got = set()
    for name in os.listdir(kept):
        if name.endswith(".eml"):
            with open(os.path.join(kept, name), "rb") as f:
                mark, digest, rest = f.read().split(b"\r\n", 2)
            check(mark.startswith(b"X-Ringmx-Id: ") and digest.startswith(b"X-Ringmx-XXH64: "), f"mark {mark} {digest}")
            got.add(rest)
    lines = {re.sub(rb"\r?\n", b"\r\n", t + (b"" if t.endswith(b"\n") else b"\r\n")) for t in texts}
    equal(got, lines, "contents")


def test_bench_send_recipients():
    """Recipients from a file, numbers of them by a table, unknown ones whose refusal is expected."""
    folder = work_folder()
    path = os.path.join(folder, "rcpts")
    with open(path, "w") as f:
        f.writelines(f"u{i}@example.org\n" for i in range(200))
    with BenchSink() as sink:
        good(send(sink.port, "--messages", "100", who=("--from", "s@example.net", "--rcpt-file", path)), 100)
        equal(len(sink.lines("taken")), 100, "one recipient of a file for each message")
        r = send(sink.port, "--messages", "100", "--rcpts-per-message", "1:1,5:1", "--ids", "many",
                 who=("--from", "s@example.net", "--rcpt-file", path))
        good(r, 100)
        copies = {}
        for words in sink.lines("taken"):
            if words[3].startswith("many."):
                copies.setdefault(words[3], []).append(words[6])
        equal({len(c) for c in copies.values()}, {1, 5}, "recipients of the messages")
        check(all(len(set(c)) == len(c) for c in copies.values()), "a message has a recipient twice")
        check(len({c for m in copies.values() for c in m}) > 100, "the file is used in its breadth")
    with Server(allow_relaying=False) as server:
        r = send(server.port, "--messages", "30", "--unknown", "100%", "--per-connection", "1", "--bdat", "0")
        equal((r["turned_away"], r["accepted"], r["errors"], r["unknown_refused"]), (30, 0, 0, 30), "all unknown")
        equal(set(codes(r, "rcpt")), {550}, "replies to RCPT")
        check("rset" not in r["replies"] and times(r, "message")["count"] == 30, f"replies {r['replies']}")
        r = send(server.port, "--messages", "30", "--unknown", "50%", "--rcpt", "alice@example.org", "--seed", "3",
                 "--per-connection", "3")  # after many refusals on one connection the server ends it
        check(r["accepted"] > 0 and r["turned_away"] > 0 and r["accepted"] + r["turned_away"] == 30, f"half unknown: {r}")
        equal(r["errors"], 0, "errors")
        r = send(server.port, "--messages", "3", who=("--from", "s@example.net", "--rcpt", "nobody@example.org"), code=1)
        equal((r["refused"], r["errors"], r["first_refusal"]), (3, 3, 550), "a known recipient that is refused is an error")


def tls_server():
    port, implicit = free_port(), free_port()
    server = Server(cores=1, listeners={"l": listener(port, useTls=True),
                               "i": listener(implicit, name="smtps", tlsImplicit=True)})
    server.port = port
    return server, implicit


def test_bench_send_tls():
    """STARTTLS and implicit TLS, full and resumed handshakes, both versions."""
    server, implicit = tls_server()
    with server:
        for how, port in (("starttls", server.port), ("implicit", implicit)):
            for version in ("1.2", "1.3"):
                more = ("--tls", how, "--tls-version", version, "--per-connection", "5", "--messages", "40", "--sessions", "2")
                r = send(port, *more)
                good(r, 40)
                equal((r["tls_full"], r["tls_resumed"]), (r["connections"], 0), f"{how} {version}: full handshakes")
                equal(times(r, "starttls")["count"], r["connections"], f"{how} {version}: times")
                equal(codes(r, "starttls"), {220: r["connections"]} if how == "starttls" else {}, "replies to STARTTLS")
                r = send(port, *more, "--tls-resume")
                good(r, 40)
                check(r["tls_resumed"] > 0 and 1 <= r["tls_full"] <= 2, f"{how} {version}: {r['tls_full']} full handshakes")
                equal(r["tls_full"] + r["tls_resumed"], r["connections"], "handshakes")
        server.delivered(320)
        _, _, received, _ = lib.split_local(server.mailbox()[0])
        check("ESMTPS" in received, f"Received: {received}")
    with BenchSink() as sink:  # offers no STARTTLS
        r = send(sink.port, "--tls", "starttls", code=1)
        equal((r["accepted"], r["failed_connections"]), (0, 1), "a server without STARTTLS")


def test_bench_send_resumes_at_any_core():
    """A client's session is taken up whichever core has its next connection."""
    with Server(cores=4) as server:
        more = ("--tls", "starttls", "--tls-resume", "--per-connection", "1", "--messages", "60", "--sessions", "1")
        r = send(server.port, *more)
        equal((r["tls_full"], r["tls_resumed"]), (1, r["connections"] - 1), "handshakes")


def received_clients(server):
    return {re.search(r"\[([0-9.]+)\]", lib.split_local(m)[2]).group(1) for m in server.mailbox()}


def test_bench_send_source_addresses_and_proxy_headers():
    """Connections come from the loopback network that is asked for; PROXY headers of both versions name clients of
    another, and the server believes them."""
    with Server(settings={"proxyTrustedNetworks": {"127.9.0.0/16": True}}) as server:
        good(send(server.port, "--messages", "30", "--per-connection", "1", "--source", "127.3.0.0/16"), 30)
        server.delivered(30)
        clients = received_clients(server)
        check(len(clients) > 20 and all(c.startswith("127.3.") for c in clients), f"clients: {clients}")
        for version in ("v1", "v2"):
            good(send(server.port, "--messages", "30", "--per-connection", "1", "--source", "127.9.0.0/16", "--proxy", version,
                      "--clients", "203.0.113.0/24"), 30)
        server.delivered(90)
        more = received_clients(server) - clients
        check(len(more) > 30 and all(c.startswith("203.0.113.") for c in more), f"clients: {more}")


def test_bench_send_ipv6():
    """The same over IPv6: to ::1, and PROXY headers that name IPv6 clients."""
    port = free_port()
    six = {"name": "six", "bind": {f"[::1]:{port}": True}}
    with Server(listeners={"l": six}, settings={"proxyTrustedNetworks": {"::1/128": True}}) as server:
        for version in ("v1", "v2"):
            done = bench("send", "--to", f"[::1]:{port}", *TO_ALICE, "--json", "--quiet", "--messages", "20", "--per-connection", "1",
                         "--source", "::1", "--proxy", version, "--clients", "2001:db8:7::/48")
            equal(done.returncode, 0, f"exit code ({done.stderr})")
            good(json.loads(done.stdout), 20)
        server.delivered(40)
        clients = {re.search(r"\[IPv6:([0-9a-f:]+)\]", lib.split_local(m)[2]).group(1) for m in server.mailbox()}
        check(len(clients) > 30 and all(c.startswith("2001:db8:7:") for c in clients), f"clients: {clients}")


def test_bench_send_idle_connections_and_server_statistics():
    """Idle connections are open before the load and held beside it; the server's own counters are in the JSON."""
    http = free_port()
    env = {"RINGMX_HTTP": f"127.0.0.1:{http}"}
    with Server(cores=1, args=["--http", env["RINGMX_HTTP"]]) as server:
        r = send(server.port, "--messages", "20", "--idle", "300", "--stats", f"http://127.0.0.1:{http}")
        good(r, 20)
        equal((r["idle_held"], r["idle_lost"]), (300, 0), "idle connections")
        before, after = (r["server_stats"][when]["cores"][0] for when in ("before", "after"))
        equal(after["messages_received_total"] - before["messages_received_total"], 20, "messages that the server counts")
        equal(after["sessions_accepted_total"] - before["sessions_accepted_total"], 301, "sessions that the server counts")
        equal(codes(r, "ehlo"), {250: 301}, "the idle ones have said EHLO")
        equal(times(r, "ehlo")["count"], 1, "and are not in the times")
    with BenchSink(faults=["ehlo:421"]) as sink:
        r = send(sink.port, "--idle", "3", "--sessions", "0", "--time", "1", code=1)
        equal((r["idle_held"], r["idle_lost"]), (0, 3), "idle connections that the server did not want")
    done = bench("send", "--to", f"127.0.0.1:{free_port()}", *TO_ALICE, "--stats", f"http://127.0.0.1:{free_port()}/stats")
    equal(done.returncode, 1, "exit code without the server's counters")
    check("--stats: " in done.stderr, f"said: {done.stderr}")
    done = bench("send", "--to", "127.0.0.1:1", *TO_ALICE, "--stats", "http://192.0.2.1:80")
    check("--allow-remote" in done.stderr and done.returncode == 1, f"remote counters: {done.stderr}")


def test_bench_send_hostile_clients():
    """Each kind behaves as it says, ringmx takes it as it should, and the load beside them has no errors."""
    with Server(cores=1) as server:
        kinds = ("silent:2", "drip:2", "slow-data:2", "slow-reader:2", "early:2", "bare-lf:2", "reset:12")
        r = send(server.port, "--time", "4", "--rate", "50", *(w for k in kinds for w in ("--hostile", k)))
        equal(r["errors"], 0, "errors of the load")
        check(r["accepted"] > 0, "the load does not get on beside them")
        h = r["hostile"]
        equal({k: v["clients"] for k, v in h.items()}, dict(k.split(":")[0:1] + [int(k.split(":")[1])] for k in kinds), "kinds")
        equal((h["silent"]["connections"], h["silent"]["2xx"], h["silent"]["closed_by_server"]), (2, 2, 0), "silent: a greeting")
        equal({k: h[k]["held"] for k in ("silent", "drip", "slow-data")}, {"silent": 2, "drip": 2, "slow-data": 2}, "connected at the end")
        equal([v["failed"] for v in h.values()], [0] * len(h), "connections that failed")
        check(h["drip"]["connections"] == 2 and h["drip"]["2xx"] >= 2 and h["drip"]["taken"] == 0, f"drip: {h['drip']}")
        check(h["slow-data"]["3xx"] == 2 and h["slow-data"]["taken"] == 0, f"slow data: {h['slow-data']}")
        check(h["slow-reader"]["2xx"] >= 4 and h["slow-reader"]["taken"] == 0, f"slow reader: {h['slow-reader']}")
        check(h["early"]["connections"] > 2, f"early talker: {h['early']}")
        check(h["bare-lf"]["connections"] > 2 and h["bare-lf"]["5xx"] > 0, f"bare LF: {h['bare-lf']}")
        equal((h["bare-lf"]["smuggled"], h["bare-lf"]["taken"]), (0, 0), "bare LF: smuggled, taken")
        equal(set(h["reset"]["resets"]), {"connect", "banner", "ehlo", "mail", "rcpt", "data", "body", "end", "quit", "starttls",
                                       "handshake", "bdat"}, "stages of the resets")
        with server.wire() as wire:
            wire.expect("NOOP", "250")
    with SmtpSink() as sink:
        r = send(sink.port, "--sessions", "0", "--time", "1", "--hostile", "early", "--hostile", "reset:12")
        check(r["hostile"]["early"]["taken"] > 0, f"early talker at smtp-sink: {r['hostile']['early']}")
        equal(len(r["hostile"]["reset"]["resets"]), 9, "stages of the resets at smtp-sink")
        check(r["hostile"]["reset"]["not_offered"] >= 3, f"resets that need an extension: {r['hostile']['reset']}")


def test_bench_send_says_when_clients_are_fewer_than_asked():
    """Idle connections that the server ends are told, with exit code 1; hostile clients connect again, and what failed and who is
    connected at the end is told."""
    with BenchSink(faults=["ehlo:421"]) as sink:
        done = bench("send", "--to", f"127.0.0.1:{sink.port}", *TO_ALICE, "--idle", "3", "--sessions", "0", "--time", "1")
        equal(done.returncode, 1, "exit code")
        check("only 0 of 3 idle connections were held" in done.stderr, f"said: {done.stderr}")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))  # and does not listen
        who = ("--sessions", "0", "--hostile", "silent:3", "--time", "1")
        h = send(s.getsockname()[1], *who)["hostile"]["silent"]
        check(h["failed"] > 3 and h["failed"] <= h["connections"], f"they try again: {h}")
        equal((h["held"], h["closed_by_server"], h["first_failure"]), (0, 0, "connection refused"), "what is told")
        said = bench("send", "--to", f"127.0.0.1:{s.getsockname()[1]}", *TO_ALICE, *who).stdout
        check("0 of 3 were connected at the end; connections that failed: " in said and "connection refused" in said, f"text: {said}")


def test_bench_send_drips():
    """The slow client sends one byte after the other, never faster than --drip says."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = subprocess.Popen([os.path.join(lib.BUILD, "ringmx-bench"), "send", "--to",
                                    f"127.0.0.1:{listening.getsockname()[1]}", *TO_ALICE, "--sessions", "0", "--hostile", "drip",
                                    "--drip", "150", "--time", "60", "--quiet"], stdout=subprocess.DEVNULL)
        try:
            listening.settimeout(20)
            sock, _ = listening.accept()
            sock.settimeout(20)
            got, began = b"", time.monotonic()
            sock.sendall(b"220 x\r\n")
            while len(got) < 6:
                got += sock.recv(100)
            took = time.monotonic() - began
            sock.close()
        finally:
            process.terminate()
        equal(process.wait(20), 0, "exit code after SIGTERM")
        check(b"EHLO hostile.invalid\r\n".startswith(got), f"got {got}")
        check(took >= (len(got) - 1) * 0.15, f"{len(got)} bytes in {took:.3f} s")


def test_bench_send_on_one_cpu():
    """--cpu pins the generator."""
    cpu = min(os.sched_getaffinity(0))
    with BenchSink() as sink:
        process = subprocess.Popen([os.path.join(lib.BUILD, "ringmx-bench"), "send", "--to", f"127.0.0.1:{sink.port}", *TO_ALICE,
                                    "--cpu", str(cpu), "--messages", "0", "--rate", "10", "--quiet"], stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: os.sched_getaffinity(process.pid) == {cpu}, 10, f"it runs on CPU {cpu} alone")
        finally:
            process.terminate()
        equal(process.wait(20), 0, "exit code after SIGTERM")


def test_bench_send_smtp_sink():
    """Both loops into smtp-sink, with several recipients and a connection for each message."""
    with SmtpSink() as sink:
        two = (*TO_ALICE, "--rcpt", "bob@example.org")
        r = send(sink.port, "--messages", "200", "--sessions", "10", who=two)
        good(r, 200)
        equal(codes(r, "rcpt"), {250: 400}, "replies to RCPT")
        r = send(sink.port, "--messages", "200", "--sessions", "10", "--per-connection", "1", "--arrivals", "poisson:1000",
                 who=two)
        good(r, 200)
        equal(r["connections"], 200, "connections")


# Every option of send, with values that ringmx and Debian's smtp-sink take, and who speaks it: smtp-sink knows no TLS and
# no PROXY header, and has no statistics.
BOTH, RINGMX = ("ringmx", "smtp-sink"), ("ringmx",)
OPTIONS = (
    (BOTH, ("--rcpt", "bob@example.org")),
    (BOTH, ("--rcpt-file", "RCPTS")),
    (BOTH, ("--rcpts-per-message", "1:1,2:1", "--rcpt", "bob@example.org")),
    (BOTH, ("--unknown", "0%")),
    (BOTH, ("--sessions", "4")),
    (BOTH, ("--time", "1", "--warmup", "1")),
    (BOTH, ("--rate", "200")),
    (BOTH, ("--think", "1-10")),
    (BOTH, ("--arrivals", "constant:200")),
    (BOTH, ("--arrivals", "poisson:200")),
    (BOTH, ("--sweep", "50-100:2", "--time", "1", "--sessions", "50")),
    (BOTH, ("--size", "100-100000")),
    (BOTH, ("--size", "lognormal:2000:1")),
    (BOTH, ("--folder", "MAIL")),
    (BOTH, ("--per-connection", "3")),
    (BOTH, ("--pipelining", "off")),
    (BOTH, ("--no-pipelining",)),
    (BOTH, ("--bdat", "0")),
    (BOTH, ("--bdat", "100", "--chunk", "500", "--pipelining", "full")),
    (RINGMX, ("--tls", "starttls", "--tls-version", "1.2")),
    (RINGMX, ("--tls", "starttls", "--tls-resume", "--per-connection", "2")),
    (RINGMX, ("--proxy", "v1", "--source", "127.9.0.0/16", "--clients", "198.51.100.0/24")),
    (RINGMX, ("--proxy", "v2", "--source", "127.9.0.0/16")),
    (BOTH, ("--source", "127.7.0.0/16")),
    (BOTH, ("--idle", "20")),
    (BOTH, ("--hostile", "silent:2", "--time", "1")),
    (BOTH, ("--hostile", "drip:2", "--drip", "50", "--time", "1")),
    (BOTH, ("--hostile", "slow-data:2", "--time", "1")),
    (RINGMX, ("--hostile", "slow-reader:2", "--time", "1")),  # smtp-sink has one thread, which would block in a write to it
    (BOTH, ("--hostile", "early:2", "--time", "1")),
    (BOTH, ("--hostile", "bare-lf:2", "--time", "1")),
    (BOTH, ("--hostile", "reset:12", "--time", "1")),
    (BOTH, ("--retry",)),
    (BOTH, ("--timeout", "30")),
    (BOTH, ("--ids", "mine")),
    (BOTH, ("--seed", "7")),
    (BOTH, ("--cpu", "CPU")),
    (BOTH, ("--ledger", "LEDGER")),
    (BOTH, ("--interval", "1")),
    (BOTH, ("--output", "OUT")),
    (RINGMX, ("--stats", "STATS")),
    (BOTH, ("--assert", "errors=0,p99<60s")),
)
GIVEN = {"--to", "--from", "--json", "--quiet", "--messages", "--allow-remote", "--help"}


def test_bench_send_every_option():
    """Each option that the help names, into ringmx and into smtp-sink: all is taken, without errors."""
    known = set(re.findall(r"^  (--[a-z-]+)", bench("send", "--help").stdout, re.MULTILINE))
    equal({word for _, args in OPTIONS for word in args if word.startswith("--")} | GIVEN, known | {"--help"}, "options of the table")
    folder, http = work_folder(), free_port()
    places = {name: os.path.join(folder, name) for name in ("RCPTS", "MAIL", "LEDGER", "OUT")}
    with open(places["RCPTS"], "w") as f:
        f.write("alice@example.org\nbob@example.org\n")
    os.mkdir(places["MAIL"])
    with open(os.path.join(places["MAIL"], "1"), "wb") as f:
        f.write(b"Subject: x\r\n\r\n.text\r\n")
    places |= {"CPU": str(min(os.sched_getaffinity(0))), "STATS": f"http://127.0.0.1:{http}"}
    port = free_port()
    fields = {"listeners": {"l": listener(port, useTls=True)}, "users": ("alice", "bob"),
              "settings": {"proxyTrustedNetworks": {"127.9.0.0/16": True}}}
    with Server(cores=1, args=["--http", f"127.0.0.1:{http}"], **fields), SmtpSink() as sink:
        for servers, args in OPTIONS:
            for name in servers:
                how = [places.get(word, word) for word in args]
                timed = "--time" in args
                if not timed:
                    how += ["--messages", "20"]
                elif "--sweep" not in args:
                    how += ["--rate", "100"]
                r = send(port if name == "ringmx" else sink.port, *how)
                equal(r["errors"], 0, f"errors of {args} into {name}")
                check(r["accepted"] > 0 if timed else r["accepted"] == 20, f"{args} into {name}: {r['accepted']} accepted")


def test_bench_send_assert():
    """--assert decides the exit code, says what does not hold, and refuses what it does not know."""
    with BenchSink(faults=["rcpt:4xx:100%:slow@"]) as sink:
        def judged(terms, *more, who=TO_ALICE):
            return bench("send", "--to", f"127.0.0.1:{sink.port}", *who, "--messages", "20", "--assert", terms, *more)
        done = judged("p99<60s,message.max<60s,errors=0,rate>0.1,accepted>=20,mail.mean>1ns")
        equal((done.returncode, "does not hold" in done.stderr), (0, False), f"all hold: {done.stderr}")
        done = judged("p99<1ns,errors=0,rate>1000000000")
        equal(done.returncode, 1, "exit code when terms do not hold")
        check("p99<1ns does not hold: it is " in done.stderr and "rate>1000000000 does not hold" in done.stderr and
              "errors=0" not in done.stderr, f"said: {done.stderr}")
        done = judged("starttls.p99<60s")
        equal(done.returncode, 1, "a time that there is not")
        check("there is no such time" in done.stderr, f"said: {done.stderr}")
        done = judged("errors=20,refused=20", who=("--from", "s@example.net", "--rcpt", "slow@example.org"))
        equal(done.returncode, 0, f"errors that are expected: {done.stderr}")
        for wrong in ("", "p99<20", "nope=1", "nope.p99<1ms", "errors", "errors=0,", "rate>5ms"):
            done = judged(wrong)
            equal(done.returncode, 2, f"exit code with --assert {wrong!r}")
            check("--assert: '" in done.stderr, f"said: {done.stderr}")


def test_bench_send_progress():
    """Plain lines without a terminal, one line that changes on a terminal, none with --quiet; stdout stays clean."""
    with BenchSink() as sink:
        command = ("send", "--to", f"127.0.0.1:{sink.port}", *TO_ALICE, "--time", "2", "--rate", "20", "--json")
        done = bench(*command)
        lines = done.stderr.splitlines()
        check(len(lines) >= 2 and all(re.search(r" s +\d+/s +in flight +\d+ +errors +0 +p50 +[\d.]+ ms +p99 +[\d.]+ ms", line)
                                      for line in lines), f"lines: {lines}")
        equal(len(done.stdout.splitlines()), 1, "lines of JSON")
        equal(bench(*command, "--quiet").stderr, "", "with --quiet")
        ours, theirs = pty.openpty()
        process = subprocess.Popen([os.path.join(lib.BUILD, "ringmx-bench"), *command], stdout=subprocess.DEVNULL, stderr=theirs)
        os.close(theirs)
        said = b""
        try:
            while part := os.read(ours, 4096):
                said += part
        except OSError:  # the other side is closed
            pass
        os.close(ours)
        equal(process.wait(30), 0, "exit code on a terminal")
        check(said.count(b"\r   ") >= 2 and said.count(b"\n") == 1, f"on a terminal: {said}")


def test_bench_send_ledger_of_all_modes():
    """What the ledgers of both sides say agrees, with unknown recipients, chunks, connections and an open loop."""
    with BenchSink() as sink:
        for more in (("--arrivals", "constant:500"), ("--per-connection", "1"), ("--chunk", "700", "--pipelining", "full"),
                     ("--unknown", "30%", "--rcpts-per-message", "1-2", "--bdat", "50")):
            code, _, ledger = sink.send("--rcpt", "a@example.org", "--rcpt", "b@example.org", "--messages", "100", "--sessions",
                                        "5", "--ids", "run" + more[0].strip("-"), *more)
            equal(code, 0, f"exit code with {more}")
        code, counts, said = verify(ledger, sink.ledger)
        equal((code, counts["acked"] >= 700), (0, True), f"verdict: {said}")
        found(counts)


def test_bench_send_refuses():
    """Options that make no sense, alone or together: exit code 2 and what is wrong."""
    for args, word in ((("--sweep", "5-1:3", "--time", "1"), "--sweep"), (("--sweep", "1-5:3"), "--time"),
                       (("--arrivals", "often:5"), "--arrivals"), (("--arrivals", "poisson"), "rate"),
                       (("--arrivals", "poisson:5", "--think", "5"), "--think"), (("--size", "lognormal:5"), "--size"),
                       (("--tls", "maybe"), "--tls"), (("--source", "192.0.2.0/24"), "--source"),
                       (("--source", "::1"), "--source"), (("--proxy", "v1", "--clients", "2001:db8::/32"), "--clients"),
                       (("--hostile", "rude"), "--hostile"), (("--hostile", "silent:0"), "--hostile"),
                       (("--unknown", "101%"), "--unknown"), (("--folder", "/nonexistent"), "--folder"),
                       (("--rcpt-file", "/nonexistent"), "--rcpt-file"), (("--sessions", "0"), "nothing to do"),
                       (("--rcpt", "a b@c"), "--rcpt"), (("--nope",), "--nope"), (("--cpu", "1023"), "--cpu"),
                       (("--tls-resume",), "--tls"), (("--tls-version", "1.3"), "--tls"), (("--clients", "203.0.113.0/24"), "--proxy"),
                       (("--assert", "p99<20"), "unit"), (("--assert", "rate>5ms"), "unit")):
        done = bench("send", "--to", "127.0.0.1:1", *TO_ALICE, *args)
        equal(done.returncode, 2, f"exit code with {args} ({done.stderr})")
        check(word in done.stderr, f"{args}: {done.stderr}")


def test_bench_send_says_why_it_cannot_connect():
    """A server that is not there: the text and the JSON say so, and not only that nothing was sent."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))  # and does not listen
        to = f"127.0.0.1:{s.getsockname()[1]}"
        done = bench("send", "--to", to, *TO_ALICE, "--sessions", "3")
        equal(done.returncode, 1, f"exit code ({done.stderr})")
        check("connections that failed: 3, the first: connection refused" in done.stdout, f"text: {done.stdout}")
        result = json.loads(bench("send", "--to", to, *TO_ALICE, "--json").stdout)
        equal((result["failed_connections"], result["first_failure"]), (1, "connection refused"), "JSON")


def test_bench_send_output_is_opened_first():
    """A file that cannot be written is told before the load, not after it."""
    with BenchSink() as sink:
        done = bench("send", "--to", f"127.0.0.1:{sink.port}", *TO_ALICE, "--output", "/nonexistent/x.json")
        equal((done.returncode, done.stdout), (1, ""), "exit code, and nothing was sent")
        check("/nonexistent/x.json cannot be written" in done.stderr, f"message: {done.stderr}")


SVG = "{http://www.w3.org/2000/svg}"


def lines_of(path):
    """The polylines of a drawing that is well-formed and within its bounds, as lists of points."""
    root = ElementTree.parse(path).getroot()
    equal(root.tag, SVG + "svg", "root element")
    width, height = float(root.get("width")), float(root.get("height"))
    lines = [[tuple(map(float, p.split(","))) for p in line.get("points").split()] for line in root.iter(SVG + "polyline")]
    for x, y in (p for line in lines for p in line):
        check(0 <= x <= width and 0 <= y <= height, f"({x}, {y}) is not within {width} x {height}")
    return lines, " ".join(t.text or "" for t in root.iter(SVG + "text"))


def test_bench_plot():
    """Percentiles and rate of two runs, and a sweep, as SVG; names with characters that XML does not take as they are."""
    folder = work_folder()
    runs = [os.path.join(folder, name) for name in ("<a>&\"b\".json", "other.json")]
    out = os.path.join(folder, "out.svg")
    with BenchSink() as sink:
        for path in runs:
            send(sink.port, "--time", "2", "--rate", "100", "--output", path)
        sweep = os.path.join(folder, "sweep.json")
        send(sink.port, "--sweep", "20-80:3", "--time", "1", "--sessions", "100", "--arrivals", "constant", "--output", sweep)
    equal(bench("plot", *runs, "--output", out).returncode, 0, "exit code of plot")
    lines, texts = lines_of(out)
    equal(len(lines), 4, "lines: percentiles and rate of two files")
    for line in lines[:2]:
        check(len(line) > 5 and line == sorted(line, key=lambda p: (p[0], -p[1])), f"percentiles do not rise: {line}")
    check('<a>&"b".json' in texts and "Rate over time" in texts and "99%" in texts, f"texts: {texts}")
    done = bench("plot", "--sweep", sweep)
    with open(out, "w") as f:
        f.write(done.stdout)
    lines, texts = lines_of(out)
    equal([len(line) for line in lines], [3, 3], "p50 and p99 of three rates")
    check("p99" in texts and "knee" in texts, f"texts: {texts}")
    equal(bench("plot", *runs, "--phase", "mail", "--output", out).returncode, 0, "exit code with a phase")
    check("mail" in lines_of(out)[1], "the title names the phase")
    described = os.path.join(folder, "charts.json")
    with open(described, "w") as f:
        json.dump({"charts": [{"title": "one", "x": "many", "y": "us", "x_log": True, "series": [
            {"label": "a", "points": [[1, 5], [10, 5.5], [100, 5]]}, {"label": "b", "points": [[1, 2], [100, 2]]}]}]}, f)
    equal(bench("plot", "--curves", described, "--output", out).returncode, 0, "exit code of described charts")
    lines, texts = lines_of(out)
    equal([len(line) for line in lines], [3, 2], "points of the described lines")
    check(all(word in texts for word in ("one", "many", "us", "a", "b", "100")), f"texts: {texts}")
    for args, code in (((runs[0], "--sweep"), 1), ((runs[0], "--curves"), 1), ((described, described, "--curves"), 2), ((os.path.join(folder, "none"),), 1), ((out,), 1), ((), 2),
                       ((runs[0], "--nope"), 2), ((runs[0],) * 5, 2)):
        done = bench("plot", *args)
        equal((done.returncode, bool(done.stderr)), (code, True), f"exit code of plot {args}")


def test_bench_plot_of_nothing():
    """What was not measured is not drawn as an empty chart: the file is named, and what it has."""
    folder = work_folder()
    path, out = os.path.join(folder, "a.json"), os.path.join(folder, "out.svg")
    with BenchSink() as sink:
        send(sink.port, "--messages", "5", "--output", path)
    for args, words in ((("--phase", "nonsense"), ("a.json", "phase 'nonsense'", "message")),
                        (("--phase", "starttls"), ("phase 'starttls'", "mail rcpt")),
                        (("--sweep",), ("a.json", "no sweep")), (("--curves",), ("a.json", "no chart"))):
        done = bench("plot", path, *args, "--output", out)
        equal(done.returncode, 1, f"exit code of plot {args}")
        check(all(word in done.stderr for word in words), f"plot {args} said: {done.stderr}")
        check(not os.path.exists(out), f"plot {args} wrote a file")
    done = bench("plot", path, "--sweep", "--phase", "mail")
    equal((done.returncode, "one of --phase" in done.stderr), (2, True), f"plot with two kinds ({done.stderr})")


# Options of send that would have no effect, and what is said of them.
WITHOUT_EFFECT = (
    (("--warmup", "1"), "--warmup needs --time"), (("--sweep", "1-2:2"), "--sweep needs --time"),
    (("--sweep", "1-2:2", "--time", "1", "--messages", "5"), "--sweep goes without --messages"),
    (("--drip", "5"), "--drip needs --hostile"), (("--clients", "10.0.0.0/8"), "--clients needs --proxy"),
    (("--proxy", "off", "--clients", "10.0.0.0/8"), "--clients needs --proxy"),
    (("--tls-version", "1.3"), "--tls-version needs --tls"), (("--tls-resume",), "--tls-resume needs --tls"),
    (("--tls", "off", "--tls-resume"), "need --tls"),
    (("--rate", "5", "--arrivals", "poisson:5"), "--rate goes without --arrivals"),
    (("--think", "5", "--arrivals", "poisson:5"), "--think goes without --arrivals"),
    (("--think", "5", "--sweep", "1-2:2", "--time", "1"), "--think goes without --sweep"),
    (("--folder", ".", "--size", "5"), "--folder goes without --size"),
    (("--pipelining", "full", "--no-pipelining"), "--no-pipelining goes without --pipelining"),
    (("--bdat", "0", "--chunk", "100"), "--bdat is 0"),
    (("--tls", "implicit", "--hostile", "silent"), "--hostile goes without --tls implicit"),
    (("--sessions", "0", "--hostile", "reset:12", "--tls=implicit"), "--hostile goes without --tls implicit"),
    (("--sessions", "0", "--idle", "1", "--messages", "5"), "without sessions"),
    (("--sessions", "0", "--idle", "1", "--arrivals", "poisson:5"), "without sessions"),
    (("--quiet=no",), "--quiet takes no value"), (("--tls-resume=false", "--tls", "starttls"), "--tls-resume takes no value"),
    (("--retry=",), "--retry takes no value"), (("--sessions=",), "--sessions: '' is not a number"),
    (("--sessions", "+5"), "'+5' is not a number"), (("--sessions", "5x"), "'5x' is not a number"),
    (("--sessions", "99999999999999999999"), "is not a number"), (("--seed", "-1"), "'-1' is not a number"),
)


def test_bench_send_options_without_effect():
    """Options that would do nothing beside, or without, others are refused, and so are values of flags."""
    for args, said in WITHOUT_EFFECT:
        done = bench("send", "--to", "127.0.0.1:1", "--from", "s@example.net", "--rcpt", "r@example.org", *args)
        equal((done.returncode, said in done.stderr), (2, True), f"send {args} ({done.stderr})")
    for command, flag in (("sink", "--quiet=no"), ("plot", "--sweep=no")):
        done = bench(command, flag)
        equal((done.returncode, "takes no value" in done.stderr), (2, True), f"{command} {flag} ({done.stderr})")


ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")


def test_bench_manual():
    """The manual page is well-formed and has every option of the help."""
    done = subprocess.run([lib.need_program("groff"), "-mandoc", "-ww", "-Tutf8", "-P-c", os.path.join(ROOT, "docs/ringmx-bench.1")],
                          capture_output=True, text=True)
    equal((done.returncode, done.stderr), (0, ""), "groff")
    manual = re.sub(".\b", "", done.stdout).replace("\u2010", "-").replace("\u2212", "-")
    for command in ("send", "sink", "null", "probe", "verify", "plot", "micro"):
        options = set(re.findall(r"(?<![a-z])--[a-z][a-z-]*", bench(command, "--help").stdout))
        check(len(options) >= 3, f"options in the help of {command}: {options}")
        options -= {"--help"}
        for option in options:
            check(re.search(rf"{option}(?![a-z-])", manual), f"the manual lacks {option} of {command}")


def test_bench_examples():
    """Every command of bench/README.md works as it stands there, with shorter times and free ports."""
    with open(os.path.join(ROOT, "bench/README.md")) as f:
        blocks = re.findall(r"^```sh\n(.*?)^```", f.read(), re.MULTILINE | re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if line.startswith(("ringmx-bench send", "ringmx-bench plot"))]
    check(len(commands) >= 15, f"examples: {commands}")
    folder, http = work_folder(), free_port()
    trusted = {"proxyTrustedNetworks": {"127.0.0.9/32": True}}
    with Server(users=("alice", "bob"), settings=trusted, args=["--http", f"127.0.0.1:{http}"]) as server, BenchSink() as sink:
        places = {"127.0.0.1:2525": f"127.0.0.1:{server.port}", "127.0.0.1:2526": f"127.0.0.1:{sink.port}",
                  "127.0.0.1:8080": f"127.0.0.1:{http}"}
        for command in commands:
            for old, new in places.items():
                command = command.replace(old, new)
            command = re.sub(r"--(time|warmup) \d+", r"--\1 1", command).replace(":12 ", ":3 ")
            command = re.sub(r"--messages \d+", "--messages 20", command)
            done = subprocess.run([os.path.join(lib.BUILD, "ringmx-bench"), *shlex.split(command)[1:]], cwd=folder,
                                  capture_output=True, text=True, timeout=120)
            equal(done.returncode, 0, f"exit code of {command}: {done.stdout[:300]} {done.stderr[-300:]}")
    for name in ("sweep.svg", "ab.svg"):
        lines_of(os.path.join(folder, name))
