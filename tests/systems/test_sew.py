"""SEW ResNet: its neuron, and that the networks of this package are its own."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch.nn import functional as F

from tksbench.snn.kit import Kit
from tksbench.snn.sew import SEWBlock, sew_resnet18, sew_resnet34, sew_resnet50
from tksbench.snn.surrogate import Arctan
from tksbench.systems.sew import IntegrateFire

KIT = Kit(IntegrateFire)


def test_its_neuron_has_the_golden_spikes_and_gradient_with_its_defaults() -> None:
    current = torch.tensor([0.6, 0.7, 0.5, 0.9], dtype=torch.float64).view(4, 1).requires_grad_()
    spikes = IntegrateFire()(current)
    assert spikes.flatten().tolist() == [0, 1, 0, 1]
    (spikes.flatten() * torch.arange(1, 5)).sum().backward()
    golden = [1.446900343627261, 1.0591737068881095, 2.416107864382609, 1.550906546956606]
    assert current.grad is not None
    assert current.grad.flatten().tolist() == pytest.approx(golden, rel=1e-12)
    assert isinstance(IntegrateFire().surrogate, Arctan)  # SpikingJelly's default became the sigmoid


def test_it_fires_at_the_threshold_itself() -> None:
    assert IntegrateFire()(torch.full((8, 1), 0.25)).flatten().tolist() == [0, 0, 0, 1, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("made", "name", "parameters"), [(sew_resnet34, "resnet34", 21_797_672), (sew_resnet50, "resnet50", 25_557_032)]
)
def test_its_parameters_are_torchvisions(made, name: str, parameters: int) -> None:  # type: ignore[no-untyped-def]
    with torch.device("meta"):
        other = torchvision.models.get_model(name)
        shapes = [sorted(p.shape for p in network.parameters()) for network in (made(kit=KIT), other)]
    assert shapes[0] == shapes[1]
    assert sum(shape.numel() for shape in shapes[0]) == parameters


def test_blocks_give_whole_numbers_above_one() -> None:
    torch.manual_seed(0)
    block = SEWBlock(8, 8, 1, KIT)
    for layer in block.body:
        layer.bn.bias.data.fill_(1.0)
    out = block(2 * torch.randint(0, 2, (8, 8, 6, 6)).float(), 4)
    assert torch.equal(out, out.round()) and out.max() == 3


def test_the_mean_before_the_last_layer_is_the_mean_after_it() -> None:
    torch.manual_seed(0)
    network = sew_resnet18(num_classes=5, width=0.125, T=4, kit=KIT).eval().double()
    caught = []
    network.fc.register_forward_hook(lambda _module, inputs, _out: caught.append(inputs[0]))
    logits = network(torch.randn(3, 3, 32, 32, dtype=torch.float64))
    mean = F.linear(caught[0].view(4, 3, -1).mean(0), network.fc.weight, network.fc.bias)
    torch.testing.assert_close(logits.mean(0), mean, rtol=1e-12, atol=1e-12)


def test_a_single_step_is_a_network_of_binary_activations() -> None:
    current = torch.randn(1, 3, 8, 4, 4)
    assert torch.equal(IntegrateFire()(current), (current >= 1).float())
