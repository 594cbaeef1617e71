"""A plain list of runs with their numbers, as Markdown, as LaTeX and on a terminal: costs, smoke checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tksbench.report.markup import escape_latex, escape_markdown, standalone

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
    from tabulate import tabulate

    body = tabulate(
        [[escape_markdown(cell) for cell in row] for row in table.rows],
        headers=table.headers,
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["left", "left", *["right"] * (len(table.headers) - 2)] if table.rows else None,
    )
    notes = "\n".join(f"- {escape_markdown(note)}" for note in table.notes)
    stamp = f"\n<!-- local: {table.stamp} -->\n" if table.stamp else ""
    return f"# {table.title}\n\n{body}\n\n{notes}\n{stamp}"


def latex(table: Listing) -> str:
    """The list as a LaTeX file that compiles alone, and can be read in by a document with the packages it names."""
    heading = [r"    \toprule", "    " + " & ".join(map(escape_latex, table.headers)) + r" \\", r"    \midrule"]
    lines = [r"\begingroup", r"  \footnotesize", r"  \setlength{\LTcapwidth}{\linewidth}"]
    lines += [rf"  \begin{{longtable}}{{@{{}}ll{'r' * (len(table.headers) - 2)}@{{}}}}"]
    lines += [rf"  \caption{{{escape_latex(table.title)}}}\label{{tab:{table.name}}}\\"]
    lines += [*heading, r"    \endfirsthead", *heading, r"    \endhead"]
    lines += ["    " + " & ".join(map(escape_latex, row)) + r" \\" for row in table.rows]
    lines += [r"    \bottomrule", r"  \end{longtable}", r"  \par\medskip\noindent"]
    lines += [r"  \begin{minipage}{\linewidth}\raggedright\scriptsize"]
    lines += [rf"    {escape_latex(note)}\par" for note in table.notes]
    lines += [r"  \end{minipage}", r"\endgroup", ""]
    return standalone(
        "\n".join(lines), packages=("booktabs", "longtable"), landscape=table.landscape, stamp=table.stamp
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
