"""Wide 3x3 convolutions in less than half the time of torch's on a CPU with AVX-512: Winograd's algorithm (winograd.c).

A convolution of the network is a `Conv3x3`. It is torch's own except for what `fits` admits: float32 on the CPU,
channels-last, wide enough and not too small. There forward pass and both gradients take a quarter of the
multiplications. What differs from torch's is rounding: errors of 2 to 5 parts in a million of the largest value instead
of 1 to 2. The bits are the same for any number of threads that `fits` admits.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any, cast

import torch
from torch import Tensor, nn

from tksbench.snn import compiler, native
from tksbench.snn.once import once_differentiable

# Unlike in the neuron nothing has to agree to the last bit with a plain form: let products and sums fuse.
_FLAGS = ("-ffp-contract=fast",)
CHANNELS = 128
"""Fewer, in or out, are torch's: the transforms of a tile would cost too much beside its products."""
_BLOCK = 64  # channels are worked on in blocks of so many
_TILE = 4
_TILES = 32  # with fewer, the transforms of the weights cost more than is gained
_FILLED = 0.7  # of the tiles' pixels, so much at least must lie within the image


class Conv3x3(nn.Conv2d):
    """A convolution 3x3, stride 1, padding 1, without bias."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Initialise as torch does."""
        super().__init__(in_channels, out_channels, 3, padding=1, bias=False)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # Whoever folds a batch norm into a convolution gives it a bias, and a stride can be set afterwards.
        if bias is None and self._as_made() and fits(input, weight):
            return convolve(input, weight)
        return cast("Tensor", super()._conv_forward(input, weight, bias))

    def _as_made(self) -> bool:
        geometry = (self.stride, self.padding, self.dilation, self.groups, self.padding_mode)
        return geometry == ((1, 1), (1, 1), (1, 1), 1, "zeros")


def fits(x: Tensor, weight: Tensor) -> bool:
    """Whether `convolve` can take the place of torch's convolution, and is faster."""
    features, channels = weight.shape[:2]
    if min(features, channels) < CHANNELS or features % _BLOCK or channels % _BLOCK or x.dim() != 4:
        return False
    count, _, height, width = x.shape
    tiles = count * -(-height // _TILE) * -(-width // _TILE)
    return (
        not torch.compiler.is_compiling()
        and type(x) is Tensor
        and all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in (x, weight))
        and x.is_contiguous(memory_format=torch.channels_last)
        and not torch.is_autocast_enabled("cpu")
        and tiles >= _TILES
        and count * height * width >= _FILLED * _TILE**2 * tiles
        # Each thread needs a block of its own to work on.
        and torch.get_num_threads() <= (features // _BLOCK) * (channels // _BLOCK)
        and library() is not None
    )


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve `x` [N, C, H, W] with `weight` [K, C, 3, 3], padding 1; both as `fits` demands, [N, K, H, W]."""
    return cast("Tensor", _Convolution.apply(x, weight))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(native.pack(x) if ctx.needs_input_grad[1] else None, weight)
        return _forward(x, weight.data_ptr(), weight.stride(), weight.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        packed, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            # A convolution of the gradient with the weights turned by 180 degrees: from the last tap backwards.
            out, inside, down, across = weight.stride()
            last = weight.data_ptr() + weight.element_size() * 2 * (down + across)
            of_x = _forward(grad, last, (inside, out, -down, -across), weight.shape[1])
        if ctx.needs_input_grad[1]:
            x, of_weight = native.unpack(packed), torch.empty_like(weight)
            pointers = (x.data_ptr(), grad.data_ptr(), of_weight.data_ptr())
            _run("winograd_weights", (*pointers, *of_weight.stride()), (*_sizes(x), weight.shape[0]), gradient=True)
        return of_x, of_weight


def _forward(x: Tensor, weight: int, strides: tuple[int, ...], features: int) -> Tensor:
    y = torch.empty((x.shape[0], features, *x.shape[2:]), memory_format=torch.channels_last)
    _run("winograd_forward", (x.data_ptr(), weight, *strides, y.data_ptr()), (*_sizes(x), features), gradient=False)
    return y


def _run(name: str, arrays: tuple[int, ...], sizes: tuple[int, ...], *, gradient: bool) -> None:
    found, threads = library(), torch.get_num_threads()
    assert found is not None  # noqa: S101 - `fits` has asked
    # Of torch's allocator, so that whoever measures torch's memory sees it.
    scratch = torch.empty(found.winograd_scratch(*sizes, gradient, threads))
    getattr(found, name)(*arrays, *sizes, scratch.data_ptr(), threads)


def _sizes(x: Tensor) -> tuple[int, int, int, int]:
    count, channels, height, width = x.shape
    return count, height, width, channels


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled functions, or None where they cannot be had; why not is logged once."""
    found, _why = compiler.load("winograd", _FLAGS, "convolution")
    if found is not None:
        pointer, long, number = ctypes.c_void_p, ctypes.c_long, ctypes.c_int
        found.winograd_forward.argtypes = [pointer, pointer, *[long] * 4, pointer, *[long] * 5, pointer, number]
        found.winograd_weights.argtypes = [pointer, pointer, pointer, *[long] * 9, pointer, number]
        found.winograd_scratch.argtypes = [*[long] * 5, number, long]
        found.winograd_forward.restype = found.winograd_weights.restype = None
        found.winograd_scratch.restype = long
    return found
