"""Convolutions and linear layers that cost what their events cost, on a CPU (eventconv.c).

The inputs of all layers but the first are spikes, most of them 0. `EventConv2d` and `event_linear` compute forward pass
and gradient of the weights from lists of what is not 0. They are torch's own layers except for what `fits` admits:
float32 on the CPU, channels-last, kernels 1x1, 3x3 and 7x7 at stride 1 or 2.

Narrow layers are computed by the compiled code throughout, the gradient of the inputs included: the order of every sum
is fixed by the shapes, so their bits are the same on every x86-64-v3 processor and for any number of threads. In wide
layers torch computes the gradient of the inputs, and all of it where too much of the input is not 0.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tksbench.snn import compiler, native
from tksbench.snn.once_differentiable import once_differentiable

# Products and sums fuse only where the code says so: the compiler does not decide about the last bit.
_FLAGS = ("-ffp-contract=off",)
NARROW = 64
"""Channels, in and out, up to which a layer is computed by the compiled code throughout."""
DENSE = 0.3
"""Share of inputs that are not 0 from which torch is faster in wide layers."""
_FEW_WEIGHTS = 2**16
_PANEL = 16  # channels that winograd.c works on at once
_PIXELS = 2**16  # of an image, which lists count in 16 bits


class EventConv2d(nn.Conv2d):
    """A convolution without bias that keeps the size at stride 1; kernel 1, 3 or 7."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        """Initialise as torch does."""
        super().__init__(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # Whoever folds a batch norm into a convolution gives it a bias, and a stride can be set afterwards.
        if bias is None and self._is_as_made() and fits(input, weight):
            return convolve(input.contiguous(memory_format=torch.channels_last), weight, self.stride[0])
        return self._by_torch(input, weight, bias)

    def _by_torch(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return cast("Tensor", super()._conv_forward(input, weight, bias))

    def _is_as_made(self) -> bool:
        kernel, stride = self.kernel_size[0], self.stride[0]
        square = (self.kernel_size, self.stride, self.padding) == ((kernel,) * 2, (stride,) * 2, (kernel // 2,) * 2)
        plain = (self.dilation, self.groups, self.padding_mode) == ((1, 1), 1, "zeros")
        return square and plain and kernel in (1, 3, 7) and stride in (1, 2)


def fits(x: Tensor, weight: Tensor) -> bool:
    """Whether `convolve` can take the place of torch's convolution, and is not slower."""
    if x.dim() != 4 or 0 in x.shape or x.shape[2] * x.shape[3] >= _PIXELS:
        return False
    if x.shape[1] != weight.shape[1]:
        return False  # torch says what is wrong; the compiled code would read other weights
    if not is_narrow(weight) and (x.shape[1] < NARROW or not x.is_contiguous(memory_format=torch.channels_last)):
        return False  # the first layer, which reads an image, and layers that somebody gave another layout
    return (
        not torch.compiler.is_compiling()
        and type(x) is Tensor
        and all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in (x, weight))
        and not torch.is_autocast_enabled("cpu")
        and library() is not None
    )


def is_narrow(weight: Tensor) -> bool:
    """Whether a layer is computed by the compiled code throughout: narrow ones, and small ones of a single pixel."""
    return max(weight.shape[:2]) <= NARROW or (weight.shape[-1] == 1 and few_weights(weight))


def few_weights(weight: Tensor) -> bool:
    """Whether a linear layer is computed by the compiled code throughout."""
    return weight.numel() <= _FEW_WEIGHTS


def convolve(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """Convolve without bias, padded by half the kernel.

    Args:
        x: [N, C, H, W], as `fits` demands.
        weight: [K, C, 1, 1], [K, C, 3, 3] or [K, C, 7, 7].
        stride: 1 or 2.

    Returns:
        [N, K, H', W'], channels-last.

    Raises:
        MemoryError: There is no memory for the lists of one image.
    """
    return cast("Tensor", _Convolution.apply(x, weight, stride))


def event_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear layer, [N, C] to [N, K]; by torch unless it is narrow and `fits`."""
    if x.dim() == 2 and few_weights(weight) and x.is_contiguous() and 0 < len(x) < _PIXELS:
        # One image of N pixels in a column: its memory is channels-last as it is.
        image, kernel = x.t().unsqueeze(0).unsqueeze(-1), weight.unsqueeze(-1).unsqueeze(-1)
        if fits(image, kernel):
            y = convolve(image, kernel).squeeze(-1).squeeze(0).t()
            return y if bias is None else y + bias
    return F.linear(x, weight, bias)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        found, sizes = _library(), _sizes(x, weight, stride)
        count, height, width, _, features, kernel, _ = sizes
        padding = 2 * (kernel // 2) - kernel
        shape = (count, features, (height + padding) // stride + 1, (width + padding) // stride + 1)
        y = torch.empty(shape, memory_format=torch.channels_last)
        bits = torch.empty(found.events_bits(*sizes[:4]), dtype=torch.uint8)
        others = _check(
            found.events_forward(
                x.data_ptr(), bits.data_ptr(), weight.data_ptr(), *weight.stride(), y.data_ptr(), *sizes
            )
        )
        # What is neither 0 nor 1 is needed again; of spikes the bits are enough.
        kept = native.pack(x) if others and ctx.needs_input_grad[1] else None
        ctx.save_for_backward(bits if ctx.needs_input_grad[1] else None, kept, weight)
        ctx.sizes, ctx.shape = sizes, x.shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        bits, kept, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = _of_inputs(grad, weight, ctx.shape, ctx.sizes)
        if ctx.needs_input_grad[1]:
            x, of_weight = None if kept is None else native.unpack(kept), torch.empty_like(weight)
            inputs = (None if x is None else x.data_ptr(), bits.data_ptr(), grad.data_ptr())
            _check(_library().events_weights(*inputs, of_weight.data_ptr(), *of_weight.stride(), *ctx.sizes))
        return of_x, of_weight, None


def _of_inputs(grad: Tensor, weight: Tensor, shape: torch.Size, sizes: tuple[int, ...]) -> Tensor:
    """Gradient of the inputs, channels-last."""
    result = torch.empty(shape, memory_format=torch.channels_last)
    kernel, stride = sizes[-2:]
    if (kernel, stride) == (3, 1) and not any(channels % _PANEL for channels in weight.shape[:2]):
        # A convolution of the gradient with the weights turned by 180 degrees: from the last tap backwards.
        out, inside, down, across = weight.stride()
        last = weight.data_ptr() + weight.element_size() * 2 * (down + across)
        count, channels, height, width = (int(size) for size in shape)
        turned = (count, height, width, weight.shape[0], channels)
        threads, compiled = torch.get_num_threads(), winograd()
        # Of torch's allocator, so that whoever measures torch's memory sees it.
        scratch = torch.empty(compiled.winograd_scratch(*turned, threads))
        pointers = (grad.data_ptr(), last, inside, out, -down, -across, result.data_ptr())
        compiled.winograd_forward(*pointers, *turned, scratch.data_ptr(), threads)
        return result
    if is_narrow(weight):
        arrays = (grad.data_ptr(), weight.data_ptr(), *weight.stride(), result.data_ptr())
        _check(_library().events_inputs(*arrays, *sizes))
        return result
    fixed = (None, [stride] * 2, [kernel // 2] * 2, [1, 1], False, [0, 0], 1, [True, False, False])
    return cast("Tensor", torch.ops.aten.convolution_backward(grad, result, weight, *fixed)[0])


def _sizes(x: Tensor, weight: Tensor, stride: int) -> tuple[int, ...]:
    count, channels, height, width = x.shape
    return count, height, width, channels, weight.shape[0], weight.shape[-1], stride


def _check(result: int) -> int:
    if result < 0:
        raise MemoryError("no memory for the events of one image")
    return result


def _library() -> ctypes.CDLL:
    found = library()
    assert found is not None  # noqa: S101 - `fits` has asked
    return found


@functools.cache
def library(*flags: str) -> ctypes.CDLL | None:
    """The compiled functions, or None where they cannot be had; why not is logged once.

    Args:
        *flags: More of the compiler's, such as another instruction set; no bit depends on it.
    """
    found, _why = compiler.load("eventconv", (*_FLAGS, *flags), "convolution")
    if found is not None:
        pointer, long = ctypes.c_void_p, ctypes.c_long
        sizes: list[Any] = [long] * 7
        found.events_bits.argtypes, found.events_bits.restype = [long] * 4, long
        found.events_forward.argtypes = [*[pointer] * 3, *[long] * 4, pointer, *sizes]
        found.events_weights.argtypes = [*[pointer] * 4, *[long] * 4, *sizes]
        found.events_inputs.argtypes = [*[pointer] * 2, *[long] * 4, pointer, *sizes]
    return found


@functools.cache
def winograd(*flags: str) -> ctypes.CDLL:
    """The compiled gradient of 3x3 convolutions; what compiles `library` compiles it."""
    found, why = compiler.load("winograd", (*_FLAGS, *flags), "gradient of convolutions")
    if found is None:
        raise RuntimeError(f"winograd.c cannot be compiled, though eventconv.c was: {why}")
    pointer, long, number = ctypes.c_void_p, ctypes.c_long, ctypes.c_int
    found.winograd_forward.argtypes = [pointer, pointer, *[long] * 4, pointer, *[long] * 5, pointer, number]
    found.winograd_scratch.argtypes = [long] * 6
    found.winograd_forward.restype = None
    found.winograd_scratch.restype = long
    return found
