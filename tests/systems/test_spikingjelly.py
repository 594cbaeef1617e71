"""Where SpikingJelly has the same thing, it computes the same: the extra `bench` installs it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tksbench.snn.iterative import IterativeLIF
from tksbench.snn.kit import Kit
from tksbench.snn.losses import tet
from tksbench.snn.sew import sew_resnet34
from tksbench.snn.surrogate import Arctan, Sigmoid
from tksbench.systems.sew import IntegrateFire
from tksbench.systems.stbp import NeuNorm
from tksbench.systems.tdbn import TdBN

pytest.importorskip("spikingjelly", reason="needs the extra bench")
from spikingjelly.activation_based import functional, layer, surrogate
from spikingjelly.activation_based import neuron as neurons
from spikingjelly.activation_based.model import sew_resnet

CURRENT = torch.randn(6, 4, 10, generator=torch.Generator().manual_seed(0))
UPSTREAM = torch.randn(6, 4, 10, generator=torch.Generator().manual_seed(1))


def spikes_and_gradient(neuron: Any) -> tuple[Tensor, Tensor | None]:
    leaf = (CURRENT + 0.5).clone().requires_grad_()
    spikes = neuron(leaf)
    spikes.backward(UPSTREAM)
    return spikes.detach(), leaf.grad


@pytest.mark.parametrize("detach", [True, False])
def test_integrate_and_fire(detach: bool) -> None:
    its = neurons.IFNode(step_mode="m", detach_reset=detach, surrogate_function=surrogate.ATan(alpha=2.0))
    torch.testing.assert_close(spikes_and_gradient(IntegrateFire(detach=detach)), spikes_and_gradient(its))


@pytest.mark.parametrize("detach", [True, False])
def test_leaky_integrate_and_fire_whose_input_is_not_scaled(detach: bool) -> None:
    its = neurons.LIFNode(
        tau=4 / 3, decay_input=False, v_threshold=0.5, step_mode="m", detach_reset=detach,
        surrogate_function=surrogate.Sigmoid(alpha=4.0),
    )  # fmt: skip
    ours = IterativeLIF(decay=0.25, threshold=0.5, detach=detach, surrogate=Sigmoid(alpha=4.0))
    torch.testing.assert_close(spikes_and_gradient(ours), spikes_and_gradient(its), rtol=1e-5, atol=1e-5)


def test_arctangent() -> None:
    d = torch.linspace(-2, 2, 41, requires_grad=True)
    surrogate.ATan(alpha=2.0)(d).sum().backward()
    assert d.grad is not None
    torch.testing.assert_close(Arctan().derivative(d.detach()), d.grad)


def test_tdbn_at_its_beginning() -> None:
    x = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    ours, its = TdBN(3, factor=0.35), layer.ThresholdDependentBatchNorm2d(0.7, 0.5, 3)
    results = []
    for norm, given in ((ours, x.clone()), (its, x.view(4, 2, 3, 5, 5).clone())):
        leaf = given.requires_grad_()
        out = norm(leaf)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        assert leaf.grad is not None
        results.append((out.detach().flatten(), leaf.grad.flatten(), norm.running_var))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)


def test_neunorm_but_for_the_size_of_its_weight() -> None:
    spikes = torch.randint(0, 2, (4, 2, 3, 5, 5)).float()  # [T, B, C, H, W]
    ours, its = NeuNorm(3, 0.9), layer.NeuNorm(3, 5, 5, k=0.9, step_mode="m")
    with torch.no_grad():
        ours.weight.copy_(torch.tensor([0.5, -1.0, 2.0]).view(3, 1, 1))
        its.w.copy_(3 * ours.weight.expand(3, 5, 5))  # it divides by the number of maps twice
    torch.testing.assert_close(ours(spikes.flatten(0, 1), 4), its(spikes).flatten(0, 1), rtol=1e-5, atol=1e-5)


def test_loss_of_tet() -> None:
    logits, labels = torch.randn(4, 6, 10), torch.randint(0, 10, (6,))
    torch.testing.assert_close(
        tet(logits, labels), functional.temporal_efficient_training_cross_entropy(logits, labels)
    )


def test_sew_resnet() -> None:
    torch.manual_seed(0)
    ours = sew_resnet34(num_classes=10, width=1.0, T=2, kit=Kit(IntegrateFire))
    its = sew_resnet.sew_resnet34(
        num_classes=10, cnf="ADD", spiking_neuron=neurons.IFNode, surrogate_function=surrogate.ATan(), detach_reset=True
    )
    functional.set_step_mode(its, "m")
    _copy(ours, its)
    x = torch.randn(4, 3, 32, 32)
    logits = ours(x)
    other = its(x.expand(2, *x.shape))
    torch.testing.assert_close(logits, other, rtol=1e-5, atol=1e-5)
    logits.square().mean().backward()
    other.square().mean().backward()
    assert ours.stem.conv.weight.grad is not None
    error = ours.stem.conv.weight.grad - its.conv1.weight.grad
    assert error.norm() <= 1e-5 * its.conv1.weight.grad.norm()


def _copy(ours: nn.Module, its: nn.Module) -> None:
    """Give the other network our weights: block by block, the shortcut last as it has it."""
    pairs = [(ours.stem.conv, its.conv1), (ours.stem.bn, its.bn1), (ours.fc, its.fc)]  # type: ignore[attr-defined]
    blocks = [block for stage in (its.layer1, its.layer2, its.layer3, its.layer4) for block in stage]  # type: ignore[attr-defined, union-attr]
    for block, other in zip(ours.blocks, blocks, strict=True):  # type: ignore[arg-type]
        first, second = block.body
        pairs += [(first.conv, other.conv1), (first.bn, other.bn1), (second.conv, other.conv2), (second.bn, other.bn2)]
        if block.shortcut is not None:
            pairs += [(block.shortcut.conv, other.downsample[0]), (block.shortcut.bn, other.downsample[1])]
    for one, two in pairs:
        two.load_state_dict(one.state_dict())
