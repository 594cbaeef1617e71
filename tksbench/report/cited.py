"""Which run stands for a row that the paper cites, and what it is compared with: recipes say it, not paper.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tksbench.recipe import suggest
from tksbench.report.groups import ReportError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tksbench.recipe import Run
    from tksbench.report.groups import Candidate
    from tksbench.report.paper import Paper, Row


def with_cited_runs(paper: Paper, protocols: Mapping[str, Sequence[Candidate]]) -> Paper:
    """The paper's tables with the run of each row of a cited work that a recipe names under `rows`, and `Paper.pairs`.

    A run is compared with the one that its recipe names under `against`: the two differ in the system alone. One that
    stands for a cited row is compared with TKS on the same data set, each by its own protocol: that of the same network
    and asterisk, where the table has one.

    Args:
        paper: The paper's numbers.
        protocols: From `groups.candidates`.

    Raises:
        ReportError: A recipe names a row that the paper does not have, one of another data set, or one that another
            run stands for already.
    """
    cited = {row.cell or "": row for row in paper.rows() if row.ref}
    runs: dict[str, Run] = {}
    for run in (candidates[0].run for candidates in protocols.values()):
        for cell in run.rows:
            other = runs.setdefault(cell, run)
            for problem in _problems(cell, run, other, cited):
                raise ReportError(f"{run.recipe}: run '{run.name}': rows: {problem}")
    tables = {
        key: table.model_copy(update={"rows": [_with_run(row, runs) for row in table.rows]})
        for key, table in paper.tables.items()
    }
    pairs = [*_level(protocols), *(pair for table in tables.values() for pair in _by_own_protocols(table.rows))]
    return paper.model_copy(update={"tables": tables, "pairs": pairs})


def _level(protocols: Mapping[str, Sequence[Candidate]]) -> Iterator[tuple[str, str]]:
    for name, (first, *_) in protocols.items():
        run = first.run
        for other in run.against:
            if other not in protocols:
                raise ReportError(f"{run.recipe}: against: no recipe has a run '{other}'; {suggest(other, protocols)}")
            if other != name and protocols[other][0].run.spec.data.name == run.spec.data.name:
                yield name, other


def _by_own_protocols(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    own = [row for row in rows if not row.ref and row.run and row.value is not None]
    for row in rows:
        there = [one for one in own if one.dataset == row.dataset]
        if row.ref and row.run and there:
            alike = max(there, key=lambda one: (one.architecture == row.architecture, one.star == row.star))
            yield row.run, alike.run or ""


def _problems(cell: str, run: Run, other: Run, cited: Mapping[str, Row]) -> Iterator[str]:
    if cell not in cited:
        yield f"the paper cites no work in a cell '{cell}'; {suggest(cell, cited)}"
    elif cited[cell].dataset != run.spec.data.name:
        yield f"'{cell}' is of {cited[cell].dataset}, but the run is trained on {run.spec.data.name}"
    elif other.name != run.name:
        yield f"'{cell}' has the run '{other.name}' already ({other.recipe})"


def _with_run(row: Row, runs: Mapping[str, Run]) -> Row:
    run = runs.get(row.cell or "") if row.ref else None
    return row.model_copy(update={"run": run.name}) if run else row
