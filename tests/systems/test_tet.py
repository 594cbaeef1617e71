"""TET: its loss by hand, its network by its number of parameters."""

from __future__ import annotations

import pytest
import torch

from tksbench.snn.iterative import IterativeLIF
from tksbench.snn.kit import Kit
from tksbench.snn.losses import baseline, tet
from tksbench.snn.vgg import VGGSNN
from tksbench.systems.tet import BiasedVGGSNN

# Two samples of two steps of three classes, as [T, B, C].
OUTPUTS = torch.tensor([[[2, 0, 1], [0, 1, -1]], [[0.5, 0.5, 0], [-1, 2, 3]]], dtype=torch.float64).transpose(0, 1)
LABELS = torch.tensor([0, 2])


@pytest.mark.parametrize(
    ("lamb", "golden"), [(0.0, 0.8999486645258161), (0.05, 0.927867897966192), (0.001, 0.9005070491946237)]
)
def test_golden_values_of_the_loss(lamb: float, golden: float) -> None:
    assert tet(OUTPUTS, LABELS, lamb=lamb, means=1.0).item() == pytest.approx(golden, rel=1e-12)


def test_golden_gradient_of_the_loss() -> None:
    logits = OUTPUTS.clone().requires_grad_()
    tet(logits, LABELS, lamb=0.05, means=1.0).backward()
    assert logits.grad is not None
    golden = [
        -0.0711719397, 0.0130489278, 0.0581230119, -0.1877103215, 0.1579947270, 0.0047155945,
        0.0869506195, 0.0869506195, -0.1905679056, -0.0135286060, 0.0713629665, -0.0495010271,
    ]  # fmt: skip
    assert logits.grad.transpose(0, 1).flatten().tolist() == pytest.approx(golden, abs=1e-10)


def test_without_the_second_term_it_bounds_the_loss_of_the_mean_from_above() -> None:
    assert baseline(OUTPUTS, LABELS).item() == pytest.approx(0.6747092724336876, rel=1e-12)
    assert tet(OUTPUTS, LABELS).item() >= baseline(OUTPUTS, LABELS).item()


def test_parameters_of_its_vgg_are_those_of_ours_and_the_biases() -> None:
    kit = Kit(IterativeLIF)
    with torch.device("meta"):
        ours, its = (sum(p.numel() for p in network(kit=kit).parameters()) for network in (VGGSNN, BiasedVGGSNN))
    assert (ours, its) == (9_268_746, 9_271_498)


def test_its_vgg_gives_logits_of_every_step() -> None:
    network = BiasedVGGSNN(width=0.0625, kit=Kit(IterativeLIF), img_size=16)
    assert network(torch.rand(2, 3, 2, 16, 16)).shape == (3, 2, 10)
