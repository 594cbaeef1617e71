"""What the paper asserts, held against our runs: difference, interval, p, and a verdict in words for each claim.

Two sides are compared run by run, equal seed with equal seed, at one scale and on the data set itself, or where that
has no runs on its twin, which the verdict says. It
judges the best epoch, as the paper reports it; the last epoch stands beside it. Only direction can be judged at
another scale than the paper's, never how large a difference is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Literal

from tksbench.report.cells import (
    FIELDS,
    MIN_RUNS,
    ON_TWIN,
    SMOKE_PASSED,
    group_records,
    missing,
    resolution_of,
    rounded,
)
from tksbench.report.groups import SOURCES, telling
from tksbench.report.stats import (
    Interval,
    McNemar,
    PairedDifference,
    holm,
    mcnemar_counts,
    mean_sd,
    one_against_runs,
    paired_difference,
    prediction_interval,
    weakest_difference,
)
from tksbench.runs.comparison import of_former_arithmetic
from tksbench.runs.record import correct_bits
from tksbench.text import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tksbench.report.cells import Estimate
    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.report.paper import Claim, Paper, Row, Side
    from tksbench.runs.record import Record

    Pairs = Sequence[tuple[Record, Record | None]]  # None: side b is a cited number

Choice = Literal["best", "last"]
LEVEL = 0.05  # of the p-values after Holm's correction


@dataclass(frozen=True)
class Comparison:
    """a less b at one choice of epoch. Points for accuracies, x 10^-3 for AURC.

    Attributes:
        seeds: That both sides have.
        runs: Ids of side a's and side b's record, one pair a seed; None for a cited number.
        differences: One a seed; of a claim about each single step at `step`.
        mean: Of the differences.
        interval: 95 %; None below two seeds. Of the mean over pairs; against a cited number, of one further run of
            ours, since the cited number is one run as well.
        p: Two-sided; None below two seeds. Of a claim about each single step see `claims`.
        p_holm: After Holm's correction over all claims, or all variants, that have a p.
        mcnemar: One a seed, on the two runs' right test samples; empty where the records do not hold these.
        step: Of a claim about each single step: the step (from 1) that supports it least.
        steps_better: Of such a claim: at how many steps a is better on average, and of how many.
        further: 95 % prediction interval of one further pair's difference, which the paper's is; None below two seeds.
        apart: Seeds whose two runs were trained on different kinds of machine, so that rounding is in their difference.
        machines: Kinds of machine that trained side a, each with its seeds.
        former: Whether some of the runs are of former arithmetic: made again, they end elsewhere.
    """

    seeds: tuple[int, ...]
    runs: tuple[tuple[str, str | None], ...]
    differences: tuple[float, ...]
    mean: float
    interval: Interval | None
    p: float | None
    p_holm: float | None
    mcnemar: tuple[McNemar, ...]
    step: int | None
    steps_better: tuple[int, int] | None
    further: Interval | None
    apart: tuple[int, ...] = ()
    machines: tuple[tuple[str, tuple[int, ...]], ...] = ()
    former: bool = False

    @property
    def n(self) -> int:
        """Seeds that both sides have."""
        return len(self.seeds)


@dataclass(frozen=True)
class ClaimResult:
    """A claim with what our runs say to it.

    Attributes:
        claim: As results/paper.yaml has it.
        scale: Of the runs compared; "" if there are none.
        source: Of their data, likewise: "real" or "twin".
        best: At the epochs that are best on the test set, as the paper has it; the verdict judges this. None if there
            are no runs to compare.
        last: At the last epochs.
        verdict: In words, such as "holds at scale mini (n=3)", "undecided (n=2)", "not run (about 24 GPU-h)".
        size: Whether the difference is as large as stated; "" if none is stated or there are no runs.
    """

    claim: Claim
    scale: str
    best: Comparison | None
    last: Comparison | None
    verdict: str
    size: str
    source: str = ""


def claims(
    paper: Paper, protocols: Mapping[str, Sequence[Candidate]], evidence: Evidence, estimate: Estimate
) -> list[ClaimResult]:
    """Judge every claim of the paper, in the order of results/paper.yaml.

    A claim about each single step is as strong as its weakest step (`weakest_difference`).

    Args:
        paper: The paper's numbers and claims.
        protocols: From `groups.candidates`.
        evidence: From `evidence.gather`.
        estimate: GPU-hours of a run, for claims whose runs are missing.
    """
    mine = evidence.of_groups(candidate.group for name in claimed_runs(paper) for candidate in protocols.get(name, ()))
    by_group = group_records((*mine.published, *mine.local))
    found = [_compare_claim(claim, paper, protocols, by_group, mine.states, estimate) for claim in paper.claims]
    return [_judged(result, paper) for result in _corrected(found)]


def claimed_runs(paper: Paper) -> set[str]:
    """Names of the runs that claims are judged by: of their sides, and of cited works that have one of ours."""
    sides = [side for claim in paper.claims for side in (claim.a, claim.b)]
    return {run for side in sides if (run := side.run or _run_of_cited(side, paper))}


def _run_of_cited(side: Side, paper: Paper) -> str | None:
    row = None if side.run else paper.cited(side)
    return row.run if row else None


def _compare_claim(
    claim: Claim,
    paper: Paper,
    protocols: Mapping[str, Sequence[Candidate]],
    by_group: Mapping[str, Sequence[Record]],
    states: Mapping[str, str],
    estimate: Estimate,
) -> ClaimResult:
    """Both comparisons of the protocol nearest the paper under which both sides have runs.

    The data set itself goes before its twin. Side b of a cited number is the run of ours that stands for it, where that
    has been trained. The number itself is of full scale: at another, no difference from it means anything.
    """
    named = claim.b.run or _run_of_cited(claim.b, paper) or ""
    theirs = {(one.scale, one.source): one for one in telling(protocols.get(named, ()))}
    for ours in telling(protocols.get(claim.a.run or "", ())):
        a = {record.seed: record for record in by_group.get(ours.group, ())}
        other = theirs.get((ours.scale, ours.source))
        b = {record.seed: record for record in by_group.get(other.group, ())} if other else {}
        common = paired(a, b, by_order=claim.b.run is None)
        alone = claim.b.run is None and (ours.scale, ours.source) == ("paper", "real") and not common
        pairs: Pairs = [(a[seed], None) for seed in sorted(a)] if alone else common
        if pairs:
            cited = paper.cited(claim.b) if alone else None
            best, last = (compare(claim, pairs, choice, cited) for choice in ("best", "last"))
            return ClaimResult(claim, ours.scale, best, last, verdict="", size="", source=ours.source)
    return ClaimResult(claim, "", None, None, _missing(claim, protocols, by_group, states, estimate), "")


def paired(a: Mapping[int, Record], b: Mapping[int, Record], *, by_order: bool = False) -> list[tuple[Record, Record]]:
    """The records of two protocols by seed, in pairs of one seed.

    Args:
        a: Of one.
        b: Of the other.
        by_order: Where no seed is in common, pair them in their order. Two systems by protocols of their own share
            nothing but the seed's number, and each work counts from a seed of its own.
    """
    pairs = [(a[seed], b[seed]) for seed in sorted(a) if seed in b]
    return pairs or list(zip(*([one[seed] for seed in sorted(one)] for one in (a, b)), strict=False)) * by_order


def compare(claim: Claim, pairs: Pairs, choice: Choice, cited: Row | None = None) -> Comparison | None:
    """Compare one pair of runs a seed, at one choice of epoch; p is not corrected yet.

    Args:
        claim: Its kind and metric say what is compared.
        pairs: Side a's record and side b's, by seed; None for b where that is a cited number.
        choice: Of the epoch.
        cited: The number that side b cites.

    Returns:
        None where a side is not known: a cited number, or more steps than the network has.
    """
    if claim.kind in ("per_step", "first_lowest"):
        return _compare_steps(claim, pairs, choice)
    a = [_metric(one, claim.a, claim, choice) for one, _ in pairs]
    theirs = cited.value if cited else None
    b = [_metric(other, claim.b, claim, choice) if other else theirs for _, other in pairs]
    known = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if len(known) < len(pairs):
        return None
    result = None
    if len(known) > 1:
        values, others = [x for x, _ in known], [y for _, y in known]
        resolution = _resolution(claim, pairs)
        if cited is None:
            result = paired_difference(values, others, resolution=resolution)
        else:
            result = one_against_runs(values, others[0], resolution=resolution, rounding=cited.half_digit)
    whole = claim.metric == "top1" and claim.kind != "worst_class" and not (claim.a.steps or claim.b.steps)
    tests = _mcnemar(pairs, choice) if whole else ()
    return _comparison(claim, pairs, [x - y for x, y in known], result, mcnemar=tests)


def _compare_steps(claim: Claim, pairs: Pairs, choice: Choice) -> Comparison | None:
    first = claim.kind == "first_lowest"  # then b is the first step, as often as there are others
    rows = [(_steps(a, choice), _steps(b, choice)) for a, b in pairs if b]
    if first:
        rows = [(a[1:], b[:1] * (len(a) - 1)) for a, b in rows]
    number = len(rows[0][0])
    if number == 0 or any(len(side) != number for row in rows for side in row):
        return None
    steps = [([a[step] for a, _ in rows], [b[step] for _, b in rows]) for step in range(number)]
    means = [mean_sd([x - y for x, y in zip(a, b, strict=True)])[0] for a, b in steps]
    result = None
    if len(rows) > 1:
        resolution = _resolution(claim, pairs)
        step, result = weakest_difference([paired_difference(a, b, resolution=resolution) for a, b in steps])
    else:
        step = means.index(min(means))
    compared = _comparison(claim, pairs, [x - y for x, y in zip(*steps[step], strict=True)], result)
    return replace(compared, step=step + 1 + first, steps_better=(sum(mean > 0 for mean in means), number))


def _comparison(
    claim: Claim,
    pairs: Pairs,
    differences: Sequence[float],
    result: PairedDifference | None,
    mcnemar: Iterable[McNemar] = (),
) -> Comparison:
    coarse = math.sqrt(2) * _resolution(claim, pairs)
    by_machine: dict[str, list[int]] = {}
    for record, _ in pairs:
        by_machine.setdefault(_machine(record), []).append(record.seed)
    return Comparison(
        seeds=tuple(record.seed for record, _ in pairs),
        runs=tuple((a.id, b.id if b else None) for a, b in pairs),
        differences=tuple(differences),
        mean=mean_sd(differences)[0],
        interval=result.interval if result else None,
        p=result.p if result else None,
        p_holm=None,
        mcnemar=tuple(mcnemar),
        step=None,
        steps_better=None,
        further=prediction_interval(differences, resolution=coarse) if len(differences) > 1 else None,
        apart=tuple(a.seed for a, b in pairs if b and _machine(a) != _machine(b)),
        machines=tuple((machine, tuple(seeds)) for machine, seeds in by_machine.items()),
        former=any(of_former_arithmetic(record) for pair in pairs for record in pair if record),
    )


def _machine(record: Record) -> str:
    """What decides how a run's sums are rounded: the kind of device, on a CPU the number of threads, and torch."""
    proof = record.provenance
    threads = 0 if record.cost.gpu_hours else proof.threads or 0
    those = f", {count(threads, 'thread')}" if threads else ""
    return f"{record.cost.device}{those} (torch {proof.versions.get('torch', 'unknown')})"


def _resolution(claim: Claim, pairs: Pairs) -> float:
    """Of one side: a difference of two is as coarse as both; of one class, as coarse as its test samples."""
    one = resolution_of(claim.metric, (record for record, _ in pairs))
    if claim.kind == "worst_class":
        return one * max(len(record.metrics.best.first_step_recall) for record, _ in pairs)
    return math.sqrt(2) * one if claim.kind == "narrows" else one


def _metric(record: Record, side: Side, claim: Claim, choice: Choice) -> float | None:
    metrics = getattr(record.metrics, choice)
    if claim.kind == "worst_class":
        return min((recall for recall in metrics.first_step_recall if recall is not None), default=None)
    if side.steps is None:
        return float(getattr(metrics, FIELDS[claim.metric]))
    if side.steps > len(metrics.top1_prefix):
        return None
    at_few: float = metrics.top1_prefix[side.steps - 1]
    return at_few - metrics.top1 if claim.kind == "narrows" else at_few


def _steps(record: Record, choice: Choice) -> list[float]:
    return list(getattr(record.metrics, choice).top1_step)


def _mcnemar(pairs: Pairs, choice: Choice) -> Iterator[McNemar]:
    """One test a seed, from the right samples that the records hold."""
    for one, other in pairs:
        if other and one.test.n == other.test.n:
            a, b = (correct_bits(getattr(record.test, f"correct_{choice}")) for record in (one, other))
            yield mcnemar_counts((a & ~b).bit_count(), (b & ~a).bit_count())


def _corrected(results: Sequence[ClaimResult]) -> list[ClaimResult]:
    """With Holm's correction, of the best and of the last epoch separately: over all claims, and over all variants."""
    corrected = list(results)
    for choice, variants in product(("best", "last"), (False, True)):
        family = [result if (result.claim.variant is not None) == variants else None for result in results]
        compared: list[Comparison | None] = [getattr(result, choice) if result else None for result in family]
        p_of = {index: one.p for index, one in enumerate(compared) if one and one.p is not None}
        for index, p in zip(p_of, holm(list(p_of.values())), strict=True):
            one = replace(getattr(corrected[index], choice), p_holm=p)
            corrected[index] = (
                replace(corrected[index], best=one) if choice == "best" else replace(corrected[index], last=one)
            )
    return corrected


def _judged(result: ClaimResult, paper: Paper) -> ClaimResult:
    """With verdict and size, where there is something to judge."""
    claim, best = result.claim, result.best
    if not result.scale:
        return result
    if best is None:
        known = claim.b.run is not None or paper.cited(claim.b) is not None
        why = "fewer time steps" if known else "no paper value"
        return replace(result, verdict=f"not comparable ({why})")
    place = f"scale {result.scale}{SOURCES[result.source]}"
    elsewhere = place != "scale paper"
    size = ""
    if claim.value is not None:
        size = f"not comparable ({place})" if elsewhere else _size(claim, best)
    only_size = claim.kind == "drop" and claim.value is not None
    if elsewhere and only_size:
        return replace(result, verdict=f"not comparable ({place})", size=size)
    if only_size:
        word = {"as stated": "holds", "undecided": "undecided"}.get(size, "does not hold")
    else:
        word = _direction(claim, best)
    return replace(result, verdict=f"{word}{f' at {place}' * elsewhere} (n={best.n})", size=size)


def _direction(claim: Claim, compared: Comparison) -> str:
    """Whether a is better: only what is significant after correction, on three seeds or more, is decided."""
    if compared.n < MIN_RUNS or compared.p_holm is None or compared.p_holm >= LEVEL:
        return "undecided"
    better = compared.mean < 0 if claim.metric == "aurc" else compared.mean > 0
    return "holds" if better else "does not hold"


def _size(claim: Claim, compared: Comparison) -> str:
    """Whether the paper's difference, one run against one, could be one of ours; it is known to its last digit only."""
    if compared.n < MIN_RUNS or compared.further is None or claim.value is None:
        return "undecided"
    if compared.further.low - claim.half_digit <= claim.value <= compared.further.high + claim.half_digit:
        return "as stated"
    return "larger than stated" if abs(compared.mean) > abs(claim.value) else "smaller than stated"


def _missing(
    claim: Claim,
    protocols: Mapping[str, Sequence[Candidate]],
    by_group: Mapping[str, Sequence[Record]],
    states: Mapping[str, str],
    estimate: Estimate,
) -> str:
    """State of a side that is being trained or was on stand-in data, else the GPU-hours that both sides lack."""
    sides = [protocols.get(name) for name in dict.fromkeys(side.run for side in (claim.a, claim.b) if side.run)]
    words = [missing(found, by_group, states, lambda _: None) for found in sides]
    told = [state for state in words if state not in ("not run", SMOKE_PASSED, ON_TWIN)]
    if told or set(words) == {SMOKE_PASSED}:
        return (told or words)[0]
    lacking = [found[0].run.spec for found in sides if found and found[0].group not in by_group]
    hours = [estimate(spec) for spec in lacking]
    if not lacking:
        return "undecided (no seed in common)"
    return "not run" if None in hours else f"not run (about {rounded(sum(filter(None, hours)))} GPU-h)"
