# SPDX-License-Identifier: MIT
"""The latencies of several repetitions as those of one: how many calls of all took longer than this?

A record has no histogram, but a curve of it, with four points each time that the rest becomes a tenth. Between two points
the logarithms are taken as normally distributed.
"""
import bisect
import math
import statistics

BEYOND_MIN = 10        # a quantile with fewer samples above it is chance
STEP = 10 ** -0.25     # of the curves


class Curve:
    """That of one repetition."""

    def __init__(self, record):
        summary = record["latency_ns"]
        self.count = summary["count"]
        parts = {}
        points = [(fraction, ns) for fraction, ns in record["latency_curve"]]
        points.append((1.0, summary["max"]))
        points += [(float(name[1:]) / 100, ns) for name, ns in summary.items() if name[0] == "p" and name[1:2].isdigit()]
        for fraction, ns in points:
            parts[max(ns, 1)] = max(parts.get(max(ns, 1), 0.0), fraction)
        self.ns = sorted(parts)
        least, normal = 0.5 / self.count, statistics.NormalDist()
        self.deviations = [normal.inv_cdf(min(max(parts[ns], least), 1 - least)) for ns in self.ns]

    def beyond(self, ns):
        """The part of the samples that is above ns."""
        after = bisect.bisect_right(self.ns, ns)
        if after == 0:
            return 1.0
        if after == len(self.ns):
            return 0.0
        low, high = self.ns[after - 1], self.ns[after]
        way = math.log(ns / low) / math.log(high / low)
        deviation = self.deviations[after - 1] + way * (self.deviations[after] - self.deviations[after - 1])
        return 0.5 * math.erfc(deviation / math.sqrt(2))


class Latency:
    """Of all records that have any. count is 0 when none has."""

    def __init__(self, records):
        records = [record for record in records if record.get("latency_curve") and record.get("latency_ns")]
        self.curves = [Curve(record) for record in records]
        self.count = sum(curve.count for curve in self.curves)
        self.max = max((record["latency_ns"]["max"] for record in records), default=None)

    def beyond(self, ns):
        return sum(curve.count * curve.beyond(ns) for curve in self.curves) / self.count

    def at(self, fraction):
        """The latency in ns that this fraction does not exceed; None when fewer than BEYOND_MIN samples do."""
        rest = 1 - fraction
        if not self.count or rest * self.count < BEYOND_MIN - 1e-6:
            return None
        low = min(curve.ns[0] for curve in self.curves)
        if self.beyond(low) <= rest:
            return low
        high = self.max
        while high / low > 1.0001:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self.beyond(middle) > rest else (low, middle)
        return high

    def curve(self):
        """[(fraction, ns)] as far as at() goes."""
        points, rest = [], 1.0
        while rest * self.count >= BEYOND_MIN:
            points.append((1 - rest, self.at(1 - rest)))
            rest *= STEP
        return points
