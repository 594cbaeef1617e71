"""A plan as a table for people, readable at 80 columns, and what it comes to."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tksbench.launch.schedule import GPU_WATTS
from tksbench.text import STYLES, WIDE, count, counted, duration, make_table, plain, print_line, print_table, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.console import Console
    from rich.table import Table

    from tksbench.launch.plan import Item
    from tksbench.launch.schedule import Machine, Needs

_PACE = "seconds a step in records of the same network, width, image size, T and batch"
_ORIGINS = {
    "gpu_hours": {
        "records": "past records",
        "probe": "probes on this machine",
        "pace": _PACE,
        "model": "a model of one H100-class GPU",
    },
    "wall": {
        "records": "past records",
        "probe": "probes on this machine",
        "pace": _PACE,
        "model": "GPU-hours shared evenly",
    },
    "energy": {"records": "past records", "model": f"GPU-hours at {GPU_WATTS:.0f} W (assumed), host left out"},
    "disk": {"records": "runs that are here", "model": "network and test set: checkpoints, logits, logs"},
}


def print_plan(
    console: Console, items: Sequence[Item], spent: Sequence[Needs], machine: Machine, notes: Iterable[str] = ()
) -> None:
    """The plan, then what it comes to and where these figures come from.

    Args:
        console: Where to.
        items: The plan.
        spent: What each item comes to, in the same order.
        machine: What would train it.
        notes: Printed first, a line each.
    """
    for note in notes:
        print_line(console, f"note: {note}")
    wide = console.width >= WIDE
    figures = ("seed", "GPU-h", "wall h", "kWh", "disk")
    table = make_table(("action", "run"), figures, ("reason",) if wide else (), ("reason",) if wide else ("run",))
    for item, one in zip(items, spent, strict=True):
        hours = "?" if item.cost_source == "unknown" else _figure(item.gpu_hours)
        values = (hours, *map(_known, (one.wall_hours, one.energy_kwh)), _known(one.disk_bytes, size))
        reason = plain(f"{item.missing} is missing" if item.action == "blocked" else item.reason)
        own = item.action != "blocked" and (item.status.state != "done" or "other code" in reason) and reason != "new"
        name = f"{item.run.name}\n[dim]{reason}[/]" if own and not wide else item.run.name
        action = f"[{STYLES[item.action]}]{item.action}[/]"
        table.add_row(action, name, str(item.run.seed), *values, *([reason] if wide else []))
    print_table(console, table)
    for reason in dict.fromkeys(item.reason for item in items if item.action == "blocked"):
        print_line(console, reason)
    actions = Counter[str](item.action for item in items)
    found = counted({action: actions[action] for action in ("run", "skip", "wait", "blocked")})
    print_line(console, f"{count(len(items))}: {found or 'nothing to do'}")
    if actions["run"] or actions["blocked"]:
        console.print(_totals(list(zip(items, spent, strict=True)), machine))


def _totals(rows: Sequence[tuple[Item, Needs]], machine: Machine) -> Table:
    """What the runs come to that are to be trained, and those that are blocked, and how that is known."""
    parts = {name: [row for row in rows if row[0].action == name] for name in ("run", "blocked")}
    parts = {name: part for name, part in parts.items() if part}
    asked = [row for part in parts.values() for row in part]
    needs = [one for _, one in asked]
    heads = ["to run" if name == "run" else name for name in parts]
    table = make_table(("",), heads, ("estimated from",), ("estimated from",))
    table.add_row(
        "GPU-hours",
        *(_sum([item.gpu_hours for item, _ in part]) for part in parts.values()),
        _origin("gpu_hours", [item.cost_source for item, _ in asked]),
    )
    table.add_row(
        "wall time",
        *(_last([one.done_after_hours for _, one in part]) for part in parts.values()),
        f"{_origin('wall', [one.wall_source for one in needs])}; {machine.name}",
    )
    table.add_row(
        "energy",
        *(_sum([one.energy_kwh for _, one in part], " kWh") for part in parts.values()),
        _origin("energy", [one.energy_source for one in needs]),
    )
    table.add_row(
        "disk",
        *(_sum([one.disk_bytes for _, one in part], form=size) for part in parts.values()),
        _origin("disk", [one.disk_source for one in needs]),
    )
    return table


def _origin(quantity: str, sources: Sequence[str]) -> str:
    """Where a total comes from, in words, and for how many runs nothing is known."""
    known = [words for source, words in _ORIGINS[quantity].items() if source in sources]
    unknown = sources.count("unknown")
    return "; ".join([*known, *([f"unknown for {count(unknown)}"] if unknown else [])]) or "runs on a CPU"


def _sum(values: Sequence[float | None], unit: str = "", form: Callable[[float], str] | None = None) -> str:
    """A sum for people; a "+" behind it where a part of it is unknown."""
    known = [value for value in values if value is not None]
    if not known:
        return "?" if values else ""
    return (form or _figure)(sum(known)) + unit + "+" * (len(known) < len(values))


def _last(hours: Sequence[float | None]) -> str:
    """The end of the last run for people; a "+" behind it where runs of unknown length come after."""
    known = [value for value in hours if value is not None]
    if not known:
        return "?" if hours else ""
    return duration(max(known) * 3600) + "+" * (len(known) < len(hours))


def _known(value: float | None, form: Callable[[float], str] | None = None) -> str:
    return "?" if value is None else (form or _figure)(value)


def _figure(value: float | None) -> str:
    if not value:
        return ""
    return "<0.01" if value < 0.01 else f"{value:.2g}" if value < 10 else f"{value:,.0f}"
