"""Thresholds from spikes: SPIKE-NORM [43], RMP-SNN [37], hybrid training [36] and Diet-SNN [42] on two small layers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from tests.systems.digits import Digits
from tests.systems.toy import Given, Toy
from tksbench.snn.encoder import Poisson
from tksbench.snn.errors import SnnError
from tksbench.snn.integrate import IntegrateAndFire, ScaledIntegrateAndFire
from tksbench.snn.kit import Kit
from tksbench.snn.overtime import continued, outputs_at
from tksbench.systems._conversion import balance, upper
from tksbench.systems.diet_snn import Diet, DietConversion
from tksbench.systems.hybrid_training import STDB, HybridConversion
from tksbench.systems.rmp_snn import RMP
from tksbench.systems.spike_norm import SpikeNorm

IMAGE = torch.zeros(1, 2, 1, 1, dtype=torch.float64)
FIRE, INTEGRATE = partial(IntegrateAndFire, first="fire"), IntegrateAndFire


def toy(neuron: Callable[[], Any]) -> Toy:
    """Both layers spike, and the input is the given spikes."""
    network = Toy(neuron)
    network.readout, network.encoder = neuron(), Given()
    return network.double().eval()


def spikes(network: Toy) -> tuple[str, str]:
    """Those of the first and of the second layer, step by step."""
    return run(network)[0]


def run(network: Toy) -> tuple[tuple[str, str], list[list[float]]]:
    """Spikes of both layers, step by step, and their last membranes."""
    seen: dict[str, str] = {}

    def see(name: str, out: torch.Tensor) -> None:
        seen[name] = " ".join("".join(str(int(one)) for one in row) for row in out.view(8, -1).ne(0))

    for name in ("neuron1", "readout"):
        network.get_submodule(name).register_forward_hook(lambda _module, _inputs, out, name=name: see(name, out))
    with torch.no_grad(), continued(network):
        network.present(IMAGE, 8)
        layers = (network.get_submodule(name) for name in seen)
        left = [layer.membrane().flatten().tolist() for layer in layers]  # type: ignore[operator]
    return (seen["neuron1"], seen["readout"]), left


@pytest.mark.parametrize(
    ("neuron", "second", "expected", "left"),
    [
        (
            FIRE,
            0.625,
            ("000 000 000 010 010 000 010 000", "00 00 00 00 00 01 00 01"),
            [[1.25, 2.25, 1.25], [-0.75, 0.625]],
        ),
        (
            INTEGRATE,
            1.0,
            ("000 000 010 010 000 010 000 111", "00 00 00 01 00 00 00 01"),
            [[0.125, 1.125, 0.125], [0.25, 0.625]],
        ),
    ],
)
def test_thresholds_are_the_largest_inputs_that_spikes_bring(
    neuron: Callable[[], Any], second: float, expected: tuple[str, str], left: list[list[float]]
) -> None:
    network = toy(neuron)
    assert balance(network, ["neuron1", "readout"], IMAGE, 8) == {"neuron1": 1.125, "readout": second}
    assert run(network) == (expected, left)


def test_thresholds_do_not_depend_on_how_many_images_fit(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for rows in (2048, 1):
        monkeypatch.setattr("tksbench.snn.overtime.ROWS", rows)
        found.append(stem(SpikeNorm(samples=40, steps=20)(copy.deepcopy(digits.network), [digits.images], 6)))
    assert found[0] == pytest.approx(found[1])


@pytest.mark.parametrize(
    ("neuron", "expected"),
    [(FIRE, "000 000 010 010 100 010 011 010"), (INTEGRATE, "000 010 010 100 010 011 010 010")],
)
def test_scaled_thresholds(neuron: Callable[[], Any], expected: str) -> None:
    network = toy(partial(neuron, 0.75 * 1.125))
    assert spikes(network)[0] == expected


@pytest.mark.parametrize(("count", "value"), [(1000, 996), (5120, 5104)])
def test_percentile_is_a_value_that_there_is(count: int, value: int) -> None:
    assert upper(torch.arange(count).flip(0), 99.7) == value
    assert upper(torch.arange(count), 100) == count - 1


def test_a_layer_without_input_is_named() -> None:
    with pytest.raises(SnnError, match=r"readout: its largest input in 1 steps is 0, .* balance over more steps"):
        balance(toy(FIRE), ["neuron1", "readout"], IMAGE, 1)


CONVERSIONS: list[tuple[Any, type, dict[str, Any]]] = [
    (SpikeNorm(samples=60, steps=60, encoder=Poisson()), IntegrateAndFire, {"reset": "hard", "first": "integrate"}),
    (RMP(samples=60, steps=40, factor=0.8), IntegrateAndFire, {"reset": "soft", "first": "integrate"}),
    (HybridConversion(samples=60, steps=40), IntegrateAndFire, {"reset": "soft", "first": "fire"}),
    (DietConversion(samples=60, steps=20), IntegrateAndFire, {"reset": "soft", "first": "integrate"}),
]


@pytest.mark.parametrize(("convert", "kind", "options"), CONVERSIONS)
def test_neurons_of_each_conversion(digits: Digits, convert: Any, kind: type, options: dict[str, Any]) -> None:
    network = convert(copy.deepcopy(digits.network), [digits.images[:50], digits.images[50:]], 6)
    neurons = {name: one for name, one in network.named_modules() if isinstance(one, IntegrateAndFire)}
    assert len(neurons) == 19
    assert {type(one) for one in neurons.values()} == {kind}
    assert {key: getattr(neurons["stem.1.neuron"], key) for key in options} == options
    assert not neurons["stem.1.neuron"].at_threshold
    blocks = [float(one.threshold) for name, one in neurons.items() if name.startswith("blocks")]
    assert blocks == pytest.approx([getattr(convert, "block_threshold", 1.0)] * 16)
    with torch.no_grad():
        assert network(digits.test_images[:2]).shape == (6, 2, 10)


def test_rmp_may_pass_spikes_on_as_high_as_their_threshold() -> None:
    network = Toy().double().eval()
    network.encoder = Given()
    RMP(samples=1, steps=8, factor=0.5, spikes="threshold")(network, [IMAGE], 8)
    neuron = network.get_submodule("neuron1")
    assert isinstance(neuron, ScaledIntegrateAndFire)
    assert neuron.threshold == 0.5 * 1.125


def stem(network: Any) -> list[float]:
    return [layer.neuron.threshold.item() for layer in network.stem]


def test_one_factor_scales_all_thresholds_after_they_were_found(digits: Digits) -> None:
    plain, scaled = (
        HybridConversion(samples=20, steps=30, factor=factor)(copy.deepcopy(digits.network), [digits.images], 6)
        for factor in (1.0, 0.5)
    )
    assert stem(scaled) == pytest.approx([threshold / 2 for threshold in stem(plain)])


@pytest.mark.parametrize(("neuron", "convert"), [(STDB, HybridConversion), (Diet, DietConversion)])
def test_neurons_that_are_trained_get_their_thresholds_set(digits: Digits, neuron: Any, convert: Any) -> None:
    network = type(digits.network)((2, 2, 2, 2), width=0.0625, img_size=8, dropout=0.0, T=5, kit=Kit(neuron=neuron))
    missing = network.load_state_dict(digits.network.state_dict(), strict=False).missing_keys
    assert all(key.endswith(("threshold", "leak")) for key in missing)
    before = {key: id(one) for key, one in network.named_parameters()}
    conversion = convert(samples=20, steps=30)
    assert conversion(network, [digits.images], 5) is network
    assert before == {key: id(one) for key, one in network.named_parameters()}
    alone = convert(samples=20, steps=30)(copy.deepcopy(digits.network), [digits.images], 5)
    assert stem(network) == pytest.approx(stem(alone))
    assert all(isinstance(layer.neuron, neuron) for layer in network.stem)
    with torch.no_grad():  # as trained neurons compute it, and as those that were balanced do
        ours, theirs = network.eval()(digits.test_images[:50]), alone(digits.test_images[:50])
    torch.testing.assert_close(ours, theirs)


def test_rmp_chooses_the_factor_that_agrees_best_with_the_analog_network(
    digits: Digits, caplog: pytest.LogCaptureFixture
) -> None:
    steps, images = 24, digits.images[:60]
    with caplog.at_level("INFO", logger="tksbench.systems"):
        chosen = RMP(samples=60, steps=40)(copy.deepcopy(digits.network), [images], steps)
    with torch.no_grad():
        wanted = digits.network(images)[0].argmax(-1)
    agree = {}
    for factor in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        network = RMP(samples=60, steps=40, factor=factor)(copy.deepcopy(digits.network), [images], steps)
        agree[factor] = (
            (outputs_at(network, images, [steps])[0].argmax(-1) == wanted).sum().item(),
            factor,
            stem(network),
        )
    assert stem(chosen) == max(agree.values())[2]
    assert f"factor on the thresholds {max(agree.values())[1]:g};" in caplog.text
