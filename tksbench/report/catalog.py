"""Every table and figure by its name: which ones there are, and how one is built from given evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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
    from tksbench.report.claims_table import NAME as CLAIMS
    from tksbench.report.costs import NAME as COSTS
    from tksbench.report.latency import NAME as LATENCY
    from tksbench.report.level import NAME as LEVEL
    from tksbench.report.other_data import NAME as OTHER_DATA
    from tksbench.report.paper_claims import NAME as PAPER_CLAIMS
    from tksbench.report.smoke_checks import NAME as SMOKE_CHECKS
    from tksbench.report.twins import NAME as TWINS

    claims = [CLAIMS] * bool(paper.claims) + [PAPER_CLAIMS] * bool(paper.statements)
    return [*paper.tables, *[LEVEL] * bool(paper.pairs), LATENCY, COSTS, *claims, OTHER_DATA, TWINS, SMOKE_CHECKS]


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
    from tksbench.report import (
        claims_table,
        costs,
        latency,
        level,
        other_data,
        paper_claims,
        smoke_checks,
        tables,
        twins,
    )

    if name == latency.NAME:
        return latency.build_latency(sources.protocols, evidence)
    if name == level.NAME:
        return level.build_level(sources.paper, sources.protocols, evidence, estimate_gpu_hours)
    if name == smoke_checks.NAME:
        return smoke_checks.build_smoke_checks(sources.protocols, evidence)
    if name == other_data.NAME:
        return other_data.build_other_data(sources.paper, sources.protocols, evidence)
    if name == twins.NAME:
        return twins.build_twins(sources.protocols, evidence)
    if name == costs.NAME:
        return costs.build_costs(sources.protocols, evidence)
    if name == claims_table.NAME:
        return claims_table.build_claims(sources.paper, sources.protocols, evidence, estimate_gpu_hours)
    if name == paper_claims.NAME:
        return paper_claims.build_paper_claims(sources.paper)
    return tables.build_table(name, sources.paper, sources.protocols, evidence, estimate_gpu_hours)


def rendered(table: AnyTable, suffix: str) -> str:
    """The text of a table's file; `suffix` is one of `TEXTS`."""
    from tksbench.report import claims_table, listing, paper_claims, paper_claims_table
    from tksbench.report.markup import RENDERINGS

    if isinstance(table, listing.Listing):
        return {"md": listing.markdown, "tex": listing.latex}[suffix](table)
    if isinstance(table, claims_table.ClaimsTable):
        return {"md": claims_table.markdown, "tex": claims_table.latex}[suffix](table)
    if isinstance(table, paper_claims.PaperClaims):
        return {"md": paper_claims_table.markdown, "tex": paper_claims_table.latex}[suffix](table)
    return RENDERINGS[suffix](table)


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
    from tksbench.report import claims_table, listing, paper_claims, paper_claims_table, terminal

    if isinstance(table, listing.Listing):
        listing.show(table, console)
    elif isinstance(table, claims_table.ClaimsTable):
        claims_table.show(table, console)
    elif isinstance(table, paper_claims.PaperClaims):
        paper_claims_table.show(table, console)
    else:
        terminal.show(table, console, ours=ours)


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
