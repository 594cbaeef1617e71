"""Real training over the two nodes of the Slurm that `slurm/devcluster` starts, by the user's own commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from tests.launch.devcluster import ROOT, until
from tksbench.runs import Ledger, read_attempts
from tksbench.runs.record import load_record

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("devcluster")]

needs_deepspeed = pytest.mark.skipif(
    find_spec("deepspeed") is None, reason="DeepSpeed is not installed: make env EXTRAS=deepspeed"
)
RUN = ("recipes/imagenet.yaml", "--scale", "smoke", "--only", "imagenet/sew_resnet50/tks")
SHORTER = ("data.source=miniature", "optim.epochs=3", "data.train_subset=160", "data.test_subset=60")


def launch(results: Path, *words: str) -> str:
    command = [sys.executable, "-m", "tksbench.launch", *RUN, *SHORTER, *words]
    env = os.environ | {"TKSBENCH_RESULTS": str(results), "TKSBENCH_DATA": str(results.parent / "data")}
    return subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout


def status(results: Path, *words: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = json.loads(launch(results, "--status", "--json", *words))
    return rows[0]


def test_a_run_that_its_node_refuses_says_why(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    results = tmp_path / "results"
    launch(results, "--slurm", "slurm/devcluster.yaml", "optim.batch_size=15")
    until(lambda: "refused" in status(results, "optim.batch_size=15")["reason"])
    told = status(results, "optim.batch_size=15")
    assert told["state"] == "new"
    assert "optim.batch_size 15 cannot be shared evenly among 2 processes" in told["reason"]


@pytest.mark.parametrize("zero", [0, pytest.param(2, marks=needs_deepspeed)])
def test_imagenet_over_two_nodes_ends_with_the_same_weights_after_a_requeue(zero: int, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    (tmp_path / "data").mkdir()
    for results in (whole, broken):
        launch(results, "--slurm", "slurm/devcluster.yaml", f"execution.zero={zero}")
    run_id = status(broken)["id"]
    run_dir = Ledger(broken).run_dir(run_id)
    until(lambda: (status(broken)["epoch"] or 0) >= 1, 400)
    job = read_attempts(run_dir)[-1]["job"]
    subprocess.run(["scancel", "--signal=USR2", job], check=True)
    until(lambda: status(broken)["state"] == "done", 400)
    until(lambda: status(whole)["state"] == "done", 400)
    first, second = (load_record(Ledger(results).run_dir(run_id).record) for results in (whole, broken))
    assert [row.reason for row in second.attempts if row.event == "end"] == ["stopped by a signal", ""]
    assert sum(row.event == "start" for row in first.attempts) == 1
    assert (second.provenance.processes, second.provenance.nodes) == (2, 2)
    assert second.weights_sha256 == first.weights_sha256
    assert second.metrics == first.metrics
