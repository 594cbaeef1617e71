"""What training makes small: a loss of the network's outputs, with the constants that it has at the moment."""

from __future__ import annotations

import inspect
import pkgutil
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tksbench.recipe.outside import source_digest
from tksbench.recipe.schema import CustomMethod
from tksbench.snn.losses import alpha_at
from tksbench.snn.registry import resolve_method
from tksbench.train.errors import TrainError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from tksbench.recipe import RunSpec


@dataclass(frozen=True)
class Objective:
    """The mean loss of a batch.

    Attributes:
        function: Maps logits [T, B, C] and labels [B] to a scalar.
        params: Its keyword arguments.
        schedule: How its `alpha` grows to the one of `params`; None for a loss without constants of the moment.
        epochs: Number of epochs.
        steps: Training steps of an epoch.
        autocast: Context of the network's forward pass.
    """

    function: Callable[..., Tensor]
    params: dict[str, Any]
    schedule: str | None
    epochs: int
    steps: int
    autocast: Callable[[], Any] = nullcontext

    def constants(self, epoch: int, step: int) -> dict[str, float]:
        """What a step's loss depends on besides the batch, by name: a recorded step holds for these alone."""
        if self.schedule is None:
            return {}
        peak = float(self.params["alpha"])
        return {"alpha": alpha_at(self.schedule, peak, epoch, self.epochs, step, self.steps)}  # type: ignore[arg-type]

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
        return self.function(logits, target, **{**self.params, **constants}), logits


def build_objective(spec: RunSpec, steps: int, autocast: Callable[[], Any] = nullcontext) -> Objective:
    """What the spec's method trains on.

    Args:
        spec: The run's.
        steps: Training steps of an epoch.
        autocast: Context of the network's forward pass.

    Raises:
        TrainError: If a method from outside the project cannot be used, or its file is not the one of the spec.
    """
    if isinstance(spec.method, CustomMethod):
        return Objective(_outside(spec.method), spec.method.params, None, spec.optim.epochs, steps, autocast)
    params = dict(spec.method.params)
    schedule = params.pop("schedule", None)
    return Objective(resolve_method(spec.method.name), params, schedule, spec.optim.epochs, steps, autocast)


def _outside(method: CustomMethod) -> Callable[..., Tensor]:
    """Import a method from outside the project, and check that it is the one that was planned."""
    name = method.name
    if method.source != source_digest(name):
        raise TrainError(f"method '{name}': its file was edited since this run was planned; start the launcher again")
    try:
        function: Callable[..., Tensor] = pkgutil.resolve_name(name)
        inspect.signature(function).bind("logits", "target", **method.params)
    except (ImportError, AttributeError, ValueError) as error:
        raise TrainError(f"method '{name}' cannot be imported: {error}") from None
    except TypeError as error:
        raise TrainError(f"method '{name}' is called with (logits, target, **kwargs), but: {error}") from None
    return function
