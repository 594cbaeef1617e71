"""Golden values of every metric that derives from the per-step logits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tksbench import metrics
from tksbench.runs.record import Metrics


def ranked(errors: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Mean logits [N, 2] with falling confidence whose predictions are wrong where `errors` is 1."""
    logits = np.zeros((len(errors), 2))
    logits[:, 0] = np.arange(len(errors), 0, -1)
    return logits, np.array(errors)


def test_aurc_golden_value() -> None:
    assert metrics.aurc(*ranked([0, 1, 0, 0, 1])) == pytest.approx(296.667, abs=5e-4)


def test_excess_aurc_subtracts_the_discrete_optimum() -> None:
    # errors ranked last: risks (0, 0, 0, 1/4, 2/5), mean 0.13
    assert metrics.excess_aurc(*ranked([0, 1, 0, 0, 1])) == pytest.approx(1e3 * (0.29666667 - 0.13), abs=1e-4)
    assert metrics.excess_aurc(*ranked([0, 0, 0, 1, 1])) == pytest.approx(0, abs=1e-9)
    assert metrics.excess_aurc(*ranked([0, 0, 0])) == 0


def test_aurc_confidence_is_the_raw_logit_or_the_softmax() -> None:
    # The wrong sample has the highest logit but the lowest probability.
    logits, labels = np.array([[9.0, 8.9], [3.0, 0.0]]), np.array([1, 0])
    assert metrics.aurc(logits, labels, "logit") == pytest.approx(1e3 * (1 + 1 / 2) / 2)
    assert metrics.aurc(logits, labels, "softmax") == pytest.approx(1e3 * (0 + 1 / 2) / 2)


def test_aurc_ties_keep_the_order_of_the_test_set() -> None:
    logits = np.tile([1.0, 0.0], (40, 1))
    labels = np.array([1] + [0] * 39)
    assert metrics.aurc(logits, labels) == pytest.approx(1e3 * np.mean(1 / np.arange(1, 41)))


def test_aurc_refuses_an_unknown_confidence() -> None:
    with pytest.raises(metrics.MetricError, match="'logit' or 'softmax'"):
        metrics.aurc([[1.0, 0.0]], [0], "margin")  # type: ignore[arg-type]


def test_calibration_error_golden_value() -> None:
    # Two samples at p = .75, one right: |.5 - .75| * 2/3; one at p = .5 exactly, right: .5 * 1/3.
    logits = np.array([[math.log(3), 0.0], [math.log(3), 0.0], [0.0, 0.0]])
    assert metrics.calibration_error(logits, np.array([0, 1, 0])) == pytest.approx(0.25 * 2 / 3 + 0.5 / 3)


def test_calibration_bins_are_closed_above() -> None:
    # p = .5 exactly, two bins: it belongs to (0, .5], where it cancels nothing of the p = .75 sample.
    logits = np.array([[0.0, 0.0], [math.log(3), 0.0]])
    assert metrics.calibration_error(logits, np.array([0, 1]), bins=2) == pytest.approx((0.5 + 0.75) / 2)


def test_top5_breaks_ties_by_class_index() -> None:
    flat = np.zeros((2, 8))
    assert metrics.topk_accuracy(flat, np.array([4, 5]), k=5) == 50.0


def test_cross_entropy_is_that_of_the_mean_logits() -> None:
    per_step = np.array([[[2.0, 0.0], [0.0, 0.0]]])  # mean (1, 0)
    expected = math.log(1 + math.exp(-1))
    assert metrics.summarize(per_step, np.array([0]))["loss"] == pytest.approx(expected)


def test_prefix_and_single_step_accuracy() -> None:
    # Sample 0 is right at step 1 only, and on average; sample 1 at step 2 only, and on average.
    steps = np.array([[[5.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, 9.0]]])
    labels = np.array([0, 1])
    assert metrics.prefix_accuracy(steps, labels) == [50.0, 100.0]
    assert metrics.step_accuracy(steps, labels) == [50.0, 50.0]


def test_first_step_recall_is_per_class_and_empty_classes_have_none() -> None:
    steps = np.zeros((4, 2, 3))
    steps[:, 0, 0] = 1.0  # the first step always says class 0, the second would be right
    steps[:, 1, 1] = 9.0
    assert metrics.first_step_recall(steps, np.array([0, 1, 1, 1])) == [100.0, 0.0, None]


@given(hnp.arrays(np.float32, (12, 3, 6), elements=st.floats(-9, 9, width=32)), st.integers(0, 2**32 - 1))
def test_summary_is_consistent_and_json_ready(logits: np.ndarray, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 6, 12)
    summary = metrics.summarize(logits, labels)
    assert summary["top1"] == summary["top1_prefix"][-1] <= summary["top5"]
    assert all(metrics.excess_aurc(logits.mean(axis=1), labels, kind) >= -1e-9 for kind in ("logit", "softmax"))
    assert summary["top1"] == pytest.approx(sum(summary["top1_halves"]) / 2)
    assert 0 <= summary["ece"] <= 1
    values = [v for value in summary.values() for v in (value if isinstance(value, list) else [value])]
    assert all(value is None or type(value) is float for value in values)


def test_summary_has_the_fields_of_a_record() -> None:
    summary = metrics.summarize(np.zeros((3, 2, 4)), np.array([0, 1, 2]))
    assert Metrics.model_validate({"epoch": 0, **summary}).top1 == pytest.approx(100 / 3)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((2, 3)), np.array([0, 1]), r"shape \[2, 3\]: expected a non-empty \[N, T, C\]"),
        (np.zeros((2, 1, 3)), np.array([0]), "expected 2 integers"),
        (np.zeros((2, 1, 3)), np.array([0.0, 1.0]), "expected 2 integers"),
        (np.zeros((2, 1, 3)), np.array([0, 3]), "labels run from 0 to 3: expected 0 to 2"),
        (
            np.full((1, 1, 3), np.nan),
            np.array([0]),
            "3 of 3 test logits are not finite: the training has diverged",
        ),
    ],
)
def test_bad_input_is_one_clear_error(logits: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(metrics.MetricError, match=message):
        metrics.summarize(logits, labels)


def test_both_halves_hold_the_classes_alike_where_these_take_turns() -> None:
    labels = np.arange(40) % 2
    always_the_first = np.zeros((40, 1, 2)) + np.array([1.0, 0.0])
    assert metrics.summarize(always_the_first, labels)["top1_halves"] == [50.0, 50.0]
