#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Adds up what tests have counted (the "proof: WHAT = N" lines of tests/proof.h) to one closing table.

Usage: proof_table.py [--goals | --goals-full] [--partial] FILE... A FILE is a testlog.json of meson, or the output of tests.
Exits with 1 when a goal is missed: of the continuous tests (--goals, tools/check), or of all that there is (--goals-full,
tools/torture). What counted nothing at all is told to be not run; with --partial no word is said of it. What a test could not
do (proof_not_run) is listed with its reason, and no goal of it is missed.
"""
import json
import re
import sys

LINE = re.compile(r"^proof: (.*) = (\d+)$", re.M)
# How far something has come, of which the furthest counts; all else is added up.
LEVEL = re.compile(r": (edges of the library|features) covered$|: inputs of the corpus$")
NOT_RUN = re.compile(r"^proof: (.*): (not run: .*)$", re.M)
HEADS = {
    "A": "Power cuts",
    "B": "Failing calls and allocations",
    "C": "Damaged files",
    "D": "Killed processes",
    "E": "Interleavings of threads",
    "F": "Power cuts of real file systems",
    "G": "Full disks",
    "H": "Limits, signals, forks and clocks",
    "I": "Fuzzing",
    "J": "Uninitialised memory",
}
# Of one run of tools/check. What depends on the speed of the machine has a tenth of what it usually comes to; what depends on
# the seed alone, nearly all of it: histories of some seeds have a tenth fewer calls of the system, a sixth fewer flushes, and a
# third fewer of those while anything hangs on them.
GOALS = {
    "A distinct crash images recovered and compared": 300000,
    "A of cuts inside a checkpoint": 50000,
    "A of cuts inside a recovery": 50000,
    "A kills, each with a recovery and a power cut behind it": 60000,
    "B runs with failing calls of the disk": 50000,
    "B runs with failing flushes that drop their pages": 1150,
    "B failing flushes that drop their pages: poisoned and opened again": 300,
    "B runs with failing allocations": 8250,
    "B runs without a leak": 69900,
    "C flipped bit: cases": 250000,
    "C truncated or extended: cases": 155000,
    "C zeroed or garbage sector: cases": 22700,
    "C swapped sectors: cases": 1110,
    "C reverted sector: cases": 3500,
    "C forged slabs and pages, sealed again: cases": 5200,
    "D processes killed while they wrote, databases compared": 400,
    "D processes killed inside a checkpoint on request": 5,
    "D commits acknowledged before a kill": 2500,
    "D snapshots checked beside the writers": 1500,
    "B runs with failing system calls, io_uring": 4200,
    "B runs with failing system calls, posix": 4000,
    "E distinct interleavings, each compared": 22000,
    "E power cuts between two points": 4700,
    "F cuts on ext4": 35,
    "F cuts on ext4 commit=1": 35,
    "F cuts on ext4 commit=1000": 35,
    "F cuts on ext4 data=writeback": 35,
    "F cuts on xfs": 35,
    "F cuts on xfs, blocks shared": 35,
    "G btrfs: levels, each in three ways": 17,
    "G devices that run out of blocks, ext4": 20,
    "G devices that run out of blocks, xfs": 20,
    "G ext4: levels, each in three ways": 17,
    "G tmpfs: levels, each in three ways": 17,
    "G xfs: levels, each in three ways": 17,
    "G xfs without reflink: levels, each in three ways": 17,
    "H commits acknowledged under signals": 3000,
    "H commits with no descriptor left": 2000,
    "H forks beside a writer": 64,
    "H jumps of the clock between two commits": 8,
    "H jumps of the clock while the database is closed": 7,
    "H limits of the file size met": 60,
    "H openings at once: for reading": 300,
    "H openings at once: readers held open together": 1000,
    "H openings at once: refused, another writes": 100,
    "H openings without descriptors, refused without a trace": 40,
    "H processes without standard descriptors": 14,
    "H read-only mounts": 8,
    "H signals handled beside writers, readers and checkpoints": 5000,
    "H snapshots checked under signals": 2500,
    # Less would say that the inputs no longer lead behind the checksums, or that the fuzzers hardly ran.
    "I fuzz_open: edges of the library covered": 8500,
    "I fuzz_open: executions": 500,
    "I fuzz_tail: edges of the library covered": 8500,
    "I fuzz_tail: executions": 500,
    "I fuzz_entry: edges of the library covered": 1800,
    "I fuzz_entry: executions": 500000,
    "I fuzz_api: edges of the library covered": 10000,
    "I fuzz_api: executions": 250,
}
# Of tools/torture --full.
GOALS_FULL = {
    "A distinct crash images recovered and compared": 10000000,
    "A scenes cut inside a recovery at every moment": 30,
    "B runs with failing calls of the disk": 420000,
    "B runs of the whole product of errnos, transfers and persistence": 130000,
    "B runs with failing flushes that drop their pages": 4500,
    "B runs with failing allocations": 35000,
    "C flipped bit: cases": 524288,
    "C truncated or extended: cases": 150000,
    "C zeroed or garbage sector: cases": 14000,
    "C swapped sectors: cases": 5000,
    "C reverted sector: cases": 800,
    "C forged slabs and pages, sealed again: cases": 100000,
    "D processes killed while they wrote, databases compared": 10000,
    "E distinct interleavings, each compared": 1000000,
    "F cuts on ext4": 10000,
    "F cuts on ext4 commit=1": 10000,
    "F cuts on ext4 commit=1000": 10000,
    "F cuts on ext4 data=writeback": 10000,
    "F cuts on xfs": 10000,
    "F cuts on xfs, blocks shared": 10000,
    "G btrfs: levels, each in three ways": 257,
    "G devices that run out of blocks, ext4": 2000,
    "G devices that run out of blocks, xfs": 2000,
    "G ext4: levels, each in three ways": 257,
    "G tmpfs: levels, each in three ways": 257,
    "G xfs: levels, each in three ways": 257,
    "G xfs without reflink: levels, each in three ways": 257,
    "I fuzz_open: executions": 1000000,
    "I fuzz_tail: executions": 500000,
    "I fuzz_entry: executions": 500000000,
    "I fuzz_api: executions": 100000,
    "J tests passed under valgrind": 100,
    "J runs of all tests with threads under ThreadSanitizer": 30,
}


def texts(path):
    """The outputs in a file."""
    with open(path, encoding="utf-8", errors="replace") as file:
        content = file.read()
    if not path.endswith(".json"):
        return [content]
    tests = [json.loads(line) for line in content.splitlines() if line.strip()]
    return [(test.get("stdout") or "") + "\n" + (test.get("stderr") or "") for test in tests]


def main():
    goals = GOALS if "--goals" in sys.argv else GOALS_FULL if "--goals-full" in sys.argv else {}
    sums = {}
    reasons = {}
    for path in (argument for argument in sys.argv[1:] if not argument.startswith("--")):
        try:
            for text in texts(path):
                for what, count in LINE.findall(text):
                    before = sums.get(what, 0)
                    sums[what] = max(before, int(count)) if LEVEL.search(what) else before + int(count)
                reasons.update(NOT_RUN.findall(text))
        except OSError as error:
            print(f"{path}: {error.strerror}")
    for letter, head in HEADS.items():
        rows = [(what, f"{count:,}") for what, count in sums.items()] + list(reasons.items())
        rows = sorted(row for row in rows if row[0].startswith(letter + " "))
        if rows:
            print(f"\n{head}")
        for what, found in rows:
            print(f"  {what[2:]:<70} {found:>14}")
    partial = "--partial" in sys.argv
    missed = [what for what, goal in goals.items()
              if what not in reasons and sums.get(what, 0) < goal and not (partial and what not in sums)]
    for what in missed:
        print(f"too few: {what[2:]}: {sums[what]:,} of {goals[what]:,}" if what in sums
              else f"not run: {what[2:]}: wanted {goals[what]:,}")
    return 1 if missed else 0


sys.exit(main())
