"""The figures' numbers and files."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tksbench.cli import run_command
from tksbench.report.cells import group_records
from tksbench.report.evidence import gather, inconsistency
from tksbench.report.figure_data import Figure, Panel, build_figure, choose, rows
from tksbench.report.groups import candidates
from tksbench.report.paper_file import load_paper
from tksbench.runs.record import save_record
from tksbench.tables import main

if TYPE_CHECKING:
    from conftest import World

FIGURES = """
figures:
  figure3a:
    title: A
    dataset: dvs_cifar10
    stated: [{run: dvs_cifar10/vgg_snn/baseline, steps: 1, value: 50, approximate: true}]
  figure3b: {title: B, dataset: dvs_cifar10, T: [1, 2], methods: [baseline, tks], stated: []}
  figure4: {title: C, datasets: [dvs_cifar10], methods: [baseline, tks], stated: []}
  section5.4: {title: D, dataset: dvs_cifar10, methods: [baseline, tks], stated: []}
"""
RETRAIN = '  - {method: tks, model: {T: 1}, name: "{data.name}/{model.name}-T1/{method}"}\n'


@pytest.fixture
def events(world: World) -> World:
    """The checkout in miniature, of an event set."""
    recipe, paper = world.root / "recipes" / "cifar10.yaml", world.root / "results" / "paper.yaml"
    text = recipe.read_text().replace("name: cifar10", "name: dvs_cifar10").replace("spiking_resnet19", "vgg_snn")
    runs = "runs: [{method: tks}, {method: baseline}]\n"
    assert runs in text
    recipe.write_text(text.replace(runs, "runs:\n  - {method: tks}\n  - {method: baseline}\n" + RETRAIN))
    paper.write_text(paper.read_text() + FIGURES)
    return world


def figure(world: World, name: str) -> Figure:
    evidence = gather(world.ledger)
    assert not evidence.problems
    protocols = candidates((world.root / "recipes").glob("*.yaml"))
    return build_figure(name, load_paper(world.root / "results"), protocols, group_records(evidence.published))


def test_prefix_accuracy_over_test_steps(events: World) -> None:
    events.publish(events.run("mini"), 80.0)
    events.publish(events.run("mini", seed=43), 82.0)
    panel = figure(events, "figure3a").panels[0]
    assert panel.scale == "mini"
    (series,) = panel.series
    assert (series.label, series.x, series.n) == ("TKS", (1, 2), (2, 2))
    assert series.mean[1] == 81.0
    assert series.sd[1] == pytest.approx(2**0.5)
    assert series.mean[0] < 81.0
    assert [(mark.label, mark.x, mark.y) for mark in panel.marks] == [("Baseline", 1, 50)]


def test_prefix_and_rebinned_accuracy_are_two_curves(events: World) -> None:
    from matplotlib.figure import Figure as Canvas

    from tksbench.report.figures import draw_panels

    run, other = events.run("mini"), events.run("mini", seed=43)
    metrics = events.record(run, 80.0).model_dump()["metrics"]
    metrics["last"]["top1_rebinned"] = [30.0, 80.0]
    events.publish(other, 82.0)  # an older record, without the second protocol
    save_record(events.ledger.published(run.id), events.record(run, 80.0, {"metrics": metrics}))
    shown = figure(events, "figure3a")
    prefix, rebinned = shown.panels[0].series
    assert (prefix.protocol, prefix.n) == ("first k of T bins", (2, 2))
    assert (rebinned.label, rebinned.protocol, rebinned.n) == ("TKS", "k bins", (1, 1))
    assert rebinned.mean == (30.0, 80.0)
    assert [row["protocol"] for row in rows(shown)] == [prefix.protocol] * 2 + [rebinned.protocol] * 2 + [""]
    canvas = Canvas()
    draw_panels(canvas, shown)
    legend = canvas.axes[0].get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert "thin: events in k bins, last epoch" in texts
    assert len([text for text in texts if text.startswith("TKS")]) == 1


def test_rebinned_accuracy_that_does_not_end_at_the_top1_is_refused(events: World) -> None:
    run = events.run("mini")
    record = events.record(run, 80.0)
    metrics = record.model_dump()["metrics"]
    metrics["last"]["top1_rebinned"] = [30.0, 79.0]
    wrong = inconsistency(events.record(run, 80.0, {"metrics": metrics}))
    assert wrong == "metrics.last.top1_rebinned says 79.0, but 160 of 200 samples are right"
    assert inconsistency(record) is None


def test_a_panel_never_mixes_scales_and_takes_the_one_with_most_methods(events: World) -> None:
    events.publish(events.run("paper"), 90.0)
    events.publish(events.run("mini"), 70.0)
    events.publish(events.run("mini", method="baseline"), 60.0)
    panel = figure(events, "figure4").panels[0]
    assert panel.scale == "mini"
    assert [(series.label, series.mean[1]) for series in panel.series] == [("Baseline", 60.0), ("TKS", 70.0)]


def test_retrained_curve_takes_its_last_point_from_the_run_of_the_tables(events: World) -> None:
    from tksbench.recipe import expand, load_recipe

    runs = expand(load_recipe("recipes/cifar10.yaml"), "mini")
    events.publish(next(run for run in runs if run.name.endswith("-T1/tks")), 50.0)
    events.publish(events.run("mini"), 70.0)
    (series,) = figure(events, "figure3b").panels[0].series
    assert (series.x, series.mean) == ((1, 2), (50.0, 70.0))


def test_first_step_recall_has_class_names(events: World) -> None:
    events.publish(events.run("smoke"), 100.0)
    panel = figure(events, "section5.4").panels[0]
    assert panel.ticks[0] == "airplane"
    assert panel.series[0].mean[:4] == (50.0, 100.0, 50.0, 100.0)  # the first step errs on every fourth sample


def test_without_records_there_is_nothing_to_choose() -> None:
    assert choose(["a"], {}, {})[:2] == ("", {})


def test_command_writes_pdf_png_and_the_numbers(events: World, capsys: pytest.CaptureFixture[str]) -> None:
    events.publish(events.run("mini"), 80.0)
    assert main(["figures"]) == 0
    out = capsys.readouterr().out
    assert "figure4.pdf, .png, .csv\n  DVS-CIFAR10: mini; no records of Baseline\n" in out
    assert "make figures trains what is missing" in out
    assert max(map(len, out.splitlines())) <= 80
    folder = events.root / "results" / "figures"
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.{suffix}"
        for name in ("figure3a", "figure3b", "figure4", "section5.4")
        for suffix in ("pdf", "png", "csv")
    }
    with (folder / "figure3a.csv").open() as file:
        points = list(csv.DictReader(file))
    assert [(row["source"], row["series"], row["x"], row["mean"]) for row in points[1:]] == [
        ("ours", "TKS", "2", "80.0"),
        ("paper", "Baseline", "1", "50"),
    ]
    assert not (events.root / "results" / "tables").exists()


def test_no_records_at_all_still_gives_every_figure(events: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["figures"]) == 0
    assert capsys.readouterr().out.count("  DVS-CIFAR10: no records yet\n") == 4
    assert (events.root / "results" / "figures" / "figure3b.png").stat().st_size > 0
    assert (events.root / "results" / "figures" / "figure3b.csv").read_text().splitlines()[1:] == []


def test_runs_on_stand_in_data_are_named_and_not_drawn(events: World, capsys: pytest.CaptureFixture[str]) -> None:
    events.publish(events.run("smoke", real=False), 41.5)
    main(["figure4"])
    out = capsys.readouterr().out
    assert "  DVS-CIFAR10: no records yet; smoke check passed (stand-in data, not drawn)\n" in out
    assert "figures are drawn from runs on the data sets themselves" in out
    assert (events.root / "results" / "figures" / "figure4.csv").read_text().splitlines()[1:] == []


def test_a_method_without_records_is_named_in_the_legend(events: World) -> None:
    from matplotlib.figure import Figure as Canvas

    from tksbench.report.figures import draw_panels

    events.publish(events.run("mini"), 80.0)
    for name in ("figure4", "section5.4"):
        canvas = Canvas()
        draw_panels(canvas, figure(events, name))
        legend = canvas.axes[0].get_legend()
        assert legend is not None
        assert {text.get_text() for text in legend.get_texts()} == {"TKS (n=1)", "Baseline (no records)"}


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("figure4", "time step\n200 test samples: 95 % interval up to ±6.9 points"),  # 1.96 sqrt(0.25 / 200)
        ("figure3b", "time steps in training and test\n200 test samples: 95 % interval up to ±6.9 points"),
        ("section5.4", "class\na class of 20 test samples, the mean:\n95 % interval up to ±22 points"),
    ],
)
def test_a_panel_says_what_its_test_set_can_resolve(events: World, name: str, label: str) -> None:
    from matplotlib.figure import Figure as Canvas

    from tksbench.report.figures import draw_panels

    events.publish(events.run("mini"), 80.0)
    canvas = Canvas()
    draw_panels(canvas, figure(events, name))
    assert canvas.axes[0].get_xlabel() == label


def test_a_data_set_without_records_takes_no_panel_and_is_named(events: World) -> None:
    from matplotlib.figure import Figure as Canvas

    from tksbench.report.figures import draw_panels

    events.publish(events.run("mini"), 80.0)
    shown = figure(events, "figure4")
    panels = (shown.panels[0], Panel("N-MNIST", "", ()), Panel("NCALTECH101", "", ()))
    canvas = Canvas()
    draw_panels(canvas, replace(shown, panels=panels))
    assert [axes.get_title() for axes in canvas.axes] == ["DVS-CIFAR10 (scale mini)"]
    assert canvas.get_supxlabel() == "no records yet: N-MNIST, NCALTECH101"


def test_what_the_paper_states_has_its_words_beside_it_and_not_in_the_legend(events: World) -> None:
    from matplotlib.figure import Figure as Canvas

    from tksbench.report.figures import draw_panels

    for records in (0, 1):
        canvas = Canvas()
        draw_panels(canvas, figure(events, "figure3a"))
        (axes,) = canvas.axes
        assert "Baseline, paper: about 50" in [text.get_text() for text in axes.texts]
        legend = axes.get_legend()
        assert (legend is not None) == bool(records)
        assert [text for text in (legend.get_texts() if legend else ()) if "paper" in text.get_text()] == []
        events.publish(events.run("mini"), 80.0)


def test_unknown_figure_suggests_the_nearest(events: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(main, ["figure3"]) == 2
    assert "no table or figure 'figure3'; did you mean" in capsys.readouterr().err


def test_figures_are_equal_to_the_byte_when_drawn_again(events: World) -> None:
    events.publish(events.run("mini"), 80.0)
    folder = events.root / "results" / "figures"
    main(["figure3a"])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    main(["figure3a"])
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_check_finds_figures_that_the_records_do_not_give(events: World, capsys: pytest.CaptureFixture[str]) -> None:
    events.publish(events.run("mini"), 80.0)
    assert main(["--check", "figures"]) == 0  # none has been drawn
    assert capsys.readouterr().out == "nothing to compare\n"
    main(["figure3a", "figure4"])
    capsys.readouterr()
    assert main(["--check", "figures"]) == 0
    assert capsys.readouterr().out == "2 figures agree with 1 published record\n"
    assert main(["--check", "figure4"]) == 0
    assert capsys.readouterr().out == "1 figure agrees with 1 published record\n"
    folder = events.root / "results" / "figures"
    good = (folder / "figure4.csv").read_bytes()
    (folder / "figure4.csv").write_bytes(good.replace(b"80.0", b"90.0"))
    assert main(["--check", "figures"]) == 1
    assert "figure4.pdf: is not drawn from figure4.csv as it stands; rebuild with: python -m" in capsys.readouterr().err
    (folder / "figure4.csv").write_bytes(good)
    (folder / "figure3a.png").write_bytes((folder / "figure4.png").read_bytes())
    (folder / "figure4.csv").unlink()
    assert main(["--check", "figures"]) == 1
    told = capsys.readouterr().err
    assert "figure3a.png: is not drawn from figure3a.csv as it stands" in told
    assert "figure4.csv: missing or unreadable" in told
    assert main(["--check", "figure3b"]) == 1
    assert "figure3b.csv: missing" in capsys.readouterr().err


def test_check_finds_a_figure_without_a_published_record(events: World, capsys: pytest.CaptureFixture[str]) -> None:
    main(["figure4"])
    events.publish(events.run("mini"), 80.0)
    assert main(["--check", "figures"]) == 1
    assert capsys.readouterr().err.startswith("drift: results/figures/figure4.csv: is not what the records give")


def test_figures_of_local_runs_lie_beside_the_committed_ones(events: World) -> None:
    events.publish(events.run("mini"), 80.0)
    main(["figure4"])
    events.finish(events.run("mini", seed=43), 90.0)
    committed = events.root / "results" / "figures"
    before = {path.name: path.read_bytes() for path in committed.iterdir()}
    main(["figure4"])
    local = events.root / "results" / "local" / "figures"
    assert {path.name for path in local.iterdir()} == set(before)
    assert before == {path.name: path.read_bytes() for path in committed.iterdir()}
    assert main(["--check", "figure4"]) == 0
    shutil.copytree(local, committed, dirs_exist_ok=True)
    assert main(["--check", "figure4"]) == 1
    main(["figure4", "--only-published"])
    assert before == {path.name: path.read_bytes() for path in committed.iterdir()}
    assert list(local.iterdir()) == []


def test_check_cannot_compare_an_embedding(events: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(main, ["figure5", "--check"]) == 2
    assert "--check cannot compare figure5" in capsys.readouterr().err


@pytest.mark.parametrize("scale", ["paper", "budget", "mini", "smoke"])
def test_what_make_figures_trains_is_what_the_figures_show(scale: str) -> None:
    """Each panel gets all its methods; below full scale figure 3(b) may have fewer points, and TET its last alone."""
    from tksbench.recipe import expand, load_recipe

    root = Path(__file__).parents[2]
    asked = load_paper(root / "results").figures
    methods = {"figure3a": ["baseline", "tet", "tks"]} | {
        name: info["methods"] for name, info in asked.items() if "methods" in info
    }
    wanted = set(asked["figure5"]["runs"])
    for name in methods.keys() - {"figure3b"}:
        datasets = asked[name].get("datasets") or [asked[name]["dataset"]]
        wanted |= {f"{dataset}/vgg_snn/{method}" for dataset in datasets for method in methods[name]}
    made = {
        recipe: {run.name for run in expand(load_recipe(root / "recipes" / f"{recipe}.yaml"), scale, seeds=1)}
        for recipe in ("figures", "timestep")
    }
    assert {name for name in made["figures"] if not name.startswith("nmnist/")} == wanted
    lengths = [{name.split("/")[1] for name in made["timestep"] if name.endswith(f"/{m}")} for m in methods["figure3b"]]
    whole = scale in ("paper", "budget")
    assert (len(lengths[0]) == 10) if whole else (len(lengths[0]) > 2)
    few = {"tet"} if scale == "mini" else set[str]()  # docs/evidence.md: the baseline and TKS at six values of T
    assert all(one == lengths[0] for m, one in zip(methods["figure3b"], lengths, strict=True) if m not in few)
