"""Networks that fire as much as trained ones do: what a step costs here depends on how many spikes there are.

A network at its initial weights fires more or less than a trained one, and so may one of random weights at full width,
which nobody trains on a CPU. All biases of its batch norms are therefore shifted by one number, so that the mean rate
in training mode is that of the published records of the same network.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from benchmarks.parts import BenchError
from tksbench.snn.cost import measure_cost

if TYPE_CHECKING:
    from torch import Tensor

    from tksbench.snn.layers import SpikingNetwork

RECORDS = Path(__file__).resolve().parents[1] / "results/records"
_STEPS, _WIDEST = 12, 4.0  # of the bisection, and how far from 0 it looks


def trained_rate(model: str, scale: str = "mini") -> float:
    """Spikes a neuron and step of trained networks of this name: the mean over the published records.

    Args:
        model: What recipes call it.
        scale: Of the records.

    Raises:
        BenchError: There is no such record.
    """
    rates = []
    for path in sorted(RECORDS.glob("*.json")):
        record = json.loads(path.read_text())
        network = record["spec"].get("model")  # none of a classifier on features
        if network is not None and (network["name"], record["scale"]) == (model, scale):
            rates.append(float(record["cost"]["snn"]["spike_rate"]))
    if not rates:
        raise BenchError(f"no record of {model} at scale {scale} in results/records, whose spikes could be taken over")
    return sum(rates) / len(rates)


def fire_at(network: SpikingNetwork, images: Tensor, rate: float) -> float:
    """Shift a network's norms until it fires at a rate.

    Args:
        network: On the CPU.
        images: A batch that it accepts.
        rate: Spikes a neuron and step.

    Returns:
        The rate that was reached.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.bias.detach().clone() for norm in norms]
    low, high, reached = -_WIDEST, _WIDEST, 0.0
    for _ in range(_STEPS):
        shift = (low + high) / 2
        with torch.no_grad():
            for norm, bias in zip(norms, before, strict=True):
                norm.bias.copy_(bias + shift)
        reached = _rate(network, images, norms)
        low, high = (shift, high) if reached < rate else (low, shift)
    return reached


def _rate(network: SpikingNetwork, images: Tensor, norms: list[nn.BatchNorm2d]) -> float:
    """Spikes a neuron and step with the batch's own statistics."""
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches, which is this one
    network.train()
    with torch.no_grad():
        network(images)
    found = float(measure_cost(network, images)["spike_rate"])
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = 0.1
    return found
