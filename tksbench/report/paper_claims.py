"""What the paper's own numbers say of its claims: which they support, and what the error of the test set leaves of it.

Nothing of ours is in it. The paper prints one number a run and no predictions, so two runs are compared as proportions
of one test set (`stats.difference_of_proportions`): an upper bound of that error. Seeds are not in it, as it has one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from tksbench.report.claims import LEVEL
from tksbench.report.derive import OURS
from tksbench.report.stats import Interval, difference_of_proportions, holm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tksbench.report.paper import Claim, Metric, Paper, Row, Side

NAME = "paper_claims"
_POINT = 100.0


class Number(NamedTuple):
    """A number of the paper: of a table, or (`approximate`) as its text words it."""

    value: float
    decimals: int
    approximate: bool = False

    @property
    def text(self) -> str:
        """As printed; "≈" before what the text only rounds."""
        return "≈" * self.approximate + f"{self.value:.{self.decimals}f}"

    def less(self, other: Number) -> Number:
        """The difference, to the digits of the coarser if that is approximate."""
        approximate = self.approximate or other.approximate
        decimals = (min if approximate else max)(self.decimals, other.decimals)
        return Number(round(self.value - other.value, decimals), decimals, approximate)


@dataclass(frozen=True)
class Finding:
    """A difference of numbers of the paper.

    Attributes:
        place: In words.
        a: The number said to be better, or the lead; None if the paper has none.
        b: The other.
        metric: Of both.
        difference: The first less the second, in points or x 10^-3; None without numbers.
        interval: 95 % by the test set alone; None of AURC, which is no proportion.
        p: Two-sided; likewise.
        p_holm: After Holm's correction over all findings that are claims.
        supported: Whether the difference has the claim's sign; None without numbers.
        note: What a reader should know beside.
    """

    place: str
    a: Number | None
    b: Number | None
    metric: Metric
    difference: Number | None = None
    interval: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    supported: bool | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """What the paper's numbers say: "yes" or "no", and whether the difference lies beyond the test set's error."""
        if self.supported is None:
            return "no number"
        word = "yes" if self.supported else "no"
        return word if self.p is None else f"{word}, {'beyond' if self.p < LEVEL else 'within'}"


class Sentence(NamedTuple):
    """A sentence of the paper with what its claims come to; `note` where it has none, or repeats others'."""

    section: str
    says: str
    findings: tuple[Finding, ...]
    note: str


@dataclass(frozen=True)
class PaperClaims:
    """All that the paper claims.

    Attributes:
        sentences: Those that claim a result, in the paper's order.
        worse: What the tables have beside: where label smoothing or TET is worse than the baseline.
        name: Of the files.
        stamp: None of our evidence is in it.
    """

    sentences: tuple[Sentence, ...]
    worse: tuple[Finding, ...]
    name: str = NAME
    stamp: str = ""

    @property
    def findings(self) -> list[Finding]:
        """Of all sentences."""
        return [finding for sentence in self.sentences for finding in sentence.findings]


def build_paper_claims(paper: Paper) -> PaperClaims:
    """Hold every claim of the paper against the paper's own numbers.

    Args:
        paper: With the claims of all sentences (`load_paper`).
    """
    own = [claim for claim in paper.claims if claim.statement is not None]
    found = _corrected([finding(claim, paper) for claim in own])
    places = {claim.id: claim.place for claim in own}
    sentences = []
    for number, one in enumerate(paper.statements):
        findings = [finding for claim, finding in zip(own, found, strict=True) if claim.statement == number]
        again = f"see also {'; '.join(places[claim] for claim in one.see)}" if one.see else ""
        sentences.append(Sentence(one.section, one.says, tuple(findings), "; ".join(filter(None, (one.note, again)))))
    return PaperClaims(tuple(sentences), tuple(_worse(paper)))


def finding(claim: Claim, paper: Paper) -> Finding:
    """What the paper's numbers say of one claim; p is not corrected yet."""
    sides = [claim.a, claim.b]
    if claim.kind == "narrows":
        sides += [side.model_copy(update={"steps": None}) for side in sides]
    numbers = [number for side in sides if (number := _number(side, claim, paper))]
    empty = Finding(claim.place, None, None, claim.metric, note=claim.note)
    if claim.kind not in ("difference", "drop", "narrows") or len(numbers) < len(sides):
        return empty
    samples = paper.datasets[_dataset(claim, paper)].test_samples
    if claim.kind == "narrows":
        few, few_other, whole, whole_other = numbers
        leads = replace(empty, a=few.less(few_other), b=whole.less(whole_other))
        return _measured(leads, [few, whole_other], [few_other, whole], samples)
    a, b = numbers
    return _measured(replace(empty, a=a, b=b), [a], [b], samples)


def _measured(finding: Finding, plus: Sequence[Number], minus: Sequence[Number], samples: int) -> Finding:
    """With difference, error, and what they say of `a` against `b`, which are sums and differences of the numbers."""
    if finding.a is None or finding.b is None:
        return finding
    difference = finding.a.less(finding.b)
    supported = difference.value < 0 if finding.metric == "aurc" else difference.value > 0
    measured = replace(finding, difference=difference, supported=supported)
    # A number that the text words, such as "nearly 33 %" less, is no count of right samples: its sign alone is judged.
    if finding.metric == "aurc" or difference.approximate:
        return measured
    above, below = ([one.value / _POINT for one in side] for side in (plus, minus))
    test = difference_of_proportions(above, below, samples)
    return replace(measured, interval=Interval(*(_POINT * bound for bound in test.interval)), p=test.p)


def _number(side: Side, claim: Claim, paper: Paper) -> Number | None:
    """What the paper prints of a side: in a table, for all steps; in the text on a figure, for fewer."""
    if side.run is None:
        cited = paper.cited(side)
        return None if cited is None else _printed(cited)
    stated = [one for figure in paper.figures.values() for one in figure["stated"]]
    for one in stated:
        if (one["run"], one["steps"], one["metric"]) == (side.run, side.steps, claim.metric):
            return Number(one["value"], 0 if one["approximate"] else 1, one["approximate"])
    tables = [paper.tables[claim.b.table]] if claim.b.table in paper.tables else [*paper.tables.values()]
    rows = [row for table in tables for row in table.rows if (row.run, row.metric) == (side.run, claim.metric)]
    return _printed(rows[-1]) if rows and side.steps is None else None  # Table 3 has more digits than Table 2


def _printed(row: Row) -> Number | None:
    return None if row.value is None else Number(row.value, row.decimals)


def _dataset(claim: Claim, paper: Paper) -> str:
    run = claim.a.run or ""
    return next((row.dataset for row in paper.own_rows() if row.run == run), run.split("/")[0])


def _corrected(findings: Sequence[Finding]) -> list[Finding]:
    tested = [index for index, one in enumerate(findings) if one.p is not None]
    found = list(findings)
    p_values = [p for one in findings if (p := one.p) is not None]
    for index, p in zip(tested, holm(p_values), strict=True):
        found[index] = replace(found[index], p_holm=p)
    return found


def _worse(paper: Paper) -> Iterator[Finding]:
    """Where a method of the paper's own runs other than TKS is worse than the baseline."""
    rows = [row for row in paper.own_rows() if row.value is not None and row.run]
    baselines = {(row.run or "").rpartition("/")[0] + row.metric: row for row in rows if _method(row) == "baseline"}
    for row in rows:
        base = baselines.get((row.run or "").rpartition("/")[0] + row.metric)
        if base is None or _method(row) in ("baseline", OURS):
            continue
        numbers = _printed(row), _printed(base)
        if numbers[0] is None or numbers[1] is None:
            continue
        dataset = paper.datasets[row.dataset]
        place = f"{dataset.printed} {row.architecture}: {row.label}"
        found = _measured(Finding(place, *numbers, row.metric), [numbers[0]], [numbers[1]], dataset.test_samples)
        if found.difference and found.difference.value and not found.supported:
            yield found


def _method(row: Row) -> str:
    return (row.run or "").rpartition("/")[2]
