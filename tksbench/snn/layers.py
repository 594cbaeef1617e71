"""What all networks share: the time-folded layout, the direct-coded encoder, the readout of features.

Inside a network, tensors are [T * B, C, H, W] with time outermost, so convolutions and batch norms see the
samples of all time steps at once (the authors' --layer-by-layer mode, docs/protocol.md#time-in-the-networks)
and only the neuron loops over time. No operation here depends on the memory format: channels-last stays channels-last.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tksbench.snn.errors import SnnError
from tksbench.snn.eventconv import event_linear
from tksbench.snn.kit import PLAIN, Kit
from tksbench.snn.neuron import Neuron, split_time
from tksbench.snn.normlif import norm_lif

if TYPE_CHECKING:
    from tksbench.snn.encoder import Encoder


def scale_channels(channels: int, width: float) -> int:
    """Channels of a layer at a width factor: a multiple of 4 where that leaves any, at least 1.

    All channel counts of the paper are multiples of 4, so `width` = 1 is exact.
    """
    scaled = channels * width
    return 4 * round(scaled / 4) if scaled >= 4 else max(1, round(scaled))


def kaiming_init(model: nn.Module) -> None:
    """Kaiming-normal convolutions, fan-out, ReLU gain (BrainCog:sew_resnet.py; batch norms keep weight 1, bias 0)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class Linear(nn.Linear):
    """A linear layer of a head, in float32 under autocast too.

    What it gives are logits, from which accuracies, confidences and the teacher's "right" steps are taken, or the
    current of the last neurons. With the eight bits of bfloat16 logits tie, and with them classes and confidences.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., out_features] of [..., in_features]."""
        device = x.device.type
        if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
            return event_linear(x, self.weight, self.bias)
        with torch.autocast(device, enabled=False):
            return super().forward(x.float())


class ConvNormLIF(nn.Module):
    """Convolution, batch norm, LIF; as a network's first layer it is the direct encoder of a static image."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        *,
        kit: Kit = PLAIN,
        norm_scale: float | None = None,
    ) -> None:
        """Build the three layers.

        Args:
            in_channels: Channels of the input.
            out_channels: Channels of the output.
            kernel: Height and width of the convolution.
            stride: Its stride.
            kit: Where the layers come from.
            norm_scale: Factor of `Kit.scaled_norm`; None leaves the norm as it is made.
        """
        super().__init__()
        self.conv = kit.conv(in_channels, out_channels, kernel, stride)
        self.bn = kit.norm(out_channels) if norm_scale is None else kit.scaled_norm(out_channels, norm_scale)
        self.lif = kit.neuron()

    def forward(self, x: Tensor, steps: int, repeats: int = 1) -> Tensor:
        """Return spikes [steps * B, C', H', W'].

        Args:
            x: [steps * B, C, H, W]; or, with `repeats` = steps, [B, C, H, W], the same at every step.
            steps: Number of time steps.
            repeats: How often `x` is to be repeated over time. It is convolved and normalised once.
        """
        return norm_lif(self.bn, self.lif, self.conv(x), steps, repeats=repeats)


class SpikingNetwork(nn.Module):
    """Base of the networks: input handling, output layout, features. A subclass defines `classify`.

    Attributes:
        size: For estimates of cost before training, at width 1: multiply-accumulates and neurons a sample and time
            step, height and width of the image that these two are of, parameters at ten classes and of each further
            one. None: not known.
        img_size: Height and width of what it can be given; None for one that takes any.
    """

    size: tuple[float, float, int, float, int] | None = None
    img_size: int | None = None

    def __init__(self, num_classes: int, T: int, in_chans: int, width: float) -> None:
        """Check and store what all networks have in common.

        Args:
            num_classes: Number of classes C.
            T: Number of time steps over which a static image is repeated; event frames bring their own.
            in_chans: Channels of the input.
            width: Factor on every channel count; 1 is the paper's network.

        Raises:
            SnnError: If a number is out of range.
        """
        super().__init__()
        for option, value in (("num_classes", num_classes), ("T", T), ("in_chans", in_chans)):
            if value < 1:
                raise SnnError(f"{type(self).__name__}: {option} is {value}; it must be at least 1")
        if not 0.0 < width < math.inf:
            raise SnnError(f"{type(self).__name__}: width is {width}; it must be above 0")
        self.num_classes = num_classes
        self.T = T
        self.in_chans = in_chans
        self.width = width
        self.encoder: Encoder | None = None

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """Return logits [steps * B, num_classes] of `x`, which is as in `ConvNormLIF.forward`."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return the raw outputs of every time step, [T, B, num_classes].

        Args:
            x: Static images [B, C, H, W], repeated over T steps (direct coding) unless the network has an encoder,
                or frames [B, T', C, H, W], for which T' need not be the network's T.

        Raises:
            SnnError: If the shape or type of `x` does not fit the network.
        """
        self._check_input(x)
        if x.dim() == 4:
            return self.present(x, self.T)
        steps = x.shape[1]
        return split_time(self.classify(x.transpose(0, 1).flatten(0, 1), steps, 1), steps)

    def present(self, images: Tensor, steps: int) -> Tensor:
        """Return the raw outputs [steps, B, num_classes] of static images, coded as the network's encoder does."""
        if self.encoder is None:
            return split_time(self.classify(images, steps, steps), steps)
        return split_time(self.classify(self.encoder(images, steps).flatten(0, 1), steps, 1), steps)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the time-mean of the last neurons' spikes, flattened, [B, F] (Fig. 5; TKS:train_main.py:1033).

        Raises:
            SnnError: If the network has no neurons, or does not call the last ones with all steps at once.
        """
        last = next((module for module in reversed(list(self.modules())) if isinstance(module, Neuron)), None)
        if last is None:
            raise SnnError(f"{type(self).__name__}: it has no neurons, whose spikes would be its features")
        caught: list[Tensor] = []
        # A hook, so that the ordinary forward pass stores nothing and stays free of side outputs.
        handle = last.register_forward_hook(lambda _module, _inputs, spikes: caught.append(spikes))
        try:
            steps = self(x).shape[0]
        finally:
            handle.remove()
        if len(caught) != 1:
            raise SnnError(
                f"{type(self).__name__}: its last neurons are called {len(caught)} times in a pass, not once"
            )
        return caught[0].reshape(steps, x.shape[0], -1).float().mean(0)

    def _check_input(self, x: Tensor) -> None:
        name = type(self).__name__
        if x.dim() not in (4, 5) or x.shape[-3] != self.in_chans or 0 in x.shape:
            raise SnnError(
                f"{name}: the input has shape {list(x.shape)}; it must be [B, {self.in_chans}, H, W] (static) or "
                f"[B, T, {self.in_chans}, H, W] (frames), none of them 0"
            )
        if self.img_size is not None and x.shape[-2:] != (self.img_size, self.img_size):
            raise SnnError(
                f"{name}: the input is {x.shape[-2]}x{x.shape[-1]}; this network was built for img_size "
                f"{self.img_size}x{self.img_size}"
            )
        if not x.is_floating_point():
            raise SnnError(f"{name}: the input has type {x.dtype}; convert it to floating point first")
