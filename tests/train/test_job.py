"""The job around the training: lease, signals, attempts, exit status."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.train.conftest import MakeRun
from tksbench.data import registry
from tksbench.data.base import Batch, Data
from tksbench.runs import Ledger, environment
from tksbench.runs.attempts import read_attempts
from tksbench.runs.code import Code
from tksbench.runs.lease import Lease
from tksbench.runs.record import load_record
from tksbench.train import job, origin
from tksbench.train.loop import Trainer
from tksbench.train.origin import patch_name


@pytest.fixture(autouse=True)
def use_tiny_data(tiny_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load", lambda spec, T, seed: tiny_data)
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)}
    yield  # type: ignore[misc]
    for name, handler in before.items():
        signal.signal(name, handler)


def test_job_ends_with_a_record_and_is_not_done_twice(make_run: MakeRun) -> None:
    run, run_dir = make_run("results", "optim.epochs=1", "optim.warmup_epochs=0")
    assert job.run_job(run_dir.path) == job.DONE
    content = run_dir.record.read_bytes()
    record = load_record(run_dir.record)
    assert [row.event for row in record.attempts] == ["start", "end"]
    assert job.run_job(run_dir.path) == job.DONE
    assert run_dir.record.read_bytes() == content
    assert len(read_attempts(run_dir)) == 2
    assert Ledger(run_dir.path.parent.parent).status(run.id).state == "done"


@pytest.mark.usefixtures("machine_as_it_is")
def test_a_run_on_a_cpu_computes_with_the_threads_that_it_is_told_and_its_command_says_the_same(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    try:
        _, run_dir = make_run("results", "optim.epochs=1", "optim.warmup_epochs=0", f"execution.threads={before + 1}")
        assert job.run_job(run_dir.path) == job.DONE
    finally:
        torch.set_num_threads(before)
    record = load_record(run_dir.record)
    assert record.provenance.threads == before + 1
    assert record.provenance.command.startswith("python -m tksbench.launch ")
    assert f"execution.threads={before + 1}" in record.provenance.command


def test_signal_saves_and_the_next_start_goes_on(make_run: MakeRun, tiny_data: Data) -> None:
    _, run_dir = make_run()
    fetch = tiny_data.train.__getitems__
    calls = []

    def fetch_and_signal(keys):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return fetch(keys)

    tiny_data.train.__getitems__ = fetch_and_signal  # type: ignore[method-assign]
    assert job.run_job(run_dir.path) == job.SAVED
    assert not run_dir.record.exists()
    assert job.run_job(run_dir.path) == job.DONE
    ends = [row["outcome"] for row in read_attempts(run_dir) if row["event"] == "end"]
    starts = [(row["epoch"], row["step"]) for row in read_attempts(run_dir) if row["event"] == "start"]
    assert ends == ["interrupted", "done"]
    assert starts == [(0, 0), (1, 2)]


def test_held_by_another_process(make_run: MakeRun) -> None:
    _, run_dir = make_run()
    with Lease.acquire(run_dir):
        assert job.run_job(run_dir.path) == job.HELD
    assert not run_dir.metrics.exists()


def test_failure_is_noted_with_its_reason(make_run: MakeRun, tiny_data: Data) -> None:
    run, run_dir = make_run("results", "execution.checkpoint_minutes=0")
    tiny_data.train.images[:] = np.inf  # type: ignore[attr-defined]
    assert job.run_job(run_dir.path) == job.FAILED
    status = Ledger(run_dir.path.parent.parent).status(run.id)
    assert (status.state, "not finite" in status.reason) == ("failed", True)


def test_doctored_spec_is_bad_input(make_run: MakeRun) -> None:
    _, run_dir = make_run()
    plain = json.loads(run_dir.run.read_text())
    plain["spec"]["optim"]["epochs"] = 1
    run_dir.run.write_text(json.dumps(plain))
    assert job.run_job(run_dir.path) == job.BAD_INPUT
    assert not run_dir.metrics.exists()


def test_damaged_newest_checkpoint_falls_back_to_the_one_before(make_run: MakeRun) -> None:
    _, whole = make_run("whole", "execution.checkpoint_minutes=0")
    assert job.run_job(whole.path) == job.DONE
    _, run_dir = make_run("broken", "execution.checkpoint_minutes=0")
    assert job.run_job(run_dir.path) == job.DONE
    run_dir.record.unlink()
    newest: Path = sorted(run_dir.checkpoints.iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    assert job.run_job(run_dir.path) == job.DONE
    assert load_record(run_dir.record).weights_sha256 == load_record(whole.record).weights_sha256
    assert run_dir.metrics.read_bytes() == whole.metrics.read_bytes()


def test_missing_directory_is_bad_input(tmp_path: Path) -> None:
    assert job.run_job(tmp_path / "results" / "runs" / "0123456789abcdef") == job.BAD_INPUT
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("then", [signal.SIGTERM, signal.SIGUSR2])
def test_one_stop_may_come_as_several_signals(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, then: signal.Signals
) -> None:
    run, run_dir = make_run()
    save = Trainer.save

    def signal_and_save(trainer: Trainer) -> None:
        os.kill(os.getpid(), then)
        save(trainer)

    step = Trainer._step

    def step_and_signal(trainer: Trainer, batches: list[Batch]) -> None:
        step(trainer, batches)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save", signal_and_save)
        patch.setattr(Trainer, "_step", step_and_signal)
        assert job.run_job(run_dir.path) == job.SAVED
    assert len(list(run_dir.checkpoints.glob("*.safetensors"))) == 1
    assert Ledger(run_dir.path.parent.parent).status(run.id).reason == "stopped by a signal"
    assert job.run_job(run_dir.path) == job.DONE


def test_signals_before_training_end_it_once() -> None:
    stop = job.StopFlag()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGUSR2)
    os.kill(os.getpid(), signal.SIGTERM)  # while it leaves
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop()


def test_a_second_ctrl_c_kills() -> None:
    stop = job.StopFlag()
    stop.wait_for_boundary = True
    os.kill(os.getpid(), signal.SIGINT)
    assert stop()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL


@pytest.fixture
def as_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let attempts be of this code, as if the files were other ones."""

    def become(code: Code, late: tuple[str, ...] = (), **setup: Any) -> None:
        real = origin.attempt_origin

        def attempt(*args: Any) -> tuple[dict[str, Any], Code]:
            row, _ = real(*args)
            row["setup"] |= {"outside": {}, **setup}
            about = {"commit": code.commit, "dirty": code.dirty, "code": code.digest, "patch": patch_name(code)}
            return row | about, code

        monkeypatch.setattr(job, "attempt_origin", attempt)
        monkeypatch.setattr(job.Job, "_late", lambda self: list(late))

    return become


A = Code({"tksbench/snn/losses.py": "1"}, "a" * 40)


@pytest.mark.usefixtures("machine_as_it_is")
def test_a_record_is_of_the_code_and_setup_that_trained_it(
    make_run: MakeRun, as_of: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_DYNAMIC", "false")
    _, run_dir = make_run("results", "optim.epochs=1", "optim.warmup_epochs=0")
    as_of(A, versions={"torch": "1"})
    assert job.run_job(run_dir.path) == job.DONE
    record = load_record(run_dir.record)
    proof = record.provenance
    assert (proof.commit, proof.dirty, proof.diff, proof.code) == ("a" * 40, False, "", A.digest)
    assert (proof.versions, proof.environment) == ({"torch": "1"}, {"OMP_DYNAMIC": "false"})
    assert proof.machine["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert {"processor", "torch_build", "libraries"} <= proof.machine.keys()
    assert [(row.commit, row.dirty, row.setup) for row in record.attempts] == [("a" * 40, False, {}), (None, None, {})]
    assert json.loads(run_dir.code(A.digest).read_text()) == A.files


def test_a_file_that_was_written_while_it_was_loaded_makes_the_record_dirty(
    make_run: MakeRun, as_of: Callable[..., None]
) -> None:
    _, run_dir = make_run("results", "optim.epochs=1", "optim.warmup_epochs=0")
    as_of(A, ("tksbench/data/cifar.py",))
    assert job.run_job(run_dir.path) == job.DONE
    proof = load_record(run_dir.record).provenance
    assert (proof.dirty, "tksbench/data/cifar.py" in proof.diff) == (True, True)


def test_variables_that_would_override_the_recipe_are_removed_and_named(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, run_dir = make_run("results", "optim.epochs=1", "optim.warmup_epochs=0")
    monkeypatch.setattr(environment, "_had_effect", {})
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert job.run_job(run_dir.path) == job.DONE
    assert "ACCELERATE_MIXED_PRECISION: not heeded in training" in caplog.text
    assert "ACCELERATE_MIXED_PRECISION" not in os.environ
