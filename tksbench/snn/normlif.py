"""Batch norm and neuron together: the network's layers without the tensors that would lie between them.

`norm_lif` is what the networks call. Where it can, compiled code normalises, adds the shortcut, charges and fires in
one pass and keeps for the backward pass what the network has anyway, the convolution's output; else the three modules
do it one after another. At tau = 2 both give the same bits: the statistics and the gradient of the normalisation are
torch's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from tksbench.snn import native
from tksbench.snn.neuron import SURROGATE_PEAK, SURROGATE_SLOPE, split_time

if TYPE_CHECKING:
    from tksbench.snn.neuron import LIF


def norm_lif(
    norm: nn.BatchNorm2d, neurons: LIF, x: Tensor, steps: int, shortcut: Tensor | None = None, repeats: int = 1
) -> Tensor:
    """Spikes [steps * B, C, H, W] of the current norm(x) + shortcut.

    Args:
        norm: The batch norm.
        neurons: The neurons.
        x: Output of a convolution, [steps * B, C, H, W]; or, with `repeats` = steps, [B, C, H, W], the same at every
            step.
        steps: Number of time steps.
        shortcut: Is added to the normalised `x`; not with repeats.
        repeats: How often `x` is to be repeated over time; it is normalised once.
    """
    if _fits(norm, neurons, x, shortcut):
        return _fused(norm, neurons, x, steps, shortcut, repeats)
    current = batch_norm_repeated(norm, x, repeats)
    if shortcut is not None:
        current = current + shortcut
    if repeats == 1:
        return neurons(current, steps)  # type: ignore[no-any-return]
    return neurons(current.expand(repeats, *current.shape)).flatten(0, 1)  # type: ignore[no-any-return]


def batch_norm_repeated(norm: nn.BatchNorm2d, x: Tensor, repeats: int) -> Tensor:
    """Normalise `x` [B, C, H, W] as a batch in which every sample occurs `repeats` times, without making it.

    Mean and biased variance of the repeated batch are those of `x`. Only the running variance differs: its
    update is unbiased, by n/(n-1) with n the number of elements, which here is `repeats` times as many.

    Returns:
        [B, C, H, W]: the output that each of the repeats would have.
    """
    if not (norm.training and norm.track_running_stats) or repeats == 1:
        return norm(x)  # type: ignore[no-any-return]
    if type(norm) is not nn.BatchNorm2d or norm.momentum is None:
        # Synchronised batch norm counts the elements of all processes: give it the real batch.
        return norm(x.repeat(repeats, 1, 1, 1))[: x.shape[0]]  # type: ignore[no-any-return]
    assert norm.running_var is not None  # noqa: S101
    # A buffer of zeros receives momentum * unbiased variance; autograd may keep it, so it is not changed after.
    update = torch.zeros_like(norm.running_var)
    out = F.batch_norm(
        x, norm.running_mean, update, norm.weight, norm.bias, training=True, momentum=norm.momentum, eps=norm.eps
    )
    _count(norm, update, x, repeats)
    return out


def _count(norm: nn.BatchNorm2d, update: Tensor, x: Tensor, repeats: int) -> None:
    """Correct and add the update of the running variance, and count the batch."""
    assert norm.running_var is not None and norm.num_batches_tracked is not None  # noqa: S101
    assert norm.momentum is not None  # noqa: S101
    n = x.numel() // x.shape[1]
    with torch.no_grad():
        correction = (n - 1) / n * (repeats * n) / (repeats * n - 1)
        norm.running_var.mul_(1.0 - norm.momentum).add_(update, alpha=correction)
        norm.num_batches_tracked.add_(1)


def _fits(norm: nn.BatchNorm2d, neurons: LIF, x: Tensor, shortcut: Tensor | None) -> bool:
    """Whether the compiled pass can stand for the modules: training, plain batch norm, and nobody looks in between."""
    return (
        neurons.backend in ("auto", "native")
        and not torch.compiler.is_compiling()
        and norm.training
        and type(norm) is nn.BatchNorm2d
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and x.numel() > x.shape[1]  # torch's own message tells of a single value a channel
        and not any(_watched(module) for module in (norm, neurons))
        and all(_plain(tensor) for tensor in (x, shortcut) if tensor is not None)
        and norm.weight.dtype == torch.float32
        and native.library() is not None
    )


def _plain(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and x.is_contiguous(memory_format=torch.channels_last)


def _watched(module: nn.Module) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks)


def _fused(norm: nn.BatchNorm2d, neurons: LIF, x: Tensor, steps: int, shortcut: Tensor | None, repeats: int) -> Tensor:
    assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101
    assert norm.num_batches_tracked is not None and norm.momentum is not None  # noqa: S101
    with torch.no_grad():
        running = norm.running_var if repeats == 1 else torch.zeros_like(norm.running_var)
        mean, var = torch.batch_norm_update_stats(x, norm.running_mean, running, norm.momentum)
        # In float64, as torch's batch norm does it.
        invstd = (1.0 / torch.sqrt(var.double() + norm.eps)).float()
        if repeats == 1:
            norm.num_batches_tracked.add_(1)
        else:
            _count(norm, running, x, repeats)
    fixed = (mean, invstd, (steps, x.shape[0] * repeats // steps), norm.eps, neurons.tau, neurons.threshold)
    return cast("Tensor", _NormLIF.apply(x, shortcut, norm.weight, norm.bias, *fixed))


class _NormLIF(torch.autograd.Function):
    """Normalise by given statistics of `x`, add, and fire; differentiated as batch norm in training is."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        shortcut: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        invstd: Tensor,
        layout: tuple[int, int],
        eps: float,
        tau: float,
        threshold: float,
    ) -> Tensor:
        steps, batch = layout
        affine = native.affine(mean, invstd, weight, bias)
        spikes = torch.empty((steps * batch, *x.shape[1:]), memory_format=torch.channels_last)
        native.norm_forward(x, shortcut, affine, split_time(spikes, steps), tau, threshold)
        ctx.save_for_backward(x, None if shortcut is None else native.pack(shortcut), weight, mean, invstd, *affine)
        ctx.steps, ctx.eps, ctx.tau, ctx.threshold = steps, eps, tau, threshold
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, packed, weight, mean, invstd, *affine = ctx.saved_tensors
        shortcut = None if packed is None else native.unpack(packed)
        grad = grad.contiguous(memory_format=torch.channels_last)
        current = torch.empty_like(grad)
        upstream, result = split_time(grad, ctx.steps), split_time(current, ctx.steps)
        constants = (ctx.tau, ctx.threshold, SURROGATE_PEAK, SURROGATE_SLOPE)
        native.norm_backward(x, shortcut, native.Affine(*affine), upstream, result, *constants)
        # What was repeated gets the sum of its repeats.
        own = current if x.shape == current.shape else split_time(current, ctx.steps).sum(0)
        needed = [ctx.needs_input_grad[number] for number in (0, 2, 3)]
        found = torch.ops.aten.native_batch_norm_backward(
            own, x, weight, None, None, mean, invstd, True, ctx.eps, needed
        )
        return found[0], current if ctx.needs_input_grad[1] else None, found[1], found[2], *[None] * 6
