# SPDX-License-Identifier: MIT
"""Reads the JSON lines of bench and knows how figures compare."""
import json
import statistics
from collections import OrderedDict

OWN = "solifuge"
# Limits that are transfers of bytes: what they allow depends on the size of an entry.
BYTE_LIMITS = {"write-sequential", "read-sequential", "memcpy"}


class Figures:
    """What one store did in one case: the rates of all repetitions, and the records they came from."""

    def __init__(self):
        self.records = []
        self.status = None
        self.reason = ""

    def add(self, record):
        if record.get("status") == "ok":
            self.records.append(record)
        elif self.status is None:
            self.status, self.reason = record.get("status"), record.get("reason", "")

    @property
    def rates(self):
        return [record["per_second"] for record in self.records]

    @property
    def rate(self):
        return statistics.median(self.rates) if self.records else None

    @property
    def spread(self):
        """Half of greatest less smallest, in parts of the median."""
        rates = self.rates
        return (max(rates) - min(rates)) / 2 / self.rate if rates and self.rate else 0

    def middle(self, name):
        """The median of another number of the records; None when none has it."""
        values = [record[name] for record in self.records if record.get(name) is not None]
        return statistics.median(values) if values else None

    @property
    def typical(self):
        """The record whose rate is the median, for what cannot be averaged."""
        return min(self.records, key=lambda record: abs(record["per_second"] - self.rate)) if self.records else None

    @property
    def disturbed(self):
        return sum(1 for record in self.records if record.get("disturbed"))

    @property
    def complete(self):
        """No repetition failed or was left out."""
        return self.status is None


class Results:
    """A whole run."""

    def __init__(self, path):
        self.run, self.summary = {}, {}
        self.stores = OrderedDict()
        self.cases = OrderedDict()   # name: {store: Figures}
        self.about = {}              # name: one of its records
        self.limits = OrderedDict()  # name: Figures
        with open(path, encoding="utf-8") as file:
            for line in file:
                self.add(json.loads(line))

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

    def best_other(self, case):
        """(name, rate) of the fastest store but ours; (None, None) when there is none."""
        others = [(figures.rate, name) for name, figures in self.cases[case].items() if name != OWN and figures.rate]
        if not others:
            return None, None
        rate, name = max(others)
        return name, rate

    def limit_rate(self, case):
        """What the machine allows in the unit of the case; None when there is no limit to compare with."""
        about = self.about[case]
        figures = self.limits.get(about.get("limit"))
        if not figures or not figures.rate:
            return None
        if about["limit"] not in BYTE_LIMITS:
            return figures.rate
        return figures.rate * figures.records[0]["bytes_per_operation"] / (about["key_bytes"] + about["value_bytes"])

    def ratio_to_best(self, case):
        own = self.cases[case].get(OWN)
        best = self.best_other(case)[1]
        return own.rate / best if own and own.rate and best else None

    def ratio_to_limit(self, case):
        own = self.cases[case].get(OWN)
        limit = self.limit_rate(case)
        return own.rate / limit if own and own.rate and limit else None


def human(value):
    """A rate in four characters or so."""
    if value is None:
        return "-"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
