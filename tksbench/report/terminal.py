"""Tables on a terminal: the essential columns on 80 characters, all of them on a wide one."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table as Grid
from rich.text import Text

from tksbench.report.cells import INCOMPLETE
from tksbench.report.markup import COLUMNS, RIGHT, columns
from tksbench.report.tables import INTERVAL_NOTE

if TYPE_CHECKING:
    from rich.console import Console

    from tksbench.report.tables import Line, Table

WIDE = 150  # columns that the full table needs
_NARROW_COLUMNS = ("method", "architecture", "steps", "metric", "paper", "best", "n", "verdict")
_COLOURS = {  # told apart by the word as well; blue and orange rather than green and red
    "reproduced": "bold blue",
    "holds": "bold blue",
    "better": "bold cyan",
    "worse": "bold dark_orange",
    "failed": "bold red",
    "running": "yellow",
    "cited": "dim",
    "not": "dim",
    "smoke": "dim",
}


def show(table: Table, console: Console, *, ours: bool = False) -> None:
    """Print a table, grouped by data set, with its footnotes; the paper's own rows go before those it cites.

    Args:
        table: From `tables.build_table`.
        console: Where to.
        ours: Leave out the rows of cited works.
    """
    table = table.ours() if ours else table
    wide = console.width >= WIDE
    names = [name for name in columns(table) if name != "dataset" and (wide or name in _NARROW_COLUMNS)]
    marked = any(line.mark for line in table.lines)
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, int(wide), 0, 0), pad_edge=False, show_edge=False)
    for name in names:
        keep = name in RIGHT or name in ("method", "architecture")
        grid.add_column(COLUMNS[name], justify="right" if name in RIGHT else "left", no_wrap=keep)
    for dataset, lines in itertools.groupby(table.lines, key=lambda line: line.dataset):
        grid.add_section()
        grid.add_row(Text(dataset, style="bold"))
        for line in sorted(lines, key=lambda line: line.is_cited):
            grid.add_row(*(_cell(line, name, marked, wide) for name in names))
    console.print(Text(table.title + (f": {table.metric}" if table.metric else ""), style="bold"))
    console.print(grid)
    console.print()
    for note in table.notes:
        if wide or not note.startswith(INTERVAL_NOTE):
            console.print(Text(note, style="dim"))
    if wide and table.cited:
        console.print(Text(f"Cited: {table.cited}.", style="dim"))
    if not wide:
        hidden = "The last epoch, both intervals" + ", the cited works with their own numbers" * bool(table.cited)
        console.print(Text(f"{hidden}: on a terminal of {WIDE} columns, or in the files.", style="dim"))
    console.print()


def _cell(line: Line, name: str, marked: bool, wide: bool) -> Text:
    text = str(getattr(line, name))
    if name == "best" and not wide:  # the verdict's words need the room
        text = text.replace(" ± ", "±")
    if name == "verdict" and not wide and text.startswith("not run"):  # a note below the table says it too
        text = text.replace(f", {INCOMPLETE}", "").replace(f" ({INCOMPLETE})", "")
    if name == "paper" and marked:  # a column of its own for the marks keeps the numbers below each other
        text = f"{text} {line.mark or ' '}"
    return Text(text, style=colour_of(text, less_is_better=line.less_is_better) if name == "verdict" else "")


def colour_of(verdict: str, *, less_is_better: bool = False) -> str:
    """Style of a verdict, by its first words."""
    word = "worse" if verdict.startswith("does not hold") else verdict.split(" ")[0]
    if word in ("above", "below"):
        word = "better" if (word == "above") != less_is_better else "worse"
    return _COLOURS.get(word, "")
