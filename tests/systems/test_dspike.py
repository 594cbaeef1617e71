"""DSpike: its family of surrogates, its rule by finite differences on two weights, its network."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from tksbench.snn.iterative import IterativeLIF
from tksbench.snn.kit import Kit
from tksbench.snn.neuron import LIF
from tksbench.systems.dspike import Block, DSpike, DSpikeResNet18, central_differences
from tksbench.systems.tdbn import TdBN

X = torch.tensor([[1, 0], [0.5, 1], [0.2, 0.9], [0.8, 0.4]], dtype=torch.float64)
TARGETS = torch.tensor([1, 0.5, 0, 1], dtype=torch.float64)


@pytest.mark.parametrize(
    ("b", "golden"),
    [
        (0.5, [0.9595173757, 0.9981203935, 1.0207470413, 0.9981203935, 0.9595173757]),
        (1.0, [0.8509181282, 0.9901568763, 1.0819767069, 0.9901568763, 0.8509181282]),
        (3.0, [0.299464709, 0.8069131645, 1.6571870895, 0.8069131645, 0.299464709]),
        (10.0, [0.0009079986, 0.0493346652, 5.0004540199, 0.0493346652, 0.0009079986]),
    ],
)
def test_golden_derivatives(b: float, golden: list[float]) -> None:
    surrogate = DSpike(temperature=b).double()
    u = torch.tensor([0, 0.2, 0.5, 0.8, 1], dtype=torch.float64)
    found = surrogate.derivative(u - 0.5)
    assert found.tolist() == pytest.approx(golden, abs=1e-9)
    assert surrogate.derivative(torch.tensor([-0.51, 0.51])).tolist() == [0, 0]
    # It is the derivative of the rescaled hyperbolic tangent, which runs from 0 to 1.
    x = u.clone().requires_grad_()
    (((b * (x - 0.5)).tanh() + math.tanh(b / 2)) / (2 * math.tanh(b / 2))).sum().backward()
    torch.testing.assert_close(found, x.grad)


@pytest.mark.parametrize(
    ("b", "golden"),
    [
        (0.5, [0.1960520849, 0.5, 0.8039479151, 1]),
        (1.0, [0.1848065389, 0.5, 0.8151934611, 1]),
        (3.0, [0.1043201391, 0.5, 0.8956798609, 1]),
        (10.0, [0.0024274457, 0.5, 0.9975725543, 1]),
    ],
)
def test_the_derivatives_are_those_of_the_golden_values(b: float, golden: list[float]) -> None:
    u = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    values = torch.cumulative_trapezoid(DSpike(temperature=b).double().derivative(u - 0.5), u)
    assert values[[1999, 4999, 7999, 9999]].tolist() == pytest.approx(golden, abs=1e-6)


def test_golden_derivatives_of_twice_the_reach() -> None:
    found = DSpike(temperature=1.0, reach=1.0).double().derivative(torch.tensor([-1.1, -0.5, 0, 0.5, 1.1]).double())
    assert found.tolist() == pytest.approx([0, 0.5163168118, 0.6565176427, 0.5163168118, 0], abs=1e-9)


def test_it_fires_strictly_above_the_threshold() -> None:
    assert DSpike()(torch.tensor([-0.1, 0.0, 0.1])).tolist() == [0, 0, 1]


class Toy(nn.Module):
    """One neuron of two weights, two steps."""

    def __init__(self, surrogate: DSpike) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 1, bias=False)
        self.lif = IterativeLIF(decay=0.25, threshold=0.5, surrogate=surrogate)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor([[0.47, 0.30]]))
        self.double()

    def forward(self) -> Tensor:
        current = self.fc(X).flatten()
        return (self.lif(torch.stack([current, current])).mean(0) - TARGETS).square().mean()


def test_golden_finite_differences() -> None:
    network = Toy(DSpike())
    assert network().item() == pytest.approx(0.1875)
    before = network.fc.weight.clone()
    found = central_differences(network, network.fc.weight, torch.arange(2), 0.1)
    assert found.tolist() == pytest.approx([-1.25, 0.3125])
    assert torch.equal(network.fc.weight, before)


@pytest.mark.parametrize(
    ("b", "gradient", "cosine"),
    [
        (1.0, [-0.38773412, 0.13703631], 0.9955148342),
        (2.0, [-0.45514531, 0.16504694], 0.9947106139),
        (3.0, [-0.54572744, 0.20576501], 0.9933274162),
        (4.0, [-0.64050354, 0.25323866], 0.9913619057),
    ],
)
def test_golden_surrogate_gradients(b: float, gradient: list[float], cosine: float) -> None:
    network = Toy(DSpike(temperature=b))
    network().backward()
    assert network.fc.weight.grad is not None
    found = network.fc.weight.grad.flatten()
    assert found.tolist() == pytest.approx(gradient, abs=1e-8)
    estimate = torch.tensor([-1.25, 0.3125], dtype=torch.float64)
    assert nn.functional.cosine_similarity(found, estimate, dim=0).item() == pytest.approx(cosine, abs=1e-8)


def surrogate_of(network: Toy) -> DSpike:
    assert isinstance(network.lif.surrogate, DSpike)
    return network.lif.surrogate


def test_the_rule_moves_from_2_to_1_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    network = Toy(DSpike(temperature=2.0, adaptive=True, eps=0.1))
    with caplog.at_level("INFO", logger="tksbench.train"):
        surrogate_of(network).adapt(network, network, lambda b: b)
    assert surrogate_of(network).temperature.item() == 1.0
    assert "temperature 1, cosine 0.9955 (it was 2)" in caplog.text


def test_it_is_not_adapted_unless_asked_for() -> None:
    network = Toy(DSpike(temperature=2.0, eps=0.1))
    surrogate_of(network).adapt(network, network, lambda b: b)
    assert surrogate_of(network).temperature.item() == 2.0


def test_the_rule_keeps_running_statistics_and_gradients_and_sets_every_layer() -> None:
    torch.manual_seed(0)
    surrogate = DSpike(temperature=2.0, adaptive=True, probes=4)
    network = DSpikeResNet18(5, 2, width=0.0625, kit=Kit(lambda: IterativeLIF(surrogate=surrogate), TdBN))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images, labels = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 3])
    found = [module for module in network.modules() if isinstance(module, DSpike)]
    found[0].adapt(network, lambda: nn.functional.cross_entropy(network(images).mean(0), labels), lambda _: 7.0)
    after = network.state_dict()
    temperatures = {name for name in after if name.endswith(".temperature")}
    assert len(temperatures) == len(found) == 3 + 16
    assert {after[name].item() for name in temperatures} == {7.0}
    assert all(torch.equal(after[name], before[name]) for name in after.keys() - temperatures)
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("neuron", [IterativeLIF, LIF])
def test_layers_share_no_temperature(neuron: type[nn.Module]) -> None:
    surrogate = DSpike()
    one, two = neuron(surrogate=surrogate), neuron(surrogate=surrogate)
    assert one.surrogate.temperature is not two.surrogate.temperature  # type: ignore[union-attr]
    assert "surrogate.temperature" in one.state_dict()
    assert not [p for p in one.parameters() if p.requires_grad]


@pytest.mark.parametrize(
    ("classes", "channels", "parameters"), [(10, 3, 11_247_946), (100, 3, 11_294_116), (10, 2, 11_247_370)]
)
def test_parameters(classes: int, channels: int, parameters: int) -> None:
    with torch.device("meta"):
        network = DSpikeResNet18(classes, in_chans=channels, kit=Kit(IterativeLIF, TdBN))
        assert sum(p.numel() for p in network.parameters()) == parameters


def test_its_norms_share_their_scale_where_two_of_them_meet() -> None:
    network = DSpikeResNet18(width=0.125, kit=Kit(lambda: IterativeLIF(threshold=0.5), TdBN))
    blocks = [block for block in network.blocks if isinstance(block, Block)]
    joined = [len(block.shortcut) > 0 for block in blocks]
    assert joined == [False, False, True, False, True, False, True, False]
    for block, meets in zip(blocks, joined, strict=True):
        factor = 0.5 * (0.5**0.5 if meets else 1.0)
        assert block.bn2.factor == pytest.approx(factor)  # type: ignore[arg-type]
        assert torch.equal(block.bn2.weight, torch.zeros_like(block.bn2.weight))  # type: ignore[arg-type]
    assert all(a.bn1.factor == b.bn1.factor == 0.5 for a, b in itertools.pairwise(blocks))
