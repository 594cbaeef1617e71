"""What an inference costs: spike rates, synaptic operations, MACs, and the customary 45 nm energy estimate.

Energies of one 32-bit floating-point operation in 45 nm: accumulate 0.9 pJ, multiply-accumulate 4.6 pJ
(3.7 + 0.9), from M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014.
They leave out memory traffic, biases and the neurons' own arithmetic, and take batch norm as folded away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tksbench.snn.neuron import LIF

if TYPE_CHECKING:
    from tksbench.snn.layers import SpikingNetwork

AC_PJ = 0.9
MAC_PJ = 4.6


@dataclass
class _Trace:
    """Sums that the hooks gather in one forward pass, in the order in which layers run."""

    layers: list[dict[str, Any]]
    neurons: list[dict[str, Any]]

    def synapses(self, name: str, module: nn.Conv2d | nn.Linear, x: Tensor, out: Tensor) -> None:
        """Record a layer of synapses; `x` and `out` are [rows, ...], one row a sample and time step."""
        fan_in = module.weight[0].numel()
        self.layers.append(
            {
                "name": name,
                "kind": "conv" if isinstance(module, nn.Conv2d) else "linear",
                "rows": x.shape[0],
                "macs_per_step": out[0].numel() * fan_in,
                "input_rate": x.sum(dtype=torch.float64).item() / x.numel(),
            }
        )

    def spikes(self, name: str, spikes: Tensor, samples: int) -> None:
        """Record a layer of neurons; `spikes` are [T * B, ...] or [T, B, ...]."""
        neurons = spikes.numel() // samples
        rate = spikes.sum(dtype=torch.float64).item() / spikes.numel()
        self.neurons.append({"name": name, "neurons": neurons, "spike_rate": rate})


def measure_cost(model: SpikingNetwork, x: Tensor) -> dict[str, Any]:
    """Measure the cost of one inference, averaged over a batch, in evaluation mode.

    The first layer reads analog values, so its operations are MACs; a static image is convolved once, not at
    every step. Every other layer does one AC a synapse and incoming spike: SynOps = dense MACs x mean input
    value. An input value counts as what it is: a SEW sum of 2 as two spikes, an average-pooled 0.25 as a
    quarter of one.

    Args:
        model: A network of this package.
        x: A batch that the network accepts.

    Returns:
        A dict of plain numbers, totals an image over all time steps: `steps`, `parameters`, `neurons`,
        `spike_rate` (spikes a neuron and step), `macs_per_step` (of the dense network), `macs` (of the analog
        layer), `synops`, `energy_mj` (millijoule); and `layers` and `lif_layers`, a list of dicts each.
    """
    trace = _Trace([], [])
    handles = [_hook(trace, name, module, x.shape[0]) for name, module in model.named_modules()]
    training = model.training
    try:
        model.eval()
        with torch.no_grad():
            steps = model(x).shape[0]
    finally:
        model.train(training)
        for handle in handles:
            if handle is not None:
                handle.remove()
    return _summary(model, trace, x.shape[0], steps)


def _hook(trace: _Trace, name: str, module: nn.Module, samples: int) -> Any:
    """Register the hook that a module needs; its handle, or None."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        return module.register_forward_hook(lambda m, args, out: trace.synapses(name, m, args[0], out))
    if isinstance(module, LIF):
        return module.register_forward_hook(lambda _m, _args, out: trace.spikes(name, out, samples))
    return None


def _summary(model: nn.Module, trace: _Trace, samples: int, steps: int) -> dict[str, Any]:
    for index, layer in enumerate(trace.layers):
        dense = layer["macs_per_step"] * layer.pop("rows") // samples
        layer["macs"] = dense if index == 0 else 0
        layer["synops"] = 0.0 if index == 0 else dense * layer["input_rate"]
    for layer in trace.neurons:
        layer["neurons"] //= steps
    neurons = sum(layer["neurons"] for layer in trace.neurons)
    spikes = sum(layer["neurons"] * layer["spike_rate"] for layer in trace.neurons)
    macs = sum(layer["macs"] for layer in trace.layers)
    synops = sum(layer["synops"] for layer in trace.layers)
    return {
        "steps": steps,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "neurons": neurons,
        "spike_rate": spikes / neurons,
        "macs_per_step": sum(layer["macs_per_step"] for layer in trace.layers),
        "macs": macs,
        "synops": synops,
        "energy_mj": (macs * MAC_PJ + synops * AC_PJ) * 1e-9,
        "layers": trace.layers,
        "lif_layers": trace.neurons,
    }
