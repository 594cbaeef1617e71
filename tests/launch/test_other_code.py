"""Runs that other code has trained or begun: said before they are skipped or gone on with, and trained anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.records import make
from tksbench.cli import run_command
from tksbench.launch.__main__ import main
from tksbench.launch.local import LocalExecutor, Summary
from tksbench.launch.other_code import notices
from tksbench.launch.plan import collect_runs, make_plan
from tksbench.recipe import Run
from tksbench.runs import Lease, Ledger, append_jsonl, attempt_ended, attempt_started, comparison, write_json
from tksbench.runs.aside import set_aside
from tksbench.runs.code import digest_of
from tksbench.runs.record import load_record, save_record

THEN = {"tksbench/snn/losses.py": "1", "tksbench/snn/neuron.py": "1"}
NOW = THEN | {"tksbench/snn/losses.py": "2"}


@pytest.fixture(autouse=True)
def code(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the checkout's code is taken for."""
    monkeypatch.setattr(comparison, "files_here", lambda: NOW)
    since = {"c0ffee": ("tksbench/snn/losses.py",), "beef": ()}
    monkeypatch.setattr(comparison, "changed_since", since.get)


@pytest.fixture
def run(recipe: str) -> Run:
    return collect_runs([recipe], "paper")[0]


@pytest.fixture
def done(ledger: Ledger) -> Callable[..., Path]:
    """Finish a run by code of these files, or of this commit."""

    def write(run: Run, files: dict[str, str] | None = None, commit: str | None = None, kept: bool = True) -> Path:
        run_dir, record = ledger.prepare(run), make(run, 40.0, 0.5)
        attempt_started(run_dir)
        proof = {"commit": commit, "code": digest_of(files) if files else None}
        if files and kept:
            write_json(run_dir.code(digest_of(files)), files)
        save_record(
            run_dir.record,
            record.model_copy(update={"provenance": record.provenance.model_copy(update=proof)}),
        )
        return run_dir.record

    return write


def begun(ledger: Ledger, run: Run, files: dict[str, str] = THEN) -> None:
    """Break a run off in its second epoch."""
    run_dir = ledger.prepare(run)
    write_json(run_dir.code(digest_of(files)), files)
    attempt_started(run_dir, 0, 0, {"commit": "c0ffee", "code": digest_of(files)})
    append_jsonl(run_dir.metrics, {"epoch": 0, "test_top1": 30.0})
    attempt_ended(run_dir, "interrupted", "stopped by a signal", 1, 0)


def test_a_finished_run_of_other_code_is_skipped_with_the_files_that_differ(
    run: Run, ledger: Ledger, done: Callable[..., Path]
) -> None:
    done(run, THEN)
    (item,) = make_plan([run], ledger)
    assert (item.action, item.reason) == ("skip", "finished here, of other code (snn/losses.py)")
    assert item.to_json()["other_code"] == ["tksbench/snn/losses.py"]
    said = "1 finished run skipped that is of other code (snn/losses.py); --again trains it anew"
    assert list(notices([item], ledger)) == [said]


@pytest.mark.parametrize(
    ("files", "commit", "other"),
    [
        (NOW, "c0ffee", ()),
        (None, "beef", ()),  # of an earlier version, which recorded the commit alone
        (None, "c0ffee", ("tksbench/snn/losses.py",)),
        (None, "unknown", ()),
        (None, None, ()),
    ],
)
def test_by_what_a_run_was_trained_is_known_from_its_files_else_from_its_commit(
    run: Run,
    ledger: Ledger,
    done: Callable[..., Path],
    files: dict[str, str] | None,
    commit: str | None,
    other: tuple[str, ...],
) -> None:
    done(run, files, commit)
    assert make_plan([run], ledger)[0].other == other


@pytest.mark.parametrize(("commit", "known"), [("c0ffee", "snn/losses.py"), ("unknown", "files that are not known")])
def test_a_record_from_elsewhere_is_compared_by_its_commit(
    run: Run, ledger: Ledger, done: Callable[..., Path], commit: str, known: str
) -> None:
    done(run, THEN, commit, kept=False)
    assert f"({known})" in make_plan([run], ledger)[0].reason


def test_a_record_of_uncommitted_code_from_elsewhere_names_the_files_that_it_changed(
    run: Run, ledger: Ledger, done: Callable[..., Path]
) -> None:
    record = load_record(done(run, THEN, "beef", kept=False))
    proof = {"dirty": True, "diff": "diff --git a/tksbench/snn/neuron.py b/tksbench/snn/neuron.py\n"}
    changed = record.model_copy(update={"provenance": record.provenance.model_copy(update=proof)})
    save_record(ledger.run_dir(run.id).record, changed)
    assert make_plan([run], ledger)[0].other == ("tksbench/snn/neuron.py",)


def test_committed_records_of_other_code_are_one_line(recipe: str, ledger: Ledger, done: Callable[..., Path]) -> None:
    runs = collect_runs([recipe], "paper")
    ledger.published("x").parent.mkdir(parents=True)
    for run in runs:
        done(run, THEN).rename(ledger.published(run.id))
    items = make_plan(runs, ledger)
    assert {item.reason for item in items} == {"record committed"}
    assert list(notices(items, ledger)) == [
        "2 committed records are of other code (snn/losses.py); python -m tksbench.rerun ID checks one, "
        "--again trains them anew"
    ]


def test_going_on_with_other_code_is_said(run: Run, ledger: Ledger) -> None:
    begun(ledger, run)
    (item,) = make_plan([run], ledger)
    after = "stopped by a signal; resume after epoch 1 of 4, with other code (snn/losses.py)"
    assert (item.action, item.reason) == ("run", after)
    assert list(notices([item], ledger)) == [
        "1 run to go on with other code (snn/losses.py), which the record will say; --again trains it anew"
    ]


def test_the_same_code_and_runs_that_never_trained_are_no_news(run: Run, ledger: Ledger) -> None:
    attempt_started(ledger.prepare(run), 0, 0, {"code": "f" * 16})
    assert not make_plan([run], ledger)[0].other
    begun(ledger, run, NOW)
    assert not make_plan([run], ledger)[0].other


def test_plan_and_launch_say_it_first(
    recipe: str,
    run: Run,
    ledger: Ledger,
    done: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TKSBENCH_RESULTS", str(ledger.root))
    done(run, THEN)
    words = [recipe, "--only", run.name]
    note = "note: 1 finished run skipped that is of other code (snn/losses.py); --again trains it anew"
    assert main([*words, "--plan"]) == 0
    planned = capsys.readouterr().out.splitlines()
    assert planned[0] == note
    assert sum("finished here, of other code" in line for line in planned) == 1
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == note
    assert lines[1] == f"skip: {run.name} seed 42: finished here, of other code (snn/losses.py)"


def test_again_trains_anew_and_nothing_of_what_was_is_lost(
    recipe: str,
    run: Run,
    ledger: Ledger,
    done: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TKSBENCH_RESULTS", str(ledger.root))
    record = done(run, THEN)
    ledger.published(run.id).parent.mkdir()
    ledger.published(run.id).write_bytes(record.read_bytes())
    before = {path.name: path.read_bytes() for path in record.parent.iterdir() if path.is_file()}
    trained: list[str] = []

    def execute(executor: LocalExecutor, items: list) -> Summary:  # type: ignore[type-arg]
        trained.extend(item.run.id for item in items)
        assert ledger.status(run.id).state == "new"
        return Summary(interrupted=[run], stopped=True)

    monkeypatch.setattr(LocalExecutor, "execute", execute)
    words = [recipe, "--only", run.name, "--again"]
    main([*words, "--plan", "--json"])
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["action"], row["reason"]) == ("run", "anew; before: record committed")
    assert record.exists()
    assert main(words) == 130
    out = capsys.readouterr().out
    (folder,) = (ledger.root / "set-aside").iterdir()
    assert f"note: {run.name} seed 42: what it had is in {folder}\n" in out
    assert out.endswith(f"go on with: python -m tksbench.launch {recipe} --only {run.name}\n")
    assert trained == [run.id]
    kept = {path.name: path.read_bytes() for path in (folder / "run").iterdir() if path.is_file()}
    assert kept == before
    assert load_record(folder / f"{run.id}.json").id == run.id
    assert (ledger.status(run.id).state, len(list(ledger.run_dirs()))) == ("new", 0)


def test_again_leaves_alone_what_somebody_trains_and_what_has_nothing(run: Run, ledger: Ledger) -> None:
    assert set_aside(ledger, run.id) is None
    with Lease.acquire(ledger.prepare(run)):
        (item,) = make_plan([run], ledger, again=True)
        assert item.action == "wait"
        assert item.reason.endswith("; not set aside")


def test_a_run_that_is_begun_meanwhile_is_not_moved(
    run: Run, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], recipe: str
) -> None:
    monkeypatch.setenv("TKSBENCH_RESULTS", str(ledger.root))
    begun(ledger, run)
    (item,) = make_plan([run], ledger, again=True)
    assert (item.action, item.reason) == ("run", "anew; before: stopped by a signal")
    monkeypatch.setattr("tksbench.launch.plan.make_plan", lambda *args, **kwargs: [item])
    with Lease.acquire(ledger.run_dir(run.id)):
        assert run_command(main, [recipe, "--only", run.name, "--again"]) == 2
    assert "held by" in capsys.readouterr().err
    assert ledger.run_dir(run.id).attempts.exists()
    assert not list((ledger.root / "set-aside").iterdir())
