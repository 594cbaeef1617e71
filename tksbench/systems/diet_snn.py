"""Diet-SNN: direct coding of images, and a threshold and a leak of each layer that are trained with the weights.

N. Rathi and K. Roy, "DIET-SNN: Direct input encoding with leakage and threshold optimization in deep spiking neural
networks", arXiv 2008.03658, 2020 [42]. Formulas are those of nitin-rathi/DIET-SNN: the neuron of
DIET:self_models/resnet_spiking.py:101 and :397, the conversion of DIET:snn.py:49.

Until that commit of September 2021 the public code fired before it integrated. So no spike crosses the eleven layers of
ResNet-20 in five steps, and the published T = 5 cannot come from that order; `first: fire` is there to show it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from torch import nn

from tksbench.component import component
from tksbench.snn.integrate import IntegrateAndFire
from tksbench.systems._conversion import convert_by_spikes
from tksbench.systems._soft_reset import SoftReset

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import Field
    from torch import Tensor

    from tksbench.snn.layers import SpikingNetwork


@component("neuron", "diet")
class Diet(SoftReset):
    """Integrates, then fires strictly above a trained threshold, with soft reset and a trained leak of at most 1."""

    spiking = True
    graph_safe = True
    per_sample = True
    threshold: nn.Parameter
    leak: nn.Parameter

    def __init__(
        self,
        *,
        threshold: Annotated[float, Field(gt=0)] = 0.4,
        leak: Annotated[float, Field(gt=0, le=1)] = 1.0,
        surrogate: Literal["linear", "stdb", "stdb_code"] = "linear",
        scale: Annotated[float, Field(gt=0)] = 0.3,
        decay: Annotated[float, Field(gt=0)] = 0.01,
        first: Literal["integrate", "fire"] = "integrate",
    ) -> None:
        """Store the constants.

        Args:
            threshold: What a layer begins with unless a conversion balances it.
            leak: What is left of the membrane after a step, at first.
            surrogate: Derivative of the spikes: triangle of half-width 1, or decaying with the time since the neuron's
                last spike as the text of hybrid training has it, or that as its code computes it.
            scale: Its peak.
            decay: Rate of the decay, a step.
            first: Whether a step begins with its input, or with the spike of the membrane before it.
        """
        super().__init__(first, surrogate, scale, decay)
        self.threshold = nn.Parameter(torch.tensor(float(threshold)))
        self.leak = nn.Parameter(torch.tensor(float(leak)))

    def forward(self, current: Tensor, steps: int | None = None) -> Tensor:
        """Return the spikes of `current`; a leak that the optimizer has put above 1 is set back to it first."""
        with torch.no_grad():
            self.leak.clamp_(max=1.0)
        return super().forward(current, steps)


@component("convert", "diet_snn")
class DietConversion:
    """Thresholds are a percentile of the weighted inputs that spikes bring on training images, scaled."""

    def __init__(
        self,
        *,
        samples: Annotated[int, Field(ge=1)] = 512,
        steps: Annotated[int, Field(ge=1)] = 100,
        percentile: Annotated[float, Field(gt=0, le=100)] = 99.7,
        factor: Annotated[float, Field(gt=0)] = 0.2,
        block_threshold: Annotated[float, Field(gt=0)] = 0.4,
    ) -> None:
        """Store the options.

        Args:
            samples: Training images that thresholds are balanced on.
            steps: Steps that they are presented for.
            percentile: Of the inputs of a layer at a step, of which the maximum over steps is taken.
            factor: On all thresholds found.
            block_threshold: Threshold in residual blocks.
        """
        self.samples, self.steps, self.percentile = samples, steps, percentile
        self.factor, self.block_threshold = factor, block_threshold

    def __call__(self, network: SpikingNetwork, images: Iterable[Tensor], T: int) -> SpikingNetwork:
        """Balance a network: set the thresholds of neurons that have them, and replace others.

        Args:
            network: With the weights of an analog one.
            images: Batches of training images.
            T: Steps that it is going to be asked for.

        Returns:
            The network.

        Raises:
            SnnError: A layer gets no input.
        """
        return convert_by_spikes(
            network,
            images,
            T,
            neuron=IntegrateAndFire,
            samples=self.samples,
            steps=self.steps,
            percentile=self.percentile,
            block_threshold=self.block_threshold,
            factor=self.factor,
        )
