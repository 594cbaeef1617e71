"""PLIF: spiking networks whose membrane time constants are trained (Fang et al., ICCV 2021).

One step of the neuron, with one trained w a layer, membrane v = 0 before the first:

    u_t = v_{t-1} + (I_t - v_{t-1}) sigmoid(w)        1 / tau = sigmoid(w); the input is scaled as well
    s_t = 1 if u_t >= threshold else 0                at the threshold itself, too
    v_t = u_t * (1 - stopgrad(s_t))                   hard reset, with no gradient through it

and the arctangent's surrogate 1 / (1 + (pi x)^2) (the authors' public code, with the SpikingJelly that it names:
fangwei123456/Parametric-Leaky-Integrate-and-Fire-Spiking-Neuron).

The network for CIFAR10-DVS has six layers of weights and a vote of ten neurons a class. Its batch norms see one time
step at a time, so that running statistics move T times a batch; its dropout keeps a mask for all steps of a sample.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tksbench.component import component
from tksbench.snn.dropout import Dropout
from tksbench.snn.errors import SnnError
from tksbench.snn.kit import PLAIN, Kit
from tksbench.snn.layers import ConvNormLIF, SpikingNetwork, scale_channels
from tksbench.snn.neuron import Neuron
from tksbench.snn.surrogate import Arctan

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import Field

CHANNELS = 128
FEATURES = 2048


@component("neuron", "plif")
class PLIF(Neuron):
    """Leaky integrate-and-fire with a time constant that is trained, one for each layer."""

    spiking = True
    graph_safe = True
    per_sample = True

    def __init__(
        self,
        *,
        init_tau: Annotated[float, Field(gt=1)] = 2.0,
        threshold: Annotated[float, Field(gt=0)] = 1.0,
        surrogate: Annotated[Callable[[Tensor], Tensor] | None, "surrogate"] = None,
    ) -> None:
        """Store the constants, and make w.

        Args:
            init_tau: Membrane time constant in time steps with which training begins.
            threshold: From which it fires; it is reset to 0.
            surrogate: Stands for the derivative of the spikes; none is the arctangent of height 1.

        Raises:
            SnnError: A constant is out of range.
        """
        super().__init__()
        if not init_tau > 1.0 or not threshold > 0.0:
            raise SnnError(f"plif: init_tau is {init_tau}, threshold {threshold}; init_tau > 1, threshold > 0")
        self.threshold = threshold
        self.surrogate = Arctan() if surrogate is None else surrogate
        self.w = nn.Parameter(torch.tensor(-math.log(init_tau - 1.0)))

    def step(self, current: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """One time step; see `Neuron.step`."""
        u = v + (current - v) * self.w.sigmoid().to(v.dtype)
        spikes = self.surrogate(u - self.threshold) + (u == self.threshold)
        return spikes, u * (1.0 - spikes.detach())

    def extra_repr(self) -> str:
        """Show the constants in `print(model)`."""
        return f"tau={1.0 + math.exp(-self.w.item()):.4g}, threshold={self.threshold}"


@component("norm", "step_batch_norm")
class StepBatchNorm(nn.BatchNorm2d):
    """Batch norm over the samples and pixels of one time step at a time, with one set of weights for all."""

    per_step = True
    graph_safe = True
    spiking = True

    def __init__(self, channels: int) -> None:
        """Build the norm of so many channels."""
        super().__init__(channels)

    def forward(self, x: Tensor, steps: int = 1) -> Tensor:
        """Normalise [steps * B, C, H, W], time outermost."""
        if not self.training:
            return super().forward(x)
        return torch.cat([super(StepBatchNorm, self).forward(one) for one in x.chunk(steps)])


@component("model", "plif_cnn")
class PLIFNet(SpikingNetwork):
    """PLIF's network for CIFAR10-DVS: 17,427,718 parameters at 10 classes and 128 pixels, six of them of neurons."""

    graph_safe = True
    per_sample = True
    spiking = True
    size = (0.8475e9, 2.787e6, 128, 17.43e6, 20480)

    def __init__(
        self,
        num_classes: int = 10,
        T: int = 20,
        in_chans: int = 2,
        width: float = 1.0,
        kit: Kit = PLAIN,
        img_size: int = 128,
        *,
        blocks: Annotated[int, Field(ge=1)] = 4,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5,
        voters: Annotated[int, Field(ge=1)] = 10,
    ) -> None:
        """Build the network; `SpikingNetwork` explains the options not listed here.

        Args:
            num_classes: Number of classes.
            T: Time steps of a static input; frames bring their own.
            in_chans: Channels of the input; 2 polarities.
            width: Factor on the channels and on the features.
            kit: Where its layers come from.
            img_size: Height and width of the frames.
            blocks: Convolutions, each with a max pool behind it.
            dropout: Share of values that are dropped before both fully connected layers.
            voters: Last neurons for each class.

        Raises:
            SnnError: An option is out of range.
        """
        super().__init__(num_classes, T, in_chans, width)
        side = img_size // 2**blocks
        if side < 1:
            raise SnnError(f"PLIFNet: img_size is {img_size}; {blocks} pools need at least {2**blocks}")
        channels = scale_channels(CHANNELS, width)
        self.convs = nn.ModuleList(
            ConvNormLIF(channels if index else in_chans, channels, 3, kit=kit) for index in range(blocks)
        )
        hidden = scale_channels(FEATURES, width)
        self.drops = nn.ModuleList(Dropout(dropout) for _ in range(2))
        sizes = (channels * side * side, hidden, num_classes * voters)
        self.fcs = nn.ModuleList(nn.Linear(sizes[at], sizes[at + 1], bias=False) for at in range(2))
        self.neurons = nn.ModuleList(kit.neuron() for _ in range(2))

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """Return the vote of each step, [steps * B, num_classes]: the share of a class's neurons that fire."""
        for conv in self.convs:
            x = F.max_pool2d(conv(x, steps, repeats), 2)
            repeats = 1
        x = x.flatten(1)
        for drop, fc, neurons in zip(self.drops, self.fcs, self.neurons, strict=True):
            x = neurons(fc(drop(x, steps)), steps)
        return x.view(len(x), self.num_classes, -1).mean(2)
