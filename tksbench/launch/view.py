"""What the user sees while runs are trained: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from tksbench.text import STYLES, counted, duration, make_table, number, print_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console, RenderableType
    from rich.table import Table

    from tksbench.recipe import Run
    from tksbench.runs import Status

_LIVE_S = 0.5  # seconds between redraws
_BAR_S = 0.1  # the same, of a bar that moves
_LINE_S = 10.0  # seconds between two plain lines about the same run

UNREAD = (OSError, SystemExit)  # from telling a reader who has left (`| head`): rich makes SystemExit of a broken pipe


@dataclass(frozen=True)
class Active:
    """A run being trained, here (`where` is its slot) or by somebody else."""

    run: Run
    where: str
    status: Status


class View:
    """Is informed by the executor of what happens; this one shows nothing."""

    def event(self, kind: str, text: str) -> None:
        """Something happened: `kind` is a key of `STYLES`."""

    def update(self, active: Sequence[Active], counts: Mapping[str, int], pending: str = "") -> None:
        """How things stand; called several times a second. `pending`: what has to be done before a run can start."""

    def close(self) -> None:
        """The last call."""


class PlainView(View):
    """Lines for log files and pipes: every event, and each run's newest epoch at most every ten seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: dict[str, tuple[int, float]] = {}
        self._pending = ""

    def event(self, kind: str, text: str) -> None:
        """Print it."""
        print_line(self._console, f"{kind}: {text}")

    def update(self, active: Sequence[Active], counts: Mapping[str, int], pending: str = "") -> None:
        """Print a line for each run that has finished another epoch."""
        if pending and pending != self._pending:
            print_line(self._console, f"note: {pending}")
        self._pending = pending
        for item in active:
            epoch = item.status.epoch or 0
            told, when = self._told.get(item.run.id, (0, float("-inf")))
            if epoch > told and time.monotonic() - when >= _LINE_S:
                self._told[item.run.id] = (epoch, time.monotonic())
                print_line(self._console, f"{title(item.run)}: {', '.join(_figures(item.status))}")


class LiveView(View):
    """A table of what is being trained, redrawn in place; events scroll by above it.

    The sum stands first, since a table of many runs is cut where the terminal ends.
    """

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()
        self._drawn = float("-inf")
        self._bar = Progress(
            BarColumn(20), TextColumn("{task.description}", markup=False), TimeElapsedColumn(), auto_refresh=False
        )

    def event(self, kind: str, text: str) -> None:
        """Print it above the table."""
        line = Text.assemble((f"{kind:>11} ", STYLES.get(kind, "")), text)
        self._live.console.print(line, soft_wrap=True)

    def update(self, active: Sequence[Active], counts: Mapping[str, int], pending: str = "") -> None:
        """Redraw, unless that was done just now."""
        if time.monotonic() - self._drawn < (_BAR_S if pending else _LIVE_S):
            return
        self._drawn = time.monotonic()
        parts: list[RenderableType] = [Text(counted(counts), style="bold")]
        if active or not pending:
            parts.append(live_table(active))
        if pending and not self._bar.tasks:
            self._bar.add_task(pending, total=None)
        parts += [self._bar] if pending else []
        self._live.update(Group(*parts), refresh=True)

    def close(self) -> None:
        """Take the table away."""
        self._live.update(Text(""), refresh=True)
        self._live.stop()


class SteadyView(View):
    """Passes on to a view what can still be read: training does not stop because nobody reads of it any more."""

    def __init__(self, view: View) -> None:
        self._view = view

    def event(self, kind: str, text: str) -> None:
        """Pass it on."""
        with suppress(*UNREAD):
            self._view.event(kind, text)

    def update(self, active: Sequence[Active], counts: Mapping[str, int], pending: str = "") -> None:
        """Pass it on."""
        with suppress(*UNREAD):
            self._view.update(active, counts, pending)

    def close(self) -> None:
        """Pass it on."""
        with suppress(*UNREAD):
            self._view.close()


def make_view(console: Console) -> View:
    """The view that suits the console."""
    return LiveView(console) if console.is_terminal else PlainView(console)


def live_table(active: Sequence[Active], best: bool = False) -> Table:
    """Runs in training, readable at 80 columns.

    Args:
        active: The runs.
        best: Show the best accuracy instead of the newest one and the loss.
    """
    figures = ("seed", "epoch", *(("best top-1",) if best else ("loss", "top-1")), "images/s", "ETA", "on")
    table = make_table(("run",), figures, fold=("run",))
    table.columns[0].ratio, table.columns[-1].max_width = 1, 12
    for item in active:
        status = item.status
        epochs = item.run.spec.epochs
        newest = (number(status.loss, "{:.3f}"), number(status.top1, "{:.2f}"))
        table.add_row(
            item.run.name,
            str(item.run.seed),
            f"{status.epoch or 0}/{epochs}",
            *((number(status.best_top1, "{:.2f}"),) if best else newest),
            number(status.images_per_s, "{:.0f}"),
            duration(status.eta_s),
            item.where,
        )
    return table


def title(run: Run) -> str:
    """What a run is called in messages."""
    return f"{run.name} seed {run.seed}"


def _figures(status: Status) -> list[str]:
    words = [f"epoch {status.epoch or 0}/{status.epochs or '?'}"]
    words += [f"newest loss {status.loss:.3f}"] if status.loss is not None else []
    words += [f"top-1 {status.top1:.2f} %"] if status.top1 is not None else []
    words += [f"{status.images_per_s:.0f} images/s"] if status.images_per_s is not None else []
    return words + ([f"ETA {duration(status.eta_s)}"] if status.eta_s is not None else [])
