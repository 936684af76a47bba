#!/usr/bin/env python3
"""Seeded bugs: every patch in tests/canary is applied to a copy of the tree, one by one, and the simulator (or the
program that a line "Program: ..." in its text names) has to find it. A patch that no longer applies or does not build, and a bug that is not found, are failures.

    tests/canary/run.py [--only NAME]
"""
import argparse
import concurrent.futures
import pathlib
import shutil
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATCHES = ROOT / "tests" / "canary"
COPY = ROOT / "build" / "canary"
BUILD = COPY / "build"
PROGRAMS = COPY / "programs"  # one for every bug, until it has been looked for
JOBS = 2  # programs that search, or one of them and the build of the next bug
slots = threading.Semaphore(JOBS)
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


def search(program, path, searches):
    """The line in which the bug is reported, or None."""
    for arguments in searches:
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


def keep_program(program, name):
    """A copy of what was built, which the next build leaves alone."""
    PROGRAMS.mkdir(exist_ok=True)
    return shutil.copy(BUILD / ("tests/sim/sim" if program == "sim" else f"tests/{program}"), PROGRAMS / name)


def make_program(patch):
    """(what went wrong or None, the program with the bug)."""
    applied = run("patch", "-p1", "--no-backup-if-mismatch", "-i", patch, cwd=COPY)
    if applied.returncode:
        return f"does not apply: {applied.stdout}", None
    try:
        problem = build(program_of(patch))
        return (f"does not build: {problem}", None) if problem else (None, keep_program(program_of(patch), patch.stem))
    finally:
        run("patch", "-p1", "-R", "--no-backup-if-mismatch", "-i", patch, cwd=COPY)


def look_for(patch, path):
    """What went wrong, or None."""
    with slots:
        began = time.monotonic()
        program = program_of(patch)
        try:
            found = search(program, path, said(patch, "Search") or (SEARCHES if program == "sim" else [[]]))
        except NoSearch as problem:
            return str(problem)
        finally:
            path.unlink()
        if found is None:
            return "was not found"
        print(f"found  {patch.stem}: {found} ({time.monotonic() - began:.1f} s)", flush=True)
        return None


def passes(path, first, count):
    """The tree without a bug: what fails there would be taken for one that was found. None, or what it says."""
    with slots:
        result = run(path, "--seeds", str(count), "--from", str(first), timeout=SEARCH_SECONDS)
        return result.stdout[-3000:] if result.returncode else None


def try_all(patches):
    """How many bugs were not found, or None when the tree fails without one. The next is built while others are looked for."""
    failed = 0

    def ended(patch, problem):
        nonlocal failed
        if problem:
            failed += 1
            print(f"FAILED {patch.stem}: {problem}", flush=True)

    unchanged = keep_program("sim", "unchanged")
    half = int(SEARCHES[0][1]) // 2
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        clean = [pool.submit(passes, unchanged, first, half) for first in (1, 1 + half)]
        searches = []
        for patch in patches:
            with slots:
                problem, path = make_program(patch)
            if problem:
                ended(patch, problem)
            else:
                searches.append((patch, pool.submit(look_for, patch, path)))
        for patch, future in searches:
            ended(patch, future.result())
        wrong = [future.result() for future in clean if future.result()]
    if wrong:
        print(f"the unchanged tree fails: {wrong[0]}")
        return None
    return failed


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
    failed = try_all(patches)
    if failed is None:
        print("0 passed, 1 failed")
        return 1
    print(f"{len(patches) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
