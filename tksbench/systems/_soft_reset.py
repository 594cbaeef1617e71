"""Neurons with soft reset that can be trained: those of hybrid training [36] and of Diet-SNN [42] differ in two points.

    z = U / V - 1;  s = [z > 0];  U = leak U + I - V s

Hybrid training fires first, from the membrane before the step's input, so every layer lags a step behind the one below;
Diet-SNN integrates first. The derivative ds/dz stands in for that of the step function, so U gets a factor 1 / V. No
gradient flows through the spike of the reset; through the V that is taken away, it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from tksbench.snn.neuron import Neuron, split_time
from tksbench.snn.surrogate import spike

if TYPE_CHECKING:
    from collections.abc import Callable

Surrogate = Literal["linear", "stdb", "stdb_code"]
NEVER = -1000
"""Step of the last spike of a neuron that has not fired, counted as the authors' code does."""


def linear(z: Tensor, scale: float) -> Tensor:
    """Triangle of half-width 1: scale * max(0, 1 - |z|)."""
    return scale * (1 - z.abs()).clamp_min(0)


def stdb(since: Tensor, scale: float, decay: float) -> Tensor:
    """Decay dt steps after a neuron's last spike, as the text of hybrid training has it: scale * exp(-decay * dt)."""
    return scale * (-decay * since).exp()


def stdb_code(since: Tensor, scale: float, decay: float) -> Tensor:
    """The same as the code has it, exp(-dt) ** decay in float32: from dt = 104 on exp underflows, and all is 0."""
    return (scale * (-since.float()).exp().pow(decay)).to(since.dtype)


class SoftReset(Neuron):
    """One layer. A subclass sets `threshold` and `leak`, numbers of its layer as tensors.

    Attributes:
        threshold: V.
        leak: What is left of the membrane after a step.
        carried: What goes on in the next call of a presentation in parts; None if each call begins at U = 0.
    """

    spiking = True
    carried: dict[str, Tensor] | None = None
    threshold: Tensor
    leak: Tensor | float

    def __init__(self, first: Literal["integrate", "fire"], surrogate: Surrogate, scale: float, decay: float) -> None:
        """Store the constants; `linear`, `stdb` and `stdb_code` say what the last three mean."""
        super().__init__()
        self.first, self.surrogate, self.scale, self.decay = first, surrogate, scale, decay

    def forward(self, current: Tensor, steps: int | None = None) -> Tensor:
        """Return the spikes of `current`, in its shape; see `Neuron.forward`."""
        series = current if steps is None else split_time(current, steps)
        state = torch.promote_types(series.dtype, torch.float32)
        carried = self.carried or {}
        u = carried.get("u", torch.zeros_like(series[0], dtype=state))
        since = carried.get("since")  # steps since the last spike
        if self.surrogate != "linear" and since is None:
            since = torch.full_like(u, -1 - NEVER)
        out = []
        for now in series.unbind(0):
            if self.first == "integrate":
                u = self.leak * u + now
            spikes = spike(u / self.threshold - 1, self._derivative(since))
            if self.first == "fire":
                u = self.leak * u + now
            u = u - self.threshold * spikes.detach()
            if since is not None:
                since = torch.where(spikes.detach() > 0, 1.0, since + 1)
            out.append(spikes)
        if self.carried is not None:
            self.carried |= {"u": u} | ({} if since is None else {"since": since})
        return torch.stack(out).to(current.dtype).view_as(current)

    def _derivative(self, since: Tensor | None) -> Callable[[Tensor], Tensor]:
        if since is None:
            return lambda z: linear(z, self.scale)
        form = stdb if self.surrogate == "stdb" else stdb_code
        return lambda _z: form(since, self.scale, self.decay)

    def extra_repr(self) -> str:
        """Show the constants in `print(model)`."""
        threshold, leak = self.threshold.item(), torch.as_tensor(self.leak).item()
        return f"threshold={threshold:g}, leak={leak:g}, first={self.first!r}"
