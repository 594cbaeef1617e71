"""Sees the calls of torch's convolutions that reach the kernel which writes out of bounds (tksbench.snn.strided)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class FaultyCalls(TorchDispatchMode):
    """Collects the shapes of weights whose gradient the kernel computes; instead of it, zeros are returned.

    On the processors that have the fault, whoever runs the tests would otherwise lose the test process to it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []
        self.backward = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution_backward.default:
            self.backward += 1
            _grad, x, weight, _bias, stride, padding, _dilation, _transposed, _output_padding, groups, wanted = args
            few = weight.shape[1] < 16 and weight.shape[2:] == (1, 1)
            if few and max(stride) > 1 and not any(padding) and groups == 1 and (_last(x) or _last(weight)):
                self.seen.append(tuple(weight.shape))
                bias = weight.new_zeros(_grad.shape[1]) if wanted[2] else None
                return torch.zeros_like(x), torch.zeros_like(weight), bias
        return func(*args, **(kwargs or {}))


def _last(tensor: Tensor) -> bool:
    """Whether torch takes a tensor for channels-last, which of one with a single channel or pixel the strides say."""
    _count, channel, _row, pixel = tensor.stride()
    return channel == 1 and pixel >= tensor.shape[1] > 1
