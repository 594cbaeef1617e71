"""STBP with NeuNorm (Wu et al., "Direct training for spiking neural networks: Faster, larger, better", AAAI 2019).

The 89.83 per cent that the paper gives the work of 2018 (Wu et al., Frontiers in Neuroscience, which has no CIFAR-10)
are this one's without NeuNorm; 90.53 are with it. The network is CIFARNet: five convolutions, three fully connected
layers, and a fixed vote of the last neurons, ten for a class; all layers have biases, and spike. Its norms are
`identity`, its neurons `iterative_lif` with the surrogate `rectangle`; its loss is `rate_mse`.

NeuNorm: a neuron beside each position of a layer's F maps keeps X_t = k X_{t-1} + (1 - k) / F sum_f s_f,t, and the
next layer is sent s - u X in place of s, with one trained u a map (recalled, to be checked in the paper; SpikingJelly
divides by F twice, which is a u of another size).
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tksbench.component import component
from tksbench.snn.dropout import Dropout
from tksbench.snn.errors import SnnError
from tksbench.snn.kit import PLAIN, Kit, conv_with_bias
from tksbench.snn.layers import ConvNormLIF, Linear, SpikingNetwork, scale_channels
from tksbench.snn.neuron import split_time

if TYPE_CHECKING:
    from pydantic import Field

CHANNELS = (128, 256, 512, 1024, 512)
POOLED = (1, 2)
"""Convolutions, from 0, that an average pool follows."""
DROPPED_BEFORE = (1, 2, 3, 4)
"""Convolutions whose input is dropped; so is that of the first two fully connected layers."""
FEATURES = (1024, 512)


class NeuNorm(nn.Module):
    """Normalises spikes by their mean over maps, which a neuron beside them integrates."""

    graph_safe = True
    per_sample = True

    def __init__(self, maps: int, decay: float) -> None:
        """Build the layer; its weights begin at 0, where it changes nothing.

        Args:
            maps: Number of maps.
            decay: k of the formula.
        """
        super().__init__()
        self.decay = decay
        self.weight = nn.Parameter(torch.zeros(maps, 1, 1))

    def forward(self, spikes: Tensor, steps: int) -> Tensor:
        """Return what the next layer is sent of `spikes` [steps * B, C, H, W]."""
        means = split_time(spikes.mean(1, keepdim=True), steps)
        states: list[Tensor] = []
        for one in means.unbind(0):
            states.append((1.0 - self.decay) * one + (self.decay * states[-1] if states else 0.0))
        return spikes - self.weight * torch.cat(states)


@component("model", "stbp_cifarnet")
class CIFARNet(SpikingNetwork):
    """STBP's CIFARNet: 45,049,188 parameters at 10 classes and 32 pixels."""

    graph_safe = True
    per_sample = True
    spiking = True
    size = (1.246e9, 0.624e6, 32, 45.05e6, 5130)

    def __init__(
        self,
        num_classes: int = 10,
        T: int = 12,
        in_chans: int = 3,
        width: float = 1.0,
        kit: Kit = PLAIN,
        img_size: int = 32,
        *,
        voters: Annotated[int, Field(ge=1)] = 10,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5,
        neunorm: bool = False,
        neunorm_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9,
    ) -> None:
        """Build the network; `SpikingNetwork` explains the options not listed here.

        Args:
            num_classes: Number of classes.
            T: Time steps.
            in_chans: Channels of the input.
            width: Factor on the channels, and on the features of the fully connected layers but the last.
            kit: Where its layers come from; convolutions have a bias whatever it says.
            img_size: Height and width of the images; at least 4.
            voters: Last neurons for each class.
            dropout: Share of values that are dropped before six layers, anew at every step.
            neunorm: Normalise the spikes between convolutions.
            neunorm_decay: How much of its state NeuNorm keeps from step to step.

        Raises:
            SnnError: An option is out of range.
        """
        super().__init__(num_classes, T, in_chans, width)
        if img_size < 4:
            raise SnnError(f"CIFARNet: img_size is {img_size}; two pools need at least 4")
        self.img_size = img_size
        kit = replace(kit, conv=conv_with_bias)
        channels = [in_chans, *(scale_channels(full, width) for full in CHANNELS)]
        pairs = list(itertools.pairwise(channels))
        self.convs = nn.ModuleList(ConvNormLIF(before, after, 3, kit=kit) for before, after in pairs)
        # Of the last convolution too, whose spikes go to the first fully connected layer.
        self.neunorms = nn.ModuleList(NeuNorm(after, neunorm_decay) for after in channels[1:] if neunorm)
        features = [channels[-1] * (img_size // 4) ** 2, *(scale_channels(full, width) for full in FEATURES)]
        features.append(num_classes * voters)
        self.linears = nn.ModuleList(Linear(*pair) for pair in itertools.pairwise(features))
        self.lifs = nn.ModuleList(kit.neuron() for _ in self.linears)
        self.drops = nn.ModuleList(Dropout(dropout, per_step=True) for _ in range(len(DROPPED_BEFORE) + 2))

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """Return the vote of each step, [steps * B, num_classes]: the share of a class's neurons that fire."""
        drops = iter(self.drops)
        for index, conv in enumerate(self.convs):
            if index in DROPPED_BEFORE:
                x = next(drops)(x, steps)
            x = conv(x, steps, repeats if index == 0 else 1)
            if self.neunorms:
                x = self.neunorms[index](x, steps)
            if index in POOLED:
                x = F.avg_pool2d(x, 2)
        x = x.flatten(1)
        for linear, neurons in zip(self.linears, self.lifs, strict=True):
            drop = next(drops, None)
            x = neurons(linear(x if drop is None else drop(x, steps)), steps)
        return x.view(len(x), self.num_classes, -1).mean(2)


@component("method", "rate_mse")
def rate_mse(logits: Tensor, target: Tensor, *, every_step: bool = False) -> Tensor:
    """Mean squared difference of the outputs averaged over time and the label's one-hot code.

    Args:
        logits: Outputs of each time step, [T, B, C].
        target: Class indices, [B].
        every_step: Take the difference at each step, and the mean of all, as the text of TCJA has it.
    """
    outputs = logits if every_step else logits.mean(0)
    return F.mse_loss(outputs, F.one_hot(target, logits.shape[2]).to(outputs.dtype).expand_as(outputs))
