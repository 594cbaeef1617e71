"""Surrogate gradients: what stands for the derivative of the step function, of which a neuron's spikes are made.

The paper's neuron has the triangle of `tksbench.snn.neuron`; only that one has compiled forms. A surrogate with a
method `derivative` lets an `IterativeLIF` go through all time steps in one node of the graph.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Annotated, Any, cast

import torch
from torch import Tensor, nn

from tksbench.component import component

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import Field


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, derivative: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.derivative = derivative
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grad * ctx.derivative(x), None


def spike(x: Tensor, derivative: Callable[[Tensor], Tensor]) -> Tensor:
    """Spikes of `x` = membrane - threshold, 1 where it is strictly positive, else 0, with a derivative of one's own."""
    return cast("Tensor", _Spike.apply(x, derivative))


def own(surrogate: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """What one layer of neurons keeps of a surrogate: a copy if it is a module, since layers share no tensors."""
    return copy.deepcopy(surrogate) if isinstance(surrogate, nn.Module) else surrogate


@component("surrogate", "triangle")
class Triangle:
    """max(0, peak - slope |x|)."""

    graph_safe = True

    def __init__(
        self, *, peak: Annotated[float, Field(gt=0)] = 1.0, slope: Annotated[float, Field(gt=0)] = 1.0
    ) -> None:
        """Store the constants.

        Args:
            peak: At the threshold.
            slope: Its fall with the distance from it.
        """
        self.peak, self.slope = peak, slope

    def __call__(self, x: Tensor) -> Tensor:
        """Spikes of x = membrane - threshold."""
        return spike(x, self.derivative)

    def derivative(self, x: Tensor) -> Tensor:
        """At x = membrane - threshold."""
        return (self.peak - self.slope * x.abs()).clamp_min(0.0)


@component("surrogate", "rectangle")
class Rectangle:
    """1 / width where |x| < width / 2, as Wu et al. have it (STBP, 2018)."""

    graph_safe = True

    def __init__(self, *, width: Annotated[float, Field(gt=0)] = 1.0) -> None:
        """Store the constant.

        Args:
            width: Of the membranes around the threshold that are given a gradient; the area is 1.
        """
        self.width = width

    def __call__(self, x: Tensor) -> Tensor:
        """Spikes of x = membrane - threshold."""
        return spike(x, self.derivative)

    def derivative(self, x: Tensor) -> Tensor:
        """At x = membrane - threshold."""
        return (x.abs() < self.width / 2).to(x.dtype) / self.width


@component("surrogate", "arctan")
class Arctan:
    """(alpha / 2) / (1 + (pi alpha x / 2)^2), as Fang et al. have it for learnable time constants (ICCV 2021)."""

    graph_safe = True

    def __init__(self, *, alpha: Annotated[float, Field(gt=0)] = 2.0) -> None:
        """Store the constant.

        Args:
            alpha: Twice the peak; the width falls with it.
        """
        self.alpha = alpha

    def __call__(self, x: Tensor) -> Tensor:
        """Spikes of x = membrane - threshold."""
        return spike(x, self.derivative)

    def derivative(self, x: Tensor) -> Tensor:
        """At x = membrane - threshold."""
        return self.alpha / 2 / (1 + (math.pi / 2 * self.alpha * x).square())


@component("surrogate", "sigmoid")
class Sigmoid:
    """The derivative of sigmoid(alpha x)."""

    graph_safe = True

    def __init__(self, *, alpha: Annotated[float, Field(gt=0)] = 4.0) -> None:
        """Store the constant.

        Args:
            alpha: Four times the peak; the width falls with it.
        """
        self.alpha = alpha

    def __call__(self, x: Tensor) -> Tensor:
        """Spikes of x = membrane - threshold."""
        return spike(x, self.derivative)

    def derivative(self, x: Tensor) -> Tensor:
        """At x = membrane - threshold."""
        s = torch.sigmoid(self.alpha * x)
        return self.alpha * s * (1 - s)
