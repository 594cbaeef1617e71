"""What is not known exactly takes the plain path or is refused, never the fast one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tksbench.snn.cost import AC_PJ, MAC_PJ, measure_cost
from tksbench.snn.errors import SnnError
from tksbench.snn.known import graph_safe, says
from tksbench.snn.layers import ConvNormLIF, SpikingNetwork
from tksbench.snn.neuron import LIF, Neuron, lif
from tksbench.snn.normlif import SharedBatchNorm2d, norm_lif
from tksbench.train.batchnorm import GlobalBatchNorm2d, ReplicaStatistics, synchronise
from tksbench.train.errors import TrainError
from tksbench.train.parallel import ALONE

CPU = torch.device("cpu")
X = torch.randn(6, 4, 5, 5, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)


class Silent(LIF):
    """A subclass that computes something else."""

    def forward(self, current: Tensor, steps: int | None = None) -> Tensor:
        return torch.zeros_like(current)


class Graded(Neuron):
    """A neuron whose outputs are no spikes."""

    def forward(self, current: Tensor, steps: int | None = None) -> Tensor:
        return current.clamp_min(0.0)


class PerStep(nn.Module):
    """A norm that scales each step otherwise."""

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.arange(1.0, 4.0).repeat_interleave(x.shape[0] // 3)
        return x * scale.view(-1, 1, 1, 1)


class Net(SpikingNetwork):
    """Two layers of synapses with neurons between them."""

    def __init__(self, neurons: nn.Module, calls: int = 1) -> None:
        super().__init__(10, 2, 3, 1.0)
        self.conv, self.neurons, self.fc, self.calls = nn.Conv2d(3, 4, 3), neurons, nn.Linear(144, 10), calls

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        x = self.conv(x)
        x = x.repeat(repeats, 1, 1, 1) if repeats > 1 else x
        for _ in range(self.calls):
            x = self.neurons(x, steps)
        return self.fc(x.flatten(1))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("repeats", [1, 3])
def test_a_subclass_of_the_neuron_computes_what_it_says(repeats: int, training: bool) -> None:
    norm = nn.BatchNorm2d(4).train(training)
    with torch.set_grad_enabled(training):
        assert norm_lif(norm, LIF(threshold=0.1), X, 3, repeats=repeats).any()
        assert not norm_lif(norm, Silent(threshold=0.1), X, 3, repeats=repeats).any()


def test_a_neuron_whose_forward_was_replaced_computes_what_was_put_there() -> None:
    neurons = LIF(threshold=0.1)
    neurons.forward = lambda current, steps=None: torch.zeros_like(current)  # type: ignore[method-assign]
    assert not norm_lif(nn.BatchNorm2d(4), neurons, X, 3).any()


@pytest.mark.parametrize("base", [nn.BatchNorm2d, SharedBatchNorm2d, GlobalBatchNorm2d])
def test_a_subclass_of_a_norm_computes_what_it_says(base: type[nn.BatchNorm2d]) -> None:
    own = type("Own", (base,), {"forward": lambda self, x: torch.zeros_like(x)})
    assert not norm_lif(own(4), LIF(threshold=0.1), X, 3).any()


def test_a_norm_that_differs_from_step_to_step_sees_every_step_of_a_repeated_image() -> None:
    spikes = norm_lif(PerStep(), LIF(), X, 3, repeats=3)
    assert torch.equal(spikes, LIF()(PerStep()(X.repeat(3, 1, 1, 1)), 3))
    assert not torch.equal(spikes, LIF()(X.repeat(3, 1, 1, 1), 3))


def test_a_hook_on_the_norm_sees_a_repeated_image_too() -> None:
    norm, seen = nn.BatchNorm2d(4), list[Tensor]()
    norm.register_forward_hook(lambda _module, _inputs, out: seen.append(out))
    norm_lif(norm, LIF(), X, 3, repeats=3)
    assert len(seen) == 1


def test_a_constant_that_is_to_be_learnt_is_refused_where_it_would_get_no_gradient() -> None:
    tau = nn.Parameter(torch.tensor(2.0))
    with pytest.raises(SnnError, match="tau is a Parameter; it must be a number"):
        lif(X.view(3, 2, 4, 5, 5), tau=tau)  # type: ignore[arg-type]
    neurons = LIF()
    neurons.tau = tau  # type: ignore[assignment]
    with pytest.raises(SnnError, match="tau is a Parameter"):
        norm_lif(nn.BatchNorm2d(4), neurons, X, 3)


def test_a_class_answers_for_itself_alone() -> None:
    class Safe(LIF):
        graph_safe = True

    class Heir(Safe):
        pass

    assert [says(module, "graph_safe") for module in (LIF(), Silent(), Safe(), Heir())] == [True, False, True, False]
    assert graph_safe(nn.Sequential(LIF(), Safe()))
    assert not graph_safe(nn.Sequential(LIF(), Heir()))


def test_features_are_those_of_the_last_neurons_of_any_kind() -> None:
    network = Net(Graded())
    images = torch.randn(5, 3, 8, 8)
    expected = network.conv(images).clamp_min(0.0).flatten(1)
    torch.testing.assert_close(network.forward_features(images), expected)


@pytest.mark.parametrize(
    ("neurons", "calls", "message"), [(nn.ReLU(), 0, "no neurons"), (Graded(), 2, "called 2 times")]
)
def test_features_that_cannot_be_had_are_refused(neurons: nn.Module, calls: int, message: str) -> None:
    with pytest.raises(SnnError, match=message):
        Net(neurons, calls).forward_features(torch.randn(5, 3, 8, 8))


def test_analog_values_are_multiplied_and_spikes_accumulated() -> None:
    images = torch.randn(5, 3, 8, 8)
    spiking, analog = measure_cost(Net(LIF(threshold=0.01)), images), measure_cost(Net(Graded()), images)
    conv, fc = 4 * 36 * 27, 144 * 10
    assert spiking["macs"] == conv
    assert 0 < spiking["synops"] < 2 * fc
    assert (analog["macs"], analog["synops"]) == (conv + 2 * fc, 0.0)
    assert (analog["neurons"], analog["spike_rate"], analog["lif_layers"]) == (0, None, [])
    assert analog["energy_mj"] == pytest.approx(MAC_PJ * (conv + 2 * fc) * 1e-9)
    assert spiking["energy_mj"] == pytest.approx((MAC_PJ * conv + AC_PJ * spiking["synops"]) * 1e-9)


def test_averages_count_as_spikes_only_where_nothing_else_can_be_analog() -> None:
    class Averaged(LIF):
        spiking = True

        def forward(self, current: Tensor, steps: int | None = None) -> Tensor:
            return super().forward(current, steps) / 3  # no average over 2, 4, ... 64 places

    class Spiking(Net):
        spiking = True

    images, neurons = torch.randn(5, 3, 8, 8), Averaged(threshold=0.01)
    assert measure_cost(Spiking(neurons), images)["synops"] > 0
    assert measure_cost(Net(neurons), images)["synops"] == 0


def test_a_layer_that_runs_once_a_step_is_one_layer() -> None:
    class Stepwise(Net):
        def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
            return torch.cat([super(Stepwise, self).classify(part, 1, 1) for part in (x, x)])

    cost = measure_cost(Stepwise(LIF(threshold=0.01)), torch.randn(5, 3, 8, 8))
    assert [layer["name"] for layer in cost["layers"]] == ["conv", "fc"]
    assert cost["layers"][0]["macs"] == 2 * 4 * 36 * 27  # analog at every step
    assert cost["neurons"] == 144


@pytest.mark.parametrize("module", [type("Own", (nn.BatchNorm2d,), {})(4), nn.BatchNorm1d(4), PerStep()])
def test_what_cannot_be_synchronised_over_processes_is_refused(module: nn.Module) -> None:
    with pytest.raises(TrainError, match=rf"^1: what a {type(module).__name__} computes from a batch"):
        synchronise(nn.Sequential(LIF(), module), CPU)


def test_what_says_that_it_is_of_each_sample_alone_passes() -> None:
    own = type("Own", (PerStep,), {"per_sample": True})
    network = synchronise(nn.Sequential(own(), ConvNormLIF(3, 4, 3)), CPU)
    assert type(network[1].bn) is GlobalBatchNorm2d  # type: ignore[index,union-attr]


def test_running_statistics_of_any_norm_take_one_update_a_step() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.mean = self.mean.lerp_(x.mean(), 0.5)
            return x

    own = Own()
    replicas = ReplicaStatistics(own)
    replicas.begin()
    for value in (1.0, 3.0):
        own(torch.tensor(value))
        replicas.add(0.5)
    replicas.end(ALONE, 2)
    assert own.mean.item() == 1.0  # half of the mean of 1 and 3
