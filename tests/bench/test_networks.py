"""The networks that the bench compares compute the same; and what it says of memory is so."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from benchmarks import networks, peers
from benchmarks.memory import Memory
from benchmarks.parts import BenchError
from tksbench.snn.neuron import LIF
from tksbench.snn.resnet import SpikingResNet19
from tksbench.snn.vgg import VGGSNN


class Folded(nn.Module):
    """This project's neuron in a network of torch's layers."""

    def __init__(self, T: int) -> None:
        super().__init__()
        self.lif, self.T = LIF(backend="reference"), T

    def forward(self, x: Tensor) -> Tensor:
        out = self.lif(x, self.T)
        assert isinstance(out, Tensor)
        return out


def own() -> peers.Library:
    return peers.Library(nn, Folded)


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name}: make bench EXTRAS=bench")


LIBRARIES = [
    own,
    pytest.param(peers.spikingjelly, marks=needs("spikingjelly")),
    pytest.param(peers.braincog, marks=needs("braincog")),
]


def small(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    if name == "resnet":
        return SpikingResNet19(width=0.125), torch.randn(3, 3, 16, 16)
    return VGGSNN(width=0.125, img_size=16, T=6), 2 * torch.rand(3, 6, 2, 16, 16)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", ["resnet", "vgg"])
def test_the_same_logits_and_gradients(name: str, library: Callable[[], peers.Library]) -> None:
    ours, images = small(name)
    theirs = networks.network(library(), ours)
    found = []
    for network in (ours, theirs):
        logits = network(images)
        (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
        weights = [weight.grad for weight in network.parameters() if weight.requires_grad]
        found.append((logits.detach(), weights))
    (logits, grads), (their_logits, their_grads) = found
    assert logits.abs().max() > 0
    torch.testing.assert_close(their_logits, logits, rtol=1e-4, atol=1e-5)
    for theirs_one, one in zip(their_grads, grads, strict=True):
        assert theirs_one is not None and one is not None
        torch.testing.assert_close(theirs_one, one, rtol=1e-4, atol=1e-4 * one.abs().max().item())


def test_the_floor_differs_in_the_neuron_alone() -> None:
    ours, images = small("resnet")
    floor = networks.network(peers.relu(), ours)
    assert sum(w.numel() for w in floor.parameters()) == sum(w.numel() for w in ours.parameters())
    assert floor(images).shape == ours(images).shape
    assert sum(isinstance(m, nn.ReLU) for m in floor.modules()) == sum(isinstance(m, LIF) for m in ours.modules())


def test_networks_that_differ_are_refused() -> None:
    ours, _ = small("resnet")
    with pytest.raises(BenchError, match="differ in their weights"):
        peers._same_weights(networks.network(own(), ours), SpikingResNet19(width=0.25))  # type: ignore[arg-type]


def test_a_step_trains() -> None:
    torch.manual_seed(0)
    images = torch.randn(4, 3, 8, 8)
    step = networks.Step(lambda: SpikingResNet19(width=0.125), images, "eager", torch.device("cpu"))
    assert step() != step()
    assert step.images.is_contiguous(memory_format=torch.channels_last)
    assert step.network.stem.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_peak_counts_what_is_freed_again_and_kept_counts_storages_once() -> None:
    memory = Memory(torch.device("cpu"))
    size = 64 << 20
    peak = memory.peak(lambda: torch.ones(size // 4).sum().item())
    assert 0.9 * size <= peak < 2 * size  # resident pages, of which some were there
    layer = nn.Linear(4, 4, bias=False)
    x = torch.randn(1000, 4)
    assert memory.kept(lambda: (layer(x) + layer(x)).sum(), layer) == x.numel() * 4
