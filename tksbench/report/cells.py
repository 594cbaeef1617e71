"""One cell: the paper's number, ours, both error bars, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from tksbench.report.groups import SOURCES, real
from tksbench.report.stats import (
    Interval,
    best_epoch_optimism,
    holm,
    mean_sd,
    one_against_runs,
    prediction_interval,
    wilson_interval,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tksbench.recipe import RunSpec
    from tksbench.report.groups import Candidate
    from tksbench.report.paper import Metric, Row
    from tksbench.runs.record import Record

    Estimate = Callable[[RunSpec], float | None]  # GPU-hours that training takes, None if it cannot be said

JUDGED = ("reproduced", "above", "below")
SMOKE_CHECK = "smoke check"  # of a run on stand-in data
SMOKE_PASSED = f"{SMOKE_CHECK} passed"
INCOMPLETE = "protocol incomplete"
ON_TWIN = "not run (its twin is)"
MIN_RUNS = 3  # below, a standard deviation says too little for a verdict
FIELDS: dict[Metric, str] = {"top1": "top1", "top5": "top5", "aurc": "aurc_logit"}  # AURC as the authors code it


class Summary(NamedTuple):
    """Mean over seeds and sample standard deviation (None for one seed), in the metric's unit."""

    mean: float
    sd: float | None


@dataclass(frozen=True)
class Ours:
    """Our runs of one cell, all of one protocol.

    Attributes:
        candidate: The protocol shown: scale and data.
        records: One a seed, by seed.
        best: At the epoch that is best on the test set, as the authors' code reports.
        last: At the last epoch.
        prediction: 95 % interval of one further run's best epoch; None below two runs.
        test: 95 % Wilson interval of `best` on this many test samples; None for AURC, which is no proportion.
        optimism: Points of top-1 that picking the best epoch on the test set gains, mean over the seeds.
    """

    candidate: Candidate
    records: tuple[Record, ...]
    best: Summary
    last: Summary
    prediction: Interval | None
    test: Interval | None
    optimism: float


@dataclass(frozen=True)
class Cell:
    """A row of the paper with what we have to say to it.

    Attributes:
        row: The paper's number, its own or cited.
        ours: Our runs; None if there are none.
        verdict: In words.
        p: That the paper's number is one further run of ours, two-sided; None where the verdict does not judge it.
        p_holm: The same after Holm's correction over the cells of the table (`corrected`).
        gaps: What of a cited work's protocol could not be read.
    """

    row: Row
    ours: Ours | None
    verdict: str
    p: float | None = None
    p_holm: float | None = None
    gaps: tuple[str, ...] = ()


def build_cell(
    row: Row,
    protocols: Sequence[Candidate] | None,
    by_group: Mapping[str, Sequence[Record]],
    states: Mapping[str, str],
    estimate: Estimate,
    scale: str | None = None,
) -> Cell:
    """Fill one of the paper's rows.

    Scales and data sources never mix. A run on stand-in data fills no cell: the verdict says that it passed.

    Args:
        row: The paper's number, its own or cited.
        protocols: Candidates for the row's run, best first; None if no recipe names the run.
        by_group: Records of each group, by seed (`group_records`).
        states: What unfinished runs of a group are at.
        estimate: GPU-hours of a run, for cells that are not run.
        scale: The one to show; None for the one closest to the paper that has records.
    """
    if row.ref and not row.run:
        return Cell(row, None, "cited")
    gaps = protocols[0].run.undocumented if protocols else ()
    trained = [candidate for candidate in real(protocols or ()) if candidate.group in by_group]
    candidate = next((one for one in trained if scale in (None, one.scale)), None)
    if candidate is None:
        if trained:
            return Cell(row, None, f"not run at scale {scale} (but at {trained[0].scale})", gaps=gaps)
        words = missing(protocols, by_group, states, estimate)
        return Cell(row, None, _with_gaps(words, gaps), gaps=gaps)
    ours = summarize_runs(row.metric, candidate, by_group[candidate.group])
    words = verdict(row, ours)
    p = None
    theirs, half_digit = row.judged
    if theirs is not None and words in JUDGED:
        best, resolution = _best(row.metric, ours.records), resolution_of(row.metric, ours.records)
        p = one_against_runs(best, theirs, resolution=resolution, rounding=half_digit).p
    return Cell(row, ours, words, p, gaps=gaps)


def corrected(cells: Sequence[Cell]) -> list[Cell]:
    """The cells of one table with `p_holm`: of many cells some lie off their interval by chance alone."""
    judged = [(index, cell.p) for index, cell in enumerate(cells) if cell.p is not None]
    found = list(cells)
    for (index, _), p in zip(judged, holm([p for _, p in judged]), strict=True):
        found[index] = replace(found[index], p_holm=p)
    return found


def group_records(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records by group, each group by seed."""
    groups: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda one: one.seed):
        groups.setdefault(record.group, []).append(record)
    return groups


def summarize_runs(metric: Metric, candidate: Candidate, records: Sequence[Record]) -> Ours:
    """Means, spreads and both error bars of one metric over the seeds of one protocol."""
    best = _best(metric, records)
    last = [float(getattr(record.metrics.last, FIELDS[metric])) for record in records]
    summary = Summary(*mean_sd(best))
    prediction = prediction_interval(best, resolution=resolution_of(metric, records)) if len(best) > 1 else None
    test = None
    if metric != "aurc":
        low, high = wilson_interval(summary.mean / 100, records[0].test.n)
        test = Interval(100 * low, 100 * high)
    if prediction:  # no accuracy is above 100 %, no metric below 0
        prediction = Interval(max(0.0, prediction.low), min(prediction.high, 1000.0 if metric == "aurc" else 100.0))
    return Ours(
        candidate=candidate,
        records=tuple(records),
        best=summary,
        last=Summary(*mean_sd(last)),
        prediction=prediction,
        test=test,
        optimism=mean_sd([_optimism(record) for record in records])[0],
    )


def resolution_of(metric: Metric, records: Iterable[Record]) -> float:
    """The least by which two values can differ: what one test sample is worth in points; 0 for AURC, which is fine."""
    return 0.0 if metric == "aurc" else 100 / min(record.test.n for record in records)


def _best(metric: Metric, records: Iterable[Record]) -> list[float]:
    return [float(getattr(record.metrics.best, FIELDS[metric])) for record in records]


def _optimism(record: Record) -> float:
    halves = [pair for pair in record.metrics.curve.test_top1_halves if pair]
    if not halves:  # nothing was trained, so no epoch was picked
        return 0.0
    return best_epoch_optimism([even for even, _ in halves], [odd for _, odd in halves])


def verdict(row: Row, ours: Ours) -> str:
    """Judge the best-epoch mean against the paper's number, which is one run of unknown seed.

    `reproduced`: the paper's number, as exactly as it is printed, lies in the 95 % prediction interval of one further
    run of ours; otherwise `above` or `below`, as our mean is. (For an AURC, lower is better.)
    Only the full protocol, with three seeds or more, is judged. Of a row that the paper cites it is the cited work's
    protocol and number; where not all of that protocol could be read, nothing is judged.
    """
    n = len(ours.records)
    theirs, half_digit = row.judged
    if ours.candidate.scale != "paper":
        return _with_gaps(f"not comparable (scale {ours.candidate.scale})", ours.candidate.run.undocumented)
    if theirs is None:
        return "not comparable (no paper value)"
    if ours.candidate.run.undocumented:
        return f"not comparable ({INCOMPLETE})"
    if n < MIN_RUNS or ours.prediction is None:
        return f"undecided (n={n})"
    low, high = ours.prediction
    if low - half_digit <= theirs <= high + half_digit:
        return "reproduced"
    return "above" if ours.best.mean > theirs else "below"


def _with_gaps(words: str, gaps: Sequence[str]) -> str:
    """What a cell says, and that not all of the cited work's protocol could be read."""
    if not gaps:
        return words
    return f"{words[:-1]}, {INCOMPLETE})" if words.endswith(")") else f"{words} ({INCOMPLETE})"


def missing(
    protocols: Sequence[Candidate] | None,
    by_group: Mapping[str, Sequence[Record]],
    states: Mapping[str, str],
    estimate: Estimate,
) -> str:
    """What a cell without a record of the data set itself says.

    In this order: the state of a run in hand, that the twin was trained on, that a run on stand-in data passed or how
    that stands, or the cost at the first protocol. None stands for a run that no recipe names, no protocols for one
    that has not the scale wanted.
    """
    if not protocols:
        return "not run (no recipe)" if protocols is None else "not run (has no such scale)"
    for candidate in sorted(protocols, key=lambda one: list(SOURCES).index(one.source)):
        if candidate.source != "real" and candidate.group in by_group:
            return ON_TWIN if candidate.twin else SMOKE_PASSED
        if candidate.group in states:
            before = {"twin": "on its twin, ", "miniature": f"{SMOKE_CHECK} "}.get(candidate.source, "")
            return before + states[candidate.group]
    hours = estimate(protocols[0].run.spec)
    return "not run" if hours is None else f"not run (about {rounded(hours)} GPU-h)"


def rounded(hours: float) -> str:
    """Two significant digits: an estimate has no more."""
    if hours >= 10:
        digits = len(str(int(hours))) - 2
        return f"{int(round(hours, -digits)):,}"
    return f"{hours:.1f}" if hours >= 0.1 else f"{hours:.1g}"
