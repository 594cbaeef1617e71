"""A plain list of runs with their numbers, as Markdown, as LaTeX and on a terminal: costs, smoke checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tksbench.report.markup import document, escape_latex, listed, long_table, pipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

_WIDE, _NAME_WIDTH = 100, 24


@dataclass(frozen=True)
class Listing:
    """A list before rendering: `rows` hold plain text under `headers`.

    Attributes:
        name: Of its files.
        title: Caption.
        headers: Of the columns; the first two hold words, the others numbers.
        rows: Plain text, not yet escaped for any format.
        notes: Below it.
        stamp: As in `tables.Table`.
        left_out: Headers of columns that a narrow terminal does not show.
        landscape: Whether a page of LaTeX has to be turned for it.
    """

    name: str
    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    stamp: str = ""
    left_out: tuple[str, ...] = ()
    landscape: bool = False


def markdown(table: Listing) -> str:
    """The list as a Markdown document."""
    align = ["left", "left", *["right"] * (len(table.headers) - 2)] if table.rows else None
    return document([f"# {table.title}", pipe(table.headers, table.rows, align), listed(table.notes)], table.stamp)


def latex(table: Listing) -> str:
    """The list as a LaTeX file that compiles alone, and can be read in by a document with the packages it names."""
    return long_table(
        table.name,
        table.title,
        f"ll{'r' * (len(table.headers) - 2)}",
        [*map(escape_latex, table.headers)],
        ["    " + " & ".join(map(escape_latex, row)) + r" \\" for row in table.rows],
        table.notes,
        packages=("booktabs", "longtable"),
        landscape=table.landscape,
        stamp=table.stamp,
    )


def show(table: Listing, console: Console) -> None:
    """Print the list."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = [header for header in table.headers if console.width >= _WIDE or header not in table.left_out]
    texts = [column for column in zip(table.headers, *table.rows, strict=True) if column[0] in shown]
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for header, width in zip(shown, _widths(texts, console.width), strict=True):
        justify: Literal["left", "right"] = "left" if header in table.headers[:2] else "right"
        grid.add_column(header.replace(" ", "\n"), justify=justify, overflow="fold", width=width)
    for row in table.rows:
        grid.add_row(*(Text(cell) for header, cell in zip(table.headers, row, strict=True) if header in shown))
    console.print(Text(table.title, style="bold"))
    console.print(grid if table.rows else "\nno records yet\n")
    for note in table.notes:
        console.print(Text(note, style="dim"))
    console.print()


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """Characters of each column, its header first: words are broken before names are, and no number is cut."""
    words = [[word for text in column for word in text.split()] for column in columns]
    found = [max(map(len, column)) for column in words]
    whole = [max(len(text) for text in (*column[0].split(), *column[1:])) for column in columns]
    found[0] = min(found[0], _NAME_WIDTH)
    left = room - sum(found) - 2 * len(found)
    found[0] = max(1, found[0] + min(left, 0))
    for number in (*range(2, len(found)), 0, 1):
        more = max(0, min(left, whole[number] - found[number]))
        found[number], left = found[number] + more, left - more
    return found
