"""The same networks with other neurons, surrogates and norms."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import timm
import torch
from torch import Tensor, nn

from tksbench.snn.cost import measure_cost
from tksbench.snn.errors import SnnError
from tksbench.snn.kit import PLAIN, Kit, ReLU
from tksbench.snn.neuron import LIF, Neuron, lif, qgate
from tksbench.snn.normlif import norm_lif
from tksbench.snn.surrogate import Arctan, Sigmoid, Triangle

EVERY = ["spiking_resnet19", "sew_resnet18", "sew_resnet19", "sew_resnet50", "vgg_snn"]


class Stepwise(Neuron):
    """LIF as one step."""

    spiking = True
    threshold = 0.5

    def step(self, current: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        u = v + (current - v) / 2
        spikes = qgate(u - self.threshold)
        return spikes, u * (1 - spikes.detach())


class Counted(nn.Module):
    """A norm that is told the number of steps, and does nothing."""

    per_step = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.calls: list[tuple[int, int]] = []

    def scale(self, factor: float) -> None:
        self.factor = factor

    def forward(self, x: Tensor, steps: int) -> Tensor:
        self.calls.append((len(x), steps))
        return x


def tiny(name: str, kit: Kit) -> nn.Module:
    torch.manual_seed(0)
    size = {"img_size": 16} if name == "vgg_snn" else {}
    model: nn.Module = timm.create_model(name, num_classes=5, width=0.125, T=3, kit=kit, **size)
    return model


def images(name: str, *leading: int) -> Tensor:
    return torch.randn(*leading, 2 if name == "vgg_snn" else 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("folded", [True, False])
def test_a_neuron_of_one_step_is_run_over_time(folded: bool) -> None:
    current = 2 * torch.randn(3, 4, 5)
    given, steps = (current.flatten(0, 1), 3) if folded else (current, None)
    leaf, other = given.clone().requires_grad_(), given.clone().requires_grad_()
    found, expected = Stepwise()(leaf, steps), LIF(backend="reference")(other, steps)
    assert torch.equal(found, expected)
    upstream = torch.randn_like(found)
    (found * upstream).sum().backward()
    (expected * upstream).sum().backward()
    torch.testing.assert_close(leaf.grad, other.grad)


def test_a_neuron_of_one_step_has_a_full_precision_state() -> None:
    current = (2 * torch.randn(3, 4, 5)).bfloat16()
    found = Stepwise()(current)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, LIF()(current))


@pytest.mark.parametrize("name", EVERY)
def test_every_network_takes_its_neurons_and_norms_from_the_kit(name: str) -> None:
    plain, other = tiny(name, PLAIN), tiny(name, Kit(neuron=Stepwise))
    assert [type(module) for module in other.modules() if isinstance(module, Neuron)] == [Stepwise] * sum(
        isinstance(module, LIF) for module in plain.modules()
    )
    torch.testing.assert_close(other(images(name, 2)), plain(images(name, 2)), rtol=1e-4, atol=1e-4)
    bare = tiny(name, Kit(norm=Counted))
    assert not [module for module in bare.modules() if isinstance(module, nn.BatchNorm2d)]
    bare(images(name, 2))
    norms = [module for module in bare.modules() if isinstance(module, Counted)]
    assert {call for norm in norms for call in norm.calls} == {(6, 3)}  # images are repeated for such a norm
    assert all(len(norm.calls) == 1 for norm in norms)


@pytest.mark.parametrize("name", EVERY)
def test_with_relu_a_network_is_its_analog_twin(name: str) -> None:
    twin = tiny(name, Kit(neuron=ReLU))
    assert [key for key, _ in twin.named_parameters()] == [key for key, _ in tiny(name, PLAIN).named_parameters()]
    logits = twin.eval()(images(name, 2))
    torch.testing.assert_close(logits[0], logits[2])
    cost = measure_cost(twin, images(name, 2))
    assert (cost["spike_rate"], cost["synops"]) == (None, 0.0)


def test_norms_are_scaled_to_the_threshold_of_the_neurons() -> None:
    norm = Kit(neuron=partial(LIF, threshold=2.0)).scaled_norm(4, 0.5)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.weight.tolist() == [1.0] * 4
    assert Kit(norm=Counted, neuron=ReLU).scaled_norm(4, 0.5).factor == 0.5


def test_a_norm_that_cannot_be_scaled_is_refused() -> None:
    with pytest.raises(SnnError, match=r"InstanceNorm2d: this network scales its norms; give the class a method scale"):
        Kit(norm=nn.InstanceNorm2d).scaled_norm(4, 0.5)


SURROGATES: list[tuple[Callable[[Tensor], Tensor], Callable[[float], float]]] = [
    (Triangle(peak=2.0, slope=4.0), lambda x: max(0.0, 2 - 4 * abs(x))),
    (Arctan(alpha=3.0), lambda x: 1.5 / (1 + (math.pi * 1.5 * x) ** 2)),
    (Sigmoid(alpha=2.0), lambda x: 2 * math.exp(-2 * x) / (1 + math.exp(-2 * x)) ** 2),
]


@pytest.mark.parametrize(("surrogate", "derivative"), SURROGATES)
def test_surrogates_fire_above_zero_and_have_their_derivative(
    surrogate: Callable[[Tensor], Tensor], derivative: Callable[[float], float]
) -> None:
    x = torch.tensor([-1.0, -0.1, 0.0, 1e-6, 0.3], dtype=torch.float64, requires_grad=True)
    spikes = surrogate(x)
    assert spikes.tolist() == [0, 0, 0, 1, 1]
    spikes.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([derivative(value) for value in x.tolist()])


def test_the_neurons_own_surrogate_is_a_triangle_of_peak_2_and_slope_4() -> None:
    current = torch.randn(3, 50, dtype=torch.float64)
    grads = []
    for neurons in (LIF(), LIF(surrogate=Triangle(peak=2.0, slope=4.0))):
        leaf = current.clone().requires_grad_()
        neurons(leaf).sum().backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(grads[0], grads[1])


def test_another_surrogate_takes_the_plain_path() -> None:
    x = torch.randn(6, 4, 5, 5).to(memory_format=torch.channels_last)
    grads = []
    for neurons in (LIF(surrogate=Arctan()), LIF()):
        leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
        norm_lif(nn.BatchNorm2d(4), neurons, leaf, 3).sum().backward()
        grads.append(leaf.grad)
    assert not torch.allclose(grads[0], grads[1])  # type: ignore[arg-type]
    assert torch.equal(LIF(surrogate=Arctan())(x, 3), lif(x.view(3, 2, 4, 5, 5)).flatten(0, 1))


def test_a_fast_backend_with_another_surrogate_is_refused() -> None:
    with pytest.raises(SnnError, match="backend native has no surrogate but its own; choose auto or reference"):
        LIF(surrogate=Arctan(), backend="native")
