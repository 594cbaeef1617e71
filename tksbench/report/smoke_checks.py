"""Runs on stand-in data, under a heading of their own: they show that everything works, and nothing of the paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tksbench.report.apart import recorded
from tksbench.report.listing import Listing

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate

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
    wanted = {
        run: [one for one in found if one.stand_in] for run, found in protocols.items() if runs is None or run in runs
    }
    found, stamp = recorded(wanted, evidence)
    return Listing(NAME, TITLE, HEADERS, tuple((*one.head, *one.accuracies) for one in found), NOTES, stamp)
