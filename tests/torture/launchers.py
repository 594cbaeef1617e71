"""Many launchers at one results folder, from machines with other clocks and without file locks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.torture.world import wait_until
from tksbench.launch.plan import collect_runs
from tksbench.runs import Lease, LeaseHeld, Ledger, RunDir, read_holder, read_jsonl

ROOT = Path(__file__).parents[2]
_RECIPE = """\
protocol:
  data: {name: cifar10, source: miniature, augment: none}
  model: {name: spiking_resnet19, T: 4}
  optim: {name: adamw, lr: 1e-3, weight_decay: 0.0, epochs: 2, batch_size: 128, warmup_epochs: 0}
methods: {baseline: {}, tks: {}}
runs: [{method: tks}, {method: baseline}]
"""
_HOLD = """
import sys, time
from pathlib import Path
from tests.launch.fake_machine import pretend
from tksbench.runs import Lease, RunDir
pretend()
Lease.acquire(RunDir(Path(sys.argv[1])), beat_s=0.05)
print("held", flush=True)
time.sleep(600)
"""


def compete(folder: Path, launchers: int, runs: int) -> list[str]:
    """Start launchers at once, half of them on machines of their own, all without locks; one is killed with -9.

    Returns:
        What is not as it should be; empty if every run was trained exactly once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recipe, ledger = folder / "many.yaml", Ledger(folder / "results")
    recipe.write_text(_RECIPE)
    command = [sys.executable, str(ROOT / "tests/launch/fake_launcher.py"), str(recipe), str(ledger.root), "0,1"]
    command.append(str(runs // 2))
    children = []
    for number in range(launchers):
        environment = _environment(f"node{number}" if number % 2 else "") | {"FAKE_EPOCH_S": "0.05"}
        with (folder / f"launcher{number}.txt").open("wb") as out:
            children.append(subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment))
    problems = []
    try:
        wait_until(lambda: list((ledger.root / "runs").glob("*/trained.jsonl")))
        children[0].kill()  # its trainers save and leave; somebody takes their runs over
        for number, child in enumerate(children):
            code = child.wait(600)
            if number and code:
                problems.append(f"launcher {number} ended with status {code}")
    finally:
        for child in children:
            child.kill()
            child.wait()
    for run in collect_runs([str(recipe)], "paper", seeds=runs // 2):
        trained = [row["epoch"] for row in read_jsonl(ledger.run_dir(run.id).path / "trained.jsonl")]
        if ledger.status(run.id).state != "done" or trained != [0, 1]:
            problems.append(f"run {run.id}: {ledger.status(run.id).state}, epochs trained {trained}")
    return problems


def leases(folder: Path) -> list[str]:
    """A holder on another machine, its clock hours off: alive it keeps its run, dead it is followed.

    Returns:
        What is not as it should be.
    """
    problems = []
    for host in ("hours-ahead", "behind-by-hours"):  # by 16 and by 11: see `pretend`
        run_dir = RunDir(folder / host / "0123456789abcdef")
        with _holder(run_dir, host) as child:
            try:
                Lease.acquire(run_dir, takeover_s=60).release()
                problems.append(f"{host}: a living holder was followed")
            except LeaseHeld:
                pass
            child.kill()
            child.wait()
            holder = read_holder(run_dir)
            if holder is None or holder.alive is not None or holder.host != host:
                problems.append(f"{host}: is not taken for another machine: {holder}")
            with Lease.acquire(run_dir, takeover_s=0.5) as lease:
                if lease.number != 2:
                    problems.append(f"{host}: a dead holder was not followed once")
    return problems


@contextmanager
def _holder(run_dir: RunDir, host: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _HOLD, str(run_dir.path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment(host))
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield child
    finally:
        child.kill()
        child.wait()


def _environment(host: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "FAKE_HOST": host, "FAKE_NO_LOCKS": "1"}
