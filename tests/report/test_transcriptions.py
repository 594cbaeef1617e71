"""The two transcriptions of the paper's tables, made apart from each other: a digit that both have is the paper's."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

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
