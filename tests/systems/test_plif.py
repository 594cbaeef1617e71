"""PLIF: golden values of its neuron, its norm one step at a time, and its network."""

from __future__ import annotations

import math

import pytest
import torch

from tksbench.snn.errors import SnnError
from tksbench.snn.kit import Kit
from tksbench.systems.plif import PLIF, PLIFNet, StepBatchNorm

INPUTS = {
    "first": [0.6, 1.5, 0.9, 1.2, -0.4, 2.0, 2.0, 0.3],
    "second": [2.2, 0.5, 1.8, 1.9, -1.0, 3.0, 0.1, 2.5],
}
KIT = Kit(neuron=PLIF, norm=StepBatchNorm)


def neuron(w: float) -> PLIF:
    made = PLIF().double()
    made.w.data.fill_(w)
    return made


def train(w: float, inputs: str) -> tuple[list[float], list[float], float]:
    """Membranes before the reset, spikes, and dL/dw of L = sum of t s_t."""
    one = neuron(w)
    x = torch.tensor(INPUTS[inputs], dtype=torch.float64)
    v, membranes, spikes = torch.zeros((), dtype=torch.float64), [], []
    for step in x:
        membranes.append((v + (step - v) * one.w.sigmoid()).item())
        s, v = one.step(step, v)
        spikes.append(s)
    loss = (torch.arange(1.0, 9.0, dtype=torch.float64) * one(x)).sum()
    loss.backward()
    assert one.w.grad is not None
    return membranes, torch.stack(spikes).tolist(), one.w.grad.item()


@pytest.mark.parametrize(
    ("w", "inputs", "membranes", "spikes", "gradient"),
    [
        (0.0, "first", [0.3, 0.9, 0.9, 1.05, -0.2, 0.9, 1.45, 0.15], "00010010", 5.87605489),
        (
            1.0,
            "first",
            [0.438635, 1.214555, 0.657953, 1.054221, -0.292423, 1.383472, 1.462117, 0.219318],
            "01010110",
            3.18686767,
        ),
        (0.0, "second", [1.1, 0.25, 1.025, 0.95, -0.025, 1.4875, 0.05, 1.275], "10100101", 7.63758545),
    ],
)
def test_golden_membranes_spikes_and_gradient(
    w: float, inputs: str, membranes: list[float], spikes: str, gradient: float
) -> None:
    got = train(w, inputs)
    assert got[0] == pytest.approx(membranes, abs=1e-6)
    assert got[1] == [float(one) for one in spikes]
    assert got[2] == pytest.approx(gradient, abs=1e-8)


def test_golden_values_of_a_long_time_constant() -> None:
    membranes, spikes, gradient = train(-math.log(15), "first")
    assert membranes[-1] == pytest.approx(0.411392, abs=1e-6)
    assert sum(spikes) == 0.0
    assert gradient == pytest.approx(1.68675688, abs=1e-8)


def test_it_fires_at_the_threshold_itself() -> None:
    assert neuron(0.0)(torch.tensor([2.0], dtype=torch.float64)).tolist() == [1.0]


def test_w_is_that_of_the_time_constant_asked_for() -> None:
    assert torch.sigmoid(PLIF(init_tau=4.0).w).item() == pytest.approx(0.25)
    with pytest.raises(SnnError, match="init_tau is 1"):
        PLIF(init_tau=1.0)


def test_the_norm_sees_one_step_at_a_time() -> None:
    norm, plain = StepBatchNorm(2), torch.nn.BatchNorm2d(2)
    x = torch.randn(6, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    got = norm(x, 3)
    assert torch.equal(got, torch.cat([plain(one) for one in x.split(2)]))
    assert norm.num_batches_tracked == 3
    assert torch.equal(norm.running_var, plain.running_var)
    assert torch.equal(norm.eval()(x, 3), plain.eval()(x))


def test_its_network_has_as_many_parameters() -> None:
    assert sum(one.numel() for one in PLIFNet(kit=KIT).parameters()) == 17_427_718


def test_outputs_are_shares_of_the_ten_voters() -> None:
    torch.manual_seed(0)
    network = PLIFNet(width=0.0625, kit=KIT, img_size=16)
    with torch.no_grad():
        for fc in network.fcs:
            fc.weight.mul_(10.0)
    out = network(4 * torch.rand(3, 4, 2, 16, 16))
    assert out.shape == (4, 3, 10)
    assert torch.equal(out * 10, (out * 10).round())
    assert out.unique().numel() > 2
    by_class = network.fcs[1].weight.unflatten(0, (10, 10))
    out[:, :, 3].sum().backward()
    assert network.fcs[1].weight.grad is not None
    used = network.fcs[1].weight.grad.view_as(by_class).abs().sum((1, 2)) > 0
    assert used.nonzero().flatten().tolist() == [3]  # class c is the outputs 10 c to 10 c + 9


def test_frames_too_small_for_the_pools_are_refused() -> None:
    with pytest.raises(SnnError, match="img_size is 8; 4 pools need at least 16"):
        PLIFNet(img_size=8)


def test_it_agrees_with_spikingjelly() -> None:
    neurons = pytest.importorskip("spikingjelly.activation_based.neuron", reason="needs the extra bench")
    from spikingjelly.activation_based import surrogate

    its = neurons.ParametricLIFNode(
        init_tau=3.0, detach_reset=True, step_mode="m", surrogate_function=surrogate.ATan(alpha=2.0)
    )
    ours, found = PLIF(init_tau=3.0), []
    for one in (ours, its):
        x = torch.randn(6, 4, 10, generator=torch.Generator().manual_seed(0)).mul(2).requires_grad_()
        spikes = one(x)
        (spikes * torch.linspace(-1, 1, spikes.numel()).view_as(spikes)).sum().backward()
        found.append((spikes.detach(), x.grad, one.w.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)
