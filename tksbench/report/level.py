"""Every other system against TKS: on one network, data set and schedule, and each by its own protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tksbench.report.cells import Summary, group_records, missing, summarize_runs
from tksbench.report.compare import compare_pairs
from tksbench.report.groups import SOURCES
from tksbench.report.listing import Listing
from tksbench.report.tables import NONE, mean_sd_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tksbench.report.cells import Estimate
    from tksbench.report.compare import Place
    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.report.paper import Paper
    from tksbench.runs.record import Record

    ByGroup = Mapping[str, Sequence[Record]]

NAME = "level"
TITLE = "TKS and other systems"
HEADERS = ("Run", "Verdict", "Scale", "n", "Best epoch", "Against", "Less", "95 %", "p (Holm)")
_LEFT_OUT = ("n", "95 %", "p (Holm)")
_NOTES = (
    "Runs that begin with level: one network, data set and schedule for all, which differ in the system alone. Others: "
    "each system by its own protocol, as the paper's tables have it, beside TKS on the same data set by the paper's.",
    "Best epoch: top-1 (%) of the run, mean ± standard deviation over its seeds. Against: the same of the run that it "
    "is compared with: {others}.",
    "Less: the mean of Against less the run over the n seeds that both have, in points, with its 95 % interval; p of a "
    "paired t test, corrected (Holm) over all rows. Pairs are of one seed; of protocols without a seed in common, in "
    "the order of the seeds. Verdict: which is better, if p (Holm) is below 0.05 on three seeds or more; of the scale "
    "closest to the paper's at which both have runs on the data set itself.",
)


def build_level(
    paper: Paper, protocols: Mapping[str, Sequence[Candidate]], evidence: Evidence, estimate: Estimate
) -> Listing:
    """List all of `Paper.pairs` with what their runs say.

    Args:
        paper: From `cited.with_cited_runs`.
        protocols: From `groups.candidates`.
        evidence: From `evidence.gather`.
        estimate: GPU-hours of a run, for those that are not run.
    """
    asked = {one.group for pair in paper.pairs for name in pair for one in protocols[name]}
    mine = evidence.of_groups(asked)
    by_group = group_records((*mine.published, *mine.local))
    places = compare_pairs([(other, run) for run, other in paper.pairs], protocols, by_group)
    rows = []
    for (run, other), place in zip(paper.pairs, places, strict=True):
        sides = [protocols[run], protocols[other]]
        if place is None:
            lacking = [found for found in sides if not any(one.group in by_group for one in found)]
            words = missing((lacking or sides)[0], by_group, mine.states, estimate) if lacking else "no scale in common"
            rows.append((run, words, *[NONE] * (len(HEADERS) - 2)))
        else:
            rows.append((run, *_words(place, [_summary(found, place, by_group) for found in sides])))
    others = ", ".join(dict.fromkeys(other for _, other in paper.pairs))
    notes = (_NOTES[0], _NOTES[1].format(others=others), _NOTES[2])
    return Listing(NAME, TITLE, HEADERS, tuple(rows), notes, mine.stamp(), _LEFT_OUT, landscape=True)


def _summary(found: Sequence[Candidate], place: Place, by_group: ByGroup) -> Summary:
    candidate = next(one for one in found if (one.scale, one.source) == (place.scale, place.source))
    return summarize_runs("top1", candidate, by_group[candidate.group]).best


def _words(place: Place, sides: Sequence[Summary]) -> tuple[str, ...]:
    compared = place.best
    numbers = [mean_sd_words(side) for side in sides]
    verdict, scale = place.verdict, place.scale + SOURCES[place.source]
    if "better" in verdict and compared:
        ahead = place.a if compared.mean > 0 else place.b
        verdict = f"{ahead.rpartition('/')[2]} is better (n={compared.n})"
    if compared is None:
        return (verdict, scale, NONE, *numbers, NONE, NONE, NONE)
    interval = compared.interval
    between = f"{interval.low:+.2f} to {interval.high:+.2f}" if interval else NONE
    p = NONE if compared.p_holm is None else f"{compared.p_holm:.3f}"
    return (verdict, scale, str(compared.n), *numbers, f"{compared.mean:+.2f}", between, p)
