"""Runs on data sets that the paper does not have, all systems in one table of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tksbench.report.apart import recorded
from tksbench.report.groups import real
from tksbench.report.listing import Listing
from tksbench.report.stats import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tksbench.report.apart import Recorded
    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.report.paper import Paper

NAME = "other-data"
HEADERS = ("Run", "Scale", "n", "Test samples", "Best epoch", "Last epoch", "AURC", "Test 95 %")
_LEFT_OUT = ("Test samples", "Last epoch", "AURC")
_NOTES = (
    "The paper does not have {sets}: nothing here is held against a number of the paper. Each system has a protocol of "
    "its own, and runs of unlike scales are of unlike training sets: mini and smoke have a part of it.",
    "Best and last epoch: top-1 (%), mean ± standard deviation over n seeds; AURC (×10⁻³) at the best epoch, by mean "
    "logits. The best epoch is chosen on the test half, as in the paper; what is not trained in epochs has one.",
    "Test 95 %: Wilson interval of the best epoch's accuracy, the error of so many test samples.",
)


def build_other_data(paper: Paper, protocols: Mapping[str, Sequence[Candidate]], evidence: Evidence) -> Listing:
    """List the runs on the real data of other data sets that a recipe names and a record has.

    Args:
        paper: The paper's numbers.
        protocols: From `groups.candidates`.
        evidence: From `evidence.gather`.
    """
    wanted = {run: real(found) for run, found in protocols.items()}
    others = {
        run: found for run, found in wanted.items() if found and found[0].run.spec.data.name not in paper.datasets
    }
    found, stamp = recorded(others, evidence)
    order = sorted(found, key=lambda one: (_data(one.candidate), one.candidate.rank, one.run))
    rows = tuple(_row(one) for one in order)
    sets = _titles({_data(found[0]) for found in others.values()})
    notes = (_NOTES[0].format(sets=sets), *_NOTES[1:])
    return Listing(NAME, f"Systems on {sets}, which the paper does not have", HEADERS, rows, notes, stamp, _LEFT_OUT)


def _data(candidate: Candidate) -> str:
    return candidate.run.spec.data.name


def _titles(sets: set[str]) -> str:
    from tksbench.data.registry import title_of

    return ", ".join(title_of(name, "real") for name in sorted(sets)) or "other data sets"


def _row(one: Recorded) -> tuple[str, ...]:
    samples = one.records[0].test.n
    mean = sum(record.metrics.best.top1 for record in one.records) / len(one.records)
    low, high = wilson_interval(mean / 100, samples)
    return (*one.head, f"{samples:,}", *one.accuracies, one.aurc, f"{100 * low:.1f} to {100 * high:.1f}")
