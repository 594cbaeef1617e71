"""Autograd functions that have a first derivative and no second."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import function

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def once_differentiable(backward: Callable[[Any, Tensor], Any]) -> Callable[[Any, Tensor], Any]:
    """Make whoever asks a backward pass for its own derivative get an error.

    Torch's decorator of this name lets those pass whose gradient from above is a constant, as that of a sum is: their
    second derivative would silently be 0.
    """
    guarded = function.once_differentiable(backward)

    @functools.wraps(backward)
    def once(ctx: Any, grad: Tensor) -> Any:
        if torch.is_grad_enabled():  # with create_graph
            grad = grad if grad.requires_grad else grad.detach().requires_grad_()
        return guarded(ctx, grad)

    return once
