"""The table of data sets that the paper does not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.records import record_parts
from tksbench.recipe import run_and_group_id
from tksbench.report import other_data
from tksbench.report.catalog import Sources, build_table, rendered, table_names
from tksbench.report.evidence import Evidence
from tksbench.report.groups import candidates
from tksbench.report.listing import Listing
from tksbench.report.paper_file import load_paper
from tksbench.runs import Ledger
from tksbench.runs.record import Record, make_record

ROOT = Path(__file__).parents[2]


def record(run: Any, seed: int, top1: float) -> Record:
    spec = run.spec.with_seed(seed)
    parts: dict[str, Any] = record_parts(run, top1)
    parts |= {"spec": spec.model_dump(mode="json"), "seed": seed, "id": run_and_group_id(spec)[0]}
    for choice in ("best", "last"):
        parts["metrics"][choice] |= {name: [top1] * run.spec.steps for name in ("top1_prefix", "top1_step")}
        parts["metrics"][choice]["first_step_recall"] = [top1] * 10
    return make_record(**parts)


@pytest.fixture(scope="module")
def table() -> Listing:
    """Of HATS and DART at two scales, real and stand-in data, and a run on a data set of the paper's."""
    protocols = candidates([ROOT / "recipes" / "cited" / f"{name}.yaml" for name in ("hats", "dart")])
    found = {(name, one.scale, one.source): one.run for name, many in protocols.items() for one in many}
    hats = [record(found["hats/nmnist", "mini", "real"], seed, 90.0 + seed - 42) for seed in (42, 43, 44)]
    others = [
        record(found["dart/nmnist", "mini", "real"], 42, 88.0),
        record(found["dart/nmnist", "paper", "real"], 42, 97.0),
        record(found["hats/nmnist", "smoke", "miniature"], 42, 33.0),
        record(found["hats/ncaltech101", "paper", "real"], 42, 64.0),
    ]
    paper = load_paper(ROOT / "results")
    sources = Sources(paper, protocols, Evidence(published=(*hats, *others)), Ledger(ROOT / "results"))
    assert other_data.NAME in table_names(paper)
    built = build_table(other_data.NAME, sources, sources.evidence)
    assert isinstance(built, Listing)
    return built


def test_rows_are_of_real_data_that_the_paper_does_not_have(table: Listing) -> None:
    assert [row[:3] for row in table.rows] == [
        ("dart/nmnist", "paper", "1"),
        ("dart/nmnist", "mini", "1"),
        ("hats/nmnist", "mini", "3"),
    ]


def test_a_row_has_the_spread_over_seeds_and_the_error_of_its_test_samples(table: Listing) -> None:
    *_, hats = table.rows
    samples, best, last = hats[3:6]
    assert best == last == "91.00 ± 1.00"
    assert samples.isdecimal()
    low, high = map(float, hats[-1].split(" to "))
    assert low < 91 < high


@pytest.mark.parametrize("suffix", ["md", "tex"])
def test_the_table_says_that_the_data_are_not_of_the_paper(table: Listing, suffix: str) -> None:
    text = rendered(table, suffix)
    assert "Systems on N-MNIST, which the paper does not have" in text
    assert "nothing here is held against a number of the paper" in text
