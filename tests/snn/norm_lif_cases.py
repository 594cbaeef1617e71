"""Batch norm, shortcut and neuron by Triton against the plain modules in float64."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tksbench.snn.neuron import LIF
from tksbench.snn.normlif import norm_lif

ROUNDING = 1e-5  # of a membrane; its threshold is 0.5


def compare(device: str, shapes: Iterable[tuple[int, ...]], dtype: torch.dtype = torch.float32) -> None:
    """All forms of the pass at shapes (T, B, C, H, W): the same spikes, gradients and running statistics, twice."""
    torch.manual_seed(0)
    bound = 1e-5 if dtype == torch.float32 else 4e-3  # bfloat16 gradients are rounded once, to 8 bits
    for T, B, C, H, W in shapes:
        for shortcut, repeats in ((False, 1), (True, 1), (False, T)):
            x = (1.3 * torch.randn(B if repeats > 1 else T * B, C, H, W) + 0.7).to(dtype)
            beside = (torch.rand(T * B, C, H, W) < 0.3).to(dtype) if shortcut else None
            upstream = torch.randn(T * B, C, H, W).to(dtype)
            norm = nn.BatchNorm2d(C)
            nn.init.uniform_(norm.weight, 0.3, 1.2)
            nn.init.normal_(norm.bias, 0.3, 0.2)
            case = (device, norm, x, beside, upstream, T, repeats)
            want = passes(*case, "reference", torch.float64)
            found, again = (passes(*case, "triton", dtype) for _ in range(2))
            where = (T, B, C, H, W, shortcut, repeats)
            assert want.keys() == found.keys()
            flipped = False
            for name in ("spikes", "tested spikes"):
                wrong = (found[name] != want[name]).view(T, B, C, H, W).any(0)
                near = margin(norm, x, beside, T, repeats, training=name == "spikes") < ROUNDING
                assert not (wrong & ~near).any(), (where, name, int(wrong.sum()))
                flipped |= bool(wrong.any()) and name == "spikes"
            for name, value in want.items():
                assert torch.equal(found[name], again[name]), (where, name, "differs from run to run")
                if "spikes" in name or (flipped and name in ("x", "shortcut", "weight", "bias")):
                    continue  # another spike has another gradient
                error = (found[name] - value).norm() / value.norm().clamp_min(1e-30)
                assert error <= bound, (where, name, float(error))


def margin(
    norm: nn.BatchNorm2d, x: Tensor, shortcut: Tensor | None, steps: int, repeats: int, *, training: bool
) -> Tensor:
    """How near each neuron's membrane comes to the threshold over all steps, [B, C, H, W], in float64 on the CPU."""
    copy = nn.BatchNorm2d(x.shape[1], dtype=torch.float64)
    copy.load_state_dict(norm.state_dict())
    with torch.no_grad():
        # Statistics of the repeated batch, as `norm_lif` promises.
        current = copy(x.double().repeat(repeats, 1, 1, 1))
        if not training:
            current = copy.eval()(x.double().repeat(repeats, 1, 1, 1))
        current = current if shortcut is None else current + shortcut.double()
        v = torch.zeros_like(current[: len(current) // steps])
        nearest = torch.full_like(v, torch.inf)
        for step in current.view(steps, -1, *x.shape[1:]):
            u = v + (step - v) / 2.0
            nearest = torch.minimum(nearest, (u - 0.5).abs())
            v = torch.where(u > 0.5, 0.0, u)
    return nearest


def passes(
    device: str,
    norm: nn.BatchNorm2d,
    x: Tensor,
    shortcut: Tensor | None,
    upstream: Tensor,
    steps: int,
    repeats: int,
    backend: Any,
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    """Everything that a training pass and an evaluation after it give, in float64."""
    copy = nn.BatchNorm2d(x.shape[1])
    copy.load_state_dict(norm.state_dict())
    copy = copy.to(device, torch.float64 if dtype == torch.float64 else torch.float32)
    leaves = [leaf(tensor.to(device, dtype)) for tensor in (x, shortcut) if tensor is not None]
    neurons, beside = LIF(backend=backend), leaves[1] if shortcut is not None else None
    spikes = norm_lif(copy, neurons, leaves[0], steps, shortcut=beside, repeats=repeats)
    spikes.backward(upstream.to(device, dtype))
    copy.eval()
    with torch.no_grad():
        tested = norm_lif(copy, neurons, leaves[0], steps, shortcut=beside, repeats=repeats)
    found = {"spikes": spikes.detach(), "tested spikes": tested, "weight": copy.weight.grad, "bias": copy.bias.grad}
    found |= {"x": leaves[0].grad, "mean": copy.running_mean, "var": copy.running_var}
    if beside is not None:
        found["shortcut"] = beside.grad
    return {name: value.double().cpu() for name, value in found.items() if value is not None}


def leaf(x: Tensor) -> Tensor:
    """A channels-last copy whose gradient is wanted."""
    return x.contiguous(memory_format=torch.channels_last).requires_grad_()
