"""Trainers forked from a process that has imported everything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.launch.conftest import ROOT
from tksbench.train import forked
from tksbench.train.forked import ForkedTrainer, Preload

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_S = 60


@pytest.fixture(autouse=True)
def _light_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forked, "_PRELOADED", ())


def test_it_ends_as_the_command_does_and_writes_to_the_log(tmp_path: Path) -> None:
    run_dir, log = tmp_path / "results" / "runs" / "0123456789abcdef", tmp_path / "log.txt"
    run_dir.mkdir(parents=True)
    log.write_text("before\n")
    trainer = ForkedTrainer(run_dir, log, dict(os.environ))
    assert trainer.wait() == 2
    assert trainer.poll() == 2
    told = log.read_text()
    assert told.startswith("before\n")
    assert "run.json" in told


def test_what_it_says_of_a_path_that_is_no_text_is_in_the_log(tmp_path: Path) -> None:
    run_dir, log = tmp_path / os.fsdecode(b"\xff") / "runs" / "0123456789abcdef", tmp_path / "log.txt"
    run_dir.mkdir(parents=True)
    assert ForkedTrainer(run_dir, log, dict(os.environ)).wait() == 2
    assert "\\udcff/runs/0123456789abcdef/run.json" in log.read_text()


def test_its_environment_is_the_one_given_and_a_signal_reaches_it(tmp_path: Path) -> None:
    script = tmp_path / "hold.py"
    script.write_text(HOLD)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "seen")],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MARK": "of the launcher"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "seen").read_text() == "given, own session, SIGTERM"


def test_the_launcher_goes_on_while_torch_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = threading.Event()
    monkeypatch.setattr(forked, "_fork_once", loaded.wait)
    preload = Preload()
    assert [preload.done() for _ in range(3)] == [False, False, False]
    loaded.set()
    deadline = time.monotonic() + TIMEOUT_S
    while not preload.done() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert preload.done()


def test_torch_is_loaded_once_a_process_can_be_forked() -> None:
    forked._fork_once()  # returns


HOLD = """
import os, signal, sys, time
from pathlib import Path
from tksbench.train import forked
import tksbench.train.job as job

def wait(run_dir):
    seen = [os.environ["MARK"], "own session" if os.getsid(0) == os.getpid() else "no session"]
    def stop(number, frame):
        Path(sys.argv[1]).write_text(", ".join([*seen, signal.Signals(number).name]))
        sys.exit(3)
    signal.signal(signal.SIGTERM, stop)
    Path(sys.argv[1] + ".ready").touch()
    time.sleep(60)

if __name__ == "__main__":
    forked._PRELOADED = ()
    trainer = forked.ForkedTrainer(Path("."), Path(sys.argv[1] + ".log"), {**os.environ, "MARK": "given"})
    while not Path(sys.argv[1] + ".ready").exists():
        time.sleep(0.05)
    if len(sys.argv) > 2:
        os.kill(os.getpid(), signal.SIGKILL)
    trainer.send_signal(signal.SIGTERM)
    sys.exit(0 if trainer.wait() == 3 else 1)
else:
    job.run_job = wait
"""


def test_it_is_told_to_stop_when_its_launcher_dies(tmp_path: Path) -> None:
    script = tmp_path / "hold.py"
    script.write_text(HOLD)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "seen"), "die"],
        capture_output=True,
        timeout=TIMEOUT_S,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MARK": "of the launcher"},
    )
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + TIMEOUT_S
    while not (tmp_path / "seen").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "seen").read_text().endswith("SIGTERM")
