"""VGG-SNN for event frames: no dropout, PyTorch's default initialisation.

Source: docs/protocol.md#vgg-snn; BrainCog:vgg_snn.py:141-201.
"""

from __future__ import annotations

from typing import Any

from timm.models import register_model
from torch import Tensor, nn
from torch.nn import functional as F

from tksbench.component import component
from tksbench.snn.errors import SnnError
from tksbench.snn.kit import PLAIN, Kit
from tksbench.snn.layers import ConvNormLIF, Linear, SpikingNetwork, scale_channels
from tksbench.snn.options import own_options

STAGES = ((64, 128), (256, 256), (512, 512), (512, 512))
"""Channels of the two layers before each of the four average pools."""


class VGGSNN(SpikingNetwork):
    """Eight conv-BN-LIF layers, an average pool after every second, and one linear layer."""

    def __init__(
        self,
        num_classes: int = 10,
        T: int = 10,
        in_chans: int = 2,
        width: float = 1.0,
        kit: Kit = PLAIN,
        img_size: int = 48,
    ) -> None:
        """Build the network.

        Args:
            num_classes: Number of classes.
            T: Time steps of a static input; frames bring their own.
            in_chans: Channels of the input; 2 polarities.
            width: Factor on the channels.
            kit: Where its layers come from.
            img_size: Height and width of the frames, on which the linear layer depends; at least 16.

        Raises:
            SnnError: If an option is out of range.
        """
        super().__init__(num_classes, T, in_chans, width)
        side = img_size // 2 ** len(STAGES)
        if side < 1:
            raise SnnError(f"VGGSNN: img_size is {img_size}; four pools need at least {2 ** len(STAGES)}")
        self.img_size = img_size
        self.stages = nn.ModuleList()
        channels = in_chans
        for stage in STAGES:
            layers = nn.ModuleList()
            for full in stage:
                out = scale_channels(full, width)
                layers.append(ConvNormLIF(channels, out, 3, kit=kit))
                channels = out
            self.stages.append(layers)
        self.fc = Linear(channels * side * side, num_classes)

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """Return logits [steps * B, num_classes]."""
        for stage in self.stages:
            for layer in stage:  # type: ignore[attr-defined]
                x = layer(x, steps, repeats)
                repeats = 1
            x = F.avg_pool2d(x, 2)
        return self.fc(x.flatten(1))  # type: ignore[no-any-return]


@component("model", "vgg_snn")
@register_model
def vgg_snn(pretrained: bool = False, img_size: int = 48, **kwargs: Any) -> VGGSNN:
    """VGG-SNN of Tables 2 and 3: 9,268,746 parameters at 10 classes."""
    return VGGSNN(img_size=img_size, **own_options("vgg_snn", pretrained, kwargs))
