"""The history of a run's attempts: a row when training starts, a row when it ends, none when it is killed."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from tksbench.runs.files import append_jsonl, read_jsonl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tksbench.runs.paths import RunDir

Outcome = Literal["done", "interrupted", "failed"]


def now() -> str:
    """The time in UTC to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def attempt_started(run_dir: RunDir, epoch: int = 0, step: int = 0, commit: str | None = None) -> None:
    """Note that training starts, at which epoch and step (0-based; more than 0 when it resumes), by which commit."""
    code = {"commit": commit} if commit else {}
    append_jsonl(run_dir.attempts, {"event": "start", **_who(), **code, "epoch": epoch, "step": step})


def attempt_ended(run_dir: RunDir, outcome: Outcome, reason: str, epoch: int = 0, step: int = 0) -> None:
    """Note how training ended; `reason` is one line that a user reads, for example 'loss is NaN in step 17'."""
    reason = reason.encode(errors="backslashreplace").decode()  # a path in it may be no text
    row = {"event": "end", "outcome": outcome, "reason": " ".join(reason.split()), **_who()}
    append_jsonl(run_dir.attempts, {**row, "epoch": epoch, "step": step})


def read_attempts(run_dir: RunDir) -> list[dict[str, Any]]:
    """All rows, oldest first."""
    return read_jsonl(run_dir.attempts)


def trained_by(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Commits of the attempts that a run's weights come from, as far as the rows name them, oldest first."""
    lasting: list[tuple[tuple[int, int], str | None]] = []
    for row in rows:
        if row["event"] == "start":
            place = (row.get("epoch", 0), row.get("step", 0))
            # What was trained beyond the place that an attempt goes on from is lost.
            lasting = [attempt for attempt in lasting if attempt[0] < place] + [(place, row.get("commit"))]
    return list(dict.fromkeys(commit for _, commit in lasting if commit))


def _who() -> dict[str, Any]:
    who = {"time": now(), "host": platform.node(), "pid": os.getpid()}
    job = slurm_job()
    return {**who, "job": job} if job else who


def slurm_job() -> str:
    """The Slurm job that this process runs in, as squeue shows it; empty outside one."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID", "")
