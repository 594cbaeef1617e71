"""Words, figures and tables for people, readable at 80 columns."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

WIDE = 110  # columns from which on a reason gets one of its own
STYLES = {  # of what is done with a run, and of how it stands
    **{"done": "green", "skip": "green", "failed": "bold red", "refused": "bold red", "interrupted": "yellow"},
    **{"blocked": "yellow", "run": "bold cyan", "running": "cyan", "note": "cyan", "wait": "magenta", "new": "dim"},
}


def print_line(console: Console, text: str) -> None:
    """Print a line as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def count(number: int, what: str = "run") -> str:
    """A number of things.

    >>> count(1), count(3, "process")
    ('1 run', '3 processes')
    """
    return f"{number} {what}{'' if number == 1 else 'es' if what.endswith('s') else 's'}"


def counted(counts: Mapping[str, int]) -> str:
    """Those of some numbers that are not 0.

    >>> counted({"trained": 2, "failed": 0, "blocked": 1})
    '2 trained, 1 blocked'
    """
    return ", ".join(f"{number} {word}" for word, number in counts.items() if number)


def duration(seconds: float | None) -> str:
    """A time span: `5 s`, `12 min`, `3 h 20 min`; empty if unknown.

    >>> duration(12_000)
    '3 h 20 min'
    """
    if seconds is None or seconds < 0:
        return ""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def number(value: float | None, form: str) -> str:
    """A figure, or nothing where none is known."""
    return "" if value is None else form.format(value)


def size(number: float) -> str:
    """Bytes.

    >>> size(152_400_000)
    '152 MB'
    """
    if not number:
        return ""
    units = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"))
    unit, name = next((one for one in units if number >= one[0]), units[-1])
    return f"{number / unit:.2g} {name}" if number < 10 * unit else f"{number / unit:,.0f} {name}"


def shown(path: Path) -> Path:
    """A path from the working directory where it lies under it: absolute ones are folded in tables."""
    absolute = path.absolute()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else path


def last_line(log: BinaryIO, start: int = 0) -> str:
    """The last line of a log, from an attempt's start on: where a traceback has its message."""
    log.seek(max(start, log.seek(0, os.SEEK_END) - 20_000))
    lines = [line.strip() for line in log.read().decode(errors="replace").split("\n")]
    return next(filter(None, reversed(lines)), "")[:600]


def without_time(line: str) -> str:
    """A line of a trainer's log without the time that it begins with."""
    return re.sub(r"^\d\d:\d\d:\d\d ", "", line)


def make_table(
    left: Sequence[str], right: Sequence[str] = (), last: Sequence[str] = (), fold: Sequence[str] = ()
) -> Table:
    """A table without lines, whose cells are rich's markup.

    Args:
        left: Its first columns' names.
        right: Those of figures, flush right.
        last: Those after them.
        fold: Which of all may be folded; the others are never.
    """
    from rich.table import Table

    made = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for name in (*left, *right, *last):
        folded = name in fold
        made.add_column(name, justify="right" if name in right else "left", no_wrap=not folded, overflow="fold")
    return made


def print_table(console: Console, table: Table) -> None:
    """Print a table of `make_table` that may have hundreds of rows, as rich does, but measure each cell once.

    Args:
        console: Where to.
        table: Its cells are text. Where another column than one would have to be folded, or its name, rich prints it.
    """
    from rich.text import Text

    columns = [
        [Text(str(column.header), column.header_style or "dim"), *(_cell(str(cell)) for cell in column.cells)]
        for column in table.columns
    ]
    widths = [max(line.cell_len for cell in column for line in cell.split()) for column in columns]
    over = sum(widths) + len(widths) - console.width
    folded = [number for number, column in enumerate(table.columns) if not column.no_wrap]
    if over > 0 and folded:
        widths[folded[0]] -= over
    if over > 0 and (len(folded) != 1 or widths[folded[0]] < columns[folded[0]][0].cell_len):
        console.print(table)
        return
    page = Text()
    for row in zip(*columns, strict=True):
        cells = [
            cell.wrap(console, width, overflow="fold") if "\n" in cell.plain or cell.cell_len > width else [cell]
            for cell, width in zip(row, widths, strict=True)
        ]
        for lines in itertools.zip_longest(*cells, fillvalue=Text()):
            for line, width, column in zip(lines, widths, table.columns, strict=True):
                space = " " * (width - line.cell_len)
                page.append(space) if column.justify == "right" else None
                page.append_text(line)
                page.append(" " if column.justify == "right" else space + " ")
            page.append("\n")
    console.print(page, soft_wrap=True, end="")


def _cell(text: str) -> Text:
    """Markup as text; most cells have none, and to look for it takes the longest."""
    from rich.text import Text

    return Text.from_markup(text) if "[" in text else Text(text)


def plain(text: str) -> str:
    """Text in which rich sees no markup."""
    return text.replace("[", r"\[")
