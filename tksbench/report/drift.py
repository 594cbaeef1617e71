"""Whether the files of tables and figures are what the records give: `python -m tksbench.tables --check`.

Each file is built again from the published records alone and compared to the byte, drawings by the checksum of the
numbers beside them. So a hand-edited number, a published record that is missing from a table, and a table that shows a
run of one machine all count as drift. What lies under results/local is not looked at.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tksbench.report.catalog import build_figure, build_table, rendered
from tksbench.report.figure_data import FIGURES
from tksbench.report.groups import ReportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tksbench.report.catalog import Sources
    from tksbench.report.figure_data import Figure
    from tksbench.report.figure_tsne import Scatter

_NOT_PUBLISHED = "shows runs that are not published"


def table_drift(name: str, suffix: str, sources: Sources) -> str | None:
    """What is wrong with a table's file, or None.

    Args:
        name: One of `catalog.table_names`.
        suffix: One of `catalog.TEXTS`.
        sources: What it should be built from; the file lies in tables/ of the ledger's folder.
    """
    from tksbench.report.markup import stamp_of

    published = sources.evidence.only_published()
    path = sources.ledger.root / "tables" / f"{name}.{suffix}"

    def compare() -> str:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise ReportError(f"{path}: missing or unreadable") from None
        if stamp_of(text):
            raise ReportError(f"{path}: {_NOT_PUBLISHED}")
        built = rendered(build_table(name, sources, published), suffix)
        if built == text:
            return ""
        old, new = text.splitlines(), built.splitlines()
        line = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
        return f"{path}:{line + 1}"

    return _told(name, compare)


def figure_drift(name: str, sources: Sources, *, wanted: bool) -> str | None:
    """What is wrong with a figure's files, or None.

    Args:
        name: One of `figure_data.FIGURES`.
        sources: What it should be made from; the files lie in figures/ of the ledger's folder.
        wanted: Whether it is wrong that there are none.
    """
    from tksbench.report.figures import made_from, to_csv

    path = sources.ledger.root / "figures" / f"{name}.csv"

    def compare() -> str:
        stamp = made_from(name, path.parent)
        if stamp is None:
            if wanted:
                raise ReportError(f"{path}: missing")
            return ""
        if stamp:
            raise ReportError(f"{path}: {_NOT_PUBLISHED}")
        published = sources.evidence.only_published()
        return "" if to_csv(build_figure(name, sources, published)) == path.read_bytes() else str(path)

    return _told(name, compare)


def local_runs(figure: Figure | Scatter, sources: Sources) -> str:
    """What a drawing has to say of runs that are not published: "" if it shows none of them."""
    from tksbench.report.figures import to_csv

    if figure.name not in FIGURES or not sources.evidence.local:
        return ""
    published = build_figure(figure.name, sources, sources.evidence.only_published())
    return "" if to_csv(published) == to_csv(figure) else replace(sources.evidence, states={}).stamp()


def _told(name: str, compare: Callable[[], str]) -> str | None:
    try:
        place = compare()
    except ReportError as error:
        wrong = str(error)
    else:
        if not place:
            return None
        wrong = f"{place}: is not what the records give"
    return f"{wrong}; rebuild with: python -m tksbench.tables {name} --only-published"
