from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tksbench.runs import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from tksbench.recipe import Run

ROOT = Path(__file__).parents[2]
RECIPE = """
protocol:
  data: {name: cifar10, source: SOURCE, augment: none}
  model: {name: spiking_resnet19, T: 4}
  optim: {name: adamw, lr: 1e-3, weight_decay: 0.0, epochs: 4, batch_size: 128, warmup_epochs: 0}
methods: {baseline: {}, tks: {}}
runs: [{method: tks}, {method: baseline}]
"""


@pytest.fixture(autouse=True)
def _children_find_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    """Two cells on a miniature."""
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE.replace("SOURCE", "miniature"))
    return str(path)


@pytest.fixture
def real_recipe(tmp_path: Path) -> str:
    """Two cells on the real data set."""
    path = tmp_path / "real.yaml"
    path.write_text(RECIPE.replace("SOURCE", "real"))
    return str(path)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "results")


@pytest.fixture
def finish(ledger: Ledger) -> Callable[..., None]:
    """Give a run the head of a record, as if it had been trained on a GPU."""

    def write(run: Run, gpu_hours: float = 0.5) -> None:
        from tksbench.runs import write_json

        head = {"id": run.id, "group": run.group, "spec": run.spec.model_dump(mode="json")}
        head |= {"cost": {"gpu_hours": gpu_hours}, "metrics": {"last": {"top1": 40.0}}}
        write_json(ledger.prepare(run).record, head)

    return write
