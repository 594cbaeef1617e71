"""Every metric of a run, derived from its stored per-step test logits [N, T, C] and labels [N] (numpy only).

The prediction of a network is the argmax of its logits averaged over the time steps (paper section 3,
equation 3); ties go to the lower class index, as in ``torch.max`` and ``numpy.argmax``.
"""

from __future__ import annotations

import functools
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tksbench.errors import TksbenchError

Confidence: TypeAlias = Literal["logit", "softmax"]
Floats: TypeAlias = NDArray[np.floating[Any]]
Ints: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]


class MetricError(TksbenchError):
    """Logits or labels from which no metric can be computed."""


def summarize(logits: ArrayLike, labels: ArrayLike) -> dict[str, Any]:
    """All metrics that a record keeps, as plain JSON values.

    Args:
        logits: Per-step test logits, [N, T, C].
        labels: True classes, [N].

    Returns:
        ``top1``, ``top5`` in percent; ``loss``: mean cross-entropy of the mean logits in nats; ``ece`` in
        [0, 1]; ``aurc_logit``, ``aurc_softmax`` and the excess ``eaurc_logit``, ``eaurc_softmax`` times 10^3;
        ``top1_prefix``, ``top1_step``: [T], percent; ``first_step_recall``: [C], percent, None for a class
        without test samples; ``top1_halves``: percent on two halves of the test samples, each with every second
        sample of a class (see `stats.best_epoch_optimism`).

    Raises:
        MetricError: Shapes do not fit, labels lie outside [0, C), or a logit is not finite.

    Examples:
        >>> summarize([[[2.0, 1.0]], [[0.0, 1.0]]], [0, 1])["top1"]
        100.0
    """
    steps, target = _checked(logits, labels)
    mean = mean_logits(steps)
    right = correct(mean, target)
    return {
        "top1": _percent(right),
        "top5": topk_accuracy(mean, target, k=5),
        "loss": cross_entropy(mean, target),
        "ece": calibration_error(mean, target),
        "aurc_logit": aurc(mean, target, "logit"),
        "aurc_softmax": aurc(mean, target, "softmax"),
        "eaurc_logit": excess_aurc(mean, target, "logit"),
        "eaurc_softmax": excess_aurc(mean, target, "softmax"),
        "top1_prefix": prefix_accuracy(steps, target),
        "top1_step": step_accuracy(steps, target),
        "first_step_recall": first_step_recall(steps, target),
        # By class: in a test set whose classes take turns, every second sample would be of every second class.
        "top1_halves": halves(right[np.argsort(target, kind="stable")]),
    }


def halves(right: Mask) -> list[float]:
    """Accuracy in percent on every second sample from the first, and on the others."""
    return [_percent(half) if half.size else 0.0 for half in (right[::2], right[1::2])]


def mean_logits(logits: Floats, steps: int | None = None) -> Floats:
    """Logits averaged over the first `steps` time steps (all by default), in float64: [N, T, C] -> [N, C]."""
    return np.asarray(logits[:, :steps].mean(axis=1, dtype=np.float64))


def correct(logits_mean: ArrayLike, target: ArrayLike) -> Mask:
    """Whether the highest of the mean logits [N, C] is that of the true class [N]."""
    return np.asarray(np.asarray(logits_mean).argmax(axis=1) == np.asarray(target))


def topk_accuracy(logits_mean: ArrayLike, target: ArrayLike, k: int) -> float:
    """Percentage of samples with their class among the `k` highest mean logits [N, C]; ties by index."""
    scores, true = np.asarray(logits_mean), np.asarray(target)
    own = np.take_along_axis(scores, true[:, None], axis=1)
    tied_before = (scores == own) & (np.arange(scores.shape[1]) < true[:, None])
    rank = (scores > own).sum(axis=1) + tied_before.sum(axis=1)
    return _percent(rank < k)


def cross_entropy(logits_mean: ArrayLike, target: ArrayLike) -> float:
    """Mean cross-entropy in nats of the mean logits [N, C] (paper equation 6) against the classes [N]."""
    scores = np.asarray(logits_mean, dtype=np.float64)
    own = np.take_along_axis(scores, np.asarray(target)[:, None], axis=1)[:, 0]
    return float((_logsumexp(scores) - own).mean())


def aurc(logits_mean: ArrayLike, target: ArrayLike, confidence: Confidence = "logit") -> float:
    """Area under the risk-coverage curve, times 10^3 (the unit of the paper's Table 3).

    Samples are sorted by falling confidence (stable: ties keep the order of the test set); with r_k the error
    rate among the k most confident ones, AURC is the mean of r_k over k = 1..N.

    Args:
        logits_mean: Logits averaged over time, [N, C].
        target: True classes, [N].
        confidence: ``"logit"``: the highest mean logit, as in the authors' code (``calc_aurc``,
            BrainCog:utils.py:159-176); ``"softmax"``: the highest probability (Geifman et al., ICLR 2019).

    Returns:
        AURC x 10^3, between 0 and 1000.

    Raises:
        MetricError: `confidence` is neither of the two.

    Examples:
        >>> round(aurc([[3.0, 0.0], [2.0, 0.0], [1.0, 0.0]], [0, 0, 1]), 1)
        111.1
    """
    return 1e3 * float(_risks(logits_mean, target, confidence).mean())


def excess_aurc(logits_mean: ArrayLike, target: ArrayLike, confidence: Confidence = "logit") -> float:
    """AURC above that of a perfect ranking of the same errors (E-AURC, Geifman et al. 2019), times 10^3.

    Arguments and errors are those of `aurc`.
    """
    risks = _risks(logits_mean, target, confidence)
    return 1e3 * float(risks.mean()) - optimal_aurc(round(risks[-1] * len(risks)), len(risks))


@functools.lru_cache(maxsize=4096)
def optimal_aurc(errors: int, n: int) -> float:
    """The smallest AURC of `n` samples with so many errors, times 10^3: every error is ranked last.

    The discrete optimum (1/N) sum_{i=1..E} i / (N - E + i), as in the authors' ``calc_aurc``.
    """
    ranked_last = np.arange(1, errors + 1)
    return 1e3 * float((ranked_last / (n - errors + ranked_last)).sum() / n)


def calibration_error(logits_mean: ArrayLike, target: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error in [0, 1]: L1 over equal bins of the top probability (Guo et al. 2017).

    A bin is open below and closed above, as in torchmetrics 0.10.3, which the authors' requirements pin.
    """
    scores = np.asarray(logits_mean, dtype=np.float64)
    top_probability = np.exp(scores.max(axis=1) - _logsumexp(scores))
    bin_of = np.searchsorted(np.linspace(0, 1, bins + 1), top_probability, side="left") - 1
    gap = correct(scores, target) - top_probability
    return float(np.abs(np.bincount(bin_of.clip(0, bins - 1), weights=gap, minlength=bins)).sum() / len(gap))


def prefix_accuracy(logits: Floats, labels: Ints) -> list[float]:
    """Percentage right when only the first k = 1..T steps are averaged (Fig. 3a): [N, T, C] -> [T]."""
    total = np.zeros(logits.shape[::2], dtype=np.float64)
    accuracies = []
    for step in range(logits.shape[1]):
        total += logits[:, step]
        accuracies.append(_percent(correct(total, labels)))
    return accuracies


def step_accuracy(logits: Floats, labels: Ints) -> list[float]:
    """Percentage right from each single step's logits (Fig. 4): [N, T, C] -> [T]."""
    return [_percent(correct(logits[:, step], labels)) for step in range(logits.shape[1])]


def first_step_recall(logits: Floats, labels: Ints) -> list[float | None]:
    """Recall in percent from the first step alone (paper section 5.4): [N, T, C] -> [C]; None: no sample."""
    right = correct(logits[:, 0], labels)
    samples = np.bincount(labels, minlength=logits.shape[2])
    hits = np.bincount(labels, weights=right, minlength=logits.shape[2])
    return [100 * float(hit) / int(n) if n else None for hit, n in zip(hits, samples, strict=True)]


def _risks(logits_mean: ArrayLike, target: ArrayLike, confidence: str) -> Floats:
    """Error rate among the k most confident samples, k = 1..N: [N]."""
    scores = np.asarray(logits_mean, dtype=np.float64)
    if confidence not in get_args(Confidence):
        raise MetricError(f"AURC confidence {confidence!r} is unknown: it is 'logit' or 'softmax'")
    certainty = scores.max(axis=1)
    if confidence == "softmax":
        certainty = np.exp(certainty - _logsumexp(scores))
    wrong = ~correct(scores, target)[np.argsort(-certainty, kind="stable")]
    return np.asarray(np.cumsum(wrong) / np.arange(1, len(wrong) + 1))


def _logsumexp(scores: Floats) -> Floats:
    top = scores.max(axis=1, keepdims=True)
    return np.asarray(top[:, 0] + np.log(np.exp(scores - top).sum(axis=1)))


def _percent(right: Mask) -> float:
    # count / N x 100 in this order: 5 of 100 is then 5.0, not 5.000000000000001
    return 100 * int(right.sum()) / len(right)


def _checked(logits: ArrayLike, labels: ArrayLike) -> tuple[Floats, Ints]:
    """Logits and labels as arrays of the right shape and range, or one clear error."""
    steps, target = np.asarray(logits), np.asarray(labels)
    if steps.ndim != 3 or not steps.size:
        raise MetricError(f"test logits have shape {list(steps.shape)}: expected a non-empty [N, T, C]")
    if target.shape != steps.shape[:1] or not np.issubdtype(target.dtype, np.integer):
        raise MetricError(
            f"labels have shape {list(target.shape)} and type {target.dtype}: "
            f"expected {len(steps)} integers, one a sample"
        )
    if target.min() < 0 or target.max() >= steps.shape[2]:
        raise MetricError(f"labels run from {target.min()} to {target.max()}: expected 0 to {steps.shape[2] - 1}")
    bad = int(np.count_nonzero(~np.isfinite(steps)))
    if bad:
        raise MetricError(f"{bad} of {steps.size} test logits are not finite: the training has diverged")
    return steps, target.astype(np.int64)
