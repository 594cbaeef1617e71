"""Runs on the twins of data sets: simulated recordings, whose numbers stand under a name of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tksbench.report.apart import recorded
from tksbench.report.listing import Listing

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate

NAME = "twin"
HEADERS = ("Run", "Scale", "n", "Best epoch", "Last epoch", "AURC")
NOTES = (
    "Twin: images of another data set before a simulated event camera, by the documented recording procedure of the "
    "real set, where the real recordings are not at hand. Its numbers are no numbers of the real set, and none of the "
    "paper's stands beside them; methods can be compared on it with each other.",
    "Best and last epoch: top-1 (%), mean ± standard deviation over n seeds; AURC (×10⁻³) at the best epoch, by mean "
    "logits. The best epoch is chosen on the test half, as in the paper.",
)


def build_twins(
    protocols: Mapping[str, Sequence[Candidate]], evidence: Evidence, runs: Container[str] | None = None
) -> Listing:
    """List the runs on twins that a recipe names and a record has.

    Args:
        protocols: From `groups.candidates`.
        evidence: From `evidence.gather`.
        runs: The names to list; None for all.
    """
    wanted = {
        run: [one for one in found if one.twin] for run, found in protocols.items() if runs is None or run in runs
    }
    found, stamp = recorded(wanted, evidence)
    rows = tuple((*one.head, *one.accuracies, one.aurc) for one in found)
    sets = {one.run.spec.data.name for found in protocols.values() for one in found if one.twin}
    return Listing(NAME, title(sets), HEADERS, rows, NOTES, stamp, HEADERS[-1:])


def title(sets: set[str]) -> str:
    """The caption: the names of the twins."""
    from tksbench.data.registry import title_of

    return "; ".join(title_of(name, "twin") for name in sorted(sets)) or "Twins of data sets"
