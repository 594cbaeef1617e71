"""The options that timm's factory passes to every model."""

from __future__ import annotations

from typing import Any

from tksbench.snn.errors import SnnError

TIMM_OPTIONS = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def without_timm_options(name: str, pretrained: bool, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the model's own keyword arguments.

    Raises:
        SnnError: If pretrained weights are asked for. The paper trains from scratch, and nobody published any.
    """
    if pretrained:
        raise SnnError(f"{name}: there are no pretrained weights; the paper trains from scratch")
    return {key: value for key, value in kwargs.items() if key not in TIMM_OPTIONS}
