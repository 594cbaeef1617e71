"""A run of seconds on a miniature, in a process of its own that can be killed, and what is compared of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context, process
from pathlib import Path
from typing import Any

from tksbench.recipe import Run, expand, load_recipe
from tksbench.runs import Ledger, RunDir

# Event frames are cached, and a checkpoint follows each step: every kind of file is written all the time.
RECIPE = """\
protocol:
  data: {name: nmnist, source: miniature, augment: none, image_size: 16}
  model: {name: spiking_resnet19, T: 2, width: 0.03}
  optim: {name: adamw, lr: 1e-2, weight_decay: 0.01, epochs: 3, batch_size: 64, warmup_epochs: 0}
  evaluation: {batch_size: 64}
runs: [{method: tks}]
execution: {device: cpu, checkpoint_minutes: 0}
"""
_PRELOADED = ("tksbench.train.job", "tksbench.train.loop", "tksbench.train.summary", "tksbench.data.event_sets")
LIMIT_S = 300  # seconds after which a run counts as hanging
Fault = Callable[..., None]


class World:
    """A folder with a data root that all runs share; each run has results and a frame cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(parents=True, exist_ok=True)
        path = folder / "torture.yaml"
        path.write_text(RECIPE)
        self.run: Run = expand(load_recipe(path))[0]

    def prepare(self, name: str) -> RunDir:
        """A results folder of its own for the run."""
        return Ledger(self.folder / name).prepare(self.run)

    def start(self, run_dir: RunDir, fault: Fault | None = None, *args: Any) -> process.BaseProcess:
        """Start the trainer; `fault(*args)`, a module's function, is called in its process first."""
        context = get_context("forkserver")
        context.set_forkserver_preload(list(_PRELOADED))
        environment = {**os.environ, "TKSBENCH_DATA": str(self.data), "TKSBENCH_CACHE": str(self.cache(run_dir))}
        child = context.Process(target=_train, args=(run_dir, self.log(run_dir), environment, fault, args))
        child.start()
        return child

    def train(self, run_dir: RunDir, fault: Fault | None = None, *args: Any) -> int:
        """Train to the end, whatever that is; the exit status, negative for a signal."""
        return wait(self.start(run_dir, fault, *args))

    def cache(self, run_dir: RunDir) -> Path:
        """The frame cache of a results folder."""
        return self.folder / f"cache-{run_dir.path.parent.parent.name}"

    def log(self, run_dir: RunDir) -> Path:
        """What the trainers of a results folder have said; it lies outside, where the disk does not fail."""
        return self.folder / f"{run_dir.path.parent.parent.name}.txt"

    def remove(self, run_dir: RunDir) -> None:
        """Remove a results folder and its frame cache."""
        for folder in (run_dir.path.parent.parent, self.cache(run_dir)):
            shutil.rmtree(folder, ignore_errors=True)

    def temporaries(self, run_dir: RunDir) -> list[str]:
        """Names of unfinished files in the run's directory, its frame cache and the data root."""
        roots = (run_dir.path, self.cache(run_dir), self.data)
        found = (path for root in roots for path in root.rglob(".*.tmp"))
        return sorted(path.name for path in found)


def wait(child: process.BaseProcess) -> int:
    """Wait for a trainer's exit status, negative for a signal; one that hangs is killed.

    Seconds are counted one by one: while this process is suspended, none pass.
    """
    for _ in range(LIMIT_S):
        child.join(1)
        if child.exitcode is not None:
            return child.exitcode
    kill(child)
    raise TimeoutError(f"still running after {LIMIT_S} s")


def kill(child: process.BaseProcess) -> None:
    """Kill a trainer and all that it started, with -9."""
    assert child.pid is not None
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.kill()  # it may not have a process group of its own yet
    child.join()


def outcome(run_dir: RunDir) -> dict[str, Any]:
    """All of a finished run that must not depend on how often it was killed, by file."""
    record = json.loads(run_dir.record.read_bytes())
    record["provenance"] = {key: record["provenance"][key] for key in ("data", "devices", "threads", "versions")}
    for key in ("attempts", "seal"):
        del record[key]
    for key in ("hours", "gpu_hours", "energy_kwh", "images_per_s"):
        del record["cost"][key]
    names = ("metrics", "losses", "logits_last", "logits_best", "labels", "features_last")
    return {"record": record} | {name: getattr(run_dir, name).read_bytes() for name in names}


def _train(run_dir: RunDir, log: Path, environment: dict[str, str], fault: Fault | None, args: tuple[Any, ...]) -> None:
    """What the new process does."""
    import sys

    from tksbench.train.job import configure_logging, run_job

    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for number in (1, 2):
        os.dup2(descriptor, number)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    os.environ.clear()  # the server that this was forked from has the variables of the test that started it
    os.environ.update(environment | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"})
    if fault is not None:
        fault(*args)
    configure_logging()
    sys.exit(run_job(run_dir.path))


def wait_until(condition: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    """Look again and again until something is so."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("did not happen in time")
        time.sleep(0.01)
