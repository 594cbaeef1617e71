"""Figure 5: which run directories it is drawn from, what it says where it cannot, and that it is always the same."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tksbench.cli import run_command
from tksbench.report.cells import group_records
from tksbench.report.evidence import gather
from tksbench.report.figure_tsne import Cloud, Scatter, build_scatter, embed
from tksbench.report.figures import to_csv, write_figure
from tksbench.report.groups import candidates
from tksbench.report.paper_file import load_paper
from tksbench.runs import sha256_file
from tksbench.runs.record import save_record
from tksbench.tables import main

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import World

    from tksbench.recipe import Run

SAMPLES = 200  # of the records that `World` makes
FIGURE = """
figures:
  figure5:
    title: t-SNE
    runs: [cifar10/spiking_resnet19/baseline, cifar10/spiking_resnet19/tks]
    stated: []
"""


@pytest.fixture
def plane(world: World) -> World:
    """The checkout in miniature with figure 5 of its one data set."""
    paper = world.root / "results" / "paper.yaml"
    paper.write_text(paper.read_text() + FIGURE)
    return world


def finish(world: World, run: Run, counts: Any = None) -> Path:
    """Lay a local record with features: well separated classes unless counts are given."""
    labels = np.arange(SAMPLES) % 10
    if counts is None:
        counts = np.random.default_rng(0).integers(0, 2, (SAMPLES, 12)) + 3 * np.eye(10, 12, dtype=int)[labels]
    path = world.ledger.prepare(run).features_last
    np.savez_compressed(path, counts=np.asarray(counts, np.uint8), labels=labels[: len(counts)], index=labels)
    record = world.record(run)
    files = record.files | {path.name: sha256_file(path)}
    save_record(world.ledger.run_dir(run.id).record, record.model_copy(update={"files": files}))
    return path


def scatter(world: World) -> Scatter:
    evidence = gather(world.ledger)
    assert not evidence.problems
    protocols = candidates((world.root / "recipes").glob("*.yaml"))
    by_group = group_records((*evidence.published, *evidence.local))
    return build_scatter("figure5", load_paper(world.root / "results"), protocols, by_group, world.ledger)


def test_each_test_sample_is_a_point_of_its_class(plane: World) -> None:
    finish(plane, plane.run("smoke"))
    cloud = scatter(plane).panels[1]
    assert (cloud.title, cloud.scale, cloud.seed, cloud.top1, cloud.note) == ("CIFAR10, TKS", "smoke", 42, 80.0, "")
    assert len(cloud.points) == SAMPLES
    assert cloud.labels == tuple(np.arange(SAMPLES) % 10)
    points, labels = np.asarray(cloud.points), np.asarray(cloud.labels)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(SAMPLES)
    assert (labels[distance.argmin(axis=1)] == labels).mean() > 0.9  # separated features stay separated


def test_first_seed_with_features_is_shown(plane: World) -> None:
    finish(plane, plane.run("smoke", seed=44))
    finish(plane, plane.run("smoke", seed=43))
    plane.finish(plane.run("smoke", seed=42))
    assert scatter(plane).panels[1].seed == 43


def test_panels_of_a_data_set_are_of_the_scale_with_features_of_most_methods(plane: World) -> None:
    finish(plane, plane.run("paper"))
    finish(plane, plane.run("smoke"))
    finish(plane, plane.run("smoke", method="baseline"))
    assert [cloud.scale for cloud in scatter(plane).panels] == ["smoke", "smoke"]


def test_a_record_alone_is_said_to_have_no_features_here(plane: World) -> None:
    plane.publish(plane.run("mini"))
    baseline, tks = scatter(plane).panels
    assert (baseline.scale, baseline.note) == ("", "no records yet")
    assert (tks.scale, tks.note) == ("mini", "features not on this machine")


def test_altered_features_are_not_drawn(plane: World) -> None:
    path = finish(plane, plane.run("smoke"))
    path.write_bytes(path.read_bytes()[:-9])
    cloud = scatter(plane).panels[1]
    assert "is not what the record names" in cloud.note
    assert cloud.points == ()


@pytest.mark.parametrize(
    ("counts", "note"),
    [
        (np.zeros((SAMPLES, 12)), "all samples have the same features"),
        (np.eye(9), "too few to embed: 9 samples, 9 neurons"),
        (np.arange(SAMPLES)[:, None] % 2, f"too few to embed: {SAMPLES} samples, 1 neurons"),
    ],
)
def test_features_that_cannot_be_embedded_are_named(plane: World, counts: Any, note: str) -> None:
    finish(plane, plane.run("smoke"), counts)
    assert scatter(plane).panels[1].note == note


def test_embedding_bears_few_samples_and_equal_ones() -> None:
    counts = np.repeat(np.eye(6, dtype=np.uint8), 2, axis=0)
    points = embed(counts)
    assert points.shape == (12, 2)
    assert np.isfinite(points).all()
    np.testing.assert_array_equal(points, embed(counts))


def test_command_draws_it_and_says_what_it_lacks(plane: World, capsys: pytest.CaptureFixture[str]) -> None:
    finish(plane, plane.run("smoke"))
    plane.publish(plane.run("smoke", method="baseline"))
    assert main(["figure5"]) == 0
    out = capsys.readouterr().out
    assert "  CIFAR10, Baseline: smoke; features not on this machine\n  CIFAR10, TKS: smoke\n" in out
    folder = plane.root / "results" / "local" / "figures"
    with (folder / "figure5.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["panel"], row["scale"], row["seed"]) for row in rows} == {("CIFAR10, TKS", "smoke", "42")}
    assert [row["label"] for row in rows] == [str(number % 10) for number in range(SAMPLES)]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(before) == {"figure5.pdf", "figure5.png", "figure5.csv"}
    main(["figure5"])
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_many_classes_are_drawn_without_a_legend(tmp_path: Path) -> None:
    from matplotlib.figure import Figure as Canvas

    from tksbench.report.figure_tsne import draw

    points = tuple((float(number), float(number % 7)) for number in range(100))
    for classes, legend in ((100, False), (10, True)):
        cloud = Cloud("A", "TKS", "smoke", 42, 50.0, points, tuple(number % classes for number in range(100)))
        figure = Scatter("figure5", "t-SNE", (cloud,))
        canvas = Canvas()
        draw(canvas, figure)
        assert (canvas.axes[0].get_legend() is not None) == legend
        assert len(to_csv(figure).splitlines()) == 101
        assert write_figure(figure, tmp_path) == ["figure5.pdf", "figure5.png", "figure5.csv"]


def test_titles_of_neighbours_do_not_meet() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    from tksbench.report.figure_tsne import draw

    points = tuple((float(number), float(number % 7)) for number in range(100))
    there = [
        Cloud("DVS-CIFAR10, twin from CIFAR-10", method, "mini", 42, 50.0, points, tuple(n % 10 for n in range(100)))
        for method in ("Baseline", "TKS")
    ]
    canvas = Canvas(layout="constrained")
    drawn = FigureCanvasAgg(canvas)
    draw(canvas, Scatter("figure5", "t-SNE", tuple(there)))
    drawn.draw()
    left, right = (axes.title.get_window_extent(drawn.get_renderer()) for axes in canvas.axes)
    assert left.x0 >= 0 and left.x1 < right.x0


def test_a_data_set_without_points_takes_no_row_and_is_named() -> None:
    from matplotlib.figure import Figure as Canvas

    from tksbench.report.figure_tsne import draw

    points = tuple((float(number), float(number % 7)) for number in range(100))
    there = Cloud("A", "TKS", "smoke", 42, 50.0, points, tuple(number % 10 for number in range(100)))
    absent = tuple(Cloud("B", method, "", note="no records yet") for method in ("Baseline", "TKS"))
    canvas = Canvas()
    draw(canvas, Scatter("figure5", "t-SNE", (there, *absent)))
    assert [axes.get_title() for axes in canvas.axes] == ["A\nTKS (scale smoke)"]
    assert canvas.get_supxlabel() == "B: no records yet"


def test_figure_that_the_paper_file_lacks_is_an_error(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(main, ["figure5"]) == 2
    assert "no table or figure 'figure5'" in capsys.readouterr().err
