#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Adds up what tests have counted (the "proof: WHAT = N" lines of tests/proof.h) to one closing table.

Usage: proof_table.py FILE... A FILE is a testlog.json of meson, or the output of tests. Exits with 1 when a goal of the
continuous tests is missed (--goals). What a test could not do (proof_not_run) is listed with its reason, and no goal of it
is missed.
"""
import json
import re
import sys

LINE = re.compile(r"^proof: (.*) = (\d+)$", re.M)
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
}
GOALS = {
    "A distinct crash images recovered and compared": 300000,
    "A of cuts inside a checkpoint": 50000,
    "A of cuts inside a recovery": 50000,
    "E distinct interleavings, each compared": 20000,
    "F cuts on ext4": 70,
    "F cuts on ext4 data=writeback": 70,
    "F cuts on xfs": 70,
    # Less would say that the inputs no longer lead behind the checksums, or that the fuzzers hardly ran.
    "I fuzz_open: edges of the library covered": 8500,
    "I fuzz_open: executions": 500,
    "I fuzz_tail: edges of the library covered": 8500,
    "I fuzz_tail: executions": 500,
    "I fuzz_entry: edges of the library covered": 1800,
    "I fuzz_api: edges of the library covered": 10000,
    "I fuzz_api: executions": 250,
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
    paths = [argument for argument in sys.argv[1:] if argument != "--goals"]
    sums = {}
    reasons = {}
    for path in paths:
        try:
            for text in texts(path):
                for what, count in LINE.findall(text):
                    sums[what] = sums.get(what, 0) + int(count)
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
    missed = [what for what, goal in GOALS.items() if "--goals" in sys.argv and what not in reasons
              and sums.get(what, 0) < goal]
    for what in missed:
        print(f"too few: {what[2:]}: {sums.get(what, 0)} of {GOALS[what]}")
    return 1 if missed else 0


sys.exit(main())
