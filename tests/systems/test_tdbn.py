"""STBP-tdBN: its norm by hand, its networks by their number of parameters, what the norm is for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tksbench.snn.iterative import IterativeLIF
from tksbench.snn.kit import Kit
from tksbench.snn.resnet import BasicBlock
from tksbench.snn.surrogate import Rectangle
from tksbench.systems.tdbn import ResNet19, SpikingResNet34, TdBN

# Two steps of two samples of two pixels of one channel, time outermost; mean 2, biased variance 3.5.
X = torch.tensor([[1, 2], [3, 4], [0, -1], [5, 2]], dtype=torch.float64).view(4, 1, 1, 2)


def neuron() -> IterativeLIF:
    return IterativeLIF(decay=0.25, threshold=0.5, surrogate=Rectangle())


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("alpha", "golden"),
    [
        (1.0, [-0.2672608601, 0, 0.2672608601, 0.5345217202, -0.5345217202, -0.8017825803, 0.8017825803, 0]),
        (
            math.sqrt(0.5),
            [-0.1889819665, 0, 0.1889819665, 0.3779639331, -0.3779639331, -0.5669458996, 0.5669458996, 0],
        ),
    ],
)
def test_golden_values_of_the_norm(alpha: float, golden: list[float]) -> None:
    norm = TdBN(1).double()
    norm.scale(alpha * 0.5)
    assert norm(X).flatten().tolist() == pytest.approx(golden, abs=1e-10)
    assert (norm.running_mean.item(), norm.running_var.item()) == pytest.approx((0.2, 1.3))
    assert (norm.weight.item(), norm.bias.item(), int(norm.num_batches_tracked)) == (1.0, 0.0, 1)


def test_gradients_are_those_of_its_formula() -> None:
    norm = TdBN(1, factor=0.35).double()
    with torch.no_grad():
        norm.weight.fill_(1.3)
        norm.bias.fill_(0.2)
    upstream = torch.linspace(-1, 2, 8, dtype=torch.float64).view_as(X)
    x = X.clone().requires_grad_()
    (norm(x) * upstream).sum().backward()
    y, gamma, beta = (t.clone().requires_grad_() for t in (X, norm.weight.detach(), norm.bias.detach()))
    hat = (y - y.mean()) / (y.var(correction=0) + 1e-5).sqrt()
    ((gamma * 0.35 * hat + beta) * upstream).sum().backward()
    for found, expected in ((x, y), (norm.weight, gamma), (norm.bias, beta)):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-10, atol=1e-12)


def test_in_evaluation_it_is_one_factor_and_one_summand_a_channel() -> None:
    norm = TdBN(1, factor=0.5).double()
    norm(X)
    norm.eval()
    assert norm.running_var is not None
    slope = 0.5 / math.sqrt(norm.running_var.item() + 1e-5)
    torch.testing.assert_close(norm(X), (X - 0.2) * slope)
    assert int(norm.num_batches_tracked) == 1  # type: ignore[arg-type]


def test_a_network_gives_the_norm_the_threshold_of_its_neurons_and_both_branches_their_half() -> None:
    network = ResNet19(width=0.125, kit=Kit(neuron=neuron, norm=TdBN))
    assert network.stem.bn.factor == 0.5
    for block in network.blocks:
        assert isinstance(block, BasicBlock)
        assert block.bn1.factor == 0.5
        joined = [block.bn2, *(layer for layer in block.shortcut if isinstance(layer, TdBN))]
        assert [layer.factor for layer in joined] == [pytest.approx(0.5 * math.sqrt(0.5))] * len(joined)


def test_without_scales_norms_stay_as_they_are_made() -> None:
    network = ResNet19(width=0.125, kit=Kit(neuron=neuron, norm=TdBN), scaled=False)
    assert {module.factor for module in network.modules() if isinstance(module, TdBN)} == {1.0}


@pytest.mark.parametrize(
    ("stem", "classes", "parameters"),
    [(64, 10, 12_630_858), (64, 100, 12_653_988), (128, 10, 12_697_994), (128, 100, 12_721_124)],
)
def test_parameters_of_resnet19(stem: int, classes: int, parameters: int) -> None:
    with torch.device("meta"):
        assert count(ResNet19(classes, kit=Kit(neuron, TdBN), stem=stem)) == parameters
        assert count(ResNet19(classes, kit=Kit(neuron), stem=stem, scaled=False, init="torch")) == parameters


def test_parameters_of_resnet34_are_torchvisions_and_those_of_one_more_shortcut() -> None:
    with torch.device("meta"):
        assert count(SpikingResNet34(kit=Kit(neuron, TdBN))) == 21_797_672 + 64 * 64 + 2 * 64
        assert count(SpikingResNet34(kit=Kit(neuron))) == 21_801_896


def rates(norm: nn.Module, layers: int, generator: torch.Generator) -> list[float]:
    """Mean firing rate of each layer of a deep plain network with random weights and four steps."""
    x, found = torch.randn(4 * 8, 16, 8, 8, generator=generator), []
    fires = neuron()
    for _ in range(layers):
        weight = torch.randn(16, 16, 3, 3, generator=generator) * math.sqrt(2 / (16 * 9))
        x = fires(norm(torch.conv2d(x, weight, padding=1)), 4)
        found.append(x.mean().item())
    return found


class Sixteenth(nn.BatchNorm2d):
    """A variance of 1/16: too small for the threshold."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 4


def test_deep_networks_fire_with_it_and_fall_silent_with_a_norm_that_does_not_fit_the_threshold() -> None:
    generator = torch.Generator().manual_seed(0)
    assert all(0.1 < rate < 0.4 for rate in rates(TdBN(16, factor=0.5), 20, generator))
    assert rates(Sixteenth(16), 20, generator)[-1] < 0.05


def test_its_gradient_has_not_the_size_of_a_norm_whose_weight_begins_at_the_threshold() -> None:
    ours, other = TdBN(1, factor=0.5).double(), nn.BatchNorm2d(1).double()
    nn.init.constant_(other.weight, 0.5)
    upstream = torch.linspace(-1, 2, 8, dtype=torch.float64).view_as(X)
    for norm in (ours, other):
        (norm(X) * upstream).sum().backward()
    torch.testing.assert_close(ours(X), other(X))
    assert ours.weight.grad is not None and other.weight.grad is not None
    assert ours.weight.grad.item() == pytest.approx(other.weight.grad.item() * 0.5)
