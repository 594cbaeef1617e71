"""Statistics behind the verdicts. Each function names its source; scipy is imported when one is called.

Accuracies are in percent throughout, fractions of samples only where said. All intervals are two-sided, 95 % unless
another level is given.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tksbench.errors import TksbenchError
from tksbench.metrics import aurc, excess_aurc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

__all__ = [
    "Interval",
    "McNemar",
    "PairedDifference",
    "StatsError",
    "ZTest",
    "aurc",
    "best_epoch_optimism",
    "difference_of_proportions",
    "excess_aurc",
    "holm",
    "mcnemar_counts",
    "mcnemar_exact",
    "mean_sd",
    "one_against_runs",
    "paired_difference",
    "prediction_interval",
    "weakest_difference",
    "wilson_interval",
]


class StatsError(TksbenchError):
    """Too few or unpaired observations for what was asked."""


class Interval(NamedTuple):
    """A closed interval, in the unit of the observations."""

    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


class PairedDifference(NamedTuple):
    """Mean of a - b over pairs with its confidence interval and two-sided p-value."""

    mean: float
    interval: Interval
    p: float
    n: int


class ZTest(NamedTuple):
    """A difference with its confidence interval and two-sided p-value."""

    mean: float
    interval: Interval
    p: float


class McNemar(NamedTuple):
    """Samples that only a, and only b, has right, and the two-sided exact p-value."""

    only_a: int
    only_b: int
    p: float


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1 in the denominator; None for one value).

    Sums are exact (`math.fsum`), so that the order in which records are found cannot change a digit of a table.
    """
    if not values:
        raise StatsError("the mean of no values was asked for")
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, None
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def prediction_interval(values: Sequence[float], level: float = 0.95, resolution: float = 0.0) -> Interval:
    """Interval that holds one further run: m -+ t(n-1) s sqrt(1 + 1/n).

    Source: Hahn and Meeker, Statistical Intervals, 1991, section 4.7 (one future observation, normal distribution).
    Runs that are right on equally many samples show no certainty, but a coarse scale: s is no less than rounding to
    the resolution leaves, sqrt(1/12) of it (Sheppard, Proc. London Math. Soc. 29 (1898) 353-380).

    Args:
        values: One a run.
        level: Of the interval.
        resolution: The least by which two values can differ: 100 / N for accuracies in percent on N samples, sqrt(2)
            times as much for differences of two.

    Raises:
        StatsError: Fewer than two values.

    Examples:
        >>> [round(bound, 1) for bound in prediction_interval([51.4, 49.5, 48.7, 49.3, 51.6])]
        [46.1, 54.1]
    """
    if len(values) < 2:
        raise StatsError(f"a prediction interval needs two runs or more, got {len(values)}")
    mean, error = _further_run(values, resolution)
    half = _t_quantile(level, len(values) - 1) * error
    return Interval(mean - half, mean + half)


def wilson_interval(proportion: float, n: int, level: float = 0.95) -> Interval:
    """Score interval of a binomial proportion: the error that comes from testing on n samples only.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927) 209-212.

    Args:
        proportion: Observed fraction in [0, 1]; of a mean over runs it need not be a multiple of 1/n.
        n: Test samples.
        level: Confidence level.

    Returns:
        The interval as fractions.

    Raises:
        StatsError: No samples, or a proportion outside [0, 1].
    """
    if n < 1 or not 0 <= proportion <= 1:
        raise StatsError(f"no Wilson interval of the proportion {proportion} on {n} samples")
    z = _normal_quantile(level)
    centre = (proportion + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(proportion * (1 - proportion) / n + z * z / (4 * n * n))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def difference_of_proportions(plus: Sequence[float], minus: Sequence[float], n: int, level: float = 0.95) -> ZTest:
    """Sum of some proportions less the sum of others, each of n samples, as if all were independent.

    Source: Agresti, Categorical Data Analysis, 3rd ed., 2013, section 3.1.1 (Wald interval and z test of a difference
    of proportions). Of networks tested on the same samples it is an upper bound of the error: where these err on the
    same samples more often than by chance, the variance is less by twice their covariance (section 11.1.1).

    Args:
        plus: Proportions in [0, 1] that are added: of a difference one.
        minus: Those that are subtracted.
        n: Samples behind each.
        level: Confidence level.

    Returns:
        The difference with its interval, as fractions, and the two-sided p of no difference.

    Raises:
        StatsError: No samples, or a proportion outside [0, 1].

    Examples:
        >>> difference_of_proportions([0.7989], [0.7678], 10_000).p < 1e-6
        True
    """
    if n < 1 or not all(0 <= one <= 1 for one in (*plus, *minus)):
        raise StatsError(f"no difference of the proportions {plus} and {minus} on {n} samples")
    mean = math.fsum(plus) - math.fsum(minus)
    error = math.sqrt(math.fsum(one * (1 - one) for one in (*plus, *minus)) / n)
    half = _normal_quantile(level) * error
    p = math.erfc(abs(mean) / error / math.sqrt(2)) if error else float(mean == 0)
    return ZTest(mean, Interval(mean - half, mean + half), p)


def paired_difference(
    a: Sequence[float], b: Sequence[float], level: float = 0.95, resolution: float = 0.0
) -> PairedDifference:
    """Mean difference a - b over pairs (equal seed), with Student's t interval and p-value.

    Source: Student, The probable error of a mean, Biometrika 6 (1908) 1-25; p as `scipy.stats.ttest_rel`.
    Pairs that all differ by the same amount have an interval of no width, and p = 0 (or 1 if they are all equal),
    unless a resolution is given: the spread is then no less than the rounding of two values leaves, sqrt(2/12) of it
    (see `prediction_interval`).

    Args:
        a: One value a pair.
        b: The other of each pair.
        level: Confidence level.
        resolution: The least by which two values can differ: 100 / N for accuracies in percent on N samples.

    Raises:
        StatsError: Lists of unequal length, or fewer than two pairs.
    """
    if len(a) != len(b) or len(a) < 2:
        raise StatsError(f"a paired difference needs two pairs or more, got {len(a)} and {len(b)} values")
    mean, sd = mean_sd([x - y for x, y in zip(a, b, strict=True)])
    error = max(sd or 0.0, resolution / math.sqrt(6)) / math.sqrt(len(a))
    half = _t_quantile(level, len(a) - 1) * error
    return PairedDifference(mean, Interval(mean - half, mean + half), _two_sided_p(mean, error, len(a) - 1), len(a))


def one_against_runs(
    values: Sequence[float], one: float, level: float = 0.95, resolution: float = 0.0, rounding: float = 0.0
) -> PairedDifference:
    """Mean of the runs less one further run, with interval and two-sided p: is that run one of their kind?

    Student's t with the error s sqrt(1 + 1/n), since the single run varies as much as each of ours. `one` lies within
    `rounding` of `prediction_interval(values)` just when p is at least 0.05. Source: Crawford and Howell, The Clinical
    Neuropsychologist 12 (1998) 482-486.

    Args:
        values: One a run.
        one: The single run's.
        level: Of the interval.
        resolution: As for `prediction_interval`.
        rounding: By how much `one` may lie off what was measured: half of its last printed digit. The interval is
            that much wider, and p that of the nearest value that would be printed so.

    Raises:
        StatsError: Fewer than two values.
    """
    low, high = prediction_interval(values, level, resolution)
    mean, error = _further_run(values, resolution)
    p = _two_sided_p(max(abs(mean - one) - rounding, 0.0), error, len(values) - 1)
    return PairedDifference(mean - one, Interval(low - one - rounding, high - one + rounding), p, len(values))


def weakest_difference(differences: Sequence[PairedDifference]) -> tuple[int, PairedDifference]:
    """Index of the difference that supports least "all of them are positive", with the p of that statement.

    It is the one with the largest one-sided p. If it is positive, so are all, at its own p, and no correction is due:
    an intersection-union test (Berger, Technometrics 24 (1982) 295-300). If it is not, its p contradicts the
    statement, and was picked as the most opposed of many: it counts that many times (Bonferroni).

    Raises:
        StatsError: There is none.
    """
    if not differences:
        raise StatsError("the weakest of no differences was asked for")
    doubt = [(one.p / 2 if one.mean > 0 else 1 - one.p / 2, -one.mean) for one in differences]
    index = max(range(len(doubt)), key=doubt.__getitem__)
    weakest = differences[index]
    if weakest.mean <= 0:
        weakest = weakest._replace(p=min(1.0, len(differences) * weakest.p))
    return index, weakest


def mcnemar_exact(correct_a: ArrayLike, correct_b: ArrayLike) -> McNemar:
    """Exact two-sided test that two classifiers err equally often on the same test samples.

    Only samples that exactly one of them has right carry information; under the null hypothesis they fall to either
    side like a fair coin. Source: McNemar, Psychometrika 12 (1947) 153-157, with the binomial tail instead of the
    chi-square (Dietterich, Neural Computation 10 (1998) 1895-1923, section 3.1, recommends it for one trained pair).

    Args:
        correct_a: Whether a is right, bool [N].
        correct_b: Whether b is right on the same samples, bool [N].

    Raises:
        StatsError: The two are not of equal length.
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.shape != b.shape or a.ndim != 1:
        raise StatsError(f"McNemar's test pairs samples: got {list(a.shape)} and {list(b.shape)} of them")
    return mcnemar_counts(int((a & ~b).sum()), int((b & ~a).sum()))


def mcnemar_counts(only_a: int, only_b: int) -> McNemar:
    """`mcnemar_exact` from how many samples only a, and only b, has right."""
    from scipy.special import bdtr

    tail = float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)) if only_a + only_b else 1.0
    return McNemar(only_a, only_b, min(1.0, 2 * tail))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given, that keep the family-wise error rate.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979) 65-70.

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def best_epoch_optimism(half_a: Sequence[float], half_b: Sequence[float]) -> float:
    """Points by which picking the best epoch on the test set flatters the accuracy, from one run's two half curves.

    The epoch that is best on one half of the test set is read on the other half, both ways, so that a half that is
    easier as a whole cancels out; the gap is noise that the picking fitted. Noise on all N samples is sqrt(2)
    smaller than on N/2, and so is what picking gains from it. The split-half idea: Cawley and Talbot, On
    over-fitting in model selection, JMLR 11 (2010) 2079-2107.

    Args:
        half_a: Accuracy in percent on one half of the test samples, an entry an evaluated epoch.
        half_b: The same on the other; both halves hold the classes alike, or what differs between classes counts.

    Returns:
        Estimated optimism in percentage points on the whole test set; may be slightly negative by chance.

    Raises:
        StatsError: Curves of unequal length, or empty.
    """
    a, b = np.asarray(half_a, dtype=np.float64), np.asarray(half_b, dtype=np.float64)
    if a.shape != b.shape or not a.size:
        raise StatsError(f"two half curves of equal length are needed, got {a.size} and {b.size} epochs")
    best_a, best_b = int(a.argmax()), int(b.argmax())
    return float((a[best_a] - b[best_a] + b[best_b] - a[best_b]) / 2 / math.sqrt(2))


def _further_run(values: Sequence[float], resolution: float) -> tuple[float, float]:
    """Mean of the runs, and the standard error of one further run less that mean."""
    mean, sd = mean_sd(values)
    return mean, max(sd or 0.0, resolution / math.sqrt(12)) * math.sqrt(1 + 1 / len(values))


def _two_sided_p(difference: float, error: float, freedom: int) -> float:
    """Of Student's t; a difference without error is certain: p = 0, or 1 if there is none."""
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    from scipy.special import stdtr

    return 2 * float(stdtr(freedom, -abs(difference) / error))


def _t_quantile(level: float, freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


def _normal_quantile(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + level) / 2))
