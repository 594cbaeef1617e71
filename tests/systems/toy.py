"""Two linear layers of three and two units, whose spikes can be computed by hand."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tksbench.snn.encoder import Encoder
from tksbench.snn.kit import ReLU
from tksbench.snn.layers import SpikingNetwork
from tksbench.snn.neuron import Neuron

FIRST = [[0.625, -0.375], [0.25, 0.875], [-0.5, 0.75]]
SECOND = [[0.75, -0.25, 0.5], [-0.25, 0.625, 0.375]]
ACTIVATIONS = (0.28125, 0.625, 0.0)
"""Of the first layer, on the image (0.75, 0.5)."""
SPIKES = ((1, 0), (0, 1), (1, 1), (1, 0), (0, 1), (1, 1), (0, 0), (1, 1))


class Given(Encoder):
    """The spikes above, whatever the image."""

    def forward(self, images: Tensor, steps: int) -> Tensor:
        begin = 0 if self.carried is None else int(self.carried.get("begin", 0))  # type: ignore[call-overload]
        if self.carried is not None:
            self.carried["begin"] = begin + steps
        spikes = torch.tensor(SPIKES[begin : begin + steps], dtype=images.dtype)
        return spikes.view(steps, 1, 2, 1, 1).expand(steps, len(images), 2, 1, 1)


class Toy(SpikingNetwork):
    """linear, neurons, linear, and neurons again if the classes spike."""

    def __init__(self, neuron: Callable[[], Neuron] = ReLU) -> None:
        super().__init__(2, 1, 2, 1.0)
        self.fc1, self.neuron1, self.fc = nn.Linear(2, 3, bias=False), neuron(), nn.Linear(3, 2, bias=False)
        self.readout: Neuron | None = None
        with torch.no_grad():
            self.fc1.weight.copy_(torch.tensor(FIRST))
            self.fc.weight.copy_(torch.tensor(SECOND))

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        x = self.fc1(x.flatten(1))
        x = x.repeat(repeats, 1) if repeats > 1 else x
        logits: Tensor = self.fc(self.neuron1(x, steps))
        return logits if self.readout is None else self.readout(logits, steps)
