"""From a cell to the runs behind it: what was trained, with which code, on what, and how to train it again."""

from __future__ import annotations

import difflib
import itertools
import re
import textwrap
from typing import TYPE_CHECKING

from tksbench.estimate.model import estimate_gpu_hours
from tksbench.recipe import suggest
from tksbench.report.groups import ReportError
from tksbench.report.origins import origin_words
from tksbench.report.tables import build_table
from tksbench.report.why_runs import record_lines, run_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tksbench.report.cells import Cell
    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.report.paper import Paper
    from tksbench.report.tables import Line
    from tksbench.runs import Ledger
    from tksbench.runs.record import Record

_SHORTEST_ID = 4
_LABEL = 12  # columns of the names of what is known of a cell
_NO_RECIPE = "no recipe stands for this row yet: one that does names it under `rows`"
_VERDICTS = {  # what a verdict means, by its first words
    "reproduced": ": the paper's number lies in the run interval",
    "above": ": our mean is higher, and the paper's number is outside the run interval",
    "below": ": our mean is lower, and the paper's number is outside the run interval",
    "undecided": ": it takes three seeds",
    "not comparable (scale": ": only the full protocol, scale paper, is held against the paper's number",
    "not run at scale": ": our numbers for one data set are of one scale; --scale shows another",
    "not run (its twin": ": trained on simulated recordings alone, whose numbers stand in a table of their own, twin",
    "smoke check passed": ": trained on stand-in data alone, which says nothing about the data set",
}


def why(
    name: str, paper: Paper, protocols: Mapping[str, Sequence[Candidate]], evidence: Evidence, ledger: Ledger
) -> str:
    """Everything known about a cell or a claim, as text; of a table, or a part of one, its cells and their verdicts.

    Args:
        name: A cell (``table1/cifar10/resnet19/tks``), the name of a run, the id of a finished run or what it begins
            with, the id of a claim, what cells begin with (``table1``, ``table1/cifar10``), or ``claims``.
        paper: The paper's numbers.
        protocols: From `groups.candidates`.
        evidence: From `evidence.gather`.
        ledger: Where the logs lie.

    Raises:
        ReportError: No such cell.
    """
    ids = [claim.id for claim in paper.claims]
    if name in ids:
        from tksbench.report.why_claim import why_claim

        return why_claim(name, paper, protocols, evidence, ledger)
    rows = [row for row in paper.rows() if name in (row.cell, row.run)]
    if rows or name in protocols:
        run = (rows[0].run if rows else name) or ""
        lines = list(_cells([row.cell or "" for row in rows], paper, protocols, evidence))
        lines += run_lines(run, protocols.get(run, ()), evidence, ledger) if run else [_NO_RECIPE]
        return "\n".join(lines) + "\n"
    listed = _listing(name.rstrip("/"), paper, protocols, evidence)
    if listed:
        return listed
    record = _record(name, evidence)
    if record:
        return "\n".join(record_lines(record, ledger)) + "\n"
    words = [word for row in paper.rows() for word in (row.cell, row.run) if word]
    parts = {word[: slash.start()] for word in words for slash in re.finditer("/", word)}
    near = suggest(name, [*ids, *parts, *words])
    if one := nearest(name.rstrip("/"), words):
        near = f"did you mean '{one}'?"
    example = next((row.cell for row in paper.own_rows()), None)
    hint = near if near.startswith("did you mean") else f"cells are named like {example}"
    raise ReportError(f"--why {name}: no such cell; {hint}")


def nearest(name: str, words: Iterable[str]) -> str | None:
    """The word whose last part begins as the name's does, among several the one that agrees longest before it.

    So the cell of a method is found where its network, or its number of steps, was left out.

    Args:
        name: What was asked for.
        words: Names of cells and runs.

    Returns:
        None if no last part begins so.
    """
    *above, last = name.split("/")

    def agreement(word: str) -> tuple[int, float]:
        own = word.split("/")[:-1]
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(above, own, strict=False)))
        return same, difflib.SequenceMatcher(None, name, word).ratio()

    alike = [word for word in words if above and last and word.rpartition("/")[2].startswith(last)]
    return max(alike, key=agreement, default=None)


def _record(name: str, evidence: Evidence) -> Record | None:
    """The finished run whose id is this, or alone begins so."""
    found = [one for one in (*evidence.published, *evidence.local) if one.id.startswith(name)]
    return found[0] if len(name) >= _SHORTEST_ID and len(found) == 1 else None


def _listing(name: str, paper: Paper, protocols: Mapping[str, Sequence[Candidate]], evidence: Evidence) -> str | None:
    """The cells that begin with a name, or all claims, each with its verdict; None if there is none."""
    from tksbench.report import claims_table

    pairs: list[tuple[str, str]]
    if name == claims_table.NAME:
        results = claims_table.build_claims(paper, protocols, evidence, estimate_gpu_hours).results
        pairs = [(result.claim.id, result.verdict) for result in results]
    else:
        within = [one for one in paper.tables if name == one or name.startswith(f"{one}/")]
        tables = [build_table(one, paper, protocols, evidence, estimate_gpu_hours) for one in within]
        named = [(cell.row.cell or "", cell.verdict) for table in tables for cell in table.cells]
        pairs = [(cell, verdict) for cell, verdict in named if cell.startswith(f"{name}/")]
    if not pairs:
        return None
    width = max(len(word) for word, _ in pairs)
    lines = [f"{name}: {len(pairs)} {'claims' if name == claims_table.NAME else 'cells'}; what stands behind one:"]
    lines += [f"  python -m tksbench.tables --why {pairs[0][0]}", ""]
    return "\n".join([*lines, *(f"{word:{width}}  {verdict}" for word, verdict in pairs)]) + "\n"


def _cells(
    names: Sequence[str], paper: Paper, protocols: Mapping[str, Sequence[Candidate]], evidence: Evidence
) -> Iterator[str]:
    """The cells that show a run, each with the paper's number, ours, both error bars and the verdict."""
    for table in dict.fromkeys(name.split("/")[0] for name in names):
        built = build_table(table, paper, protocols, evidence, estimate_gpu_hours)
        for line, cell in zip(built.lines, built.cells, strict=True):
            if cell.row.cell in names:
                yield from _cell_lines(line, cell)
                yield ""


def _cell_lines(line: Line, cell: Cell) -> Iterator[str]:
    row, ours = cell.row, cell.ours
    value = "no such row" if row.value is None else f"{line.paper} {line.metric}"
    yield f"cell {row.cell}"
    known = {"paper": f"{value}{f' ({row.where})' if row.where else ''}"}
    if row.ref:
        known["cited work"] = origin_words(row)
    if ours:
        known["best epoch"] = f"{line.best} (ours, scale {line.scale}, n = {line.n})"
        known["last epoch"] = line.last
        if ours.prediction:
            known["run 95 %"] = f"{line.run_interval}: where one further run of ours would lie"
        if ours.test:
            known["test 95 %"] = f"{line.test_interval}: the error of a test set of this size"
    said = next((words for start, words in _VERDICTS.items() if line.verdict.startswith(start)), "")
    if row.ref:
        said = said.replace("the paper's number", "the cited number")
    if cell.gaps:
        known["not read"] = f"{'; '.join(cell.gaps)} (of the cited work; the recipe has choices of its own there)"
    for label, words in (known | {"verdict": line.verdict + said}).items():
        first, further = f"  {label:{_LABEL}}", " " * (_LABEL + 2)
        yield from textwrap.wrap(words, 80, initial_indent=first, subsequent_indent=further, break_on_hyphens=False)
