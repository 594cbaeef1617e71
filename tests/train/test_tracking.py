"""Live curves through accelerate's trackers: what they get, what they may not change, and what a failing one does."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from accelerate import tracking as accelerate_tracking

from tests.train.conftest import MakeRun
from tksbench.data.base import Data
from tksbench.recipe.extras import missing_extra
from tksbench.runs import read_jsonl
from tksbench.train import loop
from tksbench.train.build import pick_device
from tksbench.train.errors import Interrupted
from tksbench.train.loop import Trainer
from tksbench.train.probe import measure


class Recorder:
    """Stands for TensorBoard; remembers what every attempt was told."""

    attempts: list[Recorder]
    broken: str | None

    def __init__(self, run_name: str, logging_dir: str, purge_step: int) -> None:
        self.name, self.folder, self.purge_step = run_name, logging_dir, purge_step
        self.rows: list[tuple[int, dict[str, Any]]] = []
        self.finished = False
        self.attempts.append(self)

    def start(self) -> None:
        if self.broken == "start":
            raise OSError("no space left")

    def log(self, values: dict[str, Any], step: int) -> None:
        if self.broken == "log":
            raise ConnectionError("gone")
        self.rows.append((step, values))

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    Recorder.attempts, Recorder.broken = [], None
    monkeypatch.setitem(accelerate_tracking.LOGGER_TYPE_TO_CLASS, "tensorboard", Recorder)
    return Recorder


def train(make_run: MakeRun, data: Data, folder: str, *overrides: str, stop_after: int | None = None) -> Trainer:
    run, run_dir = make_run(folder, *overrides)
    steps = iter(range(10**6))
    stopping = (lambda: next(steps) == stop_after) if stop_after is not None else (lambda: False)
    trainer = Trainer(run, run_dir, data, pick_device(run.execution), stopping)
    trainer.resume()
    try:
        trainer.fit()
    except Interrupted:
        assert stop_after is not None
    return trainer


def test_a_tracker_gets_the_epochs_and_changes_nothing(
    make_run: MakeRun, tiny_data: Data, recorder: type[Recorder]
) -> None:
    plain = train(make_run, tiny_data, "a")
    watched = train(make_run, tiny_data, "b", "execution.track=tensorboard")
    assert watched.run.id == plain.run.id
    assert watched.dir.metrics.read_bytes() == plain.dir.metrics.read_bytes()
    assert watched.dir.losses.read_bytes() == plain.dir.losses.read_bytes()
    (one,) = recorder.attempts
    epochs = [(step, values) for step, values in one.rows if "train_loss" in values]
    rows = read_jsonl(watched.dir.metrics)
    assert [step for step, _ in epochs] == [3, 6, 9]
    assert [values["test_top1"] for _, values in epochs] == [row["test_top1"] for row in rows]
    assert all(isinstance(value, float) for _, values in one.rows for value in values.values())
    assert one.folder == str(watched.dir.path / "tensorboard")
    assert one.finished


def test_the_loss_is_shown_at_most_once_a_second_and_not_at_every_step(
    make_run: MakeRun, tiny_data: Data, recorder: type[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "PROGRESS_S", 3600.0)
    train(make_run, tiny_data, "a", "execution.track=tensorboard")
    assert sum("loss" in values for _, values in recorder.attempts[0].rows) == 3  # at the ends of the epochs alone


def test_a_resumed_run_goes_on_at_its_step(make_run: MakeRun, tiny_data: Data, recorder: type[Recorder]) -> None:
    stopped = train(make_run, tiny_data, "a", "execution.track=tensorboard", stop_after=5).state
    train(make_run, tiny_data, "a", "execution.track=tensorboard")
    first, second = recorder.attempts
    assert first.finished
    assert stopped.epoch == 1
    assert (first.purge_step, second.purge_step) == (0, 3 * stopped.epoch + stopped.step)
    assert first.name == second.name
    steps = [step for one in (first, second) for step, values in one.rows if "train_loss" in values]
    assert steps == [3, 6, 9]


@pytest.mark.parametrize(("broken", "told"), [("start", "cannot begin"), ("log", "cannot go on")])
def test_a_tracker_that_fails_does_not_stop_training(
    make_run: MakeRun,
    tiny_data: Data,
    recorder: type[Recorder],
    caplog: pytest.LogCaptureFixture,
    broken: str,
    told: str,
) -> None:
    recorder.broken = broken
    with caplog.at_level(logging.WARNING, "tksbench.train"):
        trainer = train(make_run, tiny_data, "a", "execution.track=tensorboard")
    assert trainer.state.epoch == 3
    assert sum(told in record.message for record in caplog.records) == 1


def test_a_probe_of_the_costs_shows_nothing(
    make_run: MakeRun, tiny_data: Data, recorder: type[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tksbench.data.registry.load", lambda *_: tiny_data)
    run, _ = make_run("a", "execution.track=tensorboard", "optim.epochs=20")
    assert measure(run, patience_s=0.0).steps
    assert recorder.attempts == []


def test_a_missing_package_is_told_before_training(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tksbench.recipe.extras.find_spec", lambda name: None)
    run, _ = make_run("a", "execution.track=wandb")
    assert missing_extra(run.execution) == (
        "execution.track wandb needs that package: pip install wandb; execution.track=none trains without it"
    )


def test_tensorboard_itself_can_read_what_was_shown(make_run: MakeRun, tiny_data: Data) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="no tensorboard here")
    train(make_run, tiny_data, "a", "execution.track=tensorboard", stop_after=4)
    trainer = train(make_run, tiny_data, "a", "execution.track=tensorboard")
    (folder,) = {path.parent for path in trainer.dir.path.rglob("events.out.tfevents.*")}
    events = reader.EventAccumulator(str(folder)).Reload()
    shown = [(event.step, event.value) for event in events.Scalars("train_loss")]
    logged = [row["train_loss"] for row in read_jsonl(trainer.dir.metrics)]
    assert shown == [(3 * (i + 1), pytest.approx(loss)) for i, loss in enumerate(logged)]
