"""STBP: its network by its number of parameters, vote and loss by hand, NeuNorm by its formula."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from tksbench.snn.errors import SnnError
from tksbench.snn.iterative import IterativeLIF
from tksbench.snn.kit import Kit, identity
from tksbench.snn.surrogate import Rectangle
from tksbench.systems.stbp import CIFARNet, NeuNorm, rate_mse

KIT = Kit(partial(IterativeLIF, decay=0.25, threshold=0.75, surrogate=Rectangle()), identity)


LIVELY = Kit(partial(IterativeLIF, decay=0.25, threshold=0.05, surrogate=Rectangle()), identity)


def tiny(**options: bool) -> CIFARNet:
    torch.manual_seed(0)
    return CIFARNet(width=0.125, T=3, kit=LIVELY, img_size=8, **options)


@pytest.mark.parametrize(("neunorm", "parameters"), [(False, 45_049_188), (True, 45_051_620)])
def test_parameters(neunorm: bool, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in CIFARNet(kit=KIT, neunorm=neunorm).parameters()) == parameters


def test_the_outputs_are_shares_of_ten_neurons_a_class() -> None:
    network = tiny()
    caught: list[torch.Tensor] = []
    network.lifs[-1].register_forward_hook(lambda _module, _inputs, out: caught.append(out))
    out = network(torch.randn(2, 3, 8, 8))
    assert out.shape == (3, 2, 10)
    votes = torch.kron(torch.eye(10), torch.full((10, 1), 0.1))  # fixed: 0.1 for each of a class's ten
    torch.testing.assert_close(out.flatten(0, 1), caught[0] @ votes)
    assert 0 < out.mean() < 1


def test_masks_are_drawn_anew_at_every_step() -> None:
    network = tiny()
    masks: list[torch.Tensor] = []
    network.drops[0].register_forward_hook(lambda _module, _inputs, out: masks.append(out != 0))
    network.convs[0].lif.threshold = -1e9  # type: ignore[union-attr, assignment]
    network(torch.randn(2, 3, 8, 8))
    first, second, _ = masks[0].view(3, -1)
    assert not torch.equal(first, second)
    assert 0.4 < masks[0].float().mean() < 0.6


def test_golden_value_and_gradient_of_the_loss() -> None:
    # Votes of two steps of one sample of two classes; rates .75 and .5, label 0: ((.25)^2 + .5^2) / 2.
    votes = torch.tensor([[[0.5, 1.0]], [[1.0, 0.0]]], dtype=torch.float64, requires_grad=True)
    loss = rate_mse(votes, torch.tensor([0]))
    loss.backward()
    assert loss.item() == pytest.approx(0.15625)
    assert votes.grad is not None
    assert votes.grad.tolist() == [[[-0.125, 0.25]], [[-0.125, 0.25]]]


def test_golden_values_of_the_loss_over_rates_and_over_steps() -> None:
    spikes = torch.tensor([[[1, 0]], [[0, 0]]], dtype=torch.float64)
    assert rate_mse(spikes, torch.tensor([0])).item() == 0.125
    assert rate_mse(spikes, torch.tensor([0]), every_step=True).item() == 0.25


def test_neunorm_by_its_formula() -> None:
    layer = NeuNorm(2, 0.75).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1))
    spikes = torch.tensor([[1, 1], [0, 1], [0, 0]], dtype=torch.float64).view(3, 2, 1, 1)
    # X: .25 * 1, then .75 * .25 + .25 * .5, then .75 of that.
    states = [0.25, 0.3125, 0.234375]
    expected = [[1 - states[0], 1 - 2 * states[0]], [-states[1], 1 - 2 * states[1]], [-states[2], -2 * states[2]]]
    torch.testing.assert_close(layer(spikes, 3).view(3, 2), torch.tensor(expected, dtype=torch.float64))


def test_neunorm_changes_nothing_at_its_beginning_and_learns() -> None:
    plain, other = tiny(), tiny(neunorm=True)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(plain.eval()(x), other.eval()(x))
    other.train()
    rate_mse(other(x), torch.tensor([1, 2])).backward()
    assert any(norm.weight.grad is not None and norm.weight.grad.abs().sum() > 0 for norm in other.neunorms)  # type: ignore[union-attr, operator]


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(SnnError, match=r"CIFARNet: the input is 4x4; this network was built for img_size 8x8"):
        tiny()(torch.rand(1, 3, 4, 4))
