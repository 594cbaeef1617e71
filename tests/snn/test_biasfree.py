"""The bias-free networks: counts to the digit, shapes, coding, and readings over time."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

import tksbench.snn  # noqa: F401
from tksbench.snn.biasfree import BiasFreeNetwork
from tksbench.snn.cost import measure_cost
from tksbench.snn.encoder import Poisson
from tksbench.snn.errors import SnnError
from tksbench.snn.integrate import IntegrateAndFire, ScaledIntegrateAndFire
from tksbench.snn.kit import Kit, ReLU
from tksbench.snn.neuron import Neuron
from tksbench.snn.overtime import BLOCK, at_once, grid, outputs_at, parts

PARAMETERS = [
    ("biasfree_resnet20", {"num_classes": 10}, 11_253_440, 19),
    ("biasfree_resnet20", {"num_classes": 100}, 11_437_760, 19),
    ("biasfree_resnet20", {"num_classes": 1000}, 13_280_960, 19),
    ("biasfree_resnet20", {"num_classes": 10, "width": 0.125}, 178_264, 19),
    ("biasfree_resnet20", {"num_classes": 10, "width": 0.25}, 707_504, 19),
    ("biasfree_resnet34", {"num_classes": 1000}, 21_845_696, 35),
    ("biasfree_vgg11", {"num_classes": 100}, 21_116_608, 11),
    ("biasfree_vgg11", {"num_classes": 100, "form": "ann"}, 36_562_624, 10),
    ("biasfree_vgg16", {"num_classes": 100}, 40_285_888, 15),
]

ANALOG = Kit(neuron=ReLU)


def build(name: str = "biasfree_resnet20", kit: Kit = ANALOG, **options: Any) -> BiasFreeNetwork:
    torch.manual_seed(0)
    options = {"num_classes": 5, "width": 0.0625, "img_size": 16} | options
    network = timm.create_model(name, kit=kit, **options)
    assert isinstance(network, BiasFreeNetwork)
    return network


def images(count: int = 2, side: int = 16) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "options", "count", "neurons"), PARAMETERS)
def test_parameters_and_layers(name: str, options: dict[str, Any], count: int, neurons: int) -> None:
    with torch.device("meta"):
        network = timm.create_model(name, kit=Kit(neuron=ReLU), **options)
    assert sum(one.numel() for one in network.parameters()) == count
    assert sum(isinstance(one, Neuron) for one in network.modules()) == neurons
    assert not [key for key, _ in network.named_parameters() if "bias" in key]


def test_sizes_of_the_network_for_224_pixels() -> None:
    sides: list[int] = []
    with torch.device("meta"):
        network = timm.create_model("biasfree_resnet34", kit=Kit(neuron=ReLU), width=0.0625, dropout=0.0)
        for module in (network.stem[2], *network.blocks):
            module.register_forward_hook(lambda _module, _inputs, out: sides.append(out.shape[-1]))
        assert network(torch.empty(1, 3, 224, 224)).shape == (1, 1, 1000)
    assert sides == [224, *[74] * 3, *[37] * 4, *[19] * 6, *[10] * 3]
    assert network.fc.in_features == 32  # 7 x 7 pooled to one pixel, 512 channels at width 1


@pytest.mark.parametrize("name", ["biasfree_resnet20", "biasfree_resnet34", "biasfree_vgg11", "biasfree_vgg16"])
def test_small_images_go_through_every_network(name: str) -> None:
    network = build(name)
    network(images()).sum().backward()
    assert all(one.grad is not None for one in network.parameters())


def test_weights_begin_as_in_the_authors_code() -> None:
    network = build(width=0.5, num_classes=100)
    conv = network.get_submodule("blocks.7.conv2")
    assert isinstance(conv, nn.Conv2d)
    assert conv.weight.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)
    assert network.get_submodule("fc").get_parameter("weight").std().item() == pytest.approx(0.01, rel=0.05)

    for width in (0.25, 0.5):
        linear = build("biasfree_vgg11", width=width, img_size=32).get_submodule("hidden.0.synapses")
        gain = linear.get_parameter("weight").std().item() * linear.get_parameter("weight").shape[1] ** 0.5
        assert gain == pytest.approx(0.01 * 8192**0.5, rel=0.05)


def test_an_encoder_is_what_the_network_sees() -> None:
    plain, coded = build(T=3).eval(), build(T=3, encoder=Poisson(scale=0.9)).eval()
    spikes = Poisson(scale=0.9).eval()(images(), 3)
    assert torch.equal(coded(images()), plain(spikes.transpose(0, 1)))


@pytest.mark.parametrize(("options", "message"), [({"dropout": 1.0}, "p is 1.0"), ({"img_size": 1}, "img_size is 1")])
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SnnError, match=message):
        build(**options)


def test_grid_has_two_numbers_in_each_octave_and_the_last() -> None:
    assert grid(1) == [1]
    assert grid(20) == [1, 2, 3, 4, 6, 8, 12, 16, 20]
    assert grid(2500)[-3:] == [1536, 2048, 2500]
    with pytest.raises(ValueError, match="0 steps: at least 1"):
        grid(0)


def test_parts_are_smaller_for_more_or_larger_images() -> None:
    assert list(parts(16, 70)) == [32, 32, 6]
    assert list(parts(512, 9)) == [4, 4, 1]
    assert list(parts(512, 3, 224 * 224)) == [1, 1, 1]
    assert at_once(torch.empty(600, 3, 224, 224, device="meta")) == 41


def test_one_pass_gives_what_passes_of_each_length_give() -> None:
    steps = 2 * BLOCK + 5
    network = build(kit=Kit(neuron=lambda: IntegrateAndFire(0.05)), encoder=Poisson()).eval()
    found = outputs_at(network, images(), [1, 4, BLOCK, BLOCK + 1, steps])
    with torch.no_grad():
        whole = network.present(images(), steps).double().cumsum(0)
    assert whole.abs().sum() > 0
    torch.testing.assert_close(found, whole[[0, 3, BLOCK - 1, BLOCK, steps - 1]], rtol=1e-5, atol=1e-5)


def test_a_layer_never_holds_more_steps_at_once_however_many_there_are() -> None:
    network = build(kit=Kit(neuron=lambda: IntegrateAndFire(0.05)), encoder=Poisson()).eval()
    seen = []
    for module in network.modules():
        if isinstance(module, Neuron | Poisson):
            module.register_forward_hook(lambda _module, _inputs, out: seen.append(out.untyped_storage().nbytes()))
    most = []
    for steps in (BLOCK, 5 * BLOCK):
        assert len(outputs_at(network, images(), [1, steps])) == 2
        most.append(max(seen))
    assert most[0] == most[1]


def test_images_of_another_size_are_refused() -> None:
    for name in ("biasfree_resnet20", "biasfree_vgg11"):
        with pytest.raises(SnnError, match="the input is 20x20; this network was built for img_size 16x16"):
            build(name)(images(side=20))


def test_neurons_that_cannot_go_on_are_refused() -> None:
    with pytest.raises(SnnError, match="ReLU: these neurons begin anew at each call"):
        outputs_at(build(), images(), [2])


@pytest.mark.parametrize("neuron", [IntegrateAndFire, ScaledIntegrateAndFire])
def test_cost_is_counted_in_parts_and_a_spike_is_one_whatever_its_height(neuron: type[IntegrateAndFire]) -> None:
    steps = 2 * BLOCK + 5
    network = build("biasfree_vgg11", kit=Kit(neuron=lambda: neuron(0.03)), T=steps)
    cost = measure_cost(network, images())
    first, second = cost["layers"][:2]
    assert (cost["steps"], first["macs"], first["synops"]) == (steps, 16 * 16 * 4 * 27, 0)  # an image is convolved once
    rate = cost["lif_layers"][0]["spike_rate"]
    assert 0 < rate < 1
    assert second["input_rate"] == pytest.approx(rate)  # an average of four spikes is a quarter of each
    assert (second["macs"], second["synops"]) == (0, pytest.approx(steps * 8 * 8 * 8 * 36 * rate))


def test_cost_of_coded_images_counts_spikes_of_either_sign() -> None:
    network = build("biasfree_vgg11", kit=Kit(neuron=lambda: IntegrateAndFire(0.03)), T=40, encoder=Poisson())
    first = measure_cost(network, images())["layers"][0]
    share = network.encoder(images(), 40).abs().mean().item()  # type: ignore[misc]
    assert (first["macs"], first["synops"]) == (0, pytest.approx(40 * 16 * 16 * 4 * 27 * share, rel=0.02))
