"""Batch norm and neuron together: the network's layers without the tensors that would lie between them.

`norm_lif` is what the networks call. Where it can, compiled code normalises, adds the shortcut, charges and fires in
one pass and keeps for the backward pass what the network has anyway, the convolution's output; else the three modules
do it one after another. On a CPU both give the same bits at tau = 2: the statistics and the gradient of the
normalisation are torch's own. On CUDA Triton's kernels do all of it, and agree within rounding.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tksbench.snn import native
from tksbench.snn.neuron import LIF, SURROGATE_PEAK, SURROGATE_SLOPE, split_time
from tksbench.snn.once_differentiable import once_differentiable

if TYPE_CHECKING:
    from collections.abc import Callable


class SharedBatchNorm2d(nn.BatchNorm2d):
    """A batch norm over more samples than it is called with: what they are, only it can say.

    Its two methods let the compiled pass stand for a class that `fusable` lists.
    """

    def statistics(self, x: Tensor, repeats: int) -> tuple[Tensor, Tensor, int]:
        """Statistics to run_layer by in training; the running ones are updated.

        Args:
            x: [B, C, H, W].
            repeats: How often each sample counts.

        Returns:
            Mean [C], 1 / sqrt(variance + eps) [C], and the number of values a channel that they are of, those of
            repeats not counted.
        """
        raise NotImplementedError

    def gradient(
        self, grad: Tensor, x: Tensor, mean: Tensor, invstd: Tensor, total: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of what was normalised by `statistics`.

        Args:
            grad: Gradient of the normalised samples [B, C, H, W], summed over repeats.
            x: The samples.
            mean: As `statistics` gave it, like the others.
            invstd: Likewise.
            total: Likewise.

        Returns:
            Those of `x`, and of this process's losses by weight and bias [C].
        """
        raise NotImplementedError


_FUSABLE: set[type[nn.Module]] = {nn.BatchNorm2d}
_SAME_AT_EVERY_STEP: set[type[nn.Module]] = {nn.BatchNorm2d, nn.SyncBatchNorm}
_SharedNorm = TypeVar("_SharedNorm", bound=type[SharedBatchNorm2d])


def fusable(kind: _SharedNorm) -> _SharedNorm:
    """List a class, and none of its subclasses, as one that the compiled pass can stand for."""
    _FUSABLE.add(kind)
    _SAME_AT_EVERY_STEP.add(kind)
    return kind


def norm_lif(
    norm: nn.Module, neurons: nn.Module, x: Tensor, steps: int, shortcut: Tensor | None = None, repeats: int = 1
) -> Tensor:
    """Spikes [steps * B, C, H, W] of the current norm(x) + shortcut.

    Args:
        norm: The batch norm; any other module takes and gives [steps * B, C, H, W].
        neurons: The neurons: a `Neuron`, or what is called like one.
        x: Output of a convolution, [steps * B, C, H, W]; or, with `repeats` = steps, [B, C, H, W], the same at every
            step.
        steps: Number of time steps.
        shortcut: Is added to the normalised `x`; not with repeats.
        repeats: How often `x` is to be repeated over time; it is normalised once.
    """
    if _fits(norm, neurons, x) and _in_step(x, shortcut, steps, repeats):
        norm, neurons = cast("nn.BatchNorm2d", norm), cast("LIF", neurons)
        if norm.training and _native(neurons, x, shortcut):
            return _fused(norm, neurons, x, steps, shortcut, repeats)
        if not isinstance(norm, SharedBatchNorm2d) and (kernels := _triton(neurons, x, shortcut, steps)):
            if not norm.training:
                return _fire(kernels, x, shortcut, kernels.running(norm), neurons, steps, repeats)
            fixed = (norm, neurons, steps, repeats, kernels)
            return cast("Tensor", _TritonNormLIF.apply(x, shortcut, norm.weight, norm.bias, *fixed))
    if repeats != 1 and type(norm) not in _SAME_AT_EVERY_STEP:
        x, repeats = x.repeat(repeats, 1, 1, 1), 1
    current = (
        run_layer(norm, x, steps) if repeats == 1 else batch_norm_repeated(cast("nn.BatchNorm2d", norm), x, repeats)
    )
    if shortcut is not None:
        current = current + shortcut
    if repeats == 1:
        return neurons(current, steps)  # type: ignore[no-any-return]
    return neurons(current.expand(repeats, *current.shape)).flatten(0, 1)  # type: ignore[no-any-return]


def run_layer(layer: nn.Module, x: Tensor, steps: int) -> Tensor:
    """What a layer makes of `x` [steps * B, ...]; one whose class says `per_step` is given the number of steps."""
    return layer(x, steps) if getattr(layer, "per_step", False) else layer(x)  # type: ignore[no-any-return]


def batch_norm_repeated(norm: nn.BatchNorm2d, x: Tensor, repeats: int) -> Tensor:
    """Normalise `x` [B, C, H, W] as a batch in which every sample occurs `repeats` times, without making it.

    Mean and biased variance of the repeated batch are those of `x`. Only the running variance differs: its
    update is unbiased, by n/(n-1) with n the number of elements, which here is `repeats` times as many.

    Returns:
        [B, C, H, W]: the output that each of the repeats would have.
    """
    if not (norm.training and norm.track_running_stats) or repeats == 1:
        return norm(x)  # type: ignore[no-any-return]
    if type(norm) is not nn.BatchNorm2d or norm.momentum is None or _watched(norm):
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


def _fits(norm: nn.Module, neurons: nn.Module, x: Tensor) -> bool:
    """Whether one pass can stand for the modules: their exact classes, and nothing looks in between."""
    if type(norm) not in _FUSABLE or type(neurons) is not LIF:
        return False
    norm = cast("nn.BatchNorm2d", norm)
    return (
        not torch.compiler.is_compiling()
        and (norm.training or not torch.is_grad_enabled())  # gradients through running statistics: the modules'
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and x.numel() > x.shape[1]  # torch's own message names a single value a channel
        and not any(_watched(module) for module in (norm, neurons))
        and all(_flat(parameter) for parameter in (norm.weight, norm.bias))
        and neurons.surrogate is None
        and all(isinstance(constant, int | float) for constant in (neurons.tau, neurons.threshold))
    )


def _flat(parameter: Tensor) -> bool:
    """Whether compiled code can read it as an array: it knows no strides."""
    return parameter.dtype == torch.float32 and parameter.is_contiguous()


def _in_step(x: Tensor, shortcut: Tensor | None, steps: int, repeats: int) -> bool:
    """Whether the shapes are those of `norm_lif`: compiled code would read beyond the end where torch broadcasts."""
    if repeats != 1:
        return repeats == steps and shortcut is None
    return x.shape[0] % steps == 0 and (shortcut is None or shortcut.shape == x.shape)


def _native(neurons: LIF, x: Tensor, shortcut: Tensor | None) -> bool:
    return (
        neurons.backend in ("auto", "native")
        and all(_plain(tensor, "cpu", (torch.float32,)) for tensor in (x, shortcut) if tensor is not None)
        and native.library() is not None
    )


def _triton(neurons: LIF, x: Tensor, shortcut: Tensor | None, steps: int) -> Any:
    """The module of Triton's kernels where they can do it, else None."""
    if neurons.backend not in ("auto", "triton") or (x.device.type == "cpu" and neurons.backend == "auto"):
        return None
    try:
        from tksbench.snn import triton_normlif as kernels
    except ImportError:
        return None
    halves = (torch.float32, torch.bfloat16, torch.float16)
    fits = (
        kernels.runs_on(x.device)
        and steps <= kernels.MAX_STEPS
        and all(_plain(tensor, x.device.type, halves) for tensor in (x, shortcut) if tensor is not None)
    )
    return kernels if fits else None


def _plain(x: Tensor, device: str, dtypes: tuple[torch.dtype, ...]) -> bool:
    return x.device.type == device and x.dtype in dtypes and x.is_contiguous(memory_format=torch.channels_last)


def _watched(module: nn.Module) -> bool:
    """Whether somebody looks at what goes in or out of a module, or its forward pass is not that of its class."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks) or "forward" in vars(module)


def _fused(norm: nn.BatchNorm2d, neurons: LIF, x: Tensor, steps: int, shortcut: Tensor | None, repeats: int) -> Tensor:
    layout = (steps, x.shape[0] * repeats // steps)
    if isinstance(norm, SharedBatchNorm2d):
        mean, invstd, total = norm.statistics(x, repeats)
        gradient = partial(norm.gradient, total=total)
    else:
        mean, invstd = _statistics(norm, x, repeats)
        gradient = None
    fixed = (mean, invstd, layout, gradient, neurons.tau, neurons.threshold)
    return cast("Tensor", _NormLIF.apply(x, shortcut, norm.weight, norm.bias, *fixed))


def _statistics(norm: nn.BatchNorm2d, x: Tensor, repeats: int) -> tuple[Tensor, Tensor]:
    """Mean and 1 / sqrt(variance + eps) of a batch, [C] each; the running ones are updated."""
    assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101
    assert norm.num_batches_tracked is not None and norm.momentum is not None  # noqa: S101
    with torch.no_grad():
        mean, variance = native.statistics(x)
        count = repeats * (x.numel() // x.shape[1])
        norm.running_mean.mul_(1.0 - norm.momentum).add_(mean, alpha=norm.momentum)
        norm.running_var.mul_(1.0 - norm.momentum).add_(variance, alpha=norm.momentum * count / (count - 1))
        norm.num_batches_tracked.add_(1)
        # In float64, as torch's batch norm does it.
        return mean, (1.0 / torch.sqrt(variance.double() + norm.eps)).float()


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
        gradient: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]] | None,
        tau: float,
        threshold: float,
    ) -> Tensor:
        steps, batch = layout
        affine = native.affine(mean, invstd, weight, bias)
        spikes = torch.empty((steps * batch, *x.shape[1:]), memory_format=torch.channels_last)
        native.norm_forward(x, shortcut, affine, split_time(spikes, steps), tau, threshold)
        ctx.save_for_backward(x, None if shortcut is None else native.pack(shortcut), mean, invstd, *affine, weight)
        ctx.steps, ctx.gradient, ctx.tau, ctx.threshold = steps, gradient, tau, threshold
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # The weight is kept, so that torch refuses one that has changed since.
        x, packed, mean, invstd, *affine, weight = ctx.saved_tensors
        shortcut = None if packed is None else native.unpack(packed)
        grad = grad.contiguous(memory_format=torch.channels_last)
        current = torch.empty_like(grad)
        upstream, result = split_time(grad, ctx.steps), split_time(current, ctx.steps)
        constants = (ctx.tau, ctx.threshold, SURROGATE_PEAK, SURROGATE_SLOPE)
        # Whoever counts other samples too has a gradient of its own; what is repeated is summed up first.
        alone, repeated = ctx.gradient is None, x.shape != current.shape
        wanted = mean if alone and not repeated else None
        sums = native.norm_backward(x, shortcut, native.Affine(*affine), upstream, result, *constants, mean=wanted)
        own = current
        if repeated:
            own = split_time(current, ctx.steps).sum(0).contiguous(memory_format=torch.channels_last)
        if alone:
            sums = native.totals(own, x, mean) if sums is None else sums
            spare = repeated or not ctx.needs_input_grad[1]
            by_x, by_weight, by_bias = native.norm_gradient(own, x, sums, mean, invstd, weight, in_place=spare)
        else:
            by_x, by_weight, by_bias = ctx.gradient(own, x, mean, invstd)
        return by_x, current if ctx.needs_input_grad[1] else None, by_weight, by_bias, *[None] * 6


def _layout(kernels: Any, x: Tensor, steps: int, repeats: int) -> Any:
    samples = x.shape[0] * repeats // steps
    return kernels.Layout(steps, samples * x.shape[2] * x.shape[3], x.shape[1], repeats > 1)


def _fire(
    kernels: Any, x: Tensor, shortcut: Tensor | None, fixed: Tensor, neurons: LIF, steps: int, repeats: int
) -> Tensor:
    """Spikes, by the kernels, of what `fixed` normalises."""
    shape = (x.shape[0] * repeats, *x.shape[1:])
    spikes = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    layout = _layout(kernels, x, steps, repeats)
    kernels.forward(x, shortcut, fixed, spikes, layout, neurons.tau, neurons.threshold)
    return spikes


class _TritonNormLIF(torch.autograd.Function):
    """The same by Triton's kernels, the batch's statistics and their gradient included."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        shortcut: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        norm: nn.BatchNorm2d,
        neurons: LIF,
        steps: int,
        repeats: int,
        kernels: Any,
    ) -> Tensor:
        assert norm.num_batches_tracked is not None  # noqa: S101
        layout = _layout(kernels, x, steps, repeats)
        fixed = kernels.statistics(x, layout, norm)
        norm.num_batches_tracked.add_(1)
        ctx.save_for_backward(x, shortcut, fixed)
        ctx.constants = (neurons.tau, neurons.threshold, SURROGATE_PEAK, SURROGATE_SLOPE)
        ctx.layout, ctx.kernels = layout, kernels
        return _fire(kernels, x, shortcut, fixed, neurons, steps, repeats)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, shortcut, fixed = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        wanted = ctx.needs_input_grad[1]
        own, beside, totals = ctx.kernels.backward(x, shortcut, fixed, grad, ctx.layout, ctx.constants, beside=wanted)
        return own, beside, totals[1], totals[0], *[None] * 5
