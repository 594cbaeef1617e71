"""Spiking ResNet-19 with batch norms initialised as in tdBN (docs/protocol.md#resnet-19; BrainCog:resnet19_snn.py)."""

from __future__ import annotations

import math
from typing import Any

from timm.models import register_model
from torch import Tensor, nn
from torch.nn import functional as F

from tksbench.component import component
from tksbench.snn.kit import PLAIN, Kit
from tksbench.snn.layers import ConvNormLIF, Linear, SpikingNetwork, scale_channels
from tksbench.snn.normlif import norm_lif, run_layer
from tksbench.snn.options import own_options

STAGES = ((128, 3, 1), (256, 3, 2), (512, 2, 2))
"""Channels, blocks and stride of layer1 to layer3."""
STEM_CHANNELS = 128
HEAD_FEATURES = 256


class BasicBlock(nn.Module):
    """conv-BN-LIF-conv-BN, the shortcut added, LIF after the sum: the outputs stay binary."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, *, norm_shortcut: bool, kit: Kit, scaled: bool = True
    ) -> None:
        """Build the block.

        Args:
            in_channels: Channels of the input.
            channels: Channels of the output.
            stride: Stride of the first convolution and of the shortcut.
            norm_shortcut: Put a batch norm alone into a shortcut that needs no convolution, as the first
                block of layer1 has (BrainCog:resnet19_snn.py:152-155).
            kit: Where its layers come from.
            scaled: Scale the norms as tdBN does; else they stay as they are made.
        """
        super().__init__()

        def norm(factor: float) -> nn.Module:
            return kit.scaled_norm(channels, factor) if scaled else kit.norm(channels)

        # Norms fit the threshold, the two that meet at the sum by half its variance (BrainCog:layer.py:108-124).
        self.conv1 = kit.conv(in_channels, channels, 3, stride)
        self.bn1 = norm(1.0)
        self.lif1 = kit.neuron()
        self.conv2 = kit.conv(channels, channels, 3)
        self.bn2 = norm(math.sqrt(0.5))
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.shortcut.append(kit.conv(in_channels, channels, 1, stride))
        if len(self.shortcut) or norm_shortcut:
            self.shortcut.append(norm(math.sqrt(0.5)))
        self.lif2 = kit.neuron()

    def forward(self, x: Tensor, steps: int) -> Tensor:
        """Map spikes [steps * B, C, H, W] to spikes [steps * B, C', H', W']."""
        y = self.conv2(norm_lif(self.bn1, self.lif1, self.conv1(x), steps))
        for layer in self.shortcut:
            x = run_layer(layer, x, steps)
        return norm_lif(self.bn2, self.lif2, y, steps, shortcut=x)


class SpikingResNet19(SpikingNetwork):
    """ResNet-19 for CIFAR: three stages of basic blocks and a spiking 256-feature head."""

    def __init__(
        self,
        num_classes: int = 10,
        T: int = 4,
        in_chans: int = 3,
        width: float = 1.0,
        kit: Kit = PLAIN,
    ) -> None:
        """Build the network; `SpikingNetwork` explains the options."""
        super().__init__(num_classes, T, in_chans, width)
        channels = scale_channels(STEM_CHANNELS, width)
        self.stem = ConvNormLIF(in_chans, channels, 3, kit=kit, norm_scale=math.sqrt(0.5))
        self.blocks = nn.ModuleList()
        for stage, (full, depth, stride) in enumerate(STAGES):
            out = scale_channels(full, width)
            for index in range(depth):
                block_stride = stride if index == 0 else 1
                norm_shortcut = stage == 0 and index == 0
                self.blocks.append(BasicBlock(channels, out, block_stride, norm_shortcut=norm_shortcut, kit=kit))
                channels = out
        hidden = scale_channels(HEAD_FEATURES, width)
        self.fc1 = Linear(channels, hidden)
        self.lif = kit.neuron()
        self.fc2 = Linear(hidden, num_classes)

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """Return logits [steps * B, num_classes]."""
        x = self.stem(x, steps, repeats)
        for block in self.blocks:
            x = block(x, steps)
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.fc2(self.lif(self.fc1(x), steps))  # type: ignore[no-any-return]


@component("model", "spiking_resnet19")
@register_model
def spiking_resnet19(pretrained: bool = False, **kwargs: Any) -> SpikingResNet19:
    """ResNet-19 of Table 1 to 3: 12,698,250 parameters at 10 classes."""
    return SpikingResNet19(**own_options("spiking_resnet19", pretrained, kwargs))
