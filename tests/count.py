#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Counts passed and failed test cases over testlog.json files of meson; Criterion's cases count one by one.

Usage: count.py TESTLOG.json... Prints what each failed one has said, and "N passed, N failed" as its last line; exits with 1
when one failed or none ran.
"""
import json
import re
import sys

SYNTHESIS = re.compile(r"Synthesis: Tested:\s*(\d+)\s*\|\s*Passing:\s*(\d+)\s*\|\s*Failing:\s*(\d+)")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
TOLD = 3000  # characters, of the beginning and of the end of what a failed one has said


def tell(test, said):
    """Once more, at the end: of a long log often nothing else is kept, and a seed may stand in it."""
    if len(said) > 2 * TOLD:
        said = said[:TOLD] + "\n[...]\n" + said[-TOLD:]
    print(f"---- failed: {test['name']} ({test['result']})\n{said}\n----")


def count(test):
    """(passed, failed) of one meson test."""
    good = test["result"] in ("OK", "EXPECTEDFAIL")
    said = COLOURS.sub("", (test.get("stdout") or "") + (test.get("stderr") or ""))
    if test["result"] == "SKIP":
        print(f"skipped: {test['name']}")
        return 0, 0
    if not good:
        tell(test, said)
    found = SYNTHESIS.search(said)
    if not found:
        return (1, 0) if good else (0, 1)
    passed, failed = int(found.group(2)), int(found.group(3))  # what crashed is among them
    return passed, failed if good or failed else 1


def main():
    passed = failed = 0
    for path in sys.argv[1:]:
        try:
            with open(path, encoding="utf-8") as log:
                results = [count(json.loads(line)) for line in log if line.strip()]
        except OSError as error:
            print(f"{path}: {error.strerror}: these tests did not run")
            results = [(0, 1)]
        passed += sum(result[0] for result in results)
        failed += sum(result[1] for result in results)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


sys.exit(main())
