from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tksbench.recipe import Run, expand, load_recipe
from tksbench.runs import Ledger
from tksbench.runs.record import make_record, pack_correct

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tksbench.runs.record import Record

RECIPE = """
protocol:
  data: {name: cifar10, source: miniature, augment: none}
  model: {name: spiking_resnet19, T: 2}
  optim: {name: adamw, lr: 1e-3, weight_decay: 0.0, epochs: 3, batch_size: 4, warmup_epochs: 0}
methods: {baseline: {}, tks: {}}
runs: [{method: tks}, {method: baseline}]
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return expand(load_recipe(path))[0]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "results")


@pytest.fixture
def parts() -> Callable[[Run], dict[str, Any]]:
    """The parts of a valid record of a run."""

    def build(run: Run) -> dict[str, Any]:
        one = {"epoch": 2, "top1": 50.0, "top5": 100.0, "loss": 1.2, "ece": 0.1, "aurc_logit": 300.0}
        one |= {"aurc_softmax": 310.0, "top1_prefix": [40.0, 50.0], "top1_step": [40.0, 45.0]}
        one |= {"eaurc_logit": 100.0, "eaurc_softmax": 110.0, "top1_halves": [50.0, 50.0]}
        one |= {"first_step_recall": [0.4] * 10}
        curve = {"epoch": [0, 1, 2], "lr": [1e-3] * 3, "train_loss": [2.0, 1.5, 1.2], "test_top1": [None, 40.0, 50.0]}
        curve |= {"train_top1": [30.0, 40.0, 50.0], "test_top1_halves": [None, [40.0, 40.0], [50.0, 50.0]]}
        provenance = {"versions": {"torch": "2.15.0"}, "python": "3.11.7", "platform": "Linux x86_64"}
        provenance |= {"devices": ["CPU"], "data": {"test_batch": "0" * 32}, "command": "python -m tksbench.launch x"}
        provenance |= {"started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T01:00:00+00:00"}
        correct = pack_correct([True, False, True, False])
        plain = {key: value for key, value in run.to_json().items() if key != "execution"}
        return plain | {
            "metrics": {"last": one, "best": one, "curve": curve},
            "test": {"n": 4, "correct_last": correct, "correct_best": correct},
            "attempts": [{"event": "start", "time": "2026-01-01T00:00:00+00:00", "host": "here", "pid": 1}],
            "cost": {"hours": 1.0, "gpu_hours": 0.5, "device": "CPU", "parameters": 12},
            "provenance": provenance,
            "weights_sha256": "a" * 64,
        }

    return build


@pytest.fixture
def record(run: Run, parts: Callable[[Run], dict[str, Any]]) -> Record:
    return make_record(**parts(run))
