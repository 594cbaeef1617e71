"""Twenty steps of a run, to say how long the whole of it would take on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tksbench.errors import TksbenchError
from tksbench.recipe import TrainSpec
from tksbench.train.errors import TrainError
from tksbench.train.forked import begin, forked

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from tksbench.recipe import Run
    from tksbench.train.loop import Trainer

STEPS, FEWEST = 20, 3  # timed steps: as many as wanted, and as few as will do where the time is up
_PATIENCE_S, _LIMIT_S = 30.0, 180.0  # a probe is content with less after the first, and given up after the second
_UNTIMED = 2  # the first steps choose kernels and start workers
_TEST_SHARE = 1 / 3  # of a training step's time: the forward pass of as many samples


@dataclass(frozen=True)
class Probe:
    """What was measured.

    Attributes:
        hours: That the whole run would take here: training and tests, start and checkpoints left out.
        device: "cpu" or "cuda".
        step_s: Median time of a step in seconds, waiting for data included.
        steps: Steps that were timed.
    """

    hours: float
    device: str
    step_s: float
    steps: int


class _Enough(Exception):
    """Ends the training of a probe."""


class _Clock:
    """Asked by the trainer between any two steps: notes how long they took, and ends it all in the end."""

    def __init__(self, patience_s: float) -> None:
        self._began = time.monotonic()
        self._until = self._began + patience_s
        self._place, self._then = (0, 0), self._began
        self._untimed = _UNTIMED
        self.trainer: Trainer | None = None
        self.step_s: list[float] = []

    def __call__(self) -> bool:
        if self.trainer is None:
            return False
        if self.trainer.device.type == "cuda":
            import torch

            torch.cuda.synchronize()
        now, place = time.monotonic(), (self.trainer.state.epoch, self.trainer.state.step)
        if place == (self._place[0], self._place[1] + 1):  # neither a test nor the time between two epochs
            if self._untimed:
                self._untimed -= 1
            else:
                self.step_s.append(now - self._then)
        self._place, self._then = place, now
        if len(self.step_s) >= STEPS or (len(self.step_s) >= FEWEST and now > self._until):
            raise _Enough
        return False


def measure_apart(run: Run) -> Probe | str:
    """A run's probe, or why there is none; in a process of its own, because memory may not suffice."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = forked(_send, run, sender)  # no daemon: those may not start data workers
    sender.close()
    try:
        if receiver.poll(_LIMIT_S):
            result: Probe | str = receiver.recv()
            return result
        return f"not even three steps within {_LIMIT_S:.0f} s"
    except EOFError:
        process.join()
        return f"its process ended with status {process.exitcode} (out of memory?)"
    finally:
        assert process.pid is not None  # noqa: S101 - it has been started
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its data workers too
        process.kill()  # should it not have a session of its own yet
        process.join()


def _send(run: Run, sender: Connection) -> None:
    """What its process does."""
    begin()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # where memory runs out, this is what may go
    try:
        sender.send(measure(run, _PATIENCE_S))
    except TksbenchError as error:
        sender.send(str(error))
    except Exception as error:  # whatever it is, the run would meet it too
        sender.send(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")


def measure(run: Run, patience_s: float) -> Probe:
    """Train the first steps of a run, on its own data, in this process alone; nothing of it is kept or shown.

    Args:
        run: Its `execution` is taken as it is, but for ZeRO, which needs other processes.
        patience_s: Seconds after which `FEWEST` timed steps will do.

    Raises:
        TksbenchError: As training would: data that cannot be read, a batch that does not fit the network.
    """
    from tksbench.data.registry import load
    from tksbench.runs import Ledger
    from tksbench.train.build import pick_device
    from tksbench.train.cpu import set_up_cpu
    from tksbench.train.loop import Trainer

    run = replace(
        run, execution=run.execution.model_copy(update={"zero": 0, "checkpoint_minutes": 1e9, "track": "none"})
    )
    spec, device = run.spec, pick_device(run.execution)
    if not isinstance(spec, TrainSpec):
        raise TrainError(f"{run.name}: only steps of training are timed, and it is not trained")
    if device.type == "cpu":
        set_up_cpu(run.execution)  # as the job does that trains the whole run
    data = load(spec.data, spec.model.T, spec.seed)
    clock = _Clock(patience_s)
    with TemporaryDirectory(prefix="tksbench-probe-") as folder:
        clock.trainer = trainer = Trainer(run, Ledger(Path(folder)).prepare(run), data, device, stopping=clock)
        with suppress(_Enough):  # a run of very few steps is trained to its end
            trainer.fit()
    if not clock.step_s:
        raise TrainError(f"{run.name}: a run of {trainer.epochs * trainer.steps} steps is too short to be timed")
    step_s = statistics.median(clock.step_s)
    tests = -(-trainer.epochs // spec.evaluation.every)
    test_s = len(data.test) / spec.optim.batch_size * step_s * _TEST_SHARE
    hours = (trainer.epochs * trainer.steps * step_s + tests * test_s) / 3600
    return Probe(hours, device.type, step_s, len(clock.step_s))
