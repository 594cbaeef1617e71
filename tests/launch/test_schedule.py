from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.records import make
from tksbench.estimate.records import recorded_costs
from tksbench.launch.plan import collect_runs, make_plan
from tksbench.launch.profile import SlurmProfile
from tksbench.launch.schedule import GPU_WATTS, Machine, cluster, schedule, this_machine
from tksbench.runs.record import save_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from tksbench.launch.plan import Item
    from tksbench.launch.schedule import Needs
    from tksbench.recipe import Run
    from tksbench.runs import Ledger

ONE_GPU = Machine(1, 1, 1, "one GPU")


def _planned(ledger: Ledger, recipe: str, machine: Machine, *words: str, seeds: int = 1) -> list[tuple[Item, Needs]]:
    known = recorded_costs(ledger)
    items = make_plan(collect_runs([recipe], "paper", seeds=seeds, overrides=words), ledger, known=known)
    return list(zip(items, schedule(items, machine, known), strict=True))


def test_gpus_share_a_run_and_places_share_the_runs(recipe: str, ledger: Ledger) -> None:
    profile = SlurmProfile(nodes=2, gpus_per_node=4, parallel=3)
    rows = _planned(ledger, recipe, cluster(profile), seeds=2)
    hours = [item.gpu_hours or 0 for item, _ in rows]
    assert [outlay.wall_hours for _, outlay in rows] == pytest.approx([one / 8 for one in hours])
    assert [outlay.done_after_hours for _, outlay in rows] == pytest.approx(
        [hours[0] / 8, hours[1] / 8, hours[2] / 8, (hours[3] + min(hours[:3])) / 8]
    )
    assert {outlay.wall_source for _, outlay in rows} == {"model"}


def test_energy_is_that_of_the_gpus_at_the_stated_watts(recipe: str, ledger: Ledger) -> None:
    item, outlay = _planned(ledger, recipe, ONE_GPU)[0]
    assert outlay.energy_kwh == pytest.approx((item.gpu_hours or 0) * GPU_WATTS / 1000)
    assert outlay.energy_source == "model"


def test_measured_energy_and_real_directories_go_before_the_model(recipe: str, ledger: Ledger) -> None:
    runs = collect_runs([recipe], "paper", seeds=2)
    record = make(runs[0], 40.0, 2.0)
    record = record.model_copy(update={"cost": record.cost.model_copy(update={"energy_kwh": 0.8})})
    run_dir = ledger.prepare(runs[0])
    save_record(run_dir.record, record)
    run_dir.checkpoints.mkdir()
    (run_dir.checkpoints / "one").write_bytes(bytes(500_000))
    known = recorded_costs(ledger)
    items = make_plan([run for run in runs if run.group == runs[0].group], ledger, known=known)
    done, new = schedule(items, ONE_GPU, known)
    assert (done.wall_hours, done.energy_kwh, done.disk_bytes) == (0.0, 0.0, 0.0)
    assert (new.energy_kwh, new.energy_source, new.disk_source) == (0.8, "records", "records")
    assert new.disk_bytes == pytest.approx(500_000, rel=0.05)


def test_without_a_gpu_only_past_runs_on_a_cpu_tell_the_time(
    recipe: str, ledger: Ledger, finish: Callable[[Run, float], None]
) -> None:
    no_gpu = Machine(0, 1, 1, "no GPU")
    first = collect_runs([recipe], "paper")[0]
    assert {outlay.wall_source for _, outlay in _planned(ledger, recipe, no_gpu)} == {"unknown"}
    finish(first, 0.0)  # its record says: one hour
    told = {
        item.run.seed: outlay
        for item, outlay in _planned(ledger, recipe, no_gpu, seeds=2)
        if item.run.group == first.group
    }
    assert (told[43].wall_hours, told[43].wall_source) == (1.0, "records")


@pytest.mark.parametrize(
    ("words", "done"),
    [
        (["execution.threads=2"], [1.0, 1.0, 2.0, 2.0]),
        (["execution.threads=1"], [1.0, 1.0, 1.0, 1.0]),
        (["execution.threads=3"], [1.0, 2.0, 3.0, 4.0]),
        ([], [1.0, 2.0, 3.0, 4.0]),
    ],
)
def test_runs_on_the_cpu_share_its_cores(
    recipe: str, ledger: Ledger, finish: Callable[[Run, float], None], words: list[str], done: list[float]
) -> None:
    for run in collect_runs([recipe], "paper", seeds=3)[4:]:
        finish(run, 0.0)  # its record says: one hour
    rows = _planned(ledger, recipe, Machine(0, 1, 4, "four cores", shared=True), *words, seeds=2)
    assert [outlay.done_after_hours for _, outlay in rows] == pytest.approx(done)


def test_a_run_of_unknown_length_leaves_the_end_open(recipe: str, ledger: Ledger) -> None:
    rows = _planned(ledger, recipe, ONE_GPU, "execution.device=cpu")
    assert [outlay.done_after_hours for _, outlay in rows] == [None, None]
    assert [outlay.energy_source for _, outlay in rows] == ["unknown", "unknown"]


@pytest.mark.parametrize(("visible", "gpus", "at_once"), [("", 0, 1), ("0", 1, 1), ("0,3", 1, 2)])
def test_this_machine_is_what_cuda_may_see(
    visible: str, gpus: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr("tksbench.launch.schedule.count_cores", lambda: 6)
    machine = this_machine()
    assert (machine.gpus, machine.at_once, machine.at_once_cpu, machine.shared) == (gpus, at_once, 6, True)
    assert machine.name == (f"{at_once} GPU{'s' * (at_once > 1)} here" if gpus else "6 cores, no GPU here")


def test_many_runs_of_unknown_length_take_no_more_places(recipe: str, ledger: Ledger) -> None:
    rows = _planned(ledger, recipe, Machine(0, 1, 8, "8 cores", shared=True), "execution.threads=1", seeds=40)
    assert len(rows) > 64  # each once doubled the list of places
    assert {outlay.done_after_hours for _, outlay in rows} == {None}
