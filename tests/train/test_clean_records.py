"""A record that calls itself clean can be made again from its commit alone: ways to cheat, none of which pass.

The package of these tests is a checkout of two files: what is read of it is real, what trains is the one under test.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runs.checkout import git, make_package
from tests.train.conftest import MakeRun, TinySplit
from tksbench.data import registry
from tksbench.data.base import Batch, Data
from tksbench.report.difference import compare, find_side
from tksbench.runs import Ledger, RunDir, code, provenance
from tksbench.runs.comparison import clean_claim
from tksbench.runs.record import Record, load_record
from tksbench.train import job, origin
from tksbench.train.loop import Trainer

SHORT = ("optim.epochs=1", "optim.warmup_epochs=0")


@pytest.fixture(autouse=True)
def tiny(tiny_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load", lambda spec, T, seed: tiny_data)
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)}
    yield  # type: ignore[misc]
    for name, handler in before.items():
        signal.signal(name, handler)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the package is taken for."""
    package, read = make_package(tmp_path / "checkout"), code.read_code
    monkeypatch.setattr(origin, "PACKAGE", package)
    monkeypatch.setattr(origin, "read_code", lambda one=package, others=(): read(one, others))
    monkeypatch.setattr(origin.Witness, "strays", lambda self: {})
    return package


@pytest.fixture
def train(package: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """A trainer's process: reads the code as it is now, and trains to the end or for some steps."""

    def go(run_dir: RunDir, steps: int | None = None) -> int:
        monkeypatch.setattr(job, "WITNESS", origin.Witness(package))
        step = Trainer._step
        taken = iter(range(1, 10**6))

        def step_and_stop(trainer: Trainer, batches: list[Batch]) -> None:
            step(trainer, batches)
            if next(taken) == steps:
                os.kill(os.getpid(), signal.SIGTERM)

        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_step", step_and_stop)
            return job.run_job(run_dir.path)

    return go


def finished(run_dir: RunDir) -> Record:
    return load_record(run_dir.record)


def test_a_clean_record_names_a_commit_that_has_its_code(
    make_run: MakeRun, train: Callable[..., int], package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run_dir = make_run("results", *SHORT)
    assert train(run_dir) == job.DONE
    record = finished(run_dir)
    assert (record.provenance.dirty, record.provenance.diff) == (False, "")
    assert record.provenance.commit == git(package.parent, "rev-parse", "HEAD").strip()
    monkeypatch.setattr(code, "PACKAGE", package)
    code.contents_of.cache_clear()
    assert clean_claim(record, run_dir) is None
    (package / "snn.py").write_text("a = 3\n")
    git(package.parent, "commit", "-q", "-a", "-m", "second")
    elsewhere = {"commit": git(package.parent, "rev-parse", "HEAD").strip()}
    claimed = record.model_copy(update={"provenance": record.provenance.model_copy(update=elsewhere)})
    assert "calls itself clean, but commit" in (clean_claim(claimed, run_dir) or "")
    run_dir.code(record.provenance.code or "").write_text("{}")
    assert "is missing or altered" in (clean_claim(record, run_dir) or "")


def test_code_that_is_edited_and_taken_back_while_a_run_is_broken_off(
    make_run: MakeRun, train: Callable[..., int], package: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, run_dir = make_run()
    assert train(run_dir, 2) == job.SAVED
    (package / "snn.py").write_text("a = 2\n")
    assert train(run_dir, 2) == job.SAVED
    assert "other code than it was trained with before (snn.py)" in caplog.text
    git(package.parent, "checkout", "-q", "tksbench/snn.py")
    assert train(run_dir) == job.DONE
    record = finished(run_dir)
    proof = record.provenance
    assert proof.dirty
    assert [row.dirty for row in record.attempts if row.event == "start"] == [False, True, False]
    edited = next(row for row in record.attempts if row.dirty)
    assert f"# from epoch 0, step 2: commit {proof.commit}, code {edited.code}\n" in proof.diff
    assert "\n-a = 1\n+a = 2\n" in proof.diff
    assert run_dir.patch(edited.patch or "").name in record.files


@pytest.mark.parametrize("ignored", [False, True])
def test_a_module_that_no_commit_has(
    make_run: MakeRun, train: Callable[..., int], package: Path, ignored: bool, tmp_path: Path
) -> None:
    if ignored:
        (package.parent / ".git" / "info" / "exclude").write_text("mine.py\n")
    (package / "mine.py").write_text("trick = 1\n")
    _, run_dir = make_run("results", *SHORT)
    assert train(run_dir) == job.DONE
    record = finished(run_dir)
    assert record.provenance.dirty
    again = tmp_path / "again"
    git(tmp_path, "clone", "-q", str(package.parent), str(again))
    git(again, "apply", str(run_dir.patch(record.attempts[0].patch or "").absolute()))  # and what it takes is kept
    assert code.read_code(again / "tksbench").digest == record.provenance.code


@pytest.mark.parametrize("again", ["", "AVX2"])
def test_another_environment_in_a_part_of_the_run(
    make_run: MakeRun, train: Callable[..., int], monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    _, run_dir = make_run("results", *SHORT)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
    assert train(run_dir, 2) == job.SAVED
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", again)
    if not again:
        monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    assert train(run_dir) == job.DONE
    record = finished(run_dir)
    assert record.provenance.dirty
    assert "# from epoch 0, step 0: ONEDNN_MAX_CPU_ISA AVX512_CORE" in record.provenance.diff
    assert record.attempts[0].setup["environment"] == {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}


@pytest.mark.usefixtures("machine_as_it_is")
def test_another_environment_in_all_of_the_run_is_in_record_command_and_diff(
    make_run: MakeRun, train: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, plain = make_run("plain", *SHORT)
    _, limited = make_run("limited", *SHORT)
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    assert train(plain) == job.DONE
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert train(limited) == job.DONE
    proof = finished(limited).provenance
    assert (proof.environment["ATEN_CPU_CAPABILITY"], proof.dirty) == ("default", False)
    assert proof.command.startswith("ATEN_CPU_CAPABILITY=default OMP_NUM_THREADS=")
    text, _ = compare(*(find_side(Ledger(one.path.parent.parent), str(one.path)) for one in (plain, limited)))
    assert "\nenvironment 1 of " in text
    assert "  ATEN_CPU_CAPABILITY    A not there   B default" in text


def test_other_data_in_a_part_of_the_run_are_refused_and_in_all_of_it_named(
    make_run: MakeRun, train: Callable[..., int], tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = make_run("first", *SHORT)
    assert train(first, 2) == job.SAVED
    other = Data(TinySplit(60, 5, True), tiny_data.test, 10, {"tiny": "md5:1"})
    monkeypatch.setattr(registry, "load", lambda spec, T, seed: other)
    assert train(first) != job.DONE
    assert not first.record.exists()
    _, second = make_run("second", *SHORT)
    assert train(second) == job.DONE
    monkeypatch.setattr(registry, "load", lambda spec, T, seed: tiny_data)
    assert train(first) == job.DONE
    text, equal = compare(*(find_side(Ledger(one.path.parent.parent), str(one.path)) for one in (first, second)))
    assert "data        1 of 1 differ" in text
    assert not equal


def test_another_package_version_in_a_part_of_the_run(
    make_run: MakeRun, train: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run_dir = make_run("results", *SHORT)
    real = provenance.versions()
    monkeypatch.setattr(provenance, "versions", lambda: real | {"torch": "1.0"})
    assert train(run_dir, 2) == job.SAVED
    monkeypatch.setattr(provenance, "versions", lambda: real)
    assert train(run_dir) == job.DONE
    record = finished(run_dir)
    assert record.provenance.dirty
    assert "# from epoch 0, step 0: torch 1.0" in record.provenance.diff
    assert record.attempts[0].setup == {"versions": {"torch": "1.0"}}


def test_an_installed_package_that_was_edited_under_its_version(
    make_run: MakeRun, train: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run_dir = make_run("results", *SHORT)
    edited = "torch/nn/functional.py of torch, edited since it was installed"
    monkeypatch.setattr(origin, "edited_packages", lambda: {edited: "0123456789abcdef"})
    assert train(run_dir) == job.DONE
    proof = finished(run_dir).provenance
    assert proof.dirty
    assert f"# from outside the checkout: {edited} (sha256 0123456789abcdef)" in proof.diff


def test_code_that_was_edited_and_taken_back_faster_than_python_notices(
    make_run: MakeRun, train: Callable[..., int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, run_dir = make_run("results", *SHORT)
    monkeypatch.setattr(origin, "stale_bytecode", lambda sources: ["losses.pyc"])
    assert train(run_dir) == job.BAD_INPUT
    assert "remove it: rm losses.pyc" in caplog.text
    assert not run_dir.path.exists()


def test_attempts_whose_steps_are_lost_leave_a_record_clean(
    make_run: MakeRun, train: Callable[..., int], package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run_dir = make_run("results", *SHORT)
    (package / "snn.py").write_text("a = 2\n")
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", lambda trainer: 1 / 0)
        assert train(run_dir) == job.FAILED
    git(package.parent, "checkout", "-q", "tksbench/snn.py")
    assert train(run_dir) == job.DONE
    assert finished(run_dir).provenance.dirty is False
