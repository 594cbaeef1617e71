"""Optimal conversion [38]: its neuron, its thresholds, and what the shift is good for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.systems.digits import Digits
from tests.systems.toy import ACTIVATIONS, Toy
from tksbench.snn.errors import SnnError
from tksbench.snn.integrate import ScaledIntegrateAndFire
from tksbench.snn.kit import Kit
from tksbench.snn.neuron import LIF
from tksbench.snn.overtime import outputs_at
from tksbench.systems.optimal_conversion import OptimalConversion, ThresholdReLU


@pytest.mark.parametrize(
    ("neuron", "inputs", "outputs", "gradient"),
    [
        (ThresholdReLU(), (-0.5, 0, 0.25, 1, 1.5), (0, 0, 0.25, 1, 1), (0, 1, 1, 1, 0)),
        (ThresholdReLU(threshold=2.0), (1.5, 2.5), (1.5, 2), (1, 0)),
        (
            ThresholdReLU(shift_steps=8),
            (0, 0.05, 0.0625, 0.5, 1, 1.0625, 1.2),
            (0, 0, 0, 0.4375, 0.9375, 1, 1),
            (0, 0, 1, 1, 1, 1, 0),
        ),
    ],
)
def test_threshold_relu(
    neuron: ThresholdReLU, inputs: tuple[float, ...], outputs: tuple[float, ...], gradient: tuple[float, ...]
) -> None:
    x = torch.tensor(inputs, dtype=torch.float64, requires_grad=True)
    y = neuron(x, 1)
    y.sum().backward()
    assert (tuple(y.tolist()), tuple(x.grad.tolist())) == (outputs, gradient)  # type: ignore[union-attr]


MEANS = {  # of the classes' spikes over T steps, without and with the shift; of class 0, class 1 has its logit
    4: (0.0, 0.080078125),
    16: (0.0400390625, 0.06005859375),
    32: (0.0400390625, 0.050048828125),
    64: (0.050048828125, 0.0550537109375),
    128: (0.05255126953125, 0.0550537109375),
}


@pytest.mark.parametrize("steps", MEANS)
@pytest.mark.parametrize("shift", ["none", "code"])
def test_thresholds_are_the_largest_activations(steps: int, shift: Any) -> None:
    network = Toy().double().eval()
    images = torch.tensor([[0.75, 0.5]], dtype=torch.float64).view(1, 2, 1, 1)
    with torch.no_grad():
        assert network(images).tolist() == [[[0.0546875, 0.3203125]]]
    assert OptimalConversion(shift=shift)(network, [images], steps) is network
    first, last = network.get_submodule("neuron1"), network.readout
    assert isinstance(first, ScaledIntegrateAndFire) and isinstance(last, ScaledIntegrateAndFire)
    assert (first.threshold.item(), last.threshold.item()) == (max(ACTIVATIONS), 0.3203125)
    assert steps == network.T
    with torch.no_grad():
        mean = network(images).mean(0).squeeze().tolist()
    assert mean == [MEANS[steps][shift == "code"], 0.3203125]


def test_the_code_does_not_shift_what_stands_behind_a_sum(digits: Digits) -> None:
    network = OptimalConversion()(copy.deepcopy(digits.network), [digits.images], 8)
    every = OptimalConversion(shift="every")(copy.deepcopy(digits.network), [digits.images], 8)
    neurons = {name: one for name, one in network.named_modules() if isinstance(one, ScaledIntegrateAndFire)}
    assert len(neurons) == 20
    assert {name for name, one in neurons.items() if not one.shift} == {f"blocks.{n}.neuron2" for n in range(8)}
    assert all(one.shift for one in every.modules() if isinstance(one, ScaledIntegrateAndFire))


def test_the_steps_of_the_shift_may_be_others_than_those_of_the_test(digits: Digits) -> None:
    network = OptimalConversion(shift_steps=32)(copy.deepcopy(digits.network), [digits.images], 8)
    neuron = network.get_submodule("stem.0.neuron")
    assert isinstance(neuron, ScaledIntegrateAndFire)
    assert neuron.shift == pytest.approx(neuron.threshold.item() / 64)


def accuracy(digits: Digits, at: list[int], **options: Any) -> list[float]:
    convert = OptimalConversion(readout="membrane", **options)
    network = convert(copy.deepcopy(digits.network), [digits.images], at[-1])
    return [digits.accuracy(logits) for logits in outputs_at(network, digits.test_images, at)]


def test_soft_reset_comes_near_the_analog_network_where_hard_reset_does_not(digits: Digits) -> None:
    analog = digits.accuracy(digits.analog())
    assert analog > 0.7
    (soft,), (hard,) = (accuracy(digits, [128], shift="none", reset=reset) for reset in ("soft", "hard"))
    assert soft > analog - 0.05
    assert soft > hard + 0.05


def test_the_shift_pays_at_few_steps(digits: Digits) -> None:
    (shifted,), (plain,) = (accuracy(digits, [8], shift=shift) for shift in ("every", "none"))
    assert shifted > plain + 0.1


def test_rates_of_the_first_layer_are_within_a_spike_of_the_analog_ones(digits: Digits) -> None:
    steps, rates = 32, dict[str, Tensor]()

    def see(network: Any) -> None:
        layer = network.get_submodule("stem.0.neuron")
        layer.register_forward_hook(lambda _module, _inputs, out: rates.update(now=out))
        with torch.no_grad():
            network.present(digits.test_images, steps)

    network = copy.deepcopy(digits.network)
    see(network)
    analog = rates["now"].reshape(steps, -1).mean(0)
    network = OptimalConversion(shift="none")(copy.deepcopy(digits.network), [digits.images], steps)
    threshold = network.get_submodule("stem.0.neuron").threshold
    see(network)
    spiking = rates["now"].reshape(steps, -1).mean(0)
    assert (spiking - analog.clamp(max=float(threshold))).abs().max() <= float(threshold) / steps * 1.001


def spiking(digits: Digits) -> Any:
    network = copy.deepcopy(digits.network)
    network.stem[0].neuron = LIF()
    return network


def silent(digits: Digits) -> Any:
    network = copy.deepcopy(digits.network)
    with torch.no_grad():
        network.get_parameter("stem.1.synapses.weight").zero_()
    return network


@pytest.mark.parametrize(
    ("network", "images", "message"),
    [
        (spiking, 1, "stem.0.neuron is LIF: this conversion is for networks of neuron `relu`"),
        (silent, 1, r"stem.1.neuron: its largest output on the training images is 0.0; a threshold is above 0"),
        (lambda digits: copy.deepcopy(digits.network), 0, "needs training images, and was given none"),
    ],
)
def test_what_cannot_be_converted_is_refused(
    digits: Digits, network: Callable[[Digits], Any], images: int, message: str
) -> None:
    with pytest.raises(SnnError, match=message):
        OptimalConversion()(network(digits), [digits.images] * images, 8)


def test_a_network_without_such_a_readout_names_the_other() -> None:
    from tksbench.snn.vgg import VGGSNN

    network = VGGSNN(T=1, width=0.0625, img_size=16, kit=Kit(neuron=ThresholdReLU)).eval()
    images = torch.rand(4, 2, 16, 16)
    with pytest.raises(SnnError, match="VGGSNN: its classes cannot spike; convert it with readout membrane"):
        OptimalConversion()(network, [images], 4)
    converted = OptimalConversion(readout="membrane")(network, [images], 4)
    with torch.no_grad():
        assert converted(images).shape == (4, 4, 10)
