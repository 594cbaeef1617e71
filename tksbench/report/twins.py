"""Runs on the twins of data sets: simulated recordings, whose numbers stand under a name of their own."""

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
    wanted = {run: found for run, found in protocols.items() if runs is None or run in runs}
    known = {group: pair for group, pair in named(wanted).items() if pair[1].twin}
    mine = evidence.of_groups(known).finished()
    records = group_records((*mine.published, *mine.local))
    order = sorted(records, key=lambda group: (known[group][0], known[group][1].rank))
    rows = tuple(_row(*known[group], records[group]) for group in order)
    sets = {one.run.spec.data.name for found in protocols.values() for one in found if one.twin}
    return Listing(NAME, title(sets), HEADERS, rows, NOTES, mine.stamp(), HEADERS[-1:])


def title(sets: set[str]) -> str:
    """The caption: the names of the twins."""
    from tksbench.data.registry import title_of

    return "; ".join(title_of(name, "twin") for name in sorted(sets)) or "Twins of data sets"


def _row(run: str, candidate: Candidate, records: Sequence[Record]) -> tuple[str, ...]:
    return (run, candidate.scale, str(len(records)), *accuracies(records))


def accuracies(records: Sequence[Record]) -> tuple[str, str, str]:
    """Top-1 (%) of the best and of the last epoch, and AURC (×10⁻³) of the best one: mean and deviation over seeds."""
    best, last = (_words([getattr(record.metrics, choice).top1 for record in records]) for choice in ("best", "last"))
    return best, last, _words([record.metrics.best.aurc_logit for record in records])


def _words(values: Sequence[float]) -> str:
    mean, sd = mean_sd(values)
    return f"{mean:.2f}" if sd is None else f"{mean:.2f} ± {sd:.2f}"
