"""The bench measures networks that fire as trained ones do."""

from __future__ import annotations

import pytest
import torch

from benchmarks import density
from benchmarks.parts import BenchError
from tksbench.snn.cost import measure_cost
from tksbench.snn.resnet import SpikingResNet19


def test_the_rate_of_trained_networks_is_that_of_the_records() -> None:
    assert 0.05 < density.trained_rate("spiking_resnet19") < 0.2
    with pytest.raises(BenchError, match="no record of alexnet"):
        density.trained_rate("alexnet")


@pytest.mark.parametrize("rate", [0.08, 0.2])
def test_a_network_fires_at_the_rate_that_is_asked_for(rate: float) -> None:
    torch.manual_seed(0)
    network, images = SpikingResNet19(width=0.125), torch.randn(4, 3, 16, 16)
    assert density.fire_at(network, images, rate) == pytest.approx(rate, abs=0.01)
    network.train()
    with torch.no_grad():
        for _ in range(60):  # the running statistics become the batch's own
            network(images)
    assert measure_cost(network, images)["spike_rate"] == pytest.approx(rate, abs=0.015)
