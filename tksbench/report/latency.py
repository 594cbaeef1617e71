"""Converted networks beside the analog ones that they are made of: accuracy, and the time steps that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tksbench.recipe import ConvertSpec, group_id, run_id
from tksbench.report.cells import group_records
from tksbench.report.groups import named
from tksbench.report.listing import Listing
from tksbench.report.stats import mean_sd

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.runs.record import Record

NAME = "latency"
WITHIN = 1.0  # points of accuracy
HEADERS = ("Run", "Scale", "n", "T", "ANN", "Converted", "Apart", "Latency")
_LEFT_OUT = ("n",)
_TITLE = "Converted networks: accuracy, and the time that they take for it"
_NOTES = (
    "ANN: top-1 (%) of the analog network after its last epoch; converted: of the spiking network that is made of it, "
    "after T steps; apart: the second less the first. All are means over n seeds, each beside its own ANN.",
    "Latency: the first number of steps, of those that are recorded, from which on the converted network is never more "
    f"than {WITHIN:g} point below its ANN; over seeds, the least and the most. "
    "None where the last step of a run is not so.",
    "Scales other than paper have narrower networks, smaller images and fewer steps.",
)


@dataclass(frozen=True)
class Pair:
    """A converted run and the trained one that it is made of, of one seed."""

    converted: Record
    analog: Record

    @property
    def over_time(self) -> list[tuple[int, float]]:
        """Numbers of steps, and the accuracy of the converted network after so many."""
        return self.converted.metrics.last.top1_over_time or []

    @property
    def latency(self) -> int | None:
        """Steps from which on it is within `WITHIN` points of the analog network; None if it never is for good."""
        found = None
        for steps, top1 in reversed(self.over_time):
            if top1 < self.analog.metrics.last.top1 - WITHIN:
                break
            found = steps
        return found


def pairs(converted: Iterable[Record], by_id: Mapping[str, Record]) -> list[Pair]:
    """Converted runs of one protocol, each with its parent, those whose parent has no record left out."""
    found = []
    for record in converted:
        parent = record.spec.parent
        analog = by_id.get(run_id(parent)) if parent else None
        if analog is not None and record.metrics.last.top1_over_time:
            found.append(Pair(record, analog))
    return found


def build_latency(protocols: Mapping[str, Sequence[Candidate]], evidence: Evidence) -> Listing:
    """Collect every converted run on the data set itself, or its twin, that a recipe names and a record has."""
    known = {
        group: pair
        for group, pair in named(protocols).items()
        if not pair[1].stand_in and isinstance(pair[1].run.spec, ConvertSpec)
    }
    parents = {group_id(one.run.spec.parent) for _, one in known.values() if one.run.spec.parent}
    mine = evidence.of_groups({*known, *parents})
    every = (*mine.published, *mine.local)
    by_id, records = {record.id: record for record in every}, group_records(every)
    order = sorted(known.keys() & records.keys(), key=lambda group: (known[group][0], known[group][1].rank))
    found = [(known[group], pairs(records[group], by_id)) for group in order]
    rows = tuple(_row(run, candidate, of) for (run, candidate), of in found if of)
    return Listing(NAME, _TITLE, HEADERS, rows, _NOTES, mine.stamp(), _LEFT_OUT)


def _row(run: str, candidate: Candidate, of: Sequence[Pair]) -> tuple[str, ...]:
    analog, _ = mean_sd([pair.analog.metrics.last.top1 for pair in of])
    converted, _ = mean_sd([pair.converted.metrics.last.top1 for pair in of])
    steps = [pair.latency for pair in of]
    known = [one for one in steps if one is not None]
    latency = "–" if None in steps else "–".join(dict.fromkeys((f"{min(known):,}", f"{max(known):,}")))
    figures = (f"{analog:.2f}", f"{converted:.2f}", f"{converted - analog:+.2f}".replace("-", "−"))
    return (run, candidate.words, str(len(of)), f"{candidate.run.spec.steps:,}", *figures, latency)
