"""Converted networks beside their ANNs: the table of latencies, and the figure of accuracy over time."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tests.records import make, record_parts
from tksbench.recipe import Run, expand, load_recipe
from tksbench.report.cells import group_records
from tksbench.report.evidence import Evidence
from tksbench.report.figure_data import Figure, Panel, Series, build_figure, rows
from tksbench.report.figures import describe, draw_panels, write_figure
from tksbench.report.groups import candidates
from tksbench.report.latency import build_latency
from tksbench.report.listing import markdown, show
from tksbench.report.page.figures import lay_out
from tksbench.report.paper_file import load_paper
from tksbench.report.why_runs import record_lines
from tksbench.runs import Ledger
from tksbench.runs.record import make_record, save_record

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


def test_on_80_columns_names_are_broken_and_no_number_is_cut(
    protocols: dict[str, list[Candidate]], evidence: Evidence
) -> None:
    printed, table = io.StringIO(), build_latency(protocols, evidence)
    long = (
        "a_system/cifar10/with_a_long_name",
        "mini, twin data",
        "2",
        "2,048",
        "75.00",
        "50.00",
        "−25.00",
        "512–1,024",
    )
    show(replace(table, rows=(*table.rows, long)), Console(file=printed, width=80))
    lines = printed.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split()[-4:] == ["75.00", "50.00", "−25.00", "512–1,024"] for line in lines)
    assert "no records yet" not in printed.getvalue()


def test_without_records_that_is_said(protocols: dict[str, list[Candidate]]) -> None:
    printed = io.StringIO()
    show(build_latency(protocols, Evidence()), Console(file=printed, width=80))
    assert "no records yet" in printed.getvalue()


def test_why_names_the_accuracy_of_the_network_that_was_converted(evidence: Evidence, tmp_path: Path) -> None:
    (ann, run) = (next(one for one in evidence.published if one.name.endswith(end)) for end in ("/ann", "/converted"))
    start = {"id": ann.id, "name": ann.name, "weights_sha256": ann.weights_sha256}
    run = run.model_copy(update={"provenance": run.provenance.model_copy(update={"start": start})})
    ledger = Ledger(tmp_path)
    assert "    its record is not here" in record_lines(run, ledger)
    ledger.published(ann.id).parent.mkdir()
    save_record(ledger.published(ann.id), ann)
    assert f"    top-1 75.00 % after its last epoch: {ledger.published(ann.id)}" in record_lines(run, ledger)


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
    assert [one.latency for one in panel.series] == [6, None, None]
    assert write_figure(figure, tmp_path) == ["over_time.pdf", "over_time.png", "over_time.csv"]


@pytest.fixture(scope="module")
def crowded() -> Figure:
    """Ten curves, two of them of the same values, and the levels of two ANNs."""
    steps = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    curves = [
        Series(f"a_system/run{number}", steps, tuple(min(45.0, 10.0 + max(number, 1) * x) for x in steps),
               (None,) * 9, (1,) * 9, latency=32 if number == 5 else None)
        for number in range(10)
    ]  # fmt: skip
    levels = [
        Series(f"ann/{top1} (ANN)", (1, 256), (top1,) * 2, (None,) * 2, (1,) * 2, level=True) for top1 in (45, 46)
    ]
    panel = Panel("CIFAR10", "mini", (*curves, *levels), samples=1000)
    return Figure("over_time", "Accuracy over time", "time steps", "line", (panel,), log=True)


def test_curves_of_a_crowded_figure_are_all_different_and_none_runs_below_the_legend(crowded: Figure) -> None:
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(layout="constrained")
    draw_panels(canvas, crowded)
    canvas.draw_without_rendering()
    (axes,) = canvas.axes
    curves = [line for line in axes.get_lines() if line.get_marker() != "None"]
    assert len({line.get_color() for line in curves}) == len(curves) == 10
    in_grey = {(line.get_marker(), line.get_linestyle(), line.get_markerfacecolor() == "none") for line in curves}
    assert len(in_grey) == 10
    assert len({line.get_linestyle() for line in axes.get_lines() if line not in curves}) == 2
    legend = axes.get_legend()
    assert legend is not None
    assert len(legend.get_texts()) == 12
    below = legend.get_window_extent()
    assert below.y1 < axes.xaxis.label.get_window_extent().y0
    assert below.y0 >= 0
    assert 0 <= below.x0 < below.x1 <= canvas.bbox.width
    assert "one seed" in axes.get_xlabel()
    assert "32: from there on within 1 point of its ANN" in axes.get_xlabel()
    assert [text.get_text() for text in axes.texts] == ["32"]


def test_on_the_page_they_are_different_too_and_steps_grow_by_factors(crowded: Figure) -> None:
    (drawing,) = lay_out(crowded).panels
    assert drawing.chart is not None
    assert len({stroke.style for stroke in drawing.chart.strokes}) == 12
    assert "a_system/run5 from 32 steps on" in drawing.note
    first, second, *_ = (dot.x for dot in drawing.chart.strokes[0].dots)
    last = drawing.chart.strokes[0].dots[-1].x
    assert last - first == pytest.approx(8 * (second - first), abs=1)
    words = dict(drawing.chart.rows)["ann/46 (ANN)"]
    assert words == ("46.00 (n=1)",) * 9


def test_without_records_the_figure_names_the_data_sets_that_it_would_show(
    protocols: dict[str, list[Candidate]], tmp_path: Path
) -> None:
    paper = load_paper(ROOT / "results")
    figure = build_figure("over_time", paper, protocols, {})
    assert list(describe(figure)) == ["CIFAR10: no records yet"]
    assert write_figure(figure, tmp_path)
    assert list(describe(build_figure("over_time", paper, {}, {}))) == ["no recipe has runs for this figure"]
