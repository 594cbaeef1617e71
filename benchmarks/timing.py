"""Time of alternatives, measured in turn within one process and given as ratios.

The machine may be shared and single rounds may differ by half, so absolute times say little. Candidates take turns,
each round gives one ratio of each candidate to the reference, and what is reported is the median of these ratios, their
quartiles, and the ratio of the two fastest rounds.
"""

from __future__ import annotations

import gc
import math
import resource
import statistics
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MIN_ROUNDS = 7
MIN_SECONDS = 0.05  # a shorter call is repeated within a round until it takes this long
MAX_CALLS = 10_000
_TINY = 1e-9  # seconds: no clock is finer, and no ratio is divided by zero


class Sample(NamedTuple):
    """Seconds of one call: wall clock, and CPU of this process with the children it has waited for."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Candidate:
    """One way of doing a case's work.

    Attributes:
        name: What the table calls it.
        run: Does the work once; on a GPU it also has to wait for the device.
        values: Other numbers to report beside the times, for example {"peak_memory_bytes": 1e9}; asked for after
            the last round.
    """

    name: str
    run: Callable[[], object]
    values: Callable[[], Mapping[str, float]] = dict


@dataclass(frozen=True)
class Case:
    """Candidates that do the same work.

    Attributes:
        name: What the table calls it, with all sizes.
        candidates: In the table's order; names are unique.
        reference: The candidate that ratios are taken to.
    """

    name: str
    candidates: Sequence[Candidate]
    reference: str


@dataclass(frozen=True)
class Ratio:
    """A candidate's time over the reference's.

    Attributes:
        median: Median of the rounds' ratios.
        low: Their first quartile.
        high: Their third quartile.
        min: Ratio of the fastest rounds of both.
    """

    median: float
    low: float
    high: float
    min: float


@dataclass(frozen=True)
class Row:
    """One line of the results: plain numbers, seconds a call. The keys are described in the README of this folder."""

    part: str
    case: str
    candidate: str
    reference: str
    rounds: int
    calls: int
    wall_ratio_median: float
    wall_ratio_low: float
    wall_ratio_high: float
    wall_ratio_min: float
    cpu_ratio_median: float
    cpu_ratio_low: float
    cpu_ratio_high: float
    cpu_ratio_min: float
    wall_s_median: float
    wall_s_min: float
    cpu_s_median: float
    cpu_s_min: float
    wall_s: list[float]
    cpu_s: list[float]
    values: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data, in the order of the attributes."""
        return asdict(self)


def compare(times: Sequence[float], reference: Sequence[float]) -> Ratio:
    """Ratio of two series of times that were taken round by round.

    Args:
        times: Seconds of the candidate, one a round.
        reference: Seconds of the reference in the same rounds.
    """
    own, other = ([max(seconds, _TINY) for seconds in series] for series in (times, reference))
    ratios = [a / b for a, b in zip(own, other, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return Ratio(median, low, high, min(own) / min(other))


def measure(part: str, case: Case, rounds: int = MIN_ROUNDS) -> list[Row]:
    """Measure the candidates of a case in turn, after one round that warms up and does not count.

    Args:
        part: Name of the part, for the rows.
        case: What to measure.
        rounds: How often each candidate has its turn.

    Returns:
        One row a candidate.
    """
    calls = {one.name: _calls(_sample(one.run, 1).wall) for one in case.candidates}
    samples: dict[str, list[Sample]] = {one.name: [] for one in case.candidates}
    for turn in range(rounds):
        first = turn % len(case.candidates)  # nobody always comes after the same neighbour's garbage
        for one in (*case.candidates[first:], *case.candidates[:first]):
            samples[one.name].append(_sample(one.run, calls[one.name]))
    return [
        make_row(part, case, one.name, samples, calls=calls[one.name], values=dict(one.values()))
        for one in case.candidates
    ]


def make_row(
    part: str,
    case: Case,
    candidate: str,
    samples: Mapping[str, Sequence[Sample]],
    *,
    calls: int = 1,
    values: dict[str, float] | None = None,
) -> Row:
    """Sum up the rounds of one candidate.

    Args:
        part: Name of the part.
        case: The case.
        candidate: Name of the candidate.
        samples: Seconds a call of every candidate, one sample a round.
        calls: How many calls a sample of this candidate is the mean of.
        values: Other numbers to report.
    """
    mine, reference = samples[candidate], samples[case.reference]
    columns: dict[str, Any] = {}
    for clock in Sample._fields:
        own, other = ([float(getattr(sample, clock)) for sample in series] for series in (mine, reference))
        columns |= {f"{clock}_ratio_{key}": value for key, value in asdict(compare(own, other)).items()}
        columns |= {f"{clock}_s_median": statistics.median(own), f"{clock}_s_min": min(own), f"{clock}_s": own}
    return Row(
        part=part,
        case=case.name,
        candidate=candidate,
        reference=case.reference,
        rounds=len(mine),
        calls=calls,
        values=values or {},
        **columns,
    )


def _calls(seconds: float) -> int:
    return max(1, min(MAX_CALLS, math.ceil(MIN_SECONDS / max(seconds, _TINY))))


def _sample(run: Callable[[], object], calls: int) -> Sample:
    """Mean seconds of a call; garbage of others is collected before the clock starts."""
    gc.collect()
    wall, cpu = time.perf_counter(), _cpu_seconds()
    for _ in range(calls):
        run()
    return Sample((time.perf_counter() - wall) / calls, (_cpu_seconds() - cpu) / calls)


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
