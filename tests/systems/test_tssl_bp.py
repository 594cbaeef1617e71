"""TSSL-BP: its backward pass on two neurons in series, its networks by their number of parameters."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from tksbench.snn.errors import SnnError
from tksbench.snn.kit import Kit, identity
from tksbench.systems.tssl_bp import PSPMSE, TSSLCIFARNet, TSSLNeuron, TSSLNeuron2020, synapse

KIT = Kit(TSSLNeuron, identity)


def toy(tau_s: float, kind: type[TSSLNeuron] = TSSLNeuron) -> tuple[float, list[float], float, float]:
    """Loss, dL/dx of the second neuron and dL/dw of both, of weights 1.5 and 2.5 and an image of value 1."""
    neuron, loss = kind(tau_s=tau_s), PSPMSE(tau_s=tau_s)
    first, second = (torch.tensor(w, dtype=torch.float64, requires_grad=True) for w in (1.5, 2.5))
    image = synapse(torch.ones(5, 1, 1, dtype=torch.float64), tau_s)
    current = second * neuron(first * image)
    current.retain_grad()
    value = loss(neuron(current), torch.tensor([0]))
    value.backward()
    assert current.grad is not None and first.grad is not None and second.grad is not None
    return value.item(), current.grad.flatten().tolist(), first.grad.item(), second.grad.item()


def test_golden_kernel() -> None:
    impulse = torch.tensor([1.0, 0, 0, 0, 0], dtype=torch.float64)
    assert synapse(impulse, 3.0).tolist() == pytest.approx([1 / 3, 2 / 9, 4 / 27, 8 / 81, 16 / 243], rel=1e-12)


def test_golden_traces() -> None:
    image = synapse(torch.ones(5, 1, dtype=torch.float64), 3.0)
    assert image.flatten().tolist() == pytest.approx([0.3333333, 0.5555556, 0.7037037, 0.8024691, 0.8683128], abs=1e-7)
    first = TSSLNeuron(tau_s=3.0)(1.5 * image)
    assert first.flatten().tolist() == pytest.approx([0, 0.3333333, 0.5555556, 0.7037037, 0.8024691], abs=1e-7)
    second = TSSLNeuron(tau_s=3.0)(2.5 * first)
    assert second.flatten().tolist() == pytest.approx([0, 0, 0.3333333, 0.5555556, 0.7037037], abs=1e-7)


def test_the_target_is_filtered_twice() -> None:
    wanted = PSPMSE(tau_s=3.0).target(torch.zeros(5, 1, 1, dtype=torch.float64))
    assert wanted.tolist() == pytest.approx([0, 0.1111111, 0.2592593, 0.4074074, 0.5390947], abs=1e-7)
    assert len(PSPMSE().target(torch.zeros(8, 1, 1))) == 8


def test_golden_gradients_of_two_neurons_in_series() -> None:
    value, by_current, first, second = toy(3.0)
    assert value == pytest.approx(0.0334383308777456, rel=1e-12)
    assert by_current == pytest.approx([0.00039067, 0.01861382, 0.08536630, 0.05433298, 0.02735043], abs=1e-8)
    assert first == pytest.approx(0.23699736257578113, rel=1e-12)
    assert second == pytest.approx(0.11381252471683886, rel=1e-12)


def test_golden_gradients_with_a_faster_synapse() -> None:
    value, _, first, second = toy(2.0)
    assert (value, first, second) == pytest.approx((0.087890625, 0.6073959922724651, 0.26278761904761905), rel=1e-12)


@pytest.mark.parametrize(
    ("tau_s", "golden"),
    [
        (3.0, (0.0334383308777456, 0.23635095728829247, 0.11640625120277612)),
        (2.0, (0.087890625, 0.5996212988400489, 0.290234375)),
    ],
)
def test_golden_gradients_of_the_rule_of_2020(tau_s: float, golden: tuple[float, ...]) -> None:
    value, _, first, second = toy(tau_s, TSSLNeuron2020)
    assert (value, first, second) == pytest.approx(golden, rel=1e-12)


def test_the_effect_of_a_reset_fades_until_the_next_spike_and_ends_with_it() -> None:
    # Spikes at 0, 2 and 3; a gradient at 2 alone reaches step 0 by 0.8 u_0 / 5, and with tau_s 1 no other way.
    current = torch.tensor([1.5, 0.5, 1.2, 1.1], dtype=torch.float64).view(4, 1).requires_grad_()
    traces = TSSLNeuron2020(tau_s=1.0)(current)
    assert traces.flatten().tolist() == [1, 0, 1, 1]
    traces[2].sum().backward()
    assert current.grad is not None
    assert current.grad.flatten().tolist() == pytest.approx([0.8 * 1.5 / 5 / 1.5, 0, 1 / (1.2 - 0.5 / 5), 0])


GOLDEN_F = {0.5: 0.3505185827, 0.9: 1.175018561, 1.0: 1.25, 1.2: 0.9830596662, 3.0: 0.0016761884}


@pytest.mark.parametrize("u", [0.5, 0.9, 1.0])
def test_a_silent_neuron_has_the_derivative_of_a_sigmoid(u: float) -> None:
    # One step: with tau_s 1 and an upstream gradient of 1 the sum is 1.
    current = torch.tensor([[u, 1.2]], dtype=torch.float64, requires_grad=True)
    TSSLNeuron(tau_s=1.0)(current).sum().backward()
    assert current.grad is not None
    # The other neuron has fired, so that it is not silent: its own rule holds, 1 / Du.
    assert current.grad.flatten().tolist() == pytest.approx([GOLDEN_F[u], 1 / 1.2], rel=1e-9)


@pytest.mark.parametrize(("others", "silent"), [(19, True), (18, False)])
def test_in_2020_a_layer_was_silent_as_a_whole(others: int, silent: bool) -> None:
    u = torch.tensor([1.2, 3.0, 0.9, 1.0, *[0.5] * (others - 3)], dtype=torch.float64)
    current = u.view(1, -1).requires_grad_()
    spikes = TSSLNeuron2020(tau_s=1.0)(current)
    assert (spikes.mean() <= 0.1) == silent  # two neurons of 20, or of 19
    spikes.sum().backward()
    assert current.grad is not None
    golden = [GOLDEN_F[value] if silent else float(value > 1) / value for value in u.tolist()]
    assert current.grad.flatten().tolist() == pytest.approx(golden, rel=1e-7)


def test_the_change_of_a_membrane_that_hardly_rose_counts_eight_times_at_most() -> None:
    current = torch.tensor([1.0, 0.205], dtype=torch.float64).view(2, 1).requires_grad_()
    neuron = TSSLNeuron(tau_s=1.0)
    assert neuron(current).flatten().tolist() == [0, 1]  # the second step adds 0.005
    neuron(current)[1].sum().backward()
    assert current.grad is not None
    assert current.grad[1].item() == 8.0


@pytest.mark.parametrize(("small", "parameters"), [(False, 44_999_040), (True, 21_156_384)])
def test_parameters(small: bool, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in TSSLCIFARNet(kit=KIT, small=small).parameters()) == parameters


def test_weights_begin_as_the_code_has_them() -> None:
    network = TSSLCIFARNet(width=0.125, kit=KIT, img_size=8)
    weight, linear = network.convs[1].conv.weight, network.linears[0].weight  # type: ignore[union-attr]
    bound = 5 / weight[0].numel() ** 0.5  # type: ignore[operator, index]
    assert 0.95 * bound < weight.abs().max() <= bound  # type: ignore[operator]
    assert linear.std().item() == pytest.approx((2 / linear.shape[1]) ** 0.5, rel=0.05)  # type: ignore[operator, union-attr]


def tiny() -> TSSLCIFARNet:
    torch.manual_seed(0)
    return TSSLCIFARNet(width=0.0625, kit=KIT, img_size=8)


def test_a_pool_sums_and_amplifies_and_the_image_ramps_up() -> None:
    network, seen = tiny().eval(), []

    def note(_module: object, inputs: tuple[Tensor, ...], _out: Tensor) -> None:
        seen.append(inputs[0])

    network.convs[0].conv.register_forward_hook(note)  # type: ignore[operator, union-attr]
    network.convs[1].register_forward_hook(lambda _module, _inputs, out: seen.append(out))
    network.convs[2].register_forward_hook(note)
    image = torch.randn(2, 3, 8, 8)
    assert network(image).shape == (5, 2, 10)
    torch.testing.assert_close(seen[0].view(5, 2, 3, 8, 8)[1], 0.75 * image)
    traces, pooled = seen[1], seen[2]
    torch.testing.assert_close(pooled[..., 0, 0], 1.1 * traces[..., :2, :2].sum((-1, -2)))


def test_weights_are_kept_within_four() -> None:
    network = tiny()
    torch.nn.init.constant_(network.linears[0].weight, -9.0)  # type: ignore[arg-type]
    network.set_progress(0.5)
    assert network.linears[0].weight.min() == -4  # type: ignore[operator, union-attr]


def test_the_loss_is_a_sum_and_the_pattern_a_choice() -> None:
    logits, labels = torch.rand(5, 3, 10), torch.tensor([1, 2, 3])
    one, two = (PSPMSE()(torch.cat([logits] * n, 1), labels.repeat(n)) for n in (1, 2))
    torch.testing.assert_close(two, 2 * one)
    assert PSPMSE(pattern="01011").target(logits)[2] != PSPMSE().target(logits)[2]


def test_a_half_precision_current_is_integrated_in_full() -> None:
    current = torch.rand(4, 20).bfloat16()
    traces = partial(TSSLNeuron, tau_s=2.0)()(current)
    assert traces.dtype == torch.bfloat16
    assert torch.equal(traces, TSSLNeuron(tau_s=2.0)(current.float()).bfloat16())


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(SnnError, match=r"CIFARNet: the input is 4x4; this network was built for img_size 8x8"):
        tiny()(torch.rand(1, 3, 4, 4))
