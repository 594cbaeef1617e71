"""The neuron as compiled C (lif.c).

Without a compiler, or with one that cannot do this, `library()` is None and the neuron falls back to its plain torch
form, which at the paper's tau computes the same bits.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tksbench.snn import compiler

# No contraction into fused multiply-adds, so that the compiler does not decide about the last bit.
_FLAGS = ("-ffp-contract=off",)


class Affine(NamedTuple):
    """A batch norm as scale * x + shift, [C] each."""

    scale: Tensor
    shift: Tensor


def library() -> ctypes.CDLL | None:
    """The compiled functions, or None where they cannot be had; why not is logged once."""
    return _library()[0]


def problem() -> str:
    """Why the compiled functions cannot be had; empty where they can."""
    return _library()[1]


@functools.cache
def _library() -> tuple[ctypes.CDLL | None, str]:
    found, why = compiler.load("lif", _FLAGS, "neuron")
    return found and _typed(found), why


def forward(current: Tensor, spikes: Tensor, tau: float, threshold: float) -> None:
    """Fill `spikes`; both are contiguous float32 [T, N] on the CPU, and `library()` is there."""
    _functions().lif_forward(current.data_ptr(), spikes.data_ptr(), *current.shape, 1.0 / tau, threshold)


def backward(
    current: Tensor, grad: Tensor, result: Tensor, tau: float, threshold: float, peak: float, slope: float
) -> None:
    """Fill `result` = dL/dI from `grad` = dL/ds; all are contiguous float32 [T, N] on the CPU.

    Args:
        current: Input current I of the forward pass.
        grad: Gradient of the spikes.
        result: Takes the gradient of the current.
        tau: Membrane time constant in time steps.
        threshold: Firing threshold.
        peak: Surrogate gradient at the threshold.
        slope: Its fall with the distance from it.
    """
    pointers = (current.data_ptr(), grad.data_ptr(), result.data_ptr())
    constants = (1.0 / tau, threshold, peak / tau, slope / tau)
    _check(_functions().lif_backward(*pointers, *current.shape, *constants))


def affine(mean: Tensor, invstd: Tensor, weight: Tensor, bias: Tensor) -> Affine:
    """Batch norm as scale * x + shift; all are contiguous float32 [C] on the CPU."""
    scale, shift = torch.empty_like(mean), torch.empty_like(mean)
    pointers = (tensor.data_ptr() for tensor in (mean, invstd, weight, bias, scale, shift))
    _functions().norm_affine(*pointers, len(mean))
    return Affine(scale, shift)


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance, [C] each, of `x` [N, C, H, W], float32 on the CPU, channels-last."""
    channels = x.shape[1]
    mean, variance = x.new_empty(channels), x.new_empty(channels)
    pointers = (x.data_ptr(), mean.data_ptr(), variance.data_ptr())
    _check(_functions().norm_statistics(*pointers, x.numel() // channels, channels))
    return mean, variance


def totals(grad: Tensor, x: Tensor, mean: Tensor) -> Tensor:
    """The sums of a gradient and of its product with x - mean, float64 [2, C]; what `norm_backward` returns too."""
    channels = x.shape[1]
    found = torch.empty((2, channels), dtype=torch.float64)
    pointers = (tensor.data_ptr() for tensor in (grad, x, mean, found))
    _check(_functions().norm_totals(*pointers, x.numel() // channels, channels))
    return found


def norm_forward(
    x: Tensor, shortcut: Tensor | None, affine: Affine, spikes: Tensor, tau: float, threshold: float
) -> None:
    """Fill `spikes` of the current scale * x + shift (+ shortcut).

    Args:
        x: [T * B, C, H, W], or [B, C, H, W], the same at each step; float32 on the CPU, channels-last.
        shortcut: Like `spikes`, or None.
        affine: The batch norm.
        spikes: [T, B, C, H, W], each step channels-last.
        tau: Membrane time constant in time steps.
        threshold: Firing threshold.
    """
    arguments = _layer(x, shortcut, affine, spikes.shape)
    _check(_functions().norm_lif_forward(*arguments, spikes.data_ptr(), *_sizes(spikes), 1.0 / tau, threshold))


def norm_backward(
    x: Tensor,
    shortcut: Tensor | None,
    affine: Affine,
    grad: Tensor,
    result: Tensor,
    tau: float,
    threshold: float,
    peak: float,
    slope: float,
    mean: Tensor | None = None,
) -> Tensor | None:
    """Fill `result` with the gradient of the current, from `grad` = dL/ds; both are like the spikes of `norm_forward`.

    The other arguments are those of `norm_forward` and of `backward`. With `mean`, [C], of an `x` that is not the same
    at each step, returns what `norm_gradient` needs, as `totals` gives it.
    """
    arguments = _layer(x, shortcut, affine, grad.shape)
    constants = (1.0 / tau, threshold, peak / tau, slope / tau)
    pointers = (grad.data_ptr(), result.data_ptr())
    sums = None if mean is None else torch.empty((2, len(mean)), dtype=torch.float64)
    wanted = (None, None) if mean is None or sums is None else (mean.data_ptr(), sums.data_ptr())
    _check(_functions().norm_lif_backward(*arguments, *pointers, *_sizes(grad), *constants, *wanted))
    return sums


def norm_gradient(
    grad: Tensor, x: Tensor, sums: Tensor, mean: Tensor, invstd: Tensor, weight: Tensor, *, in_place: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by `x`, weight and bias of a batch norm over `x` in training.

    Args:
        grad: Gradient of the normalised `x`, like it.
        x: [N, C, H, W], float32 on the CPU, channels-last.
        sums: What `totals` gives.
        mean: Of `x`, [C].
        invstd: 1 / sqrt(variance + eps), [C].
        weight: Of the batch norm, [C].
        in_place: Whether the gradient by `x` may take the place of `grad`, which nobody else has.
    """
    by_x = grad if in_place else torch.empty_like(grad)
    by_weight, by_bias = torch.empty_like(weight), torch.empty_like(weight)
    tensors = (x, grad, sums, mean, invstd, weight, by_x, by_weight, by_bias)
    channels = x.shape[1]
    _check(_functions().norm_backward(*(tensor.data_ptr() for tensor in tensors), x.numel() // channels, channels))
    return by_x, by_weight, by_bias


def pack(x: Tensor) -> Tensor:
    """Spikes as bytes, to be kept in a quarter of the memory; `x` itself where it cannot be had from bytes again.

    Args:
        x: Spikes or sums of spikes: numbers from 0 to 255, mostly whole; any shape and layout.
    """
    if library() is None or x.device.type != "cpu" or x.dtype != torch.float32 or not _dense(x):
        return x
    packed = torch.empty_like(x, dtype=torch.uint8)
    return packed if _functions().to_bytes(x.data_ptr(), packed.data_ptr(), x.numel()) else x


def unpack(packed: Tensor) -> Tensor:
    """What was given to `pack`, with the same layout."""
    return packed.float() if packed.dtype == torch.uint8 else packed


def _dense(x: Tensor) -> bool:
    return x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)


def _layer(x: Tensor, shortcut: Tensor | None, affine: Affine, shape: torch.Size) -> tuple[int | None, ...]:
    jump = shape[1:].numel() if x.shape[0] == shape[0] * shape[1] else 0
    other = None if shortcut is None else shortcut.data_ptr()
    return x.data_ptr(), jump, other, affine.scale.data_ptr(), affine.shift.data_ptr()


def _sizes(spikes: Tensor) -> tuple[int, int, int]:
    steps, batch, channels, height, width = spikes.shape
    return steps, batch * height * width, channels


def _check(failed: int) -> None:
    if failed:
        raise MemoryError("no memory for the membranes of one block of neurons")


def _functions() -> ctypes.CDLL:
    found = library()
    assert found is not None  # noqa: S101 - callers ask `library()` first
    return found


def _typed(found: ctypes.CDLL) -> ctypes.CDLL:
    pointer, long, real = ctypes.c_void_p, ctypes.c_long, ctypes.c_float
    found.lif_forward.argtypes = [pointer, pointer, long, long, real, real]
    found.lif_forward.restype = None
    found.lif_backward.argtypes = [pointer, pointer, pointer, long, long, real, real, real, real]
    found.lif_backward.restype = ctypes.c_int
    found.norm_affine.argtypes = [pointer] * 6 + [long]
    found.norm_affine.restype = None
    found.to_bytes.argtypes = [pointer, pointer, long]
    found.to_bytes.restype = ctypes.c_int
    layer: list[Any] = [pointer, long, pointer, pointer, pointer]
    sizes: list[Any] = [long, long, long]
    found.norm_lif_forward.argtypes = [*layer, pointer, *sizes, real, real]
    found.norm_lif_forward.restype = ctypes.c_int
    found.norm_lif_backward.argtypes = [*layer, pointer, pointer, *sizes, real, real, real, real, pointer, pointer]
    found.norm_lif_backward.restype = ctypes.c_int
    found.norm_statistics.argtypes = [pointer, pointer, pointer, long, long]
    found.norm_totals.argtypes = [pointer, pointer, pointer, pointer, long, long]
    found.norm_statistics.restype = found.norm_totals.restype = ctypes.c_int
    found.norm_backward.argtypes = [*[pointer] * 9, long, long]
    found.norm_backward.restype = ctypes.c_int
    return found
