from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tksbench.exits import explain
from tksbench.launch import local
from tksbench.launch.local import LocalExecutor, Summary
from tksbench.launch.plan import collect_runs, make_plan
from tksbench.launch.slots import Slot, cores_of, lock_slot
from tksbench.runs import Lease, attempt_ended, read_holder, read_jsonl
from tksbench.train import parallel
from tksbench.train.errors import TrainError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tksbench.launch.view import Active
    from tksbench.recipe import Run
    from tksbench.runs import Ledger, RunDir

TRAINER = Path(__file__).with_name("fake_trainer.py")
LAUNCHER = Path(__file__).with_name("fake_launcher.py")


class Log:
    """A view that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.running: list[list[tuple[str, str]]] = []

    def event(self, kind: str, text: str) -> None:
        self.events.append((kind, text))

    def update(self, active: Sequence[Active], counts: Mapping[str, int], pending: str = "") -> None:
        self.running.append([(item.run.id, item.where) for item in active])

    def close(self) -> None:
        pass


@pytest.fixture
def runs(recipe: str) -> list[Run]:
    return collect_runs([recipe], "paper", seeds=2)


@pytest.fixture
def execute(ledger: Ledger, tmp_path: Path) -> Callable[..., tuple[Summary, Log]]:
    """Plan and execute runs with the fake trainer; `modes` maps a run's id to what it does."""

    def start(
        runs: Sequence[Run], modes: Mapping[str, str] = {}, gpus: Sequence[str] = (), **more: Any
    ) -> tuple[Summary, Log]:
        def command(run_dir: RunDir) -> list[str]:
            return [sys.executable, str(TRAINER), str(run_dir.path), modes.get(run_dir.id, "train")]

        log = Log()
        executor = LocalExecutor(ledger, gpus, log, command=command, lock_folder=tmp_path / "locks", **more)
        return executor.execute(make_plan(runs, ledger)), log

    return start


def _epochs(ledger: Ledger, run: Run) -> list[int]:
    """Epochs that the fake trainer has trained, in order."""
    return [row["epoch"] for row in read_jsonl(ledger.run_dir(run.id).path / "trained.jsonl")]


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "did not happen within 30 s"
        time.sleep(0.01)


def test_runs_are_trained_in_order_one_at_a_time_on_the_cpu(
    execute: Callable[..., tuple[Summary, Log]], runs: list[Run], ledger: Ledger
) -> None:
    summary, log = execute(runs[:2])
    assert summary.done == runs[:2]
    assert max(len(active) for active in log.running) == 1
    assert all(ledger.status(run.id).state == "done" for run in runs[:2])


@pytest.mark.parametrize(
    ("threads", "cores", "at_once"),
    [
        ((1, 1, 1), 2, 2),
        ((1, 1, 1), 8, 3),
        ((2, 2, 2), 3, 1),
        ((9, 1, 1), 2, 2),
        ((1, None, 1), 2, 1),
        ((1, 2, 1), 3, 2),
    ],
)
def test_runs_on_the_cpu_train_side_by_side_as_far_as_there_are_cores_for_their_threads(
    execute: Callable[..., tuple[Summary, Log]],
    runs: list[Run],
    monkeypatch: pytest.MonkeyPatch,
    threads: tuple[int | None, ...],
    cores: int,
    at_once: int,
) -> None:
    monkeypatch.setenv("FAKE_EPOCH_S", "0.1")
    mine = [
        dataclasses.replace(run, execution=run.execution.model_copy(update={"threads": number}))
        for run, number in zip(runs, threads, strict=False)
    ]
    summary, log = execute(mine, cores=cores)
    assert len(summary.done) == 3
    assert max(len(active) for active in log.running) == at_once
    taken = {run.id: cores_of(run.execution, cores) for run in mine}
    assert max(sum(taken[run] for run, _ in active) for active in log.running) <= cores


def test_runs_on_gpus_take_no_core_from_those_on_the_cpu(
    execute: Callable[..., tuple[Summary, Log]], runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_EPOCH_S", "0.1")
    on_cpu = runs[0].execution.model_copy(update={"device": "cpu"})
    mine = [
        dataclasses.replace(run, execution=on_cpu if index % 2 else run.execution) for index, run in enumerate(runs[:3])
    ]
    summary, log = execute(mine, gpus=["0"], cores=1)
    assert len(summary.done) == 3
    assert max(len(active) for active in log.running) == 2
    assert {where for active in log.running for run, where in active if run == mine[1].id} == {"CPU"}


def test_a_second_ctrl_c_passes_over_a_run_that_has_just_left(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = []

    def killpg(pid: int, number: int) -> None:
        killed.append(pid)
        if pid == 1:
            raise ProcessLookupError

    monkeypatch.setattr("os.killpg", killpg)
    executor = LocalExecutor(ledger, (), Log())
    for pid in (1, 2):
        job: Any = types.SimpleNamespace(process=types.SimpleNamespace(pid=pid))
        executor._jobs.append(job)
    executor._signals, executor._forwarded = 2, 1
    executor._pass_signals_on()
    assert killed == [1, 2]


def test_each_gpu_has_one_run_at_a_time_and_the_job_sees_that_gpu_alone(
    execute: Callable[..., tuple[Summary, Log]],
    runs: list[Run],
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAKE_EPOCH_S", "0.1")
    summary, log = execute(runs[:3], gpus=["0", "3"])
    assert len(summary.done) == 3
    assert max(len(active) for active in log.running) == 2
    seen = {read_jsonl(ledger.run_dir(run.id).path / "trained.jsonl")[0]["gpu"] for run in runs[:3]}
    assert seen == {"0", "3"}


def test_runs_are_not_looked_at_while_other_launchers_have_all_gpus(
    runs: list[Run], ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = lock_slot(Slot("0"), tmp_path)
    assert lock is not None
    items = make_plan(runs[:3], ledger)
    looks: list[str] = []
    status = ledger.status

    def look(run_id: str) -> Any:
        looks.append(run_id)
        return status(run_id)

    class Patient(Log):
        def update(self, active: Sequence[Active], counts: Mapping[str, int], pending: str = "") -> None:
            super().update(active, counts)
            if len(self.running) == 3:
                assert looks == []
                os.close(lock)

    monkeypatch.setattr(ledger, "status", look)
    log = Patient()
    command = [sys.executable, str(TRAINER)]
    executor = LocalExecutor(
        ledger, ["0"], log, command=lambda run_dir: [*command, str(run_dir.path), "train"], lock_folder=tmp_path
    )
    assert executor.execute(items).done == runs[:3]
    waits = [text for _, text in log.events if text.startswith("GPU 0")]
    assert waits == ["GPU 0: waiting for another run to leave it"]


def test_a_second_round_trains_nothing(
    execute: Callable[..., tuple[Summary, Log]], runs: list[Run], ledger: Ledger
) -> None:
    execute(runs[:1])
    summary, _ = execute(runs[:1])
    assert summary == Summary()
    assert _epochs(ledger, runs[0]) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("fail", "loss is NaN in step 17"),
        ("crash", "ended with status 1: RuntimeError: no such kernel"),
        ("killed", "killed by SIGKILL (out of memory?)"),
        ("empty", "ended without a record"),
    ],
)
def test_a_failure_tells_reason_and_log_and_the_others_go_on(
    mode: str, reason: str, execute: Callable[..., tuple[Summary, Log]], runs: list[Run], ledger: Ledger
) -> None:
    bad, good = runs[:2]
    summary, log = execute([bad, good], {bad.id: mode})
    assert (summary.failed, summary.done) == ([bad], [good])
    told = [text for kind, text in log.events if kind == "failed"]
    assert len(told) == 1
    assert reason in told[0]
    assert str(ledger.run_dir(bad.id).log) in told[0]


def test_a_signal_without_a_name_is_told_by_its_number() -> None:
    assert explain(-40, "") == "killed by signal 40"


def test_runs_that_cannot_begin_leave_nothing_and_their_reason_is_told_once(
    execute: Callable[..., tuple[Summary, Log]], runs: list[Run], ledger: Ledger
) -> None:
    summary, log = execute(runs[:3], {run.id: "bad" for run in runs[:2]})
    assert (summary.refused, summary.failed, summary.done) == (runs[:2], [], runs[2:3])
    told = [text.partition(": ")[2] for kind, text in log.events if kind == "refused"]
    assert told == ["CIFAR-10: test_batch is cut", "the same"]
    assert [path.name for path in (ledger.root / "runs").iterdir()] == [runs[2].id]


def test_a_run_that_another_finishes_meanwhile_is_not_trained(
    execute: Callable[..., tuple[Summary, Log]], runs: list[Run], ledger: Ledger, finish: Callable[[Run], None]
) -> None:
    items = make_plan(runs[:1], ledger)
    finish(runs[0])
    log = Log()
    summary = LocalExecutor(ledger, [], log, command=lambda run_dir: ["false"]).execute(items)
    assert summary.done == runs[:1]
    assert "trained by another launcher" in log.events[-1][1]


def _hold(ledger: Ledger, run: Run, then: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> Lease:
    """Hold a run's lease until the executor looks at it for the third time, then do something and let go."""
    lease = Lease.acquire(ledger.prepare(run))
    looks = []
    status = ledger.status

    def look(run_id: str) -> Any:
        looks.append(run_id)
        if len(looks) == 3:
            then()
            lease.release()
        return status(run_id)

    monkeypatch.setattr(ledger, "status", look)
    return lease


def test_waiting_ends_when_the_other_has_finished(
    execute: Callable[..., tuple[Summary, Log]],
    runs: list[Run],
    ledger: Ledger,
    finish: Callable[[Run], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _hold(ledger, runs[0], lambda: finish(runs[0]), monkeypatch)
    summary, _ = execute(runs[:1])
    assert summary.done == runs[:1]
    assert _epochs(ledger, runs[0]) == []


def test_a_run_that_the_other_gave_up_is_taken_over(
    execute: Callable[..., tuple[Summary, Log]], runs: list[Run], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hold(ledger, runs[0], lambda: None, monkeypatch)
    summary, _ = execute(runs[:1])
    assert summary.done == runs[:1]
    assert _epochs(ledger, runs[0]) == [0, 1, 2, 3]


def test_a_run_that_failed_with_the_other_is_reported_not_repeated(
    execute: Callable[..., tuple[Summary, Log]], runs: list[Run], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs[0]
    _hold(ledger, run, lambda: attempt_ended(ledger.run_dir(run.id), "failed", "loss is NaN"), monkeypatch)
    summary, _ = execute([run])
    assert summary.failed == [run]
    assert _epochs(ledger, run) == []


@pytest.mark.parametrize("warm", [True, False])
def test_a_trainer_does_not_take_the_launchers_task_for_its_own(
    warm: bool, runs: list[Run], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {*parallel._TORCH, *parallel._SLURM, *parallel._MASTER}
    for name in (*names, "SLURM_JOB_ID"):
        monkeypatch.setenv(name, "4")
    given: list[dict[str, str]] = []

    def trainer(*words: Any, env: dict[str, str] | None = None, **more: Any) -> None:
        given.append(words[-1] if env is None else env)
        raise TrainError("seen enough")

    monkeypatch.setattr(local, "ForkedTrainer", trainer)
    monkeypatch.setattr("subprocess.Popen", trainer)
    executor = LocalExecutor(ledger, [], Log(), command=None if warm else lambda _: ["false"])
    with pytest.raises(TrainError, match="seen enough"):
        executor.execute(make_plan(runs[:1], ledger))
    (environment,) = given
    assert names.isdisjoint(environment)
    assert environment["SLURM_JOB_ID"] == "4"


_ELSEWHERE = {"host": "node7", "machine": "node7 another boot", "pid": 77, "started": "5", "beat": 3, "released": False}


def _silent(ledger: Ledger, run: Run, lease: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lease of a holder elsewhere that died, and a launcher and trainers that lose patience with it soon."""
    leases = ledger.prepare(run).leases
    leases.mkdir()
    (leases / "1.json").write_text(lease)
    monkeypatch.setattr(local, "_SILENT_S", 0.3)
    monkeypatch.setattr(local, "_WAIT_POLL_S", 0.0)
    monkeypatch.setenv("FAKE_TAKEOVER_S", "0.3")
    return leases / "1.json"


@pytest.mark.parametrize("lease", [json.dumps(_ELSEWHERE), ""])
def test_a_run_whose_holder_elsewhere_is_silent_is_taken_over(
    lease: str,
    execute: Callable[..., tuple[Summary, Log]],
    runs: list[Run],
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = runs[0]
    _silent(ledger, run, lease, monkeypatch)
    summary, log = execute([run])
    assert summary.done == [run]
    assert _epochs(ledger, run) == [0, 1, 2, 3]
    told = [text.rpartition(": ")[2] for kind, text in log.events if kind == "note"]
    assert told == ["waiting for whoever trains it", "started on CPU"]


def test_a_holder_elsewhere_that_lives_after_all_is_given_another_full_silence(
    runs: list[Run], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = _silent(ledger, runs[0], json.dumps(_ELSEWHERE), monkeypatch)
    held = f"import pathlib, sys; pathlib.Path({str(lease)!r}).write_text('{{}}'); sys.exit(4)"
    log, waits_before_each = Log(), []

    def command(run_dir: RunDir) -> list[str]:
        waits_before_each.append(log.running.count([(runs[0].id, "other")]))
        real = [sys.executable, str(TRAINER), str(run_dir.path), "train"]
        return [sys.executable, "-c", held] if len(waits_before_each) < 3 else real

    summary = LocalExecutor(ledger, [], log, command=command).execute(make_plan(runs[:1], ledger))
    assert summary.done == runs[:1]
    assert len(waits_before_each) == 3
    assert sorted(set(waits_before_each)) == waits_before_each  # it was among the waiting before each of them


@pytest.mark.parametrize(("code", "outcome"), [(2, "refused"), (1, "failed"), (0, "failed")])
def test_a_trainer_that_cannot_look_at_a_silent_holder_is_not_sent_again(
    code: int, outcome: str, runs: list[Run], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    _silent(ledger, runs[0], json.dumps(_ELSEWHERE), monkeypatch)
    command = [sys.executable, "-c", f"import sys; sys.exit({code})"]
    executor = LocalExecutor(ledger, [], Log(), command=lambda _: command)
    assert getattr(executor.execute(make_plan(runs[:1], ledger)), outcome) == runs[:1]


@pytest.mark.parametrize("error", [BrokenPipeError(), SystemExit(1)])
def test_training_goes_on_when_nobody_reads_of_it_any_more(
    error: BaseException, runs: list[Run], ledger: Ledger
) -> None:
    class Unread(Log):
        def event(self, kind: str, text: str) -> None:
            raise error

        def update(self, active: Sequence[Active], counts: Mapping[str, int], pending: str = "") -> None:
            raise error

    def command(run_dir: RunDir) -> list[str]:
        return [sys.executable, str(TRAINER), str(run_dir.path), "train"]

    assert LocalExecutor(ledger, [], Unread(), command=command).execute(make_plan(runs[:2], ledger)).done == runs[:2]


def test_no_trainer_is_left_alone_when_telling_of_it_fails(runs: list[Run], ledger: Ledger) -> None:
    class Defective(Log):
        def event(self, kind: str, text: str) -> None:
            raise ZeroDivisionError

    command = [sys.executable, str(TRAINER), str(ledger.run_dir(runs[0].id).path), "train"]
    executor = LocalExecutor(ledger, [], Defective(), command=lambda _: command)
    with pytest.raises(ZeroDivisionError):
        executor.execute(make_plan(runs[:1], ledger))
    (job,) = executor._jobs
    assert job.process.poll() is not None


def _launch(recipe: str, ledger: Ledger, gpus: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, str(LAUNCHER), recipe, str(ledger.root), gpus]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_ctrl_c_lets_the_run_save_and_the_same_command_goes_on(
    recipe: str, runs: list[Run], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_EPOCH_S", "0.1")
    first = _launch(recipe, ledger)
    _until(lambda: _epochs(ledger, runs[0]))
    first.send_signal(signal.SIGINT)
    told, _ = first.communicate(timeout=300)
    assert first.returncode == 130, told
    assert "the same command goes on" in told
    assert ledger.status(runs[0].id).state == "interrupted"
    monkeypatch.setenv("FAKE_EPOCH_S", "0")
    second = _launch(recipe, ledger)
    told, _ = second.communicate(timeout=300)
    assert second.returncode == 0, told
    assert [_epochs(ledger, run) for run in runs] == [[0, 1, 2, 3]] * 4


def test_a_second_ctrl_c_kills(recipe: str, runs: list[Run], ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_EPOCH_S", "600")
    launcher = _launch(recipe, ledger)
    # In its long epoch the trainer cannot act on the first signal.
    _until(lambda: (ledger.run_dir(runs[0].id).path / "in-epoch").exists())
    launcher.send_signal(signal.SIGINT)
    assert launcher.stdout is not None
    while "saves first" not in launcher.stdout.readline():
        assert launcher.poll() is None
    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=300)
    assert launcher.returncode == 130
    assert (ledger.status(runs[0].id).state, ledger.status(runs[0].id).reason) == ("interrupted", "killed")


def test_a_second_ctrl_c_during_the_first_is_not_lost(
    runs: list[Run], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Impatient(Log):
        def event(self, kind: str, text: str) -> None:
            super().event(kind, text)
            if "saves first" in text:
                os.kill(os.getpid(), signal.SIGINT)

        def update(self, active: Sequence[Active], counts: Mapping[str, int], pending: str = "") -> None:
            super().update(active, counts)
            if (ledger.run_dir(runs[0].id).path / "in-epoch").exists() and len(self.events) == 1:
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setenv("FAKE_EPOCH_S", "600")
    command = [sys.executable, str(TRAINER), str(ledger.run_dir(runs[0].id).path), "train"]
    executor = LocalExecutor(ledger, (), Impatient(), command=lambda _: command)
    assert executor.execute(make_plan(runs[:1], ledger)).stopped
    assert ledger.status(runs[0].id).reason == "killed"


def test_a_hangup_does_not_stop_a_launcher_under_nohup(
    recipe: str, runs: list[Run], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_EPOCH_S", "0.1")
    command = ["nohup", sys.executable, str(LAUNCHER), recipe, str(ledger.root), "", "1"]
    launcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    _until(lambda: _epochs(ledger, runs[0]))
    launcher.send_signal(signal.SIGHUP)
    told, _ = launcher.communicate(timeout=300)
    assert launcher.returncode == 0, told
    assert len(ledger.records()) == 2


def test_killing_the_launcher_stops_its_job_which_saves(
    recipe: str, runs: list[Run], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_EPOCH_S", "0.1")
    launcher = _launch(recipe, ledger)
    _until(lambda: _epochs(ledger, runs[0]))
    launcher.kill()
    launcher.wait()
    _until(lambda: ledger.status(runs[0].id).state == "interrupted")
    assert ledger.status(runs[0].id).reason == "stopped by a signal"


def test_killing_the_job_is_a_failure_that_the_next_launch_resumes(
    recipe: str, runs: list[Run], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_EPOCH_S", "0.1")
    launcher = _launch(recipe, ledger)
    _until(lambda: _epochs(ledger, runs[0]))
    holder = read_holder(ledger.run_dir(runs[0].id))
    assert holder
    os.kill(holder.pid, signal.SIGKILL)
    monkeypatch.setenv("FAKE_EPOCH_S", "0")
    told, _ = launcher.communicate(timeout=300)
    assert launcher.returncode == 1
    assert "killed by SIGKILL" in told
    again = _launch(recipe, ledger)
    assert again.wait(timeout=300) == 0
    assert _epochs(ledger, runs[0]) == [0, 1, 2, 3]


def test_many_launchers_train_each_run_once(
    recipe: str, runs: list[Run], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_EPOCH_S", "0.05")
    launchers = [_launch(recipe, ledger) for _ in range(3)]
    outputs = [launcher.communicate(timeout=300)[0] for launcher in launchers]
    assert [launcher.returncode for launcher in launchers] == [0, 0, 0], outputs
    assert [_epochs(ledger, run) for run in runs] == [[0, 1, 2, 3]] * 4
    assert not list(ledger.root.rglob("*.tmp"))
