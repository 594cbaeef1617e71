"""Processes that read ahead: only the trainer acts on a signal, and they end when it does, however it does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.train.conftest import MakeRun
from tksbench.runs.attempts import read_attempts
from tksbench.runs.paths import RunDir
from tksbench.train import job
from tksbench.train.loading import cores

PATIENCE_S = 120  # far more than what is waited for takes
TRAINER = """\
import sys
from pathlib import Path
from tests.train.conftest import TinySplit
from tksbench.data import registry
from tksbench.data.base import Data
from tksbench.train import job
from tksbench.train.loading import cores

data = Data(TinySplit(60, 0, True), TinySplit(25, 1, False), 10, {"tiny": "md5:0"})
registry.load = lambda spec, T, seed: data
sys.exit(job.run_job(Path(sys.argv[1])))
"""
ENDS_WHILE_READING = """\
import multiprocessing
import os
import torch
from tests.train.conftest import TinySplit
from tksbench.train.loading import read_batches

batches = read_batches(TinySplit(60, 0, True), ([(0, i)] for i in range(60)), 2, torch.device("cpu"))
multiprocessing.set_start_method("forkserver")  # as in a trainer that a launcher has forked from its server
next(batches)
own = open(f"/proc/self/task/{os.getpid()}/children").read().split()
assert len(own) == min(2, len(os.sched_getaffinity(0))), own
"""


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Training:
    """A trainer of its own session, which trains for long."""

    def __init__(self, run_dir: RunDir) -> None:
        self.dir = run_dir
        self.process = subprocess.Popen(
            [sys.executable, "-c", TRAINER, str(run_dir.path)],
            start_new_session=True,
            stdout=run_dir.log.open("wb"),
            stderr=subprocess.STDOUT,
        )
        self.pid = self.process.pid
        self.workers: list[int] = []

    def wait_for_steps(self) -> None:
        """Until it trains; then its workers are known."""
        for _ in range(PATIENCE_S * 20):
            with suppress(OSError, KeyError, ValueError):
                if json.loads(self.dir.progress.read_text())["step"] and (found := children(self.pid)):
                    self.workers = found
                    return
            assert self.process.poll() is None, self.dir.log.read_text()
            time.sleep(0.05)
        raise AssertionError(self.dir.log.read_text())

    def workers_end(self) -> bool:
        for _ in range(PATIENCE_S * 20):
            if not any(map(alive, self.workers)):
                return True
            time.sleep(0.05)
        return False


@pytest.fixture
def training(make_run: MakeRun) -> Iterator[Training]:
    endless = ("optim.epochs=100000", "evaluation.every=100000")
    run_dir = make_run("results", *endless, "execution.workers=2", "execution.threads=1")[1]
    one = Training(run_dir)
    try:
        one.wait_for_steps()
        assert len(one.workers) == min(2, cores())
        yield one
    finally:
        with suppress(ProcessLookupError):
            os.killpg(one.pid, signal.SIGKILL)
        one.process.wait()


def test_a_signal_to_every_process_saves(training: Training) -> None:
    os.killpg(training.pid, signal.SIGTERM)
    assert training.process.wait(PATIENCE_S) == job.SAVED, training.dir.log.read_text()
    assert read_attempts(training.dir)[-1]["outcome"] == "interrupted"
    assert list(training.dir.checkpoints.glob("*.safetensors"))
    assert training.workers_end()


def test_workers_end_with_a_killed_trainer(training: Training) -> None:
    training.process.kill()
    assert training.process.wait(PATIENCE_S) == -signal.SIGKILL
    assert training.workers_end()


def test_a_signal_to_a_worker_alone_changes_nothing(training: Training) -> None:
    os.kill(training.workers[0], signal.SIGTERM)
    training.dir.progress.unlink()
    training.wait_for_steps()
    assert training.process.poll() is None
    assert all(map(alive, training.workers))


def test_an_exit_in_the_middle_of_reading_waits_for_no_worker() -> None:
    # Python asks the workers to end, and then waits for them without limit.
    done = subprocess.run(
        [sys.executable, "-c", ENDS_WHILE_READING], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_workers_end_with_a_run_that_is_done(make_run: MakeRun) -> None:
    run_dir = make_run("results", "optim.epochs=1", "optim.warmup_epochs=0", "execution.workers=2")[1]
    one = Training(run_dir)
    assert one.process.wait(PATIENCE_S) == job.DONE, run_dir.log.read_text()
    with pytest.raises(ProcessLookupError):
        os.killpg(one.pid, 0)  # nobody is left of its session
