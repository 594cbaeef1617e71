"""TCJA: golden values of the attention, its networks by the number of their parameters, its neuron in our units."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tksbench.snn.errors import SnnError
from tksbench.snn.iterative import IterativeLIF
from tksbench.snn.kit import Kit
from tksbench.snn.surrogate import Arctan, Triangle
from tksbench.systems.tcja import TCJA, TCJAVGG, TCJANet, _padded

Z = [[0.25, 0.5], [0, 1], [0.75, 0.25]]
BRANCH1 = [
    [[0.1, 0.2], [0, -0.1], [0.3, 0]],
    [[-0.2, 0.1], [0.4, 0], [0.1, 0.1]],
    [[0, 0.5], [-0.3, 0.2], [0.2, -0.2]],
]
BRANCH2 = [[[0.5, -0.5], [0.1, 0.2]], [[0.3, 0], [-0.1, 0.4]]]
GOLDEN = [[0.52342, 0.513278], [0.494375, 0.5], [0.554779, 0.487503]]


ALONG_CHANNELS = [[0.25, 0.125], [0.1, 0.325], [0.55, -0.25]]
ALONG_TIME = [[0.375, 0.425], [-0.225, 0], [0.4, 0.2]]


def golden_layer() -> TCJA:
    layer = TCJA(2, 3, 2, 2).double()
    with torch.no_grad():
        layer.over_channels.weight.copy_(torch.tensor(BRANCH1, dtype=torch.float64))
        layer.over_time.weight.copy_(torch.tensor(BRANCH2, dtype=torch.float64))
    return layer


def test_golden_attention() -> None:
    layer, branches = golden_layer(), []
    for conv in (layer.over_channels, layer.over_time):
        conv.register_forward_hook(lambda _module, _inputs, out: branches.append(out[0]))
    weights = layer.attention(torch.tensor([Z], dtype=torch.float64))
    torch.testing.assert_close(branches[0], torch.tensor(ALONG_CHANNELS, dtype=torch.float64))
    torch.testing.assert_close(branches[1].T, torch.tensor(ALONG_TIME, dtype=torch.float64))
    torch.testing.assert_close(weights, torch.tensor([GOLDEN], dtype=torch.float64), atol=1e-6, rtol=0)


def test_an_even_kernel_has_one_more_zero_on_the_right() -> None:
    x = torch.arange(1.0, 6.0).view(1, 1, -1)
    kernel = torch.tensor([[[1.0, 10.0, 100.0, 1000.0]]])
    found = torch.nn.functional.conv1d(_padded(x, 4), kernel)
    assert found.flatten().tolist() == [3210, 4321, 5432, 543, 54]


def test_every_sample_and_pixel_is_weighed_by_its_own_step_and_channel() -> None:
    layer = golden_layer()
    spikes = (torch.rand(3 * 4, 2, 5, 5, generator=torch.Generator().manual_seed(0)) < 0.3).double()
    found = layer(spikes, 3)
    for sample in range(4):
        own = spikes.view(3, 4, 2, 5, 5)[:, sample]
        weights = layer.attention(own.mean((2, 3)).unsqueeze(0))[0]
        torch.testing.assert_close(found.view(3, 4, 2, 5, 5)[:, sample], own * weights[..., None, None])


def test_kernels_of_zero_give_exactly_half() -> None:
    layer = TCJA(4, 3, 4, 4)
    for conv in (layer.over_channels, layer.over_time):
        nn.init.zeros_(conv.weight)
    x = torch.rand(6, 4, 5, 5)
    assert torch.equal(layer(x, 3), x / 2)


def test_fewer_steps_are_steps_without_input_and_more_are_refused() -> None:
    layer, x = golden_layer(), torch.rand(2 * 4, 2, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(layer(x, 2), layer(torch.cat([x, torch.zeros_like(x[:4])]), 3)[:8])
    with pytest.raises(SnnError, match="TCJA: 4 time steps, but weights for 3 alone"):
        layer(x, 4)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameters_of_its_networks() -> None:
    with torch.device("meta"):
        assert count(TCJA(512, 10, 4, 4)) == 1_048_976
        assert count(TCJAVGG(img_size=128, pooled=48)) == 11_369_450
        assert count(TCJAVGG(place="first", over_channels=2, over_time=2)) == 9_304_466
        assert count(TCJAVGG(place="none")) == 9_271_498
        assert count(TCJA(256, 14, 4, 4)) == 262_928
        assert count(TCJA(512, 14, 2, 4)) == 1_048_968
        assert count(TCJANet(img_size=(180, 240))) == 21_907_096
        biased = TCJANet(img_size=(180, 240), over_channels_last=4, bias=True, spiking_output=False)
        assert count(biased) == 21_909_829


def test_golden_average_of_frames() -> None:
    frames = torch.arange(36.0).view(1, 1, 6, 6)
    pooled = torch.nn.functional.adaptive_avg_pool2d(frames, 4)[0, 0]  # as `pooled` does
    assert pooled[:2].tolist() == [[3.5, 4.5, 6.5, 7.5], [9.5, 10.5, 12.5, 13.5]]


def test_without_neurons_behind_it_the_last_layer_gives_currents() -> None:
    kit = Kit(neuron=lambda: IterativeLIF(decay=0.5, threshold=0.1))
    torch.manual_seed(0)
    network = TCJANet(5, T=3, width=0.03, kit=kit, img_size=32, bias=True, spiking_output=False)
    out = network(torch.rand(2, 3, 2, 32, 32))
    assert out.shape == (3, 2, 5)
    assert out.unique().numel() > 2


class Code(nn.Module):
    """The neuron as the code has it."""

    def __init__(self, surrogate: Triangle | Arctan) -> None:
        super().__init__()
        self.surrogate = surrogate

    def forward(self, x: Tensor) -> Tensor:
        v, out = torch.zeros_like(x[0]), []
        for current in x:
            v = v + (current - v) / 2
            spikes = self.surrogate(v - 1) + (v == 1)
            v = v * (1 - spikes.detach())
            out.append(spikes)
        return torch.stack(out)


@pytest.mark.parametrize(
    ("code", "ours"), [(Triangle(), Triangle(peak=0.5, slope=0.25)), (Arctan(), Arctan(alpha=1.0))]
)
def test_its_neuron_is_an_iterative_one_of_twice_the_threshold(code: Triangle, ours: Triangle) -> None:
    x = torch.randn(8, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 + 1
    x[:3, 0] = torch.tensor([2.0, 2.0, 0.5])  # at the threshold itself
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    neuron = IterativeLIF(decay=0.5, threshold=2.0, at_threshold=True, detach=True, surrogate=ours)
    spikes = [Code(code)(one), neuron(two)]
    assert torch.equal(*spikes)
    assert spikes[0][:3, 0].tolist() == [1, 1, 0]
    upstream = torch.randn(8, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for found in spikes:
        (found * upstream).sum().backward()
    torch.testing.assert_close(one.grad, two.grad)


def test_its_networks_take_frames_and_fewer_of_them() -> None:
    kit = Kit(neuron=lambda: IterativeLIF(decay=0.5, threshold=2.0))
    for network in (
        TCJAVGG(5, T=3, width=0.03, kit=kit, img_size=20, pooled=16),
        TCJAVGG(5, T=3, width=0.03, kit=kit, img_size=16, place="first"),
        TCJANet(5, T=3, width=0.03, kit=kit, img_size=32),
    ):
        size = 32 if isinstance(network, TCJANet) else network.img_size
        assert network(torch.rand(2, 3, 2, size, size)).shape == (3, 2, 5)
        assert network.eval()(torch.rand(2, 2, 2, size, size)).shape == (2, 2, 5)
