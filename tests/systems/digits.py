"""A small network that has learnt scikit-learn's digits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from tksbench.snn.biasfree import BiasFreeResNet
from tksbench.snn.kit import Kit, ReLU


@dataclass(frozen=True)
class Digits:
    """The network and its images, [N, 3, 8, 8] around 0."""

    network: BiasFreeResNet
    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    def accuracy(self, logits: Tensor) -> float:
        """Share of the test images that logits [N, C] have right."""
        return float((logits.argmax(-1) == self.test_labels).double().mean())

    def analog(self) -> Tensor:
        """Logits of the test images."""
        with torch.no_grad():
            return self.network(self.test_images)[0]  # type: ignore[no-any-return]


def trained() -> Digits:
    """Train ResNet-20 with four channels in its stem for a few epochs."""
    found = load_digits()
    x = torch.tensor(found.images, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1) / 8 - 1
    y = torch.tensor(found.target)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(x), generator=generator)
    x, y = x[order].contiguous(memory_format=torch.channels_last), y[order]
    torch.manual_seed(42)
    network = BiasFreeResNet((2, 2, 2, 2), width=0.0625, img_size=8, dropout=0.0, kit=Kit(neuron=ReLU))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(EPOCHS):
        for batch in torch.randperm(TRAIN, generator=generator).split(32):
            optimizer.zero_grad()
            F.cross_entropy(network(x[batch])[0], y[batch]).backward()
            optimizer.step()
    return Digits(network.eval(), x[:TRAIN], y[:TRAIN], x[TRAIN : TRAIN + 200], y[TRAIN : TRAIN + 200])


TRAIN, EPOCHS = 1200, 8
