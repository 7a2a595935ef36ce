# SPDX-License-Identifier: MIT
"""Reads the JSON lines of bench and knows how figures compare."""
import json
import statistics
from collections import OrderedDict

from latency import Latency

OWN = "solifuge"
# Limits that are transfers of bytes: what they allow depends on the size of an entry.
BYTE_LIMITS = {"write-sequential", "read-sequential", "memcpy"}
FIRST, BEHIND, CLOSE, NOT_DONE = "first", "behind", "close", "not done"
GROWING = {"durable", "transactions"}  # workloads that put on, for a time, to what all stores had before
DISTURBED_PARTS = 20  # a run is disturbed when more than one in so many measurements is
SPREAD_MAX = 0.25     # of stable figures
PUT_BYTES_MIN = 4 << 20


class Metric:
    """A figure of a record, how it is shown, and whether more of it is better."""

    def __init__(self, name, label, value, show, least_change, grain, more_is_better=False, of_machine=False,
                 of_work=False):
        self.name = name
        self.label = label
        self.value = value                # of a record; None when it has none
        self.show = show
        self.least_change = least_change  # that is worth telling, in parts
        self.grain = grain                # less than this is nothing
        self.more_is_better = more_is_better
        self.of_machine = of_machine      # a slower machine, or what others write, changes it
        self.of_work = of_work            # it changes with how far a store came in its time


def quantile_of(record, name, rest):
    """A quantile of one repetition, when enough samples are above it."""
    summary = record.get("latency_ns", {})
    return summary.get(name) if summary.get("count", 0) * rest >= 10 else None


def amplification_of(record):
    """Bytes that reached the device for each byte put; None where that is lost in what the file system and others write."""
    put, written = record.get("put_bytes", 0), record.get("device_written_bytes")
    return written / put if put >= PUT_BYTES_MIN and written is not None else None


def processor_of(record):
    """CPU seconds for each operation, those of closing included."""
    if not record.get("operations") or "cpu_seconds" not in record:
        return None
    return (record["cpu_seconds"] + record.get("close_cpu_seconds", 0)) / record["operations"]


def live_bytes(record):
    """What the entries of the database themselves take."""
    return record.get("entries", record["count"]) * (record["key_bytes"] + record["value_bytes"])


def space_of(record):
    """Bytes on the device for each byte of the entries, where anything was put: the others have what the filling left."""
    if not record.get("put_bytes") or not record.get("allocated_bytes"):
        return None
    return record["allocated_bytes"] / live_bytes(record)


def human(value):
    """A number in four characters or so."""
    if value is None:
        return "-"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size: # it is rounded to three digits
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def plain(value):
    return "-" if value is None else f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"


def micro(nanoseconds):
    return plain(None if nanoseconds is None else nanoseconds / 1e3)


def mebi(count):
    return plain(None if count is None else count / 2 ** 20)


RATE = Metric("rate", "Operations per second", lambda record: record["per_second"], human, 0.05, 0, more_is_better=True,
              of_machine=True)
P99 = Metric("p99", "p99, microseconds", lambda record: quantile_of(record, "p99", 0.01), micro, 0.2, 100,
             of_machine=True)
P999 = Metric("p99.9", "p99.9, microseconds", lambda record: quantile_of(record, "p99.9", 0.001), micro, 0.2, 100,
              of_machine=True)
CPU = Metric("CPU", "CPU microseconds per operation", processor_of,
             lambda value: plain(None if value is None else value * 1e6), 0.1, 1e-9, of_machine=True)
SPACE = Metric("space", "Bytes allocated per byte of live data", space_of, plain, 0.15, 0.01,
               of_work=True)
MEMORY = Metric("memory", "Peak of anonymous memory, MiB", lambda record: record.get("peak_anonymous_bytes"), mebi, 0.2,
                2 ** 24, of_work=True)
WRITTEN = Metric("written", "Bytes written to the device per byte put", amplification_of, plain, 0.1, 0.1,
                 of_machine=True, of_work=True)
METRICS = [RATE, P99, P999, CPU, SPACE, MEMORY, WRITTEN]


class Figures:
    """What one store did in one case: the records of all repetitions."""

    def __init__(self):
        self.records = []
        self.status = None
        self.reason = ""
        self.failed = 0

    def add(self, record):
        if record.get("status") == "ok":
            self.records.append(record)
            return
        self.failed += record.get("status") == "failed"
        if self.status in (None, "skipped"):
            self.status, self.reason = record.get("status"), record.get("reason", "")

    def values(self, metric):
        """Of all repetitions that have the figure."""
        return [value for value in map(metric.value, self.records) if value is not None]

    def middle(self, metric):
        """The median; None when no repetition has the figure. Latencies are those of all repetitions together."""
        if metric in (P99, P999):
            return self.latency.at(0.99 if metric is P99 else 0.999)
        values = self.values(metric)
        return statistics.median(values) if values else None

    @property
    def rate(self):
        return self.middle(RATE)

    def spread_of(self, metric):
        """Greatest less smallest, in parts of the median; None when there is nothing to compare."""
        values = self.values(metric)
        middle = statistics.median(values) if values else 0
        return (max(values) - min(values)) / middle if len(values) > 1 and middle else None

    @property
    def spread(self):
        return self.spread_of(RATE)

    def field(self, name):
        """The median of a number of the records; None when none has it."""
        values = [record[name] for record in self.records if record.get(name) is not None]
        return statistics.median(values) if values else None

    @property
    def latency(self):
        return Latency(self.records)

    @property
    def typical(self):
        """The record whose rate is the median, for what cannot be put together."""
        return min(self.records, key=lambda record: abs(record["per_second"] - self.rate)) if self.records else None

    @property
    def disturbed(self):
        return sum(1 for record in self.records if record.get("disturbed"))

    @property
    def complete(self):
        """No repetition failed or was left out."""
        return self.status is None

    @property
    def capped(self):
        """Time was up before all was done."""
        return any(record.get("capped") for record in self.records)

    @property
    def warm(self):
        """It was to read from the device and did not."""
        return any(record.get("group") == "cold" and record.get("read_bytes") == 0 for record in self.records)

    @property
    def entries(self):
        """The sizes of the databases that were worked on. How many entries a store has put in the time it had is what it
        achieved, not what it had to do."""
        return {record.get("entries", record["count"]) for record in self.records
                if record.get("group") not in GROWING and record.get("entries") != record.get("operations")}

    @property
    def marks(self):
        return (("!" if self.disturbed else "") + ("f" if self.failed else "" if self.complete else "m") +
                ("c" if self.capped else "") + ("w" if self.warm else ""))


MARKS = "!: disturbed; f: a repetition failed; m: one was left out, for want of time; c: capped, time was up before all " \
        "entries were done; w: meant to be cold, but nothing was read from the device; n/s: not supported; ?: more than " \
        "the limit, which is measured at other moments of the run"


def same_work(figures, other):
    """May a ratio be given? Not when time was up for one before all was done, or where they had other entries."""
    return not figures.capped and not other.capped and figures.entries == other.entries


class Results:
    """A whole run."""

    def __init__(self, records):
        self.run, self.summary = {}, {}
        self.stores = OrderedDict()
        self.cases = OrderedDict()   # name: {store: Figures}
        self.about = {}              # name: one of its records
        self.limits = OrderedDict()  # name: Figures
        for record in records:
            self.add(record)

    def add(self, record):
        kind = record["type"]
        if kind == "run":
            self.run = record
        elif kind == "summary":
            self.summary = record
        elif kind == "store":
            self.stores[record["store"]] = record
        elif kind == "limit":
            self.limits.setdefault(record["limit"], Figures()).add(record)
        elif kind == "result":
            self.cases.setdefault(record["case"], OrderedDict()).setdefault(record["store"], Figures()).add(record)
            self.about.setdefault(record["case"], record)

    @property
    def store_names(self):
        return [name for name, store in self.stores.items() if store.get("status") != "not built"]

    @property
    def measurements(self):
        """(all that worked, those of them during which others took much of the machine)"""
        every = [figures for stores in self.cases.values() for figures in stores.values()] + list(self.limits.values())
        return sum(len(figures.records) for figures in every), sum(figures.disturbed for figures in every)

    @property
    def disturbed(self):
        """Did others take much of the machine for long?"""
        done, disturbed = self.measurements
        return disturbed * DISTURBED_PARTS > done

    @property
    def unstable(self):
        """[(case, store, spread)] whose repetitions differ too much, the worst first."""
        found = [(case, store, figures.spread) for case, stores in self.cases.items() for store, figures in stores.items()
                 if (figures.spread or 0) > SPREAD_MAX]
        return sorted(found, key=lambda entry: -entry[2])

    def best_other(self, case, metric=RATE):
        """(name, figure) of the best store but ours, of those that did the same work; (None, None) without one."""
        own = self.cases[case].get(OWN)
        others = [(figures.middle(metric), name) for name, figures in self.cases[case].items()
                  if name != OWN and figures.middle(metric) and (not own or same_work(own, figures))]
        if not others:
            return None, None
        value, name = max(others) if metric.more_is_better else min(others)
        return name, value

    def ratio_to_best(self, case, metric=RATE):
        """Above 1 we are better; None when there is nothing to compare."""
        own = self.cases[case].get(OWN)
        value, best = own.middle(metric) if own else None, self.best_other(case, metric)[1]
        if not value or not best:
            return None
        return value / best if metric.more_is_better else best / value

    def outcome(self, case):
        """How our rate stands to that of the best other store: FIRST, BEHIND, or CLOSE where the repetitions of both
        overlap; NOT_DONE when we failed, or did not get as far as another one did; None when no other did the work."""
        own = self.cases[case].get(OWN)
        others = [figures for name, figures in self.cases[case].items() if name != OWN and figures.records]
        if not own or own.status == "not supported" or not others:
            return None
        if own.failed or not own.records or (own.capped and not all(figures.capped for figures in others)):
            return NOT_DONE
        name, _ = self.best_other(case)
        if not name:
            return None
        best = self.cases[case][name]
        if min(own.values(RATE)) > max(best.values(RATE)):
            return FIRST
        return BEHIND if max(own.values(RATE)) < min(best.values(RATE)) else CLOSE

    def limit_rate(self, case):
        """What the machine allows in the unit of the case; None when there is no limit to compare with."""
        about = self.about[case]
        figures = self.limits.get(about.get("limit"))
        if not figures or not figures.rate:
            return None
        if about["limit"] not in BYTE_LIMITS:
            return figures.rate
        return figures.rate * figures.records[0]["bytes_per_operation"] / (about["key_bytes"] + about["value_bytes"])

    def ratio_to_limit(self, case):
        own = self.cases[case].get(OWN)
        limit = self.limit_rate(case)
        return own.rate / limit if own and own.rate and limit else None


def read(path):
    """The results in a file; OSError or ValueError when it has none."""
    try:
        with open(path, encoding="utf-8") as file:
            results = Results(json.loads(line) for line in file)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    if not results.run:
        raise ValueError(f"{path} is no run of the benchmark")
    return results
