"""What the files of a run tell, whole: each figure is where a user looks for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tksbench.runs import Lease, RunDir, append_jsonl, attempt_ended, attempt_started, read_holder, write_json
from tksbench.runs.status import Status, read_status

if TYPE_CHECKING:
    from pathlib import Path

NOTHING = dict.fromkeys(
    ("epoch", "epochs", "percent", "top1", "best_top1", "loss", "images_per_s", "eta_s", "gpu_hours", "holder")
)
PROGRESS = {"epoch": 2, "epochs": 4, "step": 5, "steps": 10, "loss": 1.5, "top1": 30.0, "images_per_s": 80.0}
PROGRESS |= {"eta_s": 9.0, "gpu_hours": 0.25}
FIGURES = {"epoch": 2, "epochs": 4, "percent": 62.5, "top1": 41.5, "best_top1": 50.0, "loss": 1.5}
FIGURES |= {"images_per_s": 80.0, "gpu_hours": 0.25}


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    path = tmp_path / "0123456789abcdef"
    path.mkdir()
    return RunDir(path)


@pytest.fixture
def half_done(run_dir: RunDir) -> RunDir:
    """A run of four epochs that is half through its third."""
    write_json(run_dir.progress, PROGRESS)
    append_jsonl(run_dir.metrics, {"epoch": 0, "test_top1": 50.0})
    append_jsonl(run_dir.metrics, {"epoch": 1, "test_top1": 41.5})
    return run_dir


def told(run_dir: RunDir) -> dict[str, Any]:
    return read_status(run_dir).to_json()


def state(state: str, reason: str) -> dict[str, Any]:
    return {"id": "0123456789abcdef", "state": state, "reason": reason, "commit": None, "code": None, "edited": ()}


def test_nothing_is_known_of_a_new_run(run_dir: RunDir) -> None:
    assert told(run_dir) == state("new", "new") | NOTHING


def test_figures_of_a_run_under_way(half_done: RunDir) -> None:
    with Lease.acquire(half_done):
        holder = str(read_holder(half_done))
        under_way = FIGURES | {"eta_s": 9.0, "holder": holder}
        assert told(half_done) == state("running", f"held by {holder}") | under_way


def test_figures_of_a_failed_run_and_no_time_to_go(half_done: RunDir) -> None:
    attempt_ended(half_done, "failed", "loss is NaN")
    assert told(half_done) == state("failed", "loss is NaN") | FIGURES | {"eta_s": None, "holder": None}


@pytest.mark.parametrize(
    ("outcome", "reason", "expected"),
    [
        ("failed", "", ("failed", "failed without a reason")),
        ("interrupted", "stopped by a signal", ("interrupted", "stopped by a signal")),
        ("interrupted", "", ("interrupted", "interrupted")),
        ("done", "", ("interrupted", "interrupted")),  # the record is what being done means
    ],
)
def test_the_last_end_gives_state_and_reason(
    half_done: RunDir, outcome: Any, reason: str, expected: tuple[str, str]
) -> None:
    attempt_started(half_done)
    attempt_ended(half_done, outcome, reason)
    assert told(half_done) == state(*expected) | FIGURES | {"eta_s": None, "holder": None}


def test_an_end_without_a_reason_has_none(half_done: RunDir) -> None:
    append_jsonl(half_done.attempts, {"event": "end", "outcome": "failed"})
    assert read_status(half_done).reason == "failed without a reason"


def test_figures_of_a_killed_run(half_done: RunDir) -> None:
    attempt_started(half_done)
    assert told(half_done) == state("interrupted", "killed") | FIGURES | {"eta_s": None, "holder": None}


def test_figures_of_a_run_killed_while_it_held_its_lease(half_done: RunDir) -> None:
    Lease.acquire(half_done).release()
    path = half_done.leases / "1.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "released": False, "started": "1"}))
    assert told(half_done) == state("interrupted", "killed") | FIGURES | {"eta_s": None, "holder": None}


def test_figures_of_a_run_with_a_damaged_record(half_done: RunDir) -> None:
    half_done.record.touch()
    assert told(half_done) == state("interrupted", "its record is damaged") | FIGURES | {"eta_s": None, "holder": None}


def test_a_run_whose_lease_cannot_be_read_has_failed_and_says_why(half_done: RunDir) -> None:
    (half_done.leases / "9.json").mkdir(parents=True)
    status = read_status(half_done)
    assert (status.state, status.epoch) == ("failed", 2)
    assert status.reason.endswith("9.json: expected a lease, a small file, and is a folder; remove it")


def test_before_the_first_test_the_live_view_has_the_accuracy(run_dir: RunDir) -> None:
    write_json(run_dir.progress, PROGRESS | {"epoch": 0})
    status = read_status(run_dir)
    assert (status.epoch, status.top1, status.best_top1, status.percent) == (0, 30.0, 30.0, 12.5)


@pytest.mark.parametrize("content", ["[1]", "3", "null", "{"])
def test_a_live_view_that_is_none_counts_as_absent(run_dir: RunDir, content: str) -> None:
    run_dir.progress.write_text(content)
    assert read_status(run_dir) == Status(run_dir.id, "new", "new")


@pytest.mark.parametrize(
    ("change", "percent"),
    [
        ({}, 62.5),
        ({"epoch": 1}, 50.0),  # the steps of an epoch that the log already has count no more
        ({"epoch": None}, 50.0),
        ({"step": None}, 50.0),
        ({"steps": None}, 50.0),
        ({"steps": 0}, 50.0),
        ({"step": 25}, 75.0),  # no more than the epoch
        ({"epochs": 1}, 100.0),
        ({"epochs": 0}, None),
        ({"epochs": None}, None),
        ({"epochs": True}, None),
    ],
)
def test_the_share_of_steps_taken(half_done: RunDir, change: dict[str, Any], percent: float | None) -> None:
    write_json(half_done.progress, PROGRESS | change)
    assert read_status(half_done).percent == percent


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1e999", "1" + "0" * 400, '"3"', "true", "[3]"])
@pytest.mark.parametrize("name", ["metrics", "progress"])
def test_what_is_no_finite_number_counts_as_absent(run_dir: RunDir, name: str, value: str) -> None:
    keys = ("epoch", "epochs", "step", "steps", "loss", "top1", "test_top1", "eta_s")
    getattr(run_dir, name).write_text("{" + ", ".join(f'"{key}": {value}' for key in keys) + "}\n")
    found = read_status(run_dir).to_json()
    assert {key: found[key] for key in NOTHING} == NOTHING | ({"epoch": 0} if name == "progress" else {})


def test_the_code_is_that_of_the_attempt_that_is_gone_on_from(half_done: RunDir) -> None:
    for place, code in (((0, 0), "1" * 16), ((1, 0), "2" * 16), ((0, 9), "3" * 16)):
        attempt_started(half_done, *place, {"commit": "c0ffee", "code": code})
        attempt_ended(half_done, "interrupted", "stopped by a signal")
    assert (told(half_done)["commit"], told(half_done)["code"]) == ("c0ffee", "3" * 16)


@pytest.mark.parametrize("row", [{"event": "start", "epoch": "one"}, {"event": "end", "late": 3}, {"epoch": 1}])
def test_damaged_rows_of_attempts_are_of_no_code(half_done: RunDir, row: dict[str, Any]) -> None:
    append_jsonl(half_done.attempts, row)
    assert told(half_done)["code"] is None
