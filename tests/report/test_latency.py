"""Converted networks beside their ANNs: the table of latencies, and the figure of accuracy over time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.records import make, record_parts
from tksbench.recipe import Run, expand, load_recipe
from tksbench.report.cells import group_records
from tksbench.report.evidence import Evidence
from tksbench.report.figure_data import build_figure, rows
from tksbench.report.figures import write_figure
from tksbench.report.groups import candidates
from tksbench.report.latency import build_latency
from tksbench.report.listing import markdown
from tksbench.report.paper_file import load_paper
from tksbench.runs.record import make_record

if TYPE_CHECKING:
    from tksbench.report.groups import Candidate
    from tksbench.runs.record import Record

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "cited" / "optimal_conversion.yaml"
CURVES = {  # percent of four samples, after 1, 2, 3, ... steps
    "optimal_conversion/cifar10/converted": [0.0, 50.0, 25.0, 50.0, 75.0, 75.0],
    "optimal_conversion/cifar10/without_shift": [0.0, 0.0, 0.0, 25.0, 75.0, 50.0],
}


def converted(run: Run, curve: list[float]) -> Record:
    parts = record_parts(run, curve[-1])
    for choice in ("last", "best"):
        parts["metrics"][choice] = parts["metrics"][choice] | {
            "top1_over_time": list(zip((1, 2, 3, 4, 6, 128), curve, strict=True))
        }
    return make_record(**parts)


@pytest.fixture(scope="module")
def protocols() -> dict[str, list[Candidate]]:
    return candidates([RECIPE])


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    runs = expand(load_recipe(RECIPE), "paper", 2)
    records = [
        converted(run, CURVES[run.name]) if run.name in CURVES else make(run, 75.0)
        for run in runs
        if run.seed == 42 or run.name in ("optimal_conversion/cifar10/ann", "optimal_conversion/cifar10/converted")
    ]
    return Evidence(published=tuple(records))


def test_latency_is_where_the_accuracy_comes_within_a_point_of_the_ann_for_good(
    protocols: dict[str, list[Candidate]], evidence: Evidence
) -> None:
    table = build_latency(protocols, evidence)
    assert table.rows == (
        ("optimal_conversion/cifar10/converted", "paper", "2", "128", "75.00", "75.00", "+0.00", "6"),
        ("optimal_conversion/cifar10/without_shift", "paper", "1", "128", "75.00", "50.00", "−25.00", "–"),
    )
    assert "without" in markdown(table)


def test_a_converted_run_without_the_record_of_its_ann_is_left_out(
    protocols: dict[str, list[Candidate]], evidence: Evidence
) -> None:
    alone = Evidence(published=tuple(one for one in evidence.published if not one.name.endswith("/ann")))
    assert build_latency(protocols, alone).rows == ()


def test_the_figure_has_a_curve_for_each_conversion_and_one_level_for_their_ann(
    protocols: dict[str, list[Candidate]], evidence: Evidence, tmp_path: Path
) -> None:
    paper = load_paper(ROOT / "results")
    figure = build_figure("over_time", paper, protocols, group_records(evidence.published))
    (panel,) = figure.panels
    assert (panel.title, panel.scale, panel.samples) == ("CIFAR10", "paper", 4)
    assert [(one.label, one.x[-1], one.n[0]) for one in panel.series] == [
        ("optimal_conversion/converted", 128, 2),
        ("optimal_conversion/ann (ANN)", 128, 2),
        ("optimal_conversion/without_shift", 128, 1),
    ]
    level = [row for row in rows(figure) if row["series"] == "optimal_conversion/ann (ANN)"]
    assert [(row["x"], row["mean"]) for row in level] == [(1, 75.0), (128, 75.0)]
    assert write_figure(figure, tmp_path) == ["over_time.pdf", "over_time.png", "over_time.csv"]
