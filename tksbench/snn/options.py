"""The options that timm's factory passes to every model."""

from __future__ import annotations

import functools
from typing import Any

from tksbench.snn.errors import SnnError
from tksbench.snn.kit import Kit
from tksbench.snn.neuron import LIF

# The size of the input is given to every network, too; the one that depends on it names it.
TIMM_OPTIONS = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "img_size")


def own_options(name: str, pretrained: bool, options: dict[str, Any]) -> dict[str, Any]:
    """Return the model's own keyword arguments; `backend=...` is short for a kit of LIF neurons computed so.

    Raises:
        SnnError: If pretrained weights are asked for. The paper trains from scratch, and nobody published any.
    """
    if pretrained:
        raise SnnError(f"{name}: there are no pretrained weights; the paper trains from scratch")
    own = {key: value for key, value in options.items() if key not in TIMM_OPTIONS}
    if "backend" in own:
        own["kit"] = Kit(neuron=functools.partial(LIF, backend=own.pop("backend")))
    return own
