"""Spiking ResNet-19 with batch norms initialised as in tdBN (docs/protocol.md#resnet-19; BrainCog:resnet19_snn.py)."""

from __future__ import annotations

import math
from typing import Any

from timm.models import register_model
from torch import Tensor, nn
from torch.nn import functional as F

from tksbench.snn.layers import ConvNormLIF, Linear, SpikingNetwork, conv, scale_channels
from tksbench.snn.neuron import LIF, Backend
from tksbench.snn.normlif import norm_lif
from tksbench.snn.options import without_timm_options

THRESHOLD = 0.5
STAGES = ((128, 3, 1), (256, 3, 2), (512, 2, 2))
"""Channels, blocks and stride of layer1 to layer3."""
STEM_CHANNELS = 128
HEAD_FEATURES = 256


def scaled_norm(norm: nn.BatchNorm2d, alpha: float) -> nn.BatchNorm2d:
    """Set the weight to alpha * threshold and the bias to 0, so that the input fits the threshold.

    Source: BrainCog:layer.py:108-124.
    """
    nn.init.constant_(norm.weight, alpha * THRESHOLD)
    nn.init.zeros_(norm.bias)
    return norm


class BasicBlock(nn.Module):
    """conv-BN-LIF-conv-BN, the shortcut added, LIF after the sum: the outputs stay binary."""

    def __init__(self, in_channels: int, channels: int, stride: int, *, norm_shortcut: bool, backend: Backend) -> None:
        """Build the block.

        Args:
            in_channels: Channels of the input.
            channels: Channels of the output.
            stride: Stride of the first convolution and of the shortcut.
            norm_shortcut: Put a batch norm alone into a shortcut that needs no convolution, as the first
                block of layer1 has (BrainCog:resnet19_snn.py:152-155).
            backend: Backend of the neurons.
        """
        super().__init__()
        self.conv1 = conv(in_channels, channels, 3, stride)
        self.bn1 = scaled_norm(nn.BatchNorm2d(channels), 1.0)
        self.lif1 = LIF(backend=backend)
        self.conv2 = conv(channels, channels, 3)
        self.bn2 = scaled_norm(nn.BatchNorm2d(channels), math.sqrt(0.5))
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.shortcut.append(conv(in_channels, channels, 1, stride))
        if len(self.shortcut) or norm_shortcut:
            self.shortcut.append(scaled_norm(nn.BatchNorm2d(channels), math.sqrt(0.5)))
        self.lif2 = LIF(backend=backend)

    def forward(self, x: Tensor, steps: int) -> Tensor:
        """Map spikes [steps * B, C, H, W] to spikes [steps * B, C', H', W']."""
        y = norm_lif(self.bn1, self.lif1, self.conv1(x), steps)
        return norm_lif(self.bn2, self.lif2, self.conv2(y), steps, shortcut=self.shortcut(x))


class SpikingResNet19(SpikingNetwork):
    """ResNet-19 for CIFAR: three stages of basic blocks and a spiking 256-feature head."""

    def __init__(
        self,
        num_classes: int = 10,
        T: int = 4,
        in_chans: int = 3,
        width: float = 1.0,
        backend: Backend = "auto",
    ) -> None:
        """Build the network; `SpikingNetwork` explains the options."""
        super().__init__(num_classes, T, in_chans, width)
        channels = scale_channels(STEM_CHANNELS, width)
        self.stem = ConvNormLIF(in_chans, channels, 3, backend=backend)
        scaled_norm(self.stem.bn, math.sqrt(0.5))
        self.blocks = nn.ModuleList()
        for stage, (full, depth, stride) in enumerate(STAGES):
            out = scale_channels(full, width)
            for index in range(depth):
                block_stride = stride if index == 0 else 1
                norm_shortcut = stage == 0 and index == 0
                self.blocks.append(
                    BasicBlock(channels, out, block_stride, norm_shortcut=norm_shortcut, backend=backend)
                )
                channels = out
        hidden = scale_channels(HEAD_FEATURES, width)
        self.fc1 = Linear(channels, hidden)
        self.lif = LIF(backend=backend)
        self.fc2 = Linear(hidden, num_classes)

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """Return logits [steps * B, num_classes]."""
        x = self.stem(x, steps, repeats)
        for block in self.blocks:
            x = block(x, steps)
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.fc2(self.lif(self.fc1(x), steps))  # type: ignore[no-any-return]


@register_model
def spiking_resnet19(pretrained: bool = False, **kwargs: Any) -> SpikingResNet19:
    """ResNet-19 of Table 1 to 3: 12,698,250 parameters at 10 classes."""
    return SpikingResNet19(**without_timm_options("spiking_resnet19", pretrained, kwargs))
