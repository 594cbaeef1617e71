"""Integrate-and-fire neurons of converted networks against spike trains that were computed by hand of the formulas."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tksbench.snn.errors import SnnError
from tksbench.snn.integrate import IntegrateAndFire, ScaledIntegrateAndFire
from tksbench.snn.overtime import continued

# As hybrid training [36], Diet-SNN [42] and optimal conversion [38] have them.
HYBRID: dict[str, Any] = {"first": "fire"}
DIET: dict[str, Any] = {}
OPTIMAL: dict[str, Any] = {"at_threshold": True}


def run(current: Tensor, threshold: float = 1.0, **options: Any) -> tuple[str, float]:
    """Spikes and last membrane of one neuron."""
    neuron = IntegrateAndFire(threshold, **options).double()
    with continued(neuron):
        spikes = neuron(current.double().unsqueeze(-1))
        return "".join(str(int(one)) for one in spikes), neuron.membrane().item()


def constant(value: float, steps: int) -> Tensor:
    return torch.full((steps,), value, dtype=torch.float64)


@pytest.mark.parametrize(
    ("options", "spikes"), [(HYBRID, "000100100101"), (DIET, "001001001010"), (OPTIMAL, "001001010010")]
)
def test_constant_input(options: dict[str, Any], spikes: str) -> None:
    assert run(constant(0.375, 12), **options) == (spikes, 0.5)


@pytest.mark.parametrize(("options", "spikes"), [(HYBRID, "000101"), (DIET, "001010"), (OPTIMAL, "010101")])
def test_input_that_reaches_the_threshold_exactly(options: dict[str, Any], spikes: str) -> None:
    assert run(constant(0.5, 6), **options)[0] == spikes


@pytest.mark.parametrize(
    ("options", "leak", "spikes", "membrane"),
    [(HYBRID, 0.99, "000100100101", 0.406732566), (DIET, 0.9, "001001001001", 0.043027749)],
)
def test_leak(options: dict[str, Any], leak: float, spikes: str, membrane: float) -> None:
    found, left = run(constant(0.375, 12), leak=leak, **options)
    assert (found, left) == (spikes, pytest.approx(membrane, abs=1e-9))


@pytest.mark.parametrize(("options", "expected"), [(HYBRID, ("01111111", 2.5)), (DIET, ("11111111", 2.0))])
def test_a_step_has_one_spike_at_most(options: dict[str, Any], expected: tuple[str, float]) -> None:
    assert run(constant(0.75, 8), 0.5, **options) == expected


SUM = torch.tensor([0.875, -0.375, 0.6875, 0.125, 1.25, -0.1875, 0.625, 0.8125, -0.5, 0.3125])


@pytest.mark.parametrize(
    ("options", "spikes", "membrane"),
    [(HYBRID, "0100011010", 0.625), (DIET, "1000110100", 0.625), (OPTIMAL, "1000111100", -0.125)],
)
def test_soft_reset_loses_no_charge(options: dict[str, Any], spikes: str, membrane: float) -> None:
    found = run(SUM, 0.75, **options)
    assert found == (spikes, membrane)
    assert 0.75 * found[0].count("1") + found[1] == SUM.sum().item() == 3.625


def test_hard_reset_loses_charge() -> None:
    found = run(SUM, 0.75, reset="hard", at_threshold=True)
    assert found == ("1000100100", -0.1875)
    assert 0.75 * 3 + found[1] == 2.0625 != SUM.sum().item()


def test_hard_reset_after_firing_first_keeps_the_input_of_the_step() -> None:
    assert run(constant(0.75, 4), 1.0, reset="hard", first="fire") == ("0010", 1.5)


@pytest.mark.parametrize(
    ("rate", "soft", "hard"),
    [(0.25, 16, 16), (0.3125, 20, 16), (0.4375, 28, 21), (0.5625, 36, 32), (0.6875, 44, 32), (0.875, 56, 32)],
)
def test_soft_reset_keeps_rates_that_hard_reset_flattens(rate: float, soft: int, hard: int) -> None:
    current = constant(rate, 64)
    assert run(current, reset="soft", at_threshold=True)[0].count("1") == soft == math.floor(64 * rate)
    assert run(current, reset="hard", at_threshold=True)[0].count("1") == hard == 64 // math.ceil(1 / rate)


RATES = {
    0.03: (0, 0), 0.0625: (0, 0.125), 0.1: (0, 0.125), 0.2: (0.125, 0.25), 0.3125: (0.25, 0.375), 0.5: (0.5, 0.5),
    0.7: (0.625, 0.75), 0.95: (0.875, 1), 1.0: (1, 1), 1.2: (1, 1),
}  # fmt: skip


@pytest.mark.parametrize(("value", "plain", "shifted"), [(value, *rates) for value, rates in RATES.items()])
def test_shift_turns_the_floor_into_rounding(value: float, plain: float, shifted: float) -> None:
    current = constant(value, 8)
    assert run(current, at_threshold=True)[0].count("1") / 8 == plain
    assert run(current, at_threshold=True, shift=1 / 16)[0].count("1") / 8 == shifted


@pytest.mark.parametrize("steps", [16, 32, 128])
def test_shift_is_a_bias_beyond_the_steps_it_is_meant_for(steps: int) -> None:
    assert run(constant(0.4375, steps), at_threshold=True, shift=1 / 16)[0].count("1") / steps == 0.5


@pytest.mark.parametrize(
    ("steps", "shift", "error"), [(8, 0.0, 1 / 192), (8, 1 / 16, 1 / 768), (1, 0.0, 1 / 3), (1, 0.5, 1 / 12)]
)
def test_mean_squared_error_of_the_staircase(steps: int, shift: float, error: float) -> None:
    inputs = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    neuron = IntegrateAndFire(shift=shift, at_threshold=True).double()
    rates = neuron(inputs.expand(steps, -1)).mean(0)
    assert (rates - inputs).square().mean().item() == pytest.approx(error, rel=1e-3)


def test_order_of_inputs_matters() -> None:
    assert run(torch.tensor([0.9, 0.3, -2.0, 0.4]), at_threshold=True)[0] == "0100"


def test_inputs_without_an_exact_sum_lose_ties() -> None:
    assert run(constant(0.3, 100))[0].count("1") == 29


@pytest.mark.parametrize(("length", "spikes"), [(1, 4), (3, 2), (11, 0), (19, 0)])
def test_firing_first_delays_every_layer_by_a_step(length: int, spikes: int) -> None:
    layers = [IntegrateAndFire(first="fire").double() for _ in range(length)]
    prompt = [IntegrateAndFire().double() for _ in range(length)]
    x, steps = torch.ones(32, 1, dtype=torch.float64), range(32)
    y = x
    for late, soon in zip(layers, prompt, strict=True):
        x, y = late(1.2 * x), soon(1.2 * y)
    assert next(step for step in steps if x[step]) == length
    assert (x[:5].sum(), y.sum()) == (spikes, 32)


def test_a_spike_may_be_as_high_as_the_threshold() -> None:
    current = torch.tensor([0.5, 0.5, 0.25, 1.0]).unsqueeze(-1)
    plain, high = IntegrateAndFire(0.75), ScaledIntegrateAndFire(0.75)
    assert torch.equal(high(current), 0.75 * plain(current))


@pytest.mark.parametrize("first", ["fire", "integrate"])
def test_steps_in_parts_are_one_presentation(first: Any) -> None:
    current = torch.randn(7, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    neuron = IntegrateAndFire(0.7, first=first)
    whole = neuron(current)
    with continued(neuron):
        joined = torch.cat([neuron(current[:2]), neuron(current[2:3]), neuron(current[3:])])
    assert torch.equal(joined, whole)
    assert torch.equal(neuron(current), whole)  # from rest again


def test_time_folded_into_the_batch_gives_the_same_in_any_layout() -> None:
    current = torch.randn(3, 2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    neuron = IntegrateAndFire(0.5)
    folded = current.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    spikes = neuron(folded, 3)
    assert spikes.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(spikes, neuron(current).flatten(0, 1))


def test_thresholds_are_saved_with_the_weights() -> None:
    assert IntegrateAndFire(0.3).state_dict()["threshold"] == torch.tensor(0.3)


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(SnnError, match="no derivative"):
        IntegrateAndFire()(torch.ones(2, 3, requires_grad=True))
    with pytest.raises(SnnError, match="threshold is 0; it must be above"):
        IntegrateAndFire(0)
    with pytest.raises(SnnError, match="kept within `continued` alone"):
        IntegrateAndFire().membrane()
    assert not list(nn.Module.parameters(IntegrateAndFire()))
