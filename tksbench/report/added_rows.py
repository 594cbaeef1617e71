"""Rows that the paper does not have: methods from outside, in each table that has their data set and network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tksbench.recipe.catalogue import outsiders

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tksbench.report.groups import Candidate
    from tksbench.report.paper import Paper, Row

_OWN = ("method", "start.convert", "features", "classifier")  # what a run's name ends with


def with_added_rows(paper: Paper, protocols: Mapping[str, Sequence[Candidate]]) -> Paper:
    """The paper's tables with a row for each method from outside that a recipe runs.

    Such a run belongs where a row's run has the same name but for the method: `cifar10/spiking_resnet19/mine.loss`
    stands below `cifar10/spiking_resnet19/tks`, once for each metric of that table.

    Args:
        paper: The paper's numbers.
        protocols: From `groups.candidates`.
    """
    outside: dict[str, list[str]] = {}
    for name, candidates in sorted(protocols.items()):
        if any(key in _OWN for key, _ in outsiders(candidates[0].run.spec)):
            outside.setdefault(_home(name), []).append(name)
    if not outside:
        return paper
    tables = {
        key: table.model_copy(update={"rows": list(_rows(key, table.rows, outside))})
        for key, table in paper.tables.items()
    }
    return paper.model_copy(update={"tables": tables})


def _rows(table: str, rows: Sequence[Row], outside: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    last = {(_home(row.run), row.metric): i for i, row in enumerate(rows) if row.run}
    for i, row in enumerate(rows):
        yield row
        if row.run and last[_home(row.run), row.metric] == i:
            for name in outside.get(_home(row.run), ()):
                own = {"label": f"{name.rpartition('/')[2]} (+)", "value": None, "where": ""}
                place = {"star": False, "cell": f"{table}/{name}/{row.metric}", "run": name}
                yield row.model_copy(update=own | place)


def _home(run: str) -> str:
    return run.rpartition("/")[0]
