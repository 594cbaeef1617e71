"""DSpike (Li et al., "Differentiable spike: Rethinking gradient-descent for training SNNs", NeurIPS 2021).

A family of surrogates, from the identity (temperature b towards 0) to the step (b without bound): around the threshold,

    derivative = b / (2 tanh(b / 2)) sech^2(b d)  where |d| <= 1/2, else 0,      d = membrane - threshold

and a rule that adapts b: at the beginning of each epoch, with one batch, the gradient of the first layer's weights is
estimated by central differences, (L(w + eps) - L(w - eps)) / (2 eps); of b, b + change and b - change the one is kept
for all layers whose surrogate gradient has the highest cosine with the estimate. The public code of later works of its
authors has b = 3 throughout, and no such rule: `adaptive: false`.

The network is a ResNet-18 for small images: a stem of three convolutions and an average pool, average pools in the
shortcuts, second norms of blocks that begin at 0. Its norms are `tdbn`, its neurons `iterative_lif` with decay 1/4 and
threshold 1/2.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tksbench.component import component
from tksbench.snn.errors import SnnError
from tksbench.snn.kit import PLAIN, Kit
from tksbench.snn.layers import ConvNormLIF, Linear, SpikingNetwork, scale_channels
from tksbench.snn.normlif import norm_lif, run_layer
from tksbench.snn.surrogate import spike

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import Field

log = logging.getLogger("tksbench.train")
STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
"""Channels and stride of the four stages of two blocks."""


@component("surrogate", "dspike")
class DSpike(nn.Module):
    """The derivative of a rescaled hyperbolic tangent within 1/2 of the threshold, whose temperature may be adapted."""

    per_sample = True
    spiking = True

    def __init__(
        self,
        *,
        temperature: Annotated[float, Field(gt=0)] = 3.0,
        adaptive: bool = False,
        change: Annotated[float, Field(gt=0)] = 1.0,
        eps: Annotated[float, Field(gt=0)] = 0.01,
        probes: Annotated[int, Field(ge=0)] = 0,
        reach: Annotated[float, Field(gt=0)] = 0.5,
    ) -> None:
        """Store the constants.

        Args:
            temperature: b of the module's docstring; what it begins with if it is adapted.
            adaptive: Adapt it at the beginning of each epoch.
            change: By how much, at most once an epoch.
            eps: Step of the differences.
            probes: How many of the first layer's weights are estimated, evenly spread; 0 takes all of them.
            reach: Half of its width, 1/2 in the work; its area is 1. A later code of an author has 1.

        Raises:
            SnnError: A constant is out of range.
        """
        super().__init__()
        if not (temperature > 0.0 and change > 0.0 and eps > 0.0 and reach > 0.0 and probes >= 0):
            raise SnnError(
                f"dspike: temperature {temperature}, change {change}, eps {eps}, reach {reach} must be above 0"
            )
        # A parameter that nothing trains: buffers are taken for running statistics, and averaged.
        self.temperature = nn.Parameter(torch.tensor(temperature), requires_grad=False)
        self.adaptive, self.change, self.eps, self.probes = adaptive, change, eps, probes
        self.reach = reach

    def forward(self, x: Tensor) -> Tensor:
        """Spikes of x = membrane - threshold."""
        return spike(x, self.derivative)

    def derivative(self, x: Tensor) -> Tensor:
        """At x = membrane - threshold."""
        b, reach = self.temperature.to(x.dtype), self.reach
        inside = (x.abs() <= reach).to(x.dtype)
        return inside * (b / (2.0 * torch.tanh(b * reach))) / torch.cosh(b * x.clamp(-reach, reach)).square()

    def adapt(self, network: nn.Module, loss: Callable[[], Tensor], agreed: Callable[[float], float]) -> None:
        """Choose the temperature of all surrogates of a network; its running statistics stay as they are.

        Called with the first batch of each epoch, before the step; of all modules that have it, in the first.

        Args:
            network: Has this surrogate.
            loss: The loss of the same batch at each call, in training mode.
            agreed: Maps a choice to the one of the leading process of several.
        """
        if not self.adaptive:
            return
        surrogates = [module for module in network.modules() if isinstance(module, DSpike)]
        before = self.temperature.item()
        candidates = [before, *(b for b in (before + self.change, before - self.change) if b > 0.0)]
        kept = [buffer.clone() for buffer in network.buffers()]
        weight = first_weight(network)
        count = min(self.probes or weight.numel(), weight.numel())
        places = torch.linspace(0, weight.numel() - 1, count, dtype=torch.float64).round().long()
        wanted = central_differences(loss, weight, places, self.eps)
        cosines = []
        for b in candidates:
            _set(surrogates, b)
            (gradient,) = torch.autograd.grad(loss(), weight)
            cosines.append(F.cosine_similarity(gradient.flatten()[places].double(), wanted, dim=0).item())
        best = max(range(len(candidates)), key=cosines.__getitem__)
        _set(surrogates, agreed(candidates[best]))
        with torch.no_grad():
            for buffer, old in zip(network.buffers(), kept, strict=True):
                buffer.copy_(old)
        log.info("temperature %g, cosine %.4f (it was %g)", candidates[best], cosines[best], before)


def first_weight(network: nn.Module) -> nn.Parameter:
    """The weights of a network's first convolution or linear layer."""
    layers = (module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear))
    return next(layers).weight  # type: ignore[return-value]


def central_differences(loss: Callable[[], Tensor], weight: nn.Parameter, places: Tensor, eps: float) -> Tensor:
    """The gradient of a loss by some of the weights of a layer, from two values for each, in float64.

    Args:
        loss: The loss with the weights as they are.
        weight: The weights; they are left as they were.
        places: Indices into the flattened weights, [n].
        eps: By how much one is moved up and down.

    Returns:
        [n].
    """
    found = []
    with torch.no_grad():
        for place in places.tolist():
            index = tuple(int(i) for i in torch.unravel_index(torch.tensor(place), weight.shape))
            old, values = weight[index].clone(), []
            for sign in (1.0, -1.0):
                weight[index] = old + sign * eps
                values.append(loss().double())
            weight[index] = old
            found.append((values[0] - values[1]) / (2.0 * eps))
    return torch.stack(found).cpu()


def _set(surrogates: list[DSpike], temperature: float) -> None:
    with torch.no_grad():
        for one in surrogates:
            one.temperature.fill_(temperature)


class Block(nn.Module):
    """conv-BN-LIF-conv-BN, the shortcut added, LIF after the sum; a shortcut that changes the shape pools first."""

    graph_safe = True
    per_sample = True
    spiking = True

    def __init__(self, in_channels: int, channels: int, stride: int, kit: Kit, shared: float) -> None:
        """Build the block.

        Args:
            in_channels: Channels of the input.
            channels: Channels of the output.
            stride: Stride of the first convolution, and side of the shortcut's pool.
            kit: Where its layers come from.
            shared: Factor of the two norms that meet at the sum.
        """
        super().__init__()
        self.conv1 = kit.conv(in_channels, channels, 3, stride)
        self.bn1 = kit.scaled_norm(channels, 1.0)
        self.lif1 = kit.neuron()
        self.conv2 = kit.conv(channels, channels, 3)
        joined = stride != 1 or in_channels != channels
        self.bn2 = kit.scaled_norm(channels, shared if joined else 1.0)
        self.shortcut = nn.Sequential()
        if joined:
            self.shortcut.append(nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False))
            self.shortcut.append(kit.conv(in_channels, channels, 1))
            self.shortcut.append(kit.scaled_norm(channels, shared))
        self.lif2 = kit.neuron()

    def forward(self, x: Tensor, steps: int) -> Tensor:
        """Map spikes [steps * B, C, H, W] to spikes [steps * B, C', H', W']."""
        y = self.conv2(norm_lif(self.bn1, self.lif1, self.conv1(x), steps))
        for layer in self.shortcut:
            x = run_layer(layer, x, steps)
        return norm_lif(self.bn2, self.lif2, y, steps, shortcut=x)


@component("model", "dspike_resnet18")
class DSpikeResNet18(SpikingNetwork):
    """DSpike's modified ResNet-18: 11,247,946 parameters at 10 classes."""

    graph_safe = True
    per_sample = True
    spiking = True
    size = (0.2157e9, 0.3195e6, 32, 11.25e6, 513)

    def __init__(
        self,
        num_classes: int = 10,
        T: int = 4,
        in_chans: int = 3,
        width: float = 1.0,
        kit: Kit = PLAIN,
        *,
        zero_init: bool = True,
    ) -> None:
        """Build the network; `SpikingNetwork` explains the options not listed here.

        Args:
            num_classes: Number of classes.
            T: Time steps.
            in_chans: Channels of the input.
            width: Factor on the channels.
            kit: Where its layers come from.
            zero_init: Let the weights of the second norms of blocks begin at 0.
        """
        super().__init__(num_classes, T, in_chans, width)
        channels = scale_channels(64, width)
        self.stem = nn.ModuleList(
            ConvNormLIF(before, channels, 3, kit=kit, norm_scale=1.0) for before in (in_chans, channels, channels)
        )
        self.blocks = nn.ModuleList()
        for full, stride in STAGES:
            out = scale_channels(full, width)
            for step in (stride, 1):
                self.blocks.append(Block(channels, out, step, kit, 0.5**0.5))
                channels = out
        self.fc = Linear(channels, num_classes)
        self._initialise(zero_init)

    def _initialise(self, zero_init: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, std=(2.0 / fan_out) ** 0.5)
            if (
                zero_init
                and isinstance(module, Block)
                and isinstance(getattr(module.bn2, "weight", None), nn.Parameter)
            ):
                nn.init.zeros_(module.bn2.weight)  # type: ignore[arg-type]
        nn.init.normal_(self.fc.weight, std=1.0 / self.fc.in_features)

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """Return logits [steps * B, num_classes]."""
        for index, layer in enumerate(self.stem):
            x = layer(x, steps, repeats if index == 0 else 1)
        x = F.avg_pool2d(x, 2)
        for block in self.blocks:
            x = block(x, steps)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]
