"""The one named error of this room."""

from __future__ import annotations

from tksbench.errors import TksbenchError


class SnnError(TksbenchError):
    """A tensor or an option that a neuron, network or loss cannot work with."""
