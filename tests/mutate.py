#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Breaks every branch of the files that decide what survives, one at a time, and looks whether a test notices.

Usage: mutate.py [--minutes N] [--sample N] [--seed S] [--jobs N] [--only FILE[:LINE]]... [--again] [--long] [--list]
                 [--work DIRECTORY] [FILE.c...]

The branches are the conditions of if, while, for and ?:, what bool functions return and bool variables begin with; where
such a condition is joined by && and ||, each operand is a branch. case labels are not. The mutants of a branch:

    true, false     what is evaluated is evaluated, then the answer is this one. The condition of a loop that has no
                    operands is not forced true: that ends in no other way than by a crash or for want of time.
    < for <=        and the other way round, > and >= likewise: off by one.

A negated condition is not among them: whatever notices one of the first two notices that. All mutants are compiled at once
into a copy of the tree, behind a variable of the environment that says which is alive: so there is one build, with the
sanitizers under which tools/check runs, and each test case can say first at which branches a mutant would have made a
difference. Only those cases run against it, first the tests that are fast and have caught most in the same file, up to the
first case that fails (twice) or takes much too long (twice, too: the second time alone, with four times as long). A mutant
that makes a difference in no case has survived.

Results are kept in the work directory, and taken up again where the file is the same: what --minutes or ^C has cut off goes
on where it ended. --sample N takes the first N of the order that the seed gives, and judges by them alone. --again runs those
that survived once more, --long with the tests that take minutes. mutants.txt, beside this script, has the mutants that are
none: they make no difference, or only one of speed. Exits with 1 when less than 95 of 100 were caught.
"""
import argparse
import bisect
import collections
import concurrent.futures
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FILES = ["recover.c", "replay.c", "part.c", "commit.c", "txn_commit.c", "entry.c", "action.c", "slab.c", "meta.c", "page.c",
         "node_disk.c"]
GOAL_PERCENT = 95

# Executables of tests/, with what makes them short.
TESTS = [(name, {}) for name in (
    "action", "slab", "entry", "part", "meta", "page", "log", "node_disk", "node", "node_branch", "bulk", "forest", "tree",
    "store", "walk", "version", "db", "commit", "commit_memory", "commit_room", "commit_told", "commit_threads",
    "checkpoint", "hold_back",
    "recover", "recover_beside", "recover_copy", "recover_forged", "recover_pages", "recover_space", "replay", "replay_log",
    "fault_operations", "spill", "attack_engine", "api", "api_cursor", "api_data", "api_report", "bad_input")]
TESTS += [("crash", {"SOLIFUGE_TEST_ROUNDS": "2"}), ("interleave", {"SOLIFUGE_TEST_ROUNDS": "10"}),
          ("damage", {"SOLIFUGE_TEST_STRIDE": "300"}), ("model", {"SOLIFUGE_TEST_ROUNDS": "1"}),
          ("fault_scenes", {"SOLIFUGE_TEST_MATRIX": "0"})]
LONG_TESTS = [("crash_images", {"SOLIFUGE_TEST_ROUNDS": "40"}), ("forgery", {"SOLIFUGE_TEST_ROUNDS": "2600"}),
              ("kill", {"SOLIFUGE_TEST_ROUNDS": "20"})]
TRIES = 2  # a test that goes by the clock may fail on a machine with much to do, but not each time
PATIENCE = 4  # what was too slow is run again alone, and has so many times as long
SPLIT_SECONDS = 0.5  # a test that takes longer is run by its cases
# A mutant may write or allocate without end. The simulated disk reserves far more than it uses: no limit on that. 16 GiB.
LIMITS = 'ulimit -c 0; ulimit -f 33554432; echo 1000 >/proc/self/oom_score_adj; exec "$@"'

HEADER = """
#pragma once
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((weak)) int mutant_alive;
__attribute__((weak)) unsigned char *mutant_seen;

/* System calls, since some tests put functions of their own before those of the library. */
__attribute__((constructor, unused)) static void mutant_start(void)
{
	const char *alive = getenv("MUTANT_ALIVE"), *seen = getenv("MUTANT_SEEN");

	if (alive)
		mutant_alive = atoi(alive);
	if (seen && !mutant_seen) {
		long fd = syscall(SYS_openat, AT_FDCWD, seen, O_RDWR | O_CLOEXEC, 0);

		mutant_seen = (unsigned char *)syscall(SYS_mmap, 0L, (long)MUTANT_COUNT, (long)(PROT_READ | PROT_WRITE),
						       (long)MAP_SHARED, fd, 0L);
		syscall(SYS_close, fd);
	}
}

static inline int mutant_force(int if_true, int if_false, int value)
{
	if (mutant_seen)
		mutant_seen[value ? if_false : if_true] = 1;
	return mutant_alive && mutant_alive == if_true ? 1 : mutant_alive && mutant_alive == if_false ? 0 : value;
}

static inline int mutant_bound(int number, int value, int other)
{
	if (mutant_seen && value != other)
		mutant_seen[number] = 1;
	return mutant_alive == number ? other : value;
}
"""

# One branch, mutated in one way. name is how mutants.txt calls it.
Mutant = collections.namedtuple("Mutant", "file line function text kind name number")
# What runs at once: a test, or some cases of it.
Unit = collections.namedtuple("Unit", "test environment case seconds")


# ---- Conditions ------------------------------------------------------------------------------------------------------

def blank(text):
    """Comments, strings, preprocessor lines and asserts as spaces: every other byte keeps its place."""
    def spaces(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    text = re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', spaces, text, flags=re.S)
    text = re.sub(r"^#(?:[^\n]*\\\n)*[^\n]*", spaces, text, flags=re.M)
    text = list(text)
    for found in re.finditer(r"\b(?:assert|_Static_assert)\s*(?=\()", "".join(text)):
        end = closing("".join(text), found.end())
        for i in range(found.start(), end + 1):
            text[i] = text[i] if text[i] == "\n" else " "
    return "".join(text)


def closing(text, opening):
    """Where the parenthesis that opens here is closed."""
    depth = 0
    for i in range(opening, len(text)):
        depth += (text[i] in "([{") - (text[i] in ")]}")
        if not depth:
            return i
    raise ValueError("a parenthesis is not closed")


def top_level(text, begin, end):
    """The operators that stand in no parenthesis: (place, operator)."""
    i = begin
    while i < end:
        if text[i] in "([{":
            i = closing(text, i)
        found = re.compile(r"&&|\|\||<<|>>|->|[<>=!]=|[<>?:;,]|[-+*/%&|^]?=").match(text, i, end)
        if found:
            yield i, found.group(0)
            i = found.end()
        else:
            i += 1


def strip(text, begin, end):
    while begin < end and text[begin].isspace():
        begin += 1
    while end > begin and text[end - 1].isspace():
        end -= 1
    return begin, end


def operands(text, begin, end):
    """A condition, or what && and || join in it, parentheses and ! looked through."""
    begin, end = strip(text, begin, end)
    joints = [place for place, operator in top_level(text, begin, end) if operator in ("&&", "||")]
    if any(operator in "?,;" for _, operator in top_level(text, begin, end)):
        return
    if joints:
        for first, last in zip([begin] + [joint + 2 for joint in joints], joints + [end]):
            yield from operands(text, first, last)
        return
    inner = re.compile(r"!?\(").match(text, begin, end)
    if inner and closing(text, inner.end() - 1) == end - 1 and re.search(r"&&|\|\|", text[begin:end]):
        yield from operands(text, inner.end(), end - 1)
        return
    yield begin, end


def start_of(text, place):
    """Where the condition before a ? begins."""
    depth = 0
    for i in range(place - 1, -1, -1):
        if text[i] in ")]}":
            depth += 1
        elif text[i] in "([{":
            if not depth:
                return i + 1
            depth -= 1
        elif not depth and (text[i] in ",;?:" or text[i] == "=" and text[i + 1] != "=" and text[i - 1] not in "=!<>"):
            return i + 1
        elif not depth and re.match(r"\breturn\b", text[i:i + 6 + 1]) and not text[i - 1].isalnum():
            return i + 6
    return 0


def conditions(text, begin, end, is_bool):
    """(begin, end, is a loop) of the conditions of a function's body."""
    for found in re.compile(r"\b(if|while|for)\s*\(").finditer(text, begin, end):
        first, last = found.end(), closing(text, found.end() - 1)
        if found.group(1) == "for":
            semicolons = [place for place, operator in top_level(text, first, last) if operator == ";"]
            first, last = semicolons[0] + 1, semicolons[1]
        if text[first:last].strip():
            yield first, last, found.group(1) != "if"
    for found in re.compile(r"\?").finditer(text, begin, end):
        yield start_of(text, found.start()), found.start(), False
    starts = r"\bbool \w+ = |\breturn\b" if is_bool else r"\bbool \w+ = "
    for found in re.compile(starts).finditer(text, begin, end):
        last = next(place for place, operator in top_level(text, found.end(), end) if operator in ",;")
        if not re.fullmatch(r"\s*(true|false)\s*", text[found.end():last]):
            yield found.end(), last, False


def functions(text):
    """(name, begin, end, returns bool): a body begins with a line '{' and ends with a line '}'."""
    for found in re.finditer(r"^([^\s#}][^;{}]*?\b(\w+)\([^;{}]*\))\n\{$(.*?)^\}", text, re.M | re.S):
        yield found.group(2), found.start(3), found.end(3), re.match(r"(?:static |inline )*bool\b", found.group(1))


def boundary(text, begin, end):
    """(place, operator, the other one) of a comparison."""
    found = [(place, operator) for place, operator in top_level(text, begin, end) if operator in ("<", ">", "<=", ">=")]
    if len(found) != 1:
        return None
    place, operator = found[0]
    return place, operator, {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}[operator]


def branches(source):
    """(begin, end, function, is a lone condition of a loop) of every branch, each once."""
    text = blank(source)
    seen = {}
    for name, first, last, is_bool in functions(text):
        for begin, end, loop in conditions(text, first, last, is_bool):
            parts = list(operands(text, begin, end))
            for part in parts:
                seen.setdefault(part, (name, loop and len(parts) == 1))
    return [(begin, end) + seen[begin, end] for begin, end in sorted(seen)]


def flat(text):
    return re.sub(r"\s+", " ", text).strip()


class Weaver:
    """Puts the mutants of one file into its source."""

    def __init__(self, name, source, first):
        self.name, self.source, self.first = name, source, first
        self.text = blank(source)
        self.branches = branches(source)
        self.names = collections.Counter()
        self.mutants = []

    def add(self, place, function, shown, kind):
        """The number of a new mutant."""
        key = f"{self.name} {function}: {shown} -> {kind}"
        self.names[key] += 1
        key += f" #{self.names[key]}" if self.names[key] > 1 else ""
        line = self.source.count("\n", 0, place) + 1
        self.mutants.append(Mutant(self.name, line, function, shown, kind, key, self.first + len(self.mutants)))
        return self.mutants[-1].number

    def weave(self, begin, end, within=None):
        """The source between two places, with the branches in it, the one that is just this left out."""
        pieces, at = [], begin
        for branch in self.branches[bisect.bisect_left(self.branches, (begin,)):]:
            if branch[0] >= end:
                break
            if branch[0] < at or branch[1] > end or branch[:2] == within:
                continue
            pieces += [self.source[at:branch[0]], self.weave_branch(*branch)]
            at = branch[1]
        return "".join(pieces + [self.source[at:end]])

    def weave_branch(self, begin, end, function, lone_loop):
        shown = flat(self.source[begin:end])
        if_true = 0 if lone_loop else self.add(begin, function, shown, "true")
        if_false = self.add(begin, function, shown, "false")
        found = boundary(self.text, begin, end)
        if not found:
            return f"mutant_force({if_true}, {if_false}, !!({self.weave(begin, end, (begin, end))}))"
        place, operator, other = found
        behind = place + len(operator)
        number = self.add(begin, function, shown,
                          f"{flat(self.source[begin:place])} {other} {flat(self.source[behind:end])}")
        left, right = self.weave(begin, place), self.weave(behind, end)
        return (f"mutant_force({if_true}, {if_false}, ({{ __typeof__(({left}) + 0) mutant_l = ({left}); "
                f"__typeof__(({right}) + 0) mutant_r = ({right}); "
                f"mutant_bound({number}, mutant_l {operator} mutant_r, mutant_l {other} mutant_r); }}))")


def mutate(name, source, first):
    """The source with its mutants in it, numbered from first, and their list. The header takes the line of the licence."""
    weaver = Weaver(name, source, first)
    woven = weaver.weave(0, len(source))
    return '#include "mutant.h"' + woven[woven.index("\n"):], weaver.mutants


# ---- Building and running --------------------------------------------------------------------------------------------

def must_run(arguments):
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.stdout.write(done.stdout.decode(errors="replace")[-4000:])
        sys.exit(f"mutate: {arguments[0]} failed")
    return done.stdout.decode(errors="replace")


def write_changed(path, text):
    """Leaves a file alone that is so already: ninja goes by its time."""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


class Workshop:
    """A mutated copy of the tree, its build, and how tests run there."""

    def __init__(self, work, files):
        self.tree, self.build, self.scratch, self.survey = (
            os.path.join(work, name) for name in ("tree", "build", "scratch", "survey.json"))
        shutil.rmtree(self.scratch, ignore_errors=True)
        os.makedirs(self.scratch)
        self.mutants, self.digests = [], {}
        for folder, folders, names in os.walk(ROOT):
            folders[:] = [name for name in folders if name not in (".git", "__pycache__") and
                          not (folder == ROOT and name.startswith("build"))]
            for name in names:
                self.copy(os.path.relpath(os.path.join(folder, name), ROOT), files)
        write_changed(os.path.join(self.tree, "lib/mutant.h"),
                      "/* SPDX-License-Identifier: MIT */" + HEADER.replace("MUTANT_COUNT", str(len(self.mutants) + 1)))

    def copy(self, name, files):
        stem = os.path.basename(name)
        to = os.path.join(self.tree, name)
        if name not in ["lib/" + file for file in files]:
            if not os.path.exists(to) or os.stat(to).st_mtime != os.stat(os.path.join(ROOT, name)).st_mtime:
                os.makedirs(os.path.dirname(to), exist_ok=True)
                shutil.copy2(os.path.join(ROOT, name), to)
            return
        with open(os.path.join(ROOT, name), encoding="utf-8") as file:
            source = file.read()
        woven, mutants = mutate(stem, source, len(self.mutants) + 1)
        write_changed(to, woven)
        self.mutants += mutants
        self.digests[stem] = hashlib.sha256(source.encode()).hexdigest()[:16]

    def compile(self, tests):
        if not os.path.exists(os.path.join(self.build, "build.ninja")):
            must_run(["meson", "setup", self.build, self.tree, "--buildtype=debug", "-Doptimization=1", "-Dparanoid=true",
                      "-Dtests=enabled", "-Dbench=disabled", "-Dc_args=-w", "-Db_sanitize=address,undefined"])
        must_run(["ninja", "-C", self.build] + ["tests/test_" + test for test, _ in tests])

    def run(self, unit, cases, seconds, alive=0, seen=None):
        """Whether a test, or some of its cases, passes in time: "passed", "failed", "too slow"."""
        with tempfile.TemporaryDirectory(dir=self.scratch, ignore_cleanup_errors=True) as scratch:
            os.chmod(scratch, 0o755)  # a test gives up its rights
            environment = dict(os.environ, SOLIFUGE_TEST_SEED="7", SOLIFUGE_SOURCE_ROOT=ROOT, TMPDIR=scratch,
                               UBSAN_OPTIONS="halt_on_error=1", MUTANT_ALIVE=str(alive), **unit.environment)
            if seen:
                environment["MUTANT_SEEN"] = seen
            arguments = ["/bin/sh", "-c", LIMITS, "sh", os.path.join(self.build, "tests/test_" + unit.test), "-j1",
                         "--fail-fast"]
            if cases:
                arguments += ["--filter", cases[0] if len(cases) == 1 else "@(" + "|".join(cases) + ")"]
            with subprocess.Popen(arguments, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, start_new_session=True) as process:
                try:
                    return "failed" if process.wait(seconds) else "passed"
                except subprocess.TimeoutExpired:
                    return "too slow"
                finally:
                    end_session(process.pid)

    def cases(self, test):
        """The cases of a test: suite/case."""
        listed = must_run([os.path.join(self.build, "tests/test_" + test), "--list", "--color=never"])
        suite, found = "", []
        for line in listed.splitlines():
            if re.match(r"\w+:", line):
                suite = line.split(":")[0]
            elif re.match(r"\W+ ?\w", line):
                found.append(suite + "/" + re.sub(r"^\W+", "", line).split(" ")[0].split(":")[0])
        return found

    def look(self, unit, cases):
        """(numbers of the mutants at whose branches these cases would see a difference, seconds)."""
        with tempfile.NamedTemporaryFile(dir=self.scratch) as file:
            file.truncate(len(self.mutants) + 1)
            for _ in range(TRIES):
                start = time.monotonic()
                result = self.run(unit, cases, 600, seen=file.name)
                seconds = time.monotonic() - start
                if result == "passed":
                    break
            else:
                raise RuntimeError(f"test_{unit.test} {' '.join(cases)} {result} without a mutant")
            seen = file.read()
            return frozenset(i for i in range(1, len(self.mutants) + 1) if seen[i]), seconds


def end_session(leader):
    """The runner of the tests has a group of its own, and each case another one in the same session."""
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.getsid(int(name)) == leader:
                os.kill(int(name), signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


def survey_test(workshop, test, environment):
    unit = Unit(test, environment, "", 0)
    seen, seconds = workshop.look(unit, [])
    if not seen:
        return []
    cases = workshop.cases(test) if seconds > SPLIT_SECONDS else []
    if len(cases) < 2:
        return [(unit._replace(seconds=seconds), seen)]
    found = []
    for case in cases:
        seen, seconds = workshop.look(unit, [case])
        found.append((unit._replace(case=case, seconds=seconds), seen))
    return found


def survey(workshop, tests, pool):
    """[(unit, the mutants that it may notice)]. Kept in a file, each test for as long as it is not built anew."""
    known = {}
    if os.path.exists(workshop.survey):
        with open(workshop.survey, encoding="utf-8") as file:
            known = json.load(file)

    def look(pair):
        built = os.stat(os.path.join(workshop.build, "tests/test_" + pair[0])).st_mtime
        if known.get(pair[0], [0])[0] != built:
            found = survey_test(workshop, *pair)
            known[pair[0]] = [built, [[unit.case, unit.seconds, sorted(seen)] for unit, seen in found]]
        return [(Unit(*pair, case, seconds), frozenset(seen)) for case, seconds, seen in known[pair[0]][1]]

    surveyed = [found for each in pool.map(look, tests) for found in each]
    with open(workshop.survey, "w", encoding="utf-8") as file:
        json.dump(known, file)
    return surveyed


class Luck:
    """How often each test has caught what it was tried on, by file."""

    def __init__(self):
        self.tried, self.caught = collections.Counter(), collections.Counter()

    def cost(self, file, units):
        """Seconds for one that is caught, as far as is known."""
        key = file, units[0].test
        return sum(unit.seconds for unit in units) * (self.tried[key] + 2) / (self.caught[key] + 1)

    def note(self, file, test, caught):
        self.tried[file, test] += 1
        self.caught[file, test] += caught


class Floor:
    """The mutants that are run share the machine, but for those that are run again because they were too slow."""

    def __init__(self):
        self.changed, self.running, self.alone = threading.Condition(), 0, False

    @contextlib.contextmanager
    def shared(self):
        with self.changed:
            self.changed.wait_for(lambda: not self.alone)
            self.running += 1
        try:
            yield
        finally:
            with self.changed:
                self.running -= 1
                self.changed.notify_all()

    @contextlib.contextmanager
    def alone_on_it(self):
        with self.changed:
            self.changed.wait_for(lambda: not self.alone)
            self.alone = True
            self.changed.wait_for(lambda: not self.running)
        try:
            yield
        finally:
            with self.changed:
                self.alone = False
                self.changed.notify_all()


def run_twice(workshop, floor, units, number):
    """How a test ends with a mutant: "failed" or "too slow" only when it does so twice."""
    cases = [unit.case for unit in units if unit.case]
    seconds = 5 + 5 * sum(unit.seconds for unit in units)
    with floor.shared():
        result = workshop.run(units[0], cases, seconds, number)
        for _ in range(TRIES - 1):
            if result == "failed":
                result = workshop.run(units[0], cases, seconds, number)
    if result == "too slow":
        with floor.alone_on_it():
            result = workshop.run(units[0], cases, PATIENCE * seconds, number)
    return result


def judge(workshop, surveyed, luck, floor, mutant):
    """(outcome, by which test): caught, survived, or not reached."""
    able = [unit for unit, seen in surveyed if mutant.number in seen]
    if not able:
        return "not reached", ""
    groups = collections.defaultdict(list)
    for unit in able:
        groups[unit.test].append(unit)
    for units in sorted(groups.values(), key=lambda units: luck.cost(mutant.file, units)):
        result = run_twice(workshop, floor, units, mutant.number)
        luck.note(mutant.file, units[0].test, result != "passed")
        if result != "passed":
            return "caught", units[0].test + (": too slow" if result == "too slow" else "")
    return "survived", f"{len(able)} units"


# ---- Results ---------------------------------------------------------------------------------------------------------

def annotations():
    """The names of mutants that are none: lines of mutants.txt that are not indented; the reason stands below."""
    with open(os.path.join(ROOT, "tests/mutants.txt"), encoding="utf-8") as file:
        return {line.strip() for line in file if line.strip() and line[0] not in " \t#"}


class Results:
    """What is known of each mutant, kept in a file: {name: [digest of the source, outcome, by]}."""

    def __init__(self, path, digests):
        self.path, self.digests, self.known = path, digests, {}
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                self.known = json.load(file)

    def get(self, mutant):
        digest, outcome, by = self.known.get(mutant.name, ("", None, ""))
        return (outcome, by) if digest == self.digests[mutant.file] else (None, "")

    def put(self, mutant, outcome, by):
        self.known[mutant.name] = [self.digests[mutant.file], outcome, by]
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            json.dump(self.known, file, indent=0)
        os.replace(self.path + ".new", self.path)


def report(mutants, results, equivalent):
    """Prints the survivors and the table. Returns the share of caught ones, in percent."""
    table = collections.defaultdict(collections.Counter)
    for mutant in mutants:
        outcome, by = results.get(mutant)
        outcome = "equivalent" if mutant.name in equivalent else outcome or "not run"
        table[mutant.file][outcome] += 1
        if outcome in ("survived", "not reached"):
            print(f"lib/{mutant.file}:{mutant.line}: {outcome}: {mutant.name}  ({by})")
    columns = ("mutants", "caught", "survived", "not reached", "equivalent", "not run")
    print(f"{'':16}" + "".join(f"{column:>13}" for column in columns) + f"{'caught of run':>15}")
    sums = collections.Counter()
    for file, counts in sorted(table.items()):
        sums += counts
    for file, counts in sorted(table.items()) + [("all", sums)]:
        run = counts["caught"] + counts["survived"] + counts["not reached"]
        share = 100 * counts["caught"] / run if run else 100.0
        print(f"{file:16}" + "".join(f"{counts[column] if column != 'mutants' else counts.total():13}" for column in columns)
              + f"{share:13.1f} %")
    return share


def arguments():
    parser = argparse.ArgumentParser(description="Breaks every branch, one at a time, and looks whether a test notices.")
    parser.add_argument("files", nargs="*", metavar="FILE.c", help="of lib/; recovery, commit and decoding by default")
    parser.add_argument("--minutes", type=float, default=1e9, help="begins with no mutant after so long; run again to go on")
    parser.add_argument("--sample", type=int, metavar="N", help="N mutants, drawn by chance")
    parser.add_argument("--seed", type=int, default=1, help="of the order: any part of it is a sample of the whole")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="mutants at a time")
    parser.add_argument("--only", action="append", default=[], metavar="FILE[:LINE]")
    parser.add_argument("--again", action="store_true", help="survivors are run again")
    parser.add_argument("--long", action="store_true", help="survivors meet the tests that take minutes, too")
    parser.add_argument("--list", action="store_true", help="prints all mutants, runs none")
    parser.add_argument("--work", default=os.path.join(ROOT, "build-mutate"), help="directory for the copy and the results")
    return parser.parse_args()


def main():
    given = arguments()
    end = time.monotonic() + given.minutes * 60
    os.makedirs(given.work, exist_ok=True)
    workshop = Workshop(os.path.abspath(given.work), given.files or FILES)
    mutants = workshop.mutants
    if given.only:
        mutants = [mutant for mutant in mutants if {mutant.file, f"{mutant.file}:{mutant.line}"} & set(given.only)]
    equivalent = annotations()
    gone = [name for name in sorted(equivalent - {mutant.name for mutant in workshop.mutants})
            if name.split()[0] in workshop.digests]
    if gone:
        sys.exit("mutate: mutants.txt names what is not there:\n" + "\n".join(gone))
    if given.list:
        for mutant in mutants:
            print(f"lib/{mutant.file}:{mutant.line}: {mutant.name}")
        return 0
    results = Results(os.path.join(given.work, "results.json"), workshop.digests)
    tests = TESTS + (LONG_TESTS if given.long else [])
    again = ("survived", "not reached") if given.again or given.long or given.only else ()
    mutants = random.Random(given.seed).sample(mutants, min(given.sample or len(mutants), len(mutants)))
    todo = [mutant for mutant in mutants if mutant.name not in equivalent and results.get(mutant)[0] in (None,) + again]
    lock, luck, floor = threading.Lock(), Luck(), Floor()
    with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
        if todo:
            workshop.compile(tests)
            surveyed = survey(workshop, tests, pool)

        def work(mutant):
            if time.monotonic() >= end:
                return
            outcome, by = judge(workshop, surveyed, luck, floor, mutant)
            with lock:
                results.put(mutant, outcome, by)
                print(f"{outcome}: lib/{mutant.file}:{mutant.line}: {mutant.name}  ({by})", flush=True)
        try:
            list(pool.map(work, todo))
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise
    return 0 if report(mutants, results, equivalent) >= GOAL_PERCENT else 1


if __name__ == "__main__":
    sys.exit(main())
