"""TEBN: golden values of the norm, what it is as long as its factors are 1, and the network's parameters."""

from __future__ import annotations

import math

import pytest
import torch

from tksbench.snn.errors import SnnError
from tksbench.snn.iterative import IterativeLIF
from tksbench.snn.kit import Kit
from tksbench.systems.tebn import TEBN, TEBNResNet19

VALUES = [1.0, 2.0, 3.0, 4.0, 0.0, -1.0, 5.0, 2.0]  # of two steps, two samples and two pixels
X = torch.tensor(VALUES, dtype=torch.float64).view(4, 1, 1, 2)
ONE = [-0.6414260643, 0, 0.6414260643, 1.2828521285, -0.7483304083, -1.1224956125, 1.1224956125, 0]
OTHER = [-0.6828521285, 0.6, 1.8828521285, 3.1657042571, -1.1466608166, -1.8949912249, 2.5949912249, 0.35]


def norm(gamma: float, beta: float) -> TEBN:
    made = TEBN(1, 2).double()
    with torch.no_grad():
        made.weight.fill_(gamma)
        made.bias.fill_(beta)
        made.p.copy_(torch.tensor([1.2, 0.7]))
    return made


@pytest.mark.parametrize(("gamma", "beta", "golden"), [(1.0, 0.0, ONE), (2.0, 0.5, OTHER)])
def test_golden_values(gamma: float, beta: float, golden: list[float]) -> None:
    one = norm(gamma, beta)
    with torch.no_grad():
        one.p.copy_(torch.tensor([1.2, 0.7], dtype=torch.float64))
    assert one(X, 2).flatten().tolist() == pytest.approx(golden, abs=1e-9)
    assert one.running_mean.item() == pytest.approx(0.2)
    assert one.running_var.item() == pytest.approx(1.3)  # the unbiased variance, 4, enters


def test_factors_of_one_are_batch_norm_over_all_steps() -> None:
    one, plain = TEBN(1, 2).double(), torch.nn.BatchNorm2d(1).double()
    assert torch.allclose(one(X, 2), plain(X), rtol=0, atol=1e-12)
    assert torch.allclose(one.eval()(X, 2), plain.eval()(X), rtol=0, atol=1e-12)


def test_the_factors_are_trained_one_a_step() -> None:
    one = TEBN(1, 2).double()
    one(X, 2)[:2].square().sum().backward()
    assert one.p.grad is not None
    assert one.p.grad[0].item() > 0.0
    assert one.p.grad[1].item() == 0.0


def test_fewer_steps_have_the_first_factors_and_more_are_refused() -> None:
    one = norm(1.0, 0.0).eval()
    assert torch.equal(one(X, 2)[:2], one(X[:2], 1))
    with pytest.raises(SnnError, match="3 time steps, but factors for 2"):
        one(X[[0, 1, 2]], 3)


@pytest.mark.parametrize(("classes", "parameters"), [(10, 14_673_782), (100, 14_696_912)])
def test_its_network_has_as_many_parameters(classes: int, parameters: int) -> None:
    kit = Kit(neuron=lambda: IterativeLIF(threshold=1.0), norm=lambda channels: TEBN(channels, 4))
    assert sum(one.numel() for one in TEBNResNet19(classes, kit=kit).parameters()) == parameters


@pytest.mark.parametrize(("current", "spikes"), [(0.7, "0" * 12), (0.8, "001" * 4), (0.9, "01" * 6), (1.0, "01" * 6)])
def test_golden_spikes_of_its_neuron(current: float, spikes: str) -> None:
    neuron = IterativeLIF(decay=0.25, threshold=1.0)
    got = neuron(torch.full((12,), current, dtype=torch.float64))
    assert got.tolist() == [float(one) for one in spikes]


def test_golden_gradient_of_its_neuron() -> None:
    x = torch.tensor([0.6, 0.7, 0.5, 0.9], dtype=torch.float64, requires_grad=True)
    (torch.arange(1.0, 5.0, dtype=torch.float64) * IterativeLIF(decay=0.25, threshold=1.0)(x)).sum().backward()
    assert x.grad is not None
    golden = [0.9007643112792969, 1.8797769454956053, 2.59137939453125, 3.6875]
    assert x.grad.tolist() == pytest.approx(golden, abs=1e-12)
    assert math.isfinite(x.grad.sum().item())


def test_it_agrees_with_spikingjelly() -> None:
    layer = pytest.importorskip("spikingjelly.activation_based.layer", reason="needs the extra bench")
    x = torch.randn(6, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    ours, its = TEBN(3, 2), layer.TemporalEffectiveBatchNorm2d(2, 3)
    factors = torch.tensor([1.2, 0.7])
    with torch.no_grad():
        ours.p.copy_(factors)
        its.scale.copy_(factors.view_as(its.scale))
    theirs = its(x.view(2, 3, 3, 5, 5)).flatten(0, 1)
    torch.testing.assert_close(ours(x, 2), theirs, rtol=1e-5, atol=1e-5)
