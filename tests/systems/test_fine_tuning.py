"""What fine-tuning a converted network is good for, on the network that has learnt the digits."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.systems.digits import Digits
from tksbench.snn.biasfree import BiasFreeResNet
from tksbench.snn.encoder import Poisson
from tksbench.snn.kit import Kit
from tksbench.systems.diet_snn import Diet, DietConversion
from tksbench.systems.hybrid_training import STDB, HybridConversion, membrane_cross_entropy


def started(digits: Digits, T: int, neuron: Any, convert: Any, **options: Any) -> BiasFreeResNet:
    """A network of neurons that can be trained, with the ANN's weights and balanced thresholds."""
    network = BiasFreeResNet(
        (2, 2, 2, 2), width=0.0625, img_size=8, dropout=0.0, T=T, kit=Kit(neuron=neuron), **options
    )
    network.load_state_dict(digits.network.state_dict(), strict=False)
    convert(network, [digits.images], T)
    return network


def accuracy(network: BiasFreeResNet, digits: Digits) -> float:
    network.eval()
    with torch.no_grad():
        return digits.accuracy(network(digits.test_images).sum(0))


def tune(network: BiasFreeResNet, digits: Digits, steps: int, lr: float) -> list[float]:
    """Losses of some steps of training."""
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr, amsgrad=True)
    losses = []
    for step in range(steps):
        batch = slice(32 * step, 32 * (step + 1))
        optimizer.zero_grad()
        loss = membrane_cross_entropy(network(digits.images[batch]), digits.labels[batch])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_diet_snn_trains_thresholds_and_leaks_from_where_spikes_reach_the_last_block(digits: Digits) -> None:
    network = started(digits, 5, Diet, DietConversion(samples=64, steps=20))
    rates: list[float] = []
    network.blocks[-1].register_forward_hook(lambda _module, _inputs, out: rates.append(out.mean().item()))
    neurons = [one for one in network.modules() if isinstance(one, Diet)]
    before = [(one.threshold.item(), one.leak.item()) for one in neurons]
    losses = tune(network, digits, 3, 1e-2)
    assert min(rates) > 0  # where nothing fires, nothing can be learnt
    assert all(math.isfinite(one) for one in losses)
    after = [(one.threshold.item(), one.leak.item()) for one in neurons]
    moved = [old != new for pair in zip(before, after, strict=True) for old, new in zip(*pair, strict=True)]
    assert sum(moved) > len(moved) / 2
    accuracy(network, digits)
    assert all(one.leak.item() <= 1 for one in neurons)


@pytest.mark.parametrize("surrogate", ["linear", "stdb"])
def test_hybrid_training_goes_on_from_a_network_that_classifies(digits: Digits, surrogate: Any) -> None:
    convert = HybridConversion(samples=64, steps=40, factor=0.7)
    encoder = Poisson(scale=0.9)
    network = started(digits, 32, lambda: STDB(surrogate=surrogate), convert, encoder=encoder)
    before = accuracy(network, digits)
    assert before > 0.2  # chance is a tenth
    assert all(math.isfinite(one) for one in tune(network, digits, 2, 1e-3))
    assert accuracy(network, digits) > before - 0.1
