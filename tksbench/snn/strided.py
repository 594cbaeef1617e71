"""Strided 1x1 convolutions with few channels, kept away from a kernel of oneDNN that writes out of bounds.

On an x86-64 CPU the weight gradient of such a convolution in channels-last layout (`jit_1x1:avx2` and
`jit_1x1:avx512_core` of oneDNN 3.13.3, in torch 2.15.0) writes past the end of its workspace: with fewer than 8 input
channels on AVX2, with fewer than 16 and a larger image on AVX-512. The heap is damaged; the process dies later, or goes
on with numbers that were written over. Transposed convolutions call the same kernel.
docs/reference/upstream-torch-conv.md has the report, and what was tried.

No network of this project calls it: `layers.conv` makes a `StridedConv1x1`. Networks from outside are trained within
`SoundConvolutions`. Both act on every CPU, so that all of them do the same; on a GPU nothing changes.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tksbench.snn.eventconv import EventConv2d

if TYPE_CHECKING:
    from collections.abc import Sequence

CHANNELS = 16
"""Input channels from which on the kernel is sound: the floats in a register of AVX-512; of AVX2, 8."""


class StridedConv1x1(EventConv2d):
    """A 1x1 convolution that skips pixels.

    Where torch has to compute it on a CPU and the channels are few, the pixels are picked first and convolved at stride
    1, which is the same sum.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, bias: bool = False) -> None:
        """Initialise as torch does."""
        super().__init__(in_channels, out_channels, 1, stride)
        if bias:
            bound = in_channels**-0.5
            self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))

    def _by_torch(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not (_is_faulty(weight, self.stride) and self._as_made()):
            return super()._by_torch(input, weight, bias)
        down, across = self.stride
        return F.conv2d(input[..., ::down, ::across], weight, bias)

    def _as_made(self) -> bool:
        return (self.padding, self.groups, self.padding_mode) == ((0, 0), 1, "zeros")


class SoundConvolutions(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of its __init_subclass__
    """A backward pass within it computes in contiguous layout every gradient that the kernel would compute.

    It sees what is called in the end, whoever calls it: modules, functions, activation checkpointing.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at each call of an operator."""
        if func is not torch.ops.aten.convolution_backward.default or not _is_faulty(args[2], args[4]):
            return func(*args, **(kwargs or {}))
        x = args[1]
        # Clones, not `contiguous()`: of weights of one pixel both layouts are, and torch takes the strides' word.
        grads = func(*(tensor.clone(memory_format=torch.contiguous_format) for tensor in args[:3]), *args[3:])
        if grads[0] is not None and x.is_contiguous(memory_format=torch.channels_last):
            return grads[0].contiguous(memory_format=torch.channels_last), *grads[1:]
        return grads


def soundly(model: nn.Module, device: torch.device) -> AbstractContextManager[Any]:
    """Within what a network's backward pass has to be computed.

    `SoundConvolutions`, which takes Python some microseconds an operator, if the network is from outside the project,
    on a CPU, and has weights for which the kernel might be called.
    """
    ours = type(model).__module__.startswith(("tksbench.snn.", "tksbench.systems."))
    if ours or device.type != "cpu" or not any(_is_few(weight) for weight in model.parameters()):
        return nullcontext()
    return SoundConvolutions()  # type: ignore[no-untyped-call]


def _is_faulty(weight: Tensor, strides: Sequence[int]) -> bool:
    """Whether the gradient of these weights [K, C, kernel...], at these strides, would be the kernel's."""
    return weight.device.type == "cpu" and max(strides) > 1 and _is_few(weight)


def _is_few(weight: Tensor) -> bool:
    return weight.dim() > 2 and weight.shape[1] < CHANNELS and all(size == 1 for size in weight.shape[2:])
