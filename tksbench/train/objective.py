"""What training makes small: a loss of the network's outputs, with the constants that it has at the moment."""

from __future__ import annotations

import functools
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tksbench.snn.known import says
from tksbench.snn.losses import Moment
from tksbench.train.components import make

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from tksbench.recipe import TrainSpec


@dataclass(frozen=True)
class Objective:
    """The mean loss of a batch.

    Attributes:
        loss: Maps logits [T, B, C] and labels [B] to a scalar; may have `constants(moment)`, a dict of numbers that it
            is given by name.
        epochs: Number of epochs.
        steps: Training steps of an epoch.
        autocast: Context of the network's forward pass.
    """

    loss: Callable[..., Tensor]
    epochs: int
    steps: int
    autocast: Callable[[], Any] = nullcontext

    def constants(self, epoch: int, step: int) -> dict[str, float]:
        """What a step's loss depends on besides the batch, by name: a recorded step holds for these alone."""
        at = Moment(epoch, self.epochs, step, self.steps)
        return self.loss.constants(at) if hasattr(self.loss, "constants") else {}

    def __call__(self, network: nn.Module, images: Tensor, target: Tensor, **constants: float) -> tuple[Tensor, Tensor]:
        """The mean loss of a batch and its logits [T, B, C].

        Args:
            network: What is trained.
            images: The batch.
            target: Its labels [B].
            **constants: Those of the step.
        """
        with self.autocast():
            logits = network(images).float()  # a network from outside may give bfloat16
        return self.loss(logits, target, **constants), logits

    @property
    def graph_safe(self) -> bool:
        """Whether a step may be recorded as a CUDA graph."""
        return says(self.loss.func if isinstance(self.loss, functools.partial) else self.loss, "graph_safe")


def build_objective(spec: TrainSpec, steps: int, autocast: Callable[[], Any] = nullcontext) -> Objective:
    """What the spec's method trains on.

    Args:
        spec: The run's.
        steps: Training steps of an epoch.
        autocast: Context of the network's forward pass.

    Raises:
        TrainError: If a method from outside the project cannot be used, or its file is not the one of the spec.
    """
    loss = make("method", spec.method, ("logits", "target"))
    return Objective(loss, spec.optim.epochs, steps, autocast)
