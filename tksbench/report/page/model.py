"""Everything that the page shows, gathered and worded; `render` only lays it out."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tksbench.report.apart import SMOKE_NOTES, build_twins
from tksbench.report.cells import group_records
from tksbench.report.claims_table import MARK_NOTES, headline
from tksbench.report.figure_data import FIGURES, build_figure
from tksbench.report.groups import real, telling
from tksbench.report.markup import footnotes
from tksbench.report.page.charts import Bars, bars, bars_axis
from tksbench.report.page.figures import Figure, lay_out
from tksbench.report.page.runs import RunCard, run_card
from tksbench.report.paper_claims import build_paper_claims
from tksbench.report.paper_claims_table import HEADERS, NOTES, groups, summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tksbench.report.cells import Cell, Estimate
    from tksbench.report.claims import ClaimResult
    from tksbench.report.claims_table import ClaimsTable
    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.report.listing import Listing
    from tksbench.report.paper import Paper
    from tksbench.report.tables import Line as TableLine
    from tksbench.report.tables import Table
    from tksbench.runs import Ledger
    from tksbench.runs.record import Record

# Verdicts in the order of the summary; each has a shape and a colour of its own in the style sheet.
KINDS = (
    "reproduced",
    "above",
    "below",
    "undecided",
    "not comparable",
    "running",
    "interrupted",
    "failed",
    "smoke check",
    "not run",
    "cited",
)


class Row(NamedTuple):
    """A row of a table: its words, its kind of verdict, its strip of error bars, and where its run is shown."""

    line: TableLine
    kind: str
    bars: Bars | None
    cell: str
    anchor: str
    where: str
    numbers: tuple[float | None, float | None, float | None]  # the paper's, our best and our last: to sort by


class Section(NamedTuple):
    """Rows of one data set and metric, which share an axis from `low` to `high`."""

    title: str
    metric: str
    low: str
    high: str
    rows: tuple[Row, ...]


class Claimed(NamedTuple):
    """A claim, ready to print: what it says, what our runs say, and the verdict; `own` if the paper makes it itself."""

    own: bool
    text: str
    where: str
    verdict: str
    kind: str
    remark: str
    stated: str
    ours: str
    interval: str
    p: str
    bars: Bars | None


class Said(NamedTuple):
    """A sentence of the paper that claims a result: its claims with the paper's own numbers, as text."""

    words: str
    rows: Sequence[Sequence[str]]
    note: str


class Sheet(NamedTuple):
    """One table; `cited` if it has rows of cited works."""

    name: str
    number: str
    title: str
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    cited: bool


class Summary(NamedTuple):
    """What the page begins with.

    Attributes:
        own: The paper's own numbers, cells of all tables.
        counts: Cells of each kind of verdict, those with any.
        better: Cells whose number is off the paper's on the good side; `worse`: on the other.
        runs: Finished runs that a recipe names, without those on stand-in data.
        protocols: Under how many protocols.
        scales: Finished runs of each scale.
        hours: Time of their training steps; `gpu_hours` with tests and checkpoints.
        newest: Day on which the newest of them finished.
        unpublished: How many of them are on this machine only.
        missing: Runs behind own cells without a finished run at scale paper; `wanted`: all runs behind own cells.
        missing_hours: What one seed of each missing run would cost in GPU-hours, None if it is unknown.
    """

    own: int
    counts: tuple[tuple[str, int], ...]
    better: int
    worse: int
    runs: int
    protocols: int
    scales: tuple[tuple[str, int], ...]
    hours: float
    gpu_hours: float
    newest: str
    unpublished: int
    missing: int
    wanted: int
    missing_hours: float | None


@dataclass(frozen=True)
class Page:
    """All of the page.

    `trained` and `untrained` are runs behind cells, `further` others with records; `smoke` are runs on stand-in data,
    which stand nowhere else.
    """

    paper: Mapping[str, Any]
    summary: Summary
    claims: tuple[Claimed, ...]
    claim_notes: Sequence[str]
    claims_waiting: int
    said: tuple[Said, ...]
    said_summary: str
    said_headers: Sequence[str]
    said_notes: Sequence[str]
    sheets: tuple[Sheet, ...]
    figures: tuple[Figure, ...]
    trained: tuple[RunCard, ...]
    further: tuple[RunCard, ...]
    untrained: tuple[RunCard, ...]
    smoke: tuple[RunCard, ...]
    smoke_notes: Sequence[str]
    level: Listing
    costs: Listing
    twins: Listing
    problems: tuple[str, ...]


def build_page(
    paper: Paper,
    protocols: Mapping[str, Sequence[Candidate]],
    evidence: Evidence,
    ledger: Ledger,
    tables: Sequence[Table],
    judged: ClaimsTable,
    level: Listing,
    inference: Listing,
    estimate: Estimate,
) -> Page:
    """Gather the page.

    Args:
        paper: The paper's numbers.
        protocols: From `groups.candidates`.
        evidence: From `evidence.gather`.
        ledger: Where the logs lie.
        tables: All tables of the paper, from `tables.build_table`.
        judged: From `claims_table.build_claims`.
        level: From `level.build_level`.
        inference: From `costs.build_costs`.
        estimate: GPU-hours of a run.
    """
    by_group = group_records((*evidence.published, *evidence.local))
    said = build_paper_claims(paper)
    wanted = dict.fromkeys(row.run for row in paper.own_rows() if row.run and row.run in protocols)
    own = {run: telling(found) or list(found) for run, found in protocols.items()}
    behind_cells = wanted | dict.fromkeys(row.run for row in paper.rows() if row.run and row.run in protocols)
    shown = [*behind_cells, *(run for run in own if run not in behind_cells and _has_records(own[run], by_group))]
    checks = {run: [one for one in found if one.stand_in] for run, found in protocols.items()}
    checked = [run for run, found in checks.items() if _has_records(found, by_group)]
    anchors = _anchors([*shown, *(f"smoke check {run}" for run in checked)])
    cards = {
        run: run_card(anchor, own[run], by_group, evidence.states, estimate, ledger)
        for run, anchor in zip(shown, anchors, strict=False)
    }
    smoke = {
        run: run_card(anchor, checks[run], by_group, evidence.states, estimate, ledger)
        for run, anchor in zip(checked, anchors[len(shown) :], strict=True)
    }
    behind = cards | {run: one for run, one in smoke.items() if not (run in cards and cards[run].count)}
    return Page(
        paper=paper.paper,
        summary=_summary(tables, protocols, evidence, wanted, by_group, estimate),
        claims=tuple(_claim(result) for result in judged.touched),
        claims_waiting=len(judged.waiting),
        said=tuple(Said(*group) for group in groups(said)),
        said_summary=summary(said),
        said_headers=HEADERS,
        said_notes=NOTES,
        claim_notes=MARK_NOTES,
        sheets=tuple(_sheet(table, behind) for table in tables),
        figures=tuple(
            lay_out(build_figure(name, paper, protocols, by_group)) for name in FIGURES if name in paper.figures
        ),
        trained=tuple(cards[run] for run in behind_cells if cards[run].count),
        further=tuple(one for run, one in cards.items() if run not in behind_cells),
        untrained=tuple(one for one in cards.values() if not one.count),
        smoke=tuple(smoke.values()),
        smoke_notes=SMOKE_NOTES,
        level=level,
        costs=inference,
        twins=build_twins(protocols, evidence),
        problems=tuple(problem.replace(f"{ledger.root}/", "") for problem in evidence.problems),
    )


def kind_of(verdict: str) -> str:
    """The kind of a verdict, "not run" of "not run (about 12 GPU-h)": one of `KINDS`."""
    if verdict.startswith("holds"):
        return "reproduced"
    if verdict.startswith("does not hold"):
        return "below"
    return next((kind for kind in KINDS if verdict == kind or verdict.startswith(kind + " ")), "not run")


def _has_records(protocols: Sequence[Candidate], by_group: Mapping[str, Sequence[Record]]) -> bool:
    return any(one.group in by_group for one in protocols)


def _anchors(names: Iterable[str]) -> list[str]:
    """An HTML id for each name, no two alike."""
    taken: Counter[str] = Counter()
    anchors = []
    for name in names:
        plain = "run-" + (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "x")
        taken[plain] += 1
        anchors.append(plain if taken[plain] == 1 else f"{plain}--{taken[plain]}")
    return anchors


def _summary(
    tables: Sequence[Table],
    protocols: Mapping[str, Sequence[Candidate]],
    evidence: Evidence,
    wanted: Iterable[str],
    by_group: Mapping[str, Sequence[Record]],
    estimate: Estimate,
) -> Summary:
    cells = [cell for table in tables for cell in table.cells if not cell.row.ref]
    counts = Counter(kind_of(cell.verdict) for cell in cells)
    off = [cell for cell in cells if cell.verdict in ("above", "below")]
    better = sum((cell.verdict == "above") != (cell.row.metric == "aurc") for cell in off)
    known = {one.group for found in protocols.values() for one in real(found)}
    records = [record for group in by_group if group in known for record in by_group[group]]
    best = {run: protocols[run][0] for run in wanted}
    missing = [one for one in best.values() if one.scale != "paper" or one.group not in by_group]
    hours = [about for one in missing if (about := estimate(one.run.spec)) is not None]
    return Summary(
        own=sum(cell.row.value is not None for cell in cells),
        counts=tuple((kind, counts[kind]) for kind in KINDS if counts[kind]),
        better=better,
        worse=len(off) - better,
        runs=len(records),
        protocols=len({record.group for record in records}),
        scales=tuple(sorted(Counter(record.scale for record in records).items())),
        hours=sum(record.cost.hours for record in records),
        gpu_hours=sum(record.cost.gpu_hours for record in records),
        newest=max((record.provenance.finished[:10] for record in records), default=""),
        unpublished=sum(record.group in known for record in evidence.local),
        missing=len(missing),
        wanted=len(best),
        missing_hours=sum(hours) if hours else None,
    )


def _claim(result: ClaimResult) -> Claimed:
    claim, best = result.claim, result.best
    stated = "" if claim.value is None else _minus(f"{claim.value:.{claim.decimals}f}")
    drawn = None
    if best:
        axis = bars_axis([0.0, best.mean, claim.value, *(best.interval or ())])
        drawn = bars(axis, claim.value, best.mean, best.interval) if axis else None
    remarks = [f"the difference is {result.size}"] if result.size.endswith("stated") else []
    if best and best.steps_better:
        remarks.append(f"better at {best.steps_better[0]} of {best.steps_better[1]} steps; drawn is step {best.step}")
    return Claimed(
        own=claim.own,
        text=headline(result),
        # What a variant varies; the note to its mark says that it is not in the paper.
        where=claim.where if claim.variant is None else f"varies {claim.variant}",
        verdict=result.verdict,
        kind=kind_of(result.verdict),
        remark="; ".join(remarks),
        stated=stated,
        ours=_minus(f"{best.mean:+z.2f}") if best else "",
        interval=_minus(f"{best.interval.low:+z.2f} to {best.interval.high:+z.2f}") if best and best.interval else "",
        p=_p_value(best.p_holm) if best and best.p_holm is not None else "",
        bars=drawn,
    )


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _p_value(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _sheet(table: Table, cards: Mapping[str, RunCard]) -> Sheet:
    parts: dict[tuple[str, str], list[tuple[TableLine, Cell]]] = {}
    for line, cell in zip(table.lines, table.cells, strict=True):
        parts.setdefault((line.dataset, line.metric), []).append((line, cell))
    sections = tuple(_section(*key, pairs, cards) for key, pairs in parts.items())
    number, _, title = table.title.partition(". ")
    cited = any(line.is_cited for line in table.lines)
    return Sheet(table.name, number, title, sections, tuple(footnotes(table)), cited)


def _section(
    dataset: str, metric: str, pairs: Sequence[tuple[TableLine, Cell]], cards: Mapping[str, RunCard]
) -> Section:
    values: list[float | None] = []
    for _, cell in pairs:
        ours = cell.ours
        values += [cell.row.value, *((ours.best.mean, ours.last.mean) if ours else ())]
        values += [bound for interval in ((ours.prediction, ours.test) if ours else ()) for bound in interval or ()]
    axis = bars_axis(values)
    rows = []
    for line, cell in pairs:
        row, ours = cell.row, cell.ours
        drawn = None
        if axis and (row.value is not None or ours):
            bounds = (ours.prediction, ours.test) if ours else (None, None)
            drawn = bars(axis, row.value, ours.best.mean if ours else None, *bounds)
        anchor = cards[row.run].anchor if row.run and row.run in cards else ""
        numbers = (row.value, ours.best.mean if ours else None, ours.last.mean if ours else None)
        rows.append(Row(line, kind_of(cell.verdict), drawn, row.cell or "", anchor, row.where, numbers))
    digits = 0 if axis and axis.high - axis.low >= 10 else 1
    low, high = (f"{axis.low:.{digits}f}", f"{axis.high:.{digits}f}") if axis else ("", "")
    return Section(dataset, metric, low, high, tuple(rows))
