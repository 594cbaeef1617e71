"""Synaptic operations as NeuroBench counts them, on two networks.

Both count an accumulate for each synapse of each spike. This package multiplies the mean input of a layer by its dense
operations, as publications do, in which the zeros that pad a map have synapses too; NeuroBench counts those of the
spikes one by one. Where a map wraps around there is no padding, and at a stride of 1 both have the same number.
"""

from __future__ import annotations

import importlib.util
from typing import Any, NamedTuple

import pytest
import timm
import torch
from torch import nn

import tksbench.snn  # noqa: F401
from tksbench.snn.cost import measure_cost

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("neurobench") is None, reason="neurobench: make bench EXTRAS=bench"
)
SHAPES = {"vgg_snn": (4, 4, 2, 16, 16), "spiking_resnet19": (4, 3, 16, 16)}


class Layer(NamedTuple):
    """Operations a sample of a layer: this package's and NeuroBench's."""

    name: str
    strided: bool
    ours: float
    theirs: float


def counted(name: str, padding: str) -> list[Layer]:
    """The layers whose input is zeros and ones, and the first one, whose input is positive."""
    from neurobench.metrics.utils.layers import single_layer_MACs
    from neurobench.models import TorchModel

    torch.manual_seed(0)
    shape = SHAPES[name]
    size: dict[str, Any] = {"img_size": 16, "in_chans": 2} if name == "vgg_snn" else {}
    model = timm.create_model(name, num_classes=5, width=0.125, T=4, **size)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.padding != (0, 0):
            module.padding_mode = padding
            module._reversed_padding_repeated_twice = [module.padding[0]] * 4
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.constant_(module.bias, 0.5)
    images = 4 * torch.rand(shape) + 0.1
    model(images)  # running statistics that let spikes through
    cost = measure_cost(model, images)
    bench = TorchModel(model)
    bench.register_hooks()
    with torch.no_grad():
        bench(images)
    found = []
    for hook, layer in zip(bench.connection_hooks, cost["layers"], strict=True):
        hook.close()
        parts = [single_layer_MACs(inputs[0], hook.layer) for inputs in hook.inputs]
        if layer["macs"] or all(spiking for _, spiking in parts):
            theirs = sum(operations for operations, _ in parts) / shape[0]
            strided = getattr(hook.layer, "stride", (1, 1)) != (1, 1)
            found.append(Layer(layer["name"], strided, layer["macs"] + layer["synops"], theirs))
    return found


@pytest.mark.parametrize("name", SHAPES)
def test_both_count_the_same_where_nothing_is_padded(name: str) -> None:
    layers = counted(name, "circular")
    assert sum(one.theirs > 0 for one in layers) >= len(layers) - 2
    for one in layers:
        # At a stride of 2 a spike has more synapses on odd places than on even ones; on average as many.
        assert one.ours == pytest.approx(one.theirs, rel=0.05 if one.strided else 1e-6), one.name


@pytest.mark.parametrize("name", SHAPES)
def test_padding_is_counted_here_and_not_there(name: str) -> None:
    layers = counted(name, "zeros")
    ours, theirs = sum(one.ours for one in layers), sum(one.theirs for one in layers)
    assert 1 < ours / theirs < 1.5
