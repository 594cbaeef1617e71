"""Records of runs that nobody trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tksbench.runs.record import make_record, pack_correct

if TYPE_CHECKING:
    from tksbench.recipe import Run
    from tksbench.runs.record import Record


def record_parts(run: Run, top1: float = 50.0, gpu_hours: float = 0.5) -> dict[str, Any]:
    """The parts of a valid record of a run, with four test samples."""
    epochs = run.spec.epochs
    one = {"epoch": epochs - 1, "top1": top1, "top5": 100.0, "loss": 1.2, "ece": 0.1, "aurc_logit": 300.0}
    one |= {"aurc_softmax": 310.0, "top1_prefix": [40.0, top1], "top1_step": [40.0, 45.0]}
    one |= {"eaurc_logit": 100.0, "eaurc_softmax": 110.0, "top1_halves": [top1, top1]}
    one |= {"first_step_recall": [0.4] * 10}
    curve = {"epoch": list(range(epochs)), "lr": [1e-3] * epochs, "train_loss": [1.5] * epochs}
    curve |= {"train_top1": [40.0] * epochs, "test_top1": [None] * (epochs - 1) + [top1]}
    curve |= {"test_top1_halves": [None] * (epochs - 1) + [[top1, top1]]}
    provenance = {"versions": {"torch": "2.15.0"}, "python": "3.11.7", "platform": "Linux x86_64"}
    provenance |= {"devices": ["CPU"], "data": {"test_batch": "0" * 32}, "command": "python -m tksbench.launch x"}
    provenance |= {"started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T01:00:00+00:00"}
    correct = pack_correct([True, False, True, False])
    plain = {key: value for key, value in run.to_json().items() if key not in ("execution", "parent")}
    return plain | {
        "metrics": {"last": one, "best": one, "curve": curve},
        "test": {"n": 4, "correct_last": correct, "correct_best": correct},
        "attempts": [{"event": "start", "time": "2026-01-01T00:00:00+00:00", "host": "here", "pid": 1}],
        "cost": {"hours": 1.0, "gpu_hours": gpu_hours, "device": "CPU", "parameters": 12},
        "provenance": provenance,
        "weights_sha256": "a" * 64,
    }


def make(run: Run, top1: float = 50.0, gpu_hours: float = 0.5) -> Record:
    """A valid record of a run."""
    return make_record(**record_parts(run, top1, gpu_hours))
