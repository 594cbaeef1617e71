"""Spike-element-wise ResNets (docs/protocol.md#sew-resnet-19; BrainCog:sew_resnet.py:54-500). Blocks connect by ADD."""

from __future__ import annotations

from typing import Any

from timm.models import register_model
from torch import Tensor, nn
from torch.nn import functional as F

from tksbench.component import component
from tksbench.snn.kit import PLAIN, Kit
from tksbench.snn.layers import ConvNormLIF, Linear, SpikingNetwork, kaiming_init, scale_channels
from tksbench.snn.options import own_options


class SEWBlock(nn.Module):
    """Convolutions, each with batch norm and LIF, and a shortcut added after the last LIF.

    There is no neuron after the sum: outputs are integers 0, 1, 2, ... A shortcut that changes the shape is
    conv1x1-BN-LIF.
    """

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int, kit: Kit) -> None:
        """Build the block for an output of `channels` * expansion channels."""
        super().__init__()
        out = channels * self.expansion
        # Before the body, so that the body's last neuron is the block's last in module order too.
        self.shortcut: nn.Module | None = None
        if stride != 1 or in_channels != out:
            self.shortcut = ConvNormLIF(in_channels, out, 1, stride, kit=kit)
        self.body = nn.ModuleList(self._body(in_channels, channels, stride, kit))

    def _body(self, in_channels: int, channels: int, stride: int, kit: Kit) -> list[nn.Module]:
        return [
            ConvNormLIF(in_channels, channels, 3, stride, kit=kit),
            ConvNormLIF(channels, channels, 3, kit=kit),
        ]

    def forward(self, x: Tensor, steps: int) -> Tensor:
        """Map [steps * B, C, H, W] to [steps * B, C', H', W']."""
        y = x
        for layer in self.body:
            y = layer(y, steps)
        return y + (x if self.shortcut is None else self.shortcut(x, steps))


class SEWBottleneck(SEWBlock):
    """1x1, 3x3 carrying the stride, 1x1 with four times the channels."""

    expansion = 4

    def _body(self, in_channels: int, channels: int, stride: int, kit: Kit) -> list[nn.Module]:
        return [
            ConvNormLIF(in_channels, channels, 1, kit=kit),
            ConvNormLIF(channels, channels, 3, stride, kit=kit),
            ConvNormLIF(channels, channels * self.expansion, 1, kit=kit),
        ]


class SEWResNet(SpikingNetwork):
    """A SEW-ResNet, for CIFAR (3x3 stem, spiking 256-feature head) or ImageNet (7x7 stem, max pool)."""

    def __init__(
        self,
        block: type[SEWBlock],
        stages: tuple[tuple[int, int, int], ...],
        *,
        cifar: bool = False,
        num_classes: int = 1000,
        T: int = 4,
        in_chans: int = 3,
        width: float = 1.0,
        kit: Kit = PLAIN,
    ) -> None:
        """Build the network; `SpikingNetwork` explains the options not listed here.

        Args:
            block: Kind of block.
            stages: Channels (before expansion), number of blocks and stride of each stage.
            cifar: Use the stem and head of the 19-layer network for 32x32 images.
            num_classes: Number of classes.
            T: Time steps.
            in_chans: Channels of the input.
            width: Factor on the channels.
            kit: Where its layers come from.
        """
        super().__init__(num_classes, T, in_chans, width)
        channels = scale_channels(64, width)
        kernel, stride = (3, 1) if cifar else (7, 2)
        self.stem = ConvNormLIF(in_chans, channels, kernel, stride, kit=kit)
        self.pool = nn.Identity() if cifar else nn.MaxPool2d(3, stride=2, padding=1)
        self.blocks = nn.ModuleList()
        for full, depth, stride in stages:
            out = scale_channels(full, width)
            for index in range(depth):
                self.blocks.append(block(channels, out, stride if index == 0 else 1, kit))
                channels = out * block.expansion
        self.fc1: nn.Module | None = None
        if cifar:
            hidden = scale_channels(256, width)
            self.fc1 = Linear(channels, hidden)
            self.lif = kit.neuron()
            channels = hidden
        self.fc = Linear(channels, num_classes)
        kaiming_init(self)

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """Return logits [steps * B, num_classes]."""
        x = self.pool(self.stem(x, steps, repeats))
        for block in self.blocks:
            x = block(x, steps)
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        if self.fc1 is not None:
            x = self.lif(self.fc1(x), steps)
        return self.fc(x)  # type: ignore[no-any-return]


def _stages(*depths: int) -> tuple[tuple[int, int, int], ...]:
    return tuple(zip((64, 128, 256, 512), depths, (1, 2, 2, 2), strict=True))


@component("model", "sew_resnet18")
@register_model
def sew_resnet18(pretrained: bool = False, **kwargs: Any) -> SEWResNet:
    """SEW-ResNet-18 of Table 4: 11,689,512 parameters at 1000 classes."""
    return SEWResNet(SEWBlock, _stages(2, 2, 2, 2), **own_options("sew_resnet18", pretrained, kwargs))


@component("model", "sew_resnet19")
@register_model
def sew_resnet19(pretrained: bool = False, **kwargs: Any) -> SEWResNet:
    """SEW-ResNet-19 of Tables 1 and 3, for CIFAR: 12,630,858 parameters at 10 classes."""
    options = {"num_classes": 10} | own_options("sew_resnet19", pretrained, kwargs)
    return SEWResNet(SEWBlock, ((128, 3, 1), (256, 3, 2), (512, 2, 2)), cifar=True, **options)


@component("model", "sew_resnet34")
@register_model
def sew_resnet34(pretrained: bool = False, **kwargs: Any) -> SEWResNet:
    """SEW-ResNet-34 of Tables 1, 3 and 4: 21,797,672 parameters at 1000 classes."""
    return SEWResNet(SEWBlock, _stages(3, 4, 6, 3), **own_options("sew_resnet34", pretrained, kwargs))


@component("model", "sew_resnet50")
@register_model
def sew_resnet50(pretrained: bool = False, **kwargs: Any) -> SEWResNet:
    """SEW-ResNet-50 of Tables 1 and 3: 25,557,032 parameters at 1000 classes."""
    return SEWResNet(SEWBottleneck, _stages(3, 4, 6, 3), **own_options("sew_resnet50", pretrained, kwargs))
