"""Every table and figure by its name: which ones there are, and how one is built from given evidence."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console

    from tksbench.report.claims_table import ClaimsTable
    from tksbench.report.evidence import Evidence
    from tksbench.report.figure_data import Figure
    from tksbench.report.figure_tsne import Scatter
    from tksbench.report.groups import Candidate
    from tksbench.report.listing import Listing
    from tksbench.report.paper import Paper
    from tksbench.report.paper_claims import PaperClaims
    from tksbench.report.tables import Table
    from tksbench.runs import Ledger

    AnyTable = Table | Listing | ClaimsTable | PaperClaims

TEXTS = ("md", "tex")
_OTHERS = {  # than the paper's tables, by name: what builds each
    "level": "tksbench.report.level:build_level",
    "latency": "tksbench.report.latency:build_latency",
    "costs": "tksbench.report.costs:build_costs",
    "claims": "tksbench.report.claims_table:build_claims",
    "paper_claims": "tksbench.report.paper_claims:build_paper_claims",
    "other-data": "tksbench.report.other_data:build_other_data",
    "twin": "tksbench.report.apart:build_twins",
    "smoke-checks": "tksbench.report.apart:build_smoke_checks",
}


class Sources(NamedTuple):
    """What tables and figures are built from.

    Attributes:
        paper: The paper's numbers, with rows of added methods.
        protocols: From `groups.candidates`.
        evidence: Records and states at hand.
        ledger: The results folder.
    """

    paper: Paper
    protocols: dict[str, list[Candidate]]
    evidence: Evidence
    ledger: Ledger


def table_names(paper: Paper) -> list[str]:
    """The paper's tables, other systems, latency, costs, claims, those of the paper, other data, twins, checks."""
    needs = {"level": paper.pairs, "claims": paper.claims, "paper_claims": paper.statements}
    return [*paper.tables, *(name for name in _OTHERS if needs.get(name, True))]


def build_table(name: str, sources: Sources, evidence: Evidence) -> AnyTable:
    """Build one of `table_names`.

    Args:
        name: Its name.
        sources: The paper's numbers and the recipes' protocols.
        evidence: What the table may use; that of `sources`, or part of it.

    Raises:
        ReportError: results/paper.yaml has no such table.
    """
    from tksbench.estimate.model import estimate_gpu_hours

    paper, protocols = sources.paper, sources.protocols
    if name not in _OTHERS:
        from tksbench.report import tables

        return tables.build_table(name, paper, protocols, evidence, estimate_gpu_hours)
    arguments = {
        "level": (paper, protocols, evidence, estimate_gpu_hours),
        "claims": (paper, protocols, evidence, estimate_gpu_hours),
        "paper_claims": (paper,),
        "other-data": (paper, protocols, evidence),
    }
    table: AnyTable = resolve_name(_OTHERS[name])(*arguments.get(name, (protocols, evidence)))
    return table


def rendered(table: AnyTable, suffix: str) -> str:
    """The text of a table's file; `suffix` is one of `TEXTS`."""
    text: str = getattr(_renders(table), {"md": "markdown", "tex": "latex"}[suffix])(table)
    return text


def _renders(table: AnyTable) -> Any:
    """The module that writes a table, and shows those that are none of the paper's."""
    from tksbench.report import claims_table, listing, markup, paper_claims, paper_claims_table, tables

    modules = {
        tables.Table: markup,
        listing.Listing: listing,
        claims_table.ClaimsTable: claims_table,
        paper_claims.PaperClaims: paper_claims_table,
    }
    return modules[type(table)]


def runs_of(table: AnyTable) -> set[str]:
    """Names of the runs that a table of the paper, of other systems, or of claims asks for; of other tables none."""
    from tksbench.report import claims_table, level, tables

    if table.name == level.NAME and not isinstance(table, tables.Table):
        return {row[0] for row in getattr(table, "rows", ())}
    if isinstance(table, tables.Table):
        return {cell.row.run for cell in table.cells if cell.row.run}
    if isinstance(table, claims_table.ClaimsTable):
        sides = (side for result in table.results for side in (result.claim.a, result.claim.b))
        return {side.run for side in sides if side.run}
    return set()


def show(table: AnyTable, console: Console, *, ours: bool = False) -> None:
    """Print a table.

    Args:
        table: From `build_table`.
        console: Where to.
        ours: Leave out the rows of cited works.
    """
    from tksbench.report import tables, terminal

    if isinstance(table, tables.Table):
        terminal.show(table, console, ours=ours)
    else:
        _renders(table).show(table, console)


def all_tables(sources: Sources, evidence: Evidence) -> dict[str, bytes]:
    """The contents of all tables' files by file name."""
    built = {name: build_table(name, sources, evidence) for name in table_names(sources.paper)}
    return {f"{name}.{suffix}": rendered(built[name], suffix).encode() for name in built for suffix in TEXTS}


def build_figure(name: str, sources: Sources, evidence: Evidence) -> Figure | Scatter:
    """Collect the numbers of one of `figures.NAMES`; arguments as for `build_table`.

    Raises:
        ReportError: results/paper.yaml has no such figure.
    """
    from tksbench.report.cells import group_records
    from tksbench.report.figures import make_figure

    by_group = group_records((*evidence.published, *evidence.local))
    return make_figure(name, sources.paper, sources.protocols, by_group, sources.ledger)
