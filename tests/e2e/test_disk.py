"""A full disk: refusals that can be tried again, nothing lost, recovery by itself."""

import os
import subprocess
import time

from lib import (Server, Sink, Skip, check, equal, marked, need_program, split_local, split_received,
                 starts, wait_until, work_folder)

MIB = 1 << 20


class SmallDisk:
    """A tmpfs of so many MiB."""

    def __init__(self, mib):
        self.path = os.path.join(work_folder(), "disk")
        os.mkdir(self.path)
        if os.getuid() != 0:
            raise Skip("mounting a tmpfs needs root")
        done = subprocess.run([need_program("mount"), "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs",
                               self.path], capture_output=True, text=True)
        if done.returncode != 0:
            raise Skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
        self.filler = os.path.join(self.path, "filler")

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        subprocess.run([need_program("umount"), "-l", self.path], check=False)

    def free(self):
        stat = os.statvfs(self.path)
        return stat.f_bavail * stat.f_frsize

    def fill(self, leave=0):
        with open(self.filler, "ab") as f:
            while self.free() > leave:
                try:
                    f.write(bytes(min(MIB, self.free() - leave)))
                    f.flush()
                except OSError:
                    return

    def release(self):
        os.remove(self.filler)


def send_until_full(server, body, to, limit):
    """Sends until a 452; returns (accepted queue ids, the reply)."""
    idents = []
    with server.wire(seconds=60) as w:
        while len(idents) < limit:
            reply = w.cmd("MAIL FROM:<sender@example.net>")
            if not reply.startswith("250"):
                return idents, reply
            w.expect(f"RCPT TO:<{to}>", "250")
            reply = w.cmd("DATA")
            if not reply.startswith("354"):
                return idents, reply
            w.send(body + b".\r\n")
            reply = w.reply()
            if not reply.startswith("250"):
                return idents, reply
            idents.append(reply.rsplit(" ", 1)[1])
    return idents, "250"


def test_disk_full():
    """452 4.3.1 when the journal cannot grow; accepted mail is safe; accepting resumes by itself."""
    body = b"Subject: fill\r\n\r\n" + (b"x" * 70 + b"\r\n") * 3000
    sink = Sink(start=False)
    with SmallDisk(160) as disk, Server(data=disk.path, relay=sink.port, cores=1,
                                        retry_ms=1000) as s:
        accepted, reply = send_until_full(s, body, "bob@example.org", 2000)
        starts(reply, "452 4.3.1", "reply on a full disk")
        check(len(accepted) >= 10, f"only {len(accepted)} accepted")
        # The session and the server go on; a small message may or may not fit.
        with s.wire() as w:
            w.expect("NOOP", "250")
            again = w.cmd("MAIL FROM:<sender@example.net> SIZE=10000000")
            starts(again, "452 4.3.1", "MAIL with SIZE on a full disk")
        with sink:
            sink.start()
            wait_until(lambda: len(sink.messages) >= len(accepted), 60,
                       f"{len(accepted)} accepted messages at the sink")
            for message in sink.messages:
                check(split_received(message.data)[1] == body, "a message was altered")

            def taken():
                with s.wire() as w:
                    return w.cmd("MAIL FROM:<sender@example.net> SIZE=200000").startswith("250")
            wait_until(taken, 30, "accepting again")
            before = len(sink.messages)
            s.submit("bob@example.org", body)
            wait_until(lambda: len(sink.messages) > before, 20, "the message sent afterwards")
            s.stop()
            equal(s.queue().strip(), "0 messages", "queue")


def test_disk_filled_by_others():
    """Others fill the disk: 452, restart works, and it goes on once they have left."""
    body = b"Subject: fill\r\n\r\n" + (b"x" * 70 + b"\r\n") * 3000
    sink = Sink(start=False)
    with SmallDisk(300) as disk, Server(data=disk.path, relay=sink.port, cores=1,
                                        retry_ms=1000) as s:
        first = s.submit("bob@example.org", body)
        time.sleep(1)
        disk.fill()
        accepted, reply = send_until_full(s, body, "bob@example.org", 3000)
        starts(reply, "452 4.3.1", "reply on a full disk")
        s.stop()
        check(first in s.queue() and all(i in s.queue() for i in accepted[-3:]), "lost by the restart")
        s.start()
        with s.wire() as w:
            w.expect("NOOP", "250")
        disk.release()

        def taken():
            with s.wire() as w:
                return w.cmd("MAIL FROM:<sender@example.net> SIZE=1000000").startswith("250")
        wait_until(taken, 30, "accepting again")
        with sink:
            sink.start()
            last = s.submit("bob@example.org", body)
            wait_until(lambda: len(sink.messages) == len(accepted) + 2, 60, "all accepted messages")
            check(last not in accepted, "queue id repeated")


def test_disk_full_mailbox():
    """A full disk under the mailboxes is a temporary failure; the mail arrives later."""
    with SmallDisk(40) as disk, Server(cores=1, retry_ms=500) as s:
        os.makedirs(os.path.join(s.data, "mail"), exist_ok=True)
        os.symlink(disk.path, os.path.join(s.data, "mail", "example.org"))
        disk.fill()
        body = b"Subject: later\r\n\r\n" + b"y" * 900 + b"\r\n" + marked()
        s.submit("alice@example.org", body)
        wait_until(lambda: "deferred" in s.log(), 10, "a deferral")
        equal(s.mailbox(), [], "mailbox on a full disk")
        disk.release()
        equal(split_local(s.delivered()[0])[3], body, "content")
