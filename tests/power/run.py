#!/usr/bin/env python3
"""Power cuts: the real process on a recorded block device, cut at its flushes, recovered and judged.

  run.py --build DIR [--cuts N|all] [--seed N] [--jobs N] [--load-mib N] [--recording DIR [--shard I/N]]

The server runs with its data on ext4 on a device that records every write and every flush (see
../e2e/blockdev.py) while messages are sent to mailboxes, from which a reader fetches what is some seconds
old, to a next hop, and to one that refuses them. Then, for N flushes (or all of them): the disk as it may be
when the power goes just before that flush is done, which is everything flushed earlier and a random subset
of the other writes, some of them torn, is mounted; the server starts on it and delivers. Every message whose
250 had arrived before the cut (the device and the sender read the same clock) must be in the mailbox, once,
at the next hop, or reported to its sender, byte for byte. What had no 250 may be there or not, but not in
part.

With `all`, cuts that leave the same image (what one keeps unflushed is what the next has flushed) recover it
once, and are judged each by what was answered before it.

--recording keeps the recording in a folder, with what was judged; a folder with a recording is used, and
goes on where it was left. --shard 2/5 judges the second fifth of its images: elsewhere others can do the rest.

A second test lets the device lose what it had flushed during the last part of the load: that the judge must
see.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback

FOLDER = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(FOLDER)
sys.path[:0] = [FOLDER, os.path.join(TESTS, "e2e")]
import blockdev  # noqa: E402
import cuts  # noqa: E402
import lib  # noqa: E402
import recording as recordings  # noqa: E402


def test_recording(recording, options, began):
    """The load is recorded (or was), and is one that frees and reuses a segment."""
    if os.path.exists(recording.saved):
        recording.load()
    else:
        recording.record(options.load_mib)
    print(f"recorded with seed {recording.seed}: {recording.describe()}; {time.monotonic() - began:.1f} s", flush=True)
    lib.check(recording.reused() > 0, "the load freed and reused no segment")


def chosen(recording, options):
    """The images to be judged."""
    flushes = recording.flushes
    if options.cuts != "all" and int(options.cuts) < len(flushes):
        return cuts.single(sorted(random.Random(recording.seed).sample(flushes, int(options.cuts))))
    groups = cuts.same_images(recording, flushes)
    print(f"{len(flushes)} flush boundaries, {len(groups)} different images", flush=True)
    part, parts = options.shard
    if parts > 1:
        groups = groups[part - 1::parts]
        print(f"part {part} of {parts}: {sum(len(g.indexes) for g in groups)} boundaries, {len(groups)} images",
              flush=True)
    return groups


class Judged:
    """The file of a recording that says which images were judged, and how many problems each had."""

    def __init__(self, recording):
        self.path = os.path.join(recording.folder, "judged")
        self.bad = {}
        if os.path.exists(self.path):
            with open(self.path, encoding="ascii") as file:
                self.bad = {int(index): int(bad) for index, bad in map(str.split, file)}

    def note(self, group, bad):
        with open(self.path, "a", encoding="ascii") as file:
            file.write(f"{group.indexes[0]} {bad}\n")


def say(recording, result):
    index, count = result.group.indexes[0], len(result.group.indexes)
    print(f"cut {recording.times[index] - recording.began:.3f} s after the start"
          f"{f' and {count - 1} like it' if count > 1 else ''}: {result.left}", flush=True)
    for text in result.problems[:10]:
        print(f"PROBLEM at entry {index}: {text}", flush=True)


def test_power_cut(recording, options, lying):
    """Every message acknowledged before a power cut is there after it."""
    groups, judged = chosen(recording, options), Judged(recording)
    rest = [group for group in groups if group.indexes[0] not in judged.bad]
    bad = sum(judged.bad[group.indexes[0]] > 0 for group in groups if group.indexes[0] in judged.bad)
    if len(rest) < len(groups):
        print(f"{len(groups) - len(rest)} images were judged before, {bad} with problems", flush=True)
    progress = cuts.Progress(len(rest))
    for result in cuts.judge_all(recording, [cuts.LYING] + rest, options.jobs):
        if result.group == cuts.LYING:
            lying += [result]
            continue
        judged.note(result.group, len(result.problems))
        bad += bool(result.problems)
        say(recording, result)
        progress.step(bad)
    boundaries = sum(len(group.indexes) for group in groups)
    print(f"judged: {boundaries} cuts, which left {len(groups)} images, {bad} of them with problems", flush=True)
    lib.check(bad == 0, f"{bad} of {len(groups)} images with problems")


def test_lying_device(lying):
    """The judge notices when a device loses what it has flushed."""
    lib.check(lying, "not judged")
    lost = [text for text in lying[0].problems if text.endswith("LOST")]
    print(f"the lying device: {len(lost)} copies lost, as the judge says")
    lib.check(lost, "nothing was missed after flushed writes were taken away")


def outcome(function, *args):
    name = function.__name__.removeprefix("test_")
    try:
        function(*args)
        print(f"ok {name}", flush=True)
        return "passed"
    except lib.Skip as skip:
        print(f"skip {name}: {skip}", flush=True)
        return "skipped"
    except Exception as error:
        if not isinstance(error, lib.Fail):
            traceback.print_exc()
        print(f"FAIL {name}: {error}", flush=True)
        return "failed"


def shard(text):
    part, parts = map(int, text.split("/"))
    if not 1 <= part <= parts:
        raise ValueError
    return part, parts


def arguments():
    parser = argparse.ArgumentParser(description="Power cuts on a recorded block device.")
    parser.add_argument("--build", required=True, help="folder of the ringmx binary")
    parser.add_argument("--cuts", default="20", help="number of flushes at which to cut, or all")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--jobs", type=int, default=2 * len(os.sched_getaffinity(0)),
                        help="images judged at the same time")
    parser.add_argument("--load-mib", type=int, default=80,
                        help="content sent at least; it goes on until a segment was freed and reused")
    parser.add_argument("--recording", help="folder of a recording that is kept, or used if there is one")
    parser.add_argument("--shard", type=shard, default=(1, 1), help="I/N: one part of N of all images")
    options = parser.parse_args()
    if options.shard[1] > 1 and (options.cuts != "all" or options.recording is None):
        parser.error("--shard goes with --cuts all and --recording")
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    return options


def work_folder(options):
    if options.recording is not None:
        os.makedirs(options.recording, exist_ok=True)
        return os.path.abspath(options.recording)
    # In memory where that is possible: the images are copied for every cut.
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else lib.BUILD
    return tempfile.mkdtemp(prefix="ringmx-power-", dir=shared)


def main():
    options = arguments()
    lib.BUILD = os.path.abspath(options.build)
    folder = work_folder(options)
    recording = recordings.Recording(folder, options.seed)
    print(f"seed {options.seed}, cuts: {options.cuts}, recording in {folder}", flush=True)
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unmounts before it ends
    lying = []
    try:
        outcomes = [outcome(test_recording, recording, options, began)]
        if outcomes[0] == "passed":
            outcomes.append(outcome(test_power_cut, recording, options, lying))
            outcomes.append(outcome(test_lying_device, lying))
    finally:
        lib.clean_up()
        blockdev.clean_up()
        if options.recording is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"power cuts with seed {recording.seed}: {time.monotonic() - began:.0f} s")
    if "failed" in outcomes:
        kept = f"POWER_RECORDING={folder} " if options.recording else ""
        print(lib.how_to_repeat(f"POWER_SEED={recording.seed} POWER_CUTS={options.cuts} {kept}tools/test.sh power"))
    line = f"{outcomes.count('passed')} passed, {outcomes.count('failed')} failed"
    print(line + (f", {outcomes.count('skipped')} skipped" if "skipped" in outcomes else ""))
    return 1 if "failed" in outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
