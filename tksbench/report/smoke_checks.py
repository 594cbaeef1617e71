"""Runs on stand-in data, under a heading of their own: they show that everything works, and nothing of the paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tksbench.report.cells import group_records
from tksbench.report.groups import named
from tksbench.report.listing import Listing
from tksbench.report.stats import mean_sd

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.runs.record import Record

NAME = "smoke-checks"
TITLE = "Smoke checks on stand-in data"
HEADERS = ("Run", "Scale", "n", "Best epoch", "Last epoch")
NOTES = (
    "Stand-in data: small sets of handwritten digits in the original's file format, used where the data set itself is "
    "not on the machine. A run on them passed if it was trained, evaluated and recorded: reader, network, loss and "
    "evaluation work together. Its accuracy, top-1 (%) over n seeds, is of the digits and says nothing about the data "
    "set that the run is named after.",
)


def build_smoke_checks(
    protocols: Mapping[str, Sequence[Candidate]], evidence: Evidence, runs: Container[str] | None = None
) -> Listing:
    """List the runs on stand-in data that a recipe names and a record has.

    Args:
        protocols: From `groups.candidates`.
        evidence: From `evidence.gather`.
        runs: The names to list; None for all.
    """
    wanted = {run: found for run, found in protocols.items() if runs is None or run in runs}
    known = {group: pair for group, pair in named(wanted).items() if pair[1].stand_in}
    mine = evidence.of_groups(known).finished()
    records = group_records((*mine.published, *mine.local))
    order = sorted(records, key=lambda group: (known[group][0], known[group][1].rank))
    rows = tuple(_row(*known[group], records[group]) for group in order)
    return Listing(NAME, TITLE, HEADERS, rows, NOTES, mine.stamp())


def _row(run: str, candidate: Candidate, records: Sequence[Record]) -> tuple[str, ...]:
    best, last = (mean_sd([getattr(record.metrics, choice).top1 for record in records]) for choice in ("best", "last"))
    words = (f"{mean:.2f}" if sd is None else f"{mean:.2f} ± {sd:.2f}" for mean, sd in (best, last))
    return (run, candidate.scale, str(len(records)), *words)
