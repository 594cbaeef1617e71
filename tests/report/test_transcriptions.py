"""The two transcriptions of the paper's tables, made apart from each other: a digit that both have is the paper's."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from rich.console import Console

from tksbench.report.evidence import Evidence
from tksbench.report.paper_file import load_paper
from tksbench.report.tables import build_table
from tksbench.report.terminal import show

SECOND = Path(__file__).with_name("paper_second.csv")
FIRST = Path(__file__).parents[2] / "results" / "paper.yaml"
DASH = "-"  # printed where a row has no network or no T


class Printed(NamedTuple):
    """A number with its row, all as printed but for the two spellings of ResNet-19."""

    table: str
    dataset: str
    architecture: str
    method: str
    ref: str
    T: str
    metric: str
    value: str


def first() -> list[Printed]:
    paper: dict[str, Any] = yaml.safe_load(FIRST.read_text(encoding="utf-8"))
    names = {key: one["printed"].lower() for key, one in paper["datasets"].items()}
    found = []
    for table, content in paper["tables"].items():
        for row in content["rows"]:
            ref = row.get("ref", "")
            # Tables 3 and 4 print no T: that of results/paper.yaml says what is run
            steps = ("" if row["T"] is None else str(row["T"])) if table in ("table1", "table2") else ""
            value = f"{row['value']:.{content['decimals']}f}"
            label = row["label"].removesuffix(f" [{ref}]")
            place = (table[-1], names[row["dataset"]], row["architecture"] or "", label, ref)
            found.append(Printed(*place, steps, row["metric"], value))
    return found


def second() -> list[Printed]:
    found = []
    for row in csv.DictReader(SECOND.read_text(encoding="utf-8").splitlines()):
        one = Printed(*("" if cell == DASH else cell for cell in row.values()))
        network = one.architecture.replace("ResNet19", "ResNet-19")
        found.append(one._replace(dataset=one.dataset.lower(), architecture=network))
    return found


def test_both_transcriptions_have_all_numbers() -> None:
    assert len(first()) == len(second()) == 135


@pytest.mark.parametrize("table", ["1", "2", "3", "4"])
def test_the_two_transcriptions_agree_on_every_row(table: str) -> None:
    """Value with its decimals, network, method, reference and T."""
    ours, theirs = (Counter(one for one in found if one.table == table) for found in (first(), second()))
    assert (sorted(ours - theirs), sorted(theirs - ours)) == ([], [])


@pytest.mark.parametrize("table", ["1", "2"])
def test_cited_rows_stand_in_the_same_order(table: str) -> None:
    assert [one for one in first() if one.table == table] == [one for one in second() if one.table == table]


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "table4"])
def test_every_row_has_its_network_and_t_on_80_columns(name: str) -> None:
    paper = load_paper(FIRST.parent)
    console = Console(width=80, file=(file := io.StringIO()))
    show(build_table(name, paper, {}, Evidence(), lambda _: None), console)
    shown = file.getvalue()
    assert "…" not in shown
    lines = [line.split() for line in shown.splitlines()]
    for row in paper.tables[name].rows:
        wanted = f"{row.label} {row.architecture or '–'} {row.T or '–'}".split()
        value = f"{row.value:.{row.decimals}f}"
        assert any(line[: len(wanted)] == wanted and value in line for line in lines), row


@pytest.mark.parametrize("path", sorted((FIRST.parent / "tables").iterdir()), ids=lambda path: path.name)
def test_no_committed_table_has_a_question_mark_for_a_number(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"[|&]\s*\?\s*(\(.\)\s*)?[|&\\]", text)
