"""Every number of the paper that is its own has one cell, and the cell leads to a command."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tksbench.launch.plan import collect_runs
from tksbench.report.cited import with_cited_runs
from tksbench.report.evidence import gather
from tksbench.report.groups import candidates, recipes_in
from tksbench.report.paper_file import load_paper
from tksbench.report.why import why
from tksbench.runs import Ledger

if TYPE_CHECKING:
    from tksbench.report.groups import Candidate
    from tksbench.report.paper import Paper

ROOT = Path(__file__).parents[2]


@cache
def _names(recipe: str, scale: str) -> list[str]:
    return [run.name for run in collect_runs([recipe], scale, seeds=1)]


@pytest.fixture(scope="module")
def paper() -> Paper:
    return load_paper(ROOT / "results")


@pytest.fixture(scope="module")
def protocols() -> dict[str, list[Candidate]]:
    return candidates(recipes_in(ROOT / "recipes"))


def test_no_two_numbers_share_a_cell(paper: Paper) -> None:
    cells = Counter(row.cell for row in paper.own_rows())
    assert None not in cells
    assert max(cells.values()) == 1
    # 8 numbers in Table 1, 2 in Table 2, 28 + 24 (AURC) in Table 3, 18 rows of two in Table 4
    assert Counter(str(cell).split("/")[0] for cell in cells) == {"table1": 8, "table2": 2, "table3": 52, "table4": 36}


def test_every_cell_tells_the_commands_that_make_it(
    paper: Paper, protocols: dict[str, list[Candidate]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    ledger = Ledger(tmp_path)
    evidence = gather(ledger)
    for row in paper.own_rows():
        told = why(str(row.cell), paper, protocols, evidence, ledger)
        commands = [line.strip() for line in told.splitlines() if line.strip().startswith("python -m tksbench.launch")]
        assert commands, row.cell
        _, _, _, recipe, *words = commands[0].split()
        scale, only = (words[words.index(flag) + 1].strip("'") for flag in ("--scale", "--only"))
        assert [name for name in _names(recipe, scale) if fnmatchcase(name, only)] == [row.run], commands[0]


def test_every_cited_row_has_a_run_and_names_its_recipe_spec_and_command(
    paper: Paper, protocols: dict[str, list[Candidate]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    bound, ledger = with_cited_runs(paper, protocols), Ledger(tmp_path)
    cited = [row for row in bound.rows() if row.ref]
    assert [row.cell for row in cited if not row.run] == []
    first = cited[0]
    told = why(str(first.cell), bound, protocols, gather(ledger), ledger)
    assert "recipe " in told
    assert "python -m tksbench.launch" in told
    assert "Spec at scale paper" in told
