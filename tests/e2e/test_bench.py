"""ringmx-bench: the sink's misbehaviour, the ledgers, and what verify finds."""

import json
import os
import select
import signal
import subprocess
import sys
import time

import lib
from lib import Fail, Server, Wire, check, equal, free_port, starts, wait_until, work_folder

COUNTS = ("lost", "duplicated", "altered", "unexpected", "reordered")
MARK = b"X-Ringmx-Id: run.1.%d\r\nX-Ringmx-XXH64: %s\r\n"
EMPTY_HASH = b"ef46db3751d8e999"  # XXH64 of nothing
COARSE_S = 0.02  # over the steps of the clock that files are dated by


def bench(*args, seconds=60):
    return subprocess.run([os.path.join(lib.BUILD, "ringmx-bench"), *args], capture_output=True, text=True,
                          timeout=seconds)


class BenchSink:
    """`ringmx-bench sink` on a free port, as a context; `result` is its exit code and output."""

    def __init__(self, *args, faults=(), port=None):
        self.folder, self.port = work_folder(), port or free_port()
        self.ledger = os.path.join(self.folder, "sink.ledger")
        self.command = [os.path.join(lib.BUILD, "ringmx-bench"), "sink", "--listen", f"127.0.0.1:{self.port}",
                        "--quiet", "--ledger", self.ledger, *args, *(w for f in faults for w in ("--fault", f))]
        self.process = self.result = None

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        equal(self.process.stdout.readline(), "sink ready\n", "first line of the sink")
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.process.kill()
            self.process.communicate()
        elif self.result is None:
            self.stop()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=30)
        self.result = (self.process.returncode, out, err)
        return self.result

    def lines(self, kind=None):
        with open(self.ledger) as f:
            words = [line.split() for line in f]
        return [w for w in words if kind in (None, w[0])]

    def send(self, *args, seconds=60):
        """A load on this sink; its exit code, counts and ledger."""
        ledger = os.path.join(self.folder, "sent.ledger")
        done = bench("send", "--to", f"127.0.0.1:{self.port}", "--from", "sender@example.net", "--ledger", ledger,
                     "--json", *args, seconds=seconds)
        check(done.stdout, f"no result: {done.stderr}")
        return done.returncode, json.loads(done.stdout), ledger

    def wire(self, hello="EHLO"):
        wire = Wire(self.port)
        wire.then("220 ", "banner")
        wire.expect(f"{hello} client.example.net", "250-")
        return wire


def verify(*ledgers, maildirs=(), options=()):
    """Exit code, counts and findings."""
    done = bench("verify", *options, *(w for path in ledgers for w in ("--ledger", path)),
                 *(w for path in maildirs for w in ("--maildir", path)))
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def found(counts, **wanted):
    """These findings and no others."""
    equal({name: counts[name] for name in COUNTS}, dict.fromkeys(COUNTS, 0) | wanted, "findings")


def write(name, *lines):
    path = os.path.join(work_folder(), name)
    with open(path, "w") as f:
        f.writelines(line + "\n" for line in lines)
    return path


def copy_line(kind, number, time_us=1000, hash_hex="aa", rcpt="bob@example.org", since=1):
    return f"{kind} {time_us} {since} run.1.{number} {hash_hex} 500 {rcpt}"


SENT = [copy_line("acked", n, 1000 + n) for n in range(1, 6)]
GOT = [copy_line("taken", n, 2000 + n) for n in range(1, 6)]


def judge(got, sent=None, options=(), more=()):
    return verify(write("sent", *(sent or SENT)), write("got", *got, *more), options=options)


def test_bench_verify_finds_nothing_wrong():
    """A run in which everything arrived once is good, and is counted."""
    code, counts, _ = judge(GOT)
    equal((code, counts["good"], counts["acked"], counts["delivered"]), (0, True, 5, 5), "verdict")
    found(counts)


def test_bench_verify_finds_a_lost_copy():
    """An acknowledged copy that is nowhere is lost; one of several recipients is enough."""
    code, counts, said = judge(GOT[:2] + GOT[3:])
    equal(code, 1, "exit code")
    found(counts, lost=1)
    check("LOST: run.1.3 to bob@example.org" in said, f"not named: {said}")
    two = [copy_line("acked", 1), copy_line("acked", 1, rcpt="amy@example.org")]
    code, counts, _ = judge([copy_line("taken", 1)], sent=two)
    equal((code, counts["lost"]), (1, 1), "one of two recipients")


def test_bench_verify_finds_a_duplicated_copy():
    """A copy that comes again is a fault, also when the first one was not acknowledged."""
    code, counts, said = judge(GOT + [copy_line("taken", 2, 9000)])
    equal(code, 1, "exit code")
    found(counts, duplicated=1)
    check("DUPLICATED: run.1.2" in said, f"not named: {said}")
    code, counts, _ = judge([copy_line("taken", 1), copy_line("taken", 1, 2000)], sent=[copy_line("unsure", 1)])
    equal((code, counts["duplicated"], counts["unacked_arrived"]), (1, 1, 1), "not acknowledged")


def test_bench_verify_finds_an_altered_copy():
    """A copy with another hash than was sent."""
    code, counts, said = judge(GOT[:4] + [copy_line("taken", 5, 2005, hash_hex="ab")])
    equal(code, 1, "exit code")
    found(counts, altered=1)
    check("ALTERED: run.1.5" in said, f"not named: {said}")


def test_bench_verify_finds_a_reordered_copy():
    """Another order than on the sender's connection is counted, and is a fault when asked; another
    connection or recipient has its own order."""
    got = [GOT[1], copy_line("taken", 1, 5000), *GOT[2:]]
    code, counts, _ = judge(got)
    equal(code, 0, "exit code")
    found(counts, reordered=1)
    code, counts, _ = judge(got, options=["--ordered"])
    equal((code, counts["reordered"], counts["good"]), (1, 1, False), "with --ordered")
    apart = [copy_line("acked", 1, rcpt="amy@example.org"), copy_line("acked", 2)]
    code, counts, _ = judge([copy_line("taken", 2, 10), copy_line("taken", 1, 20, rcpt="amy@example.org")], sent=apart,
                            options=["--ordered"])
    equal((code, counts["reordered"]), (0, 0), "recipients apart")


def test_bench_verify_finds_what_nobody_sent():
    """An unknown id, another recipient, and a copy that was refused for good."""
    for line in (copy_line("taken", 77, 9000), copy_line("taken", 1, rcpt="eve@example.org")):
        code, counts, _ = judge(GOT + [line])
        equal(code, 1, f"exit code with {line}")
        found(counts, unexpected=1)
    code, counts, _ = judge(GOT, sent=SENT[:4] + [copy_line("refused", 5)])
    equal((code, counts["unexpected"]), (1, 1), "arrived though refused")


def test_bench_verify_excuses():
    """A repeat is allowed after a reply that was lost on order, or when a kill fell between the copy and its
    mark and another connection brought the repeat; nothing else excuses it."""
    silent = [copy_line("silent", 1), copy_line("taken", 1, 2000)]
    code, counts, _ = judge(silent + GOT[1:])
    equal((code, counts["excused_by_lost_reply"], counts["duplicated"]), (0, 1, 0), "lost reply")

    def killed(first_at, first_since, again_since, kill="kill 5000000 5100000"):
        return judge(GOT[1:], more=[copy_line("taken", 1, first_at, since=first_since),
                                    copy_line("taken", 1, 9000000, since=again_since), kill])
    code, counts, _ = killed(4500000, 4000000, 6000000)
    equal((code, counts["excused_by_kill"], counts["excused_age_us"]), (0, 1, 500000), "killed before the mark")
    late = [copy_line("taken", 1, 5500000, since=5400000), copy_line("taken", 1, 5600000, since=4000000)]
    code, counts, _ = judge(GOT[1:], more=[*late, "kill 5000000 5100000"])
    equal((code, counts["excused_by_kill"]), (0, 1), "a slow receiver takes what the dead had sent after the repeat")
    for what, kill, verdict in (("a slow machine", "kill 5000000 5100000 3000000", (0, 1, 0)),
                                ("a machine not as slow as that", "kill 5000000 5100000 2999999", (1, 0, 1)),
                                ("a quick one", "kill 5000000 5100000 1", (1, 0, 1))):
        code, counts, _ = killed(2000000, 1000000, 6000000, kill)
        equal((code, counts["excused_by_kill"], counts["duplicated"]), verdict, what)
    equal(killed(4500000, 4000000, 6000000, "kill 5000000 5100000 1")[0], 0, "the mark of the options is the least")
    for what, first_at, first_since, again_since in (("long before the kill", 2000000, 1000000, 6000000),
                                                     ("the same process", 4500000, 4000000, 4900000),
                                                     ("a copy after the restart", 6500000, 6000000, 8000000)):
        code, counts, _ = killed(first_at, first_since, again_since)
        equal((code, counts["duplicated"], counts["excused_by_kill"]), (1, 1, 0), what)


def test_bench_verify_reads_mailboxes_and_reports():
    """Maildir files count as copies of the recipient in Delivered-To, failure reports as arrivals, and a second
    file is a duplicate."""
    folder = work_folder()
    for name in ("new", "cur"):
        os.mkdir(os.path.join(folder, name))

    def file(name, content):
        with open(os.path.join(folder, name), "wb") as f:
            f.write(content)
    to = b"Return-Path: <s@example.net>\r\nDelivered-To: bob@example.org\r\n"
    file("new/1", to + MARK % (1, EMPTY_HASH))
    file("cur/2:2,S", to + MARK % (2, EMPTY_HASH) + b"altered\r\n")
    file("new/3", b"Delivered-To: s@example.net\r\nContent-Type: multipart/report\r\n\r\n"
         b"Final-Recipient: rfc822; bob@example.org\r\nAction: failed\r\n\r\n" + MARK % (3, EMPTY_HASH))
    file("new/4", b"Delivered-To: s@example.net\r\n\r\nFinal-Recipient: rfc822; bob@example.org\r\n"
         b"Action: delayed\r\n\r\n" + MARK % (4, EMPTY_HASH))
    sent = write("sent", *(copy_line("acked", n, hash_hex=EMPTY_HASH.decode()) for n in range(1, 5)))
    code, counts, _ = verify(sent, maildirs=[folder])
    equal((code, counts["delivered"], counts["bounced"], counts["unmarked"]), (1, 2, 1, 1), "mailbox")
    found(counts, altered=1, lost=1)
    file("cur/1-again", to + MARK % (1, EMPTY_HASH))
    found(verify(sent, maildirs=[folder])[1], altered=1, lost=1, duplicated=1)


def test_bench_verify_knows_when_a_file_got_its_place():
    """By its move, not by its content, which may have waited long for its sync. A file and a relayed copy are one too
    many, unless a kill fell between them, before the mark of the first."""
    folder, now = work_folder(), time.monotonic_ns() // 1000
    for name in ("new", "cur"):
        os.mkdir(os.path.join(folder, name))
    with open(os.path.join(folder, "new/1"), "wb") as f:
        f.write(b"Delivered-To: bob@example.org\r\n" + MARK % (1, EMPTY_HASH))
    os.utime(os.path.join(folder, "new/1"), (time.time() - 3600, time.time() - 3600))
    sent = write("sent", copy_line("acked", 1, now - 1000, hash_hex=EMPTY_HASH.decode()))
    second = 1000000
    for what, kill, again, excused in (("killed after the file", 200000, 300000, True),
                                       ("killed long after it", 5 * second, 6 * second, False),
                                       ("the same process", 400000, 300000, False),
                                       ("killed before it", -400000, 300000, False)):
        got = write("got", copy_line("taken", 1, now + again + 5000, hash_hex=EMPTY_HASH.decode(), since=now + again),
                    f"kill {now + kill} {now + kill + 1000}")
        code, counts, _ = verify(sent, got, maildirs=[folder])
        equal((code, counts["excused_by_kill"], counts["duplicated"]), (0, 1, 0) if excused else (1, 0, 1), what)
    got = write("got", copy_line("taken", 1, now - 300000, hash_hex=EMPTY_HASH.decode(), since=now - 400000),
                f"kill {now - 200000} {now - 190000}")
    code, counts, _ = verify(sent, got, maildirs=[folder])
    equal((code, counts["excused_by_kill"]), (0, 1), "the copy, the kill, the file")


def test_bench_verify_excuses_a_report_after_a_copy():
    """A file, a kill before its mark, the recipient removed, and the next process reports that there is no such
    mailbox: excused; without the kill, or as two files of the recipient, one too many."""
    to = b"Delivered-To: bob@example.org\r\n"
    report = (b"Delivered-To: s@example.net\r\nContent-Type: multipart/report\r\n\r\n"
              b"Final-Recipient: rfc822; bob@example.org\r\nAction: failed\r\n\r\n")
    for what, second, killed, excused in (("a report after the kill", report, True, True),
                                          ("a report without a kill", report, False, False),
                                          ("another copy after the kill", to, True, False)):
        folder = work_folder()
        for name in ("new", "cur"):
            os.mkdir(os.path.join(folder, name))
        for name, head in (("new/1", to), ("new/2", second)):
            with open(os.path.join(folder, name), "wb") as f:
                f.write(head + MARK % (1, EMPTY_HASH))
            if name == "new/1":
                time.sleep(COARSE_S)
                kill = time.monotonic_ns() // 1000
                time.sleep(COARSE_S)
        sent = write("sent", copy_line("acked", 1, hash_hex=EMPTY_HASH.decode()),
                     *[f"kill {kill} {kill + 1000}"] * killed)
        code, counts, _ = verify(sent, maildirs=[folder])
        equal((code, counts["excused_by_kill"], counts["duplicated"]), (0, 1, 0) if excused else (1, 0, 1), what)


def test_bench_verify_refuses_bad_input():
    """A missing file, a line that is no entry, a line that is cut: exit code 2 with the place."""
    for path, wanted in (("/nonexistent", "not found"), (write("bad", SENT[0], "acked x"), "line 2"),
                         (write("bad", SENT[0], "taken 5 5 id zz 5 rcpt"), "line 2"),
                         (write("bad", SENT[0], "kill 5 6 x"), "line 2"), (write("bad", SENT[0], "kill 6 5 1"), "line 2")):
        code, counts, said = verify(path)
        equal((code, counts), (2, None), f"verdict about {path}")
        check(wanted in said, f"{wanted!r} not in {said!r}")
    cut = write("cut", SENT[0])
    os.truncate(cut, os.path.getsize(cut) - 1)
    equal(verify(cut)[0], 2, "exit code for a cut line")


def test_bench_run_through_the_server():
    """Load, server, sink: all copies arrive unaltered in both; then one mailbox file is removed, one altered and
    one copied, and each is found."""
    with BenchSink() as sink, Server(relay=sink.port, users=("alice",)) as server:
        sent = os.path.join(sink.folder, "sent.ledger")
        done = bench("send", "--to", f"127.0.0.1:{server.port}", "--from", "s@example.net", "--rcpt", "alice@example.org",
                     "--rcpt", "Bob@example.org", "--messages", "200", "--sessions", "4", "--size", "3-20000",
                     "--per-connection", "1-30", "--bdat", "50", "--ledger", sent)
        equal(done.returncode, 0, f"exit code of the load ({done.stdout} {done.stderr})")
        box = os.path.join(server.data, "mail/example.org/alice")

        def all_there():
            return verify(sent, sink.ledger, maildirs=[box])[1]["lost"] == 0
        wait_until(all_there, 20, "all copies")
        server.stop()
        code, counts, said = verify(sent, sink.ledger, maildirs=[box])
        equal((code, counts["acked"], counts["delivered"]), (0, 400, 400), f"verdict ({said})")
        files = [os.path.join(box, "new", name) for name in sorted(os.listdir(os.path.join(box, "new")))]
        equal(len(files), 200, "files")
        os.remove(files[0])
        with open(files[1], "r+b") as f:
            f.seek(-3, os.SEEK_END)
            last = f.read(1)
            f.seek(-3, os.SEEK_END)
            f.write(b"!" if last != b"!" else b"?")
        with open(files[2], "rb") as f, open(files[2] + "-again", "wb") as again:
            again.write(f.read())
        code, counts, _ = verify(sent, sink.ledger, maildirs=[box])
        equal(code, 1, "exit code")
        equal({k: counts[k] for k in ("lost", "altered", "duplicated")}, {"lost": 1, "altered": 1, "duplicated": 1},
              "findings")


def test_bench_sink_verifies_at_its_end():
    """sink --expect: one JSON line and the exit code when it is stopped; a ledger that names more is a loss."""
    with BenchSink("--expect", "SENT") as sink:
        pass
    equal(sink.result[0], 2, "exit code without the expected ledger")
    folder = work_folder()
    expected = os.path.join(folder, "sent.ledger")
    for extra, code in (([], 0), ([copy_line("acked", 99)], 1)):  # the second names a copy that was never sent
        with BenchSink("--expect", expected) as sink:
            done = bench("send", "--to", f"127.0.0.1:{sink.port}", "--from", "s@example.net", "--rcpt", "r@example.org",
                         "--messages", "50", "--ledger", expected)
            equal(done.returncode, 0, "exit code of the load")
            if extra:
                with open(expected, "a") as f:
                    f.write(extra[0] + "\n")
            got, out, _ = sink.stop()
        counts = json.loads(out.splitlines()[-1])
        equal((got, counts["lost"]), (code, len(extra)), "verdict of the sink")
        os.remove(expected)


def test_bench_sink_decodes_dots_and_chunks():
    """Dots at line starts, split at every place, and BDAT in chunks: the kept message is exactly what was sent."""
    body = b"Subject: x\r\n\r\n.\r\n..\r\n.a\r\n\r\nb.\r\n.\r\n...\r\nlast"
    folder = work_folder()
    with BenchSink("--dir", folder) as sink:
        stuffed = lib.stuff(body + b"\r\n") + b".\r\n"
        with sink.wire() as wire:
            for cut in range(len(stuffed)):
                wire.begin("r@example.org")
                wire.expect("DATA", "354")
                wire.send(stuffed[:cut])
                if cut % 8 == 0:
                    time.sleep(0.002)  # mostly so that both parts arrive apart; the result must not depend on it
                wire.send(stuffed[cut:])
                wire.then("250", "reply after the data")
            wire.begin("r@example.org")
            wire.send(b"BDAT 5\r\n" + body[:5] + b"BDAT %d LAST\r\n" % (len(body) - 5) + body[5:])
            wire.then("250", "first chunk")
            wire.then("250", "last chunk")
        kept = [open(os.path.join(folder, n), "rb").read() for n in sorted(os.listdir(folder)) if n.endswith(".eml")]
        equal(len(kept), len(stuffed) + 1, "messages")
        equal(set(kept[:-1]), {body + b"\r\n"}, "content by DATA")
        equal(kept[-1], body, "content by BDAT")
        envelope = open(os.path.join(folder, "00000001.env")).read()
        equal(envelope, "from sender@example.net\nto r@example.org\n", "envelope")


def test_bench_sink_lmtp():
    """LMTP: LHLO only, one reply for each recipient, each with its own fate; only those taken are in the ledger."""
    with BenchSink("--lmtp", faults=["eod:552:100%:full@", "eod:4xx:100%:later@", "rcpt:5xx:100%:nobody@"]) as sink:
        with Wire(sink.port) as wire:
            wire.then("220 ", "banner")
            wire.expect("EHLO x", "500")
            wire.expect("LHLO x", "250-")
            wire.expect("MAIL FROM:<s@example.net>", "250")
            for name, code in (("one", "250"), ("full", "250"), ("nobody", "550"), ("later", "250"), ("two", "250")):
                wire.expect(f"RCPT TO:<{name}@example.org>", code)
            wire.expect("DATA", "354")
            wire.send(MARK % (1, EMPTY_HASH) + b".\r\n")
            equal([wire.reply()[:3] for _ in range(4)], ["250", "552", "451", "250"], "replies")
            wire.expect("NOOP", "250")
        equal([(w[3], w[6]) for w in sink.lines("taken")],
              [("run.1.1", "one@example.org"), ("run.1.1", "two@example.org")], "ledger")


def test_bench_sink_lmtp_broken_off():
    """LMTP: a drop in the middle of the replies: the first recipient was taken, the others not."""
    with BenchSink("--lmtp", faults=["eod:drop:100%:two@"]) as sink:
        with sink.wire("LHLO") as wire:
            wire.begin(["one@example.org", "two@example.org", "three@example.org"])
            wire.expect("DATA", "354")
            wire.send(MARK % (1, EMPTY_HASH) + b".\r\n")
            wire.then("250", "first reply")
            wire.at_end()
        equal([(w[0], w[6]) for w in sink.lines()], [("taken", "one@example.org")], "ledger")


def message(wire, to="r@example.org"):
    """Up to the end of the data; the replies have been read."""
    wire.begin(to)
    wire.expect("DATA", "354")
    wire.send(MARK % (1, EMPTY_HASH) + b".\r\n")


# Rule -> what a client does and sees. In front of the command in question everything must be as usual.
COMMAND_LINES = {"ehlo": "EHLO x", "mail": "MAIL FROM:<s@example.net>", "rcpt": "RCPT TO:<r@example.org>",
                 "data": "DATA", "eod": None, "quit": "QUIT"}


def reach(sink, command):
    """A wire on which the command in question has just been sent; wire.began is the time before that."""
    began = time.monotonic()
    wire = Wire(sink.port)
    wire.began = began
    if command in ("connect", "banner"):
        return wire
    wire.then("220 ", "banner")
    for name, line in COMMAND_LINES.items():
        wire.began = time.monotonic()
        if name == "quit" or (name == "eod" and command == "quit"):
            wire.send("QUIT\r\n")
            return wire
        if command == "quit" and name == "data":
            continue
        wire.send((MARK % (1, EMPTY_HASH) + b".\r\n") if name == "eod" else line.encode() + b"\r\n")
        if name == command:
            return wire
        starts(wire.reply(), "354" if name == "data" else "250", f"reply to {name}")
    raise Fail(f"no command {command}")


def test_bench_fault_replies():
    """4xx, 5xx, a code, and 421, which ends the session, for every command."""
    for command in ("banner", *COMMAND_LINES):
        for kind, code in (("4xx", "451 4"), ("5xx", "550 5"), ("452", "452 4"), ("554", "554 5"), ("421", "421 4")):
            with BenchSink(faults=[f"{command}:{kind}"]) as sink:
                with reach(sink, command) as wire:
                    wire.then(code, f"{command}:{kind}")
                    if kind == "421" or command == "banner":
                        wire.at_end()
                    else:
                        wire.expect("NOOP", "250")
                equal(sink.lines(), [], f"ledger with {command}:{kind}")


def test_bench_fault_drop_and_silent():
    """drop closes instead of a reply; silent says nothing more and stays connected; nothing is taken."""
    for command in ("banner", *COMMAND_LINES):
        with BenchSink(faults=[f"{command}:drop"]) as sink:
            with reach(sink, command) as wire:
                wire.at_end()
            equal(sink.lines(), [], f"ledger with {command}:drop")
        with BenchSink(faults=[f"{command}:silent"]) as sink:
            with reach(sink, command) as wire:
                wire.send("NOOP\r\n")
                wire.sock.settimeout(0.3)
                try:
                    raise Fail(f"{command}:silent: got {wire.sock.recv(100)!r}")
                except TimeoutError:
                    pass
            equal(sink.lines(), [], f"ledger with {command}:silent")
    with BenchSink(faults=["connect:drop"]) as sink:
        with Wire(sink.port) as wire:
            wire.at_end()


def test_bench_fault_lost_reply():
    """lost: the message is taken, said to be silent in the ledger, and the connection closed; the next is as usual."""
    with BenchSink(faults=["eod:lost:100%:victim@"]) as sink:
        with sink.wire() as wire:
            message(wire, "victim@example.org")
            wire.at_end()
        with sink.wire() as wire:
            message(wire)
            wire.then("250", "reply to another")
        equal([(w[0], w[6]) for w in sink.lines()], [("silent", "victim@example.org"), ("taken", "r@example.org")],
              "ledger")


def test_bench_fault_delay():
    """delay: the reply comes that much later, never earlier, and then as usual; other sessions do not wait."""
    for command in ("connect", "banner", *COMMAND_LINES):
        with BenchSink(faults=[f"{command}:delay=400"]) as sink:
            with reach(sink, command) as wire:
                usual = {"data": "354", "quit": "221", "connect": "220", "banner": "220"}.get(command, "250")
                starts(wire.reply(), usual, f"reply with {command}:delay")
                took = time.monotonic() - wire.began
                check(took >= 0.4, f"{command}: the reply came after {took:.3f} s")
    with BenchSink(faults=["rcpt:delay=30000:100%:slow@"]) as sink, sink.wire() as slow, sink.wire() as quick:
        slow.expect("MAIL FROM:<s@example.net>", "250")
        slow.send("RCPT TO:<slow@example.org>\r\n")
        message(quick)
        quick.then("250", "reply in the other session")
        check(not select.select([slow.sock], [], [], 0)[0], "the other session waited")


def test_bench_fault_pipelined():
    """In a pipelined batch a delay or refusal keeps the order of the replies."""
    with BenchSink(faults=["rcpt:delay=200:100%:slow@", "rcpt:451:100%:slow@"]) as sink, sink.wire() as wire:
        wire.send("MAIL FROM:<s@example.net>\r\nRCPT TO:<a@example.org>\r\nRCPT TO:<slow@example.org>\r\n"
                  "RCPT TO:<c@example.org>\r\nDATA\r\n")
        equal([wire.reply()[:3] for _ in range(5)], ["250", "250", "451", "250", "354"], "replies")
        wire.send(MARK % (1, EMPTY_HASH) + b".\r\n")
        wire.then("250", "reply after the data")
        equal([w[6] for w in sink.lines()], ["a@example.org", "c@example.org"], "ledger")


def test_bench_fault_share_and_seed():
    """A share hits about so many, the same seed the same ones, another seed others."""
    def refused(seed):
        with BenchSink("--fault-seed", str(seed), faults=["rcpt:4xx:25%"]) as sink:
            code, counts, ledger = sink.send("--rcpt", "r@example.org", "--messages", "2000", "--ids", "run")
            equal(code, 1, "exit code of the load")
            equal(counts["accepted"] + counts["refused"], 2000, "messages")
            with open(ledger) as f:
                unsure = [line.split()[3] for line in f if line.startswith("unsure ")]
            equal(len(unsure), counts["refused"], "unsure copies")
            _, out, _ = sink.stop()
            check(f"fault rcpt:4xx:25%: {len(unsure)}\n" in out, f"count of the sink: {out}")
            equal(verify(ledger, sink.ledger)[0], 0, "verdict")
            return unsure
    first = refused(5)
    check(400 < len(first) < 600, f"{len(first)} of 2000 with 25%")  # 5 sigma
    equal(refused(5), first, "the same seed")
    check(refused(6) != first, "another seed hits the same")


def test_bench_fault_syntax():
    """Rules that make no sense are refused with exit code 2."""
    for rule in ("", "rcpt", "nope:4xx", "rcpt:6xx", "rcpt:399", "rcpt:600", "rcpt:4xx:5", "rcpt:4xx:101%", "rcpt:4xx:x%",
                 "rcpt:4xx:1.00001%", "rcpt:lost", "connect:4xx", "rcpt:delay=", "rcpt:delay=99999999"):
        done = bench("sink", "--listen", "127.0.0.1:1", "--fault", rule)
        equal(done.returncode, 2, f"exit code for {rule!r}")
        check(f"--fault '{rule}'" in done.stderr, f"{rule!r}: {done.stderr[:100]}")
    done = bench("sink", "--listen", "127.0.0.1:1", *(["--fault", "rcpt:4xx"] * 65))
    equal(done.returncode, 2, "exit code for 65 rules")


def test_bench_send_ledger_tells_what_was_not_answered():
    """A connection that breaks before the reply: unsure; 5xx: refused; a server that is not there: exit code 1."""
    with BenchSink(faults=["eod:lost:100%:gone@", "rcpt:5xx:100%:bad@"]) as sink:
        code, counts, ledger = sink.send("--rcpt", "gone@example.org", "--rcpt", "bad@example.org", "--messages", "3",
                                         "--retry")
        equal((code, counts["accepted"], counts["unanswered"]), (1, 0, 3), "result")
        with open(ledger) as f:
            kinds = sorted((line.split()[0], line.split()[6]) for line in f)
        equal(kinds, [("refused", "bad@example.org")] * 3 + [("unsure", "gone@example.org")] * 3, "ledger")
    done = bench("send", "--to", f"127.0.0.1:{free_port()}", "--from", "s@example.net", "--rcpt", "r@example.org")
    equal(done.returncode, 1, "exit code without a server")


def test_bench_send_until_stopped():
    """--messages 0 --retry --rate: sends across restarts of the server until SIGTERM, not faster than told."""
    folder, port = work_folder(), free_port()
    ledger = os.path.join(folder, "sent")
    process = subprocess.Popen([os.path.join(lib.BUILD, "ringmx-bench"), "send", "--to", f"127.0.0.1:{port}", "--from",
                                "s@example.net", "--rcpt", "r@example.org", "--messages", "0", "--retry", "--rate", "100",
                                "--sessions", "4", "--ledger", ledger, "--json"], stdout=subprocess.PIPE, text=True)
    began = time.monotonic()
    try:
        for _ in range(2):
            with BenchSink(port=port) as sink:
                wait_until(lambda: os.path.exists(sink.ledger) and len(sink.lines()) >= 20, 20, "20 messages")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    counts = json.loads(out)
    check(counts["accepted"] >= 40, f"accepted: {counts}")
    most = 100 * (time.monotonic() - began) + 5
    check(counts["begun"] <= most, f"{counts['begun']} begun, at most {most:.0f} in this time")


def test_bench_only_loopback():
    """Other addresses need --allow-remote."""
    for args in (("sink", "--listen", "192.0.2.1:2525"),
                 ("send", "--to", "192.0.2.1:25", "--from", "a@example.net", "--rcpt", "b@example.net")):
        done = bench(*args)
        equal(done.returncode, 2, f"exit code of {args}")
        check("--allow-remote" in done.stderr, f"message of {args}: {done.stderr}")


def test_bench_probe():
    """Times of RCPT and of whole messages; a refusal ends it with an error that says which."""
    with Server() as s:
        to = ("probe", "--to", f"127.0.0.1:{s.port}", "--from", "p@example.net", "--rate", "100", "--seconds", "1")
        for what in ("rcpt", "message"):
            done = bench(*to, "--rcpt", "alice@example.org", "--what", what, "--size", "1000")
            equal(done.returncode, 0, f"exit code for {what} ({done.stderr})")
            times = json.loads(done.stdout)
            equal(times["what"], what, "what was measured")
            check(times["count"] > 0, f"nothing was measured: {times}")
            check(0 < times["p50_ns"] <= times["p99_ns"] <= times["max_ns"], f"times: {times}")
        done = bench(*to, "--rcpt", "nobody@elsewhere.example")
        equal(done.returncode, 1, "exit code when RCPT is refused")
        check("550" in done.stderr, f"the reply is not shown: {done.stderr}")


def quick(script, *args):
    """Runs a benchmark just to see that it runs; the figures."""
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench")
    figures = os.path.join(work_folder(), "figures")
    done = subprocess.run([sys.executable, os.path.join(folder, script), "--build", lib.BUILD, "--quick", "--json", figures, *args],
                          capture_output=True, text=True, timeout=600)
    equal(done.returncode, 0, f"exit code of {script} ({done.stderr[-500:]})")
    with open(figures) as f:
        return json.load(f)


def test_bench_management_latency():
    """The benchmark of management work beside mail runs through; its figures are not judged here."""
    results = quick("management_latency.py")
    equal(len(results), 6, f"kinds of work in {list(results)}")
    for name, [only] in results.items():
        check(only["rcpt"]["count"] > 0 and only["message"]["count"] > 0, f"{name}: nothing was measured")


def test_bench_slow_clients():
    """The benchmark of slow clients beside good ones runs through with few of them; time is not judged here."""
    result = quick("slow_clients.py")
    [only] = result["rounds"]
    equal((result["clients"], set(only["told"])), (400, {"silent", "drip", "slow-reader", "slow-data"}), "slow clients")
    check(only["sessions"] >= 400, f"{only['sessions']} sessions at the end")
    for kind, told in only["told"].items():
        check(told["connections"] >= 100 and told["2xx"] >= 100, f"{kind}: {told}")
    check(only["told"]["slow-data"]["3xx"] == 100, f"content was begun: {only['told']['slow-data']}")


def test_bench_over_limit():
    """The same beside a flood of one client over its limit, which closes nothing: all are refused, the good ones have no errors."""
    [only] = quick("slow_clients.py", "--over-limit", "300")["rounds"]
    check(only["told"]["refused_per_second"] > 0 and only["beside"]["errors"] == 0, f"{only}")


def test_bench_accounts():
    """The benchmark of many accounts runs through with few of them; what memory tables take holds for them too."""
    result = quick("accounts.py")
    equal(result["accounts"], 5000, "accounts")
    for start in result["restarts"]:
        equal(len(start["table_bytes"]), start["cores"], "cores that answered")
        check(all(0 < b <= 40 * 5000 for b in start["table_bytes"]), f"bytes of tables: {start}")


def test_bench_sink_names_what_it_cannot_open():
    """A ledger or folder that cannot be made is named, and a port that is taken."""
    port = free_port()
    for args in (("--ledger", "/nonexistent/x"), ("--dir", "/proc/x")):
        done = bench("sink", "--listen", f"127.0.0.1:{port}", *args)
        equal((done.returncode, done.stderr.startswith(f"ringmx-bench: {args[1]}: ")), (1, True), f"{args}: {done.stderr}")


def test_bench_micro():
    """Every operation that is listed runs, asserts what it does, and is measured."""
    listed = bench("micro", "--list").stdout.splitlines()
    names = {line.split()[0] for line in listed if "only when named" not in line}
    check(len(names) >= 30 and len(listed) > len(names), f"operations: {listed}")
    done = bench("micro", "--time", "1", "--json")
    equal((done.returncode, done.stderr), (0, ""), "exit code")
    measured = json.loads(done.stdout)["micro"]
    equal(set(measured), names, "measured")
    for name, m in measured.items():
        check(0 < m["fastestNs"] <= m["ns"] < 1e9, f"{name}: {m}")
    equal(bench("micro", "--once", "pool", "wheel-*").stdout.split()[::2], ["wheel-rearm", "wheel-cancel", "wheel-fire", "wheel-wait", "pool"],
          "those that are named")
    equal(bench("micro", "no-such-thing").returncode, 2, "one that is not there")
