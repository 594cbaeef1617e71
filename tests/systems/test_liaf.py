"""LIAF and the 3-D network: golden values of the neuron, networks by their parameters, what both cost."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tksbench.snn.cost import measure_cost
from tksbench.snn.errors import SnnError
from tksbench.snn.kit import Kit, ReLU
from tksbench.snn.neuron import LIF
from tksbench.systems.liaf import LIAF, Conv3DNet, LIAFNet
from tksbench.systems.tcja import TCJAVGG

X = torch.tensor([0.3, 0.4, 0.7, -0.2, 0.9, -0.6, 0.25], dtype=torch.float64).view(-1, 1)


def sent(**options: Any) -> list[float]:
    return LIAF(**options)(X).flatten().tolist()  # type: ignore[no-any-return]


def test_golden_values_of_the_neuron() -> None:
    assert sent(decay=0.5, activation="spike") == [0, 1, 1, 0, 1, 0, 0]
    assert sent(decay=0.5) == pytest.approx([0.3, 0.55, 0.7, 0, 0.8, 0, 0])
    assert sent(decay=0.5, relative=True) == pytest.approx([0, 0.05, 0.2, 0, 0.3, 0, 0])
    selu = [0.31521, 0.616486, 0.735491, -0.318689, 0.814827, -0.793234, -0.204215]
    assert sent(decay=1 / (1 + math.exp(-0.5)), activation="selu") == pytest.approx(selu, abs=1e-6)


@pytest.mark.parametrize(
    ("decay", "golden"),
    [
        (0.5, [0.3, 0.55, 0.7, -0.2, 0.8, -0.6, -0.05]),
        (1 / (1 + math.exp(-0.5)), [0.3, 0.586738, 0.7, -0.2, 0.775508, -0.6, -0.123476]),
    ],
)
def test_golden_membranes(decay: float, golden: list[float]) -> None:
    neuron, left, found = LIAF(decay=decay), torch.zeros(1, dtype=torch.float64), []
    for current in X:
        found.append((left + current).item())
        _, left = neuron.step(current, left)
    assert found == pytest.approx(golden, abs=1e-6)


def test_the_reset_has_the_gradient_of_the_surrogate() -> None:
    x = X[:2].clone().requires_grad_()
    LIAF(decay=0.5)(x)[1].backward()
    # u_2 = 0.5 u_1 (1 - f_1) + x_2 with u_1 = 0.3, within the rectangle: du_2/du_1 = 0.5 - 0.5 u_1.
    assert x.grad is not None
    assert x.grad.flatten().tolist() == pytest.approx([0.5 - 0.5 * 0.3, 1.0])


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameters_of_both_networks() -> None:
    with torch.device("meta"):
        assert count(LIAFNet(kit=Kit(neuron=LIAF))) == 2_625_514
        assert count(Conv3DNet(kit=Kit(neuron=ReLU))) == 5_762_154


def small(kind: type[LIAFNet] | type[Conv3DNet], neuron: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    return kind(4, T=3, width=0.1, kit=Kit(neuron=neuron), img_size=64, **options)


@pytest.mark.parametrize(
    ("kind", "neuron", "options"),
    [(LIAFNet, LIAF, {}), (LIAFNet, LIAF, {"on_membrane": False}), (Conv3DNet, ReLU, {})],
)
def test_networks_take_frames_and_images_and_have_features(kind: Any, neuron: Any, options: Any) -> None:
    network = small(kind, neuron, **options).eval()
    frames = torch.rand(2, 3, 2, 64, 64)
    assert network(frames).shape == (3, 2, 4)
    assert network(frames[:, 0]).shape == (3, 2, 4)
    assert network.forward_features(frames).shape == (2, network.fc1.out_features)
    torch.testing.assert_close(network(frames[:1]), network(frames)[:, :1])


def test_a_norm_on_the_membranes_sees_what_is_left_of_the_step_before() -> None:
    one, two = small(LIAFNet, LIAF), small(LIAFNet, LIAF, on_membrane=False)
    frames = torch.rand(2, 3, 2, 64, 64)
    first = [network.train()(frames[:, :1]) for network in (one, two)]
    torch.testing.assert_close(*first)  # in the first step nothing is left yet
    assert not torch.allclose(one(frames), two(frames))
    with pytest.raises(SnnError, match="on_membrane is for neurons 'liaf', not for LIF"):
        small(LIAFNet, LIF)


def test_the_3d_network_has_one_answer_that_depends_on_all_steps_in_their_order() -> None:
    network, frames = small(Conv3DNet, ReLU).eval(), torch.rand(2, 3, 2, 64, 64)
    logits = network(frames)
    assert torch.equal(logits, logits[:1].expand_as(logits))
    assert not torch.allclose(logits, network(frames.flip(1)))


def macs(network: nn.Module, x: Tensor) -> dict[str, Any]:
    return {layer["name"]: layer for layer in measure_cost(network, x)["layers"]}  # type: ignore[arg-type]


def test_analog_networks_cost_multiply_accumulates_and_3d_convolutions_are_counted() -> None:
    network, frames = small(Conv3DNet, ReLU), torch.rand(2, 3, 2, 64, 64)
    cost = measure_cost(network, frames)
    assert cost["synops"] == 0 and cost["spike_rate"] is None
    conv = macs(network, frames)["stages.1.conv"]
    before, after = network.channels[1:3]
    assert conv["macs"] == 3 * 16 * 16 * after * before * 27
    assert conv["macs_per_step"] == conv["macs"] // 3
    liaf = small(LIAFNet, LIAF)
    assert measure_cost(liaf, frames)["synops"] == 0
    assert macs(liaf, frames)["stages.1.conv"]["macs"] == 3 * 16 * 16 * after * before * 9


def test_attention_is_counted_as_multiply_accumulates() -> None:
    lively = Kit(neuron=lambda: LIF(threshold=1e-3))
    network = TCJAVGG(4, T=3, width=0.05, kit=lively, img_size=16, place="first", over_channels=2, over_time=4)
    layers = macs(network, (torch.rand(2, 3, 2, 16, 16) < 0.5).float())
    channels = network.attention["0"].over_time.in_channels
    assert layers["attention.0.over_channels"]["macs"] == 3 * channels * 3 * 2
    assert layers["attention.0.over_time"]["macs"] == 3 * channels * channels * 4
