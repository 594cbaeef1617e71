"""STBP-tdBN (Zheng et al., "Going deeper with directly-trained larger spiking neural networks", AAAI 2021).

Threshold-dependent batch normalisation: per channel, with statistics over samples, time steps and pixels together,

    y = gamma * alpha * threshold * (x - mean) / sqrt(var + eps) + beta        (its equations 5 and 6)

with gamma = 1 and beta = 0 at first, alpha = 1 in series and 1 / sqrt(2) where two branches are summed. `batch_norm` in
a network that scales its norms is the other common form: gamma itself begins at alpha * threshold, which is the same
function at first, with gradients of another size.

The networks are ResNet-19 in the forms that public code has, and the Spiking-ResNet-34 for ImageNet. Their neurons are
`iterative_lif` with the surrogate `rectangle`; the last spikes go through a linear layer whose outputs are averaged
over time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from tksbench.component import component
from tksbench.snn.kit import PLAIN, Kit
from tksbench.snn.layers import ConvNormLIF, Linear, SpikingNetwork, kaiming_init, scale_channels
from tksbench.snn.resnet import HEAD_FEATURES, STAGES, BasicBlock

if TYPE_CHECKING:
    from pydantic import Field

Init = Literal["kaiming", "torch"]
STAGES34 = ((64, 3, 2), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Channels, blocks and stride of the stages of ResNet-34; the first stride stands for the max pool, which it lacks."""


@component("norm", "tdbn")
class TdBN(nn.BatchNorm2d):
    """Threshold-dependent batch norm: what is normalised is scaled by alpha * threshold before weight and bias."""

    graph_safe = True
    spiking = True

    def __init__(self, channels: int, *, factor: Annotated[float, Field(gt=0)] = 1.0) -> None:
        """Build the norm.

        Args:
            channels: Number of channels.
            factor: alpha * threshold, in a network that does not scale its norms; one that does sets it itself, from
                the threshold of its neurons.
        """
        super().__init__(channels)
        self.factor = factor

    def scale(self, factor: float) -> None:
        """Set alpha * threshold."""
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [T * B, C, H, W]."""
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        assert self.momentum is not None  # noqa: S101
        running = (self.running_mean, self.running_var)
        weight = self.weight * self.factor
        return F.batch_norm(x, *running, weight, self.bias, self.training, self.momentum, self.eps)

    def extra_repr(self) -> str:
        """Show the factor in `print(model)`."""
        return f"{super().extra_repr()}, factor={self.factor:g}"  # type: ignore[no-untyped-call]


@component("model", "resnet19")
class ResNet19(SpikingNetwork):
    """ResNet-19 as tdBN's and TET's public code have it: 12,630,858 parameters at 10 classes, stem of 64 channels."""

    graph_safe = True
    per_sample = True
    spiking = True
    size = (2.216e9, 1.377e6, 32, 12.63e6, 257)

    def __init__(
        self,
        num_classes: int = 10,
        T: int = 4,
        in_chans: int = 3,
        width: float = 1.0,
        kit: Kit = PLAIN,
        *,
        stem: Annotated[int, Field(ge=1)] = 64,
        scaled: bool = True,
        init: Init = "kaiming",
    ) -> None:
        """Build the network; `SpikingNetwork` explains the options not listed here.

        Args:
            num_classes: Number of classes.
            T: Time steps.
            in_chans: Channels of the input.
            width: Factor on the channels.
            kit: Where its layers come from.
            stem: Channels of the first convolution; with 128 the first shortcut is the identity.
            scaled: Scale the norms by the threshold, and by 1 / sqrt(2) where two of them meet at a sum.
            init: How convolutions begin: Kaiming-normal (fan-out), or as torch makes them.
        """
        super().__init__(num_classes, T, in_chans, width)
        channels = scale_channels(stem, width)
        self.stem = ConvNormLIF(in_chans, channels, 3, kit=kit, norm_scale=1.0 if scaled else None)
        self.blocks, channels = _stages(channels, STAGES, width, kit, scaled)
        hidden = scale_channels(HEAD_FEATURES, width)
        self.fc1 = Linear(channels, hidden)
        self.lif = kit.neuron()
        self.fc2 = Linear(hidden, num_classes)
        if init == "kaiming":
            kaiming_init(self)

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """Return logits [steps * B, num_classes]."""
        x = self.stem(x, steps, repeats)
        for block in self.blocks:
            x = block(x, steps)
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.fc2(self.lif(self.fc1(x), steps))  # type: ignore[no-any-return]


@component("model", "spiking_resnet34")
class SpikingResNet34(SpikingNetwork):
    """tdBN's ResNet-34 for ImageNet: a stride in the first block in place of the max pool, neurons after the sums."""

    graph_safe = True
    per_sample = True
    spiking = True
    size = (3.676e9, 3.562e6, 224, 21.29e6, 513)

    def __init__(
        self, num_classes: int = 1000, T: int = 6, in_chans: int = 3, width: float = 1.0, kit: Kit = PLAIN
    ) -> None:
        """Build the network; `SpikingNetwork` explains the options."""
        super().__init__(num_classes, T, in_chans, width)
        channels = scale_channels(64, width)
        self.stem = ConvNormLIF(in_chans, channels, 7, 2, kit=kit, norm_scale=1.0)
        self.blocks, channels = _stages(channels, STAGES34, width, kit, scaled=True)
        self.fc = Linear(channels, num_classes)
        kaiming_init(self)

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """Return logits [steps * B, num_classes]."""
        x = self.stem(x, steps, repeats)
        for block in self.blocks:
            x = block(x, steps)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


def _stages(
    channels: int, stages: tuple[tuple[int, int, int], ...], width: float, kit: Kit, scaled: bool
) -> tuple[nn.ModuleList, int]:
    """The blocks of all stages, and the channels that the last one gives."""
    blocks = nn.ModuleList()
    for full, depth, stride in stages:
        out = scale_channels(full, width)
        for index in range(depth):
            step = stride if index == 0 else 1
            blocks.append(BasicBlock(channels, out, step, norm_shortcut=False, kit=kit, scaled=scaled))
            channels = out
    return blocks, channels
