#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench/report and what it stands on, with runs whose figures are known. Skipped, and that is told, without gnuplot."""
import importlib.machinery
import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import unittest

import bench_run

import plots
from latency import Latency
from results import BEHIND, CLOSE, CPU, FIRST, NOT_DONE, OWN, P99, P999, RATE, SPACE, Figures, Results

PROGRAM = os.path.join(bench_run.ROOT, "bench", "report")
loader = importlib.machinery.SourceFileLoader("report", PROGRAM)
report = importlib.util.module_from_spec(importlib.util.spec_from_loader("report", loader))
loader.exec_module(report)
SEED = 7
SKIPPED = 77


def record_of(values):
    """What bench tells of these latencies."""
    values, curve, rest = sorted(values), [], 1.0

    def at(fraction):
        return values[min(int(fraction * len(values)), len(values) - 1)]
    while rest * len(values) >= 10:
        curve.append([1 - rest, at(1 - rest)])
        rest *= 0.5623413
    summary = {"count": len(values), "max": values[-1]}
    summary.update({name: at(float(name[1:]) / 100) for name in ("p50", "p90", "p99", "p99.9", "p99.99")})
    return {"latency_ns": summary, "latency_curve": curve}


class Latencies(unittest.TestCase):
    def test_pooled(self):
        """Would break if quantiles of several repetitions were those of one of them, or a mean of theirs."""
        chance = random.Random(SEED)
        parts = [[int(chance.lognormvariate(mean, 0.7) * 1000) for _ in range(count)]
                 for mean, count in ((0, 50000), (2, 20000), (1, 3000))]
        values = sorted(sum(parts, []))
        latency = Latency([record_of(part) for part in parts])
        self.assertEqual(latency.count, len(values))
        for fraction in (0.5, 0.7, 0.9, 0.99, 0.999, 0.9998):
            exact = values[int(fraction * len(values))]
            self.assertAlmostEqual(latency.at(fraction) / exact, 1, delta=0.05, msg=fraction)
        self.assertEqual(latency.max, values[-1])

    def test_few_samples(self):
        """Would break if a quantile were given that fewer than 10 samples exceed: of 3,000, the 0.999 one."""
        latency = Latency([record_of(range(1, 1001))] * 3)
        self.assertAlmostEqual(latency.at(0.99), 990, delta=5)
        self.assertIsNone(latency.at(0.999))
        self.assertLess(latency.curve()[-1][0], 1 - 10 / 3001)
        self.assertGreater(latency.curve()[-1][0], 0.99)
        self.assertIsNone(Latency([]).at(0.5))
        self.assertEqual(Latency([]).curve(), [])

    def test_one_value(self):
        self.assertEqual(Latency([record_of([5] * 1000)]).at(0.9), 5)


class Ratios(unittest.TestCase):
    def results(self, change=lambda record: None):
        records = list(bench_run.run(1, cases=1, factors={"lmdb": 2.0, "rocksdb": 0.5}))
        for record in records:
            if record["type"] == "result":
                change(record)
        return Results(records)

    def test_directions(self):
        """Would break if less CPU or a lower latency were a loss: LMDB is twice as fast here."""
        results = self.results()
        for metric in (RATE, P99, P999, CPU):
            self.assertAlmostEqual(results.ratio_to_best("main/case-0", metric), 0.5, delta=0.01, msg=metric.name)
            self.assertEqual(results.best_other("main/case-0", metric)[0], "lmdb")
        self.assertAlmostEqual(results.ratio_to_best("main/case-0", SPACE), 1)

    def test_other_work(self):
        """Would break if a store were compared that was stopped early, or that held other entries."""
        def cap(record):
            if record["store"] == "lmdb":
                record["capped"] = True
        results = self.results(cap)
        self.assertEqual(results.best_other("main/case-0")[0], "lmdb-writemap")
        self.assertEqual(results.cases["main/case-0"]["lmdb"].marks, "c")

        def shrink(record):
            record["entries"] = 400 if record["store"] == OWN else 100
        self.assertIsNone(self.results(shrink).ratio_to_best("main/case-0"))

    def test_timed(self):
        """Would break if a store that puts more in the same time were not compared with those that put less."""
        def put(record):
            record["entries"] = record["operations"]
        self.assertAlmostEqual(self.results(put).ratio_to_best("main/case-0"), 0.5, delta=0.01)

        def put_on(record):
            record["group"] = "durable"
            record["entries"] = record["operations"] + 1200
        self.assertAlmostEqual(self.results(put_on).ratio_to_best("main/case-0"), 0.5, delta=0.01)

    def test_outcomes(self):
        """Would break if a lead within the noise counted as one, or a case that we did not get through as none."""
        case = "main/case-0"
        self.assertEqual(self.results().outcome(case), BEHIND)

        def overlap(record):
            record["per_second"] = {OWN: 100, "lmdb": 90}.get(record["store"], 10) + 15 * record["repetition"]
        self.assertEqual(self.results(overlap).outcome(case), CLOSE)

        def lead(record):
            record["per_second"] *= 9 if record["store"] == OWN else 1
        self.assertEqual(self.results(lead).outcome(case), FIRST)

        def cap(record):
            record["capped"] = record["store"] == OWN
        self.assertEqual(self.results(cap).outcome(case), NOT_DONE)

        def cap_all(record):
            record["capped"] = True
        self.assertIsNone(self.results(cap_all).outcome(case))

        def fail(record):
            if record["store"] == OWN and record["repetition"] == 1:
                record.update(status="failed", reason="a wrong answer")
        self.assertEqual(self.results(fail).outcome(case), NOT_DONE)

    def test_above_the_limit(self):
        """Would break if a rate above the physical limit, measured at another moment, passed for one that can be."""
        self.assertNotIn("?", report.to_limit(self.results(), "main/case-0"))

        def race(record):
            record["per_second"] *= 1000
        self.assertIn("?", report.to_limit(self.results(race), "main/case-0"))

    def test_marks(self):
        figures = Figures()
        figures.add(bench_run.record("main/get-cold", OWN, 0))
        self.assertIsNone(figures.spread)
        self.assertEqual(figures.marks, "")
        figures.add({**bench_run.record("main/get-cold", OWN, 1), "group": "cold", "disturbed": ["steal"]})
        figures.add({"status": "failed", "reason": "a wrong answer"})
        self.assertEqual(figures.marks, "!fw")
        self.assertEqual(figures.spread, 0)


class Plots(unittest.TestCase):
    def points(self, ys, logarithmic="y"):
        return plots.lines("title", "x", "y", [("lmdb", list(enumerate(ys)))], logarithmic).count("xlink:href='#gpPt")

    def test_zero(self):
        """Would break if a second in which nothing was done vanished from a plot."""
        for logarithmic in ("", "y"):
            self.assertEqual(self.points([10, 0, 1000], logarithmic), self.points([10, 5, 1000], logarithmic))
            self.assertEqual(self.points([10, None, 1000], logarithmic), self.points([10, 5, 1000], logarithmic) - 1)
        commands, place = plots.axis([10, 0, 1000], True)
        self.assertLess(place(0), 10)
        self.assertEqual(place(10), 10)
        self.assertIn("'0'", commands)
        self.assertIsNone(plots.lines("title", "x", "y", [("lmdb", [(0, None)])], "y"))


class Program(unittest.TestCase):
    CASES = ["main/fill-batch", "main/durable-1", "main/durable-4", "main/get-1", "main/get-2", "main/get-4",
             "db_bench-100/overwrite"]

    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.file = os.path.join(self.scratch.name, "run.json")
        records = list(bench_run.run(SEED, 0.02, cases=self.CASES, factors={("main/get-1", "rocksdb"): 1.5}))
        for record in records:
            if record.get("case") == "main/durable-1" and record["store"] == "rocksdb":
                record["per_second"] *= 1 + record["repetition"]
            if record["type"] == "result" and record["workload"][-2:-1] == "-":
                record["threads"] = int(record["workload"][-1])
        bench_run.write(self.file, records)

    def tearDown(self):
        self.scratch.cleanup()

    def report(self, *arguments):
        done = subprocess.run([sys.executable, PROGRAM, *arguments, self.file], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def read(self, name):
        with open(os.path.join(self.scratch.name, name), encoding="utf-8") as file:
            return file.read()

    def test_text(self):
        """Would break if an unstable figure made the run a disturbed one, or were not named."""
        output = self.report()
        self.assertRegex(output, r"\n  main/durable-1: rocksdb \d\d\d?%\n")
        self.assertIn("1 figures are unstable", output)
        self.assertNotIn("The run was disturbed", output)
        self.assertRegex(output, r"\n  get-1 .* 0\.6\d rocksdb ")

    def test_disturbed(self):
        records = list(bench_run.run(SEED, 0.02, cases=self.CASES))
        for record in records[10:30]:
            record["disturbed"] = ["other processes"]
        bench_run.write(self.file, records)
        output = self.report()
        self.assertIn("The run was disturbed: during 20 of 85 measurements", output)
        self.assertNotIn("unstable", output)

    def test_page(self):
        page = os.path.join(self.scratch.name, "page.html")
        self.report("--html", page)
        text = self.read("page.html")
        for part in ("write-sequential</th><td>1k</td>", "closed loop", "Random gets over threads",
                     "Durable puts over threads", "<li>main/durable-1: rocksdb"):
            self.assertIn(part, text)

    def test_readme(self):
        """Would break if the README's table lost a column, or said nothing of latency, space, memory and bytes."""
        self.report("--readme", os.path.join(self.scratch.name, "readme"))
        table = self.read("readme/table.rst")
        for part in ("Operations per second", "p99, microseconds", "Bytes allocated per byte of live data",
                     "Peak of anonymous memory, MiB", "Bytes written to the device per byte put", "lmdb-writemap",
                     "The greatest losses", "The greatest gains"):
            self.assertIn(part, " ".join(table.split()))
        self.assertRegex(table, r"Random gets, 1 thread .* 0\.6\d rocksdb")
        for name in ("throughput.svg", "latency.svg"):
            self.assertIn("<svg", self.read(os.path.join("readme", name)))


if __name__ == "__main__":
    if not plots.available():
        print("report: gnuplot is not installed")
        sys.exit(SKIPPED)
    unittest.main()
