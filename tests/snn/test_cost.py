"""MACs and neurons against the paper's numbers; synaptic operations against a network counted by hand."""

from __future__ import annotations

import json

import pytest
import timm
import torch

import tksbench.snn  # noqa: F401
from tksbench.snn.cost import measure_cost
from tksbench.snn.layers import SpikingNetwork
from tksbench.snn.neuron import LIF

COSTS = [
    ("spiking_resnet19", 32, 2.285, 1.44),
    ("sew_resnet19", 32, 2.2165, 1.61),
    ("sew_resnet18", 224, 1.814, 2.48),
    ("sew_resnet34", 224, 3.664, 3.74),
    ("sew_resnet50", 224, 4.089, 11.11),
    ("vgg_snn", 48, 1.362, 0.92),
]


@pytest.mark.parametrize(("name", "size", "gmacs", "mega_neurons"), COSTS)
def test_dense_cost_of_a_step(name: str, size: int, gmacs: float, mega_neurons: float) -> None:
    model = timm.create_model(name, T=1)
    cost = measure_cost(model, torch.zeros(1, model.in_chans, size, size))
    assert cost["macs_per_step"] / 1e9 == pytest.approx(gmacs, abs=6e-4)
    assert cost["neurons"] / 1e6 == pytest.approx(mega_neurons, abs=6e-3)


def small_vgg() -> torch.nn.Module:
    torch.manual_seed(0)
    model = timm.create_model("vgg_snn", width=0.0625, img_size=16, T=3)
    model(4 * torch.rand(4, 3, 2, 16, 16))  # running statistics that let spikes through
    return model


def test_synaptic_operations_follow_the_spikes() -> None:
    model = small_vgg()
    cost = measure_cost(model, 4 * torch.rand(4, 3, 2, 16, 16))
    first, second = cost["layers"][0], cost["layers"][1]
    # 4 and 8 channels; 16x16 outputs, 3x3 kernels, 3 steps; the second layer reads the first neurons' spikes
    assert first["macs"] == 3 * 16 * 16 * 4 * (2 * 9)
    assert first["synops"] == 0
    assert second["macs"] == 0
    assert second["input_rate"] == pytest.approx(cost["lif_layers"][0]["spike_rate"])
    assert second["input_rate"] > 0
    assert second["synops"] == pytest.approx(3 * 16 * 16 * 8 * (4 * 9) * second["input_rate"])


def test_energy_is_that_of_macs_and_accumulates() -> None:
    cost = measure_cost(small_vgg(), 4 * torch.rand(4, 3, 2, 16, 16))
    assert cost["energy_mj"] == pytest.approx((4.6 * cost["macs"] + 0.9 * cost["synops"]) * 1e-9)
    assert cost["synops"] == pytest.approx(sum(layer["synops"] for layer in cost["layers"]))


def test_a_static_image_is_convolved_once() -> None:
    model = small_vgg()
    static, frames = torch.rand(4, 2, 16, 16), torch.rand(4, 3, 2, 16, 16)
    once, each = measure_cost(model, static), measure_cost(model, frames)
    assert once["macs"] * 3 == each["macs"]
    assert once["neurons"] == each["neurons"]
    assert once["steps"] == each["steps"] == 3


def test_spike_rate_counts_every_neuron_and_step() -> None:
    cost = measure_cost(small_vgg(), 4 * torch.rand(4, 3, 2, 16, 16))
    total = sum(layer["spike_rate"] * layer["neurons"] for layer in cost["lif_layers"])
    assert cost["spike_rate"] == pytest.approx(total / cost["neurons"])
    assert 0 < cost["spike_rate"] < 1


def test_measuring_changes_nothing_in_the_model() -> None:
    model = small_vgg()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    measure_cost(model, torch.rand(4, 3, 2, 16, 16))
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_the_result_is_plain_json() -> None:
    cost = measure_cost(small_vgg(), torch.rand(1, 3, 2, 16, 16))
    assert json.loads(json.dumps(cost)) == cost


class Factors(torch.nn.Module):
    """Multiplies what it is sent, as an attention does."""

    factors = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 0.7


class Mixed(SpikingNetwork):
    """Spikes, averaged, then scaled, then averaged over time by a convolution over all steps."""

    def __init__(self) -> None:
        super().__init__(2, 3, 1, 1.0)
        self.first, self.neurons = torch.nn.Conv2d(1, 2, 1), LIF()
        self.second = torch.nn.Conv2d(2, 2, 1)
        self.factors_, self.third = Factors(), torch.nn.Conv2d(2, 2, 1)
        self.whole = torch.nn.Conv3d(2, 2, (3, 1, 1), padding=(1, 0, 0))

    def classify(self, x: torch.Tensor, steps: int, repeats: int) -> torch.Tensor:
        spikes = torch.nn.functional.avg_pool2d(self.neurons(self.first(x.repeat(repeats, 1, 1, 1)), steps), 2)
        y = self.second(spikes) + self.third(self.factors_(spikes))
        y = self.whole(y.view(steps, -1, *y.shape[1:]).permute(1, 2, 0, 3, 4)).permute(2, 0, 1, 3, 4).flatten(0, 1)
        return y.flatten(1)


def test_averaged_spikes_are_spikes_and_scaled_ones_are_analog() -> None:
    torch.manual_seed(0)
    network = Mixed()
    torch.nn.init.constant_(network.first.weight, 4.0)
    cost = measure_cost(network, torch.rand(2, 1, 2, 2))
    layers = {layer["name"]: layer for layer in cost["layers"]}
    assert [layers[name]["kind"] for name in ("first", "factors_", "whole")] == ["conv", "product", "conv"]
    assert layers["second"]["macs"] == 0
    assert 0 < layers["second"]["synops"] <= 3 * 4
    assert layers["third"]["macs"] == 3 * 4
    assert layers["factors_"]["macs"] == 3 * 2
    assert layers["whole"]["macs"] == 3 * 2 * (2 * 3)
    assert layers["whole"]["macs_per_step"] == 2 * (2 * 3)
    assert cost["macs"] == sum(layer["macs"] for layer in cost["layers"])
