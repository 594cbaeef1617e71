"""The history of a run's attempts: a row when training starts, a row when it ends, none when it is killed."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from tksbench.runs.files import append_jsonl, read_jsonl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tksbench.runs.paths import RunDir

Outcome = Literal["done", "interrupted", "failed"]


def now() -> str:
    """The time in UTC to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def attempt_started(run_dir: RunDir, epoch: int = 0, step: int = 0, origin: Mapping[str, Any] | None = None) -> None:
    """Note that training starts.

    Args:
        run_dir: The run's directory.
        epoch: Where it starts, 0-based; more than 0 when it resumes.
        step: Likewise.
        origin: By what it is trained: `commit`, whether that is `dirty`, `code` (the digest of the files that can
            change a result), `patch` (the name of the uncommitted changes), and `setup` (packages, environment,
            machine).
    """
    said = {key: value for key, value in (origin or {}).items() if value not in (None, "", {})}
    append_jsonl(run_dir.attempts, {"event": "start", **_who(), **said, "epoch": epoch, "step": step})


def attempt_ended(
    run_dir: RunDir, outcome: Outcome, reason: str, epoch: int = 0, step: int = 0, late: Sequence[str] = ()
) -> None:
    """Note how training ended.

    Args:
        run_dir: The run's directory.
        outcome: How.
        reason: One line that a user reads, for example 'loss is NaN in step 17'.
        epoch: Where it ended, 0-based.
        step: Likewise.
        late: Files of the package that were written while this attempt was still loading them.
    """
    reason = reason.encode(errors="backslashreplace").decode()  # a path in it may be no text
    row = {"event": "end", "outcome": outcome, "reason": " ".join(reason.split()), **_who()}
    row |= {"late": list(late)} if late else {}
    append_jsonl(run_dir.attempts, {**row, "epoch": epoch, "step": step})


def read_attempts(run_dir: RunDir) -> list[dict[str, Any]]:
    """All rows, oldest first."""
    return read_jsonl(run_dir.attempts)


@dataclass(frozen=True)
class Attempted:
    """An attempt that a run's weights come from.

    Attributes:
        place: Epoch and step at which it started, 0-based.
        row: Its row of the attempts log.
        late: Files of the package that were written while it was still loading them.
    """

    place: tuple[int, int]
    row: dict[str, Any]
    late: tuple[str, ...] = ()


def lasting(rows: Iterable[dict[str, Any]]) -> list[Attempted]:
    """The attempts that a run's weights come from, oldest first.

    What was trained beyond the place that a later attempt goes on from is lost, so an attempt counts if it began
    before that place: its checkpoint, or one that builds on it, was used.
    """
    found: list[Attempted] = []
    for row in rows:
        epoch, step, late = row.get("epoch", 0), row.get("step", 0), row.get("late")
        if row.get("event") == "start" and isinstance(epoch, int) and isinstance(step, int):
            found = [*(one for one in found if one.place < (epoch, step)), Attempted((epoch, step), row)]
        elif isinstance(late, list) and found:
            found[-1] = Attempted(found[-1].place, found[-1].row, tuple(map(str, late)))
    return found


def _who() -> dict[str, Any]:
    who = {"time": now(), "host": platform.node(), "pid": os.getpid()}
    job = slurm_job()
    return {**who, "job": job} if job else who


def slurm_job() -> str:
    """The Slurm job that this process runs in, as squeue shows it; empty outside one."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID", "")
