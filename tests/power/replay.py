"""What a power cut leaves of a recorded block device (tests/e2e/blockdev.c writes the log).

The device has a volatile cache: a write is durable once a later flush was answered, or by itself when
it carried FUA. At a cut any subset of the other writes is on the disk, each of them possibly in part;
a sector is atomic."""

import collections
import ctypes
import os
import shutil
import struct

ENTRY = struct.Struct("<IIQQQ")  # struct entry of blockdev.c
WRITE, FLUSH = 1, 2
SECTOR = 512
KEEP_SIZE, PUNCH_HOLE = 1, 2  # linux/falloc.h
libc = ctypes.CDLL(None, use_errno=True)

SEGMENT = struct.Struct("<8sHH")  # how the header of a journal segment begins: magic, version, state
SEGMENT_MAGIC = b"RRMXSEG1"
FREE, ACTIVE, FREED = 1, 2, 3  # freed: after use

Entry = collections.namedtuple("Entry", "kind fua offset at length time")  # at: of the data in the log


def read_log(path, growing=False):
    """The entries, in order; times are of CLOCK_MONOTONIC, in seconds. While it is being written, the last
    one may not be there in full."""
    entries = []
    with open(path, "rb") as log:
        size = os.fstat(log.fileno()).st_size
        while (header := log.read(ENTRY.size)):
            if growing and len(header) < ENTRY.size:
                break
            kind, fua, offset, length, ns = ENTRY.unpack(header)
            at = log.tell()
            data = length if kind == WRITE else 0
            if growing and at + data > size:
                break
            if kind not in (WRITE, FLUSH) or at + data > size:
                raise ValueError(f"{path}: no entry at {at - ENTRY.size}")
            entries.append(Entry(kind, bool(fua), offset, at, data, ns / 1e9))
            log.seek(data, 1)
    return entries


def reused_segments(path, entries):
    """How many times a journal segment was taken again after it had been freed (io/journal_format.h)."""
    state, reused = {}, 0  # by place on the device
    with open(path, "rb") as log:
        for entry in entries:
            if entry.kind != WRITE or entry.length < SEGMENT.size:
                continue
            log.seek(entry.at)
            magic, _, now = SEGMENT.unpack(log.read(SEGMENT.size))
            if magic == SEGMENT_MAGIC:
                reused += state.get(entry.offset) == FREED and now == ACTIVE
                state[entry.offset] = FREED if now == FREE and state.get(entry.offset) == ACTIVE else now
    return reused


class Disk:
    """The device at one point of its log, which only moves forward."""

    def __init__(self, log, entries, mib, folder):
        self.entries, self.next = entries, 0
        self.pending = []  # what is in the volatile cache, oldest first
        self.log = open(log, "rb")
        self.path = os.path.join(folder, "durable")
        self.durable = open(self.path, "wb+", buffering=0)
        self.durable.truncate(mib << 20)

    def close(self):
        self.log.close()
        self.durable.close()

    def data(self, entry):
        self.log.seek(entry.at)
        return self.log.read(entry.length)

    def put(self, image, entry):
        """Zeros become holes: most of a disk is segments made in advance."""
        data = self.data(entry)
        if data.count(0) == len(data):
            punch(image.fileno(), entry.offset, entry.length)
        else:
            os.pwrite(image.fileno(), data, entry.offset)

    def advance(self, index):
        """To the moment before the entry of that index."""
        for entry in self.entries[self.next:index]:
            if entry.kind == FLUSH:
                for write in self.pending:
                    self.put(self.durable, write)
                self.pending.clear()
            elif entry.fua:
                # It does not flush what came before it, but must not be overwritten by that later.
                self.put(self.durable, entry)
                self.pending = [rest for write in self.pending for rest in without(write, entry)]
            else:
                self.pending.append(entry)
        self.next = max(self.next, index)

    def cut(self, image_path, dice):
        """Writes an image of what the cut leaves; returns a description."""
        copy_sparse(self.path, image_path)
        share = dice.choice((0.0, 0.1, 0.5, 0.5, 0.9, 1.0))
        torn = dice.random() < 0.5
        kept = parts = 0
        with open(image_path, "rb+", buffering=0) as image:
            for write in self.pending:
                if torn and dice.random() < 0.3:
                    parts += 1
                    self.tear(image, write, dice)
                elif dice.random() < share:
                    kept += 1
                    self.put(image, write)
        return f"{kept} whole and {parts} torn of {len(self.pending)} unflushed writes"

    def tear(self, image, write, dice):
        """A run of sectors of the write: its beginning, its end, or something in the middle."""
        sectors = write.length // SECTOR
        first = dice.choice((0, dice.randrange(sectors + 1)))
        last = dice.choice((sectors, dice.randrange(first, sectors + 1)))
        data = self.data(write)[first * SECTOR:last * SECTOR]
        os.pwrite(image.fileno(), data, write.offset + first * SECTOR)


def without(write, newer):
    """The parts of a write that a newer one does not cover."""
    end, newer_end = write.offset + write.length, newer.offset + newer.length
    if newer.offset >= end or newer_end <= write.offset:
        return [write]
    rest = []
    if newer.offset > write.offset:
        rest.append(write._replace(length=newer.offset - write.offset))
    if newer_end < end:
        rest.append(write._replace(offset=newer_end, at=write.at + newer_end - write.offset,
                                   length=end - newer_end))
    return rest


def punch(fd, offset, length):
    """Makes a hole, which reads as zeros."""
    if libc.fallocate(fd, PUNCH_HOLE | KEEP_SIZE, ctypes.c_int64(offset), ctypes.c_int64(length)) != 0:
        os.pwrite(fd, bytes(length), offset)


def copy_sparse(source, target):
    """Copies the parts of a file that are not holes."""
    with open(source, "rb", buffering=0) as old, open(target, "wb", buffering=0) as new:
        size = os.fstat(old.fileno()).st_size
        new.truncate(size)
        at = 0
        while at < size:
            try:
                at = os.lseek(old.fileno(), at, os.SEEK_DATA)
            except OSError:  # only a hole follows
                return
            end = os.lseek(old.fileno(), at, os.SEEK_HOLE)
            os.lseek(new.fileno(), at, os.SEEK_SET)
            while at < end:
                at += os.sendfile(new.fileno(), old.fileno(), at, end - at)
