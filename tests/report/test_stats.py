"""Statistics against published values, scipy, and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from tksbench.report import stats


def test_prediction_interval_published_value() -> None:
    # Hahn and Meeker (1991), circuit pack voltages: mean 50.10, sd 1.31, n = 5, one future reading: [46.1, 54.1]
    interval = stats.prediction_interval([51.4, 49.5, 48.7, 49.3, 51.6])
    assert interval == pytest.approx((46.1, 54.1), abs=0.06)
    assert 54.0 in interval
    assert 54.5 not in interval


def test_wilson_interval_published_values() -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3
    assert stats.wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert stats.wilson_interval(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert stats.wilson_interval(0 / 20, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert stats.wilson_interval(1 / 29, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_paired_difference_equals_scipy() -> None:
    a, b = [94.1, 95.0, 94.4, 94.9], [93.8, 94.2, 94.3, 94.1]
    expected = scipy_stats.ttest_rel(a, b)
    difference = stats.paired_difference(a, b)
    assert difference.p == pytest.approx(expected.pvalue)
    assert difference.interval == pytest.approx(tuple(expected.confidence_interval()))
    assert difference.mean == pytest.approx(0.5)


def test_paired_difference_without_spread() -> None:
    assert stats.paired_difference([1.0, 2.0], [1.0, 2.0]).p == 1.0
    assert stats.paired_difference([2.0, 3.0], [1.0, 2.0]).p == 0.0


def test_paired_difference_of_one_sample_each_is_not_certain() -> None:
    # 100 test samples: the spread is taken as 1 / sqrt(6), that of two rounded values
    one = stats.paired_difference([98.0, 97.0, 98.0], [97.0, 96.0, 97.0], resolution=1.0)
    half = 4.3027 / 6**0.5 / 3**0.5
    assert one.interval == pytest.approx((1 - half, 1 + half), abs=1e-3)
    assert one.p > 0.05
    spread = stats.paired_difference([98.0, 94.0], [97.0, 96.0])
    assert stats.paired_difference([98.0, 94.0], [97.0, 96.0], resolution=1.0) == spread


def test_paired_interval_of_accuracies_on_few_samples_covers_the_true_difference() -> None:
    rng, n = np.random.default_rng(8), 100
    a, b = (rng.binomial(n, p, (10_000, 5)) * 100 / n for p in (0.97, 0.95))
    covered = [
        2.0 in stats.paired_difference(x, y, resolution=100 / n).interval
        for x, y in zip(a.tolist(), b.tolist(), strict=True)
    ]
    assert 0.93 < np.mean(covered) < 0.97


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (5, 5), (12, 3), (3, 12), (200, 150)])
def test_mcnemar_equals_the_binomial_test(only_a: int, only_b: int) -> None:
    a = np.array([True] * only_a + [False] * only_b + [True, False])
    b = np.array([False] * only_a + [True] * only_b + [True, False])
    expected = scipy_stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert stats.mcnemar_exact(a, b)[:2] == (only_a, only_b)
    assert stats.mcnemar_exact(a, b).p == pytest.approx(expected)


def test_holm_published_example() -> None:
    # p.adjust(c(0.01, 0.02, 0.03, 0.04), "holm") in R
    assert stats.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert stats.holm([0.9, 0.8]) == [1.0, 1.0]
    assert stats.holm([]) == []


def test_mean_does_not_depend_on_the_order_of_records() -> None:
    values = [0.1, 1e8, 0.7, -1e8, 94.37, 93.11]
    assert stats.mean_sd(values) == stats.mean_sd(values[::-1])


@pytest.mark.parametrize("n", [2, 3, 5])
def test_prediction_interval_covers_one_further_run(n: int) -> None:
    draws = np.random.default_rng(n).normal(94, 0.3, (10_000, n + 1))
    covered = np.mean([row[n] in stats.prediction_interval(row[:n].tolist()) for row in draws])
    assert 0.93 < covered < 0.97


@pytest.mark.parametrize(("p", "n"), [(0.832, 1000), (0.957, 10_000), (0.84, 870)])
def test_wilson_interval_covers_the_true_accuracy(p: float, n: int) -> None:
    hits = np.random.default_rng(n).binomial(n, p, 10_000)
    intervals = {k: stats.wilson_interval(k / n, n) for k in set(hits.tolist())}
    assert 0.93 < np.mean([p in intervals[k] for k in hits.tolist()]) < 0.97


@pytest.mark.parametrize("n", [2, 3, 5])
def test_paired_interval_covers_the_true_difference(n: int) -> None:
    rng = np.random.default_rng(n)
    seed_effect = rng.normal(0, 1, (10_000, n))
    a = 95 + seed_effect + rng.normal(0, 0.2, (10_000, n))
    b = 94 + seed_effect + rng.normal(0, 0.2, (10_000, n))
    covered = [1.0 in stats.paired_difference(x, y).interval for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert 0.93 < np.mean(covered) < 0.97


def test_interval_against_one_cited_run_covers_no_difference() -> None:
    # Our four runs and the cited one are of one kind: the interval of ours less theirs holds 0.
    draws = np.random.default_rng(6).normal(69.6, 0.2, (10_000, 5)).tolist()
    found = [stats.one_against_runs(row[:4], row[4]) for row in draws]
    covered = np.mean([0.0 in one.interval for one in found])
    assert 0.93 < covered < 0.97
    assert covered == np.mean([one.p >= 0.05 for one in found])


def test_a_coarse_scale_raises_no_false_alarm() -> None:
    # Seeds spread by less than one sample of the test set, and the cited run printed to one decimal: before the floor,
    # a third of the draws had three equal runs, an interval of no width, and p = 0 against a run of their own kind.
    sample = 100 / 870
    runs = 84.1 + np.random.default_rng(8).normal(0, 0.05, (10_000, 4))
    ours = (np.round(runs[:, :3] / sample) * sample).tolist()
    cited = np.round(np.round(runs[:, 3] / sample) * sample, 1).tolist()
    found = [
        stats.one_against_runs(row, one, resolution=sample, rounding=0.05) for row, one in zip(ours, cited, strict=True)
    ]
    assert any(len(set(row)) == 1 for row in ours)
    assert np.mean([one.p < 0.05 for one in found]) < 0.05
    assert all((0.0 in one.interval) == (one.p >= 0.05) for one in found)


def test_equal_runs_foretell_their_like_up_to_the_scale() -> None:
    equal = [85.2, 85.2, 85.2]
    assert stats.prediction_interval(equal) == (85.2, 85.2)
    half = 4.3027 * 0.1 / 12**0.5 * (4 / 3) ** 0.5
    assert stats.prediction_interval(equal, resolution=0.1) == pytest.approx((85.2 - half, 85.2 + half), abs=1e-4)
    assert stats.one_against_runs(equal, 85.3).p == 0
    assert stats.one_against_runs(equal, 85.3, resolution=0.1, rounding=0.05).p > 0.05


def test_one_against_runs_equals_the_pooled_t_test_with_a_group_of_one() -> None:
    ours = [79.7, 80.1, 79.2, 80.4]
    expected = scipy_stats.ttest_ind_from_stats(np.mean(ours), np.std(ours, ddof=1), 4, 78.3, 0.0, 1)
    difference = stats.one_against_runs(ours, 78.3)
    assert difference.mean == pytest.approx(1.55)
    assert difference.p == pytest.approx(expected.pvalue)


def test_weakest_of_many_keeps_its_level() -> None:
    rng = np.random.default_rng(7)
    zero = rng.normal(0, 1, (4000, 10, 3))  # ten steps without any difference: neither "all" nor "not all" is claimed
    far = zero.copy()
    far[:, 1:] += 50  # all steps but one are far better: the most that "all are positive" can be wrongly said
    for draws in (zero, far):
        found = [
            stats.weakest_difference([stats.paired_difference(step, [0.0] * 3) for step in steps])[1]
            for steps in draws.tolist()
        ]
        assert np.mean([one.p < 0.05 and one.mean > 0 for one in found]) < 0.035  # one-sided: 0.025
        assert np.mean([one.p < 0.05 and one.mean < 0 for one in found]) < 0.05


def test_mcnemar_keeps_its_level() -> None:
    discordant, rng = 60, np.random.default_rng(4)
    only_a = rng.binomial(discordant, 0.5, 10_000)
    p_of = {
        k: stats.mcnemar_exact([True] * k + [False] * (discordant - k), [False] * k + [True] * (discordant - k)).p
        for k in set(only_a.tolist())
    }
    assert np.mean([p_of[k] < 0.05 for k in only_a.tolist()]) <= 0.05


def test_best_epoch_optimism_is_what_picking_gains() -> None:
    # Equally good epochs on 1,000 samples that err independently: the true optimism is the mean excess of the maximum.
    rng, epochs, n, p = np.random.default_rng(5), 30, 1000, 0.83
    halves = rng.binomial(n // 2, p, (2000, 2, epochs)) / (n / 2) * 100
    true = (halves.mean(axis=1).max(axis=1) - 100 * p).mean()
    estimated = np.mean([stats.best_epoch_optimism(a, b) for a, b in halves])
    assert estimated == pytest.approx(true, rel=0.05)


def test_best_epoch_optimism_ignores_that_one_half_is_easier() -> None:
    curve = [10.0, 50.0, 90.0]
    assert stats.best_epoch_optimism(curve, [x - 5 for x in curve]) == pytest.approx(0)


def test_aurc_is_part_of_the_statistics_contract() -> None:
    assert stats.aurc([[2.0, 0.0], [1.0, 0.0]], [1, 0], confidence="logit") == pytest.approx(750)


@pytest.mark.parametrize(
    "call",
    [
        lambda: stats.mean_sd([]),
        lambda: stats.prediction_interval([1.0]),
        lambda: stats.wilson_interval(0.5, 0),
        lambda: stats.wilson_interval(math.nan, 10),
        lambda: stats.paired_difference([1.0, 2.0], [1.0]),
        lambda: stats.one_against_runs([1.0], 2.0),
        lambda: stats.weakest_difference([]),
        lambda: stats.mcnemar_exact([True], [True, False]),
        lambda: stats.best_epoch_optimism([], []),
    ],
)
def test_too_little_to_go_by_is_a_named_error(call: object) -> None:
    with pytest.raises(stats.StatsError):
        call()  # type: ignore[operator]
