"""What a power cut leaves of a recorded block device (tests/e2e/blockdev.c writes the log).

The device has a volatile cache: a write is durable once a later flush was answered, or by itself when
it carried FUA. At a cut any subset of the other writes is on the disk, each of them possibly in part;
a sector is atomic."""

import collections
import ctypes
import hashlib
import mmap
import os
import struct

ENTRY = struct.Struct("<IIQQQ")  # struct entry of blockdev.c
WRITE, FLUSH = 1, 2
SECTOR = 512
ZEROS = bytes(SECTOR)
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


class Image:
    """The device as a file. Zeros become holes: most of a disk is segments made in advance."""

    def __init__(self, path, log, mode="rb+"):
        self.path, self.log = path, log
        self.file = open(path, mode, buffering=0)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.file.close()

    def put(self, write):
        data = self.log[write.at:write.at + write.length]
        if data.count(0) == len(data):
            punch(self.file.fileno(), write.offset, write.length)
        else:
            os.pwrite(self.file.fileno(), data, write.offset)


class Digest:
    """The device as a number that is the same for the same contents: the sum of a hash of every sector."""

    def __init__(self, log):
        self.log, self.sum, self.sectors = log, 0, {}

    def hashes(self, write):
        first = write.offset // SECTOR
        data = self.log[write.at:write.at + write.length]
        for i in range(len(data) // SECTOR):
            sector = data[i * SECTOR:(i + 1) * SECTOR]
            if sector == ZEROS:  # as where nothing was ever written
                yield first + i, 0
                continue
            digest = hashlib.blake2b(sector, digest_size=16, salt=(first + i).to_bytes(8, "little"))
            yield first + i, int.from_bytes(digest.digest(), "little")

    def put(self, write):
        for number, value in self.hashes(write):
            self.sum += value - self.sectors.get(number, 0)
            self.sectors[number] = value

    def with_pieces(self, pieces):
        """What it would be after these writes."""
        new = {number: value for piece in pieces for number, value in self.hashes(piece)}
        return self.sum + sum(value - self.sectors.get(number, 0) for number, value in new.items())


class Disk:
    """The device at one point of its log, which only moves forward. What is durable goes to `durable`, an
    Image or a Digest."""

    def __init__(self, entries, durable):
        self.entries, self.next, self.durable = entries, 0, durable
        self.pending = []  # what is in the volatile cache, oldest first

    def advance(self, index):
        """To the moment before the entry of that index."""
        for entry in self.entries[self.next:index]:
            if entry.kind == FLUSH:
                for write in self.pending:
                    self.durable.put(write)
                self.pending.clear()
            elif entry.fua:
                # It does not flush what came before it, but must not be overwritten by that later.
                self.durable.put(entry)
                self.pending = [rest for write in self.pending for rest in without(write, entry)]
            else:
                self.pending.append(entry)
        self.next = max(self.next, index)

    def cut(self, dice):
        """Which parts of the unflushed writes a cut leaves: (pieces, description)."""
        share = dice.choice((0.0, 0.1, 0.5, 0.5, 0.9, 1.0))
        torn = dice.random() < 0.5
        pieces, parts = [], 0
        for write in self.pending:
            if torn and dice.random() < 0.3:
                parts += 1
                pieces.append(tear(write, dice))
            elif dice.random() < share:
                pieces.append(write)
        return pieces, f"{len(pieces) - parts} whole and {parts} torn of {len(self.pending)} unflushed writes"


def map_log(path):
    with open(path, "rb") as log:
        return mmap.mmap(log.fileno(), 0, access=mmap.ACCESS_READ)


def tear(write, dice):
    """A run of sectors of the write: its beginning, its end, or something in the middle."""
    sectors = write.length // SECTOR
    first = dice.choice((0, dice.randrange(sectors + 1)))
    last = dice.choice((sectors, dice.randrange(first, sectors + 1)))
    return write._replace(offset=write.offset + first * SECTOR, at=write.at + first * SECTOR,
                          length=(last - first) * SECTOR)


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
