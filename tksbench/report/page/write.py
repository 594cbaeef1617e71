"""From records to results/report.html."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tksbench.estimate.model import estimate_gpu_hours
from tksbench.report.claims_table import ClaimsTable, build_claims
from tksbench.report.costs import build_costs
from tksbench.report.level import build_level
from tksbench.report.page.model import build_page
from tksbench.report.page.render import render
from tksbench.report.tables import Table, build_table
from tksbench.runs import LedgerError, write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.report.paper import Paper
    from tksbench.runs import Ledger


def write_page(
    paper: Paper,
    protocols: Mapping[str, Sequence[Candidate]],
    evidence: Evidence,
    ledger: Ledger,
    built: Iterable[object] = (),
) -> Path:
    """Write the page beside the records that it shows, all at once or not at all.

    Args:
        paper: The paper's numbers.
        protocols: From `groups.candidates`.
        evidence: From `evidence.gather`.
        ledger: Its root gets the page.
        built: What was built from the same evidence already; the rest is built here.

    Returns:
        The page's file.

    Raises:
        LedgerError: It cannot be written.
    """
    known = list(built)
    at_hand = {table.name: table for table in known if isinstance(table, Table)}
    tables = [
        at_hand.get(name) or build_table(name, paper, protocols, evidence, estimate_gpu_hours) for name in paper.tables
    ]
    judged = next((table for table in known if isinstance(table, ClaimsTable)), None)
    judged = judged or build_claims(paper, protocols, evidence, estimate_gpu_hours)
    lists = build_level(paper, protocols, evidence, estimate_gpu_hours), build_costs(protocols, evidence)
    page = build_page(paper, protocols, evidence, ledger, tables, judged, *lists, estimate_gpu_hours)
    path = ledger.root / "report.html"
    try:
        ledger.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(f"{ledger.root}: cannot be made: {error.strerror}") from None
    write_bytes(path, render(page).encode())
    return path
