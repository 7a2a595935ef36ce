#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Compares the branches of lib/ that no test has taken with those that untaken.txt, beside this script, gives a reason for.

Usage: untaken.py REPORT.json, of gcovr --json. Exits with 1 when a line has ways that were not taken and are not listed there,
or has fewer than are listed.

A line is known by its file, its function and its text, with "#2" for the second one of that text in the function. What stands
behind "->" in untaken.txt is how many of its ways are not taken; "0-1" where that changes from run to run.
"""
import collections
import json
import os
import re
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
LISTED = re.compile(r"^([^#\s].*) -> (\d+)(?:-(\d+))?$", re.M)


def names(path):
    """{number of a line: its name}."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        lines = file.read().splitlines()
    result, seen, function = {}, collections.Counter(), ""
    for number, line in enumerate(lines, 1):
        begin = re.match(r"[a-z][^=;]*?\b(\w+)\(", line)
        if begin and not line.endswith(";"):
            function = begin.group(1)
        name = f"{os.path.basename(path)} {function}: {' '.join(line.split())}"
        seen[name] += 1
        result[number] = name if seen[name] == 1 else f"{name} #{seen[name]}"
    return result


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    with open(os.path.join(ROOT, "tests/untaken.txt"), encoding="utf-8") as file:
        listed = {name: (int(least), int(most or least)) for name, least, most in LISTED.findall(file.read())}
    findings, known, untaken, ways = [], set(), 0, 0
    for source in report["files"]:
        of_line = names(source["file"])
        known.update(of_line.values())
        for line in source["lines"]:
            if line.get("gcovr/noncode") or line.get("gcovr/excluded"):
                continue
            count = sum(branch["count"] == 0 for branch in line["branches"])
            name = of_line[line["line_number"]]
            least, most = listed.get(name, (0, 0))
            untaken += count
            ways += len(line["branches"])
            if not least <= count <= most:
                findings.append(f"{source['file']}:{line['line_number']}: {count} of {len(line['branches'])} ways not taken, "
                                f"{f'{least} to {most} are' if name in listed else 'not'} in untaken.txt: {name}")
    findings += [f"untaken.txt: there is no such line: {name}" for name in listed if name not in known]
    for finding in findings:
        print(finding)
    print(f"{untaken:,} of {ways:,} ways not taken, {len(listed)} lines in untaken.txt, {len(findings)} findings")
    return 1 if findings else 0


sys.exit(main())
