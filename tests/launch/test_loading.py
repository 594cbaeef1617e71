"""What happens before the first run on a CPU starts: torch is loaded once, and the launcher goes on meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tksbench.launch import local
from tksbench.launch.local import LocalExecutor
from tksbench.launch.plan import collect_runs, make_plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tksbench.launch.view import Active
    from tksbench.runs import Ledger

TRAINER = Path(__file__).with_name("fake_trainer.py")


class Log:
    def __init__(self) -> None:
        self.pending: list[tuple[str, int]] = []

    def event(self, kind: str, text: str) -> None: ...

    def update(self, active: Sequence[Active], counts: Mapping[str, int], pending: str = "") -> None:
        self.pending.append((pending, counts["running"]))

    def close(self) -> None: ...


class Loading:
    """Takes three rounds of the executor, or for ever."""

    forever = False

    def __init__(self) -> None:
        self.rounds = 0

    def done(self) -> bool:
        self.rounds += 1
        return self.rounds > 3 and not self.forever


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    monkeypatch.setattr(local, "Preload", Loading)
    monkeypatch.setattr(local, "_POLL_S", 0.01)
    monkeypatch.setattr(
        local,
        "ForkedTrainer",
        lambda path, log, environment: subprocess.Popen(
            [sys.executable, str(TRAINER), str(path), "train"], env=environment
        ),
    )
    return Log()


def test_runs_start_once_torch_is_loaded_and_the_view_says_what_is_waited_for(
    recipe: str, ledger: Ledger, log: Log
) -> None:
    run = collect_runs([recipe], "paper")[0]
    summary = LocalExecutor(ledger, [], log).execute(make_plan([run], ledger))
    assert summary.done == [run]
    assert log.pending[:3] == [(local._LOADING, 0)] * 3
    assert {pending for pending, running in log.pending if running} == {""}


def test_a_signal_while_torch_is_loaded_ends_the_launcher(
    recipe: str, ledger: Ledger, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Loading, "forever", True)
    update = log.update

    def interrupt(active: Sequence[Active], counts: Mapping[str, int], pending: str = "") -> None:
        update(active, counts, pending)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(log, "update", interrupt)
    run = collect_runs([recipe], "paper")[0]
    summary = LocalExecutor(ledger, [], log).execute(make_plan([run], ledger))
    assert summary.stopped
    assert not ledger.root.exists()
