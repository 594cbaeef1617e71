"""`--status`: how runs stand, once, or with --watch again and again: redrawn in place, or printed at each change."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.text import Text

from tksbench.exits import DONE, FAILED, INTERRUPTED
from tksbench.launch.cluster import Queue, ask_queue
from tksbench.launch.view import Active, live_table
from tksbench.text import STYLES, WIDE, count, counted, duration, make_table, number, plain, print_line, print_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from tksbench.recipe import Run
    from tksbench.runs import Ledger, Status

_REFRESH_S = 2.0  # between two looks at the ledger
_QUEUE_S = 30.0  # between two questions to Slurm, whose controller serves the whole cluster
_PLAIN_S = 10.0  # between two printed pictures
_IDLE_S = 30.0  # without anything running or queued before it ends: a launcher is quicker to start the next run
_COLUMNS = ("running", "pending", "failed", "done")


def noted(status: Status, notes: Mapping[str, str]) -> Status:
    """A status with what Slurm says of a run that is not done.

    Args:
        status: The ledger's word.
        notes: Slurm's, by the run's id: `cluster.queue_notes`.
    """
    note = notes.get(status.id)
    if note is None or status.state == "done":
        return status
    return replace(status, reason=note if status.state in ("new", "running") else f"{status.reason}; {note}")


def print_status(console: Console, rows: Sequence[tuple[Run, Status]], absent: Sequence[Run] = ()) -> None:
    """State of each run, then how many there are of each state.

    Args:
        console: Where to.
        rows: The runs.
        absent: Further ones that are asked for and were never begun, of which only the number is printed.
    """
    wide = console.width >= WIDE
    figures, reasons = ("scale", "seed", "epoch", "top-1", "ETA"), ("reason",) if wide else ()
    table = make_table(("state", "run"), figures, reasons, reasons or ("run",))
    for run, status in rows:
        epoch = f"{status.epoch}/{run.spec.epochs}" if status.epoch is not None else ""
        values = (epoch, number(status.top1, "{:.2f}"), duration(status.eta_s))
        reason = "" if status.reason == status.state else plain(status.reason)
        name = f"{run.name}\n[dim]{reason}[/]" if reason and status.state != "done" and not wide else run.name
        state = f"[{STYLES[status.state]}]{status.state}[/]"
        table.add_row(state, name, run.scale, str(run.seed), *values, *([reason] if wide else []))
    print_table(console, table)
    print_line(console, f"{count(len(rows))}: {counted(Counter(status.state for _, status in rows)) or 'none here'}")
    if absent:
        scales = Counter(f"at scale {run.scale}" for run in absent)
        print_line(console, f"never begun: {counted(scales)} (--scale NAME lists them)")


@dataclass(frozen=True)
class Board:
    """How all watched runs stand at one moment.

    Attributes:
        rows: The runs, each with its state: a key of `_COLUMNS`. "pending" is what is asked for or was broken off,
            and nobody trains now, and what Slurm will start (once more).
        note: Why the queue is not known; empty if it is, or if nothing was submitted.
        queued: Whether Slurm will start one of the pending runs, or may.
    """

    rows: tuple[tuple[Run, Status, str], ...]
    note: str = ""
    queued: bool = False

    @property
    def pending(self) -> int:
        """How many runs nobody trains now, though they are not done."""
        return sum(state == "pending" for _, _, state in self.rows)

    @property
    def moving(self) -> bool:
        """Whether somebody trains a run, or Slurm will start one."""
        return self.queued or any(state == "running" for _, _, state in self.rows)

    @property
    def failed(self) -> bool:
        """Whether a run has failed and nobody tries it again."""
        return any(state == "failed" for _, _, state in self.rows)

    @property
    def news(self) -> tuple[object, ...]:
        """What makes a change worth printing: a run's state or epoch."""
        return (*((run.id, state, status.epoch) for run, status, state in self.rows), self.note)


class Watcher:
    """Reads boards; what is done is not read twice, and Slurm is asked rarely.

    Args:
        ledger: The results folder.
        runs: Which runs there are now.
    """

    def __init__(self, ledger: Ledger, runs: Callable[[], Sequence[Run]]) -> None:
        self._ledger, self._runs = ledger, runs
        self._done: dict[str, Status] = {}
        self._asked = float("-inf")
        self._queue = Queue({}, frozenset())
        self._problem = ""
        self._moved = time.monotonic()

    def ended(self, board: Board) -> bool:
        """Whether nothing is to be waited for: no run is pending, or for a while nobody has seen to one that is."""
        now = time.monotonic()
        if board.moving:
            self._moved = now
        return not board.moving and (board.pending == 0 or now - self._moved >= _IDLE_S)

    def read(self) -> Board:
        """The board of this moment."""
        if time.monotonic() - self._asked >= _QUEUE_S:
            problems: list[str] = []
            self._queue = ask_queue(self._ledger, problems.append)
            self._problem = "; ".join(problems)
            self._asked = time.monotonic()
        rows = tuple(self._row(run) for run in self._runs())
        queued = self._queue.queued
        waiting = any(state == "pending" and (queued is None or run.id in queued) for run, _, state in rows)
        return Board(rows, self._problem, waiting)

    def _row(self, run: Run) -> tuple[Run, Status, str]:
        status = self._done.get(run.id) or self._ledger.status(run.id)
        if status.state == "done":
            self._done[run.id] = status
        state = status.state if status.state in _COLUMNS else "pending"
        waiting = state == "failed" and run.id in (self._queue.queued or ())
        return run, noted(status, self._queue.notes), "pending" if waiting else state


def watch(console: Console, ledger: Ledger, runs: Callable[[], Sequence[Run]]) -> int:
    """Show how runs stand until none is running or queued, or until Ctrl-C.

    What is pending and in nobody's queue is waited for as long as a launcher may take to start it.

    Args:
        console: On a terminal the picture is redrawn in place; elsewhere one is printed when a run's state or epoch
            has changed, at most every ten seconds, and one at the end.
        ledger: The results folder.
        runs: Which runs there are now.

    Returns:
        The exit status: 0 if all are done, 1 if one has failed or is left pending, 130 after Ctrl-C.
    """
    printed: tuple[object, ...] | None = None
    when = float("-inf")
    try:
        with Live(console=console, auto_refresh=False) if console.is_terminal else nullcontext() as live:
            for board, ended in _boards(Watcher(ledger, runs)):
                if live:
                    live.update(picture(board, hint=not ended), refresh=True)
                elif board.news != printed and (ended or time.monotonic() - when >= _PLAIN_S):
                    printed, when = board.news, time.monotonic()
                    console.print(picture(board))
    except KeyboardInterrupt:
        return INTERRUPTED
    if board.pending:
        left = f"{board.pending} pending, which nobody trains now"
        console.print(Text(f"{left}; python -m tksbench.launch RECIPE goes on with them", style="dim"))
    return FAILED if board.failed or board.pending else DONE


def _boards(watcher: Watcher) -> Iterator[tuple[Board, bool]]:
    """Boards, and whether each is the last one."""
    ended = False
    while not ended:
        board = watcher.read()
        ended = watcher.ended(board)
        yield board, ended
        if not ended:
            time.sleep(_REFRESH_S)


def picture(board: Board, hint: bool = False) -> Group:
    """A board for people, readable at 80 columns: totals, recipes, and what is being trained.

    Args:
        board: What to show.
        hint: Also say how to leave.
    """
    totals = Counter(state for _, _, state in board.rows)
    found = counted({state: totals[state] for state in _COLUMNS}) or "none"
    hours = sum(status.gpu_hours or 0.0 for _, status, _ in board.rows)
    parts: list[Text | Table] = [
        Text(f"{time.strftime('%H:%M:%S')}  runs: {found}; {hours:,.1f} GPU-hours spent in all", style="bold")
    ]
    if board.note:
        parts.append(Text(f"the queue is not known: {board.note}", style="yellow"))
    if board.rows:
        parts.append(_recipes(board))
    active = [Active(run, _where(status), status) for run, status, state in board.rows if state == "running"]
    if active:
        parts.append(live_table(active, best=True))
    if hint:
        parts.append(Text("Ctrl-C leaves this view; the runs go on", style="dim"))
    return Group(*parts)


def _recipes(board: Board) -> Table:
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for run, _, state in board.rows:
        counts[run.recipe, run.scale][state] += 1
    table = make_table(("recipe", "scale"), _COLUMNS, fold=("recipe",))
    for column, state in zip(table.columns[2:], _COLUMNS, strict=True):
        column.style = STYLES.get(state, "")
    for (recipe, scale), states in counts.items():
        table.add_row(Text(recipe), scale, *(str(states[name] or "") for name in _COLUMNS))
    return table


def _where(status: Status) -> str:
    """The host that trains a run, without its domain."""
    return (status.holder or "").partition(",")[0].partition(".")[0]
