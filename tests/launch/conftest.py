from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.records import make
from tksbench.runs import Ledger
from tksbench.runs.record import save_record

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
    """Give a run a record, as if it had been trained on a GPU."""

    def write(run: Run, gpu_hours: float = 0.5) -> None:
        save_record(ledger.prepare(run).record, make(run, 40.0, gpu_hours))

    return write
