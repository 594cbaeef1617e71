"""tksbench: a reproducibility benchmark harness for Temporal Knowledge Sharing (TKS, arXiv 2304.06540)."""

from __future__ import annotations

__version__ = "0.1.0"
