from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.records import make, record_parts
from tests.runs.checkout import make_package
from tksbench.recipe import Run, expand, load_recipe
from tksbench.runs import Ledger

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
    return record_parts


@pytest.fixture
def record(run: Run) -> Record:
    return make(run)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A committed package in a checkout of its own."""
    return make_package(tmp_path / "checkout")
