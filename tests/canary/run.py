#!/usr/bin/env python3
"""Seeded bugs: every patch in tests/canary is applied to a copy of the tree, one by one, and the simulator (or the
program that a line "Program: ..." in its text names) has to find it. A patch that no longer applies or does not build, and a bug that is not found, are failures.

    tests/canary/run.py [--only NAME]
"""
import argparse
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATCHES = ROOT / "tests" / "canary"
COPY = ROOT / "build" / "canary"
BUILD = COPY / "build"
# What looks for a bug: the first that fails has found it. A line "Search: ..." in a patch's text replaces it.
SEARCHES = [["--seeds", "1500"], ["--exhaustive", "--stride", "7"]]
WRONG_USE = 2  # exit code of sim
SEARCH_SECONDS = 1200  # the simulator ends by itself; this is for a machine that is busy


def run(*command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)


def copy_tree():
    """The files that git knows, as they are now; times are kept, so that only what a patch touches is built anew."""
    names = run("git", "ls-files", "-z", cwd=ROOT).stdout.split("\0")
    wanted = {name for name in names if name and (ROOT / name).is_file()}
    for path in COPY.rglob("*") if COPY.exists() else []:
        inside = path.relative_to(COPY)
        if path.is_file() and inside.parts[0] != "build" and inside.as_posix() not in wanted:
            path.unlink()
    for name in wanted:
        source, target = ROOT / name, COPY / name
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def build(program="sim"):
    result = run("ninja", "-C", BUILD, program)
    return result.stdout[-3000:] if result.returncode else None


def configure():
    result = run("cmake", "-G", "Ninja", "-S", COPY, "-B", BUILD, "-DCMAKE_BUILD_TYPE=Release")
    return result.stdout[-3000:] if result.returncode else None


def said(patch, word):
    """What the lines "WORD: ..." of a patch's text say."""
    text = patch.read_text().split("\ndiff ")[0]
    return [line.removeprefix(word + ": ").split() for line in text.splitlines() if line.startswith(word + ": ")]


def program_of(patch):
    return said(patch, "Program")[0][0] if said(patch, "Program") else "sim"


class NoSearch(Exception):
    """A search that the program does not know finds nothing: scenarios and options have other names by now."""


def search(patch):
    """The line in which the bug is reported, or None."""
    program = program_of(patch)
    path = BUILD / ("tests/sim/sim" if program == "sim" else f"tests/{program}")
    for arguments in said(patch, "Search") or (SEARCHES if program == "sim" else [[]]):
        try:
            result = run(path, *arguments, timeout=SEARCH_SECONDS)
        except subprocess.TimeoutExpired:
            return None
        if program == "sim" and result.returncode == WRONG_USE:
            raise NoSearch(f"sim does not know the search {' '.join(arguments)}: {result.stdout}")
        if result.returncode:
            lines = [line for line in result.stdout.splitlines() if line.startswith("FAIL ") or "FAILED" in line or "broken invariant" in line]
            return lines[0] if lines else f"exit code {result.returncode}"
    return None


def try_patch(patch):
    """What went wrong, or None."""
    began = time.monotonic()
    applied = run("patch", "-p1", "--no-backup-if-mismatch", "-i", patch, cwd=COPY)
    if applied.returncode:
        return f"does not apply: {applied.stdout}"
    try:
        problem = build(program_of(patch))
        if problem:
            return f"does not build: {problem}"
        found = search(patch)
    except NoSearch as problem:
        return str(problem)
    finally:
        run("patch", "-p1", "-R", "--no-backup-if-mismatch", "-i", patch, cwd=COPY)
    if found is None:
        return "was not found"
    print(f"found  {patch.stem}: {found} ({time.monotonic() - began:.1f} s)", flush=True)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="the name of one patch")
    args = parser.parse_args()
    patches = sorted(path for path in PATCHES.glob("*.patch") if args.only in (None, path.stem))
    if not patches:
        print(f"no patch named {args.only}")
        return 2
    COPY.mkdir(parents=True, exist_ok=True)
    copy_tree()
    problem = configure() or build() or build("check_publish")
    if problem:
        print(f"the unchanged tree does not build: {problem}\n0 passed, 1 failed")
        return 1
    # What fails without a bug would be taken for one that was found.
    result = run(BUILD / "tests/sim/sim", *SEARCHES[0], timeout=SEARCH_SECONDS)
    if result.returncode:
        print(f"the unchanged tree fails: {result.stdout[-3000:]}\n0 passed, 1 failed")
        return 1
    failed = 0
    for patch in patches:
        problem = try_patch(patch)
        if problem:
            failed += 1
            print(f"FAILED {patch.stem}: {problem}", flush=True)
    print(f"{len(patches) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
