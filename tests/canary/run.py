#!/usr/bin/env python3
"""Seeded bugs: every patch in tests/canary is applied to a copy of the files that it changes, these are compiled and
linked with the rest of the release build, and the simulator (or the program that a line "Program: ..." in the patch's
text names) has to find the bug. A patch that no longer applies or does not build, a bug that is not found, and one that
is also "found" at the same place without the patch, are failures. Lines that have moved are no matter, others around
them are: then --refresh, which is for looking at with git diff, writes the patches as they apply now, with the place
where each bug was found.

    tests/canary/run.py [--build DIR] [--only NAME] [--refresh]
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATCHES = ROOT / "tests" / "canary"
COPY = ROOT / "build" / "canary"  # of the files that a patch changes, and what becomes of them
JOBS = os.cpu_count() or 1
# What looks for a bug: the first that fails has found it. A line "Search: ..." in a patch's text replaces it; a line
# "First: ..." names where it was found the last time, which is tried before.
SEARCHES = [["--seeds", "1500"], ["--exhaustive", "--stride", "7"]]
FUZZ = 2  # lines of context that may differ, when patches are refreshed
FIRST_SECONDS = 1  # a search that takes longer is to begin where the bug was found
WRONG_USE = 2  # exit code of sim
SEARCH_SECONDS = 1200  # the programs end by themselves; this is for a machine that is busy
FOUND = re.compile(r"FAIL |.*(FAILED|failed: |broken invariant)")


class Failed(Exception):
    """Why a patch does not count as found."""


def run(*command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)


class Build:
    """How the release build makes its programs."""

    def __init__(self, folder):
        self.folder = folder
        self.compiles = json.loads((folder / "compile_commands.json").read_text())

    def path(self, program):
        return "tests/sim/sim" if program == "sim" else f"tests/{program}"

    def compile(self, program, source, copy):
        """Object names in the folder, each with the command that makes it of the copy. A program may have its own."""
        made = {}
        for entry in self.compiles:
            words = shlex.split(entry["command"])
            if entry["file"] == str(ROOT / source):
                at = words.index("-o") + 1
                name, words[at] = words[at], str(copy) + "." + str(len(made)) + ".o"
                words[words.index("-c") + 1] = str(copy)
                made[name] = words
        own = {name: words for name, words in made.items() if f"/{program}.dir/" in name}
        return own or {name: words for name, words in made.items() if name.startswith("CMakeFiles/")}

    def link(self, program, objects, out):
        """objects: of the folder's, by what else. What is in a library comes before it, so that it is not looked for there."""
        command = run("ninja", "-C", str(self.folder), "-t", "commands", self.path(program)).stdout.splitlines()[-1]
        words = shlex.split(command)
        words = words[words.index("&&") + 1:len(words) - words[::-1].index("&&") - 1]
        words = [objects.get(word, word) for word in words]
        at = words.index("-o")
        words[at + 1] = str(out)
        return words[:at] + [new for new in objects.values() if new not in words] + words[at:]


def changes(patch):
    """The files that a patch changes."""
    return re.findall(r"^\+\+\+ b/(\S+)", patch.read_text(), re.MULTILINE)


def rewrite(patch, first):
    """The patch as it applies now; first: the arguments that find the bug at once, or none."""
    head = [line for line in patch.read_text().split("\ndiff ")[0].splitlines() if line]
    orders = [line for line in head if line.startswith(("First: ", "Search: ", "Program: "))]
    lines = [line for line in head if line not in orders]
    if first:
        orders = [f"First: {' '.join(first)}", *(line for line in orders if not line.startswith("First: "))]
    for name in changes(patch):
        diff = run("diff", "-u", "-p", "--label", f"a/{name}", "--label", f"b/{name}", str(ROOT / name), str(COPY / patch.stem / name))
        orders += ["", f"diff --git a/{name} b/{name}", *diff.stdout.splitlines()]
    patch.write_text("\n".join(lines + orders) + "\n")


def make_program(build, patch, program, fuzz):
    """The program with the bug."""
    folder = COPY / patch.stem
    changed = changes(patch)
    for name in changed:
        if not name.endswith(".c") or not (ROOT / name).is_file():
            raise Failed(f"does not apply: {name} is no source file; a patch changes those alone")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    applied = run("patch", "-p1", f"--fuzz={fuzz}", "--no-backup-if-mismatch", "-i", str(patch), cwd=folder)
    if applied.returncode:
        raise Failed(f"does not apply: {applied.stdout}")
    objects = {}
    for name in changed:
        for made, command in build.compile(program, name, folder / name).items():
            objects[made] = command[command.index("-o") + 1]
            compiled = run(*command, cwd=build.folder)
            if compiled.returncode:
                raise Failed(f"does not build: {compiled.stdout[-3000:]}")
    if len(objects) != len(changed):
        raise Failed(f"does not build: of {changed} the build makes {list(objects)}")
    linked = run(*build.link(program, objects, folder / program), cwd=build.folder)
    if linked.returncode:
        raise Failed(f"does not build: {linked.stdout[-3000:]}")
    return folder / program


def said(patch, word):
    """What the lines "WORD: ..." of a patch's text say."""
    text = patch.read_text().split("\ndiff ")[0]
    return [line.removeprefix(word + ": ").split() for line in text.splitlines() if line.startswith(word + ": ")]


def search(program, path, searches):
    """What the program said when it found the bug."""
    for arguments in searches:
        try:
            result = run(path, *arguments, timeout=SEARCH_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"was not found in {SEARCH_SECONDS} s") from None
        if program == "sim" and result.returncode == WRONG_USE:
            raise Failed(f"sim does not know the search {' '.join(arguments)}: {result.stdout}")
        if result.returncode:
            return result.stdout
    raise Failed("was not found")


def repeating(output):
    """The arguments that the simulator says to repeat it with."""
    repeat = re.search(r"repeat: sim (.*) --trace", output)
    return repeat[1].split() if repeat else []


def passes_there(build, program, output):
    """The tree without the bug passes where the program with it failed."""
    arguments = repeating(output)
    if program == "sim" and not arguments:
        raise Failed(f"fails without saying how to repeat it: {output[-3000:]}")
    result = run(build.folder / build.path(program), *arguments, timeout=SEARCH_SECONDS)
    if result.returncode:
        raise Failed(f"{program} {' '.join(arguments)} fails without the patch too: {result.stdout[-3000:]}")


def try_one(build, patch, refresh):
    """What went wrong, or None."""
    program = said(patch, "Program")[0][0] if said(patch, "Program") else "sim"
    began = time.monotonic()
    try:
        path = make_program(build, patch, program, FUZZ if refresh else 0)
        made = time.monotonic()
        output = search(program, path, said(patch, "First") + (said(patch, "Search") or (SEARCHES if program == "sim" else [[]])))
        found = time.monotonic()
        passes_there(build, program, output)
    except Failed as problem:
        print(f"FAILED {patch.stem}: {problem}", flush=True)
        return str(problem)
    lines = [line for line in output.splitlines() if FOUND.match(line)]
    print(f"found  {patch.stem}: {lines[0] if lines else output.splitlines()[-1:]} "
          f"({' '.join(repeating(output)) or program}; made in {made - began:.1f} s, found in {found - made:.1f} s)", flush=True)
    if refresh:
        slow = said(patch, "First") or found - made > FIRST_SECONDS
        rewrite(patch, repeating(output) if slow else [])
    shutil.rmtree(COPY / patch.stem)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release", help="a build of the tree as it is")
    parser.add_argument("--only", help="the name of one patch")
    parser.add_argument("--refresh", action="store_true", help="write the patches anew")
    args = parser.parse_args()
    patches = sorted(path for path in PATCHES.glob("*.patch") if args.only in (None, path.stem))
    if not patches:
        print(f"no patch named {args.only}")
        return 2
    shutil.rmtree(COPY, ignore_errors=True)
    build = Build(args.build.resolve())
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        failed = sum(problem is not None for problem in pool.map(lambda patch: try_one(build, patch, args.refresh), patches))
    print(f"{len(patches) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
