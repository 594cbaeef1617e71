"""What a cell says: which scale it shows, its verdict, and the state of a run that is not finished."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tksbench.report.cells import Cell, build_cell, group_records
from tksbench.report.evidence import gather
from tksbench.report.groups import ReportError, candidates
from tksbench.report.paper_file import load_paper
from tksbench.runs import Lease, attempt_ended, attempt_started, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import World

CELL = "table1/cifar10/resnet19/tks"


def cell(world: World, name: str = CELL) -> Cell:
    row = next(row for row in load_paper(world.root / "results").own_rows() if row.cell == name)
    evidence = gather(world.ledger)
    assert not evidence.problems
    protocols = candidates([world.root / "recipes" / "cifar10.yaml"]).get(row.run or "")
    return build_cell(
        row, protocols, group_records((*evidence.published, *evidence.local)), evidence.states, lambda _: 9.4
    )


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [
        ((79.5, 80.0, 81.0), "reproduced"),  # mean 80.17, interval 76.4 to 84.0
        ((82.0, 82.0, 82.5), "above"),
        ((60.0, 60.0, 60.5), "below"),
        ((80.0, 80.0, 80.0), "reproduced"),
        ((79.5, 79.5, 79.5), "reproduced"),  # 80.0 is one test sample of 200 off, which equal runs can be
        ((79.0, 79.0, 79.0), "below"),
        ((79.5, 80.5), "undecided (n=2)"),
        ((80.0,), "undecided (n=1)"),
    ],
)
def test_verdict_at_paper_scale(world: World, accuracies: tuple[float, ...], verdict: str) -> None:
    for seed, accuracy in enumerate(accuracies, start=42):
        world.publish(world.run(seed=seed), accuracy)
    assert cell(world).verdict == verdict


def test_the_cells_of_a_table_are_corrected_together(world: World) -> None:
    from tksbench.report.tables import build_table

    for seed, (tks, baseline) in enumerate(((81.5, 95.5), (82.5, 96.0), (83.0, 95.0)), start=42):
        world.publish(world.run(seed=seed), tks)
        world.publish(world.run(method="baseline", seed=seed), baseline)
    paper = world.root / "results" / "paper.yaml"
    paper.write_text(paper.read_text().replace("metric: aurc, value: null", "metric: top1, value: 78.0"))
    protocols = candidates([world.root / "recipes" / "cifar10.yaml"])
    (one,) = [
        row
        for row in build_table(
            "table3", load_paper(paper.parent), protocols, gather(world.ledger), lambda _: None
        ).notes
        if "judged" in row
    ]
    # 78 against 82.33, sd 0.76: p = 0.039 is off the interval, 2 p is not
    assert one.startswith("Cells judged: 2; off the run interval: 1, ")
    assert one.endswith("(p below 0.05): 0.")


def test_only_paper_scale_is_held_against_the_paper(world: World) -> None:
    for seed in (42, 43, 44):
        world.publish(world.run("mini", seed=seed))
    assert cell(world).verdict == "not comparable (scale mini)"


def test_the_scale_nearest_the_paper_is_shown_and_scales_never_mix(world: World) -> None:
    world.publish(world.run("smoke"), 10.0)
    world.publish(world.run("mini"), 50.0)
    world.publish(world.run("mini", seed=43), 60.0)
    ours = cell(world).ours
    assert ours is not None
    assert (ours.candidate.scale, len(ours.records), ours.best.mean) == ("mini", 2, 55.0)


def test_stand_in_data_fill_no_cell(world: World) -> None:
    world.publish(world.run("smoke", real=False), 90.0)
    assert (cell(world).ours, cell(world).verdict) == (None, "smoke check passed")
    world.publish(world.run("smoke", real=True), 30.0)
    ours = cell(world).ours
    assert ours is not None
    assert (ours.candidate.source, ours.best.mean, len(ours.records)) == ("real", 30.0, 1)


def test_a_failed_run_on_the_data_set_is_told_before_a_smoke_check(world: World) -> None:
    world.publish(world.run("smoke", real=False), 90.0)
    directory = world.ledger.prepare(world.run("mini"))
    attempt_started(directory)
    attempt_ended(directory, "failed", "disk full")
    assert cell(world).verdict == "failed (disk full)"


def test_a_smoke_check_that_is_not_done_says_so(world: World) -> None:
    directory = world.ledger.prepare(world.run("smoke", real=False))
    attempt_started(directory)
    attempt_ended(directory, "failed", "disk full")
    assert cell(world).verdict == "smoke check failed (disk full)"


def test_both_error_bars(world: World) -> None:
    world.publish(world.run(), 79.0)
    world.publish(world.run(seed=43), 81.0)
    ours = cell(world).ours
    assert ours is not None
    assert ours.best == (80.0, pytest.approx(2**0.5))
    assert ours.prediction == pytest.approx((80 - 12.7062 * 3**0.5, 100.0), abs=1e-3)  # cut off at 100 %
    assert ours.test == pytest.approx((73.92, 84.95), abs=0.01)  # 160 of 200


def test_aurc_has_no_test_set_interval(world: World) -> None:
    world.publish(world.run())
    ours = cell(world, "table3/cifar10/resnet19/tks/aurc").ours
    assert ours is not None
    assert ours.test is None
    assert 0 < ours.best.mean < 1000


def test_overridden_runs_never_enter_a_cell(world: World) -> None:
    from tksbench.recipe import expand, load_recipe

    run = expand(load_recipe("recipes/cifar10.yaml"), "mini", overrides=["optim.epochs=7"])[0]
    world.publish(run)
    assert cell(world).ours is None


def test_not_run_tells_the_cost_or_that_no_recipe_has_it(world: World) -> None:
    assert cell(world).verdict == "not run (about 9.4 GPU-h)"
    assert cell(world, "table1/cifar100/resnet19/tks").verdict == "not run (no recipe)"


def test_running_tells_how_far_and_a_dead_one_that_it_stopped(world: World) -> None:
    directory = world.ledger.prepare(world.run("mini"))
    write_json(directory.progress, {"epochs": 100})
    directory.metrics.write_text('{"epoch": 61}\n')
    with Lease.acquire(directory):
        attempt_started(directory)
        assert cell(world).verdict == "running 62 %"
    assert cell(world).verdict == "interrupted 62 %"


def test_failed_tells_why(world: World) -> None:
    directory = world.ledger.prepare(world.run("mini"))
    attempt_started(directory)
    attempt_ended(directory, "failed", "the loss is not finite at epoch 3")
    assert cell(world).verdict == "failed (the loss is not finite at epoch 3)"


def test_failed_names_a_file_without_its_folders(world: World) -> None:
    directory = world.ledger.prepare(world.run("mini"))
    attempt_started(directory)
    attempt_ended(
        directory, "failed", "/scratch/someone/runs/0123456789abcdef/checkpoints/a.bin: cannot be written: disk full"
    )
    assert cell(world).verdict == "failed (a.bin: cannot be written: disk full)"


def test_doctored_metric_is_refused_and_the_rest_used(world: World) -> None:
    world.publish(world.run(), 80.0)
    bad = world.publish(world.run(seed=43), 70.0)
    path = world.ledger.published(bad.id)
    plain = json.loads(path.read_text().replace('"top1": 70.0', '"top1": 99.0'))
    plain.pop("seal")
    path.write_text(json.dumps(plain))
    evidence = gather(world.ledger)
    assert len(evidence.published) == 1
    assert "metrics.last.top1 says 99.0, but 140 of 200 samples are right" in evidence.problems[0]
    assert bad.id in evidence.problems[0]


@pytest.mark.parametrize(
    ("field", "stated", "message"),
    [
        ("top5", 99.3, "metrics.last.top5 says 99.3, which is no whole number of 200 samples"),
        ("top1_step", [61.2] * 4, "metrics.last.top1_step says 61.2, which is no whole number"),
        ("aurc_logit", 12.0, "metrics.last: aurc_logit and eaurc_logit do not fit 60 errors in 200 samples"),
        ("eaurc_softmax", 12.0, "metrics.last: aurc_softmax and eaurc_softmax do not fit 60 errors in 200 samples"),
    ],
)
def test_a_metric_that_the_samples_cannot_give_is_refused(
    world: World, field: str, stated: object, message: str
) -> None:
    path = world.ledger.published(world.publish(world.run(), 70.0).id)
    plain = json.loads(path.read_text())
    plain.pop("seal")
    plain["metrics"]["last"][field] = stated
    path.write_text(json.dumps(plain))
    evidence = gather(world.ledger)
    assert message in evidence.problems[0]
    assert evidence.published == ()


def test_spec_that_does_not_hash_to_its_id_is_refused(world: World) -> None:
    bad = world.publish(world.run())
    path = world.ledger.published(bad.id)
    path.write_text(path.read_text().replace('"epochs": 600', '"epochs": 601'))
    evidence = gather(world.ledger)
    assert evidence.published == ()
    assert path.name in evidence.problems[0]


def test_two_recipes_may_not_give_one_name_to_different_runs(world: World) -> None:
    (world.root / "recipes" / "other.yaml").write_text(
        (world.root / "recipes" / "cifar10.yaml").read_text().replace("epochs: 600", "epochs: 60")
    )
    with pytest.raises(ReportError, match=r"both have a run 'cifar10/spiking_resnet19/tks' at scale paper"):
        candidates((world.root / "recipes").glob("*.yaml"))


def test_a_cell_that_stands_twice_is_refused(world: World, tmp_path: Path) -> None:
    text = (world.root / "results" / "paper.yaml").read_text()
    (tmp_path / "paper.yaml").write_text(text.replace("table1/cifar100/resnet19/tks", CELL))
    with pytest.raises(Exception, match=f"the cell {CELL} stands twice"):
        load_paper(tmp_path)
