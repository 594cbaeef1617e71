"""Integrate-and-fire neurons as converted networks have them, and the sum that each of them keeps.

The published neurons differ in four points, and each of them shows: which comes first, input or spike; whether a
membrane at the threshold fires; what a spike takes from the membrane; and how high a spike is. With soft reset no
charge is lost: threshold * sum(spikes) + U(T) = sum(inputs) without leak.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from tksbench.snn.errors import SnnError
from tksbench.snn.neuron import Neuron, split_time


class IntegrateAndFire(Neuron):
    """Neurons of a converted network; they have no derivative.

    One step, membrane U = 0 before the first:

        first="integrate":  U = leak U + I + shift;  s = [U > V];  U = U - V s
        first="fire":       s = [U > V];  U = leak U + I + shift - V s

    Attributes:
        threshold: V, one number a layer, saved with the weights.
        height: Whether a spike is passed on as V, not as 1.
        carried: What goes on in the next call of a presentation in parts; None if each call begins at U = 0.
    """

    graph_safe = False  # it carries its membrane from call to call
    spiking = True
    height = False
    carried: dict[str, Tensor] | None = None

    def __init__(
        self,
        threshold: float = 1.0,
        *,
        leak: float = 1.0,
        shift: float = 0.0,
        reset: Literal["soft", "hard"] = "soft",
        first: Literal["integrate", "fire"] = "integrate",
        at_threshold: bool = False,
    ) -> None:
        """Store the constants.

        Args:
            threshold: Membrane above which a neuron fires.
            leak: What is left of the membrane after a step.
            shift: Added to the input at every step.
            reset: Whether a spike takes the threshold from the membrane, or all of it.
            first: Whether a step begins with its input, or with the spike of the membrane before it.
            at_threshold: Whether a membrane that equals the threshold fires.

        Raises:
            SnnError: The threshold is not above 0.
        """
        super().__init__()
        if not threshold > 0:
            raise SnnError(f"threshold is {threshold}; it must be above the resting value 0")
        self.register_buffer("threshold", torch.tensor(float(threshold)))
        self.leak, self.shift, self.reset, self.first, self.at_threshold = leak, shift, reset, first, at_threshold

    threshold: Tensor

    def forward(self, current: Tensor, steps: int | None = None) -> Tensor:
        """Return the spikes of `current`, in its shape; see `Neuron.forward`.

        Raises:
            SnnError: A gradient is asked for.
        """
        if torch.is_grad_enabled() and current.requires_grad:
            raise SnnError("the neurons of a converted network have no derivative: evaluate it without gradients")
        series = current if steps is None else split_time(current, steps)
        out = torch.empty_like(series)
        u = None if self.carried is None else self.carried.get("u")
        if u is None:
            u = torch.zeros_like(series[0], dtype=torch.promote_types(series.dtype, torch.float32))
        threshold = float(self.threshold)
        for at, current_now in enumerate(series.unbind(0)):
            self._step(u, current_now, out[at], threshold)
        if self.carried is not None:
            self.carried["u"] = u
        return out if steps is None else out.flatten(0, 1)

    def _step(self, u: Tensor, current: Tensor, spikes: Tensor, threshold: float) -> None:
        """Move the membrane `u` on by one step, and write its spikes."""
        fire = torch.ge if self.at_threshold else torch.gt
        if self.first == "integrate":
            self._integrate(u, current)
        fire(u, threshold, out=spikes)
        if self.height:
            spikes.mul_(threshold)
        if self.reset == "hard":
            u.masked_fill_(spikes != 0, 0.0)
        if self.first == "fire":
            self._integrate(u, current)
        if self.reset == "soft":
            u.sub_(spikes, alpha=1.0 if self.height else threshold)

    def _integrate(self, u: Tensor, current: Tensor) -> None:
        if self.leak != 1.0:
            u.mul_(self.leak)
        u.add_(current)
        if self.shift:
            u.add_(self.shift)

    def membrane(self) -> Tensor:
        """The membrane after the last call of a presentation in parts.

        Raises:
            SnnError: There is none.
        """
        if not self.carried:
            raise SnnError("a membrane is kept within `continued` alone, after a first call")
        return self.carried["u"]

    def extra_repr(self) -> str:
        """Show the constants in `print(model)`."""
        return f"threshold={float(self.threshold):g}, leak={self.leak}, reset={self.reset!r}, first={self.first!r}"


class ScaledIntegrateAndFire(IntegrateAndFire):
    """The same with spikes as high as the threshold, so that the layer behind them keeps its weights."""

    graph_safe = False
    spiking = False  # neither 0 nor 1
    height = True
