from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tksbench.runs import RunDir, attempt_ended, attempt_started
from tksbench.runs.attempts import lasting, now, read_attempts, slurm_job

if TYPE_CHECKING:
    from pathlib import Path

_SLURM = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A run's directory outside Slurm, at a moment that stands still."""
    for name in _SLURM:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tksbench.runs.attempts.now", lambda: "2026-01-01T00:00:00+00:00")
    return RunDir(tmp_path)


WHO = {"time": "2026-01-01T00:00:00+00:00", "host": platform.node(), "pid": os.getpid()}


def test_the_time_is_utc_and_says_so() -> None:
    told = datetime.fromisoformat(now())
    assert told.utcoffset() == UTC.utcoffset(None)
    assert abs((datetime.now(UTC) - told).total_seconds()) < 5
    assert told.microsecond == 0


def test_a_start_says_who_when_and_from_where(run_dir: RunDir) -> None:
    attempt_started(run_dir, 2, 17)
    assert read_attempts(run_dir) == [{"event": "start", **WHO, "epoch": 2, "step": 17}]


def test_an_end_says_how_and_why_too(run_dir: RunDir) -> None:
    attempt_ended(run_dir, "failed", "loss is NaN\n in step 17", 2, 17)
    told = {"event": "end", "outcome": "failed", "reason": "loss is NaN in step 17"}
    assert read_attempts(run_dir) == [told | WHO | {"epoch": 2, "step": 17}]


def test_a_fresh_attempt_is_at_the_beginning(run_dir: RunDir) -> None:
    attempt_started(run_dir)
    attempt_ended(run_dir, "interrupted", "")
    assert [(row["epoch"], row["step"]) for row in read_attempts(run_dir)] == [(0, 0), (0, 0)]


def test_a_job_of_slurm_is_named(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    attempt_started(run_dir)
    assert read_attempts(run_dir) == [{"event": "start", **WHO, "job": "12", "epoch": 0, "step": 0}]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, ""),
        ({"SLURM_JOB_ID": "12"}, "12"),
        ({"SLURM_JOB_ID": "15", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}, "12_3"),
        ({"SLURM_JOB_ID": "15", "SLURM_ARRAY_JOB_ID": "12"}, "15"),
        ({"SLURM_JOB_ID": "15", "SLURM_ARRAY_TASK_ID": "3"}, "15"),
    ],
)
def test_a_job_is_called_what_squeue_calls_it(
    run_dir: RunDir, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], told: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert slurm_job() == told


def test_a_reason_with_a_path_that_is_no_text_is_kept(run_dir: RunDir) -> None:
    attempt_ended(run_dir, "failed", os.fsdecode(b"/data\xff: no such folder"))
    assert read_attempts(run_dir)[-1]["reason"] == "/data\\udcff: no such folder"


def test_a_start_names_its_code_and_setup(run_dir: RunDir) -> None:
    origin = {"commit": "c0ffee", "dirty": False, "code": "1" * 16, "patch": None, "setup": {"threads": 1}}
    attempt_started(run_dir, 2, 17, origin)
    said = {key: value for key, value in origin.items() if key != "patch"}
    assert read_attempts(run_dir) == [{"event": "start", **WHO, **said, "epoch": 2, "step": 17}]


@pytest.mark.parametrize(
    ("starts", "last"),
    [
        ([(0, 0)], [0]),
        ([(0, 0), (1, 2), (1, 3)], [0, 1, 2]),
        ([(0, 0), (0, 0)], [1]),  # the first has left no checkpoint
        ([(0, 0), (2, 0), (1, 9)], [0, 2]),  # the second's checkpoints were damaged
    ],
)
def test_attempts_last_whose_checkpoints_were_gone_on_from(
    run_dir: RunDir, starts: list[tuple[int, int]], last: list[int]
) -> None:
    for number, (epoch, step) in enumerate(starts):
        attempt_started(run_dir, epoch, step, {"commit": str(number)})
        attempt_ended(run_dir, "interrupted", "")
    assert [attempt.row["commit"] for attempt in lasting(read_attempts(run_dir))] == [str(one) for one in last]
    assert [attempt.place for attempt in lasting(read_attempts(run_dir))] == [starts[one] for one in last]


def test_an_end_names_files_that_were_written_meanwhile(run_dir: RunDir) -> None:
    attempt_started(run_dir)
    attempt_ended(run_dir, "done", "", 1, 0, ["tksbench/data/cifar.py"])
    assert lasting(read_attempts(run_dir))[0].late == ("tksbench/data/cifar.py",)
