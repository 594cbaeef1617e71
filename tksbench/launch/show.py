"""Plan and status as tables for people, readable at 80 columns."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.table import Table

from tksbench.launch.schedule import GPU_WATTS
from tksbench.launch.view import duration, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.console import Console

    from tksbench.launch.plan import Item
    from tksbench.launch.schedule import Machine, Needs
    from tksbench.recipe import Run
    from tksbench.runs import Status

_ACTION_STYLES = {"run": "bold cyan", "skip": "green", "wait": "magenta", "blocked": "yellow"}
_STATE_STYLES = {"done": "green", "running": "cyan", "failed": "bold red", "interrupted": "yellow", "new": "dim"}
_WIDE = 110  # columns from which on the reason gets one of its own
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
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    wide = console.width >= _WIDE
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("action", no_wrap=True)
    table.add_column("run", no_wrap=wide, overflow="fold")
    for name in ("seed", "GPU-h", "wall h", "kWh", "disk"):
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        table.add_column("reason", overflow="fold")
    for item, one in zip(items, spent, strict=True):
        style = _ACTION_STYLES[item.action]
        hours = "?" if item.cost_source == "unknown" else _figure(item.gpu_hours)
        figures = [hours, *map(_known, (one.wall_hours, one.energy_kwh)), _known(one.disk_bytes, _size)]
        reason = f"{item.missing} is missing" if item.action == "blocked" else item.reason
        local = item.status.state != "done" or "other code" in reason
        telling = item.action != "blocked" and local and reason != "new"
        under = [f"{item.run.name}\n[dim]{_plain(reason)}[/]" if telling else item.run.name]
        where = [item.run.name, str(item.run.seed), *figures, _plain(reason)]
        table.add_row(f"[{style}]{item.action}[/]", *(where if wide else [*under, *where[1:-1]]))
    console.print(table)
    for reason in dict.fromkeys(item.reason for item in items if item.action == "blocked"):
        console.print(reason, markup=False, soft_wrap=True)
    actions = Counter[str](item.action for item in items)
    counted = ", ".join(f"{actions[name]} {name}" for name in _ACTION_STYLES if actions[name])
    console.print(f"{_plural(len(items))}: {counted or 'nothing to do'}", highlight=False)
    if actions["run"] or actions["blocked"]:
        console.print(_totals(list(zip(items, spent, strict=True)), machine))


def print_status(console: Console, rows: Sequence[tuple[Run, Status]], absent: Sequence[Run] = ()) -> None:
    """State of each run, then how many there are of each state.

    Args:
        console: Where to.
        rows: The runs.
        absent: Further ones that are asked for and were never begun, of which only the number is printed.
    """
    wide = console.width >= _WIDE
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("state", no_wrap=True)
    table.add_column("run", no_wrap=wide, overflow="fold")
    for name in ("scale", "seed", "epoch", "top-1", "ETA"):
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        table.add_column("reason", overflow="fold")
    for run, status in rows:
        style = _STATE_STYLES[status.state]
        epoch = f"{status.epoch}/{run.spec.optim.epochs}" if status.epoch is not None else ""
        figures = (epoch, number(status.top1, "{:.2f}"), duration(status.eta_s))
        reason = "" if status.reason == status.state else _plain(status.reason)
        telling = reason and status.state != "done"
        name = f"{run.name}\n[dim]{reason}[/]" if telling and not wide else run.name
        row = [f"[{style}]{status.state}[/]", name, run.scale, str(run.seed), *figures]
        table.add_row(*row, *([reason] if wide else []))
    console.print(table)
    states = Counter(status.state for _, status in rows)
    console.print(f"{_plural(len(rows))}: {', '.join(f'{n} {state}' for state, n in states.items()) or 'none here'}")
    if absent:
        scales = Counter(run.scale for run in absent)
        counted = ", ".join(f"{count} at scale {scale}" for scale, count in scales.items())
        console.print(f"never begun: {counted} (--scale NAME lists them)", soft_wrap=True)


def _totals(rows: Sequence[tuple[Item, Needs]], machine: Machine) -> Table:
    """What the runs come to that are to be trained, and those that are blocked, and how that is known."""
    parts = {name: [row for row in rows if row[0].action == name] for name in ("run", "blocked")}
    parts = {name: part for name, part in parts.items() if part}
    asked = [row for part in parts.values() for row in part]
    needs = [one for _, one in asked]
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True)
    for name in parts:
        table.add_column(f"to {name}" if name == "run" else name, justify="right", no_wrap=True)
    table.add_column("estimated from", overflow="fold")
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
        *(_sum([one.disk_bytes for _, one in part], form=_size) for part in parts.values()),
        _origin("disk", [one.disk_source for one in needs]),
    )
    return table


def _origin(quantity: str, sources: Sequence[str]) -> str:
    """Where a total comes from, in words, and for how many runs nothing is known."""
    known = [words for source, words in _ORIGINS[quantity].items() if source in sources]
    unknown = sources.count("unknown")
    return "; ".join([*known, *([f"unknown for {_plural(unknown)}"] if unknown else [])]) or "runs on a CPU"


def _plural(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


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


def _size(size: float) -> str:
    """Bytes for people.

    >>> _size(152_400_000)
    '152 MB'
    """
    if not size:
        return ""
    units = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"))
    unit, name = next((one for one in units if size >= one[0]), units[-1])
    return f"{size / unit:.2g} {name}" if size < 10 * unit else f"{size / unit:,.0f} {name}"


def _plain(text: str) -> str:
    """Text in which rich sees no markup."""
    return text.replace("[", r"\[")
