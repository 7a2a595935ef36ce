#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench/compare on runs whose changes and noise are known: what is there is found, and what is not there is not."""
import importlib.machinery
import importlib.util
import math
import os
import statistics
import subprocess
import sys
import tempfile
import unittest

import bench_run

import noise
import results

PROGRAM = os.path.join(bench_run.ROOT, "bench", "compare")
loader = importlib.machinery.SourceFileLoader("compare", PROGRAM)
compare = importlib.util.module_from_spec(importlib.util.spec_from_loader("compare", loader))
loader.exec_module(compare)

SEEDS = 100
SLOW = "main/case-7"


def found(old, new):
    """{(case, name of the figure): -1 or 1} of what is not within the noise, of two Results."""
    every = {(case, metric.name): compare.verdict(metric, change)
             for metric, cases in compare.judged(old, new, results.OWN).items() for case, change in cases.items()}
    return {key: value for key, value in every.items() if value}


def verdicts(old, new):
    return found(results.Results(old), results.Results(new))


def false_alarms(deviation):
    """How many of SEEDS runs without a change show one against the run before them."""
    before, alarms = results.Results(bench_run.run(0, deviation)), 0
    for seed in range(1, SEEDS + 1):
        after = results.Results(bench_run.run(seed, deviation))
        alarms += bool(found(before, after))
        before = after
    return alarms


class Student(unittest.TestCase):
    def test_tail(self):
        """Would break if the table of Student's distribution were another one than in the books."""
        for t, degrees, expected in ((12.706, 1, 0.05), (4.6041, 4, 0.01), (8.6103, 4, 0.001), (2.2281, 10, 0.05),
                                     (3.2905, 1000, 0.001036)):
            self.assertAlmostEqual(noise.student_tail(t, degrees) / expected, 1, delta=0.005)
        self.assertAlmostEqual(noise.student_tail(0, 3), 1, places=6)

    def test_prior(self):
        """Would break if equal cases were not taken together, or if unlike ones were."""
        alike = noise.Prior([(0.01, 4)] * 100)
        self.assertEqual(alike.degrees, noise.DEGREES_MAX)
        unlike = noise.Prior([(10.0 ** -(i % 9), 4) for i in range(90)])
        self.assertLess(unlike.degrees, 1)
        self.assertAlmostEqual(noise.trigamma(noise.trigamma_inverse(0.3)), 0.3, places=6)
        self.assertAlmostEqual(noise.digamma(1), -0.5772156649, places=6)


class Noise(unittest.TestCase):
    """Would break if chance were taken for a change: no alarm in at least 95 of 100 pairs of runs of 150 cases."""

    def test_10_percent(self):
        self.assertLessEqual(false_alarms(0.10), 5)

    def test_unequal(self):
        self.assertLessEqual(false_alarms(lambda number: (0.01, 0.03, 0.1, 0.3)[number % 4]), 5)


class Changes(unittest.TestCase):
    def test_slower(self):
        """Would break if a case that became 30 % slower were overlooked, among others that scatter as much as it does."""
        missed = extra = 0
        for seed in range(20):
            told = verdicts(bench_run.run(2 * seed, 0.05),
                            bench_run.run(2 * seed + 1, 0.05, factors={(SLOW, "solifuge"): 0.7}))
            missed += told.get((SLOW, "rate")) != -1
            extra += any(case != SLOW for case, _ in told)
        self.assertLessEqual(missed, 1)
        self.assertLessEqual(extra, 1)

    def test_faster(self):
        """Would break if what is better in one figure were told as worse."""
        told = verdicts(bench_run.run(1, 0.03), bench_run.run(2, 0.03, factors={(SLOW, "solifuge"): 1.6}))
        self.assertEqual(told.get((SLOW, "rate")), 1)
        self.assertEqual(told.get((SLOW, "p99")), 1)
        self.assertNotIn(-1, told.values())

    def test_other_figures(self):
        """Would break if more space, memory or bytes written did not count."""
        for field, name in (("allocated_bytes", "space"), ("peak_anonymous_bytes", "memory"),
                            ("device_written_bytes", "written"), ("cpu_seconds", "CPU")):
            new = list(bench_run.run(2, 0.03))
            for record in new:
                if record.get("case") == SLOW and record["store"] == "solifuge":
                    record[field] *= 1.6
            self.assertEqual(verdicts(bench_run.run(1, 0.03), new), {(SLOW, name): -1})

    def test_other_work(self):
        """Would break if space were a loss because the store was faster, and put more in the time that it had."""
        new = list(bench_run.run(2, 0.03))
        for record in new:
            if record.get("case") == SLOW and record["store"] == "solifuge":
                record["operations"] *= 2
                record["put_bytes"] *= 2
                record["cpu_seconds"] *= 2
                record["device_written_bytes"] *= 4
                record["allocated_bytes"] *= 2
        self.assertEqual(verdicts(bench_run.run(1, 0.03), new), {})

    def test_drift(self):
        """Would break if a machine that changed hid a loss, or looked like one."""
        all_faster = {store: 1.3 for store in bench_run.STORES}
        self.assertEqual(verdicts(bench_run.run(1, 0.03), bench_run.run(2, 0.03, factors=all_faster)).get((SLOW, "rate")),
                         None)
        others_faster = {**all_faster, "solifuge": 1.0}
        changes = compare.judged(results.Results(bench_run.run(1, 0.03)),
                                 results.Results(bench_run.run(2, 0.03, factors=others_faster)), results.OWN)
        rates = changes[results.RATE].values()
        self.assertGreater(sum(compare.verdict(results.RATE, change) == -1 for change in rates), 140)
        self.assertAlmostEqual(statistics.median(change.drift for change in rates), math.log(1.3), delta=0.02)

    def test_once(self):
        """Would break if runs without repetitions, whose noise nobody knows, were judged by a noise of nothing."""
        self.assertEqual(verdicts(bench_run.run(1, 0.05, repetitions=1), bench_run.run(2, 0.05, repetitions=1)), {})


class Program(unittest.TestCase):
    def compare(self, old, new):
        """(exit code, output)"""
        with tempfile.TemporaryDirectory() as directory:
            paths = [os.path.join(directory, name) for name in ("old", "new")]
            for path, records in zip(paths, (old, new)):
                bench_run.write(path, records)
            done = subprocess.run([sys.executable, PROGRAM] + paths, capture_output=True, text=True, check=False)
        self.assertEqual(done.stderr, "")
        return done.returncode, done.stdout

    def test_itself(self):
        code, output = self.compare(bench_run.run(1, 0.05, cases=10), bench_run.run(1, 0.05, cases=10))
        self.assertEqual(code, 0, output)
        self.assertIn("0 worse, 0 better, 70 within the noise, 0 fail now", output)
        self.assertNotIn("note:", output)

    def test_loss(self):
        """Would break if a slower case, or one repetition of three that failed, left the exit code at 0."""
        code, output = self.compare(bench_run.run(1, 0.02), bench_run.run(2, 0.02, factors={(SLOW, "solifuge"): 0.7}))
        self.assertEqual(code, 1)
        self.assertRegex(output, SLOW + r" +rate .*SLOWER")
        failed = list(bench_run.run(1, 0.02))
        record = next(line for line in failed if line.get("case") == SLOW and line["store"] == "solifuge")
        for field in ("per_second", "latency_ns", "latency_curve", "operations"):
            del record[field]
        record.update(status="failed", reason="it ended by signal 11")
        code, output = self.compare(bench_run.run(1, 0.02), failed)
        self.assertEqual(code, 1)
        self.assertRegex(output, SLOW + r" +FAILS: 1 of its repetitions: it ended by signal 11")
        self.assertIn("0 worse, 0 better", output)

    def test_not_to_the_end(self):
        """Would break if a case that takes longer than there is time were left out without a word."""
        new = list(bench_run.run(1, 0.02))
        for record in new:
            if record.get("case") == SLOW and record["store"] == "solifuge":
                record["capped"] = True
        code, output = self.compare(bench_run.run(1, 0.02), new)
        self.assertEqual(code, 1)
        self.assertRegex(output, SLOW + r" +FAILS: time is up")

    def test_drift_is_told(self):
        for factor, text in ((1.3, "+30%"), (0.75, "-25%")):
            code, output = self.compare(bench_run.run(1, 0.01, cases=20),
                                        bench_run.run(2, 0.01, cases=20, factors={name: factor for name in bench_run.STORES}))
            self.assertIn(f"note: the machine has changed: the rates of the other stores by {text}", output)
            self.assertNotIn("SLOWER", output, code)

    def test_no_run(self):
        """Would break if a file that is none, or that is cut off, passed for a run without losses."""
        self.assertEqual(self.compare(bench_run.run(1, cases=2), [])[0], 2)
        self.assertEqual(self.compare(bench_run.run(1, cases=2), ["text"])[0], 2)

    def test_incomparable(self):
        """Would break if runs of other settings, machines or sizes were compared without a word."""
        new = list(bench_run.run(1, cases=3))
        new[0]["cap_seconds"] = 6
        self.assertEqual(self.compare(bench_run.run(1, cases=3), new)[0], 2)
        new = list(bench_run.run(1, cases=3))
        new[0]["machine"]["device"] = {"name": "nvme0n1"}
        new[2]["version"] = "2"
        for record in new:
            if record.get("case") == "main/case-1":
                record["entries"] = 7
        code, output = self.compare(bench_run.run(1, cases=3), new)
        self.assertEqual(code, 0)
        self.assertIn("note: not the same work in both runs: main/case-1", output)
        self.assertIn("note: the machines differ: device", output)
        self.assertIn("note: lmdb differs in its version", output)
        self.assertIn("14 within the noise", output)


if __name__ == "__main__":
    unittest.main()
