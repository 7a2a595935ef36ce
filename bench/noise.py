# SPDX-License-Identifier: MIT
"""Tells changes from noise.

Some cases scatter much more than others, and a few repetitions say little of how much. So the variance of each case is
drawn towards that of all, the more the better the cases agree with each other: the moderated t-test (Smyth, "Linear
models and empirical Bayes methods", 2004). Everything is done with logarithms, for noise is in proportion.
"""
import math
import statistics

RESOLUTION = 0.001     # noise below this is not believed
LONE_DEVIATION = 0.1   # noise that is assumed where nothing was repeated
DEGREES_MAX = 1000.0   # of freedom; Student's distribution is the normal one then
ODDS_MAX = 0.01        # that one run of many cases shows any change where there is none
MEDIAN_COST = math.pi / 2  # how much more a median varies than a mean


def digamma(x):
    less = 0.0
    while x < 6:
        less, x = less + 1 / x, x + 1
    square = 1 / (x * x)
    return math.log(x) - 0.5 / x - square * (1 / 12 - square * (1 / 120 - square / 252)) - less


def trigamma(x):
    more = 0.0
    while x < 6:
        more, x = more + 1 / (x * x), x + 1
    square = 1 / (x * x)
    return 1 / x + square / 2 + square / x * (1 / 6 - square * (1 / 30 - square / 42)) + more


def trigamma_inverse(y):
    """By bisection: trigamma falls from infinity to 0."""
    low, high = 1e-4, 1e8
    for _ in range(100):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if trigamma(middle) > y else (low, middle)
    return low


def student_tail(t, degrees):
    """How likely |t| is to be exceeded by chance. With t = sqrt(degrees) * tan(angle) it is an integral of a power of
    the cosine, which Simpson's rule gets."""
    degrees = min(degrees, DEGREES_MAX)
    steps = 80
    first = math.atan(abs(t) / math.sqrt(degrees))
    # behind that there is nothing
    end = min(math.pi / 2 - first, math.sqrt(80 / degrees), 20 / max(degrees * math.tan(first), 1e-9))
    width = end / steps
    total = 0.0
    for i in range(steps + 1):
        total += (1 if i in (0, steps) else 4 if i % 2 else 2) * abs(math.cos(first + i * width)) ** (degrees - 1)
    whole = math.exp(math.lgamma(degrees / 2) - math.lgamma((degrees + 1) / 2)) * math.sqrt(math.pi) / 2
    return min(1.0, total * width / 3 / whole)


def variance(groups):
    """(variance, degrees of freedom) of logarithms within their groups, each of which has a mean of its own."""
    squares, degrees = 0.0, 0
    for group in groups:
        middle = statistics.fmean(group)
        squares += sum((value - middle) ** 2 for value in group)
        degrees += len(group) - 1
    return (squares / degrees if degrees else 0.0), degrees


class Prior:
    """What all cases together say of the variance of one: a value, and the degrees of freedom that it is worth."""

    def __init__(self, variances):
        """variances: [(variance, degrees of freedom)]"""
        known = [(max(value, RESOLUTION ** 2), degrees) for value, degrees in variances if degrees]
        self.total = sum(degrees for _, degrees in known)
        if not known:
            self.value, self.degrees, self.total = LONE_DEVIATION ** 2, DEGREES_MAX, DEGREES_MAX
            return
        centred = [math.log(value) - digamma(degrees / 2) + math.log(degrees / 2) for value, degrees in known]
        middle = statistics.fmean(centred)
        apart = 0.0
        if len(centred) > 1:
            apart = statistics.variance(centred) - statistics.fmean(trigamma(degrees / 2) for _, degrees in known)
        if apart > 0:
            self.degrees = 2 * trigamma_inverse(apart)
            self.value = math.exp(middle + digamma(self.degrees / 2) - math.log(self.degrees / 2))
        else:
            self.degrees, self.value = DEGREES_MAX, math.exp(middle)

    def moderate(self, value, degrees):
        """(variance, degrees of freedom) of a case whose own repetitions say this."""
        together = self.degrees + degrees
        return ((self.degrees * self.value + degrees * max(value, RESOLUTION ** 2)) / together,
                max(1.0, min(together, self.total)))


class Change:
    """One figure of one case in two runs, as logarithms. others: pairs of (old, new) of other stores, which tell how much
    the machine has changed; fewer than two tell nothing, for one may have its reasons."""

    def __init__(self, old, new, others):
        self.old, self.new = old, new
        others = [statistics.fmean(after) - statistics.fmean(before) for before, after in others]
        self.others = len(others) if len(others) > 1 else 0
        self.drift = statistics.median(others) if self.others else 0.0
        self.apart = statistics.variance(others) if self.others else 0.0
        self.change = statistics.fmean(new) - statistics.fmean(old) - self.drift
        self.error = self.odds = None

    def judge(self, own_prior, drift_prior, tests):
        """error: the standard error of the change; odds: that one of so many tests shows as much by chance. The degrees
        of freedom of a sum of two variances are those of Welch and Satterthwaite."""
        value, degrees = own_prior.moderate(*variance((self.old, self.new)))
        both = value * (1 / len(self.old) + 1 / len(self.new))
        if self.others:
            own = both
            value, more = drift_prior.moderate(self.apart, self.others - 1)
            value *= MEDIAN_COST / self.others
            both = own + value
            degrees = both ** 2 / (own ** 2 / degrees + value ** 2 / more)
        self.error = math.sqrt(both)
        self.odds = min(1.0, student_tail(self.change / self.error, degrees) * tests)

    @property
    def real(self):
        return self.odds < ODDS_MAX


def judge(changes, tests):
    """Judges changes of one kind, of all cases; tests: how many of any kind there are."""
    own = Prior([variance((change.old, change.new)) for change in changes])
    drift = Prior([(change.apart, change.others - 1) for change in changes if change.others])
    for change in changes:
        change.judge(own, drift, tests)
