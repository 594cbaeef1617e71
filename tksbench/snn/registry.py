"""Training methods by name. A method is a loss `fn(logits [T, B, C], target [B], **params) -> scalar`."""

from __future__ import annotations

import difflib
import pkgutil
from typing import TYPE_CHECKING, cast

from tksbench.snn.errors import SnnError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

METHODS: dict[str, str] = {
    "baseline": "tksbench.snn.losses:baseline",
    "label_smoothing": "tksbench.snn.losses:label_smoothing",
    "tet": "tksbench.snn.losses:tet",
    "tks": "tksbench.snn.losses:tks",
}


def resolve_method(name: str) -> Callable[..., Tensor]:
    """Import and return the loss of a method.

    Raises:
        SnnError: If there is no such method; the message suggests the nearest name.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise SnnError(f"unknown method {name!r}; {hint}known: {', '.join(sorted(METHODS))}")
    return cast("Callable[..., Tensor]", pkgutil.resolve_name(METHODS[name]))
