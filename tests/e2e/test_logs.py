"""The log's lines: where they go, their formats, and what happens when nobody takes them."""

import fcntl
import json
import os
import signal

from lib import TOLERANT, Fail, Server, check, constant, equal, marked, session_limits, update, wait_until
from test_management import Managed


def strict(line):
    """One line as an object of which no key comes twice."""
    def pairs(items):
        keys = [key for key, _ in items]
        equal(len(set(keys)), len(keys), f"keys of {line}")
        return dict(items)
    try:
        return json.loads(line.decode("utf-8"), object_pairs_hook=pairs)
    except ValueError as e:
        raise Fail(f"{e}: {line}") from None


def events(path, name=None):
    """The events in a JSON log, of all or of one name."""
    with open(path, "rb") as f:
        lines = f.read().split(b"\n")
    equal(lines[-1], b"", "what follows the last line")
    return [e for e in map(strict, lines[:-1]) if name in (None, e["event"])]


def settled(path, name, count):
    wait_until(lambda: open(path, "rb").read().count(b'"event":"' + name.encode() + b'"') >= count, 20, f"{count} {name}")
    return events(path, name)


def again(server):
    """A start of which the log has nothing but lines: the first one also prints the administrator's password."""
    server.stop()
    server.log_path += ".again"
    server.start()


MANY = [update("MtaStageData", maxMessages=constant("100000")), session_limits(maxCommands="1000000")]
MAIL = b"MAIL FROM:<a@example.net>\r\nRCPT TO:<alice@example.org>\r\nBDAT 2 LAST\r\n\r\n"


def burst(w, count):
    """So many messages in one go; their queue ids."""
    w.send(MAIL * count)
    ids = []
    for _ in range(count):
        w.then("250 2.1.0")
        w.then("250 2.1.5")
        ids.append(w.then("250 2.0.0").rsplit(" ", 1)[1])
    return ids


def test_log_json_hostile():
    """Whatever a client says, a line is one JSON object in UTF-8: numbers are numbers, and what looks like one to the
    client stays text. A session in which something was refused has its line."""
    with Server(args=["--log-format", "json", "--log", "debug"], allow_relaying=False, extra=[TOLERANT]) as s:
        again(s)
        sessions = 0
        for hello in (b"\xff\xfe\x80", b'a\x1b[2Jb"c\\d', b'x","level":"error', b"\xc3\xbc.example", b"250", b"\x00"):
            for mail in (b'<"a\\"b\xf0\x9f"@example.net>', b"<\xc3\xbc@example.net> SMTPUTF8"):
                with s.wire(hello=False) as w:
                    w.reply()
                    w.send(b"EHLO " + hello + b"\r\nEHLO c.example\r\nMAIL FROM:" + mail + b"\r\n"
                           b"RCPT TO:<no\xffbody@example.org>\r\nRCPT TO:<x@elsewhere.example>\r\nQUIT\r\n")
                    while w.sock.recv(65536):
                        pass
                    sessions += 1
        with s.wire(hello=False) as w:
            w.reply()
            w.cmd("EHLO 250")
            w.message("alice@example.org", marked())
            w.expect("MAIL FROM:<a@example.net>", "250")
            w.expect("RCPT TO:<nobody@example.org>", "550 5.1.1")
            w.expect("RCPT TO:<x@elsewhere.example>", "550")
            w.expect("QUIT", "221")
        s.delivered()
        line = settled(s.log_path, "received", 1)[0]
        equal((line["helo"], line["recipients"], line["level"]), ("250", 1, "info"), "text and number")
        check(isinstance(line["bytes"], int) and isinstance(line["core"], int) and line["time"].endswith("Z"), str(line))
        wait_until(lambda: [e for e in events(s.log_path, "session-refused") if e.get("helo") == "250"], 10,
                   "the refused session's line")
        refused = events(s.log_path, "session-refused")
        equal(len(refused), sessions + 1, "lines of sessions with a refusal")
        last = [e for e in refused if e.get("helo") == "250"][-1]
        equal((last["command"], last["address"], last["code"], last["refusals"], last["client"]),
              ("RCPT", "nobody@example.org", 550, 2, "127.0.0.1"), "the refused session")


def test_log_rotation_under_load():
    """A log that is renamed and opened anew by SIGHUP, again and again under load: each message has its line, once, in
    one of the files, and no line is torn."""
    with Server(extra=MANY) as s:
        s.stop()
        folder = os.path.join(s.folder, "logs")
        os.mkdir(folder)
        path = os.path.join(folder, "ringmx.log")
        s.log_path = path
        s.args = ["--log-format", "json", "--log-file", path]
        s.start()
        ids, files = [], []
        with s.wire() as w, s.wire() as other:
            for turn in range(20):
                w.send(MAIL * 20)
                old = f"{path}.{turn}"
                os.rename(path, old)
                files.append(old)
                s.signal(signal.SIGHUP)
                ids += burst(other, 20)
                for _ in range(20):
                    w.then("250 2.1.0")
                    w.then("250 2.1.5")
                    ids.append(w.then("250 2.0.0").rsplit(" ", 1)[1])
                wait_until(lambda: os.path.exists(path) and b"log-reopened" in open(path, "rb").read(), 10, "a new file")
        s.delivered(len(ids), seconds=60)
        s.stop()
        equal(os.stat(path).st_mode & 0o777, 0o640, "mode")
        lines = [e for f in [*files, path] for e in events(f)]
        equal(sorted(e["id"] for e in lines if e["event"] == "received"), sorted(ids), "received")
        equal(sorted(e["id"] for e in lines if e["event"] == "delivered"), sorted(ids), "delivered")
        check(not [e for e in lines if "lines-dropped-before" in e], "lines dropped")


def test_log_reopen_fails():
    """A file that cannot be opened anew leaves the old one in use, and that is said there; SIGHUP without a file ends
    nothing."""
    with Server(start=False) as s:
        folder = os.path.join(s.folder, "logs")
        os.mkdir(folder)
        s.log_path = os.path.join(folder, "ringmx.log")
        s.args = ["--log-file", s.log_path]
        s.start()
        moved = s.log_path + ".1"
        os.rename(s.log_path, moved)
        os.mkdir(s.log_path)
        s.signal(signal.SIGHUP)
        wait_until(lambda: "log-not-reopened" in open(moved).read(), 10, "a line about it")
        os.rmdir(s.log_path)
        s.signal(signal.SIGHUP)
        wait_until(lambda: os.path.exists(s.log_path) and "log-reopened" in open(s.log_path).read(), 10, "a new file")
        s.stop()
        s.args = []
        s.start()
        s.signal(signal.SIGHUP)
        wait_until(lambda: "log-reopened" in s.log(), 10, "a line about it")
        s.submit("alice@example.org", marked())
        s.delivered()


def dropped(server):
    return server.api.stats()[0]["log_lines_dropped_total"]


def said(log):
    """Lines that core 0 has dropped, by its log so far."""
    lines = [strict(line) for line in log.split(b"\n")[:-1] if b"lines-dropped-before" in line]
    return sum(e["lines-dropped-before"] for e in lines if e.get("core") == 0)


def test_log_journal():
    """Where standard error is the journal's stream, a line begins with its priority; anywhere else it does not."""
    for journal in (True, False):
        with Server(start=False) as s:
            with open(s.log_path, "ab") as f:
                st = os.fstat(f.fileno())
            s.env = dict(os.environ, JOURNAL_STREAM=f"{st.st_dev}:{st.st_ino + (not journal)}")
            s.start()
            s.submit("alice@example.org")
            s.delivered()
            with s.wire() as w:
                w.expect("MAIL FROM:<a@example.net>", "250")
                w.expect("RCPT TO:<nobody@elsewhere.example>", "550")
            wait_until(lambda: " session-refused " in s.log(), 10, "the session's line")
            s.stop()
            heads = {line.split(" ")[0] if journal else line[0] for line in s.log().splitlines()
                     if any(f" {event} " in line for event in ("received", "delivered", "session-refused"))}
            if journal:
                check(heads and all(head.startswith(("<6>", "<5>", "<4>")) for head in heads), f"{heads}")
            else:
                equal(heads, {"2"}, "a line begins with its time")


def test_log_full_pipe():
    """Standard error is a pipe that nobody reads: mail goes on, what finds no room is counted, and once somebody reads
    the count is in the log, which has no torn line."""
    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    with Managed(cores=1, extra=MANY) as s:
        s.stop()
        s.args += ["--log-format", "json"]
        s.prefix, s.pass_fds = ["bash", "-c", f'exec "$@" 2>&{writer}', "bash"], (writer,)
        got = bytearray()

        def take():
            try:
                while data := os.read(reader, 65536):
                    got.extend(data)
            except BlockingIOError:
                pass
            return bytes(got)

        os.set_blocking(reader, False)
        s.spawn()
        wait_until(lambda: b'"event":"ready"' in take(), 20, "ready")
        with s.wire() as w:
            ids = [i for _ in range(30) for i in burst(w, 50)]
        s.delivered(len(ids), seconds=60)
        lost = wait_until(lambda: dropped(s), 10, "dropped lines in the statistics")
        wait_until(lambda: b'"id":"' + ids[0].encode() + b'"' in take(), 10, "the first message's line")
        check(lost > 0, "nothing was dropped")
        wait_until(lambda: s.submit("alice@example.org") and said(take()) == dropped(s), 20, "their number in the log")
        s.stop()
        os.close(writer)
        check(len([strict(line) for line in take().splitlines()]) > 1000, "lines")
    os.close(reader)


def test_log_full_disk():
    """The log's disk is full: mail goes on, lines are counted, and a file with room has the rest and the count."""
    with Managed(cores=1, extra=MANY) as s:
        s.stop()
        folder = os.path.join(s.folder, "logs")
        os.mkdir(folder)
        path = os.path.join(folder, "ringmx.log")
        s.args += ["--log-format", "json", "--log-file", path]
        s.log_path = path
        os.symlink("/dev/full", path)
        s.spawn()
        wait_until(lambda: answers(s), 20, "a banner")
        with s.wire() as w:
            ids = [i for _ in range(30) for i in burst(w, 50)]
        s.delivered(len(ids), seconds=60)
        lost = wait_until(lambda: dropped(s), 10, "dropped lines in the statistics")
        os.unlink(path)
        s.signal(signal.SIGHUP)
        wait_until(lambda: os.path.exists(path), 10, "a new file")
        settled(path, "log-reopened", 1)
        check(lost > 0, "nothing was dropped")
        wait_until(lambda: s.submit("alice@example.org") and said(open(path, "rb").read()) == dropped(s), 20,
                   "their number in the log")
        s.stop()
        lines = events(path)
        check("ready" in [e["event"] for e in lines] and ids[0] in [e.get("id") for e in lines], "what waited")


def answers(server):
    try:
        with server.wire():
            return True
    except OSError:
        return False
