from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import nn

from tksbench.estimate.model import estimate_disk_bytes, estimate_gpu_hours
from tksbench.recipe import RunSpec, catalogue
from tksbench.snn.kit import Kit
from tksbench.snn.neuron import Neuron


def _spec(data: str, model: str, T: int = 4, epochs: int = 600, profile: str = "A", **more: object) -> RunSpec:
    numerics = {"precision": "tf32", "neuron": "reference"} if profile == "A" else {"precision": "bf16"}
    return RunSpec.model_validate(
        {
            "data": {"name": data, "augment": "none", **more},
            "model": {"name": model, "T": T},
            "method": {"name": "tks"},
            "optim": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.0, "epochs": epochs, "batch_size": 128},
            "numerics": numerics,
        }
    )


@pytest.mark.parametrize(
    ("data", "model", "T", "epochs", "eager", "fused"),
    [  # the reproduction's own table of estimates, GPU-hours a run
        ("cifar10", "spiking_resnet19", 4, 600, 9.8, 3.2),
        ("cifar10", "sew_resnet19", 4, 600, 10.3, 3.3),
        ("dvs_cifar10", "vgg_snn", 10, 600, 2.9, 0.9),
        ("ncaltech101", "vgg_snn", 10, 600, 2.5, 0.8),
        ("cub", "sew_resnet18", 4, 600, 1.6, 0.5),
        ("dogs", "sew_resnet34", 4, 600, 5.2, 1.6),
        ("cars", "sew_resnet34", 4, 600, 3.6, 1.1),
        ("imagenet", "sew_resnet34", 4, 120, 106, 31),
        ("imagenet", "sew_resnet50", 4, 320, 694, 169),
    ],
)
def test_hours_are_those_of_the_published_model(
    data: str, model: str, T: int, epochs: int, eager: float, fused: float
) -> None:
    assert estimate_gpu_hours(_spec(data, model, T, epochs)) == pytest.approx(eager, rel=0.05)
    assert estimate_gpu_hours(_spec(data, model, T, epochs, "B")) == pytest.approx(fused, rel=0.08)


def test_half_the_data_costs_less_than_two_thirds() -> None:
    whole = estimate_gpu_hours(_spec("cifar10", "spiking_resnet19"))
    half = estimate_gpu_hours(_spec("cifar10", "spiking_resnet19", train_subset=25_000))
    assert whole and half
    assert whole / 2 <= half < whole * 2 / 3


@pytest.mark.parametrize(
    ("data", "model", "classes", "width"),
    [
        ("cifar100", "spiking_resnet19", 100, 1.0),
        ("cifar10", "sew_resnet19", 10, 0.125),
        ("imagenet", "sew_resnet34", 1000, 1.0),
        ("imagenet", "sew_resnet50", 1000, 1.0),
        ("cub", "sew_resnet18", 200, 1.0),
        ("ncaltech101", "vgg_snn", 101, 1.0),
    ],
)
def test_disk_is_two_checkpoints_with_moments_and_two_epochs_logits(
    data: str, model: str, classes: int, width: float
) -> None:
    import timm

    import tksbench.snn  # noqa: F401 - registers the networks

    channels = 2 if data == "ncaltech101" else 3
    network = timm.create_model(model, num_classes=classes, T=4, width=width, in_chans=channels)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    spec = _spec(data, model, epochs=6, test_subset=500)
    spec = spec.model_copy(update={"model": spec.model.model_copy(update={"width": width})})
    expected = 2 * (3 * 4 * parameters + 4 * 500 * 4 * classes)
    assert estimate_disk_bytes(spec) == pytest.approx(expected, rel=0.07)


STATED = [name for name in catalogue.names("model") if catalogue.attributes("model", name).get("size")]


@pytest.mark.parametrize("name", STATED)
def test_a_network_states_its_size(name: str) -> None:
    network = catalogue.resolve("model", catalogue.Component.model_construct(name=name))
    macs, neurons, pixels, parameters, per_class = network.size
    offered: dict[str, Any] = {"img_size": pixels, "on_membrane": False}  # the neurons are LIF
    sized = {key: value for key, value in offered.items() if key in inspect.signature(network).parameters}
    found = {"macs": 0, "neurons": 0}

    def synapses(layer: Any, _inputs: Any, out: Any) -> None:
        found["macs"] += out[0].numel() * layer.weight[0].numel()

    def spikes(_layer: Any, _inputs: Any, out: Any) -> None:
        found["neurons"] += out.numel()

    made = [network(num_classes=classes, T=1, in_chans=3, kit=Kit(), **sized).eval() for classes in (10, 11)]
    for layer in made[0].modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.Linear):
            layer.register_forward_hook(synapses)
        elif isinstance(layer, Neuron):
            layer.register_forward_hook(spikes)
    with torch.no_grad():
        made[0](torch.zeros(1, 1, 3, pixels, pixels))
    counts = [sum(one.numel() for one in net.parameters()) for net in made]
    assert [found["macs"], found["neurons"], counts[0]] == pytest.approx([macs, neurons, parameters], rel=0.05)
    assert counts[1] - counts[0] == per_class


def test_a_network_of_unknown_size_has_no_estimate() -> None:
    assert estimate_gpu_hours(_spec("cifar10", "tebn_resnet19"))
    assert estimate_gpu_hours(_spec("cifar10", "my_package:Network")) is None
