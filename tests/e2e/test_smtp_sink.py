"""Debian's smtp-sink as a next hop that misbehaves: each of its options, and exactly what becomes of the mail."""

import collections
import contextlib
import os
import re
import shlex
import socket
import subprocess
import time

from lib import (Server, check, equal, free_port, marked, postfix_program, relay_route, split_received, stuff, update, wait_until,
                 work_folder)
from reports import bounces, status_fields
from test_false_ends import in_crlf, stop
from test_management import Managed
from test_queue_api import get
from test_strategies import connection_strategy

SOFT = "450 4.3.0 Error: command failed"
HARD = "500 5.3.0 Error: command failed"
GONE = "421 4.0.0 Server closing connection"
LOST = "connection closed"
SHORT_MS = 500  # what connections have for each step where a case says so


class SmtpSink:
    """The program with some options; every message that it has taken is a file."""

    def __init__(self):
        self.program, self.environment = postfix_program("smtp-sink")
        self.port, self.process = free_port(), None
        self.folder = work_folder()
        os.chmod(self.folder, 0o777)

    def start(self, *options):
        user = ["-u", "nobody"] if os.getuid() == 0 else []
        self.process = subprocess.Popen([self.program, *user, *options, "-d", os.path.join(self.folder, "m."),
                                         f"127.0.0.1:{self.port}", "100"], env=self.environment, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listening(self):
        def up():
            check(self.process.poll() is None, f"smtp-sink ended with {self.process.returncode}")
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", self.port)) == 0
        wait_until(up, 10, "smtp-sink listens")

    def stop(self):
        if self.process is not None:
            stop(self.process)
        self.process = None

    def messages(self):
        """(its own header, content) of each copy that it has."""
        found = []
        for name in sorted(os.listdir(self.folder)):
            with open(os.path.join(self.folder, name), "rb") as f:
                text = in_crlf(f.read())
            ours = text.find(b"\r\nReceived: from client.example.net")
            if ours >= 0 and text.endswith(b"\r\n\r\n"):  # whole
                found.append((text[:ours], split_received(text[ours + 2:-2])[1]))
        return found


# What smtp-sink is told to do, and what is to come of a message: its outcome, and how the reply that is kept begins, or what is in
# the reason that stands in its place.
Case = collections.namedtuple("Case", "options outcome reply protocol short body")


def case(options, outcome="delivered", reply="250 2.0.0", protocol="smtp", short=False, body=None):
    return Case(shlex.split(options), outcome, reply, protocol, short, body)


BIG = b"Subject: big\r\n\r\n" + b"0123456789" * 7 + b"\r\n" + (b"x" * 70 + b"\r\n") * 60000
UTF8 = "Subject: grün\r\n\r\nü\r\n".encode()
TIMEOUT = "timed out"
CASES = [
    # What is offered, or not.
    case(""), case("-4"), case("-8"), case("-8", body=UTF8), case("-a"), case("-c"), case("-C"), case("-e"), case("-E"), case("-F"),
    case("-N"), case("-p"), case("-P"), case("-v"), case("-h hop.example.net"), case("-S start\\n"),
    case("-8 -a -C -E -F -N -p"), case("-L", reply="250 2.2.0", protocol="lmtp"), case("-L -p", reply="250 2.2.0", protocol="lmtp"),
    case("-t 1"), case("-T 1000", body=BIG), case("-H 1", body=BIG),
    # 5xx. A host is never refused for good by its greeting.
    case("-f CONNECT", "deferred", HARD), case("-f EHLO"), case("-f EHLO,HELO", "deferred", HARD),
    case("-f MAIL", "failed", HARD), case("-f RCPT", "failed", HARD), case("-f DATA", "failed", HARD), case("-f .", "failed", HARD),
    case("-f RSET"), case("-f QUIT"), case("-f VRFY,NOOP"), case("-f RSET,RCPT", "failed", HARD),
    case("-L -f LHLO", "deferred", HARD, protocol="lmtp"), case("-L -f MAIL", "failed", HARD, protocol="lmtp"),
    case("-L -f RCPT", "failed", HARD, protocol="lmtp"), case("-L -f DATA", "failed", HARD, protocol="lmtp"),
    case("-L -f .", "failed", HARD, protocol="lmtp"),
    # 4xx
    case("-r CONNECT", "deferred", SOFT), case("-r EHLO", "deferred", SOFT), case("-r MAIL", "deferred", SOFT),
    case("-r RCPT", "deferred", SOFT), case("-r DATA", "deferred", SOFT), case("-r .", "deferred", SOFT), case("-r RSET"),
    case("-r QUIT"), case("-r RCPT -f RSET", "deferred", SOFT), case("-r DATA -r RSET", "deferred", SOFT),
    case("-L -r LHLO", "deferred", SOFT, protocol="lmtp"), case("-L -r MAIL", "deferred", SOFT, protocol="lmtp"),
    case("-L -r RCPT", "deferred", SOFT, protocol="lmtp"), case("-L -r DATA", "deferred", SOFT, protocol="lmtp"),
    case("-L -r .", "deferred", SOFT, protocol="lmtp"),
    # What it says instead.
    case("-r RCPT -b '452 4.2.2 Mailbox is full, says the sink'", "deferred", "452 4.2.2 Mailbox is full, says the sink"),
    case("-f . -B '554 5.7.1 Not \"wanted\" at 100 %, (here)'", "failed", '554 5.7.1 Not "wanted" at 100 %, (here)'),
    # It goes without a word.
    case("-q CONNECT", "deferred", LOST), case("-q EHLO", "deferred", LOST), case("-q MAIL", "deferred", LOST),
    case("-q RCPT", "deferred", LOST), case("-q DATA", "deferred", LOST), case("-q .", "deferred", LOST), case("-q QUIT"),
    case("-r RCPT -q RSET", "deferred", SOFT), case("-L -q LHLO", "deferred", LOST, protocol="lmtp"),
    case("-L -q RCPT", "deferred", LOST, protocol="lmtp"), case("-L -q .", "deferred", LOST, protocol="lmtp"),
    # It goes with 421.
    case("-Q CONNECT", "deferred", GONE), case("-Q EHLO", "deferred", GONE), case("-Q MAIL", "deferred", GONE),
    case("-Q RCPT", "deferred", GONE), case("-Q DATA", "deferred", GONE), case("-Q .", "deferred", GONE), case("-Q QUIT"),
    case("-r RCPT -Q RSET", "deferred", SOFT), case("-L -Q LHLO", "deferred", GONE, protocol="lmtp"),
    case("-L -Q .", "deferred", GONE, protocol="lmtp"),
    # It speaks before the end of the content, and listens no more.
    case("-A 0", "failed", "550 This violates SMTP"), case("-A 0", "failed", "550 This violates SMTP", body=BIG),
    # Slow, but not too slow; and slower than is waited for. Without PIPELINING: it answers what comes meanwhile out of order.
    case("-w 1"), case("-p -W EHLO:1"), case("-p -W MAIL:1"), case("-p -W RCPT:1"), case("-p -W DATA:1"), case("-p -W .:1"), case("-p -W QUIT:1"),
    case("-p -W RCPT:1:1"), case("-A 1", "failed", "550 This violates SMTP"), case("-L -p -W .:1", reply="250 2.2.0", protocol="lmtp"),
    case("-w 3", "deferred", TIMEOUT, short=True), case("-p -W CONNECT:3", "deferred", TIMEOUT, short=True),
    case("-p -W EHLO:3", "deferred", TIMEOUT, short=True), case("-p -W MAIL:3", "deferred", TIMEOUT, short=True),
    case("-p -W RCPT:3", "deferred", TIMEOUT, short=True), case("-p -W DATA:3", "deferred", TIMEOUT, short=True),
    case("-p -W .:3", "deferred", TIMEOUT, short=True), case("-H 3 -T 2000", "deferred", TIMEOUT, short=True, body=BIG),
    case("-L -p -W .:3", "deferred", TIMEOUT, short=True, protocol="lmtp"), case("-p -W QUIT:3", short=True),
]

# -d is how it is looked into; the others have nothing to do with SMTP, or tests of their own below.
LEFT_OUT = {"6", "d", "D", "m", "M", "n", "R", "s", "u"}


def check_options():
    """What it can be told is in the cases."""
    program, environment = postfix_program("smtp-sink")
    usage = subprocess.run([program, "-?"], env=environment, capture_output=True, text=True).stderr
    known = set("".join(re.findall(r"\[-(\w+)[\] ]", usage)))
    check(len(known) > 20, f"its usage: {usage}")
    equal(known - {o[1] for c in CASES for o in c.options if o[0] == "-"} - LEFT_OUT, set(), "options without a case")


def shown(case):
    return " ".join([*case.options, *(["(short times)"] * case.short), *(["(large)"] * (case.body == BIG))]) or "no options"


def has_reply(case, code, text):
    if case.reply == LOST:
        return code == "" and re.search("closed by|reset", text) is not None
    return code == "" and TIMEOUT in text if case.reply == TIMEOUT else f"{code} {text}".startswith(case.reply)


def with_a_reply(case, tries):
    """A sink that goes with content unread resets the connection, and what it said last may be lost with it: such an attempt is
    made again."""
    overtaken = [t for t in tries if "-A" in case.options and t[0] == "deferred" and t[1] == "" and re.search("closed by|reset", t[2])]
    return [t for t in tries if t not in overtaken]


def attempts(s):
    """{recipient: [(outcome, code, text), ...]} of the log."""
    found = collections.defaultdict(list)
    for outcome, to, code, text in re.findall(
            r' (delivered|failed|deferred) id=\S+ to=(\S+) route=(?!local).*?(?: code=(\d+))? reply="((?:[^"\\]|\\.)*)"', s.log()):
        found[to].append((outcome, code, re.sub(r"\\x(..)", lambda m: chr(int(m[1], 16)), text)))
    return found


def all_have(s, rcpts, enough, what, seconds=20):
    """Waits until each recipient's attempts are enough; returns all."""
    end = time.monotonic() + seconds
    while True:
        found = attempts(s)
        missing = {rcpt: found[rcpt] for rcpt in rcpts if not enough(found[rcpt])}
        if not missing:
            return found
        check(time.monotonic() < end, f"not within {seconds} s: {what}; missing: {missing}")
        time.sleep(0.05)


def rcpts_of(number):
    return [f"{number}{which}@example.org" for which in "ab"]


def plan_of(cases, ports):
    """A route for each sink, and a connection strategy for those that are not waited for."""
    def choose(value, numbers):
        return {str(k): {"if": f"starts_with(rcpt, '{n}a@') || starts_with(rcpt, '{n}b@')", "then": value(n)}
                for k, n in enumerate(numbers)}
    routes = [relay_route(port, f"sink{n}", protocol=c.protocol) for n, (c, port) in enumerate(zip(cases, ports))]
    times = {name: SHORT_MS for name in ("greetingTimeout", "ehloTimeout", "mailFromTimeout", "rcptToTimeout", "dataTimeout")}
    short = [n for n, c in enumerate(cases) if c.short]
    return [*routes, connection_strategy("short", **times),
            update("MtaOutboundStrategy", route={"match": choose(lambda n: f"'sink{n}'", range(len(cases))), "else": "'local'"},
                   connection={"match": choose(lambda n: "'short'", short), "else": "'default'"})]


def submit_to(s, number, body):
    with s.wire() as w:
        w.begin(rcpts_of(number), "alice@example.org", " RET=HDRS")
        w.expect("DATA", "354")
        w.send(stuff(body) + b".\r\n")
        w.then("250 2.0.0")


def check_copies(case, number, sink, bodies, least, most):
    """What the sink has: each message for both recipients, byte for byte, so many times in all."""
    copies = sink.messages()
    check(least <= len(copies) <= most, f"{shown(case)}: {len(copies)} copies, expected {least} to {most}")
    for header, content in copies:
        check(content in bodies, f"{shown(case)}: content {content[:200]}")
        for rcpt in rcpts_of(number):
            check(f"X-Rcpt-Args: <{rcpt}>".encode() in header, f"{shown(case)}: {header}")
    equal({content for _, content in copies}, set(bodies) if most > 0 and least > 0 else {c for _, c in copies}, shown(case))


def check_reports(s, failed):
    """One report for each message that failed, about both recipients, with the sink's reply."""
    told = {}
    for dsn in bounces(s, len(failed)):
        groups = status_fields(dsn)[1]
        equal({g["Action"] for g in groups}, {"failed"}, "actions")
        who = sorted(g["Final-Recipient"].split(";")[1].strip() for g in groups)
        told[tuple(who)] = {re.sub(r"\s+", " ", g["Diagnostic-Code"]) for g in groups}
    equal(set(told), {tuple(rcpts_of(n)) for n in failed}, "messages that are reported")
    for n, case in failed.items():
        equal(told[tuple(rcpts_of(n))], {f"smtp;{case.reply}"}, f"{shown(case)}: Diagnostic-Code")


def test_smtp_sink_every_option():
    """Each option of smtp-sink, alone and with others: exactly this outcome for both recipients of a message, the reply kept in the
    log, the queue and the report; what was put off is delivered once when the sink behaves."""
    check_options()
    with contextlib.ExitStack() as stack:
        sinks = [SmtpSink() for _ in CASES]
        stack.callback(lambda: [sink.stop() for sink in sinks])
        for c, sink in zip(CASES, sinks):
            sink.start(*c.options)
        for sink in sinks:
            sink.listening()
        s = stack.enter_context(Managed(retry_ms=600, extra=plan_of(CASES, [sink.port for sink in sinks])))
        everybody = [rcpt for n in range(len(CASES)) for rcpt in rcpts_of(n)]
        bodies = [[c.body or marked()] for c in CASES]
        began = time.monotonic()
        for n, body in enumerate(bodies):
            submit_to(s, n, body[0])
        all_have(s, everybody, bool, "a first outcome for everybody")
        of = {outcome: {n: c for n, c in enumerate(CASES) if c.outcome == outcome} for outcome in ("delivered", "failed", "deferred")}
        put_off = [rcpt for n in of["deferred"] for rcpt in rcpts_of(n)]
        all_have(s, [rcpt for n in of["failed"] for rcpt in rcpts_of(n)], lambda tries: tries and tries[-1][0] == "failed", "a refusal")
        found = all_have(s, put_off, lambda tries: len(tries) >= 2, "a second attempt of what was put off")
        for n, c in enumerate(CASES):
            for rcpt in rcpts_of(n):
                found[rcpt] = with_a_reply(c, found[rcpt])
                equal({outcome for outcome, _, _ in found[rcpt]}, {c.outcome}, f"{shown(c)}: outcomes {found[rcpt]}")
                check(all(has_reply(c, code, text) for _, code, text in found[rcpt]), f"{shown(c)}: replies {found[rcpt]}")
        messages = get(s)["list"]
        equal(sorted(rcpt for m in messages for rcpt in m["recipients"]), sorted(put_off), "who is queued")
        for rcpt, fields in ((rcpt, fields) for m in messages for rcpt, fields in m["recipients"].items()):
            c = CASES[int(rcpt.split("@")[0][:-1])]
            for a in fields["attempts"].values():
                equal(a["result"], "deferred", f"{shown(c)}: history")
                equal(a["host"] or "[127.0.0.1]" * (not a.get("responseCode")), "[127.0.0.1]", f"{shown(c)}: whose reply {a}")
                check(has_reply(c, str(a.get("responseCode") or ""), a["responseMessage"]), f"{shown(c)}: history {a}")
        check_reports(s, of["failed"])

        for n, c in of["deferred"].items():
            sinks[n].stop()
            sinks[n].start(*(["-L"] if c.protocol == "lmtp" else []))
        found = all_have(s, put_off, lambda tries: tries[-1][0] == "delivered", "what was put off is delivered")
        for n in of["delivered"]:  # over connections that were kept, and may be gone
            bodies[n].append(marked("again"))
        wait_until(lambda: time.monotonic() > began + 2, 5, "idle connections to -t 1 have ended")
        for n in of["delivered"]:
            submit_to(s, n, bodies[n][1])
        again = [rcpt for n in of["delivered"] for rcpt in rcpts_of(n)]
        found = all_have(s, again, lambda tries: len(tries) >= 2, "further messages are delivered")
        for n, c in enumerate(CASES):
            tries = found[rcpts_of(n)[0]]
            at_end = any(o[:1] == "." or ",." in o for o in c.options)
            before = len(tries) if c.outcome == "failed" else len(tries) - 1 if c.outcome == "deferred" else 0
            good = len(bodies[n]) if c.outcome != "failed" else 0
            equal([o for o, _, _ in tries].count("delivered"), good, f"{shown(c)}: deliveries")
            check_copies(c, n, sinks[n], bodies[n], good, good + (before if at_end else 0))
        check_reports(s, of["failed"])
        s.stop()
        equal(s.queue().strip(), "0 messages", "queue")


def test_smtp_sink_that_ends():
    """smtp-sink that ends after some messages (-M) or sessions (-n), again and again, and that takes one connection at a time (-m):
    every message is there, and twice at most where its reply was lost with the process."""
    for options in (["-M", "7"], ["-n", "2"], ["-m", "1"]):
        sink, bodies = SmtpSink(), [marked(" ".join(options)) for _ in range(30)]
        with contextlib.ExitStack() as stack:
            stack.callback(sink.stop)
            sink.start(*options)
            s = stack.enter_context(Server(relay=sink.port, retry_ms=200, cores=1))
            with s.wire() as w:
                for body in bodies:
                    w.message("bob@example.org", body)

            def all_out():
                if sink.process.poll() is not None:
                    sink.start(*options)
                return s.log().count(" delivered ") >= len(bodies)
            wait_until(all_out, 30, f"all delivered with {options}")
            lost = [a for tries in attempts(s).values() for a in tries if a[0] == "deferred" and re.search("closed by|reset", a[2])]
            copies = [content for _, content in sink.messages()]
            equal(set(copies), set(bodies), f"messages with {options}")
            check(len(copies) <= len(bodies) + len(lost), f"{options}: {len(copies)} copies, {len(lost)} lost replies")
            equal(s.log().count(" delivered "), len(bodies), "deliveries")
            s.stop()
            equal(s.queue().strip(), "0 messages", "queue")
