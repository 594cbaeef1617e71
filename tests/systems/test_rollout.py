"""Streaming rollout: delays by hand and by impulses, integrate-and-fire neurons, agreement of both forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tksbench.snn.errors import SnnError
from tksbench.snn.integrate import IntegrateAndFire, ScaledIntegrateAndFire
from tksbench.snn.kit import Kit, ReLU
from tksbench.snn.neuron import LIF, Neuron
from tksbench.systems.rollout import Rollout, RolloutDenseNet, delayed
from tksbench.train.convert import sums_at

X = [1.0, 2, -1, 3, 0, 0, 0]


def chain(later: Any) -> tuple[list[float], ...]:
    """The network of the sheet on X."""
    x = torch.tensor(X, dtype=torch.float64)
    h1 = torch.relu(0.5 * later(x))
    h2 = torch.relu(1.5 * later(h1) - 0.25 * later(x))
    return h1.tolist(), h2.tolist(), (2 * later(h2)).tolist()


def test_golden_values_with_delays_and_without() -> None:
    h1, h2, y = chain(lambda x: delayed(x, len(X)))
    assert h1 == [0, 0.5, 1, 0, 1.5, 0, 0]
    assert h2 == [0, 0, 0.25, 1.75, 0, 2.25, 0]
    assert y == [0, 0, 0, 0.5, 3.5, 0, 4.5]
    assert chain(lambda x: x)[2] == [1, 2, 0.5, 3, 0, 0, 0]


def test_golden_spikes_of_its_neurons() -> None:
    current = torch.full((10, 1), 0.45, dtype=torch.float64)
    soft = IntegrateAndFire(at_threshold=True)
    assert soft(current).flatten().tolist() == [0, 0, 1, 0, 1, 0, 1, 0, 1, 0]
    hard = IntegrateAndFire(at_threshold=True, reset="hard")
    assert hard(current).flatten().tolist() == [0, 0, 1, 0, 0, 1, 0, 0, 1, 0]


def network(steps: int = 14, neuron: Any = ReLU, **options: Any) -> RolloutDenseNet:
    torch.manual_seed(0)
    made = RolloutDenseNet(3, T=steps, width=0.15, kit=Kit(neuron=neuron), **options).eval()
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.abs_()  # an impulse then reaches all that it has a path to
        made.fc.bias.zero_()
    return made


def test_an_impulse_arrives_by_every_path_after_as_many_steps_as_it_has_connections() -> None:
    made, frames = network(blocks=2, layers=3), torch.zeros(1, 14, 2, 16, 16)
    frames[:, 2] = 1.0
    reached = made(frames).abs().sum((1, 2)) > 0
    shortest, longest = made.shortest, made.shortest + 2 * 3
    assert (shortest, longest) == (4, 10)
    assert reached.nonzero().flatten().tolist() == list(range(2 + shortest, 2 + longest + 1))
    at_once = network(blocks=2, layers=3, rolled=False)(frames).abs().sum((1, 2)) > 0
    assert at_once.nonzero().flatten().tolist() == [2]


def test_before_the_first_answer_there_is_none() -> None:
    made = network()
    nn.init.ones_(made.fc.bias)
    logits = made(torch.rand(2, 6, 2, 16, 16))
    assert [step.abs().sum().item() > 0 for step in logits] == [False] * 4 + [True] * 2


def test_without_delays_it_is_the_same_network_in_every_step() -> None:
    made, frames = network(rolled=False), torch.rand(2, 3, 2, 16, 16)
    for step in range(3):
        torch.testing.assert_close(made(frames)[step], made(frames[:, step : step + 1])[0])


def constant(samples: int, steps: int) -> Tensor:
    images = torch.rand(samples, 1, 2, 16, 16, generator=torch.Generator().manual_seed(1))
    return images.expand(-1, steps, -1, -1, -1)


def test_the_converted_network_agrees_with_the_analog_one_as_steps_grow() -> None:
    made = network()
    with torch.no_grad():
        wanted = made(constant(4, 14))[-1]  # settled
        spiking = Rollout(samples=4, percentile=100.0)(made, [constant(4, 14)], 14)
        errors = [(spiking(constant(4, steps))[20:].mean(0) - wanted).norm() / wanted.norm() for steps in (60, 400)]
    assert all(isinstance(module, ScaledIntegrateAndFire) for module in made.modules() if isinstance(module, Neuron))
    assert errors[1] < 0.3 * errors[0] < 0.1


def test_images_are_presented_at_once_for_delays_would_begin_anew() -> None:
    made, images = network(steps=40), torch.rand(2, 2, 16, 16)
    with torch.no_grad():
        spiking = Rollout(samples=2)(made, [images], 40)
        sums = sums_at(spiking, images, [10, 40])
        torch.testing.assert_close(sums[1], spiking(images).double().sum(0))


def test_thresholds_are_percentiles_of_what_the_rectifiers_gave() -> None:
    made, frames = network(), torch.rand(3, 12, 2, 16, 16)
    seen: list[Tensor] = []
    with torch.no_grad():
        handle = made.stem.neuron.register_forward_hook(lambda _module, _inputs, out: seen.append(out))
        made(frames[:2])
        handle.remove()
        converted = Rollout(samples=2, percentile=50.0)(made, [frames[:2], frames[2:]], 12)
    values = seen[0][seen[0] > 0].sort().values
    assert float(converted.stem.neuron.threshold) == values[round(0.5 * (len(values) - 1))]  # type: ignore[union-attr, arg-type]


def test_what_is_no_analog_network_is_refused() -> None:
    with pytest.raises(SnnError, match="this conversion is for networks of neuron `relu`"):
        Rollout()(network(neuron=LIF), [], 5)
    with pytest.raises(SnnError, match="it gave nothing above 0"):
        Rollout()(network(), [torch.zeros(2, 12, 2, 16, 16)], 12)
