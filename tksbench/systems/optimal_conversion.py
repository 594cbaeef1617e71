"""Optimal conversion: a clipped ANN, spikes as high as their threshold, and a shift by half a step of the staircase.

S. Deng and S. Gu, "Optimal conversion of conventional artificial neural networks to spiking neural networks", ICLR
2021 [38]. Formulas are those of the authors' code, Jackn0/snn_optimal_conversion_pipeline: the neuron of
OptConv:spiking_layer.py:32, thresholds and readout of OptConv:models/ResNet20.py:37 and OptConv:main_simulation.py:61.

A layer's rate over T steps is a staircase of its input, floor(T x / V) V / T; where x is uniform in [0, V], its mean
squared error is V^2 / (3 T^2). Shifted by V / (2 T) the staircase rounds, and the error is V^2 / (12 T^2). The shift is
added at every step, so beyond the T that it is meant for it is a bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import torch

from tksbench.component import component
from tksbench.snn.errors import SnnError
from tksbench.snn.integrate import ScaledIntegrateAndFire
from tksbench.snn.kit import ReLU
from tksbench.systems._conversion import is_sum, maxima, neurons_in_order, rectified, replace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import Field
    from torch import Tensor

    from tksbench.snn.layers import SpikingNetwork


@component("neuron", "threshold_relu")
class ThresholdReLU(ReLU):
    """ReLU that is clipped at a threshold; its derivative is 1 from 0 to the threshold, both included."""

    graph_safe = True
    per_sample = True

    def __init__(
        self,
        *,
        threshold: Annotated[float, Field(gt=0)] = 1.0,
        shift_steps: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        """Store the constants.

        Args:
            threshold: Largest output; the paper takes 1 on CIFAR-10 and 2 on CIFAR-100.
            shift_steps: Train with the input lowered by threshold / (2 shift_steps); 0 does not.
        """
        super().__init__()
        self.threshold = threshold
        self.shift = threshold / (2 * shift_steps) if shift_steps else 0.0

    def forward(self, current: Tensor, steps: int | None = None) -> Tensor:
        """Return the clipped input."""
        x = current - self.shift if self.shift else current
        clipped = x.clamp(0.0, self.threshold)
        # Of torch's own clamp the derivative at the bounds is 0 in some versions.
        return torch.where(x == clipped, x, clipped.detach())


@component("convert", "optimal_conversion")
class OptimalConversion:
    """Thresholds are the largest activations of the ANN; inputs are shifted by half a threshold over T."""

    def __init__(
        self,
        *,
        shift: Literal["code", "every", "none"] = "code",
        shift_steps: Annotated[int, Field(ge=0)] = 0,
        readout: Literal["spikes", "membrane"] = "spikes",
        reset: Literal["soft", "hard"] = "soft",
        factor: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        """Store the options.

        Args:
            shift: Where inputs are shifted: as the code does, in all layers but those behind the sum of a residual
                block; in every layer; or nowhere.
            shift_steps: The T that the shift is meant for; 0 is the number of steps of the test.
            readout: Whether the classes spike, as in the code, or sum up their input.
            reset: Whether a spike takes the threshold from the membrane, or all of it.
            factor: On all thresholds.
        """
        self.shift, self.shift_steps, self.readout = shift, shift_steps, readout
        self.reset, self.factor = reset, factor

    def __call__(self, network: SpikingNetwork, images: Iterable[Tensor], T: int) -> SpikingNetwork:
        """Convert a network of ReLU or threshold-ReLU neurons, in place.

        Args:
            network: The trained network.
            images: Batches of training images; all are used.
            T: Steps that it is going to be asked for.

        Returns:
            The network.

        Raises:
            SnnError: It cannot be converted, or is silent somewhere on all training images.
        """
        rectified(network)
        batches = iter(images)
        first = next(batches, None)
        if first is None:
            raise SnnError("a conversion needs training images, and was given none")
        names = neurons_in_order(network, first)
        classes = self._classes(network)
        found = maxima(network, [*names, *classes], _chained(first, batches))
        for name in names:
            shifted = self.shift == "every" or (self.shift == "code" and not is_sum(network, name))
            replace(network, name, self._neuron(found[name], T, shifted))
        for name in classes:
            network.readout = self._neuron(found[name], T, self.shift != "none").to(first.device)
        network.T = T
        return network

    def _neuron(self, largest: float, T: int, shifted: bool) -> ScaledIntegrateAndFire:
        threshold = self.factor * largest
        shift = threshold / (2 * (self.shift_steps or T)) if shifted else 0.0
        return ScaledIntegrateAndFire(threshold, shift=shift, reset=self.reset, at_threshold=True)

    def _classes(self, network: SpikingNetwork) -> list[str]:
        """The name of the linear layer whose outputs spike, if they do."""
        if self.readout == "membrane":
            return []
        if not hasattr(network, "readout"):
            kind = type(network).__name__
            raise SnnError(
                f"{kind}: its classes cannot spike; convert it with readout membrane, or use a biasfree network"
            )
        return ["fc"]


def _chained(first: Tensor, rest: Iterable[Tensor]) -> Iterable[Tensor]:
    yield first
    yield from rest
