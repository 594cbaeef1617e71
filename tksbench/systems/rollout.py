"""Streaming rollout (Kugele et al., 2020): an analog network is trained with the delays that it has as a spiking one.

Every connection takes one step, not the recurrent ones alone: a layer sees at step t what the layers below it gave at
step t - 1, and nothing before the first step. So all layers can be computed at the same time, and connections that skip
layers bring together what happened at different times. The first answer comes after the shortest path; before it there
is none.

The spiking network is the trained one with integrate-and-fire neurons: reset by subtraction, spikes as high as the
threshold, thresholds a high percentile of the rectifiers' outputs on training frames. Batch norm's shift is a constant
current.

The authors' SNN code is not public, and their DenseNet is described nowhere that could be read: depth, growth and sizes
are of this project.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tksbench.component import component
from tksbench.snn.errors import SnnError
from tksbench.snn.integrate import ScaledIntegrateAndFire
from tksbench.snn.kit import PLAIN, Kit
from tksbench.snn.layers import Linear, SpikingNetwork, scale_channels
from tksbench.snn.neuron import Neuron, split_time
from tksbench.snn.normlif import norm_lif
from tksbench.systems._conversion import evaluating, rectified, replace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import Field

STEM = 32


def delayed(x: Tensor, steps: int) -> Tensor:
    """What has time folded into the batch, time outermost, one step later: 0 at first, and without its last step."""
    series = split_time(x, steps)
    return torch.cat([torch.zeros_like(series[:1]), series[:-1]]).flatten(0, 1)


class Edge(nn.Module):
    """Convolution, norm and neurons."""

    graph_safe = True
    per_sample = True

    def __init__(self, before: int, after: int, kernel: int, kit: Kit) -> None:
        super().__init__()
        self.conv, self.bn, self.neuron = kit.conv(before, after, kernel), kit.norm(after), kit.neuron()

    def forward(self, x: Tensor, steps: int) -> Tensor:
        """Map [steps * B, C, H, W] to the same with other channels."""
        return norm_lif(self.bn, self.neuron, self.conv(x), steps)


@component("model", "rollout_densenet")
class RolloutDenseNet(SpikingNetwork):
    """A DenseNet each connection of which takes one time step."""

    graph_safe = True
    per_sample = True
    in_parts = False  # delays begin anew in every call
    size = (0.05235e9, 0.1912e6, 48, 0.1616e6, 81)

    def __init__(
        self,
        num_classes: int = 10,
        T: int = 10,
        in_chans: int = 2,
        width: float = 1.0,
        kit: Kit = PLAIN,
        *,
        blocks: Annotated[int, Field(ge=1)] = 2,
        layers: Annotated[int, Field(ge=1)] = 3,
        growth: Annotated[int, Field(ge=1)] = 32,
        rolled: bool = True,
    ) -> None:
        """Build the network; `SpikingNetwork` explains the options not listed here.

        Args:
            num_classes: Number of classes.
            T: Time steps of a static input; frames bring their own.
            in_chans: Channels of the input; 2 polarities.
            width: Factor on the channels.
            kit: Where its layers come from.
            blocks: Dense blocks, each with a 1 x 1 convolution and an average pool behind it.
            layers: Convolutions of a block; each sees all before it.
            growth: Channels that each of them adds.
            rolled: Whether connections take a step; else the network is an ordinary one, step by step.
        """
        super().__init__(num_classes, T, in_chans, width)
        self.rolled = rolled
        channels, added = scale_channels(STEM, width), scale_channels(growth, width)
        self.stem = Edge(in_chans, channels, 3, kit)
        self.blocks, self.transitions = nn.ModuleList(), nn.ModuleList()
        for _ in range(blocks):
            self.blocks.append(nn.ModuleList(Edge(channels + at * added, added, 3, kit) for at in range(layers)))
            channels += layers * added
            self.transitions.append(Edge(channels, channels // 2, 1, kit))
            channels //= 2
        self.fc = Linear(channels, num_classes)

    @property
    def shortest(self) -> int:
        """Connections on the shortest path from the input to the output: steps before the first answer."""
        return 2 + len(self.transitions) if self.rolled else 0

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """Return logits [steps * B, num_classes], 0 as long as no input can have arrived."""
        x = x.repeat(repeats, 1, 1, 1) if repeats > 1 else x
        x = F.avg_pool2d(self.stem(self._later(x, steps), steps), 2)
        for block, transition in zip(self.blocks, self.transitions, strict=True):
            for layer in cast("nn.ModuleList", block):
                x = torch.cat([x, layer(self._later(x, steps), steps)], 1)
            x = F.avg_pool2d(transition(self._later(x, steps), steps), 2)
        logits: Tensor = self.fc(self._later(F.adaptive_avg_pool2d(x, 1).flatten(1), steps))
        arrived = torch.arange(steps, device=logits.device) >= self.shortest
        return (split_time(logits, steps) * arrived.view(-1, 1, 1)).flatten(0, 1)

    def _later(self, x: Tensor, steps: int) -> Tensor:
        return delayed(x, steps) if self.rolled else x


@component("convert", "rollout")
class Rollout:
    """Integrate-and-fire neurons in place of rectifiers, as high as a percentile of what these gave."""

    def __init__(
        self,
        *,
        samples: Annotated[int, Field(ge=1)] = 256,
        percentile: Annotated[float, Field(gt=0, le=100)] = 99.9,
    ) -> None:
        """Store the options.

        Args:
            samples: Training samples whose activations are looked at.
            percentile: Of a layer's activations above 0, which becomes its threshold.
        """
        self.samples, self.percentile = samples, percentile

    def __call__(self, network: SpikingNetwork, images: Iterable[Tensor], T: int) -> SpikingNetwork:
        """Convert a network of ReLU neurons, in place.

        Args:
            network: The trained network.
            images: Batches of training samples: images [B, C, H, W] or frames [B, T, C, H, W].
            T: Steps that it is going to be asked for.

        Returns:
            The network.

        Raises:
            SnnError: It has other neurons, or a layer gave nothing above 0.
        """
        rectified(network)
        names = [name for name, module in network.named_modules() if isinstance(module, Neuron)]
        seen: dict[str, list[Tensor]] = {name: [] for name in names}

        def see(name: str, out: Tensor) -> None:
            seen[name].append(out[out > 0].float().cpu())

        handles = [
            network.get_submodule(name).register_forward_hook(lambda _module, _inputs, out, name=name: see(name, out))
            for name in names
        ]
        missing = self.samples
        try:
            with evaluating(network):
                for batch in images:
                    network(batch[:missing])
                    missing -= min(missing, len(batch))
                    if not missing:
                        break
        finally:
            for handle in handles:
                handle.remove()
        for name in names:
            values = torch.cat(seen[name]) if seen[name] else torch.empty(0)
            if not len(values):
                raise SnnError(f"{name}: it gave nothing above 0 on the training samples; a threshold is above 0")
            at = 1 + round(self.percentile / 100 * (len(values) - 1))
            threshold = float(values.kthvalue(at).values)
            replace(network, name, ScaledIntegrateAndFire(threshold, at_threshold=True))
        return network
