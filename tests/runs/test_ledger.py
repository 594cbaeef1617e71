from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.records import make
from tests.runs.conftest import RECIPE
from tksbench.recipe import expand, load_recipe
from tksbench.runs import (
    Lease,
    Ledger,
    LedgerError,
    append_jsonl,
    attempt_ended,
    attempt_started,
    results_root,
    write_json,
)
from tksbench.runs.ledger import Finished
from tksbench.runs.record import save_record

if TYPE_CHECKING:
    from pathlib import Path

    from tksbench.recipe import Run
    from tksbench.runs.record import Record


def test_the_results_root_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TKSBENCH_RESULTS", str(tmp_path))
    assert results_root() == tmp_path
    monkeypatch.delenv("TKSBENCH_RESULTS")
    assert str(results_root()) == "results"


def test_a_prepared_run_is_read_back(ledger: Ledger, run: Run) -> None:
    assert ledger.load_run(ledger.prepare(run)) == run


def test_preparing_twice_writes_once(ledger: Ledger, run: Run) -> None:
    first = ledger.prepare(run).run.stat()
    second = ledger.prepare(run).run.stat()
    assert first.st_ino == second.st_ino


@pytest.mark.parametrize("refused", [False, True])
def test_a_run_is_prepared_while_a_trainer_tidies_its_directory(
    ledger: Ledger, run: Run, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    run_dir, fsync, leases = ledger.run_dir(run.id), os.fsync, []

    def train_meanwhile(descriptor: int) -> None:
        fsync(descriptor)
        if not leases:
            leases.append(None)
            with Lease.acquire(run_dir):
                if refused:
                    ledger.discard(run_dir)

    monkeypatch.setattr("os.fsync", train_meanwhile)
    assert ledger.load_run(ledger.prepare(run)) == run
    assert not list(run_dir.path.glob(".*"))


def test_a_foreign_run_json_is_refused(ledger: Ledger, run: Run) -> None:
    run_dir = ledger.prepare(run)
    write_json(run_dir.run, {**run.to_json(), "id": "f" * 16})
    with pytest.raises(LedgerError, match=f"is not the run {run.id}"):
        ledger.load_run(run_dir)


def test_results_that_cannot_be_written_are_named(tmp_path: Path, run: Run) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="cannot be made"):
        Ledger(tmp_path / "file").prepare(run)


def test_a_run_never_started_is_new(ledger: Ledger, run: Run) -> None:
    assert ledger.status(run.id).state == "new"
    ledger.prepare(run)
    assert ledger.status(run.id).state == "new"


def test_a_held_run_is_running_with_its_figures(ledger: Ledger, run: Run) -> None:
    run_dir = ledger.prepare(run)
    with Lease.acquire(run_dir):
        append_jsonl(run_dir.metrics, {"epoch": 0, "test_top1": 41.5})
        progress = {"epoch": 1, "epochs": 4, "step": 5, "steps": 10, "loss": 1.5, "images_per_s": 80.0, "eta_s": 9.0}
        write_json(run_dir.progress, progress)
        status = ledger.status(run.id)
    assert (status.state, status.epoch, status.epochs, status.top1, status.eta_s) == ("running", 1, 4, 41.5, 9.0)
    assert status.percent == pytest.approx(100 * (1 + 0.5) / 4)
    assert status.holder


def test_a_run_whose_trainer_was_killed_is_interrupted(ledger: Ledger, run: Run) -> None:
    run_dir = ledger.prepare(run)
    attempt_started(run_dir)
    assert (ledger.status(run.id).state, ledger.status(run.id).reason) == ("interrupted", "killed")


def test_a_run_killed_before_its_first_step_is_interrupted_whatever_came_before(ledger: Ledger, run: Run) -> None:
    run_dir = ledger.prepare(run)
    attempt_ended(run_dir, "failed", "disk full")
    Lease.acquire(run_dir).release()
    path = run_dir.leases / "1.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "released": False, "started": "1"}))
    assert (ledger.status(run.id).state, ledger.status(run.id).reason) == ("interrupted", "killed")


def test_a_failed_run_tells_its_reason_on_one_line(ledger: Ledger, run: Run) -> None:
    run_dir = ledger.prepare(run)
    attempt_started(run_dir)
    attempt_ended(run_dir, "failed", "loss is NaN\nin step 17", epoch=2, step=17)
    assert (ledger.status(run.id).state, ledger.status(run.id).reason) == ("failed", "loss is NaN in step 17")


def test_a_later_attempt_overrides_an_earlier_failure(ledger: Ledger, run: Run) -> None:
    run_dir = ledger.prepare(run)
    attempt_ended(run_dir, "failed", "disk full")
    attempt_started(run_dir)
    attempt_ended(run_dir, "interrupted", "stopped by a signal")
    assert ledger.status(run.id).state == "interrupted"


def test_a_record_is_being_done(ledger: Ledger, run: Run, record: Record) -> None:
    save_record(ledger.prepare(run).record, record)
    status = ledger.status(run.id)
    assert (status.state, status.reason, status.top1, status.percent) == ("done", "finished here", 50.0, 100.0)


def test_a_published_record_is_being_done_without_a_run_directory(ledger: Ledger, record: Record) -> None:
    ledger.published(record.id).parent.mkdir(parents=True)
    save_record(ledger.published(record.id), record)
    assert (ledger.status(record.id).state, ledger.status(record.id).reason) == ("done", "record committed")


def test_a_damaged_record_is_not_being_done(ledger: Ledger, run: Run, record: Record) -> None:
    run_dir = ledger.prepare(run)
    run_dir.record.write_bytes(record.to_bytes()[:-40])
    status = ledger.status(run.id)
    assert status.state == "interrupted"
    assert "record.json: not a record" in status.reason
    assert status.reason.endswith("it will be made again")


def test_a_stub_with_the_head_of_a_record_is_not_being_done(ledger: Ledger, run: Run, record: Record) -> None:
    plain = json.loads(record.to_bytes())
    head = {key: plain[key] for key in ("id", "group", "spec", "cost", "metrics")}
    ledger.prepare(run).record.write_text(json.dumps(head))
    assert ledger.finished(run.id) is None
    assert "test: Field required" in ledger.status(run.id).reason


def test_records_are_listed_once_and_damaged_ones_reported(ledger: Ledger, run: Run, record: Record) -> None:
    ledger.published(run.id).parent.mkdir(parents=True)
    save_record(ledger.published(run.id), record)
    save_record(ledger.prepare(run).record, record)
    ledger.published("f" * 16).write_text("{}")
    problems: list[str] = []
    assert ledger.records(problems) == [record]
    assert len(problems) == 1
    assert "f" * 16 in problems[0]


def test_the_ledger_imports_neither_torch_nor_numpy() -> None:
    code = "import sys, tksbench.runs, tksbench.runs.record, tksbench.runs.provenance as p; p.versions();"
    code += "print([m for m in ('torch', 'numpy', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_directories_and_records_lie_where_the_readme_says(ledger: Ledger) -> None:
    assert ledger.run_dir("ab").path == ledger.root / "runs" / "ab"
    assert ledger.published("ab") == ledger.root / "records" / "ab.json"


def test_prepared_runs_are_listed_by_id_and_other_folders_are_not(ledger: Ledger) -> None:
    for name in ("b", "a", "c"):
        (ledger.root / "runs" / name).mkdir(parents=True)
    for name in ("b", "a"):
        (ledger.root / "runs" / name / "run.json").touch()
    assert [run_dir.id for run_dir in ledger.run_dirs()] == ["a", "b"]


def test_a_changed_run_json_is_written_anew(ledger: Ledger, run: Run) -> None:
    run_dir = ledger.prepare(run)
    run_dir.run.write_text("{}")
    assert ledger.load_run(ledger.prepare(run)) == run


def test_a_run_json_that_is_no_run_is_refused(ledger: Ledger, run: Run) -> None:
    run_dir = ledger.prepare(run)
    run_dir.run.write_text("[]")
    with pytest.raises(LedgerError, match=rf"run\.json: is not the run {run.id}"):
        ledger.load_run(run_dir)


def test_the_head_of_a_record_is_what_plans_need(ledger: Ledger, run: Run, record: Record) -> None:
    save_record(ledger.prepare(run).record, record)
    assert ledger.finished(run.id) == Finished(run.id, run.group, 1.0, 0.5, None, 3, 50.0, 50.0, published=False)


def test_the_heads_of_all_records_are_the_same(ledger: Ledger, run: Run, record: Record) -> None:
    save_record(ledger.prepare(run).record, record)
    assert ledger.all_finished() == [ledger.finished(run.id)]


def test_the_energy_is_in_the_head_where_it_was_read(ledger: Ledger, run: Run, record: Record) -> None:
    measured = record.model_copy(update={"cost": record.cost.model_copy(update={"energy_kwh": 0.25})})
    save_record(ledger.prepare(run).record, measured)
    assert [head.energy_kwh for head in ledger.all_finished()] == [0.25]
    found = ledger.finished(run.id)
    assert found is not None
    assert found.energy_kwh == 0.25


def test_a_published_head_counts_before_the_local_one(ledger: Ledger, run: Run, record: Record) -> None:
    ledger.published(run.id).parent.mkdir(parents=True)
    save_record(ledger.published(run.id), record)
    save_record(ledger.prepare(run).record, record)
    assert [head.published for head in ledger.all_finished()] == [True]


@pytest.mark.parametrize("content", ["{", "[]", '{"id": "a", "group": "b", "cost": {"hours": null}}', "{}"])
def test_what_has_no_head_of_a_record_is_passed_over(ledger: Ledger, run: Run, record: Record, content: str) -> None:
    ledger.published("f" * 16).parent.mkdir(parents=True)
    ledger.published("0" * 16).write_text(content)
    save_record(ledger.prepare(run).record, record)
    assert [head.id for head in ledger.all_finished()] == [run.id]


def test_a_finished_run_has_all_its_figures(ledger: Ledger, run: Run, record: Record) -> None:
    save_record(ledger.prepare(run).record, record)
    status = ledger.status(run.id)
    assert (status.id, status.epoch, status.epochs, status.best_top1, status.gpu_hours) == (run.id, 3, 3, 50.0, 0.5)


def test_all_that_is_wrong_with_a_runs_records_is_told(ledger: Ledger, run: Run) -> None:
    ledger.published(run.id).parent.mkdir(parents=True)
    ledger.published(run.id).write_text("{")
    ledger.prepare(run).record.write_text("{")
    reason = ledger.status(run.id).reason
    assert reason.startswith(f"{ledger.published(run.id)}: not a record")
    assert f"; {ledger.run_dir(run.id).record}: not a record" in reason


def test_a_run_that_is_made_again_is_running(ledger: Ledger, run: Run) -> None:
    run_dir = ledger.prepare(run)
    run_dir.record.write_text("{")
    with Lease.acquire(run_dir):
        assert ledger.status(run.id).reason.startswith("held by ")


def test_a_run_that_never_began_is_discarded_and_its_empty_folder_too(ledger: Ledger, run: Run) -> None:
    ledger.discard(ledger.prepare(run))
    assert list(ledger.root.iterdir()) == []


def test_discarding_leaves_other_runs(ledger: Ledger, run: Run) -> None:
    (ledger.root / "runs" / "other").mkdir(parents=True)
    ledger.discard(ledger.prepare(run))
    assert [path.name for path in (ledger.root / "runs").iterdir()] == ["other"]


@pytest.mark.parametrize("kept", ["attempts.jsonl", "checkpoints"])
def test_a_run_that_began_is_not_discarded(ledger: Ledger, run: Run, kept: str) -> None:
    run_dir = ledger.prepare(run)
    (run_dir.path / kept).touch()
    ledger.discard(run_dir)
    assert ledger.load_run(run_dir) == run


def test_a_local_record_with_other_content_is_named(ledger: Ledger, run: Run, record: Record) -> None:
    ledger.published(run.id).parent.mkdir(parents=True)
    save_record(ledger.published(run.id), record)
    other = ledger.prepare(run).record
    save_record(other, record.model_copy(update={"weights_sha256": "b" * 64}))
    problems: list[str] = []
    assert ledger.records(problems) == [record]
    assert problems == [f"{other}: run {run.id} is published with other content, which counts: delete one"]


def test_records_come_by_id_and_one_bad_file_hides_none(ledger: Ledger, tmp_path: Path, record: Record) -> None:
    recipe = tmp_path / "two.yaml"
    recipe.write_text(RECIPE)
    records = [make(run) for run in expand(load_recipe(recipe), seeds=2)]
    ledger.published("x").parent.mkdir(parents=True)
    ledger.published("0" * 16).write_text("{")
    for one in records:
        save_record(ledger.published(one.id), one)
    assert [one.id for one in ledger.records()] == sorted(one.id for one in records)


def test_every_finished_run_has_a_head_of_its_own(ledger: Ledger, tmp_path: Path) -> None:
    recipe = tmp_path / "two.yaml"
    recipe.write_text(RECIPE)
    runs = expand(load_recipe(recipe))
    for run in runs:
        save_record(ledger.prepare(run).record, make(run))
    assert sorted(head.id for head in ledger.all_finished()) == sorted(run.id for run in runs)


def test_discarding_what_is_gone_is_harmless(ledger: Ledger, run: Run) -> None:
    run_dir = ledger.prepare(run)
    ledger.discard(run_dir)
    ledger.discard(run_dir)
    assert not run_dir.path.exists()


def test_the_logits_of_a_best_epoch_lie_with_the_checkpoints(ledger: Ledger) -> None:
    assert ledger.run_dir("ab").best(7) == ledger.root / "runs" / "ab" / "checkpoints" / "best-epoch00007.npy"


@pytest.mark.parametrize(
    ("sound", "damaged"), [('"epochs": 3', '"epochs": 1e999'), ('"hours": 1.0', '"hours": 1' + "0" * 400)]
)
def test_a_head_with_a_number_beyond_all_numbers_is_passed_over(ledger: Ledger, sound: str, damaged: str) -> None:
    head = {"id": "0" * 16, "group": "0" * 16, "spec": {"optim": {"epochs": 3}}, "cost": {"hours": 1.0, "gpu_hours": 0}}
    metrics = {"last": {"top1": 1.0}, "best": {"top1": 1.0}}
    text = json.dumps(head | {"metrics": metrics})
    path = ledger.published("0" * 16)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert len(ledger.all_finished()) == 1
    assert sound in text
    path.write_text(text.replace(sound, damaged))
    assert ledger.all_finished() == []


def test_a_pipe_among_the_records_holds_no_plan_up(ledger: Ledger) -> None:
    path = ledger.published("0" * 16)
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    assert ledger.all_finished() == []
