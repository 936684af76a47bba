"""A full disk: refusals that can be tried again, nothing lost, recovery by itself."""

import fcntl
import os
import struct
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


class FailingDisk(SmallDisk):
    """A file system on a loop device whose writes fail with EIO while its size is cut."""

    LOOP_SET_STATUS64, LOOP_GET_STATUS64 = 0x4C04, 0x4C05  # linux/loop.h
    INFO_BYTES, SIZE_LIMIT_AT = 232, 32                    # struct loop_info64

    def __enter__(self):
        image = os.path.join(self.path, "image")
        self.mount = os.path.join(self.path, "mount")
        os.mkdir(self.mount)
        with open(image, "wb") as f:
            f.truncate(512 * MIB)
        subprocess.run([need_program("mkfs.ext4"), "-q", "-O", "^has_journal", image], check=True)
        done = subprocess.run([need_program("mount"), "-o", "loop,errors=continue", image,
                               self.mount], capture_output=True, text=True)
        if done.returncode != 0:
            raise Skip(f"no file can be mounted here: {done.stderr.strip()}")
        with open("/proc/mounts", encoding="ascii") as f:
            self.device = next(line.split()[0] for line in f if line.split()[1] == self.mount)
        return self

    def __exit__(self, *unused):
        self.limit(0)
        subprocess.run([need_program("umount"), "-l", self.mount], check=False)
        super().__exit__()

    def limit(self, size):
        """Only the first so many bytes of the device exist; 0: all."""
        with open(self.device, "rb+", buffering=0) as f:
            info = bytearray(self.INFO_BYTES)
            fcntl.ioctl(f, self.LOOP_GET_STATUS64, info)
            struct.pack_into("=Q", info, self.SIZE_LIMIT_AT, size)
            fcntl.ioctl(f, self.LOOP_SET_STATUS64, info)


def send_until_full(wire, body, to, limit):
    """Sends until a 452, in a session that was open before; returns (accepted queue ids, the reply)."""
    idents = []
    with wire as w:
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
        accepted, reply = send_until_full(s.wire(seconds=60), body, "bob@example.org", 2000)
        starts(reply, "452 4.3.1", "reply on a full disk")
        check(len(accepted) >= 10, f"only {len(accepted)} accepted")
        # The session and the server go on; a small message may or may not fit. A refused write takes its segment along:
        # then there is room in another one.
        for _ in range(5):
            with s.wire() as w:
                w.expect("NOOP", "250")
                again = w.cmd("MAIL FROM:<sender@example.net> SIZE=10000000")
            if not again.startswith("250"):
                break
            accepted += send_until_full(s.wire(seconds=60), body, "bob@example.org", 2000)[0]
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
        wire = s.wire(seconds=60)
        disk.fill()
        accepted, reply = send_until_full(wire, body, "bob@example.org", 3000)
        starts(reply, "452 4.3.1", "reply on a full disk")
        s.stop()
        check(first in s.queue() and all(i in s.queue() for i in accepted[-3:]), "lost by the restart")
        s.start()

        def banner(start):
            with s.wire(hello=False) as w:
                return w.reply().startswith(start)
        wait_until(lambda: banner("421 4.3.2 Too busy"), 10, "refusals on a disk without any room")
        disk.release()
        wait_until(lambda: banner("220"), 10, "the end of the refusals")

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
    with SmallDisk(40) as disk, Server(cores=1, retry_ms=500, args=["--writable", disk.path]) as s:
        os.makedirs(os.path.join(s.data, "mail"), exist_ok=True)
        os.symlink(disk.path, os.path.join(s.data, "mail", "example.org"))
        disk.fill()
        body = b"Subject: later\r\n\r\n" + b"y" * 900 + b"\r\n" + marked()
        s.submit("alice@example.org", body)
        wait_until(lambda: "deferred" in s.log(), 10, "a deferral")
        equal(s.mailbox(), [], "mailbox on a full disk")
        disk.release()
        equal(split_local(s.delivered()[0])[3], body, "content")


def test_journal_io_error():
    """EIO on the journal: no 250 but 451 4.3.0, a clear log, accepted mail is safe, it goes on."""
    body = b"Subject: io\r\n\r\n" + (b"x" * 70 + b"\r\n") * 300
    sink = Sink(start=False)
    with FailingDisk(600) as disk, Server(data=os.path.join(disk.mount, "data"), relay=sink.port,
                                          cores=1, args=["--delivery", "off"]) as s:
        accepted = [s.submit("bob@example.org", body) for _ in range(5)]
        disk.limit(4096)
        with s.wire() as w:
            w.expect("MAIL FROM:<sender@example.net>", "250")
            w.expect("RCPT TO:<bob@example.org>", "250")
            w.expect("DATA", "354")
            w.send(body + b".\r\n")
            starts(w.reply(), "451 4.3.0", "reply after an I/O error")
            w.expect("NOOP", "250")
        wait_until(lambda: "journal-write-failed" in s.log(), 10, "a log line that tells of it")
        disk.limit(0)

        def taken():
            with s.wire() as w:
                return w.cmd("MAIL FROM:<sender@example.net>").startswith("250")
        wait_until(taken, 30, "accepting again")
        accepted.append(s.submit("bob@example.org", body))
        s.stop()
        check(all(ident in s.queue() for ident in accepted), "an accepted message is gone")
        s.args = []
        with sink:
            sink.start()
            s.start()
            wait_until(lambda: len(sink.messages) >= len(accepted), 60,
                       f"{len(accepted)} accepted messages at the sink")
            for message in sink.messages:
                check(split_received(message.data)[1] == body, "a message was altered")
