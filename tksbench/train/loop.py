"""The training loop: resumable at every step, with the same weights to the bit.

Order of samples and augmentation are functions of (seed, epoch, index), the learning rate of the epoch,
so a checkpoint holds tensors and a few counters and no random state. What is logged for an epoch is
written when the epoch is over; a resumed run first drops the rows that it is about to write again.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from tksbench.data.registry import info
from tksbench.metrics import summarize
from tksbench.recipe import TrainSpec
from tksbench.runs.files import write_json
from tksbench.snn.portable import portable
from tksbench.snn.strided import soundly
from tksbench.train import build
from tksbench.train.batch_shares import BatchShares
from tksbench.train.checkpoint import State, checksums, newest, restore, save_checkpoint
from tksbench.train.errors import CheckpointError, Diverged, Interrupted
from tksbench.train.graph import GraphedStep, may_be_recorded
from tksbench.train.health import check_alive, check_finite, note_flat
from tksbench.train.logs import EpochLogs
from tksbench.train.mixing import Mixing, Part
from tksbench.train.objective import build_objective
from tksbench.train.parallel import ALONE, GO_ON, SAVE, STOP, OneProcess
from tksbench.train.predict import Predictor
from tksbench.train.schedule import TrainBatches, learning_rate, steps_per_epoch
from tksbench.train.start import begin_from_parent
from tksbench.train.summary import trained
from tksbench.train.tested import TestLogits
from tksbench.train.tracking import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from tksbench.data.base import Batch, Data
    from tksbench.recipe import Run
    from tksbench.runs.paths import RunDir
    from tksbench.train.outcome import Outcome

log = logging.getLogger("tksbench.train")
PROGRESS_S = 1.0  # seconds between two updates of the live view


class Trainer:
    """One run on one device, or this process's share of it.

    Args:
        run: What to train.
        run_dir: Where its files are.
        data: Its data set.
        device: Where to train it.
        stopping: Asked at every step boundary; true means save and stop.
        guard: Called before anything is written; raises if the run belongs to another process by now.
        parallel: The processes that share the run; the leading one alone writes files.
    """

    def __init__(
        self,
        run: Run,
        run_dir: RunDir,
        data: Data,
        device: torch.device,
        stopping: Callable[[], bool] = lambda: False,
        guard: Callable[[], None] = lambda: None,
        parallel: OneProcess = ALONE,
    ) -> None:
        self.run, self.dir, self.data, self.device = run, run_dir, data, device
        self.stopping, self.guard, self.parallel = stopping, guard, parallel
        assert isinstance(run.spec, TrainSpec)  # noqa: S101
        self.spec = spec = run.spec
        self.epochs = spec.optim.epochs
        self.steps = steps_per_epoch(len(data.train), spec.optim)
        self.model = build.build_model(spec, data.num_classes, info(spec.data.name).in_chans, device)
        if spec.optim.replica_batch is None:
            self.model = parallel.normalise_together(self.model)
        self.shares = BatchShares(len(data.train), spec.optim, self.model, parallel)
        self.network: nn.Module = self.model  # what is called in training, from `fit` on
        self.optimizer = build.build_optimizer(spec, self.model)
        self.scheduler = learning_rate(self.optimizer, spec.optim)
        autocast = build.autocast(spec.numerics, device)
        self.objective = build_objective(spec, self.steps, autocast)
        workers = run.execution.workers
        self.mixing = Mixing(spec, data, workers, device)
        self.predictor = Predictor(self.model, device, autocast, spec.evaluation.batch_size, workers)
        self._annealed: list[Any] = [module for module in self.model.modules() if hasattr(module, "set_progress")]
        self._adaptive: Any = next((module for module in self.model.modules() if hasattr(module, "adapt")), None)
        self.state = State(run.id, data=checksums(data.manifest))
        self.last: dict[str, Any] | None = None
        self.tracker: Tracker | None = None  # of the leading process
        self.tested = TestLogits(run_dir)
        self._pending: list[torch.Tensor] = []
        self._logs = EpochLogs(run_dir)
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        self._graphed = (
            GraphedStep(self._whole_batch)
            if may_be_recorded(spec, device, parallel, self.model, self.objective)
            else None
        )
        self._saved_at = self._shown_at = time.monotonic()
        self._newest_loss: float | None = None
        self._counted_at = self._saved_at
        self._began = (self._saved_at, 0)  # when this attempt's training began, and at which step

    def resume(self) -> None:
        """Go on from the newest whole checkpoint, if there is one.

        Raises:
            CheckpointError: If there are checkpoints, but none can be used.
        """
        found = self.parallel.from_lead(lambda: newest(self.dir.checkpoints, self.run.id, self._check_files))
        if found is not None:
            self.state, tensors, damaged = found
            self._check_data()
            for message in damaged:
                log.warning("%s; going on from the one before it", message)
            restore(tensors, self.model, self.optimizer)
            self._correct.fill_(self.state.correct)
            self.tested.resumed(self.state)
            log.info("resumed at epoch %d, step %d", self.state.epoch, self.state.step)
        else:
            begin_from_parent(self)
        if self.parallel.lead:
            self._logs.cut(self.state.epoch)

    def _check_data(self) -> None:
        """Make sure that the data set is still the one that the run began with."""
        now = checksums(self.data.manifest)
        began, self.state.data = self.state.data or now, now  # checkpoints of earlier versions hold none
        for name in sorted(began.keys() | now.keys()):
            if began.get(name) != now.get(name):
                raise CheckpointError(
                    f"{name}: not the data that the run began with ({began.get(name)}, now {now.get(name)}): "
                    f"bring that back, or remove {self.dir.checkpoints} to train the run from its beginning"
                )

    def _check_files(self, state: State) -> None:
        """Make sure that the logs and the best epoch's logits are those that a checkpoint was written beside."""
        self._logs.check(state.epoch, state.logs)
        self.tested.check(state)

    def fit(self) -> None:
        """Train to the last epoch.

        Raises:
            Interrupted: If `stopping` said so; the state is saved.
            Diverged: If the loss is no finite number, or the network is beyond help (see `health`).
        """
        if self.parallel.lead:
            self.tracker = Tracker(self.run, self.dir, self._done())
        try:
            self._fit()
        finally:
            if self.tracker is not None:
                self.tracker.close()

    def _fit(self) -> None:
        self.network = self.parallel.engage(self.spec, self.model, self.optimizer)
        self.network.train()
        batches = self._train_loader()
        self._counted_at = time.monotonic()
        self._began = (self._counted_at, self._done())
        over = self.state.epoch >= self.epochs
        while self.state.epoch < self.epochs:
            self.scheduler.step(self.state.epoch)
            while self.state.step < self.steps:
                self._step([next(batches) for _ in self.shares.parts(self.state.step)])
                self._boundary()
            self._end_epoch()
        if over:  # resumed after the last epoch, and the last test's logits are not at hand
            self._test(self.epochs - 1)
        self.save()

    def save(self) -> None:
        """Write a checkpoint of this moment."""
        self.guard()
        self._collect()
        self.parallel.make_whole(self.model)
        tensors = self.parallel.tensors(self.model, self.optimizer)
        if self.parallel.lead:
            check_finite(self.model, self.state)
            save_checkpoint(self.dir.checkpoints, self.state, tensors)
            self.tested.saved(self.state)
        self._saved_at = time.monotonic()
        self._account(training=False)

    def _forward(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean loss of some samples on the device, and how many of them the network has right."""
        loss, logits = self.objective(self.network, images, labels, **self._constants())
        right = labels.argmax(-1) if labels.is_floating_point() else labels  # of a mixed sample, its larger share
        return loss, (logits.detach().mean(0).argmax(-1) == right).sum()

    def _constants(self) -> dict[str, float]:
        return self.objective.constants(self.state.epoch, self.state.step)

    def _set_progress(self) -> None:
        """Let the modules that anneal know how much of the training is done, from 0 to 1."""
        for module in self._annealed:
            module.set_progress(self._done() / (self.epochs * self.steps))

    def _adapt(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Let the module that adapts at the beginning of an epoch look at its first batch, as the step will see it."""

        def loss() -> torch.Tensor:
            self._set_progress()  # the same draws at each call, and in the step
            return self.objective(self.model, images, labels, **self._constants())[0]

        with soundly(self.model, self.device):
            self._adaptive.adapt(self.model, loss, lambda choice: self.parallel.from_lead(lambda: choice))
        self._set_progress()

    def _step(self, batches: list[Batch]) -> None:
        total = self.shares.total(self.state.step)
        self._set_progress()
        if self.state.step == 0 and self._adaptive is not None:
            self._adapt(*batches[0])
        if self._graphed is not None:
            rates = tuple(group["lr"] for group in self.optimizer.param_groups)
            loss, correct = self._graphed(*batches[0], (*self._constants().items(), rates))
        else:
            loss, correct = self._global_batch(batches, total)
        self._pending.append(loss)
        self._correct += correct
        self.state.step += 1
        self.state.seen += total
        self.state.images += total
        self._account(training=True)

    def _global_batch(self, batches: list[Batch], total: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of the optimizer; the loss before it, and the number of right samples."""
        with soundly(self.model, self.device):
            loss, correct = self.shares.backward(self.network, batches, total, self._forward)
        self.parallel.step(self.network, self.optimizer, self.spec.optim.clip_norm)
        return loss, correct

    def _whole_batch(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._global_batch([(images, labels)], len(labels))

    def _account(self, *, training: bool) -> None:
        """Count the time since the last call: waiting for data and for the device included."""
        now = time.monotonic()
        seconds, self._counted_at = now - self._counted_at, now
        if training:
            self.state.seconds += seconds
        if self.device.type == "cuda":
            self.state.gpu_seconds += seconds * self.parallel.size

    def _boundary(self) -> None:
        """Between two steps: stop, save or show, whichever is due; all processes do the same."""
        now = time.monotonic()
        due = now - self._saved_at >= self.run.execution.checkpoint_minutes * 60
        agreed = self.parallel.agree(STOP if self.stopping() else SAVE if due else GO_ON)
        if agreed == STOP:
            self._stop()
        if agreed == SAVE:
            self.save()
        if now - self._shown_at >= PROGRESS_S:
            self._shown_at = now
            self._collect()
            self._show()

    def _stop_if_asked(self) -> None:
        if self.parallel.agree(STOP if self.stopping() else GO_ON) == STOP:
            self._stop()

    def _stop(self) -> None:
        self.save()
        raise Interrupted(f"at epoch {self.state.epoch}, step {self.state.step}")

    def _collect(self) -> None:
        """Fetch the losses of the last steps from the device; one wait for all of them."""
        if not self._pending:
            return
        values = torch.stack(self._pending).double().cpu().tolist()
        first = self.state.step - len(values)
        for offset, value in enumerate(values):
            if not math.isfinite(value) and self.parallel.lead:
                place = f"epoch {self.state.epoch}, step {first + offset}"
                raise Diverged(f"the loss is {value} at {place}; the checkpoints before it are kept")
        self.state.losses += values
        self._newest_loss = values[-1]
        self.state.correct = int(self._correct)
        self._pending.clear()

    def _end_epoch(self) -> None:
        self._collect()
        self._account(training=True)
        state, epoch = self.state, self.state.epoch
        due = (epoch + 1) % self.spec.evaluation.every == 0 or epoch + 1 == self.epochs
        metrics = self._test(epoch) if due else {}
        self._account(training=False)
        if self.parallel.lead:
            self._log_epoch(metrics)
            check_alive(state, self.spec.optim, self.steps)
        self.state = replace(state, epoch=epoch + 1, step=0, losses=[], correct=0, seen=0)
        self._correct.zero_()
        self._show()

    def _log_epoch(self, metrics: dict[str, Any]) -> None:
        """Write what an epoch has brought; `metrics` of the test half may be empty."""
        state, epoch = self.state, self.state.epoch
        row = {
            "epoch": epoch,
            "lr": self.optimizer.param_groups[0]["lr"],
            "alpha": self.objective.constants(epoch, 0).get("alpha"),
            "train_loss": sum(state.losses) / len(state.losses),
            "train_top1": 100.0 * state.correct / state.seen,
            **{f"test_{key}": metrics.get(key) for key in ("loss", "top1", "top1_halves")},
        }
        self.guard()
        state.logs = self._logs.append({"epoch": epoch, "loss": state.losses}, row)
        if self.tracker is not None:
            curves = {key: value for key, value in row.items() if key not in ("epoch", "test_top1_halves")}
            self.tracker.show(self._done(), curves)
        tested = f", test {metrics['top1']:.2f} %" if metrics else ""
        log.info("epoch %d of %d: loss %.4f%s", epoch + 1, self.epochs, row["train_loss"], tested)

    def _test(self, epoch: int) -> dict[str, Any]:
        """Evaluate, and keep the logits of the best and of the last epoch."""
        self.parallel.make_whole(self.model)
        self._set_progress()
        logits, labels = self.predictor.logits(self.data.test, self.parallel, self._stop_if_asked)
        if not self.parallel.lead:
            return {}
        metrics = {"epoch": epoch, **summarize(logits, labels)}
        note_flat(self.state, logits, labels)
        self.guard()
        self.tested.keep_best(self.state, metrics, logits)
        if epoch + 1 == self.epochs:
            self.tested.keep_last(logits, labels)
            self.last = metrics
        return metrics

    def outcome(self) -> Outcome:
        """What training has brought, once it is over.

        Raises:
            CheckpointError: If the best epoch's logits on disk are not those that were written.
        """
        return trained(self)

    @property
    def place(self) -> tuple[int, int]:
        """Epoch and step at which training stands."""
        return self.state.epoch, self.state.step

    @property
    def portable(self) -> bool:
        """Whether no processor decides about its bits."""
        return portable(self.model, self.run.spec, self.device)

    @property
    def manifest(self) -> dict[str, str]:
        """Checksums of the data set."""
        return self.data.manifest

    def _show(self) -> None:
        """Rewrite the live view's file; it may be lost, so it need not reach the disk."""
        if not self.parallel.lead:
            return
        state = self.state
        began, done = self._began
        pace = (time.monotonic() - began) / max(self._done() - done, 1)  # seconds a step, evaluation included
        view = {
            "epoch": state.epoch,
            "epochs": self.epochs,
            "step": state.step,
            "steps": self.steps,
            "loss": self._newest_loss,
            "top1": state.best["top1"] if state.best else None,
            "images_per_s": state.images / state.seconds if state.seconds else None,
            "eta_s": (self.epochs * self.steps - self._done()) * pace,
            "gpu_hours": state.gpu_seconds / 3600,
            "updated": time.time(),
        }
        write_json(self.dir.progress, view, durable=False)
        if self.tracker is not None:
            self.tracker.show(self._done(), {key: view[key] for key in ("loss", "images_per_s", "gpu_hours")})

    def _done(self) -> int:
        """Steps since the run began."""
        return self.state.epoch * self.steps + self.state.step

    def _train_loader(self) -> Iterator[Batch]:
        """This process's parts of all remaining batches, one after the other."""
        spec, state = self.spec, self.state
        batches = TrainBatches(self.data.train, spec.optim, spec.seed, state.epoch, state.step)
        parts = (Part(*one, part) for one in batches.numbered() for part in self.shares.cut(len(one[-1])))
        return self.mixing.read(parts)
