"""TCJA-SNN (Zhu et al., "TCJA-SNN: temporal-channel joint attention for spiking neural networks", arXiv 2206.10177).

Attention over time and channels behind a layer of neurons: with z[t, c] the mean of their spikes over all pixels,

    y = x * sigmoid(a * b),    a = convolution of z along channels, mapping T steps to T steps,
                               b = convolution of z along time, mapping C channels to C channels

neither with a bias, both padded with 0 to the size they had (one more on the right where a kernel is even). What comes
out is no spikes. The number of steps is baked into the weights.

The authors' public code (ridgerchu/TCJA) calls the kernel along channels `kernel_size_t` and the one along time
`kernel_size_c`. It has two programs for CIFAR10-DVS: one trains a VGG with attention in its last two stages on the mean
squared error, the other one a VGG with attention in its first stage on the loss of TET; the paper's 80.7 is by the
latter. For N-Caltech101 it has a network of its own.

Its neurons divide the input by the time constant and fire at the threshold too: v += (x - v) / 2, s = (v >= 1). In
units of twice that membrane this is `iterative_lif` with decay 1/2 and threshold 2, the gradient through the reset cut,
and a surrogate phi(x / 2) / 2.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tksbench.component import component
from tksbench.snn.dropout import Dropout
from tksbench.snn.errors import SnnError
from tksbench.snn.kit import PLAIN, Kit, conv_with_bias
from tksbench.snn.layers import ConvNormLIF, SpikingNetwork, kaiming_init, scale_channels
from tksbench.snn.neuron import split_time
from tksbench.snn.vgg import VGGSNN

if TYPE_CHECKING:
    from pydantic import Field

Place = Literal["first", "last_two", "none"]
CHANNELS = (64, 128, 256, 256, 512)
"""Of the five convolutions of the network for N-Caltech101; the last two have attention."""
FEATURES = 1024


class TCJA(nn.Module):
    """Multiplies spikes by what their means over pixels say of their step and channel."""

    graph_safe = True
    per_sample = True
    factors = True

    def __init__(self, channels: int, T: int, over_channels: int, over_time: int) -> None:
        """Build the layer.

        Args:
            channels: Number of channels C.
            T: Time steps; fewer of them count as if the others had no input.
            over_channels: Size of the kernel along channels.
            over_time: Size of the kernel along time.
        """
        super().__init__()
        self.T = T
        self.over_channels = nn.Conv1d(T, T, over_channels, bias=False)
        self.over_time = nn.Conv1d(channels, channels, over_time, bias=False)

    def attention(self, z: Tensor) -> Tensor:
        """Weights [B, T, C], from 0 to 1, of means over pixels z [B, T, C]."""
        along_channels = self.over_channels(_padded(z, self.over_channels.kernel_size[0]))
        along_time = self.over_time(_padded(z.transpose(1, 2), self.over_time.kernel_size[0])).transpose(1, 2)
        return torch.sigmoid(along_channels * along_time)

    def forward(self, x: Tensor, steps: int) -> Tensor:
        """Weigh spikes [steps * B, C, H, W], time outermost.

        Raises:
            SnnError: There are more steps than it was built for.
        """
        if steps > self.T:
            raise SnnError(f"TCJA: {steps} time steps, but weights for {self.T} alone")
        z = split_time(x.mean((2, 3)), steps).transpose(0, 1)
        weights = self.attention(F.pad(z, (0, 0, 0, self.T - steps)))[:, :steps]
        return x * weights.transpose(0, 1).flatten(0, 1)[..., None, None]

    def extra_repr(self) -> str:
        """Show the steps in `print(model)`."""
        return f"T={self.T}"


def _padded(x: Tensor, kernel: int) -> Tensor:
    return F.pad(x, ((kernel - 1) // 2, kernel // 2))


@component("model", "tcja_vgg")
class TCJAVGG(VGGSNN):
    """VGG-SNN with attention: 11,369,450 parameters in the last two stages, 9,304,466 in the first (kernels of 2)."""

    graph_safe = True
    per_sample = True
    size = (1.362e9, 0.9216e6, 48, 11.37e6, 4609)

    def __init__(
        self,
        num_classes: int = 10,
        T: int = 10,
        in_chans: int = 2,
        width: float = 1.0,
        kit: Kit = PLAIN,
        img_size: int = 48,
        *,
        place: Place = "last_two",
        over_channels: Annotated[int, Field(ge=1)] = 4,
        over_time: Annotated[int, Field(ge=1)] = 4,
        pooled: Annotated[int, Field(ge=16)] | None = None,
        init: Literal["kaiming", "torch"] = "torch",
    ) -> None:
        """Build the network; `VGGSNN` explains the options not listed here.

        Args:
            num_classes: Number of classes.
            T: Time steps.
            in_chans: Channels of the input; 2 polarities.
            width: Factor on the channels.
            kit: Where its layers come from.
            img_size: Height and width of the frames.
            place: Where attention stands, each time before a pool: in the first stage, in the last two, or nowhere.
            over_channels: Size of its kernel along channels.
            over_time: Size of its kernel along time.
            pooled: Height and width to which frames are averaged first; none leaves them as they are.
            init: How convolutions of frames begin: Kaiming-normal (fan-out), or as torch makes them.

        Raises:
            SnnError: If an option is out of range.
        """
        size = min(pooled or img_size, img_size)
        super().__init__(num_classes, T, in_chans, width, replace(kit, conv=conv_with_bias), size)
        self.pooled, self.img_size = (
            (None if pooled is None else size),
            img_size,
        )  # what frames are; `size` is the layers'
        self.attention = nn.ModuleDict()
        for index in {"first": (0,), "last_two": (2, 3), "none": ()}[place]:
            channels = scale_channels(512 if index else 128, width)
            self.attention[str(index)] = TCJA(channels, T, over_channels, over_time)
        if init == "kaiming":
            kaiming_init(self)

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """Return logits [steps * B, num_classes]."""
        if self.pooled is not None:
            x = F.adaptive_avg_pool2d(x, self.pooled)
        for index, stage in enumerate(self.stages):
            for layer in stage:  # type: ignore[attr-defined]
                x = layer(x, steps, repeats)
                repeats = 1
            if str(index) in self.attention:
                x = self.attention[str(index)](x, steps)
            x = F.avg_pool2d(x, 2)
        return self.fc(x.flatten(1))  # type: ignore[no-any-return]


@component("model", "tcja_net")
class TCJANet(SpikingNetwork):
    """TCJA's network for N-Caltech101: 21,907,096 parameters at 101 classes, 14 steps and 180 x 240 pixels."""

    graph_safe = True
    per_sample = True
    size = (2.262e9, 5.106e6, 208, 22.34e6, 1024)

    def __init__(
        self,
        num_classes: int = 101,
        T: int = 14,
        in_chans: int = 2,
        width: float = 1.0,
        kit: Kit = PLAIN,
        img_size: int | tuple[int, int] = 48,
        *,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5,
        over_channels: Annotated[int, Field(ge=1)] = 4,
        over_channels_last: Annotated[int, Field(ge=1)] = 2,
        over_time: Annotated[int, Field(ge=1)] = 4,
        bias: bool = False,
        spiking_output: bool = True,
    ) -> None:
        """Build the network; `SpikingNetwork` explains the options not listed here.

        Args:
            num_classes: Number of classes.
            T: Time steps.
            in_chans: Channels of the input; 2 polarities.
            width: Factor on the channels.
            kit: Where its layers come from.
            img_size: Height and width of the frames.
            dropout: Share of values that are dropped before both fully connected layers.
            over_channels: Size of the kernel of the first attention along channels.
            over_channels_last: Size of that of the second one.
            over_time: Size of both kernels along time.
            bias: Whether all layers but attention have a bias, as one of the two forms for the loss of TET.
            spiking_output: Whether neurons follow the last layer; both forms for the loss of TET have none.

        Raises:
            SnnError: If an option is out of range.
        """
        super().__init__(num_classes, T, in_chans, width)
        height, width_ = (img_size, img_size) if isinstance(img_size, int) else img_size
        if min(height, width_) < 2 ** len(CHANNELS):
            raise SnnError(f"TCJANet: img_size is {img_size}; five pools need at least {2 ** len(CHANNELS)}")
        kit = replace(kit, conv=conv_with_bias) if bias else kit
        channels = [in_chans, *(scale_channels(full, width) for full in CHANNELS)]
        self.convs = nn.ModuleList(
            ConvNormLIF(before, after, 3, kit=kit) for before, after in itertools.pairwise(channels)
        )
        self.attention = nn.ModuleList(
            (TCJA(channels[4], T, over_channels, over_time), TCJA(channels[5], T, over_channels_last, over_time))
        )
        hidden = scale_channels(FEATURES, width)
        sizes = (channels[5] * (height // 32) * (width_ // 32), hidden, num_classes)
        self.drops = nn.ModuleList(Dropout(dropout) for _ in range(2))
        self.fcs = nn.ModuleList(nn.Linear(sizes[at], sizes[at + 1], bias=bias) for at in range(2))
        self.neurons = nn.ModuleList(kit.neuron() for _ in range(1 + spiking_output))

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """Return the spikes of the last neurons, one a class, or their currents, [steps * B, num_classes]."""
        attention = iter(self.attention)
        for index, conv in enumerate(self.convs):
            x = conv(x, steps, repeats)
            repeats = 1
            if index >= len(self.convs) - 2:
                x = next(attention)(x, steps)
            x = F.max_pool2d(x, 2)
        x = x.flatten(1)
        neurons = iter(self.neurons)
        for drop, fc in zip(self.drops, self.fcs, strict=True):
            x = fc(drop(x, steps))
            layer = next(neurons, None)
            x = x if layer is None else layer(x, steps)
        return x
