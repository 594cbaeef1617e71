"""RMP-SNN: the residual membrane potential is kept at a spike, and thresholds are scaled down for it.

B. Han, G. Srinivasan and K. Roy, "RMP-SNN: Residual membrane potential neuron for enabling deeper high-accuracy and
low-latency spiking neural network", CVPR 2020 [37]. There is no public code, and the factors on the thresholds are not
known: by default one is chosen here on training images, without labels, by how often the spiking network agrees with
the ANN. Residual blocks keep threshold 1, as in the same group's code; or every layer is balanced, and spikes are as
high as their threshold, so that both ways into the sum of a block have one unit.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from tksbench.component import component
from tksbench.snn.integrate import IntegrateAndFire, ScaledIntegrateAndFire
from tksbench.snn.overtime import outputs_at
from tksbench.systems._conversion import convert_by_spikes, evaluating, rectified

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pydantic import Field
    from torch import Tensor

    from tksbench.snn.encoder import Encoder
    from tksbench.snn.layers import SpikingNetwork

FACTORS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Factors that are tried."""
log = logging.getLogger("tksbench.systems")


@component("convert", "rmp_snn")
class RMP:
    """Integrate-and-fire neurons with soft reset; thresholds balanced by spikes, and scaled by one factor."""

    def __init__(
        self,
        *,
        samples: Annotated[int, Field(ge=1)] = 512,
        steps: Annotated[int, Field(ge=1)] = 1000,
        factor: Annotated[float, Field(ge=0)] = 0.0,
        reset: Literal["soft", "hard"] = "soft",
        spikes: Literal["unit", "threshold"] = "unit",
        encoder: Annotated[Encoder | None, "encoder"] = None,
    ) -> None:
        """Store the options.

        Args:
            samples: Training images that thresholds are balanced on.
            steps: Steps that they are presented for.
            factor: On all thresholds; 0 chooses among 0.5, 0.6, ... 1.0 on the same images.
            reset: Whether a spike takes the threshold from the membrane, or all of it.
            spikes: Whether a spike is passed on as 1 and residual blocks keep threshold 1, or as its threshold.
            encoder: What makes spikes of images; none shows the image itself at every step.
        """
        self.samples, self.steps, self.factor = samples, steps, factor
        self.reset, self.spikes, self.encoder = reset, spikes, encoder

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
        unit = self.spikes == "unit"
        return convert_by_spikes(
            network,
            images,
            T,
            neuron=partial(IntegrateAndFire if unit else ScaledIntegrateAndFire, reset=self.reset),
            encoder=self.encoder,
            samples=self.samples,
            steps=self.steps,
            block_threshold=1.0 if unit else None,
            factor=self.factor or partial(_chosen, network, T),
        )


def _chosen(network: SpikingNetwork, T: int, scaled: Callable[[float], SpikingNetwork], images: Tensor) -> float:
    """The factor with which the spiking network agrees most often with the analog one; of equals, the largest."""
    with evaluating(network):
        wanted = network.present(images, 1)[0].argmax(-1)
    agree: dict[float, float] = {}
    for factor in FACTORS:
        twin = scaled(factor)
        with evaluating(twin):
            agree[factor] = float((outputs_at(twin, images, [T])[0].argmax(-1) == wanted).double().mean())
    best = max(FACTORS, key=lambda factor: (agree[factor], factor))
    shares = ", ".join(f"{factor:g}: {share:.1%}" for factor, share in agree.items())
    log.info(
        "factor on the thresholds %g; it agrees with the analog network on these shares of images: %s", best, shares
    )
    return best
