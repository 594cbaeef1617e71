"""tksbench: a reproducibility benchmark harness for Temporal Knowledge Sharing (TKS, arXiv 2304.06540)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tksbench.version import __version__

__all__ = ["__version__", "records"]

if TYPE_CHECKING:
    from tksbench.report.frame import records


def __getattr__(name: str) -> Any:
    """Find `records` when it is asked for: to import the package costs nothing, pandas least of all."""
    if name == "records":
        from tksbench.report.frame import records

        return records
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
