# SPDX-License-Identifier: MIT
"""Makes runs of the benchmark up, as its JSON lines would give them, for the tests of what reads them."""
import json
import math
import os
import random
import sys

sys.dont_write_bytecode = True
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(ROOT, "bench"))

STORES = ["solifuge", "lmdb", "lmdb-writemap", "rocksdb"]
COUNT = 50000
LATENCY_NS = 1000


CALLS = 100000
RESTS = [10 ** (-i / 4) for i in range(1, 22)]
POINTS = {"p50": 0.5, "p90": 0.1, "p99": 0.01, "p99.9": 0.001, "p99.99": 0.0001, "max": 0.5 / CALLS}
CURVE = [(1 - rest, -LATENCY_NS * math.log(rest)) for rest in RESTS]
SUMMARY = [(name, -LATENCY_NS * math.log(rest)) for name, rest in POINTS.items()]


def latency(scale):
    """That of exponentially distributed calls: the fields of a record."""
    return {"latency_ns": {"count": CALLS, "sample": 1, **{name: int(scale * ns) for name, ns in SUMMARY}},
            "latency_curve": [(0.0, 1)] + [(fraction, int(scale * ns)) for fraction, ns in CURVE]}


def record(case, store, repetition, factor=1.0, scatter=lambda: 1.0):
    """A measurement that went well; factor: how fast it was."""
    section, workload = case.split("/")
    rate = 1e5 * factor * scatter()
    operations = int(rate)
    return {
        "type": "result", "case": case, "section": section, "workload": workload, "group": "basic", "store": store,
        "repetition": repetition, "threads": 1, "durable": False, "count": COUNT, "key_bytes": 16, "value_bytes": 100,
        "seed": repetition + 1, "limit": "write-sequential", "operations": operations, "seconds": operations / rate,
        "per_second": rate, "cpu_seconds": operations / rate * scatter(), "read_bytes": 0,
        "put_bytes": 116 * operations, "device_written_bytes": int(116 * operations * 3 * scatter()),
        "written_bytes": 116 * operations, "peak_anonymous_bytes": int(5e7 * scatter()),
        "peak_resident_bytes": int(9e7 * scatter()), "allocated_bytes": int(1.2e7 * scatter()), "disturbed": [],
        "status": "ok", **latency(scatter() / factor),
    }


def run(seed, deviation=0.0, cases=150, repetitions=3, factors=None):
    """The records of a whole run. deviation: of the noise, also a function of the number of the case; cases: how many, or
    their names; factors: {store: how fast}, or {(case, store): how fast}."""
    chance, factors = random.Random(seed), factors or {}
    names = [f"main/case-{number}" for number in range(cases)] if isinstance(cases, int) else cases
    yield {"type": "run", "format": 1, "solifuge": "0.1.0", "started": "2026-01-01T00:00:00Z", "mode": "quick", "seed": 1,
           "repetitions": repetitions, "seconds": 0.15, "cap_seconds": 0.3, "value_compression": 0.5,
           "machine": {"kernel": "6.1", "cpu": "a CPU", "cpus": 2, "memory_bytes": 2 ** 34, "file_system": "ext4",
                       "mount_options": "rw", "device": {"name": "vda"}}}
    for store in STORES:
        yield {"type": "store", "store": store, "version": "1", "settings": "default"}
    yield {"type": "limit", "limit": "write-sequential", "description": "1 MiB writes in order", "repetition": 0,
           "operations": 1000, "seconds": 1.0, "per_second": 1000.0, "bytes_per_operation": 2 ** 20, "status": "ok",
           "disturbed": []}
    for number, case in enumerate(names):
        noise = deviation(number) if callable(deviation) else deviation
        for repetition in range(repetitions):
            for store in STORES:
                factor = factors.get(store, 1.0) * factors.get((case, store), 1.0)
                yield record(case, store, repetition, factor, lambda: math.exp(chance.gauss(0, noise)))
    yield {"type": "summary", "seconds": 1.0, "measurements": len(names) * repetitions * len(STORES), "failed": 0, "skipped": 0,
           "disturbed_measurements": 0, "disturbed": False, "unstable": False, "spread_too_large": []}


def write(path, records):
    with open(path, "w", encoding="utf-8") as file:
        for line in records:
            file.write(json.dumps(line) + "\n")
