"""Whether training a network gives the same bits on every x86-64 processor with AVX2 (docs/reference/same-bits.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tksbench.snn import native
from tksbench.snn.eventconv import EventConv2d, few_weights, is_narrow, library
from tksbench.snn.known import says
from tksbench.snn.layers import Linear
from tksbench.snn.neuron import LIF
from tksbench.snn.strided import StridedConv1x1

if TYPE_CHECKING:
    from tksbench.recipe import RunSpec

_OURS = ("tksbench.snn.", "torch.nn.modules.")


def portable(network: nn.Module, spec: RunSpec, device: torch.device) -> bool:
    """Whether all that decides the bits of a run on a CPU is computed in an order that no processor changes.

    Every layer with weights has to be known by its exact class, narrow, and computed by this package's kernels; what is
    not known counts as not so.

    Args:
        network: The network that is trained.
        spec: The run's specification.
        device: Where it is trained; torch's own sums over a batch are in one order with one thread only.
    """
    whole = spec.numerics.precision == "fp32" and spec.numerics.deterministic
    compiled = library() is not None and native.library() is not None
    if not (whole and compiled and device.type == "cpu" and torch.get_num_threads() == 1):
        return False
    neurons = [module for module in network.modules() if isinstance(module, LIF)]
    return bool(neurons) and all(_known(module) for module in network.modules())


def _known(module: Any) -> bool:
    kind = type(module)
    if kind in (EventConv2d, StridedConv1x1):
        return module.bias is None and is_narrow(module.weight)
    if kind is Linear:
        return few_weights(module.weight)
    if kind is LIF:
        return module.backend in ("auto", "native")
    if any(True for _ in module.parameters(recurse=False)):
        return kind is nn.BatchNorm2d
    return kind.__module__.startswith(_OURS) and says(module, "per_sample")
