"""What an inference costs: spike rates, synaptic operations, MACs, and the customary 45 nm energy estimate.

Energies of one 32-bit floating-point operation in 45 nm: accumulate 0.9 pJ, multiply-accumulate 4.6 pJ
(3.7 + 0.9), from M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014.
They leave out memory traffic, biases and the neurons' own arithmetic, and take batch norm as folded away.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tksbench.snn.known import says
from tksbench.snn.neuron import Neuron
from tksbench.snn.overtime import BLOCK, can_go_on, continued, parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tksbench.snn.layers import SpikingNetwork

_Synapses = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
AC_PJ = 0.9
MAC_PJ = 4.6
_FINEST = 64  # spikes that are averaged over up to so many places are still counted as spikes


@dataclass
class _Trace:
    """Sums that the hooks gather in one forward pass, by layer, in the order in which layers run.

    Attributes:
        spikes_in: Whether an input of a layer is made of spikes.
        encoded: Whether the first layer reads spikes, too, of either sign.
        graded: Whether a spike is as high as its neuron's threshold, not 1.
    """

    spikes_in: Callable[[Tensor], bool]
    encoded: bool = False
    graded: bool = False
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    neurons: dict[str, dict[str, Any]] = field(default_factory=dict)

    def synapses(self, name: str, module: _Synapses, x: Tensor, out: Tensor) -> None:
        """Count a layer of synapses; `x` and `out` are [rows, ...], one row a sample and time step.

        Of a convolution that goes over time (1-D, 3-D), a row is a sample with all its steps.
        """
        first = not self.layers or name == next(iter(self.layers))
        analog = not self.encoded if first else not self.spikes_in(x)  # the first layer reads analog values
        kind = "linear" if isinstance(module, nn.Linear) else "conv"
        macs = out[0].numel() * module.weight[0].numel()
        layer = self._count(name, kind, macs, x.abs() if first and self.encoded else x, analog=analog)
        layer["over_time"] = isinstance(module, nn.Conv1d | nn.Conv3d)
        if self.graded and not analog:
            layer["top"] = max(layer["top"], x.max().item())

    def products(self, name: str, x: Tensor) -> None:
        """Count a layer that multiplies each of its inputs, one row a sample and time step, by a factor."""
        self._count(name, "product", x[0].numel(), x, analog=True)

    def _count(self, name: str, kind: str, macs: int, x: Tensor, *, analog: bool) -> dict[str, Any]:
        new = {"name": name, "kind": kind, "macs_per_step": macs, "rows": 0, "input": 0.0, "values": 0, "analog": False}
        layer = self.layers.setdefault(name, new | {"top": 0.0, "over_time": False})
        layer["rows"] += x.shape[0]
        layer["input"] += x.sum(dtype=torch.float64).item()
        layer["values"] += x.numel()
        layer["analog"] |= analog
        return layer

    def spikes(self, name: str, spikes: Tensor) -> None:
        """Count the spikes of a layer of neurons, of any shape."""
        layer = self.neurons.setdefault(name, {"name": name, "spikes": 0.0, "values": 0})
        layer["spikes"] += (spikes != 0 if self.graded else spikes).sum(dtype=torch.float64).item()
        layer["values"] += spikes.numel()


def measure_cost(model: SpikingNetwork, x: Tensor) -> dict[str, Any]:
    """Measure the cost of one inference, averaged over a batch, in evaluation mode.

    The first layer reads analog values, so its operations are MACs; a static image is convolved once, not at
    every step. Every other layer does one AC a synapse and incoming spike: SynOps = dense MACs x mean input value. An
    input value counts as what it is: a SEW sum of 2 as two spikes, an average-pooled 0.25 as a quarter of one. The
    zeros that pad a map have synapses too, as in published figures; NeuroBench counts those of each spike, which are
    fewer at a border (tests/bench/test_synops.py).

    Spikes as high as a threshold, which the weights behind them could take over, count as 1; a layer's highest input is
    then taken for the threshold. Where an encoder makes spikes of the image, the first layer does ACs at every step.

    Where a network has modules that are not known to spike alone, a layer reads analog values too whose input is not of
    whole numbers or of averages over at most 64 spikes; without spiking neurons every layer does. A module that says
    `factors` in its class, such as an attention, does one MAC for each of its inputs beside what its layers do.

    Args:
        model: A network of this package.
        x: A batch that the network accepts.

    Returns:
        A dict of plain numbers, totals an image over all time steps: `steps`, `parameters`, `neurons`,
        `spike_rate` (spikes a neuron and step; None without spiking neurons), `macs_per_step` (of the dense network),
        `macs` (of layers that read analog values), `synops`, `energy_mj` (millijoule); and `layers` and
        `lif_layers`, a list of dicts each.
    """
    graded = any(_is_graded(module) for module in model.modules())
    trace = _Trace(_spikes_in(model), getattr(model, "encoder", None) is not None, graded)
    handles = []
    for name, module in model.named_modules():
        if getattr(type(module), "factors", False):
            handles.append(module.register_forward_hook(partial(_see_products, trace, name)))
        elif isinstance(module, _Synapses):
            handles.append(module.register_forward_hook(partial(_see_synapses, trace, name)))
        elif _spikes(module):
            handles.append(module.register_forward_hook(partial(_see_spikes, trace, name)))
    training = model.training
    try:
        model.eval()
        with torch.no_grad():
            steps = _present(model, x, trace)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return _summary(model, trace, x.shape[0], steps)


def _present(model: SpikingNetwork, x: Tensor, trace: _Trace) -> int:
    """Show a batch to a network, in parts where that would be long; the number of time steps."""
    if x.dim() == 5 or not can_go_on(model) or model.T <= BLOCK:
        return int(model(x).shape[0])
    kept: dict[str, Any] = {}
    with continued(model):
        for steps in parts(len(x), model.T):
            model.present(x, steps)
            kept = kept or dict(next(iter(trace.layers.values()), {}))
    if kept.get("rows") == len(x) and not trace.encoded:  # a static image is convolved once, not once a part
        trace.layers[kept["name"]] = kept
    return model.T


def _see_synapses(trace: _Trace, name: str, module: Any, inputs: tuple[Tensor, ...], out: Tensor) -> None:
    trace.synapses(name, module, inputs[0], out)


def _see_products(trace: _Trace, name: str, _module: Any, inputs: tuple[Tensor, ...], _out: Tensor) -> None:
    trace.products(name, inputs[0])


def _see_spikes(trace: _Trace, name: str, _module: nn.Module, _inputs: tuple[Tensor, ...], out: Tensor) -> None:
    trace.spikes(name, out)


def _is_graded(module: nn.Module) -> bool:
    return isinstance(module, Neuron) and getattr(type(module), "height", False) is True


def _spikes(module: nn.Module) -> bool:
    return isinstance(module, Neuron) and (says(module, "spiking") or _is_graded(module))


def _spikes_in(model: nn.Module) -> Callable[[Tensor], bool]:
    """How to find whether an input of one of a network's layers is made of spikes."""
    modules = list(model.modules())
    if not any(_spikes(module) for module in modules):
        return lambda x: False
    known = (says(module, "spiking") or _is_graded(module) for module in modules)
    if all(known) and not any(type(module).__module__.endswith(".activation") for module in modules):
        return lambda x: True  # averages of spikes included
    return lambda x: not bool(((x < 0) | (x * _FINEST != (x * _FINEST).floor())).any())


def _summary(model: nn.Module, trace: _Trace, samples: int, steps: int) -> dict[str, Any]:
    layers, lif_layers = [], []
    for layer in trace.layers.values():
        dense = layer["macs_per_step"] * layer["rows"] // samples
        rate = layer["input"] / layer["values"] / (layer["top"] or 1.0)
        kept = {key: layer[key] for key in ("name", "kind", "macs_per_step")}
        kept["macs_per_step"] //= steps if layer["over_time"] else 1
        counted = (dense, 0.0) if layer["analog"] else (0, dense * rate)
        layers.append(kept | {"input_rate": rate, "macs": counted[0], "synops": counted[1]})
    for layer in trace.neurons.values():
        count, rate = layer["values"] // samples // steps, layer["spikes"] / layer["values"]
        lif_layers.append({"name": layer["name"], "neurons": count, "spike_rate": rate})
    neurons = sum(layer["neurons"] for layer in lif_layers)
    spikes = sum(layer["neurons"] * layer["spike_rate"] for layer in lif_layers)
    macs = sum(layer["macs"] for layer in layers)
    synops = sum(layer["synops"] for layer in layers)
    return {
        "steps": steps,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "neurons": neurons,
        "spike_rate": spikes / neurons if neurons else None,
        "macs_per_step": sum(layer["macs_per_step"] for layer in layers),
        "macs": macs,
        "synops": synops,
        "energy_mj": (macs * MAC_PJ + synops * AC_PJ) * 1e-9,
        "layers": layers,
        "lif_layers": lif_layers,
    }
