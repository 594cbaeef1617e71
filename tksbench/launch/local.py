"""Trains runs on this machine: one child process a run, on slots, each run once however many launchers work.

The ledger decides, not the child's exit status: a run is done when its record is there. A child whose
launcher dies gets the same signal as at Ctrl-C, saves, and leaves. That signal is SIGTERM: shells let
background jobs ignore SIGINT, and children inherit that until they have installed their own handler.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from tksbench.devices import count_cores
from tksbench.exits import BAD_INPUT, HELD, SAVED, explain
from tksbench.launch.slots import Slot, cores_of, lock_slot
from tksbench.launch.stages import Summary, left_out
from tksbench.launch.view import Active, SteadyView, title
from tksbench.runs import LedgerError, environment, read_holder
from tksbench.runs.lease import BEAT_S
from tksbench.text import duration, last_line, without_time
from tksbench.train.errors import TrainError
from tksbench.train.forked import ForkedTrainer, Preload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import FrameType

    from tksbench.launch.plan import Item
    from tksbench.launch.view import View
    from tksbench.recipe import Run
    from tksbench.runs import Ledger, RunDir, Status

    Trainer = subprocess.Popen[bytes] | ForkedTrainer

# How long a thread of torch's OpenMP spins while it waits for the others, unless the user has said so. libgomp's own
# 300,000 gain nothing on an idle machine, and where another program keeps one core busy they slow training by half
# to five times (two threads, small convolutions).
_SPIN = ("GOMP_SPINCOUNT", "10000")
# By these a trainer knows that it is one of several (tksbench.train.parallel). What a launcher has of them is about
# itself, in a batch script of several tasks for instance; its trainers are alone, and would wait for others for ever.
_WORLD = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}
_WORLD |= {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"}
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LOADING = "loading torch, once for all runs"
_POLL_S = 0.2
_WAIT_POLL_S = 1.0
_SILENT_S = 3 * BEAT_S  # silence of a holder elsewhere after which a trainer is sent to look more closely
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class _Job:
    run: Run
    run_dir: RunDir
    slot: Slot
    process: Trainer
    lock: int
    log: BinaryIO
    log_start: int
    started: float

    def last_line(self) -> str:
        """The last line that this attempt wrote."""
        with suppress(OSError):
            return without_time(last_line(self.log, self.log_start))
        return ""


@dataclass
class _Waiting:
    """A run that somebody else trains: what its lease said, and since when we have seen that unchanged."""

    run: Run
    raw: bytes | None = None  # not b"", which is what an empty lease says
    since: float = 0.0
    looked: float = float("-inf")


class LocalExecutor:
    """Runs the items of a plan.

    Args:
        ledger: Where results go.
        gpus: Entries for CUDA_VISIBLE_DEVICES, one slot each; without any, all runs go to the CPU.
        view: Is given what happens, for as long as it can be.
        command: Makes the command line of a run's trainer; None for the real one.
        lock_folder: Where GPU locks lie, see `lock_slot`.
        cores: Cores that runs on the CPU share; None: see `count_cores`.
    """

    def __init__(
        self,
        ledger: Ledger,
        gpus: Sequence[str],
        view: View,
        command: Callable[[RunDir], list[str]] | None = None,
        lock_folder: Path | None = None,
        cores: int | None = None,
    ) -> None:
        self._ledger = ledger
        self._slots = [Slot(gpu) for gpu in gpus]
        self._cores = count_cores() if cores is None else cores
        self._view = SteadyView(view)
        self._command = command
        self._lock_folder = lock_folder
        self._queue: deque[Run] = deque()
        self._waiting: list[_Waiting] = []
        self._doubted: dict[str, bytes | None] = {}  # what the leases said of runs to take from a silent holder, by id
        self._awaited: set[Slot] = set()  # slots that the user knows to be locked by others
        self._jobs: list[_Job] = []
        self._signals = 0
        self._forwarded = 0
        self._active: list[Active] = []
        self._summary = Summary()
        self._refusals: set[str] = set()
        self._preload = Preload()
        self._pending = ""

    def execute(self, items: Sequence[Item]) -> Summary:
        """Train the plan's "run" items in order and see its "wait" items to their end.

        The first signal (Ctrl-C, SIGTERM, SIGHUP) is passed on to the children, which save and leave;
        the second kills them. Under nohup, SIGHUP means nothing.

        Raises:
            LedgerError: If the results folder cannot be written; children are asked to save and leave.
        """
        os.environ.setdefault(*_SPIN)
        overriding = environment.remove_overriding()  # before the process that trainers are forked from imports torch
        environment.pin()
        if overriding:
            self._view.event("note", environment.not_heeded(overriding))
        self._queue.extend(item.run for item in items if item.action == "run")
        self._waiting.extend(_Waiting(item.run) for item in items if item.action == "wait")
        for waiting in self._waiting:
            self._view.event("note", f"{title(waiting.run)}: waiting for whoever trains it")
        heard = [number for number in _SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
        previous = {number: signal.signal(number, self._on_signal) for number in heard}
        try:
            while self._step():
                time.sleep(_POLL_S)
        finally:
            self._send(signal.SIGTERM)
            for job in self._jobs:
                job.process.wait()
            for number, handler in previous.items():
                signal.signal(number, handler)
        self._summary.stopped = self._signals > 0
        return self._summary

    def _step(self) -> bool:
        """One round; False when nothing is left to do."""
        self._pass_signals_on()
        self._reap()
        if self._signals == 0:
            self._look_at_waiting()
            self._start_next()
        self._show()
        return bool(self._jobs or (self._signals == 0 and (self._queue or self._waiting)))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    def _pass_signals_on(self) -> None:
        """Act on what has come: at any moment here another one may, which is for the next round."""
        if self._signals > self._forwarded == 0:
            self._forwarded = 1
            self._view.event("note", "stopping: each run saves first (a second Ctrl-C kills them)")
            self._send(signal.SIGTERM)
        elif self._signals > self._forwarded:
            self._forwarded += 1
            for job in self._jobs:
                with suppress(ProcessLookupError):  # one that has just left
                    os.killpg(job.process.pid, signal.SIGKILL)  # its data-loading processes too

    def _send(self, number: int) -> None:
        for job in self._jobs:
            job.process.send_signal(number)

    def _start_next(self) -> None:
        """Start queued runs wherever a slot that suits them is free, those for GPUs and those for the CPU in order."""
        full: set[bool] = set()
        for run, why in left_out(self._queue, self._summary):
            self._queue.remove(run)
            self._summary.left.append(run)
            self._view.event("blocked", f"{title(run)}: {why}")
        busy = (
            {run.id for run in self._queue} | {job.run.id for job in self._jobs} | {one.run.id for one in self._waiting}
        )
        for run in [run for run in self._queue if run.parent_id not in busy]:
            on_gpu = self._on_gpu(run)
            place = None if on_gpu in full else self._reserve(run)
            if place is None:
                full.add(on_gpu)
                continue
            slot, lock = place
            self._queue.remove(run)
            try:
                status = self._ledger.status(run.id)  # another launcher may have been faster
                if status.state == "done" or (status.state == "running" and run.id not in self._doubted):
                    self._settle_elsewhere(run, status)
                else:
                    self._jobs.append(self._spawn(run, slot, lock))  # before anything else can fail
                    self._view.event("note", f"{title(run)}: started on {slot}")
            finally:
                if lock >= 0:
                    os.close(lock)

    def _reserve(self, run: Run) -> tuple[Slot, int] | None:
        """A slot for a run, with its lock; None if all are taken, by other launchers' runs too."""
        free = self._free_slots(run)
        for slot in free:
            lock = lock_slot(slot, self._lock_folder)
            if lock is not None:
                return slot, lock
        for slot in free:
            if slot not in self._awaited:
                self._awaited.add(slot)
                self._view.event("note", f"{slot}: waiting for another run to leave it")
        return None

    def _on_gpu(self, run: Run) -> bool:
        return bool(self._slots) and run.execution.device != "cpu"

    def _free_slots(self, run: Run) -> list[Slot]:
        if self._on_gpu(run):
            busy = [job.slot for job in self._jobs]
            return [slot for slot in self._slots if slot not in busy]
        if self._command is None and not self._preload.done():
            self._pending = _LOADING
            return []
        self._pending = ""
        taken = sum(cores_of(job.run.execution, self._cores) for job in self._jobs if job.slot.gpu is None)
        return [Slot()] if taken + cores_of(run.execution, self._cores) <= self._cores else []

    def _spawn(self, run: Run, slot: Slot, lock: int) -> _Job:
        run_dir = self._ledger.prepare(run)
        try:
            log = run_dir.log.open("a+b")  # kept open: a run that is refused takes its directory with it
        except OSError as error:
            raise LedgerError(f"{run_dir.log}: cannot be written: {error.strerror}") from error
        log_start = log.seek(0, os.SEEK_END)
        try:
            process = self._trainer(run_dir, log, slot, lock)
        except TrainError:
            self._ledger.discard(run_dir)
            raise
        return _Job(run, run_dir, slot, process, lock, log, log_start, time.monotonic())

    def _trainer(self, run_dir: RunDir, log: BinaryIO, slot: Slot, lock: int) -> Trainer:
        variables = {name: value for name, value in os.environ.items() if name not in _WORLD}
        variables |= {**slot.environment(), "PYTHONUNBUFFERED": "1"}
        if self._command is None and slot.gpu is None:
            return ForkedTrainer(run_dir.path, run_dir.log, variables)
        own = [sys.executable, "-m", "tksbench.train", str(run_dir.path)]
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module, no shell
            self._command(run_dir) if self._command else own,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=variables,
            start_new_session=True,  # Ctrl-C reaches the launcher alone, which passes it on once
            preexec_fn=_die_with(os.getpid()),
            pass_fds=(lock,) if lock >= 0 else (),
        )

    def _reap(self) -> None:
        for job in list(self._jobs):
            code = job.process.poll()
            if code is not None:
                self._jobs.remove(job)
                self._settle(job, code)
                job.log.close()

    def _settle(self, job: _Job, code: int) -> None:
        """Decide what the end of a child means."""
        status = self._ledger.status(job.run.id)
        took = duration(time.monotonic() - job.started)
        never_held = status.state == "running" and self._still_silent(job.run)  # or its trainers would have no end
        self._doubted.pop(job.run.id, None)
        if status.state == "done":
            self._done(job.run, status, took)
        elif code == HELD or (status.state == "running" and not never_held):
            self._waiting.append(_Waiting(job.run, looked=time.monotonic()))
        elif code == BAD_INPUT and (status.state == "new" or never_held):
            self._refused(job.run, job.last_line())
        elif status.state != "failed" and (self._signals or code in (SAVED, -signal.SIGTERM)):
            self._summary.interrupted.append(job.run)
            self._view.event("interrupted", f"{title(job.run)}: the same command goes on from what it saved")
        else:
            self._failed(job.run, status.reason if status.state == "failed" else explain(code, job.last_line()))

    def _settle_elsewhere(self, run: Run, status: Status) -> None:
        if status.state == "done":
            self._done(run, status, "trained by another launcher")
        else:
            self._waiting.append(_Waiting(run))
            self._view.event("note", f"{title(run)}: {status.reason}; waiting for it")

    def _done(self, run: Run, status: Status, how: str) -> None:
        self._summary.done.append(run)
        last = " after the last epoch" * (run.spec.kind == "train")
        accuracy = "" if status.top1 is None else f"top-1 {status.top1:.2f} %{last}, "
        self._view.event("done", f"{title(run)}: {accuracy}{how}")

    def _failed(self, run: Run, reason: str) -> None:
        self._summary.failed.append(run)
        self._view.event("failed", f"{title(run)}: {reason}\n  log: {self._ledger.run_dir(run.id).log}")

    def _refused(self, run: Run, reason: str) -> None:
        """The trainer could not begin, and left nothing behind; a reason is printed in full once."""
        self._summary.refused.append(run)
        self._view.event("refused", f"{title(run)}: {'the same' if reason in self._refusals else reason}")
        self._refusals.add(reason)

    def _look_at_waiting(self) -> None:
        now = time.monotonic()
        for waiting in list(self._waiting):
            if now - waiting.looked < _WAIT_POLL_S:
                continue
            waiting.looked = now
            status = self._ledger.status(waiting.run.id)
            if status.state == "running" and not self._silent(waiting, now):
                continue
            self._waiting.remove(waiting)
            if status.state == "running":  # to the ledger it still is: a trainer will look more closely
                self._doubted[waiting.run.id] = waiting.raw
            if status.state == "done":
                self._done(waiting.run, status, "trained by another launcher")
            elif status.state == "failed":
                self._failed(waiting.run, status.reason)
            else:  # its holder left or died: take it over
                self._queue.appendleft(waiting.run)

    def _silent(self, waiting: _Waiting, now: float) -> bool:
        """Whether a holder on another machine has shown no sign of life for a while, by our own clock."""
        holder = read_holder(self._ledger.run_dir(waiting.run.id))
        if holder is None or holder.raw != waiting.raw:
            waiting.raw, waiting.since = holder.raw if holder else None, now
        return holder is not None and holder.alive is None and now - waiting.since >= _SILENT_S

    def _still_silent(self, run: Run) -> bool:
        """Whether the lease is still that of the silent holder, so that the trainer sent never had it."""
        holder = read_holder(self._ledger.run_dir(run.id))
        return holder is not None and run.id in self._doubted and holder.raw == self._doubted[run.id]

    def _show(self) -> None:
        status = self._ledger.status
        here = [Active(job.run, str(job.slot), status(job.run.id)) for job in self._jobs]
        elsewhere = [Active(waiting.run, "other", status(waiting.run.id)) for waiting in self._waiting]
        counts = {name: len(runs) for name, runs in self._summary.by_outcome().items()}
        counts |= {"running": len(self._jobs), "elsewhere": len(self._waiting), "to go": len(self._queue)}
        self._view.update([*here, *elsewhere], counts, self._pending)


def _die_with(parent: int) -> Callable[[], None]:
    """What a child does before it becomes the trainer: ask for SIGTERM when its launcher dies."""
    libc: Any = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        if hasattr(libc, "prctl"):
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # it died just before
                os._exit(SAVED)

    return prepare
