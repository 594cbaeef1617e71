"""Any two methods, or runs, against each other: one comparison for each place where both were trained alike."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tksbench.recipe import suggest
from tksbench.report.cells import MIN_RUNS, group_records
from tksbench.report.claims import LEVEL, compare, paired
from tksbench.report.groups import SOURCES, ReportError
from tksbench.report.paper import Claim, Side
from tksbench.report.stats import holm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tksbench.report.claims import Choice, Comparison
    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.report.paper import Metric
    from tksbench.runs.record import Record

CHOICES: tuple[Choice, ...] = ("best", "last")


@dataclass(frozen=True)
class Place:
    """Two runs under one protocol but for what is compared.

    Attributes:
        a: Name of the run whose number counts as positive.
        b: Name of the other.
        scale: Of both.
        source: Of both: "real" data, the "twin" or the "miniature".
        metric: What is compared.
        best: At the epochs that are best on the test set; None if no seed is in common.
        last: At the last epochs; likewise.
        verdict: The method that is better, or why that is undecided.
    """

    a: str
    b: str
    scale: str
    source: str
    metric: Metric
    best: Comparison | None
    last: Comparison | None
    verdict: str = ""

    @property
    def where(self) -> str:
        """What both names begin with: data set and network, or the data set alone."""
        a, b = self.a.split("/"), self.b.split("/")
        same = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), 0)
        return "/".join(a[:same])

    @property
    def sides(self) -> tuple[str, str]:
        """Both names without what they share."""
        skip = len(self.where) + 1 if self.where else 0
        return self.a[skip:], self.b[skip:]


def compare_methods(
    a: str,
    b: str,
    protocols: Mapping[str, Sequence[Candidate]],
    evidence: Evidence,
    *,
    scale: str | None = None,
    metric: Metric = "top1",
) -> list[Place]:
    """Compare two methods wherever both have runs at one scale and on one source of data.

    Runs are paired by seed, within a data set and network. Where a data set has one run of each side alone, these
    are compared whatever their networks: so two networks can be held against each other. p is corrected (Holm) over
    all comparisons on real data, over those on twins, and over those on stand-in data.

    Args:
        a: A method (``tks``, ``late.per_step``), a run's name, or a glob of names (``cifar100/*/tks-*``).
        b: The other, likewise.
        protocols: From `groups.candidates`.
        evidence: From `evidence.gather`.
        scale: Compare at this scale alone.
        metric: Of the test set.

    Raises:
        ReportError: A side is no run of the recipes, or both are the same.
    """
    by_group = group_records((*evidence.published, *evidence.local))
    places = []
    for one, other in _pairs(find_runs(a, protocols), find_runs(b, protocols), protocols):
        claim = _claim(one, other, metric)
        places += [place for place in _places(claim, protocols, by_group) if scale in (None, place.scale)]
    return [_judged(place) for place in _corrected(places)]


def compare_pairs(
    pairs: Sequence[tuple[str, str]],
    protocols: Mapping[str, Sequence[Candidate]],
    by_group: Mapping[str, Sequence[Record]],
) -> list[Place | None]:
    """Compare each pair of runs at the one scale closest to the paper where both have runs on the data set or its twin.

    Args:
        pairs: Names of two runs; the first's number counts as positive.
        protocols: From `groups.candidates`.
        by_group: Records of each group, by seed.

    Returns:
        None where there is no such scale; p is corrected (Holm) over the others, those on twins apart.
    """
    found = []
    for a, b in pairs:
        places = _places(_claim(a, b, "top1"), protocols, by_group, by_order=True)
        found.append(next((place for place in places if place.source != "miniature"), None))
    judged = iter([_judged(place) for place in _corrected([place for place in found if place])])
    return [place and next(judged) for place in found]


def _claim(a: str, b: str, metric: Metric) -> Claim:
    return Claim(
        id="compare", text="", kind="difference", metric=metric, a=Side(run=a), b=Side(run=b), value=None, where=""
    )


def _places(
    claim: Claim,
    protocols: Mapping[str, Sequence[Candidate]],
    by_group: Mapping[str, Sequence[Record]],
    *,
    by_order: bool = False,
) -> Iterator[Place]:
    """All comparisons of a claim's two runs, the one closest to the paper first, not corrected and not judged yet."""
    one, other = claim.a.run or "", claim.b.run or ""
    theirs = {(found.scale, found.source): found for found in protocols[other]}
    for ours in protocols[one]:
        match = theirs.get((ours.scale, ours.source))
        if match is None or not {ours.group, match.group} <= by_group.keys():
            continue
        pairs = paired(
            *({record.seed: record for record in by_group[at.group]} for at in (ours, match)), by_order=by_order
        )
        best, last = (compare(claim, pairs, choice) if pairs else None for choice in CHOICES)
        yield Place(one, other, ours.scale, ours.source, claim.metric, best, last)


def find_runs(word: str, protocols: Mapping[str, Sequence[Candidate]]) -> list[str]:
    """The runs that a word names: one by its name, those that a glob fits, or all of a method.

    Raises:
        ReportError: There is none.
    """
    if word in protocols:
        return [word]
    if any(sign in word for sign in "*?["):
        found = fnmatch.filter(protocols, word)
    else:
        method = word.replace(":", ".")  # as a recipe has it, module:function
        found = [name for name in protocols if name.rpartition("/")[2] == method]
    if not found:
        methods = {name.rpartition("/")[2] for name in protocols}
        near = suggest(word, {*methods, *protocols} if "/" in word else methods)
        raise ReportError(f"compare {word}: no run of the recipes is called so; {near}")
    return sorted(found)


def _pairs(
    a: Sequence[str], b: Sequence[str], protocols: Mapping[str, Sequence[Candidate]]
) -> Iterator[tuple[str, str]]:
    if list(a) == list(b):
        raise ReportError(f"compare: both sides name the same run{'s' * (len(a) > 1)}: {', '.join(a[:3])}")
    by_set: dict[str, tuple[list[str], list[str]]] = {}
    for side, names in enumerate((a, b)):
        for name in names:
            by_set.setdefault(protocols[name][0].run.spec.data.name, ([], []))[side].append(name)
    for ours, theirs in by_set.values():
        alike = [(x, y) for x in ours for y in theirs if x != y and x.rpartition("/")[0] == y.rpartition("/")[0]]
        single = [(ours[0], theirs[0])] if len(ours) == len(theirs) == 1 and ours != theirs else []
        yield from alike or single


def _corrected(places: Sequence[Place]) -> list[Place]:
    """With Holm's correction: of each choice of epoch, and of each source of data, separately."""
    found = list(places)
    for choice in CHOICES:
        for source in SOURCES:
            family = [
                (index, compared)
                for index, place in enumerate(found)
                if place.source == source and (compared := _at(place, choice)) is not None and compared.p is not None
            ]
            adjusted = holm([compared.p for _, compared in family if compared.p is not None])
            for (index, compared), p in zip(family, adjusted, strict=True):
                one = replace(compared, p_holm=p)
                found[index] = replace(found[index], best=one) if choice == "best" else replace(found[index], last=one)
    return found


def _at(place: Place, choice: Choice) -> Comparison | None:
    return place.best if choice == "best" else place.last


def _judged(place: Place) -> Place:
    """With a verdict, of the best epoch as in the tables."""
    compared = place.best
    if compared is None:
        return replace(place, verdict="undecided (no seed in common)")
    if compared.n < MIN_RUNS:
        return replace(place, verdict=f"undecided (n={compared.n})")
    if compared.p_holm is None or compared.p_holm >= LEVEL:
        return replace(place, verdict=f"undecided (n={compared.n})")
    ahead = (compared.mean > 0) != (place.metric == "aurc")
    return replace(place, verdict=f"{place.sides[not ahead]} is better (n={compared.n})")


def at_hand_of(names: Sequence[str], protocols: Mapping[str, Sequence[Candidate]], records: Sequence[Record]) -> str:
    """In words, at which scales some runs have records: what is printed where nothing can be compared."""
    by_group = group_records(records)
    return "\n    ".join(
        f"{name} at scale {candidate.words} (n={len(by_group[candidate.group])})"
        for name in names
        for candidate in protocols[name]
        if candidate.group in by_group
    )
