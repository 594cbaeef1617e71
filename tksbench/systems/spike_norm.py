"""SPIKE-NORM: layer-wise thresholds from the spikes of the network that is being converted.

A. Sengupta, Y. Ye, R. Wang, C. Liu and K. Roy, "Going deeper in spiking neural networks: VGG and residual
architectures", Frontiers in Neuroscience 13, 2019 [43]. There is no public code; the balancing loop is the one of the
same group's `find_threshold` (nitin-rathi/hybrid-snn-conversion and DIET-SNN), neuron and encoder as later papers of
the group describe them. Whether a membrane at the threshold fires is not known; here it does not.

Layer by layer, with the thresholds below it fixed, a threshold is the largest weighted input that spikes bring in so
many steps. In residual blocks both ways into the sum have to carry the same unit, so thresholds there are 1.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from tksbench.component import component
from tksbench.snn.integrate import IntegrateAndFire
from tksbench.systems._conversion import convert_by_spikes, rectified

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import Field
    from torch import Tensor

    from tksbench.snn.encoder import Encoder
    from tksbench.snn.layers import SpikingNetwork


@component("convert", "spike_norm")
class SpikeNorm:
    """Integrate-and-fire neurons with hard reset, thresholds balanced by spikes."""

    def __init__(
        self,
        *,
        samples: Annotated[int, Field(ge=1)] = 512,
        steps: Annotated[int, Field(ge=1)] = 2500,
        block_threshold: Annotated[float, Field(gt=0)] = 1.0,
        reset: Literal["hard", "soft"] = "hard",
        encoder: Annotated[Encoder | None, "encoder"] = None,
    ) -> None:
        """Store the options.

        Args:
            samples: Training images that thresholds are balanced on.
            steps: Steps that they are presented for.
            block_threshold: Threshold in residual blocks.
            reset: Whether a spike takes all of the membrane, or the threshold.
            encoder: What makes spikes of images; none shows the image itself at every step.
        """
        self.samples, self.steps, self.block_threshold = samples, steps, block_threshold
        self.reset, self.encoder = reset, encoder

    def __call__(self, network: SpikingNetwork, images: Iterable[Tensor], T: int) -> SpikingNetwork:
        """Convert a network of ReLU neurons, in place.

        Args:
            network: The trained network.
            images: Batches of training images.
            T: Steps that it is going to be asked for.

        Returns:
            The network.

        Raises:
            SnnError: It has other neurons, or a layer gets no input in so many steps.
        """
        rectified(network)
        return convert_by_spikes(
            network,
            images,
            T,
            neuron=partial(IntegrateAndFire, reset=self.reset),
            encoder=self.encoder,
            samples=self.samples,
            steps=self.steps,
            block_threshold=self.block_threshold,
        )
