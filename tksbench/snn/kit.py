"""The layers that a network is built of: the same network with other neurons or another norm is another kit."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from tksbench.component import component
from tksbench.snn.errors import SnnError
from tksbench.snn.eventconv import EventConv2d
from tksbench.snn.neuron import LIF, Neuron
from tksbench.snn.strided import StridedConv1x1

if TYPE_CHECKING:
    from collections.abc import Callable


@component("neuron", "relu")
class ReLU(Neuron):
    """No spikes but rates, max(0, current) at every step: the analog twin of a spiking network."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, current: Tensor, steps: int | None = None) -> Tensor:
        """Return max(0, current)."""
        return torch.relu(current)


@component("norm", "batch_norm")
def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation over samples, time steps and pixels, as torch has it."""
    return nn.BatchNorm2d(channels)


@component("norm", "identity")
def identity(channels: int) -> nn.Identity:
    """No normalisation."""
    return nn.Identity(channels)


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size at stride 1 (none has one: docs/protocol.md#the-networks)."""
    if kernel == 1 and stride > 1:
        return StridedConv1x1(in_channels, out_channels, stride)
    return EventConv2d(in_channels, out_channels, kernel, stride)


def conv_with_bias(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """As `conv` with a bias, which some cited networks have."""
    if kernel == 1 and stride > 1:
        return StridedConv1x1(in_channels, out_channels, stride, bias=True)
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2)


@dataclass(frozen=True)
class Kit:
    """What a network takes its layers from.

    Whether a norm and the neurons behind it are computed in one pass is seen from the exact classes of the two, where
    they meet (`norm_lif`); a kit knows of no fast form.

    Attributes:
        neuron: Makes a layer of neurons, called as `Neuron` is.
        norm: Makes the norm of so many channels; it takes [T * B, C, H, W], or (that, T) if its class says `per_step`.
        conv: Makes a convolution, as `conv` does.
    """

    neuron: Callable[[], nn.Module] = LIF
    norm: Callable[[int], nn.Module] = batch_norm
    conv: Callable[..., nn.Module] = conv

    @functools.cached_property
    def threshold(self) -> float:
        """What a current has to exceed for a neuron to fire; 1 for neurons that have no threshold."""
        return float(getattr(self.neuron(), "threshold", 1.0))

    def scaled_norm(self, channels: int, factor: float) -> nn.Module:
        """A norm whose weight is factor * threshold and whose bias is 0: what comes out fits the neurons.

        Raises:
            SnnError: The norm has neither weight and bias nor a method `scale(factor)`.
        """
        norm: Any = self.norm(channels)
        factor *= self.threshold
        if hasattr(norm, "scale"):
            norm.scale(factor)
        elif isinstance(getattr(norm, "weight", None), nn.Parameter) and getattr(norm, "bias", None) is not None:
            nn.init.constant_(norm.weight, factor)
            nn.init.zeros_(norm.bias)
        else:
            raise SnnError(
                f"{type(norm).__name__}: this network scales its norms; give the class a method scale(factor)"
            )
        return cast("nn.Module", norm)


PLAIN = Kit()
"""LIF neurons and batch norm: the paper's networks."""
