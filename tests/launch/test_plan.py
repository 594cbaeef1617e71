from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tksbench.launch.errors import LaunchError
from tksbench.launch.plan import collect_runs, make_plan
from tksbench.runs import Lease, append_jsonl, attempt_ended, attempt_started

if TYPE_CHECKING:
    from collections.abc import Callable

    from tksbench.recipe import Run
    from tksbench.runs import Ledger


def test_every_cells_first_seed_comes_before_any_second_over_all_recipes(recipe: str, real_recipe: str) -> None:
    runs = collect_runs([recipe, real_recipe], "paper", seeds=2)
    assert [(Path(run.recipe).stem, run.seed) for run in runs] == [
        *[("small", 42)] * 2,
        *[("real", 42)] * 2,
        *[("small", 43)] * 2,
        *[("real", 43)] * 2,
    ]


def test_a_recipe_named_twice_counts_once(recipe: str) -> None:
    assert len(collect_runs([recipe, recipe], "paper")) == 2


def test_only_picks_by_name(recipe: str) -> None:
    assert [run.name for run in collect_runs([recipe], "paper", only=["*/tks"])] == ["cifar10/spiking_resnet19/tks"]


def test_only_that_matches_nothing_names_the_nearest(recipe: str) -> None:
    with pytest.raises(LaunchError, match="did you mean 'cifar10/spiking_resnet19/tks'"):
        collect_runs([recipe], "paper", only=["*/tks", "cifar10/spiking_resnet19/tk"])


def test_a_recipe_below_the_working_directory_is_named_from_there(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(recipe).parent)
    assert collect_runs([recipe], "paper")[0].recipe == "small.yaml"


def _runs(recipe: str, seeds: int = 1) -> list[Run]:
    return collect_runs([recipe], "paper", seeds=seeds)


def test_a_new_run_is_run(recipe: str, ledger: Ledger) -> None:
    item = make_plan(_runs(recipe), ledger)[0]
    assert (item.action, item.reason, item.cost_source) == ("run", "new", "model")
    assert item.gpu_hours is not None
    assert item.gpu_hours > 0


def test_planning_writes_nothing(recipe: str, ledger: Ledger) -> None:
    make_plan(_runs(recipe), ledger)
    assert not ledger.root.exists()


def test_a_finished_run_is_skipped(recipe: str, ledger: Ledger, finish: Callable[[Run], None]) -> None:
    run = _runs(recipe)[0]
    finish(run)
    item = make_plan([run], ledger)[0]
    assert (item.action, item.reason, item.gpu_hours) == ("skip", "finished here", 0.0)


def test_a_published_run_is_skipped(recipe: str, ledger: Ledger, finish: Callable[[Run], None]) -> None:
    run = _runs(recipe)[0]
    finish(run)
    ledger.published(run.id).parent.mkdir()
    ledger.run_dir(run.id).record.rename(ledger.published(run.id))
    assert make_plan([run], ledger)[0].reason == "record committed"


def test_a_held_run_is_waited_for(recipe: str, ledger: Ledger) -> None:
    run = _runs(recipe)[0]
    with Lease.acquire(ledger.prepare(run)):
        item = make_plan([run], ledger)[0]
    assert item.action == "wait"
    assert item.reason.startswith("held by ")


def test_a_broken_off_run_resumes_at_part_of_the_cost(recipe: str, ledger: Ledger) -> None:
    run = _runs(recipe)[0]
    new = make_plan([run], ledger)[0]
    run_dir = ledger.prepare(run)
    attempt_started(run_dir)
    append_jsonl(run_dir.metrics, {"epoch": 0})
    item = make_plan([run], ledger)[0]
    assert (item.action, item.reason) == ("run", "killed; resume after epoch 1 of 4")
    assert new.gpu_hours
    assert item.gpu_hours == pytest.approx(new.gpu_hours * 3 / 4)


def test_a_failed_run_is_tried_again_and_told(recipe: str, ledger: Ledger) -> None:
    run = _runs(recipe)[0]
    attempt_ended(ledger.prepare(run), "failed", "disk full")
    item = make_plan([run], ledger)[0]
    assert (item.action, item.reason) == ("run", "failed before (disk full); start again")


def test_a_run_without_its_data_is_blocked(real_recipe: str, ledger: Ledger) -> None:
    item = make_plan(_runs(real_recipe), ledger, has_real=lambda name: False)[0]
    assert item.action == "blocked"
    assert item.reason.endswith("python -m tksbench.data prepare cifar10")


def test_the_disk_is_searched_once_for_data_that_several_runs_lack(
    real_recipe: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("tksbench.data.registry.elsewhere", lambda name: asked.append(name) or "")
    items = make_plan(_runs(real_recipe, seeds=2), ledger)
    assert {item.action for item in items} == {"blocked"}
    assert len(items) > len(asked) == len({item.run.spec.data.name for item in items})


def test_a_run_whose_extra_is_not_installed_is_blocked(
    recipe: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tksbench.recipe.extras.find_spec", lambda name: None)
    item = make_plan(collect_runs([recipe], "paper", overrides=["execution.zero=2"]), ledger)[0]
    assert (item.action, item.missing) == ("blocked", "DeepSpeed")
    assert item.reason.startswith("execution.zero 2 needs DeepSpeed: make env EXTRAS=deepspeed")
    assert make_plan([item.run], ledger, trained_here=False)[0].action == "run"  # a container has packages of its own


def test_past_records_of_another_seed_tell_the_cost(
    recipe: str, ledger: Ledger, finish: Callable[[Run, float], None]
) -> None:
    runs = [run for run in _runs(recipe, seeds=3) if run.name.endswith("/tks")]
    finish(runs[0], 2.0)
    finish(runs[1], 4.0)
    item = make_plan(runs, ledger)[2]
    assert (item.gpu_hours, item.cost_source) == (3.0, "records")


def test_a_budget_is_spent_on_first_seeds_first(
    recipe: str, ledger: Ledger, finish: Callable[[Run, float], None]
) -> None:
    runs = _runs(recipe, seeds=3)
    finish(runs[0], 1.0)
    finish(runs[1], 1.0)
    items = make_plan(runs, ledger, budget=3.5)
    assert [item.action for item in items] == ["skip", "skip", "run", "run", "run", "skip"]
    assert items[-1].reason == "over --max-gpu-hours: needs 1 GPU-hours, 0.5 left"


def test_a_run_that_does_not_fit_leaves_room_for_a_cheaper_one(
    recipe: str, ledger: Ledger, finish: Callable[[Run, float], None]
) -> None:
    runs = _runs(recipe, seeds=2)
    finish(runs[0], 9.0)
    finish(runs[1], 1.0)
    assert [item.action for item in make_plan(runs[2:], ledger, budget=2.0)] == ["skip", "run"]


def test_the_plans_json_has_the_contracts_keys(recipe: str, ledger: Ledger) -> None:
    plain = make_plan(_runs(recipe), ledger)[0].to_json()
    assert {"id", "name", "scale", "action", "reason", "gpu_hours"} <= plain.keys()


def test_data_that_wait_to_be_sorted_block_a_run_with_the_reason(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for half, file in (("train/n01440764", "n01440764_1.JPEG"), ("val", "ILSVRC2012_val_00000001.JPEG")):
        (tmp_path / "ILSVRC2012" / half).mkdir(parents=True)
        (tmp_path / "ILSVRC2012" / half / file).touch()
    monkeypatch.setenv("TKSBENCH_DATA", str(tmp_path))
    recipe = Path(__file__).parents[2] / "recipes" / "imagenet.yaml"
    runs = collect_runs([str(recipe)], "paper", only=["imagenet/sew_resnet34/tks"])
    (item,) = make_plan(runs, ledger)
    assert item.action == "blocked"
    assert "not sorted by synset, and has no index: python -m tksbench.data prepare imagenet" in item.reason
