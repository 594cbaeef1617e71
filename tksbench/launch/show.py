"""Plan and status as tables for people, readable at 80 columns."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.table import Table

from tksbench.launch.view import duration, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from tksbench.launch.plan import Item
    from tksbench.recipe import Run
    from tksbench.runs import Status

_ACTION_STYLES = {"run": "bold cyan", "skip": "green", "wait": "magenta", "blocked": "yellow"}
_STATE_STYLES = {"done": "green", "running": "cyan", "failed": "bold red", "interrupted": "yellow", "new": "dim"}
_SOURCES = {
    "records": "from past records",
    "model": "from the FLOP model of one H100-class GPU, not measured",
    "unknown": "unknown for networks or data sets from outside",
}


def print_plan(console: Console, items: Sequence[Item]) -> None:
    """The plan, then what it comes to."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for name in ("action", "run"):
        table.add_column(name, no_wrap=True)
    table.add_column("seed", justify="right", no_wrap=True)
    table.add_column("GPU-h", justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for item in items:
        style = _ACTION_STYLES[item.action]
        hours = "?" if item.cost_source == "unknown" else _hours(item.gpu_hours)
        blocked = item.action == "blocked"
        reason = f"{item.missing} is missing" if blocked else item.reason
        table.add_row(f"[{style}]{item.action}[/]", item.run.name, str(item.run.seed), hours, _plain(reason))
    console.print(table)
    for reason in dict.fromkeys(item.reason for item in items if item.action == "blocked"):
        console.print(reason, markup=False, soft_wrap=True)
    console.print(_totals(items), highlight=False, soft_wrap=True)


def print_status(console: Console, rows: Sequence[tuple[Run, Status]]) -> None:
    """State of each run, then how many there are of each state."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for name in ("state", "run"):
        table.add_column(name, no_wrap=True)
    for name in ("scale", "seed", "epoch", "top-1", "ETA"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for run, status in rows:
        style = _STATE_STYLES[status.state]
        epoch = f"{status.epoch}/{run.spec.optim.epochs}" if status.epoch is not None else ""
        figures = (epoch, number(status.top1, "{:.2f}"), duration(status.eta_s))
        reason = "" if status.reason == status.state else _plain(status.reason)
        table.add_row(f"[{style}]{status.state}[/]", run.name, run.scale, str(run.seed), *figures, reason)
    console.print(table)
    states = Counter(status.state for _, status in rows)
    console.print(f"{_plural(len(rows))}: " + ", ".join(f"{n} {state}" for state, n in states.items()))


def _totals(items: Sequence[Item]) -> str:
    actions = Counter[str](item.action for item in items)
    counted = ", ".join(f"{actions[name]} {name}" for name in _ACTION_STYLES if actions[name])
    hours = {name: sum(item.gpu_hours or 0.0 for item in items if item.action == name) for name in ("run", "blocked")}
    sources = sorted({item.cost_source for item in items if item.action in hours} - {"none"})
    costs = [f"{_hours(value)} GPU-hours {name}" for name, value in hours.items() if value]
    told = f"\nabout {', '.join(costs)} ({'; '.join(_SOURCES[source] for source in sources)})" if costs else ""
    return f"{_plural(len(items))}: {counted or 'nothing to do'}{told}"


def _plural(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


def _hours(hours: float | None) -> str:
    if not hours:
        return ""
    return "<0.01" if hours < 0.01 else f"{hours:.2g}" if hours < 10 else f"{hours:,.0f}"


def _plain(text: str) -> str:
    """Text in which rich sees no markup."""
    return text.replace("[", r"\[")
