"""Strided 1x1 convolutions: torch's results, and never torch's kernel that writes out of bounds."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import tksbench.snn  # noqa: F401
from tests.conv_calls import FaultyCalls
from tksbench.data.registry import info
from tksbench.recipe import SCALES, expand, load_recipe
from tksbench.snn import eventconv
from tksbench.snn.kit import conv, conv_with_bias
from tksbench.snn.strided import SoundConvolutions, StridedConv1x1, soundly

ROOT = Path(__file__).parents[2]
LAST = torch.channels_last
NETWORKS = ["spiking_resnet19", "sew_resnet18", "sew_resnet19", "sew_resnet34", "sew_resnet50", "vgg_snn"]


def images(count: int, channels: int, *size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, channels, *size, generator=generator).to(memory_format=LAST)


@functools.cache
def networks_of_the_recipes() -> set[tuple[str, float, int, int]]:
    """Network, width, input channels and image size of every run of every recipe at every scale."""
    found = set()
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        recipe = load_recipe(path)
        for scale in SCALES:
            for run in expand(recipe, scale, seeds=1, has_real=lambda name: True):
                data, known = run.spec.data, info(run.spec.data.name)
                size = data.image_size or known.size
                found.add((run.spec.model.name, run.spec.model.width, known.in_chans, size))
    return found


@pytest.mark.parametrize("channels", [1, 3, 4, 7, 8, 15, 16])
@pytest.mark.parametrize(("size", "stride"), [((8, 8), 2), ((7, 10), 2), ((9, 9), 3), ((64, 64), 2)])
def test_output_and_gradients_equal_torch_in_float64(channels: int, size: tuple[int, int], stride: int) -> None:
    layer = conv(channels, 6, 1, stride).to(memory_format=LAST)
    assert isinstance(layer, StridedConv1x1)
    x = images(2, channels, *size)
    results = []
    for used, given in ((layer, x.clone()), (copy.deepcopy(layer).double(), x.double())):
        given.requires_grad_()
        y = used(given) if used is layer else F.conv2d(given, used.weight, stride=stride)
        y.square().sum().backward()
        assert given.grad is not None
        assert used.weight.grad is not None
        results.append([y.detach(), given.grad, used.weight.grad])
    for found, exact in zip(*results, strict=True):
        assert found.shape == exact.shape
        assert (found - exact).abs().max() < 1e-5 * exact.abs().max().clamp_min(1.0)


def test_torch_s_own_layer_would_reach_the_kernel() -> None:
    layer = nn.Conv2d(4, 8, 1, 2).to(memory_format=LAST)
    with FaultyCalls() as calls:
        layer(images(2, 4, 8, 8)).sum().backward()
    assert calls.seen == [(8, 4, 1, 1)]


def test_every_network_of_every_recipe_has_the_sound_layer_wherever_a_1x1_convolution_skips_pixels() -> None:
    used = set()
    for name, width, channels, size in sorted(networks_of_the_recipes()):
        with torch.device("meta"):
            options = {"img_size": size} if name == "vgg_snn" else {}
            model = timm.create_model(name, width=width, in_chans=channels, num_classes=10, **options)
        for module in model.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.stride != (1, 1):
                assert type(module) is StridedConv1x1, name
                used.add(name)
    assert used == set(NETWORKS) - {"vgg_snn"}


@pytest.mark.parametrize("name", NETWORKS)
def test_no_network_reaches_the_kernel_however_narrow(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eventconv, "fits", lambda *_: False)  # as on a machine without a compiler
    with FaultyCalls() as calls:
        for width in (0.01, 0.03, 0.0625, 0.125, 0.25):
            torch.manual_seed(0)
            options = {"img_size": 32} if name == "vgg_snn" else {}
            model = timm.create_model(name, width=width, num_classes=3, T=1, in_chans=3, **options)
            model.to(memory_format=LAST)(images(2, 3, 32, 32)).sum().backward()
    assert calls.backward >= 5
    assert calls.seen == []


class Foreign(nn.Module):
    """What a network from outside may do: modules, functional calls, transposed convolutions, recomputed parts."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1, 2)
        self.second = nn.Conv2d(4, 12, 1, stride=(2, 1))
        self.up = nn.ConvTranspose2d(12, 5, 1, 2)

    def part(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))

    def forward(self, x: Tensor) -> Tensor:
        y: Any = checkpoint(self.part, x, use_reentrant=False)
        y = F.conv2d(input=y, weight=self.second.weight.transpose(0, 1), stride=2)
        return self.up(F.interpolate(y.repeat(1, 3, 1, 1), scale_factor=2))


def grads(model: nn.Module, x: Tensor) -> list[Tensor]:
    model(x).square().sum().backward()
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def test_a_network_from_outside_is_kept_from_the_kernel() -> None:
    torch.manual_seed(0)
    model = Foreign().to(memory_format=LAST)
    with FaultyCalls() as calls, soundly(copy.deepcopy(model), torch.device("cpu")):
        found = grads(model, images(2, 3, 16, 16))
    assert calls.backward == 4
    assert calls.seen == []
    exact = grads(
        copy.deepcopy(model).double().to(memory_format=torch.contiguous_format), images(2, 3, 16, 16).double()
    )
    for mine, expected in zip(found, exact, strict=True):
        assert torch.allclose(mine.double(), expected, rtol=1e-4, atol=1e-4)


def test_without_it_a_network_from_outside_reaches_the_kernel() -> None:
    model = Foreign().to(memory_format=LAST)
    with FaultyCalls() as calls:
        grads(model, images(2, 3, 16, 16))
    assert len(calls.seen) == 4


def test_the_gradient_of_the_input_keeps_the_layout() -> None:
    x = images(2, 3, 8, 8).requires_grad_()
    with SoundConvolutions():
        (gradient,) = torch.autograd.grad(nn.Conv2d(3, 4, 1, 2)(x).square().sum(), x)
    assert gradient.is_contiguous(memory_format=LAST)


def test_own_networks_and_other_devices_are_left_as_they_are() -> None:
    own = timm.create_model("sew_resnet18", width=0.03, num_classes=3)
    assert not isinstance(soundly(own, torch.device("cpu")), SoundConvolutions)
    assert not isinstance(soundly(Foreign(), torch.device("cuda")), SoundConvolutions)
    assert not isinstance(soundly(nn.Conv2d(16, 16, 1, 2), torch.device("cpu")), SoundConvolutions)
    assert isinstance(soundly(nn.Conv2d(15, 16, 1, 2), torch.device("cpu")), SoundConvolutions)


def test_with_a_bias_it_is_torch_s_layer_and_does_not_reach_the_kernel() -> None:
    torch.manual_seed(0)
    own = conv_with_bias(4, 8, 1, 2).to(memory_format=LAST)
    torch.manual_seed(0)
    theirs = nn.Conv2d(4, 8, 1, 2).to(memory_format=LAST)
    assert torch.equal(own.weight, theirs.weight) and torch.equal(own.bias, theirs.bias)
    with FaultyCalls() as calls:
        out = own(images(2, 4, 8, 8))
        out.sum().backward()
    assert calls.seen == []
    torch.testing.assert_close(out, theirs(images(2, 4, 8, 8)))
