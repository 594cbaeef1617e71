"""What figure 5 embeds: spike counts of the last neurons on a part of the test half.

Source: docs/protocol.md#the-figures.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from tksbench.data.base import balanced_subset
from tksbench.runs.files import write_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tksbench.train.loop import Trainer

FEATURE_SAMPLES = 2000  # t-SNE of more takes minutes and shows no more; the event sets' whole test halves are fewer


def last_layer_counts(trainer: Trainer, limit: int = FEATURE_SAMPLES) -> dict[str, NDArray[Any]]:
    """Spikes of each of the last neurons over all time steps, from the network as it is.

    Divided by T they are the authors' features, the time-mean of the spikes (TKS:train_main.py:1033-1037); as
    counts they are exact and small.

    Args:
        trainer: Gives the network, the test half and the way to evaluate.
        limit: Take at most this many test samples, of all classes alike and in the order of the test half.

    Returns:
        `counts` [N, F], the smallest unsigned integers that hold T, or float32 where neurons give other values than
        0 and 1; `labels` [N]; `index` [N] in the test half.
    """
    labels, steps = trainer.data.test.labels, trainer.spec.model.T
    index = np.sort(balanced_subset(labels, limit))
    counts = trainer.predictor.features(trainer.data.test, index, lambda rates: _as_counts(rates, steps))
    return {"counts": counts, "labels": labels[index], "index": index}


def _as_counts(rates: NDArray[np.float32], steps: int) -> NDArray[Any]:
    sums = rates * np.float32(steps)
    counts = sums.round()
    spikes = np.abs(sums - counts).max() < 1e-3 and counts.min() >= 0 and counts.max() <= steps
    return counts.astype(np.min_scalar_type(steps)) if spikes else sums


def write_features(trainer: Trainer) -> Path:
    """Write `last_layer_counts` as a compressed .npz file into the run's directory; the same network, the same bytes.

    Returns:
        The file.
    """
    buffer = io.BytesIO()
    parts = last_layer_counts(trainer)
    np.savez_compressed(buffer, counts=parts["counts"], labels=parts["labels"], index=parts["index"])
    trainer.guard()
    write_bytes(trainer.dir.features_last, buffer.getvalue())
    return trainer.dir.features_last
