"""From recipes to finished runs: the plan, its cost, and the executor. Imports no torch and no numpy."""

from __future__ import annotations

from tksbench.launch.plan import Item, collect_runs, make_plan

__all__ = ["Item", "collect_runs", "make_plan"]
