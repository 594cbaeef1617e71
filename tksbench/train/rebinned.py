"""Accuracy on recordings framed anew into fewer bins: the second protocol of figure 3(a).

Both are described in docs/protocol.md#the-figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tksbench.data import registry
from tksbench.metrics import mean_logits, topk_accuracy
from tksbench.train.errors import Interrupted

if TYPE_CHECKING:
    from tksbench.train.loop import Trainer


def rebinned_accuracy(trainer: Trainer, top1: float) -> list[float] | None:
    """Top-1 of the network as it is, on the test half cut into k = 1..T bins, each over the whole recording.

    The first protocol, the prefix mean, shows the network the first k of T bins; here it sees every event, but in
    frames that it was not trained on. Frames come from the frame cache, so runs of one data set share them.

    Args:
        trainer: Gives the network and the way to evaluate.
        top1: What it reached on the T bins of its training, in percent; it is the last value.

    Returns:
        [T], in percent; None for a data set of static images.

    Raises:
        Interrupted: The run was asked to stop.
        TksbenchError: A recording cannot be framed.
    """
    spec = trainer.spec
    if registry.info(spec.data.name).kind != "event":
        return None
    # Only the test half is wanted: one training recording is the least that can be asked for.
    part = spec.data.model_copy(update={"train_subset": 1})
    values = []
    for bins in range(1, spec.model.T):
        test = registry.load(part, bins, spec.seed).test
        logits, labels = trainer.predictor.logits(test, at_batch=lambda: _stop_if_asked(trainer))
        values.append(topk_accuracy(mean_logits(logits), labels, k=1))
    return [*values, top1]


def _stop_if_asked(trainer: Trainer) -> None:
    if trainer.stopping():  # the last epoch's checkpoint is on disk already
        raise Interrupted("after the last epoch")
