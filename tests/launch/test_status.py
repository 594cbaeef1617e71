from __future__ import annotations

import io
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tksbench.launch import status as module
from tksbench.launch.cluster import Queue
from tksbench.launch.plan import collect_runs
from tksbench.launch.status import Board, Watcher, picture, watch
from tksbench.runs import Lease, Status, append_jsonl, attempt_ended, write_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from tksbench.recipe import Run
    from tksbench.runs import Ledger


@pytest.fixture
def runs(recipe: str) -> list[Run]:
    return collect_runs([recipe], "paper")


def _console(**options: bool) -> Console:
    return Console(file=io.StringIO(), width=80, legacy_windows=False, **options)


def _text(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("terminal", [False, True])
def test_it_ends_when_all_is_done_and_leaves_the_last_picture(
    terminal: bool, runs: list[Run], ledger: Ledger, finish: Callable[..., None]
) -> None:
    for run in runs:
        finish(run, 1.5)
    console = _console(force_terminal=terminal)
    assert watch(console, ledger, lambda: runs) == 0
    assert "runs: 2 done; 3.0 GPU-hours spent in all" in _text(console)


def test_a_failed_run_is_status_1(runs: list[Run], ledger: Ledger) -> None:
    attempt_ended(ledger.prepare(runs[0]), "failed", "disk full")
    assert watch(_console(), ledger, lambda: runs[:1]) == 1


def test_ctrl_c_leaves_without_a_traceback(runs: list[Run], ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "sleep", press)
    console = _console(force_terminal=True)
    assert watch(console, ledger, lambda: runs) == 130
    assert "runs: 2 pending" in _text(console)


def test_a_pipe_gets_a_picture_a_change(
    runs: list[Run], ledger: Ledger, finish: Callable[[Run], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = iter([lambda: None, lambda: finish(runs[0]), lambda: None, lambda: finish(runs[1])])
    monkeypatch.setattr(module.time, "sleep", lambda seconds: next(turns)())
    monkeypatch.setattr(module, "_PLAIN_S", 0.0)
    console = _console()
    watch(console, ledger, lambda: runs)
    told = re.findall(r"runs: (.*);", _text(console))
    assert told == ["2 pending", "1 pending, 1 done", "2 done"]


def test_a_run_in_training_is_shown_with_its_figures(runs: list[Run], ledger: Ledger) -> None:
    run_dir = ledger.prepare(runs[0])
    for epoch, top1 in enumerate((40.0, 61.25, 60.0)):
        append_jsonl(run_dir.metrics, {"epoch": epoch, "test_top1": top1})
    write_json(run_dir.progress, {"epochs": 4, "images_per_s": 812.4, "eta_s": 12_000.0, "gpu_hours": 7.25})
    console = _console()
    with Lease.acquire(run_dir):
        console.print(picture(Watcher(ledger, lambda: runs).read()))
    lines = _text(console).splitlines()
    assert lines[0].endswith("runs: 1 running, 1 pending; 7.2 GPU-hours spent in all")
    assert [*lines[-1].split()][:9] == [runs[0].name, "42", "3/4", "61.25", "812", "3", "h", "20", "min"]


def test_a_failed_run_that_slurm_will_start_again_is_pending(
    runs: list[Run], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt_ended(ledger.prepare(runs[0]), "failed", "disk full")
    queue = Queue({runs[0].id: "job 7_0 is PENDING"}, frozenset([runs[0].id]))
    monkeypatch.setattr(module, "ask_queue", lambda ledger, tell: queue)
    board = Watcher(ledger, lambda: runs[:1]).read()
    [(_, status, state)] = board.rows
    assert (state, status.reason) == ("pending", "disk full; job 7_0 is PENDING")
    assert board.moving
    gone = Queue({runs[0].id: "job 7_0 is gone and never began"}, frozenset())
    monkeypatch.setattr(module, "ask_queue", lambda ledger, tell: gone)
    board = Watcher(ledger, lambda: runs[:1]).read()
    assert (board.failed, board.moving) == (True, False)


@pytest.mark.parametrize("queued", [frozenset(), None])
def test_what_nobody_trains_is_waited_for_a_while_only(
    runs: list[Run], ledger: Ledger, monkeypatch: pytest.MonkeyPatch, queued: frozenset[str] | None
) -> None:
    attempt_ended(ledger.prepare(runs[0]), "interrupted", "SIGINT")
    slept: list[float] = []
    monkeypatch.setattr(module.time, "monotonic", lambda: sum(slept))
    monkeypatch.setattr(module, "ask_queue", lambda ledger, tell: Queue({}, queued))

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if sum(slept) > 1000:
            raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "sleep", sleep)
    console = _console()
    status = watch(console, ledger, lambda: runs)
    if queued is None:  # Slurm cannot be asked: it may start them yet
        assert (status, sum(slept) > 1000) == (130, True)
    else:
        assert (status, 30 <= sum(slept) < 40) == (1, True)
        assert "2 pending, which nobody trains now" in _text(console)


def test_the_widest_picture_fits_80_columns(runs: list[Run]) -> None:
    status = Status(
        runs[0].id, "running", epoch=599, best_top1=100.0, images_per_s=12_345.6, eta_s=360_000.0,
        holder="gpu-node-a100-0017.cluster.example, process 12345",
    )  # fmt: skip
    console = _console()
    console.print(picture(Board(tuple((run, status, "running") for run in runs), "squeue: gone"), hint=True))
    lines = _text(console).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("12346" in line and "100 h 00 min" in line and "gpu-node-a1" in line for line in lines)


def test_watching_an_empty_folder_ends_at_once_and_imports_no_torch(ledger: Ledger) -> None:
    code = (
        "import sys; from tksbench.launch.__main__ import main; main(['--status', '--watch']);"
        "print([m for m in ('torch', 'numpy', 'pandas', 'timm') if m in sys.modules])"
    )
    environment = {"TKSBENCH_RESULTS": str(ledger.root), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=60).stdout
    assert out.splitlines()[0].endswith("runs: none; 0.0 GPU-hours spent in all")
    assert out.splitlines()[-1] == "[]"
