"""LIAF-Net (Wu et al., TNNLS), and the 3-D convolutional network that it is compared with.

A leaky integrate and analog fire neuron integrates and is reset as a spiking one, but sends its membrane through an
activation in place of spikes:

    u_t = v_{t-1} + I_t            normalised as a sum where the norm is on the membrane
    f_t = 1 if u_t > threshold     decides the reset alone
    v_t = decay * u_t * (1 - f_t)
    output: act(u_t), or act(u_t - threshold) where it is relative to the threshold

So a network of them is analog. There is no release of the paper's run on CIFAR10-DVS. The network is that of a later
framework by the first author's company (LynxiTech/BIDL), whose norm is on the membrane and whose activation is ReLU,
not relative to the threshold. No description of the 3-D network is public: here it is the same network with
convolutions over time, rows and columns in place of its layers, and the mean over time before its fully connected ones.
It is not causal: every step sees the ones beside it, and all steps have one answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tksbench.component import component
from tksbench.snn.errors import SnnError
from tksbench.snn.kit import PLAIN, Kit
from tksbench.snn.layers import Linear, SpikingNetwork, scale_channels
from tksbench.snn.neuron import Neuron, split_time
from tksbench.snn.normlif import norm_lif, run_layer
from tksbench.snn.surrogate import Rectangle

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import Field

Activation = Literal["relu", "selu", "spike"]
CHANNELS = (32, 64, 128, 256, 512)
"""Of the five convolutions; the first one has a stride of 2, a max pool follows each."""
FEATURES = 512


@component("neuron", "liaf")
class LIAF(Neuron):
    """Leaky integrate and analog fire: the membrane is sent, spikes reset it."""

    graph_safe = True
    per_sample = True

    def __init__(
        self,
        *,
        decay: Annotated[float, Field(ge=0, le=1)] = 0.3,
        threshold: Annotated[float, Field(gt=0)] = 0.5,
        activation: Activation = "relu",
        relative: bool = False,
        surrogate: Annotated[Callable[[Tensor], Tensor] | None, "surrogate"] = None,
    ) -> None:
        """Store the constants.

        Args:
            decay: Factor of the membrane from step to step.
            threshold: Above which it is reset to 0.
            activation: What is sent of the membrane: ReLU of it, SELU, or 1 where it is above the threshold, else 0, as
                the neuron that LIAF is compared with.
            relative: Whether the threshold is taken from the membrane before.
            surrogate: Stands for the derivative of the spikes; none is the rectangle of height and width 1.

        Raises:
            SnnError: A constant is out of range.
        """
        super().__init__()
        if not 0.0 <= decay <= 1.0 or not threshold > 0.0:
            raise SnnError(f"liaf: decay is {decay}, threshold {threshold}; 0 <= decay <= 1, threshold > 0")
        self.decay, self.threshold = decay, threshold
        self.activation, self.relative = activation, relative
        self.surrogate = Rectangle() if surrogate is None else surrogate

    def fire(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """What is sent of a membrane, and what is left of it for the next step."""
        spikes = self.surrogate(u - self.threshold)
        left = self.decay * u * (1.0 - spikes)
        if self.activation == "spike":
            return spikes, left
        sent = u - self.threshold if self.relative else u
        return (F.relu(sent) if self.activation == "relu" else F.selu(sent)), left

    def step(self, current: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """One time step; see `Neuron.step`."""
        return self.fire(v + current)

    def extra_repr(self) -> str:
        """Show the constants in `print(model)`."""
        return f"decay={self.decay}, threshold={self.threshold}, {self.activation}, relative={self.relative}"


class Layer(nn.Module):
    """Convolution with a bias, norm and neurons; the norm is on the currents or on the membranes, step by step."""

    graph_safe = True
    per_sample = True

    def __init__(self, conv: nn.Module, channels: int, kit: Kit, *, on_membrane: bool) -> None:
        """Take the convolution, and build what follows.

        Args:
            conv: Maps [T * B, C, H, W] to currents.
            channels: Their channels.
            kit: Where norm and neurons come from.
            on_membrane: Whether the norm is on the membranes.

        Raises:
            SnnError: The neurons have no membrane that could be normalised.
        """
        super().__init__()
        self.conv, self.bn, self.neuron = conv, kit.norm(channels), kit.neuron()
        self.on_membrane = on_membrane
        if on_membrane and not isinstance(self.neuron, LIAF):
            raise SnnError(f"LIAFNet: on_membrane is for neurons 'liaf', not for {type(self.neuron).__name__}")

    def forward(self, x: Tensor, steps: int, repeats: int = 1) -> Tensor:
        """Return what the neurons send, [steps * B, C', H', W']; see `ConvNormLIF.forward`."""
        current = self.conv(x)
        if not self.on_membrane:
            return norm_lif(self.bn, self.neuron, current, steps, repeats=repeats)
        if repeats > 1:
            current = current.repeat(repeats, 1, 1, 1)
        fire: Callable[[Tensor], tuple[Tensor, Tensor]] = self.neuron.fire  # type: ignore[assignment]
        v, sent = torch.zeros_like(split_time(current, steps)[0]), []
        for one in split_time(current, steps):
            out, v = fire(run_layer(self.bn, v + one, 1))
            sent.append(out)
        return torch.cat(sent)


class _Staged(SpikingNetwork):
    """Five layers, each with a max pool behind it, and two fully connected ones."""

    graph_safe = True
    per_sample = True

    def __init__(self, num_classes: int, T: int, in_chans: int, width: float, kit: Kit, img_size: int) -> None:
        super().__init__(num_classes, T, in_chans, width)
        side = (img_size + 1) // 2 // 2 ** len(CHANNELS)
        if side < 1:
            raise SnnError(f"{type(self).__name__}: img_size is {img_size}; its pools need at least 63")
        self.channels = [in_chans, *(scale_channels(full, width) for full in CHANNELS)]
        hidden = scale_channels(FEATURES, width)
        self.stages = nn.ModuleList()
        self.fc1 = Linear(self.channels[-1] * side * side, hidden)
        self.last = kit.neuron()
        self.fc2 = Linear(hidden, num_classes)

    def pooled(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """What the stages make of the input, [steps * B, F]."""
        for stage in self.stages:
            x = F.max_pool2d(stage(x, steps, repeats), 2)
            repeats = 1
        return x.flatten(1)


@component("model", "liaf_net")
class LIAFNet(_Staged):
    """LIAF-Net for CIFAR10-DVS: 2,625,514 parameters at 10 classes and 128 pixels."""

    graph_safe = True
    per_sample = True
    size = (0.0831e9, 0.254e6, 128, 2.626e6, 513)

    def __init__(
        self,
        num_classes: int = 10,
        T: int = 10,
        in_chans: int = 2,
        width: float = 1.0,
        kit: Kit = PLAIN,
        img_size: int = 128,
        *,
        on_membrane: bool = True,
    ) -> None:
        """Build the network; `SpikingNetwork` explains the options not listed here.

        Args:
            num_classes: Number of classes.
            T: Time steps of a static input; frames bring their own.
            in_chans: Channels of the input; 2 polarities.
            width: Factor on the channels and on the features.
            kit: Where its layers come from.
            img_size: Height and width of the frames.
            on_membrane: Whether norms are on the membranes, memory included, or on the currents alone.

        Raises:
            SnnError: If an option is out of range, or the neurons have no membrane that could be normalised.
        """
        super().__init__(num_classes, T, in_chans, width, Kit(neuron=_ReLU), img_size)
        for index, after in enumerate(self.channels[1:]):
            kernel, stride = (5, 2) if index == 0 else (3, 1)
            conv = nn.Conv2d(self.channels[index], after, kernel, stride, kernel // 2)
            self.stages.append(Layer(conv, after, kit, on_membrane=on_membrane))

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """Return logits [steps * B, num_classes]."""
        return self.fc2(self.last(self.fc1(self.pooled(x, steps, repeats)), steps))  # type: ignore[no-any-return]


class _ReLU(Neuron):
    """Between the fully connected layers of the code."""

    graph_safe = True
    per_sample = True

    def forward(self, current: Tensor, steps: int | None = None) -> Tensor:
        return F.relu(current)


class _OverTime(nn.Module):
    """A convolution over time, rows and columns of what has time folded into the batch, and what follows it."""

    graph_safe = True
    per_sample = True

    def __init__(self, before: int, after: int, kernel: int, stride: int, kit: Kit) -> None:
        super().__init__()
        sizes, strides = (3, kernel, kernel), (1, stride, stride)
        self.conv = nn.Conv3d(before, after, sizes, strides, (1, kernel // 2, kernel // 2))
        self.bn, self.neuron = kit.norm(after), kit.neuron()

    def forward(self, x: Tensor, steps: int, repeats: int = 1) -> Tensor:
        """Map [steps * B, C, H, W] to the same with other channels and sizes."""
        if repeats > 1:
            x = x.repeat(repeats, 1, 1, 1)
        current = self.conv(split_time(x, steps).permute(1, 2, 0, 3, 4)).permute(2, 0, 1, 3, 4).flatten(0, 1)
        return norm_lif(self.bn, self.neuron, current, steps)


@component("model", "conv3d_net")
class Conv3DNet(_Staged):
    """The network of LIAF with 3-D convolutions: 5,762,154 parameters at 10 classes and 128 pixels."""

    graph_safe = True
    per_sample = True
    size = (0.2472e9, 0.254e6, 128, 5.762e6, 513)

    def __init__(
        self,
        num_classes: int = 10,
        T: int = 10,
        in_chans: int = 2,
        width: float = 1.0,
        kit: Kit = PLAIN,
        img_size: int = 128,
    ) -> None:
        """Build the network; `LIAFNet` explains the options."""
        super().__init__(num_classes, T, in_chans, width, kit, img_size)
        for index, after in enumerate(self.channels[1:]):
            kernel, stride = (5, 2) if index == 0 else (3, 1)
            self.stages.append(_OverTime(self.channels[index], after, kernel, stride, kit))

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """Return one answer for all steps, [steps * B, num_classes]."""
        mean = split_time(self.pooled(x, steps, repeats), steps).mean(0)
        hidden = self.fc1(mean).repeat(steps, 1)
        return self.fc2(self.last(hidden, steps))  # type: ignore[no-any-return]
