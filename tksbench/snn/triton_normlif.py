"""Batch norm, shortcut and neuron as Triton kernels for CUDA: each pass reads and writes every tensor once.

Tensors are channels-last, seen as rows: x is [T, R, C] with R = B H W, channels innermost. The current of a neuron is
x * scale + shift (+ shortcut), with scale and shift [C] from the batch's statistics; it is never written to memory. The
backward pass charges the membranes again from x and keeps them in registers, which is why the number of time steps is
known when a kernel is compiled and bounded by `MAX_STEPS`.

Sums over a batch are taken in two stages, in an order that only depends on the shape, so equal inputs give equal bits.
The membrane and all sums are float32 whatever the type of x.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import triton
import triton.language as tl

from tksbench.snn.triton_lif import runs_on

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["MAX_STEPS", "Layout", "backward", "forward", "running", "runs_on", "statistics"]

MAX_STEPS = 16
_ELEMENTS = 2048  # of a tile in the passes that stream
_HELD = 4096  # neurons times steps that a block of the backward passes holds in registers
_SPLITS = 1024  # blocks that share the rows of a sum, at most; a few a multiprocessor
_WARPS = 8  # a block; measured on an H100 beside other numbers
_FINISH_CHANNELS = 4  # that one block sums up over the shares


class Layout(NamedTuple):
    """How x lies in memory.

    Attributes:
        steps: Time steps T of the neurons.
        rows: Rows R of one step.
        channels: Channels C.
        repeated: Whether x is [R, C], the same at every step.
    """

    steps: int
    rows: int
    channels: int
    repeated: bool

    @property
    def rows_of_x(self) -> int:
        """Rows of x over all its steps."""
        return self.rows if self.repeated else self.steps * self.rows


@triton.jit  # type: ignore[untyped-decorator]
def _sum(x, sums, rows, channels, share, BR: tl.constexpr, BC: tl.constexpr):  # type: ignore[no-untyped-def]
    """Mean of one share of the rows, and sum of its squared distances from it.

    Sums are of distances from the mean of the share's first tile: from that of a single row, which may lie far off,
    the variance would lose its digits.
    """
    channel = tl.program_id(0) * BC + tl.arange(0, BC)
    inside = channel < channels
    total = tl.zeros((BR, BC), dtype=tl.float32)
    squares = tl.zeros((BR, BC), dtype=tl.float32)
    begin = tl.program_id(1) * share
    end = tl.minimum(begin + share, rows)
    at = begin + tl.arange(0, BR)
    mask = (at < end)[:, None] & inside[None, :]
    value = tl.load(x + at.to(tl.int64)[:, None] * channels + channel[None, :], mask=mask, other=0.0)
    shift = tl.sum(value.to(tl.float32), 0) / tl.minimum(end - begin, BR)
    for row in range(begin, end, BR):
        at = row + tl.arange(0, BR)
        mask = (at < rows)[:, None] & inside[None, :]
        value = tl.load(x + at.to(tl.int64)[:, None] * channels + channel[None, :], mask=mask, other=0.0)
        centred = tl.where(mask, value.to(tl.float32) - shift[None, :], 0.0)
        total += centred
        squares += centred * centred
    place = sums + tl.program_id(1) * 2 * channels + channel
    moved = tl.sum(total, 0) / (end - begin)
    tl.store(place, shift + moved, mask=inside)
    tl.store(place + channels, tl.sum(squares, 0) - moved * moved * (end - begin), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _finish_statistics(  # type: ignore[no-untyped-def]
    sums, weight, bias, running_mean, running_var, out, splits, channels, rows, share, momentum, unbiased, eps,
    SPLITS: tl.constexpr, BC: tl.constexpr
):  # fmt: skip
    """Mean, 1/std, scale and shift, [4, C], from the means and squares of all shares; and the running statistics."""
    channel = tl.program_id(0) * BC + tl.arange(0, BC)
    inside = channel < channels
    number = tl.arange(0, SPLITS)
    at = sums + number[:, None] * 2 * channels + channel[None, :]
    mask = (number < splits)[:, None] & inside[None, :]
    counts = tl.where(number < splits, tl.minimum(rows - number * share, share), 0).to(tl.float32)[:, None]
    shift = tl.load(sums + channel, mask=inside, other=0.0)
    apart = tl.load(at, mask=mask, other=0.0) - shift[None, :]
    n = tl.sum(counts, 0)
    moved = tl.sum(counts * apart, 0) / n
    mean = shift + moved
    apart -= moved[None, :]
    squares = tl.sum(tl.load(at + channels, mask=mask, other=0.0) + counts * apart * apart, 0)
    var = tl.maximum(squares / n, 0.0)
    invstd = 1.0 / tl.sqrt_rn(var + eps)
    scale = tl.load(weight + channel, mask=inside, other=0.0) * invstd
    tl.store(out + channel, mean, mask=inside)
    tl.store(out + channels + channel, invstd, mask=inside)
    tl.store(out + 2 * channels + channel, scale, mask=inside)
    tl.store(out + 3 * channels + channel, tl.load(bias + channel, mask=inside, other=0.0) - mean * scale, mask=inside)
    old = tl.load(running_mean + channel, mask=inside, other=0.0)
    tl.store(running_mean + channel, old + momentum * (mean - old), mask=inside)
    old = tl.load(running_var + channel, mask=inside, other=0.0)
    tl.store(running_var + channel, old + momentum * (var * unbiased - old), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _total(sums, splits, channels, channel, inside, SPLITS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Both sums [C] over the shares; SPLITS is at least their number."""
    share = tl.arange(0, SPLITS)
    at = sums + share[:, None] * 2 * channels + channel[None, :]
    mask = (share < splits)[:, None] & inside[None, :]
    first = tl.sum(tl.load(at, mask=mask, other=0.0), 0)
    second = tl.sum(tl.load(at + channels, mask=mask, other=0.0), 0)
    return first, second


@triton.jit  # type: ignore[untyped-decorator]
def _fire(  # type: ignore[no-untyped-def]
    x, shortcut, fixed, spikes, rows, channels, rate, threshold,
    T: tl.constexpr, SHORTCUT: tl.constexpr, REPEATED: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr
):  # fmt: skip
    """Spikes [T, R, C]."""
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    mask = (row < rows)[:, None] & (channel < channels)[None, :]
    scale = tl.load(fixed + 2 * channels + channel, mask=channel < channels, other=0.0)[None, :]
    shift = tl.load(fixed + 3 * channels + channel, mask=channel < channels, other=0.0)[None, :]
    at = row.to(tl.int64)[:, None] * channels + channel[None, :]
    step = tl.full((), 1, tl.int64) * rows * channels
    v = tl.zeros((BR, BC), dtype=tl.float32)
    for t in tl.static_range(T):
        current = tl.load(x + at + (0 if REPEATED else t * step), mask=mask, other=0.0).to(tl.float32) * scale + shift
        if SHORTCUT:
            current += tl.load(shortcut + at + t * step, mask=mask, other=0.0).to(tl.float32)
        u = v + (current - v) * rate
        fired = u > threshold
        tl.store(spikes + at + t * step, tl.where(fired, 1.0, 0.0).to(spikes.dtype.element_ty), mask=mask)
        v = tl.where(fired, 0.0, u)


@triton.jit  # type: ignore[untyped-decorator]
def _charge(  # type: ignore[no-untyped-def]
    x, shortcut, at, mask, step, scale, shift, rate, threshold,
    T: tl.constexpr, SHORTCUT: tl.constexpr, REPEATED: tl.constexpr
):  # fmt: skip
    """Values of x, and the membranes before the reset of all time steps, in registers."""
    xs = ()
    us = ()
    v = tl.zeros(at.shape, dtype=tl.float32)
    for t in tl.static_range(T):
        value = tl.load(x + at + (0 if REPEATED else t * step), mask=mask, other=0.0).to(tl.float32)
        current = value * scale + shift
        if SHORTCUT:
            current += tl.load(shortcut + at + t * step, mask=mask, other=0.0).to(tl.float32)
        u = v + (current - v) * rate
        v = tl.where(u > threshold, 0.0, u)
        xs = xs + (value,)  # type: ignore[assignment]  # noqa: RUF005 - Triton knows no unpacking
        us = us + (u,)  # type: ignore[assignment]  # noqa: RUF005
    return xs, us


@triton.jit
def _back(upstream, u, later, threshold, peak, slope, decay):  # type: ignore[no-untyped-def]
    """Gradient of the current at one step, from that of its spikes and of the current one step later."""
    surrogate = peak - slope * tl.abs(u - threshold)
    direct = tl.where(surrogate < 0.0, 0.0, surrogate) * upstream  # a maximum would turn NaN into 0, and hide it
    return direct + tl.where(u > threshold, 0.0, later) * decay


@triton.jit  # type: ignore[untyped-decorator]
def _sum_gradients(  # type: ignore[no-untyped-def]
    x, shortcut, upstream, fixed, sums, rows, channels, share, rate, threshold, peak, slope,
    T: tl.constexpr, SHORTCUT: tl.constexpr, REPEATED: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr
):  # fmt: skip
    """Sums of the current's gradient, and of it times the normalised x, over one share of the rows."""
    channel = tl.program_id(0) * BC + tl.arange(0, BC)
    inside = channel < channels
    mean = tl.load(fixed + channel, mask=inside, other=0.0)[None, :]
    invstd = tl.load(fixed + channels + channel, mask=inside, other=0.0)[None, :]
    scale = tl.load(fixed + 2 * channels + channel, mask=inside, other=0.0)[None, :]
    shift = tl.load(fixed + 3 * channels + channel, mask=inside, other=0.0)[None, :]
    step = tl.full((), 1, tl.int64) * rows * channels
    total = tl.zeros((BR, BC), dtype=tl.float32)
    projected = tl.zeros((BR, BC), dtype=tl.float32)
    begin = tl.program_id(1) * share
    for first in range(begin, tl.minimum(begin + share, rows), BR):
        row = first + tl.arange(0, BR)
        mask = (row < rows)[:, None] & inside[None, :]
        at = row.to(tl.int64)[:, None] * channels + channel[None, :]
        xs, us = _charge(x, shortcut, at, mask, step, scale, shift, rate, threshold, T, SHORTCUT, REPEATED)
        later = tl.zeros((BR, BC), dtype=tl.float32)
        for back in tl.static_range(T):
            grad = tl.load(upstream + at + (T - 1 - back) * step, mask=mask, other=0.0).to(tl.float32)
            later = _back(grad, us[T - 1 - back], later, threshold, peak, slope, 1.0 - rate)
            total += later
            projected += later * (xs[T - 1 - back] - mean) * invstd
    place = sums + tl.program_id(1) * 2 * channels + channel
    tl.store(place, tl.sum(total, 0), mask=inside)
    tl.store(place + channels, tl.sum(projected, 0), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _finish_sums(sums, out, splits, channels, SPLITS: tl.constexpr, BC: tl.constexpr):  # type: ignore[no-untyped-def]
    """Gradients of bias and weight, [2, C], from the sums of all shares."""
    channel = tl.program_id(0) * BC + tl.arange(0, BC)
    inside = channel < channels
    total, projected = _total(sums, splits, channels, channel, inside, SPLITS)
    tl.store(out + channel, total, mask=inside)
    tl.store(out + channels + channel, projected, mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _propagate(  # type: ignore[no-untyped-def]
    x, shortcut, upstream, fixed, totals, result, beside, rows, channels, n, rate, threshold, peak, slope,
    T: tl.constexpr, SHORTCUT: tl.constexpr, BESIDE: tl.constexpr, REPEATED: tl.constexpr,
    BR: tl.constexpr, BC: tl.constexpr
):  # fmt: skip
    """Gradient of x, through the batch's statistics; and of the shortcut, which is the current's."""
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = channel < channels
    mask = (row < rows)[:, None] & inside[None, :]
    mean = tl.load(fixed + channel, mask=inside, other=0.0)[None, :]
    invstd = tl.load(fixed + channels + channel, mask=inside, other=0.0)[None, :]
    scale = tl.load(fixed + 2 * channels + channel, mask=inside, other=0.0)[None, :]
    shift = tl.load(fixed + 3 * channels + channel, mask=inside, other=0.0)[None, :]
    centre = tl.load(totals + channel, mask=inside, other=0.0)[None, :] / n
    tilt = tl.load(totals + channels + channel, mask=inside, other=0.0)[None, :] / n
    at = row.to(tl.int64)[:, None] * channels + channel[None, :]
    step = tl.full((), 1, tl.int64) * rows * channels
    xs, us = _charge(x, shortcut, at, mask, step, scale, shift, rate, threshold, T, SHORTCUT, REPEATED)
    later = tl.zeros((BR, BC), dtype=tl.float32)
    summed = tl.zeros((BR, BC), dtype=tl.float32)
    for back in tl.static_range(T):
        grad = tl.load(upstream + at + (T - 1 - back) * step, mask=mask, other=0.0).to(tl.float32)
        later = _back(grad, us[T - 1 - back], later, threshold, peak, slope, 1.0 - rate)
        if BESIDE:
            tl.store(beside + at + (T - 1 - back) * step, later.to(beside.dtype.element_ty), mask=mask)
        if REPEATED:
            summed += later
        else:
            normal = (xs[T - 1 - back] - mean) * invstd
            own = scale * (later - centre - normal * tilt)
            tl.store(result + at + (T - 1 - back) * step, own.to(result.dtype.element_ty), mask=mask)
    if REPEATED:
        own = scale * (summed - centre - (xs[0] - mean) * invstd * tilt)
        tl.store(result + at, own.to(result.dtype.element_ty), mask=mask)


def statistics(x: Tensor, layout: Layout, norm: nn.BatchNorm2d) -> Tensor:
    """Mean, 1/std, scale and shift of x, float32 [4, C]; updates the running statistics as the repeated batch would.

    Args:
        x: [B, C, H, W], channels-last.
        layout: Its rows.
        norm: The batch norm.
    """
    rows, channels = layout.rows_of_x, layout.channels
    BR, BC = _tile(channels, _ELEMENTS)
    splits, share = _shares(rows, channels, BR, BC)
    sums = torch.empty((splits, 2, channels), device=x.device)
    fixed = torch.empty((4, channels), device=x.device)
    n = layout.steps * layout.rows  # what the running variance counts
    _sum[triton.cdiv(channels, BC), splits](x, sums, rows, channels, share, BR=BR, BC=BC, num_warps=_WARPS)
    _finish_statistics[triton.cdiv(channels, _FINISH_CHANNELS),](
        sums, norm.weight, norm.bias, norm.running_mean, norm.running_var, fixed, splits, channels, rows, share,
        norm.momentum, n / max(n - 1, 1), norm.eps, SPLITS=triton.next_power_of_2(splits), BC=_FINISH_CHANNELS,
        num_warps=_WARPS,
    )  # fmt: skip
    return fixed


def running(norm: nn.BatchNorm2d) -> Tensor:
    """What `statistics` gives, [4, C], from the running statistics."""
    assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101
    invstd = (norm.running_var + norm.eps).rsqrt()
    scale = norm.weight * invstd
    return torch.stack((norm.running_mean, invstd, scale, norm.bias - norm.running_mean * scale))


def forward(x: Tensor, shortcut: Tensor | None, fixed: Tensor, spikes: Tensor, layout: Layout, *rest: float) -> None:
    """Fill `spikes` [T * B, C, H, W]; `rest` are tau and the threshold."""
    tau, threshold = rest
    BR, BC = _tile(layout.channels, _ELEMENTS)
    grid = (triton.cdiv(layout.rows, BR), triton.cdiv(layout.channels, BC))
    _fire[grid](
        x, x if shortcut is None else shortcut, fixed, spikes, layout.rows, layout.channels, 1.0 / tau, threshold,
        T=layout.steps, SHORTCUT=shortcut is not None, REPEATED=layout.repeated, BR=BR, BC=BC, num_warps=_WARPS,
    )  # fmt: skip


def backward(
    x: Tensor,
    shortcut: Tensor | None,
    fixed: Tensor,
    upstream: Tensor,
    layout: Layout,
    constants: tuple[float, float, float, float],
    *,
    beside: bool,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Gradients of x, of the shortcut (if `beside` says that it is wanted), and of bias and weight, float32 [2, C].

    Args:
        x: As in `forward`.
        shortcut: As in `forward`.
        fixed: What `statistics` returned.
        upstream: Gradient of the spikes, [T * B, C, H, W], channels-last.
        layout: Rows.
        constants: tau, threshold, and peak and slope of the surrogate.
        beside: Whether the shortcut's gradient is wanted.
    """
    tau, threshold, peak, slope = constants
    rows, channels, T = layout.rows, layout.channels, layout.steps
    numbers = (1.0 / tau, threshold, peak / tau, slope / tau)
    BR, BC = _tile(channels, min(_ELEMENTS, max(256, _HELD // triton.next_power_of_2(T))))
    splits, share = _shares(rows, channels, BR, BC)
    sums = torch.empty((splits, 2, channels), device=x.device)
    totals = torch.empty((2, channels), device=x.device)
    added = x if shortcut is None else shortcut
    form = {"T": T, "SHORTCUT": shortcut is not None, "REPEATED": layout.repeated, "BR": BR, "BC": BC}
    _sum_gradients[triton.cdiv(channels, BC), splits](
        x, added, upstream, fixed, sums, rows, channels, share, *numbers, **form, num_warps=_WARPS
    )
    _finish_sums[triton.cdiv(channels, _FINISH_CHANNELS),](
        sums, totals, splits, channels, SPLITS=triton.next_power_of_2(splits), BC=_FINISH_CHANNELS, num_warps=_WARPS
    )
    result = torch.empty_like(x)
    current = torch.empty_like(added) if beside else None
    _propagate[triton.cdiv(rows, BR), triton.cdiv(channels, BC)](
        x, added, upstream, fixed, totals, result, result if current is None else current, rows, channels,
        float(layout.rows_of_x), *numbers, **form, BESIDE=beside, num_warps=_WARPS,
    )  # fmt: skip
    return result, current, totals


def _tile(channels: int, elements: int) -> tuple[int, int]:
    """Rows and channels of a tile of `elements`; a row of 128 channels is read in whole cache lines."""
    width = min(triton.next_power_of_2(channels), 128)
    return max(elements // width, 1), width


def _shares(rows: int, channels: int, tile_rows: int, tile_channels: int) -> tuple[int, int]:
    """Into how many shares the rows of a sum are split, and the rows of each, whole tiles."""
    tiles = triton.cdiv(rows, tile_rows)
    most = max(_SPLITS // triton.cdiv(channels, tile_channels), 1)
    tiles_a_share = triton.cdiv(tiles, most)
    return triton.cdiv(tiles, tiles_a_share), tiles_a_share * tile_rows
