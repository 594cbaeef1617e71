from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.launch.devcluster import ROOT, bring_up
from tests.records import make
from tksbench.runs import Ledger
from tksbench.runs.record import save_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tksbench.recipe import Run

CLUSTER = os.environ.get("DEVCLUSTER_ROOT", "/tmp/tksbench-devcluster")  # noqa: S108 - as the script's own

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
def devcluster(cluster_is_up: None) -> Iterator[None]:
    """The cluster, for one test at a time: they kill nodes and the controller under whoever is running."""
    with Path(f"{CLUSTER}.one-test").open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        bring_up(check=True)  # what the test before has left is mended
        yield


@pytest.fixture(scope="session")
def cluster_is_up() -> None:
    """The cluster, started if it is down; it stops when the last process that it was started for has ended."""
    if os.geteuid() != 0:
        pytest.skip("slurm/devcluster up needs root")
    up = bring_up()
    if up.returncode != 0:
        pytest.skip(f"no Slurm here: {up.stderr.strip()[-300:]}")
    os.environ["SLURM_CONF"] = f"{CLUSTER}/etc/slurm.conf"


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
