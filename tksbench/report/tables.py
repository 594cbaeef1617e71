"""A table of the paper as lines of plain text, ready for any of the renderings (`markup`, `terminal`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tksbench.report import origins
from tksbench.report.cells import INCOMPLETE, SMOKE_CHECK, build_cell, corrected, group_records
from tksbench.report.groups import ReportError, real
from tksbench.runs.comparison import of_former_arithmetic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tksbench.report.cells import Cell, Estimate, Ours, Summary
    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.report.paper import Paper, Row
    from tksbench.report.stats import Interval
    from tksbench.runs.record import Record

NONE = "–"
METRICS = {"top1": "top-1 (%)", "top5": "top-5 (%)", "aurc": "AURC (×10⁻³)"}


@dataclass(frozen=True)
class Line:
    """One row of a rendered table: plain text, not yet escaped for any format. `scale` is "" where nothing is ours.

    `less_is_better` is no text of the row: it says on which side of the paper's number the good numbers are. `mark` is
    the letter of a foot-note to the paper's number. `cited` is what a cited work prints itself, "" for the paper's own.
    """

    dataset: str
    method: str
    architecture: str
    steps: str
    metric: str
    paper: str
    best: str
    last: str
    n: str
    scale: str
    run_interval: str
    test_interval: str
    verdict: str
    less_is_better: bool = False
    mark: str = ""
    cited: str = ""

    @property
    def is_cited(self) -> bool:
        """Whether the row is of a work that the paper cites."""
        return bool(self.cited)


@dataclass(frozen=True)
class Table:
    """A table before rendering.

    Attributes:
        name: As in results/paper.yaml, for example "table1".
        title: Caption.
        lines: In the paper's order.
        metric: The one metric of all lines, or None if lines differ.
        notes: Footnotes: only those that this table needs.
        stamp: What unpublished evidence went in (`Evidence.stamp`).
        cells: What each line says in words, as numbers.
        cited: The works that lines cite.
        cited_notes: Those of the footnotes that speak to rows of cited works.
    """

    name: str
    title: str
    lines: tuple[Line, ...]
    metric: str | None
    notes: tuple[str, ...]
    stamp: str
    cells: tuple[Cell, ...] = ()
    cited: str = ""
    cited_notes: tuple[str, ...] = ()

    def ours(self) -> Table:
        """Without the rows of cited works, and what is said of them."""
        lines = tuple(line for line in self.lines if not line.is_cited)
        notes = tuple(note for note in self.notes if note not in self.cited_notes)
        cells = tuple(cell for cell in self.cells if not cell.row.ref)
        return replace(self, lines=lines, notes=notes, cells=cells, cited="", cited_notes=())


def build_table(
    name: str, paper: Paper, protocols: Mapping[str, Sequence[Candidate]], evidence: Evidence, estimate: Estimate
) -> Table:
    """Put the paper's rows and ours side by side.

    Our numbers for one data set are all of one scale (`common_scales`), so that what stands side by side can be
    compared. To show another scale, hand over the protocols of that scale alone (`groups.at_scale`).

    Args:
        name: Name of the table.
        paper: The paper's numbers.
        protocols: From `groups.candidates`.
        evidence: From `evidence.gather`.
        estimate: GPU-hours of a run, for cells that are not run.

    Raises:
        ReportError: The paper has no such table.
    """
    if name not in paper.tables:
        from tksbench.recipe import suggest

        raise ReportError(f"no table '{name}'; {suggest(name, paper.tables)}")
    rows = paper.tables[name].rows
    groups = {candidate.group for row in rows for candidate in protocols.get(row.run or "", ())}
    mine = evidence.of_groups(groups)
    by_group = group_records((*mine.published, *mine.local))
    scales = common_scales(rows, protocols, by_group)
    found = [
        build_cell(row, protocols.get(row.run or ""), by_group, mine.states, estimate, scales.get(row.dataset))
        for row in rows
    ]
    cells = corrected(found)
    lines = tuple(_line(cell, paper, mark) for cell, mark in zip(cells, origins.marks(rows), strict=True))
    metrics = {row.metric for row in rows}
    return Table(
        name=name,
        title=f"Table {name.removeprefix('table')}. {paper.tables[name].title}",
        lines=lines,
        metric=METRICS[metrics.pop()] if len(metrics) == 1 else None,
        notes=tuple(_notes(cells, mine)),
        stamp=mine.stamp(),
        cells=tuple(cells),
        cited=origins.bibliography(rows, paper.references),
        cited_notes=tuple(_cited_notes(cells)),
    )


def common_scales(
    rows: Sequence[Row], protocols: Mapping[str, Sequence[Candidate]], by_group: Mapping[str, Sequence[Record]]
) -> dict[str, str]:
    """The scale at which each data set's rows are shown.

    It is the one closest to the paper at which one of the paper's own rows has runs on the data set itself. Methods
    from outside and cited works are shown beside these, and so at their scale; they decide only where the paper's rows
    have no runs.
    """
    best: dict[str, tuple[bool, int, str]] = {}
    for row in rows:
        trained = (one for one in real(protocols.get(row.run or "", ())) if one.group in by_group)
        for candidate in trained:
            found = (row.value is None or bool(row.ref), candidate.rank, candidate.scale)
            best[row.dataset] = min(best.get(row.dataset, found), found)
    return {dataset: scale for dataset, (_, _, scale) in best.items()}


def _line(cell: Cell, paper: Paper, mark: str) -> Line:
    row, ours = cell.row, cell.ours
    return Line(
        dataset=paper.datasets[row.dataset].printed if row.dataset in paper.datasets else row.dataset,
        method=row.label,
        architecture=row.architecture or NONE,
        steps=NONE if row.T is None else str(row.T),
        metric=METRICS[row.metric],
        paper=_paper_value(row),
        best=mean_sd_words(ours.best) if ours else NONE,
        last=mean_sd_words(ours.last) if ours else NONE,
        n=str(len(ours.records)) if ours else NONE,
        scale=ours.candidate.scale if ours else "",
        run_interval=_interval(ours.prediction if ours else None),
        test_interval=_interval(ours.test if ours else None),
        verdict=cell.verdict,
        less_is_better=row.metric == "aurc",
        mark=mark,
        cited=_cited_value(row),
    )


def _paper_value(row: Row) -> str:
    return NONE if row.value is None else f"{row.value:.{row.decimals}f}"


def _cited_value(row: Row) -> str:
    """What the cited work prints itself; "" for the paper's own numbers."""
    if not row.ref:
        return ""
    origin = row.origin
    return NONE if origin is None or origin.prints is None else f"{origin.prints:.{origin.decimals}f}"


def mean_sd_words(summary: Summary) -> str:
    """A mean and, of two seeds or more, the standard deviation."""
    return f"{summary.mean:.2f}" if summary.sd is None else f"{summary.mean:.2f} ± {summary.sd:.2f}"


def p_words(value: float | None) -> str:
    """A p value."""
    return NONE if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def _interval(interval: Interval | None) -> str:
    return NONE if interval is None else f"{interval.low:.2f} to {interval.high:.2f}"


INTERVAL_NOTE = "Run 95 %:"
_ALWAYS = (
    "Best and last epoch: ours, mean ± standard deviation over n seeds. As in the authors' code, the best epoch is "
    "picked on the test set, which flatters it; the verdict judges it, the last epoch is free of that choice.",
    f"{INTERVAL_NOTE} prediction interval of one further run of ours (two seeds or more). "
    "Test 95 %: Wilson interval of our best-epoch accuracy, the error of a test set of this size.",
    "Verdict: reproduced, if the paper's number, to its last printed digit, lies in the run interval; else above or "
    "below, as our mean is (for AURC, lower is better); undecided with fewer than three seeds. Only scale paper is "
    "held against the paper's number.",
)
_CITED_NOTE = (
    "Cited rows with runs of ours: the cited work's own system by its own protocol, held against its own number (cited "
    "work), or against the paper's where it has none; cited: no recipe stands for the row."
)
_SCALE_NOTES = {
    "paper": "paper: the full protocol",
    "budget": "budget: fewer epochs with a shorter warm-up, on CIFAR bfloat16, all else as the paper",
    "mini": "mini: real data, less of everything: width, image size, epochs, augmentation (crop and flip even "
    "where the row is starred), teacher weight, of some sets the images; batch size and learning rates to match",
    "smoke": "smoke: narrow network, small images, very few epochs, a small part of the data, a weaker teacher; batch "
    "size and learning rates to match",
}
_SMOKE_NOTE = (
    "Smoke check: the run was trained and evaluated on stand-in data, since the data set is not on this machine. It "
    "shows that everything works; its numbers stand under a heading of their own (tables smoke-checks)."
)
_FORMER_NOTE = (
    "Of former arithmetic, whose sums were in an order that the processor decided: {}. Made again, these runs end with "
    "other bits, and so elsewhere within the spread of seeds."
)
_OTHER_SCALE_NOTE = "Our numbers for one data set are of one scale; tables --scale SCALE shows those of another."


def _optimism(ours: Sequence[Ours]) -> str:
    """What picking the best epoch gains: protocols do not mix here either, and a run counts once."""
    gains: dict[str, dict[str, float]] = {}
    for one in ours:
        gains.setdefault(one.candidate.scale, {})[one.candidate.group] = one.optimism
    told = ", ".join(f"{sum(of.values()) / len(of):.2f} at scale {scale}" for scale, of in gains.items())
    return f"Picking the best epoch gains about so many points of top-1: {told} (split-half, mean of the cells)."


def _former(cell: Cell) -> str:
    """The run behind a cell, if some of its records are of former arithmetic, and how many where not all are."""
    records = cell.ours.records if cell.ours else ()
    count = sum(map(of_former_arithmetic, records))
    return f"{cell.row.run}{f' ({count} of {len(records)})' * (count < len(records))}" if count else ""


def _cited_notes(cells: Sequence[Cell]) -> list[str]:
    """What is said of rows of cited works alone."""
    rows, notes = [cell.row for cell in cells], list[str]()
    if any(row.ref and row.run for row in rows):
        notes.append(_CITED_NOTE)
        gaps: dict[tuple[str, ...], list[str]] = {}
        for cell in cells:
            gaps.setdefault(cell.gaps, []).append(cell.row.label)
        told = [f"{', '.join(dict.fromkeys(labels))}: {'; '.join(words)}" for words, labels in gaps.items() if words]
        if told:
            notes.append(f"{INCOMPLETE.capitalize()}, what of it could not be read: {'. '.join(told)}.")
    return notes + origins.footnotes(rows)


def _notes(cells: Sequence[Cell], evidence: Evidence) -> list[str]:
    ours = [cell.ours for cell in cells if cell.ours]
    rows = [cell.row for cell in cells]
    notes = list(_ALWAYS)
    if ours:
        notes.append(_optimism(ours))
    judged = [cell for cell in cells if cell.p_holm is not None]
    if judged:
        off = sum(cell.verdict != "reproduced" for cell in judged)
        sure = sum(cell.p_holm < 0.05 for cell in judged if cell.p_holm is not None)
        notes.append(
            f"Cells judged: {len(judged)}; off the run interval: {off}, as one in twenty is by chance alone; of these "
            f"after Holm's correction over the cells of this table (p below 0.05): {sure}."
        )
    scales = {one.candidate.scale for one in ours}
    told = [text for scale, text in _SCALE_NOTES.items() if scale in scales]
    if told:
        notes.append("Scale " + "; ".join(told) + ".")
    if former := list(dict.fromkeys(_former(cell) for cell in cells if _former(cell))):
        notes.append(_FORMER_NOTE.format(", ".join(former)))
    if any(SMOKE_CHECK in cell.verdict for cell in cells):
        notes.append(_SMOKE_NOTE)
    if any("(but at " in cell.verdict for cell in cells):
        notes.append(_OTHER_SCALE_NOTE)
    if any(row.star for row in rows):
        notes.append(
            "*: the paper never defines its asterisk; read here as strong augmentation, which fits its numbers."
        )
    notes += _cited_notes(cells)
    if any(row.value is None for row in rows):
        notes.append("(+): not in the paper: a method from outside, on the protocol of the rows above it.")
    shown = {record.id for one in ours for record in one.records}
    here = sum(record.id in shown for record in evidence.local)
    if here:
        notes.append(f"Includes {here} finished run(s) of this machine that are not published.")
    return notes
