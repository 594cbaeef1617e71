"""The integrate-and-fire neurons of directly trained networks, in the iterative form of Wu et al. (STBP).

One step, membrane v = 0 before the first:

    u_t = decay * v_{t-1} + I_t          charge (the input is not scaled)
    s_t = 1 if u_t > threshold else 0    fire; at the threshold itself only if asked for
    v_t = u_t * (1 - s_t)                hard reset to 0

`decay` = 1 is an integrate-and-fire neuron. The reset carries the surrogate's gradient unless it is detached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import torch
from torch import Tensor

from tksbench.component import component
from tksbench.snn.errors import SnnError
from tksbench.snn.neuron import Neuron, split_time
from tksbench.snn.once_differentiable import once_differentiable
from tksbench.snn.surrogate import Triangle, own

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import Field


@component("neuron", "iterative_lif")
class IterativeLIF(Neuron):
    """Leaky integrate-and-fire with hard reset, whose input is not divided by the time constant."""

    spiking = True
    graph_safe = True
    per_sample = True

    def __init__(
        self,
        *,
        decay: Annotated[float, Field(ge=0, le=1)] = 0.5,
        threshold: Annotated[float, Field(gt=0)] = 1.0,
        at_threshold: bool = False,
        detach: bool = False,
        surrogate: Annotated[Callable[[Tensor], Tensor] | None, "surrogate"] = None,
    ) -> None:
        """Store the constants.

        Args:
            decay: Factor of the membrane from step to step; 1 keeps it.
            threshold: Above which it fires; it is reset to 0.
            at_threshold: Whether a membrane that is equal to the threshold fires.
            detach: Cut the gradient through the reset.
            surrogate: Stands for the derivative of the spikes; none is the triangle of height 1 and half-width 1.

        Raises:
            SnnError: A constant is out of range.
        """
        super().__init__()
        if not 0.0 <= decay <= 1.0 or not threshold > 0.0:
            raise SnnError(f"iterative_lif: decay is {decay}, threshold {threshold}; 0 <= decay <= 1, threshold > 0")
        self.decay, self.threshold = decay, threshold
        self.at_threshold, self.detach = at_threshold, detach
        self.surrogate = Triangle() if surrogate is None else own(surrogate)

    def step(self, current: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """One time step; see `Neuron.step`."""
        u = torch.add(current, v, alpha=self.decay)
        spikes = self.surrogate(u - self.threshold)
        if self.at_threshold:
            spikes = spikes + (u == self.threshold)
        return spikes, u * (1.0 - (spikes.detach() if self.detach else spikes))

    def forward(self, current: Tensor, steps: int | None = None) -> Tensor:
        """Return the spikes of `current`, in its shape; see `Neuron.forward`."""
        derivative = getattr(self.surrogate, "derivative", None)
        if derivative is None or torch.compiler.is_compiling():
            return super().forward(current, steps)
        series = current if steps is None else split_time(current, steps)
        constants = (self.decay, self.threshold, self.at_threshold, self.detach)
        spikes = cast("Tensor", _Iterate.apply(series, *constants, derivative))
        return spikes.view_as(current)

    def extra_repr(self) -> str:
        """Show the constants in `print(model)`."""
        return f"decay={self.decay}, threshold={self.threshold}, at_threshold={self.at_threshold}, detach={self.detach}"


class _Iterate(torch.autograd.Function):
    """All time steps in one node of the graph; keeps the membranes before the reset."""

    @staticmethod
    def forward(
        ctx: Any,
        series: Tensor,
        decay: float,
        threshold: float,
        at_threshold: bool,
        detach: bool,
        derivative: Callable[[Tensor], Tensor],
    ) -> Tensor:
        current = series.to(torch.promote_types(series.dtype, torch.float32))
        membranes, spikes = torch.empty_like(current), torch.empty_like(series)
        fires, stays = (torch.ge, torch.lt) if at_threshold else (torch.gt, torch.le)
        for t, one in enumerate(current.unbind(0)):
            u = membranes[t]
            if t == 0:
                u.copy_(one)
            else:
                torch.mul(membranes[t - 1], stays(membranes[t - 1], threshold), out=u)
                torch.add(one, u, alpha=decay, out=u)
            spikes[t].copy_(fires(u, threshold))
        ctx.save_for_backward(membranes)
        ctx.fixed = (decay, threshold, stays, detach, derivative)
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # With g = dL/du and dL/dv_t = decay * g_{t+1}: g_t = (dL/ds_t [- dL/dv_t u_t]) phi(u_t) + dL/dv_t (1 - s_t).
        (membranes,) = ctx.saved_tensors
        decay, threshold, stays, detach, derivative = ctx.fixed
        result = derivative(membranes - threshold)
        if detach:
            result.mul_(grad)
        for t in range(len(membranes) - 1, -1, -1):
            u = membranes[t]
            if t + 1 == len(membranes):
                if not detach:
                    result[t].mul_(grad[t])
                continue
            by_v = decay * result[t + 1]
            if not detach:
                result[t].mul_(torch.addcmul(grad[t], by_v, u, value=-1.0))
            result[t].addcmul_(by_v, stays(u, threshold).to(by_v.dtype))
        return result.to(grad.dtype), *[None] * 5
