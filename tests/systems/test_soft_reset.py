"""Neurons of hybrid training [36] and Diet-SNN [42] that can be trained: spikes, surrogates, gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tksbench.snn.biasfree import biasfree_resnet20
from tksbench.snn.kit import Kit
from tksbench.snn.overtime import continued
from tksbench.systems._soft_reset import SoftReset, linear, stdb, stdb_code
from tksbench.systems.diet_snn import Diet
from tksbench.systems.hybrid_training import STDB, membrane_cross_entropy


def as_string(spikes: torch.Tensor) -> str:
    return "".join(str(int(one)) for one in spikes.flatten())


@pytest.mark.parametrize(
    ("neuron", "current", "spikes", "membrane"),
    [
        (STDB(), 0.375, "000100100101", 0.5),
        (Diet(threshold=1.0), 0.375, "001001001010", 0.5),
        (STDB(leak=0.99), 0.375, "000100100101", 0.406732566),
        (Diet(threshold=1.0, leak=0.9), 0.375, "001001001001", 0.043027749),
        (STDB(), 0.5, "000101", None),
        (Diet(threshold=1.0), 0.5, "001010", None),
        (STDB(threshold=0.5), 0.75, "01111111", 2.5),
        (Diet(threshold=0.5), 0.75, "11111111", 2.0),
        (STDB(), 0.625, "00101", 1.125),
        (Diet(threshold=1.0), 0.625, "0101", 0.5),
    ],
)
def test_spike_trains(neuron: SoftReset, current: float, spikes: str, membrane: float | None) -> None:
    with continued(neuron.double()), torch.no_grad():
        found = neuron(torch.full((len(spikes), 1), current, dtype=torch.float64))
        assert as_string(found) == spikes
        if membrane is not None:
            assert neuron.carried is not None
            assert neuron.carried["u"].item() == pytest.approx(membrane, abs=1e-7)  # a leak is float32


def test_linear_surrogate() -> None:
    z = torch.tensor([-1.5, -1, -0.5, -0.1, 0, 0.25, 0.5, 1, 2], dtype=torch.float64)
    assert linear(z, 0.3).tolist() == pytest.approx([0, 0, 0.15, 0.27, 0.3, 0.225, 0.15, 0, 0])


@pytest.mark.parametrize(
    ("since", "value"),
    [
        (0, 0.3),
        (1, 0.297014950),
        (5, 0.285368827),
        (10, 0.271451225),
        (50, 0.181959198),
        (100, 0.110363832),
        (250, 0.024625500),
    ],
)
def test_stdb_as_the_text_has_it(since: int, value: float) -> None:
    assert stdb(torch.tensor(float(since), dtype=torch.float64), 0.3, 0.01).item() == pytest.approx(value, abs=1e-9)


def test_stdb_as_the_code_has_it_underflows() -> None:
    since = torch.arange(98.0)
    torch.testing.assert_close(stdb_code(since, 0.3, 0.01), stdb(since, 0.3, 0.01), rtol=0, atol=1e-5)
    late = stdb_code(torch.tensor([100.0, 103.0, 104.0, 250.0]), 0.3, 0.01)
    assert late.tolist() == pytest.approx([0.110382, 0.106804, 0, 0], abs=1e-6)


def gradients(neuron: SoftReset, steps: int) -> tuple[str, float, torch.Tensor]:
    """Spikes, and dw, of the sum of the spikes of one neuron with input w * 0.625 and w = 1."""
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    spikes = neuron.double()(weight * torch.full((steps, 1), 0.625, dtype=torch.float64))
    spikes.sum().backward()
    assert weight.grad is not None
    return as_string(spikes.detach()), weight.grad.item(), weight


def test_gradients_of_weight_threshold_and_leak() -> None:
    neuron = Diet(threshold=1.0)
    spikes, of_weight, _ = gradients(neuron, 4)
    assert (spikes, of_weight) == ("0101", pytest.approx(1.265625, abs=1e-9))
    assert neuron.threshold.grad is not None and neuron.leak.grad is not None
    assert neuron.threshold.grad.item() == pytest.approx(-1.265625, abs=1e-9)
    assert neuron.leak.grad.item() == pytest.approx(0.6328125, abs=1e-9)


@pytest.mark.parametrize(("surrogate", "expected"), [("linear", 1.265625), ("stdb_code", 1.2920520365)])
def test_gradients_of_firing_first(surrogate: Any, expected: float) -> None:
    spikes, of_weight, _ = gradients(STDB(surrogate=surrogate), 5)
    assert (spikes, of_weight) == ("00101", pytest.approx(expected, abs=1e-7))


def test_the_first_spike_of_a_neuron_carries_next_to_no_gradient() -> None:
    for surrogate, most in (("stdb_code", 0.0), ("stdb", 1e-4)):
        spikes, of_weight, _ = gradients(STDB(surrogate=surrogate), 3)  # type: ignore[arg-type]
        assert spikes == "001"
        assert 0 <= of_weight <= most
    assert math.exp(-0.01 * 999) < 1e-4


def test_time_since_the_last_spike_goes_on_in_parts() -> None:
    current = torch.full((7, 1), 0.625, dtype=torch.float64)
    neuron = STDB(surrogate="stdb").double()
    with continued(neuron), torch.no_grad():
        joined = torch.cat([neuron(current[:3]), neuron(current[3:])])
        assert neuron.carried is not None
        assert neuron.carried["since"].item() == 2
    with torch.no_grad():
        assert torch.equal(joined, neuron(current))


def test_leaks_are_one_at_most() -> None:
    neuron = Diet(leak=0.9)
    with torch.no_grad():
        neuron.leak.fill_(1.2)
    neuron(torch.ones(2, 3))
    assert neuron.leak.item() == 1.0


def test_thresholds_and_leaks_are_counted_with_the_weights() -> None:
    with torch.device("meta"):
        network = biasfree_resnet20(num_classes=100, kit=Kit(neuron=Diet))
    assert sum(one.numel() for one in network.parameters()) == 11_437_760 + 38


@pytest.mark.parametrize(("first", "silent"), [("integrate", False), ("fire", True)])
def test_no_spike_crosses_eleven_layers_in_five_steps_if_each_fires_first(first: Any, silent: bool) -> None:
    torch.manual_seed(0)
    kit = Kit(neuron=lambda: Diet(threshold=0.05, first=first))
    network = biasfree_resnet20(num_classes=5, T=5, width=0.0625, img_size=16, kit=kit).eval()
    with torch.no_grad():
        logits = network(torch.randn(4, 3, 16, 16))
    assert bool((logits == 0).all()) == silent


def test_the_loss_is_of_the_last_membrane() -> None:
    logits, target = torch.randn(4, 3, 5), torch.tensor([0, 1, 4])
    assert torch.equal(membrane_cross_entropy(logits, target), F.cross_entropy(logits.sum(0), target))
