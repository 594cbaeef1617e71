"""TEBN: temporal effective batch normalisation (Duan et al., NeurIPS 2022).

The norm, of a channel at step t, with mean and variance over samples, pixels and all steps together:

    y[t] = p[t] * (gamma * (x[t] - mean) / sqrt(var + eps) + beta)

p is one trained scalar a step and layer, 1 at first, by which beta is scaled as well. It adds T parameters to a layer
of batch norm, and is that layer as long as p is 1 (public code of ChaotengDuan/TEBN; the same as SpikingJelly's
`TemporalEffectiveBatchNorm2d`).

The network is a ResNet-19 with biases in its convolutions, a norm on every shortcut, those without a convolution too,
and a head of two linear layers that reads all pixels and has no neurons. The public code of it cannot be run as it is:
what it means is built here. Its neurons are `iterative_lif` with decay 0.25, threshold 1 and the triangle of height 1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tksbench.component import component
from tksbench.snn.dropout import Dropout
from tksbench.snn.errors import SnnError
from tksbench.snn.kit import PLAIN, Kit, conv_with_bias
from tksbench.snn.layers import ConvNormLIF, Linear, SpikingNetwork, kaiming_init, scale_channels
from tksbench.snn.neuron import split_time
from tksbench.snn.normlif import norm_lif, run_layer
from tksbench.snn.resnet import HEAD_FEATURES, STAGES, STEM_CHANNELS

if TYPE_CHECKING:
    from pydantic import Field


@component("norm", "tebn")
class TEBN(nn.BatchNorm2d):
    """Temporal effective batch norm: batch norm over all steps, then a trained factor a step."""

    per_step = True
    graph_safe = True
    spiking = True

    def __init__(self, channels: int, T: int = 4) -> None:
        """Build the norm.

        Args:
            channels: Number of channels.
            T: Time steps of the network: one factor each.
        """
        super().__init__(channels)
        self.p = nn.Parameter(torch.ones(T))

    def forward(self, x: Tensor, steps: int = 1) -> Tensor:
        """Normalise [steps * B, C, H, W], time outermost; fewer steps than T have the factors of the first ones.

        Raises:
            SnnError: There are more steps than factors.
        """
        if steps > len(self.p):
            raise SnnError(f"tebn: {steps} time steps, but factors for {len(self.p)} alone")
        y = split_time(super().forward(x), steps)
        return (y * self.p[:steps].view(-1, 1, 1, 1, 1).to(y.dtype)).flatten(0, 1)


class Block(nn.Module):
    """conv-norm-LIF-conv-norm, the normalised shortcut added, LIF after the sum."""

    graph_safe = True
    per_sample = True
    spiking = True

    def __init__(self, in_channels: int, channels: int, stride: int, kit: Kit) -> None:
        """Build the block; the first of a stage has a stride and a convolution in its shortcut, before a norm more."""
        super().__init__()
        self.conv1 = kit.conv(in_channels, channels, 3, stride)
        self.norm1 = kit.norm(channels)
        self.lif1 = kit.neuron()
        self.conv2 = kit.conv(channels, channels, 3)
        self.norm2 = kit.norm(channels)
        changed = stride != 1 or in_channels != channels
        down = [kit.conv(in_channels, channels, 1, stride), kit.norm(channels)] if changed else []
        self.shortcut = nn.ModuleList([*down, kit.norm(channels)])
        self.lif2 = kit.neuron()

    def forward(self, x: Tensor, steps: int) -> Tensor:
        """Map spikes [steps * B, C, H, W] to spikes [steps * B, C', H', W']."""
        y = self.conv2(norm_lif(self.norm1, self.lif1, self.conv1(x), steps))
        for layer in self.shortcut:
            x = run_layer(layer, x, steps)
        return norm_lif(self.norm2, self.lif2, y, steps, shortcut=x)


@component("model", "tebn_resnet19")
class TEBNResNet19(SpikingNetwork):
    """TEBN's ResNet-19: 14,673,782 parameters at 10 classes, T = 4 and 32 pixels."""

    graph_safe = True
    per_sample = True
    spiking = True
    size = (2.287e9, 1.442e6, 32, 14.67e6, 257)

    def __init__(
        self,
        num_classes: int = 10,
        T: int = 4,
        in_chans: int = 3,
        width: float = 1.0,
        kit: Kit = PLAIN,
        img_size: int = 32,
        *,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.25,
    ) -> None:
        """Build the network; `SpikingNetwork` explains the options not listed here.

        Args:
            num_classes: Number of classes.
            T: Time steps.
            in_chans: Channels of the input.
            width: Factor on the channels and features.
            kit: Where its layers come from; convolutions have a bias whatever it says.
            img_size: Height and width of the images; at least 8.
            dropout: Share of values that are dropped before both linear layers.

        Raises:
            SnnError: An option is out of range.
        """
        super().__init__(num_classes, T, in_chans, width)
        side = img_size // 8
        if side < 1:
            raise SnnError(f"TEBNResNet19: img_size is {img_size}; it must be at least 8")
        kit = replace(kit, conv=conv_with_bias)
        channels = scale_channels(STEM_CHANNELS, width)
        self.stem = ConvNormLIF(in_chans, channels, 3, kit=kit)
        self.blocks = nn.ModuleList()
        for full, depth, stride in STAGES:
            out = scale_channels(full, width)
            for index in range(depth):
                self.blocks.append(Block(channels, out, 1 if index else stride, kit))
                channels = out
        hidden = scale_channels(HEAD_FEATURES, width)
        self.drops = nn.ModuleList(Dropout(dropout) for _ in range(2))
        self.fcs = nn.ModuleList((Linear(channels * side * side, hidden), Linear(hidden, num_classes)))
        kaiming_init(self)

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """Return logits [steps * B, num_classes]."""
        x = self.stem(x, steps, repeats)
        for block in self.blocks:
            x = block(x, steps)
        x = F.avg_pool2d(x, 2).flatten(1)
        for drop, fc in zip(self.drops, self.fcs, strict=True):
            x = fc(drop(x, steps))
        return x
