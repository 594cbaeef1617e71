"""The neuron as a Triton kernel for CUDA: all time steps in one pass, forward and backward.

The membrane is float32 whatever the type of the current. Nothing but the current is kept for the backward pass, which
charges the membrane again. Multiplications and additions are not contracted, so the spikes are those of `fused`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 1024


@triton.jit  # type: ignore[untyped-decorator]
def _forward(current, spikes, steps, neurons, rate, threshold, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < neurons
    v = tl.zeros((BLOCK,), dtype=tl.float32)
    for _ in range(steps):
        u = v + (tl.load(current + at, mask=inside, other=0.0).to(tl.float32) - v) * rate
        fired = u > threshold
        tl.store(spikes + at, tl.where(fired, 1.0, 0.0).to(spikes.dtype.element_ty), mask=inside)
        v = tl.where(fired, 0.0, u)
        current += neurons
        spikes += neurons


@triton.jit  # type: ignore[untyped-decorator]
def _backward(  # type: ignore[no-untyped-def]
    current, upstream, membranes, result, steps, neurons, rate, threshold, peak, slope, BLOCK: tl.constexpr
):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < neurons
    v = tl.zeros((BLOCK,), dtype=tl.float32)
    for _ in range(steps):
        u = v + (tl.load(current + at, mask=inside, other=0.0).to(tl.float32) - v) * rate
        tl.store(membranes + at, u, mask=inside)
        v = tl.where(u > threshold, 0.0, u)
        current += neurons
        membranes += neurons
        upstream += neurons
        result += neurons
    later = tl.zeros((BLOCK,), dtype=tl.float32)
    for _ in range(steps):
        membranes -= neurons
        upstream -= neurons
        result -= neurons
        u = tl.load(membranes + at, mask=inside, other=0.0)
        grad = tl.load(upstream + at, mask=inside, other=0.0).to(tl.float32)
        surrogate = peak - slope * tl.abs(u - threshold)
        direct = tl.where(surrogate < 0.0, 0.0, surrogate) * grad  # a maximum would turn NaN into 0, and hide it
        later = direct + tl.where(u > threshold, 0.0, later) * (1.0 - rate)
        tl.store(result + at, later.to(result.dtype.element_ty), mask=inside)


def runs_on(device: torch.device) -> bool:
    """Whether the kernels can run there; on a CPU only in Triton's interpreter (TRITON_INTERPRET=1)."""
    return device.type == "cuda" or (device.type == "cpu" and bool(triton.knobs.runtime.interpret))


def forward(current: Tensor, tau: float, threshold: float) -> Tensor:
    """Spikes of a contiguous current [T, N], in its type."""
    spikes = torch.empty_like(current)
    _forward[_grid(current)](current, spikes, *current.shape, 1.0 / tau, threshold, BLOCK=BLOCK, **_options(current))
    return spikes


def backward(current: Tensor, grad: Tensor, tau: float, threshold: float, peak: float, slope: float) -> Tensor:
    """Gradient of the current, in its type; both are contiguous [T, N], and `neuron.lif` defines what is meant."""
    result = torch.empty_like(current)
    # Each element of the result is written after the membrane of its step was read.
    membranes = result if result.dtype == torch.float32 else torch.empty_like(result, dtype=torch.float32)
    constants = (1.0 / tau, threshold, peak / tau, slope / tau)
    _backward[_grid(current)](
        current, grad, membranes, result, *current.shape, *constants, BLOCK=BLOCK, **_options(current)
    )
    return result


def _grid(current: Tensor) -> tuple[int]:
    return (triton.cdiv(current.shape[1], BLOCK),)


def _options(current: Tensor) -> dict[str, Any]:
    return {"enable_fp_fusion": False} if current.is_cuda else {}
