"""EventMix (Shen et al., "EventMix: an efficient data augmentation strategy for event-based learning", 2022-2023).

Two recordings become one: where a random density over time, rows and columns, a mixture of Gaussians, is above a
threshold, the events are the partner's. The label is shared by what has been put together. All of it is in BrainCog, by
the same authors (BrainCog:cut_mix.py), whose defaults are the ones here; so is the network, a pre-activation ResNet-18.

    D(t, y, x) = sum_k w_k exp(-((t - mt_k)^2 / st_k^2 + (y - my_k)^2 / sy_k^2 + (x - mx_k)^2 / sx_k^2) / 2)

with w ~ U(0, 1), means uniform over the whole numbers of each axis, sigmas max(U(0, 1), 0.1) times half the axis. The
threshold is the value below which a share 1 - lambda of all points lies, lambda ~ Beta(beta, beta): the mask is a share
lambda of the volume, the same for both polarities.

The share of a recording's own label is, by `count`, with r_i the share of recording i's events that lie in the mask,

    1 - r_2 / (1 - r_1 + r_2)

and, by `distance`, s_2^2 / (s_1^2 + s_2^2), with s_i the mean squared difference between recording i and the mixed one,
each averaged over 3 by 3 pixels. The abstract announces the latter; the code at hand computes the former.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tksbench.component import component
from tksbench.snn.kit import PLAIN, Kit
from tksbench.snn.layers import Linear, SpikingNetwork, kaiming_init, scale_channels
from tksbench.snn.normlif import norm_lif, run_layer

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydantic import Field

Label = Literal["count", "distance"]
STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
"""Channels and stride of the four stages of ResNet-18, of two blocks each."""


@component("mix", "eventmix")
class EventMix:
    """Puts a partner's events in place of a recording's own within a mask of Gaussians; labels by their shares."""

    kind = "event"
    partners = "set"

    def __init__(
        self,
        *,
        beta: Annotated[float, Field(gt=0)] = 2.0,
        probability: Annotated[float, Field(ge=0, le=1)] = 0.5,
        gaussians: Annotated[int, Field(ge=1)] = 3,
        label: Label = "count",
    ) -> None:
        """Choose the mixture.

        Args:
            beta: Both parameters of the distribution of the mask's share.
            probability: That a recording is mixed at all.
            gaussians: Number of Gaussians of the mask.
            label: What the share of the own label is: by counts of events, or by distances to what comes of it.
        """
        self.beta, self.probability, self.gaussians, self.label = beta, probability, gaussians, label

    def draw(self, rng: np.random.Generator, samples: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Draw, for each recording, whether it is mixed, lambda, and weight, means and sigmas of each Gaussian.

        Args:
            rng: A generator of this step alone.
            samples: B.
            shape: Of a recording, [T, C, H, W].

        Returns:
            [B, 2 + 7 K] for K Gaussians.
        """
        axes = np.array([shape[0], *shape[2:]])
        mixed = rng.random((samples, 1)) < self.probability
        share = rng.beta(self.beta, self.beta, (samples, 1))
        weights = rng.random((samples, self.gaussians, 1))
        means = rng.integers(0, axes, (samples, self.gaussians, 3))
        sigmas = np.maximum(rng.random((samples, self.gaussians, 3)), 0.1) * axes * 0.5
        gaussians = np.concatenate([weights, means, sigmas], axis=2).reshape(samples, -1)
        return np.concatenate([mixed, share, gaussians], axis=1)

    def __call__(self, images: Tensor, others: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Mix recordings.

        Args:
            images: Frames [B, T, C, H, W].
            others: The partner of each.
            draws: As `draw` gives them.

        Returns:
            Mixed frames, and the share of its own label in each one's target, [B].
        """
        density = mixture(draws[:, 2:].view(len(draws), self.gaussians, 7), (images.shape[1], *images.shape[3:]))
        mask = highest(density, draws[:, 1]) & (draws[:, 0] > 0).view(-1, 1, 1, 1)
        inside = mask.unsqueeze(2)
        mixed = torch.where(inside, others, images)
        if self.label == "count":
            return mixed, share_by_count(images, others, inside)
        return mixed, share_by_distance(images, others, mixed)


def mixture(gaussians: Tensor, axes: tuple[int, int, int]) -> Tensor:
    """Density of a mixture of Gaussians, none of them normalised.

    Args:
        gaussians: [B, K, 7]: weight, the means and the sigmas over time, rows and columns.
        axes: Lengths T, H, W.

    Returns:
        [B, T, H, W].
    """
    along = []
    for index, length in enumerate(axes):
        at = torch.arange(length, dtype=gaussians.dtype, device=gaussians.device)
        mean, sigma = gaussians[..., 1 + index, None], gaussians[..., 4 + index, None]
        along.append(torch.exp(-(((at - mean) / sigma) ** 2) / 2))
    return torch.einsum("bk,bkt,bky,bkx->btyx", gaussians[..., 0], *along)


def highest(density: Tensor, share: Tensor) -> Tensor:
    """Where a density is above the value below or at which floor(n (1 - share)) of its n points lie.

    Args:
        density: [B, ...].
        share: [B], in [0, 1].

    Returns:
        Mask [B, ...]; of a share so great that no point is below, all of it.
    """
    values = density.flatten(1).sort(1).values
    below = (values.shape[1] * (1 - share)).long().unsqueeze(1)
    threshold = values.gather(1, (below - 1).clamp_min(0))
    mask = (density.flatten(1) > threshold) | (below == 0)
    return mask.view_as(density)


def share_by_count(own: Tensor, other: Tensor, inside: Tensor) -> Tensor:
    """1 - r_2 / (1 - r_1 + r_2) of events in the mask, [B]; 1 where nothing is left of either."""
    r1, r2 = ((x * inside).flatten(1).sum(1) / x.flatten(1).sum(1).clamp_min(1e-12) for x in (own, other))
    total = 1 - r1 + r2
    return torch.where(total > 0, 1 - r2 / total.clamp_min(1e-12), 1.0)


def share_by_distance(own: Tensor, other: Tensor, mixed: Tensor) -> Tensor:
    """s_2^2 / (s_1^2 + s_2^2) of distances to the mixed recording, [B]; 1 where it is equal to both."""

    def blurred(x: Tensor) -> Tensor:
        return F.avg_pool2d(x.flatten(0, 2).unsqueeze(1), 3, stride=1, padding=1).view(len(x), -1)

    s1, s2 = ((blurred(x) - blurred(mixed)).square().mean(1).square() for x in (own, other))
    return torch.where(s1 + s2 > 0, s2 / (s1 + s2).clamp_min(1e-30), 1.0)


class PreActBlock(nn.Module):
    """Norm, neurons, convolution, twice, and the shortcut added: currents are summed along the residual path."""

    graph_safe = True
    per_sample = True
    spiking = True

    def __init__(self, in_channels: int, channels: int, stride: int, kit: Kit) -> None:
        super().__init__()
        self.shortcut = nn.ModuleList()  # before the rest: the last neurons of the network are those of the main path
        if stride != 1 or in_channels != channels:
            self.shortcut.extend([kit.norm(in_channels), kit.neuron(), kit.conv(in_channels, channels, 1, stride)])
        self.bn1, self.lif1 = kit.norm(in_channels), kit.neuron()
        self.conv1 = kit.conv(in_channels, channels, 3, stride)
        self.bn2, self.lif2 = kit.norm(channels), kit.neuron()
        self.conv2 = kit.conv(channels, channels, 3)

    def forward(self, x: Tensor, steps: int) -> Tensor:
        """Map currents [steps * B, C, H, W] to currents [steps * B, C', H', W']."""
        y = self.conv1(norm_lif(self.bn1, self.lif1, x, steps))
        y = self.conv2(norm_lif(self.bn2, self.lif2, y, steps))
        if len(self.shortcut):
            norm, neuron, conv = self.shortcut
            x = conv(norm_lif(norm, neuron, x, steps))
        return cast("Tensor", x + y)


@component("model", "preact_resnet18")
class PreActResNet18(SpikingNetwork):
    """Pre-activation ResNet-18 of BrainCog: 11,172,490 parameters at 10 classes; its last norm has no neurons."""

    graph_safe = True
    per_sample = True
    size = (1.248e9, 1.493e6, 48, 11.17e6, 513)

    def __init__(
        self, num_classes: int = 101, T: int = 10, in_chans: int = 2, width: float = 1.0, kit: Kit = PLAIN
    ) -> None:
        """Build the network; `SpikingNetwork` explains the options."""
        super().__init__(num_classes, T, in_chans, width)
        channels = scale_channels(STAGES[0][0], width)
        self.conv = kit.conv(in_chans, channels, 3)
        self.blocks = nn.ModuleList()
        for full, stride in STAGES:
            out = scale_channels(full, width)
            self.blocks += [PreActBlock(channels, out, stride, kit), PreActBlock(out, out, 1, kit)]
            channels = out
        self.bn = kit.norm(channels)
        self.fc = Linear(channels, num_classes)
        kaiming_init(self)

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """Return logits [steps * B, num_classes]."""
        x = self.conv(x)
        if repeats > 1:
            x = x.repeat(repeats, 1, 1, 1)
        for block in self.blocks:
            x = block(x, steps)
        x = run_layer(self.bn, x, steps)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]
