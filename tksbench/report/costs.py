"""The table of what an inference costs: spikes, operations and energy of every run that has a cell or a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tksbench.report.cells import group_records
from tksbench.report.groups import named
from tksbench.report.listing import Listing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.runs.record import Record

NAME = "costs"
HEADERS = ("Run", "Scale", "n", "Parameters", "Spike rate", "MMAC", "MSynOp", "Energy (µJ)")
_LEFT_OUT = ("n", "MMAC")
_MARK = " [f]"
_KEYS = {"spike_rate", "macs", "synops", "energy_mj"}
_TITLE = "Cost of one inference"
_NOTES = (
    "Spike rate: spikes a neuron and time step. MMAC: millions of multiply-accumulates of layers that read analog "
    "values, such as the first, and of features and classifiers without a network; MSynOp: millions of accumulates, "
    "one a synapse and incoming spike. All for one test sample over all time steps, the mean over test samples of all "
    "classes and over n seeds.",
    "Energy: 4.6 pJ a multiply-accumulate and 0.9 pJ an accumulate, 32-bit floating point in 45 nm (Horowitz, ISSCC "
    "2014); memory traffic, which costs more, is left out.",
    "[f]: by an earlier version, from the first 32 test samples, which may be of few classes.",
    "Scales other than paper have narrower networks and smaller inputs, and cost accordingly.",
)


def build_costs(protocols: Mapping[str, Sequence[Candidate]], evidence: Evidence) -> Listing:
    """Collect the cost of every run on the data set itself, or its twin, that a recipe names and a record has."""
    known = {group: pair for group, pair in named(protocols).items() if not pair[1].stand_in}
    mine = evidence.of_groups(known)
    records = group_records((*mine.published, *mine.local))
    order = sorted(records, key=lambda group: (known[group][0], known[group][1].rank))
    measured = [group for group in order if all(set(one.cost.snn or {}) >= _KEYS for one in records[group])]
    rows = tuple(_row(*known[group], records[group]) for group in measured)
    return Listing(NAME, _TITLE, HEADERS, rows, _NOTES, mine.stamp(), _LEFT_OUT)


def _row(run: str, candidate: Candidate, records: Sequence[Record]) -> tuple[str, ...]:
    def mean(key: str) -> float:
        return sum(float((record.cost.snn or {})[key] or 0) for record in records) / len(records)

    spikes = all((record.cost.snn or {})["spike_rate"] is not None for record in records)
    balanced = all("samples" in (record.cost.snn or {}) for record in records)
    return (
        run + _MARK * (not balanced),
        candidate.words,
        str(len(records)),
        f"{records[0].cost.parameters:,}",
        f"{mean('spike_rate'):.3f}" if spikes else "–",
        f"{mean('macs') / 1e6:.2f}",
        f"{mean('synops') / 1e6:.2f}",
        f"{mean('energy_mj') * 1e3:.2f}",
    )
