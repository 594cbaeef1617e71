"""Hybrid training: an ANN is converted by balancing thresholds, and the spiking network is trained on from there.

N. Rathi, G. Srinivasan, P. Panda and K. Roy, "Enabling deep spiking neural networks with hybrid conversion and spike
timing dependent backpropagation", ICLR 2020 [36]. Formulas are those of nitin-rathi/hybrid-snn-conversion:
neuron and encoder of Hybrid:self_models/resnet_spiking.py and Hybrid:self_models/vgg_spiking.py, conversion and
surrogates of Hybrid:snn.py. Where
text and code differ there is a key for it: STDB is what the paper is about, and `linear` what the code does by default.

- The logits are the last layer's membrane after T steps: a sum of inputs, not their mean.
- In residual blocks thresholds stay 1, unscaled; only the stem is balanced.
- Thresholds are not trained.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from tksbench.component import component
from tksbench.snn.integrate import IntegrateAndFire
from tksbench.systems._conversion import convert_by_spikes
from tksbench.systems._soft_reset import SoftReset

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import Field

    from tksbench.snn.encoder import Encoder
    from tksbench.snn.layers import SpikingNetwork


@component("neuron", "stdb")
class STDB(SoftReset):
    """Fires from the membrane before a step's input, strictly above the threshold, with soft reset."""

    spiking = True
    graph_safe = True
    per_sample = True

    def __init__(
        self,
        *,
        threshold: Annotated[float, Field(gt=0)] = 1.0,
        leak: Annotated[float, Field(gt=0, le=1)] = 1.0,
        surrogate: Literal["linear", "stdb", "stdb_code"] = "linear",
        scale: Annotated[float, Field(gt=0)] = 0.3,
        decay: Annotated[float, Field(gt=0)] = 0.01,
    ) -> None:
        """Store the constants.

        Args:
            threshold: What a layer has until a conversion balances it.
            leak: What is left of the membrane after a step.
            surrogate: Derivative of the spikes: triangle of half-width 1, or decaying with the time since the neuron's
                last spike as the text has it, or that as the code computes it.
            scale: Its peak.
            decay: Rate of the decay, a step.
        """
        super().__init__("fire", surrogate, scale, decay)
        self.leak = leak
        self.register_buffer("threshold", torch.tensor(float(threshold)))


@component("method", "membrane_cross_entropy")
def membrane_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of the last membrane: of the sum of the outputs over time."""
    return F.cross_entropy(logits.sum(0), target)


@component("convert", "hybrid_training")
class HybridConversion:
    """Thresholds are the largest weighted inputs that spikes bring on training images, all scaled by one factor."""

    def __init__(
        self,
        *,
        samples: Annotated[int, Field(ge=1)] = 512,
        steps: Annotated[int, Field(ge=1)] = 1000,
        percentile: Annotated[float, Field(gt=0, le=100)] = 100.0,
        factor: Annotated[float, Field(gt=0)] = 0.7,
        block_threshold: Annotated[float, Field(gt=0)] = 1.0,
        encoder: Annotated[Encoder | None, "encoder"] = None,
    ) -> None:
        """Store the options.

        Args:
            samples: Training images that thresholds are balanced on.
            steps: Steps that they are presented for.
            percentile: Of the inputs at a step; 100 is the maximum.
            factor: On all thresholds found.
            block_threshold: Threshold in residual blocks.
            encoder: What makes spikes of images; none leaves the network the encoder that it has.
        """
        self.samples, self.steps, self.percentile = samples, steps, percentile
        self.factor, self.block_threshold, self.encoder = factor, block_threshold, encoder

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
            neuron=partial(IntegrateAndFire, first="fire"),
            encoder=self.encoder,
            samples=self.samples,
            steps=self.steps,
            percentile=self.percentile,
            block_threshold=self.block_threshold,
            factor=self.factor,
        )
