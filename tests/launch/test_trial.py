"""`--cluster local` and `--cluster debug`: the job of a node, tried without one."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tksbench.launch import trial
from tksbench.launch.errors import LaunchError
from tksbench.launch.plan import collect_runs, make_plan
from tksbench.launch.profile import SlurmProfile
from tksbench.runs import Ledger, read_attempts, read_jsonl

if TYPE_CHECKING:
    from collections.abc import Callable

    from tksbench.recipe import Run

PROFILE = SlurmProfile(gpus_per_node=0, cpus_per_task=1, minutes=10, signal_seconds=60)
# The cluster's fake trainer; in its first start the time limit comes near after an epoch or so.
TRAINER = """
import os, signal, sys, threading
from pathlib import Path
from tests.launch.slurm_trainer import main
first = Path(sys.argv[2], "first" + os.environ["RANK"])
if not first.exists():
    first.touch()
    threading.Timer(0.5, os.kill, (os.getppid(), signal.SIGUSR2)).start()
sys.exit(main())
"""


@pytest.fixture
def run(recipe: str) -> Run:
    return collect_runs([recipe], "paper")[0]


def test_a_local_job_of_two_nodes_saves_at_the_signal_and_goes_on(
    run: Run, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_EPOCH_S", "0.3")
    (tmp_path / "trainer.py").write_text(TRAINER)
    profile = PROFILE.model_copy(update={"nodes": 2, "setup": ["shopt -s extglob"]})  # of bash, not of sh
    lines: list[str] = []
    command = [sys.executable, str(tmp_path / "trainer.py"), "train"]
    assert trial.try_here(make_plan([run], ledger), ledger, profile, "local", lines.append, command) == 0
    trained = read_jsonl(ledger.run_dir(run.id).path / "trained.jsonl")
    assert [row["epoch"] for row in trained] == [0, 1, 2, 3]
    assert {row["WORLD_SIZE"] for row in trained} == {"2"}
    ends = [row["reason"] for row in read_attempts(ledger.run_dir(run.id)) if row["event"] == "end"]
    assert ends == ["stopped by a signal", ""]
    assert lines[-2].startswith("done: ")


def test_a_set_up_that_fails_is_seen_where_it_is_tried(run: Run, ledger: Ledger) -> None:
    profile = PROFILE.model_copy(update={"setup": ["module load cuda/99"]})
    lines: list[str] = []
    assert trial.try_here(make_plan([run], ledger), ledger, profile, "local", lines.append) == 1
    assert lines[-2].endswith(": see the log")
    (log,) = (ledger.root / "slurm").glob("*/*_log.out")
    assert "module: command not found" in log.read_text()


def test_debug_trains_in_this_process(
    run: Run, ledger: Ledger, finish: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tksbench.train.job.run_job", lambda path: finish(run))
    assert trial.try_here(make_plan([run], ledger), ledger, PROFILE, "debug", print) == 0
    assert ledger.status(run.id).state == "done"


def test_a_folder_whose_name_submitit_would_change_is_refused(run: Run, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "of-%j")
    with pytest.raises(LaunchError, match="set TKSBENCH_RESULTS"):
        trial.try_here(make_plan([run], ledger), ledger, PROFILE, "local", print)


def test_ctrl_c_lets_a_local_job_save_and_leave(run: Run, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_EPOCH_S", "0.3")
    pressed: list[bool] = []
    sleep = time.sleep

    def press(seconds: float) -> None:
        if not pressed and read_jsonl(ledger.run_dir(run.id).metrics):
            pressed.append(True)
            raise KeyboardInterrupt
        sleep(seconds)

    monkeypatch.setattr(trial.time, "sleep", press)
    command = [sys.executable, str(Path(__file__).with_name("slurm_trainer.py")), "train"]
    assert trial.try_here(make_plan([run], ledger), ledger, PROFILE, "local", print, command) == 130
    ends = [row["reason"] for row in read_attempts(ledger.run_dir(run.id)) if row["event"] == "end"]
    assert ends == ["stopped by a signal"]
