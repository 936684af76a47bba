"""A start with a queue of an earlier process: mail is accepted while it is read; it is delivered, once,
whatever ends the process meanwhile."""

import os
import subprocess
import signal
import threading

import lib
from lib import Server, check, equal, marked, split_local, wait_until

OLD = 300  # messages


class Held:
    """A server whose starts read nothing of the old queue until `go`."""

    def __init__(self, server):
        self.server = server
        self.file = os.path.join(server.folder, "hold-reads")

    def start(self, cores=None, delivery=True):
        with open(self.file, "w"):
            pass
        self.server.args = [] if delivery else ["--delivery=off"]
        env = dict(os.environ, HOLD_READS=self.file,
                   LD_PRELOAD=os.path.join(lib.BUILD, "tests", "hold_reads.so"),
                   ASAN_OPTIONS="verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", ""))
        self.server.start(cores, env=env)
        wait_until(lambda: "queue-indexing" in self.server.log(), 10, "the beginning of the indexing")

    def go(self):
        os.remove(self.file)

    def recovered(self):
        """The number of messages of the line that says so."""
        line = wait_until(lambda: next((x for x in self.server.log().splitlines()
                                        if " queue-recovered " in x), None), 30, "queue-recovered")
        return int(line.split(" messages=")[1].split(" ")[0])


def fill(server, count=OLD):
    """Queues so many messages over several sessions; returns the queue ids and the contents."""
    contents, idents, lock = [marked() for _ in range(count)], [], threading.Lock()

    def session(mine):
        with server.wire() as w:
            for content in mine:
                ident = w.message("alice@example.org", content)
                with lock:
                    idents.append(ident)
    threads = [threading.Thread(target=session, args=(contents[i::6],)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(len(set(idents)), count, "different queue ids")
    return idents, contents


def old_queue(cores=2, **fields):
    """A stopped server with a queue."""
    server = Server(cores=cores, args=["--delivery=off"], **fields)
    idents, contents = fill(server)
    server.stop()
    return server, idents, contents


def bodies(server):
    return sorted(split_local(m)[3] for m in server.mailbox())


def test_mail_is_accepted_during_recovery():
    """New mail is taken and delivered while the old queue is not read yet; ids do not repeat."""
    server, idents, contents = old_queue()
    with server:
        held = Held(server)
        held.start()
        fresh = [marked() for _ in range(20)]
        new = [server.submit("alice@example.org", content) for content in fresh]
        equal(bodies(server.delivered(20) and server), sorted(fresh), "what is delivered at first")
        check(not set(new) & set(idents), "a queue id came twice")
        check("queue-indexed" not in server.log(), "the old queue was read too early")
        held.go()
        equal(held.recovered(), OLD, "messages recovered")
        server.delivered(OLD + 20, seconds=30)
        equal(bodies(server), sorted(contents + fresh), "all that was accepted, once")
        server.stop()
        equal(server.queue().strip(), "0 messages", "the queue at the end")


def test_kill_during_recovery():
    """Killed while the old queue is read, twice, with other numbers of cores: nothing is lost."""
    server, _, contents = old_queue()
    with server:
        held = Held(server)
        for cores in (3, 1):
            held.start(cores, delivery=False)
            contents += fill(server, 30)[1]
            server.kill()
            held.go()
        held.start(2)
        held.go()
        equal(held.recovered(), len(contents), "messages recovered")
        server.delivered(len(contents), seconds=30)
        equal(bodies(server), sorted(contents), "all that was accepted, once")


def test_kills_in_a_row():
    """Killed again and again as soon as it is ready, with the old queue unread: the journal stays as large as it was."""
    server, _, contents = old_queue()
    kills = int(os.environ.get("RECOVERY_KILLS", "12"))
    with server:
        held, sizes = Held(server), []
        for _ in range(kills):
            held.start(delivery=False)
            server.kill()
            journal = os.path.join(server.data, "journal")
            sizes.append(sorted((f"{folder}/{name}", os.path.getsize(os.path.join(journal, folder, name)))
                                for folder in os.listdir(journal) if folder.startswith("set-")
                                for name in os.listdir(os.path.join(journal, folder)) if name.endswith(".seg")))
        equal(len(sizes[-1]), len(sizes[1]), f"segments after {kills} kills")
        held.start(2)
        held.go()
        equal(held.recovered(), len(contents), "messages recovered")
        server.delivered(len(contents), seconds=30)
        equal(bodies(server), sorted(contents), "all that was accepted, once")


def end_during_recovery(cores):
    server, idents, contents = old_queue(cores)
    with server:
        held = Held(server)
        held.start(delivery=False)
        contents += fill(server, 30)[1]
        server.signal(signal.SIGTERM)
        wait_until(lambda: " stopping " in server.log(), 10, "the log line 'stopping'")
        held.go()
        equal(server.ended(), 0, "exit code after SIGTERM")
        check("queue-not-indexed" in server.log(), server.log()[-400:])
        check("queue-recovered" not in server.log(), "it went on to the end")
        listed = server.queue()
        for ident in idents:
            check(ident in listed, f"{ident} is not in the queue")
        server.args = []
        server.start()
        server.delivered(len(contents), seconds=30)
        equal(bodies(server), sorted(contents), "all that was accepted, once")


def test_sigterm_during_recovery():
    """An orderly end while the old queue is read: the reading stops, exit code 0, nothing is lost."""
    end_during_recovery(2)


def test_sigterm_during_the_last_segment():
    """The same while the only segment with something in it is read: it still does not go on."""
    end_during_recovery(1)


def test_second_signal_during_recovery():
    """Two signals end the process at once, also while a read hangs."""
    server, _, contents = old_queue()
    with server:
        held = Held(server)
        held.start(delivery=False)
        server.signal(signal.SIGTERM)
        wait_until(lambda: " stopping " in server.log(), 10, "the log line 'stopping'")
        server.signal(signal.SIGINT)
        equal(server.ended(), 1, "exit code after two signals")
        held.go()
        server.args = []
        server.start()
        server.delivered(len(contents), seconds=30)
        equal(bodies(server), sorted(contents), "all that was accepted, once")


def test_rotten_version_is_not_a_newer_one():
    """Rot in the version of a segment's header is said; the start goes on, and nothing is lost."""
    server, _, contents = old_queue(cores=1)
    with server:
        folder = os.path.join(server.data, "journal", "set-0000")
        path = next(os.path.join(folder, n) for n in sorted(os.listdir(folder)) if n.endswith(".seg"))
        with open(path, "r+b") as f:
            f.seek(8)
            f.write(b"\xff\x00")
        server.args = []
        server.start()
        check("journal-damaged" in server.log(), server.log()[-400:])
        server.delivered(len(contents), seconds=30)
        equal(bodies(server), sorted(contents), "all that was accepted, once")


def test_older_journal_is_read():
    """Segments whose headers say an earlier version are read; what is written says this one."""
    server, _, contents = old_queue(cores=1)
    with server:
        folder = os.path.join(server.data, "journal", "set-0000")
        paths = [os.path.join(folder, n) for n in sorted(os.listdir(folder)) if n.endswith(".seg")]

        def version(path):
            with open(path, "rb") as f:
                head = f.read(10)
            return int.from_bytes(head[8:], "little") if head[:8] == b"RRMXSEG1" else None
        present = version(paths[0])
        check(present > 1, f"version {present}")
        tool = os.path.join(lib.BUILD, "tests", "newer_segment")
        for path in paths:
            if version(path):
                equal(subprocess.run([tool, path, str(present - 1)], timeout=60).returncode, 0, "exit code of newer_segment")
        server.args = []
        server.start()
        server.delivered(len(contents), seconds=30)
        equal(bodies(server), sorted(contents), "all that was accepted, once")
        check(present in [version(p) for p in paths], "nothing was written in this version")


def test_newer_journal_is_refused_at_once():
    """A segment of a newer version ends the start before mail is accepted; nothing is changed."""
    server, _, contents = old_queue(cores=1)
    with server:
        folder = os.path.join(server.data, "journal", "set-0000")
        path = next(os.path.join(folder, n) for n in sorted(os.listdir(folder)) if n.endswith(".seg"))
        with open(path, "rb") as f:
            old = f.read(4096)
        tool = os.path.join(lib.BUILD, "tests", "newer_segment")
        equal(subprocess.run([tool, path, "255"], timeout=60).returncode, 0, "exit code of newer_segment")
        server.spawn()
        equal(server.ended(), 1, "exit code")
        check("journal-too-new" in server.log(), server.log()[-400:])
        check(" ready " not in server.log(), "it was ready")
        with open(path, "r+b") as f:
            f.write(old)
        server.args = []
        server.start()
        server.delivered(len(contents), seconds=30)
        equal(bodies(server), sorted(contents), "all that was accepted, once")


def test_first_start_has_nothing_to_index():
    """Without an old queue there is one line, its end; no progress of no segments."""
    with Server() as server:
        line = wait_until(lambda: next((x for x in server.log().splitlines() if " queue-indexed " in x), None), 60,
                          "queue-indexed")
        check(" messages=0 " in line and " segments=0 " in line, line)
        check("queue-indexing" not in server.log(), server.log())
