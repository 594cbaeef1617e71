"""What the files of a run's directory say about it; no scheduler and no process is asked."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from tksbench.runs.attempts import lasting, read_attempts
from tksbench.runs.errors import LedgerError
from tksbench.runs.files import read_json, read_jsonl
from tksbench.runs.lease import read_holder

if TYPE_CHECKING:
    from tksbench.runs.paths import RunDir

State = Literal["new", "running", "interrupted", "failed", "done"]


@dataclass(frozen=True)
class Status:
    """State of one run; figures are None where nothing is known yet.

    Attributes:
        id: The run's id.
        state: "running" means that somebody holds the lease and is not known to be dead.
        reason: One line for the user.
        epoch: Epochs finished.
        epochs: Epochs in all.
        percent: Share of the training steps taken.
        top1: Newest test accuracy in percent.
        best_top1: Best test accuracy so far in percent.
        loss: Newest training loss.
        images_per_s: Training speed.
        eta_s: Seconds to go, as the trainer estimated them last.
        gpu_hours: Spent so far, all attempts together; 0 on a CPU.
        holder: Who trains it, if somebody does.
        commit: That of the code that its record is of, or its last attempt that lasts.
        code: The digest of that code's files, see `tksbench.runs.code`.
        edited: Files with uncommitted changes that its record names.
    """

    id: str
    state: State
    reason: str = ""
    epoch: int | None = None
    epochs: int | None = None
    percent: float | None = None
    top1: float | None = None
    best_top1: float | None = None
    loss: float | None = None
    images_per_s: float | None = None
    eta_s: float | None = None
    gpu_hours: float | None = None
    holder: str | None = None
    commit: str | None = None
    code: str | None = None
    edited: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def read_status(run_dir: RunDir) -> Status:
    """Status of a run that has no valid record yet."""
    figures = _figures(run_dir)
    try:
        holder = read_holder(run_dir)
    except LedgerError as error:  # nobody can train it, and the others are to be shown
        return Status(run_dir.id, "failed", str(error), **figures)
    if holder and holder.alive is not False:
        return Status(run_dir.id, "running", f"held by {holder}", **figures, holder=str(holder))
    figures["eta_s"] = None
    attempts = read_attempts(run_dir)
    figures |= _code(attempts)
    if run_dir.record.exists():
        return Status(run_dir.id, "interrupted", "its record is damaged", **figures)
    if holder and not holder.released:
        return Status(run_dir.id, "interrupted", "killed", **figures)
    if not attempts:
        return Status(run_dir.id, "new", "new", **figures)
    last = attempts[-1]
    reason = str(last.get("reason", ""))
    if last.get("event") == "end" and last.get("outcome") == "failed":
        return Status(run_dir.id, "failed", reason or "failed without a reason", **figures)
    killed = last.get("event") == "start"
    return Status(run_dir.id, "interrupted", "killed" if killed else reason or "interrupted", **figures)


def _code(attempts: list[dict[str, Any]]) -> dict[str, str | None]:
    """By what the weights were trained that a run goes on from."""
    last = next(reversed(lasting(attempts)), None)
    row = last.row if last else {}
    return {key: str(row[key]) if row.get(key) else None for key in ("commit", "code")}


def _figures(run_dir: RunDir) -> dict[str, Any]:
    """Epoch, loss and accuracy; damaged or foreign content counts as absent, it is only for the eye."""
    try:
        progress = read_json(run_dir.progress)
    except LedgerError:
        progress = {}
    progress = progress if isinstance(progress, dict) else {}
    metrics = read_jsonl(run_dir.metrics)
    epochs = _number(progress.get("epochs"))
    epoch = _number(metrics[-1].get("epoch")) if metrics else None
    tested = [top1 for row in metrics if (top1 := _number(row.get("test_top1"))) is not None]
    finished = int(epoch) + 1 if epoch is not None else 0 if progress else None
    return {
        "epoch": finished,
        "epochs": int(epochs) if epochs is not None else None,
        "percent": _percent(progress, finished),
        "top1": tested[-1] if tested else _number(progress.get("top1")),
        "best_top1": max(tested) if tested else _number(progress.get("top1")),
        "loss": _number(progress.get("loss")),
        "images_per_s": _number(progress.get("images_per_s")),
        "eta_s": _number(progress.get("eta_s")),
        "gpu_hours": _number(progress.get("gpu_hours")),
    }


def _percent(progress: dict[str, Any], finished: int | None) -> float | None:
    epochs, steps, step = (_number(progress.get(key)) for key in ("epochs", "steps", "step"))
    if not epochs or finished is None:
        return None
    running = _number(progress.get("epoch"))
    part = step / steps if step and steps and running is not None and running >= finished else 0.0
    return min(100.0, 100.0 * (finished + min(part, 1.0)) / epochs)


def _number(value: Any) -> float | None:
    """A finite number, or None: a damaged file may hold `1e999`, `NaN`, or four hundred digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
