"""What `python -m tksbench.tables` prints and writes: tables, figures and the page."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tksbench.progress import working
from tksbench.report.catalog import build_figure, build_table, rendered, runs_of, show

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tksbench.report.catalog import AnyTable, Sources
    from tksbench.report.figure_data import Panel
    from tksbench.report.figure_tsne import Cloud

_NO_REAL_DATA = (
    "figures are drawn from runs on the data sets themselves, not on stand-in data:\n"
    "python -m tksbench.data verify all says what is there and what is missing\n"
)


def write_tables(
    names: Sequence[str], formats: Sequence[str], sources: Sources, *, ours: bool = False
) -> list[AnyTable]:
    """Write and print tables; nothing without a format.

    Args:
        names: Of `catalog.table_names`.
        formats: Of `catalog.TEXTS`.
        sources: What they are built from.
        ours: Leave the rows of cited works out of what is printed.

    Returns:
        The tables.

    Raises:
        LedgerError: A file cannot be written.
    """
    from rich.console import Console

    from tksbench.report.places import place
    from tksbench.runs import write_bytes

    if not names or not formats:
        return []
    with working("building tables"):
        tables = [build_table(name, sources, sources.evidence) for name in names]
    written: dict[Path, list[str]] = {}
    for table in tables:  # all files before the first line of output, whose reader may leave early
        files = {f"{table.name}.{suffix}": rendered(table, suffix).encode() for suffix in formats}
        folder = place(sources.ledger.root, "tables", files, local=bool(table.stamp))
        for name, content in files.items():
            write_bytes(folder / name, content)
        written.setdefault(folder, []).extend(files)
    print_tables(tables, sources, ours=ours)
    console = Console(highlight=False)
    for folder, made in written.items():
        console.print(f"written to {folder}: {', '.join(made)}", markup=False)
    return tables


def print_tables(tables: Sequence[AnyTable], sources: Sources, *, ours: bool) -> None:
    """Print tables, and below them, under headings of their own, their runs on twins and on stand-in data, if any."""
    from rich.console import Console

    from tksbench.report import apart, listing

    console = Console(highlight=False)
    others = {apart.TWINS: apart.build_twins, apart.SMOKE_CHECKS: apart.build_smoke_checks}
    named = {table.name for table in tables}
    listed = [table for table in tables if table.name not in others]
    for table in listed:
        show(table, console, ours=ours)
    asked = {run for table in listed for run in runs_of(table)}
    for name, build in others.items():
        made = build(sources.protocols, sources.evidence, None if name in named else asked)
        if made.rows or (name in named and not listed):
            listing.show(made, console)


def write_page(built: Sequence[AnyTable], sources: Sources) -> None:
    """Write the page; `built` are tables that need not be built again."""
    from tksbench.report.page import write

    with working("writing the page"):
        path = write.write_page(sources.paper, sources.protocols, sources.evidence, sources.ledger, built)
    sys.stdout.write(f"written to {path}\n")


def write_figures(names: Sequence[str], sources: Sources) -> None:
    """Draw figures and print what each shows and lacks."""
    if not names:
        return
    from tksbench.report.drift import local_runs
    from tksbench.report.figure_data import FIGURES
    from tksbench.report.figures import describe, write_figure
    from tksbench.report.places import place

    panels: list[Panel | Cloud] = []
    for name in names:  # one after another, since an embedding at full scale takes a minute
        with working(f"drawing {name}"):
            figure = build_figure(name, sources, sources.evidence)
            stamp = local_runs(figure, sources)
            names_of_files = [f"{name}.{suffix}" for suffix in ("pdf", "png", "csv")]
            # An embedding is made of the runs' features, which lie on this machine alone.
            folder = place(sources.ledger.root, "figures", names_of_files, local=bool(stamp) or name not in FIGURES)
            files = write_figure(figure, folder, stamp)
        panels += figure.panels
        lines = [f"{folder / files[0]}, .png, .csv", *(f"  {line}" for line in describe(figure))]
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
    if any(panel.missing and not panel.scale and panel.smoke_check for panel in panels):
        sys.stdout.write(_NO_REAL_DATA)
    elif any(panel.missing for panel in panels):
        sys.stdout.write("make figures trains what is missing (make figures SCALE=paper at full scale)\n")
