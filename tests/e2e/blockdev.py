"""A block device with a volatile cache that records and fails (blockdev.c), and ext4 on it.

nbdkit serves it, nbdfuse makes it a file, a loop device makes it a disk. Needs root, FUSE and loop
devices; lib.Skip says what is missing."""

import os
import subprocess
import time

import lib
from lib import Skip, check, need_program, wait_until, work_folder

mounted = []  # what has to be unmounted if a test breaks off, newest last


def run(*command):
    return subprocess.run([need_program(command[0]), *command[1:]], capture_output=True, text=True,
                          timeout=120)


def unmount(path):
    """Unmounts for good. The loop device may live on for a moment."""
    end = time.monotonic() + 20
    while (done := run("umount", path)).returncode != 0 and time.monotonic() < end:
        time.sleep(0.05)
    if done.returncode != 0:
        run("umount", "-l", path)
    if path in mounted:
        mounted.remove(path)
    check(done.returncode == 0, f"{path} cannot be unmounted: {done.stderr.strip()}")


def mount_image(image, folder, options=""):
    """An ext4 file system in a file, through a loop device. Returns what went wrong, or nothing."""
    done = run("mount", "-t", "ext4", "-o", "loop" + options, image, folder)
    if done.returncode == 0:
        mounted.append(folder)
    return "" if done.returncode == 0 else done.stderr.strip() or "mount failed"


def mount_memory(folder):
    """Images in huge pages are copied and removed several times faster. Without, the folder is what it was."""
    if run("mount", "-t", "tmpfs", "-o", "huge=within_size", "images", folder).returncode == 0:
        mounted.append(folder)


def clean_up():
    for path in reversed(mounted):
        run("umount", "-l", path)
    mounted.clear()


class BlockDevice:
    """The device as a context; `mount` is the ext4 on it, `log` the file of its writes and flushes.

    With journal=False ext4 survives I/O errors as EIO alone; with its journal it would become
    read-only for good."""

    def __init__(self, mib, record=False, journal=True, folder=None):
        self.folder = folder or work_folder()
        self.mib, self.journal, self.record = mib, journal, record
        self.log = os.path.join(self.folder, "log")
        self.mount = os.path.join(self.folder, "mount")
        self.faults = os.path.join(self.folder, "faults")
        self.fuse = os.path.join(self.folder, "fuse")
        self.file = os.path.join(self.fuse, "disk")
        self.process = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *unused):
        self.stop()

    def start(self):
        plugin = os.path.join(lib.BUILD, "tests", "blockdev.so")
        if not os.path.exists(plugin):
            raise Skip("built without nbdkit-plugin-dev")
        if os.getuid() != 0:
            raise Skip("FUSE and loop devices need root")
        if not os.path.exists("/dev/fuse"):
            raise Skip("there is no /dev/fuse")
        for folder in (self.mount, self.faults, self.fuse):
            os.mkdir(folder)
        command = [need_program("nbdfuse"), self.file, "--command", need_program("nbdkit"), "-s",
                   "--exit-with-parent", plugin, f"size={self.mib}M", f"faults={self.faults}"]
        if self.record:
            command.append(f"log={self.log}")
        with open(os.path.join(self.folder, "nbd"), "wb") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=output)
        wait_until(lambda: os.path.exists(self.file) or self.process.poll() is not None, 10,
                   "the file of nbdfuse")
        if self.process.poll() is not None:
            with open(os.path.join(self.folder, "nbd"), encoding="utf-8") as output:
                raise Skip(f"FUSE does not work here: {output.read().strip()}")
        mounted.append(self.fuse)
        kind = [] if self.journal else ["-O", "^has_journal"]
        done = run("mkfs.ext4", "-q", *kind, self.file)
        check(done.returncode == 0, f"mkfs.ext4: {done.stderr.strip()}")
        wrong = mount_image(self.file, self.mount, "" if self.journal else ",errors=continue")
        if wrong:
            raise Skip(f"no file can be mounted here: {wrong}")

    def stop(self):
        for operation in ("read", "write", "flush"):
            self.heal(operation)
        if self.mount in mounted:
            unmount(self.mount)
        if self.fuse in mounted:
            unmount(self.fuse)
        if self.process is not None:
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def position(self):
        """Length of the log: what was answered until now is in front of it."""
        return os.stat(self.log).st_size

    def fail(self, operation):
        """From now on every read, write or flush is answered with EIO."""
        with open(os.path.join(self.faults, operation), "wb"):
            pass
        with open(self.file, "rb") as f:  # the loop device would answer from the cache of the file
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def heal(self, operation):
        try:
            os.remove(os.path.join(self.faults, operation))
        except FileNotFoundError:
            pass
