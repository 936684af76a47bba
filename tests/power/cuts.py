"""Which images the cuts leave, and processes that judge them side by side."""

import bisect
import collections
import multiprocessing
import os
import queue
import random
import shutil
import signal
import tempfile
import time

import blockdev
import hop
import judge
import lib
import netns
import recording as recordings
import replay

LOSING_S = 1.0  # what the lying device loses
PROGRESS_S = 60
TRIES = 3  # at an image on which all that is wrong is a core that stood still, as on a machine with no time for it

# Cuts at these entries of the log leave the same image.
Group = collections.namedtuple("Group", "indexes")
Result = collections.namedtuple("Result", "group left problems")
LYING = Group(())  # not a cut: the test of the judge


def dice_of(recording, index):
    """A cut is the same however many there are, and whoever judges it."""
    return random.Random(f"{recording.seed}-{index}")


def single(flushes):
    return [Group((index,)) for index in flushes]


def same_images(recording, flushes):
    """Groups of cuts by the image that they leave. What differs between them is what had been answered."""
    log = replay.map_log(recording.log)
    disk = replay.Disk(recording.entries, replay.Digest(log))
    groups = {}
    for index in flushes:
        disk.advance(index)
        pieces, _ = disk.cut(dice_of(recording, index))
        groups.setdefault(disk.durable.with_pieces(pieces), []).append(index)
    return [Group(tuple(indexes)) for indexes in groups.values()]


class Recovered(lib.Server):
    """As it was recorded, its plan is on the disk; elsewhere, so that there can be several."""

    def __init__(self, recording, folder):
        self.mount = os.path.join(folder, "mount")
        os.mkdir(self.mount)
        super().__init__(data=os.path.join(self.mount, "data"), retry_ms=200, folder=folder, start=False)
        self.port = recording.port

    def apply(self, plan, expect=0):
        pass


class Worker:
    """Judges one image after the other, which must come in the order of the log. In networks of their own many
    do so at once with the ports that were recorded."""

    def __init__(self, recording, number, folder):
        self.recording, self.folder = recording, folder
        self.log = replay.map_log(recording.log)
        self.disk = self.new_disk("durable")
        self.relayed = hop.Relayed(f"{recording.seed}-{number}", recording.relay_port)
        self.server = Recovered(recording, self.folder)
        self.images = 0

    def new_disk(self, name):
        image = replay.Image(os.path.join(self.folder, name), self.log, "wb+")
        image.file.truncate(recordings.DEVICE_MIB << 20)
        return replay.Disk(self.recording.entries, image)

    def one(self, disk, index, moments, still=judge.STILL_S):
        """Returns (description, problems)."""
        # A file of its own: the last one's loop device may live on for a moment, with what it has cached.
        self.images += 1
        path = os.path.join(self.folder, f"image-{self.images}")
        dice = dice_of(self.recording, index)
        pieces, left = disk.cut(dice)
        replay.copy_sparse(disk.durable.path, path)
        with replay.Image(path, self.log) as image:
            for piece in pieces:
                image.put(piece)
        wrong = blockdev.mount_image(path, self.server.mount)
        os.remove(path)  # the loop device keeps it
        if wrong:
            return left, [f"the file system cannot be mounted: {wrong}"]
        try:
            self.relayed.forget()
            cut = judge.Cut(self.recording, self.server, self.relayed, moments, still)
            cores = dice.choice((1, 2, 3))
            problems = cut.recover(cores) + cut.judge()
            at = moments[-1]
            left += f"; {cores} cores, {len(self.recording.acked(at))} acknowledged, " \
                    f"{len(cut.boxes.files)} in mailboxes, {len(cut.fetched_before(at))} fetched, " \
                    f"{len(cut.relayed_before(at))} relayed before and {len(self.relayed.copies)} after"
            return left, problems
        finally:
            self.server.kill()
            blockdev.unmount(self.server.mount)

    def judge(self, group):
        if group == LYING:
            return self.lying()
        self.disk.advance(group.indexes[0])
        moments = [self.recording.times[i] for i in group.indexes]
        for _ in range(TRIES):
            left, problems = self.one(self.disk, group.indexes[0], moments)
            if not problems or not all(" core-stalled " in text for text in problems):
                break
        return left, problems

    def lying(self):
        """A device that loses what it had flushed during the last part of the load."""
        flushes, times = self.recording.flushes, self.recording.times
        last = flushes[bisect.bisect(flushes, bisect.bisect(
            times, max(a.at for a in self.recording.acked()))) - 1]
        disk = self.new_disk("lying")
        disk.advance(bisect.bisect(times, times[last] - LOSING_S))
        disk.pending.clear()
        return self.one(disk, last, [times[last]], still=3)


def work(recording, number, folder, groups, following, results):
    """The process of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        blockdev.mount_memory(folder)
        try:
            netns.own_network()
        except lib.Skip as skip:
            if number > 0:
                return
            print(f"one process judges all: {skip}", flush=True)
        worker = Worker(recording, number, folder)
        with worker.relayed.sink:
            while (mine := take(following)) < len(groups):
                try:
                    results.put(Result(groups[mine], *worker.judge(groups[mine])))
                except lib.Fail as fail:
                    results.put(Result(groups[mine], "not judged", [f"{fail}"]))
    finally:
        lib.clean_up()
        blockdev.clean_up()


def take(following):
    with following.get_lock():
        following.value += 1
        return following.value - 1


def judge_all(recording, groups, jobs):
    """Yields results as they come."""
    context = multiprocessing.get_context("fork")
    following, results = context.Value("l", 0), context.Queue()
    folders = [tempfile.mkdtemp(prefix="worker-", dir=recording.folder) for _ in range(jobs)]
    workers = [context.Process(target=work, args=(recording, i, folder, groups, following, results), daemon=True)
               for i, folder in enumerate(folders)]
    for worker in workers:
        worker.start()
    left = len(groups)
    try:
        while left > 0:
            try:
                yield results.get(timeout=1)
                left -= 1
            except queue.Empty:
                lib.check(any(w.is_alive() for w in workers) or not results.empty(),
                          f"the processes that judge have ended, {left} images before the end")
    finally:
        for worker in workers:
            worker.terminate()
        for worker, folder in zip(workers, folders):
            worker.join()
            if os.path.ismount(folder):  # it ended while it mounted
                blockdev.run("umount", "-l", folder)
            shutil.rmtree(folder, ignore_errors=True)


class Progress:
    """A line a minute."""

    def __init__(self, total):
        self.total, self.done = total, 0
        self.began = self.said = time.monotonic()

    def step(self, bad):
        self.done += 1
        now = time.monotonic()
        if now - self.said > PROGRESS_S:
            self.said = now
            rest = (now - self.began) / self.done * (self.total - self.done)
            print(f"progress: {self.done} of {self.total} images judged, {bad} with problems, "
                  f"about {rest / 60:.0f} minutes to go", flush=True)
