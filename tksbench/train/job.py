"""One run from its directory to its record, under a lease."""

from __future__ import annotations

import logging
import signal
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tksbench.errors import TksbenchError
from tksbench.runs import Ledger, attempts
from tksbench.runs.errors import LeaseHeld, LeaseLost
from tksbench.runs.lease import Lease
from tksbench.runs.paths import RunDir
from tksbench.train.errors import Interrupted

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from tksbench.recipe import Run
    from tksbench.train.loop import Trainer

log = logging.getLogger("tksbench.train")
DONE, FAILED, BAD_INPUT, INTERRUPTED, HELD = 0, 1, 2, 3, 4


class StopFlag:
    """Set by SIGINT, SIGTERM or SIGUSR2; a second signal acts as if nobody had asked for it to be caught.

    Until `wait_for_boundary` is set there is nothing to save, so a signal raises KeyboardInterrupt at once.
    """

    def __init__(self) -> None:
        self.raised = self.wait_for_boundary = False
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
            signal.signal(name, self._catch)

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.raised

    def _catch(self, number: int, _frame: FrameType | None) -> None:
        self.raised = True
        signal.signal(number, signal.SIG_DFL)
        if not self.wait_for_boundary:
            raise KeyboardInterrupt


def run_job(path: Path) -> int:
    """Train the run of a directory, or go on with it, and write its record.

    Returns:
        0 done (or done before), 1 failed, 2 bad input, 3 interrupted after saving, 4 held by another process.
    """
    run_dir = RunDir(path.absolute())
    stop = StopFlag()
    try:
        ledger = Ledger(run_dir.path.parent.parent)
        run = ledger.load_run(run_dir)
        with Lease.acquire(run_dir) as lease:
            if ledger.finished(run.id):
                log.info("%s is done already", run.name)
                return DONE
            code = _attempt(run, run_dir, lease, stop)
            if code == BAD_INPUT:
                ledger.discard(run_dir)
            return code
    except KeyboardInterrupt:
        log.info("interrupted before training began")
        return INTERRUPTED
    except (LeaseHeld, LeaseLost) as error:
        log.error("%s", error)
        return HELD
    except TksbenchError as error:
        log.error("%s", error)
        return BAD_INPUT


def _attempt(run: Run, run_dir: RunDir, lease: Lease, stop: StopFlag) -> int:
    """Train under the lease and note how it ended."""
    trainer: Trainer | None = None
    try:
        trainer = _prepare(run, run_dir, lease, stop)
        stop.wait_for_boundary = True
        attempts.attempt_started(run_dir, trainer.state.epoch, trainer.state.step)
        trainer.fit()
        _finish(run, run_dir, trainer)
    except LeaseLost:
        raise
    except Interrupted as event:
        log.info("interrupted %s; the same command goes on from there", event)
        _note(run_dir, "interrupted", "stopped by a signal", trainer)
        return INTERRUPTED
    except TksbenchError as error:
        log.error("%s", error)
        if trainer is None and not attempts.read_attempts(run_dir):
            return BAD_INPUT
        _note(run_dir, "failed", str(error), trainer)
        return FAILED
    except Exception as error:
        traceback.print_exc()
        _note(run_dir, "failed", f"{type(error).__name__}: {error}", trainer)
        return FAILED
    log.info("%s is done", run.name)
    return DONE


def _note(run_dir: RunDir, outcome: attempts.Outcome, reason: str, trainer: Trainer | None) -> None:
    place = (trainer.state.epoch, trainer.state.step) if trainer else (0, 0)
    with suppress(TksbenchError):  # the disk may be what failed; the log has told the reason
        attempts.attempt_ended(run_dir, outcome, reason, *place)


def _prepare(run: Run, run_dir: RunDir, lease: Lease, stop: StopFlag) -> Trainer:
    # Here and not above: torch takes seconds to import, the lease and the messages before it should not.
    from tksbench.data.registry import load
    from tksbench.train.build import pick_device
    from tksbench.train.loop import Trainer

    data = load(run.spec.data, run.spec.model.T, run.spec.seed)
    trainer = Trainer(run, run_dir, data, pick_device(run.execution), stop, lease.check)
    trainer.resume()
    return trainer


def _finish(run: Run, run_dir: RunDir, trainer: Trainer) -> None:
    """Write the record: from then on the run is done."""
    from tksbench.runs.record import make_record, save_record
    from tksbench.train.summary import record_parts

    attempts.attempt_ended(run_dir, "done", "", trainer.state.epoch, trainer.state.step)
    record = make_record(**record_parts(run, run_dir, trainer))
    trainer.guard()
    save_record(run_dir.record, record)


def configure_logging() -> None:
    """One line an event on standard output, which the executor sends to the run's log."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


def main(argv: list[str] | None = None) -> int:
    """`python -m tksbench.train RUN_DIR`."""
    import argparse
    from pathlib import Path

    parser = argparse.ArgumentParser(prog="python -m tksbench.train", description=run_job.__doc__)
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="a folder of results/runs with a run.json")
    options: Any = parser.parse_args(argv)
    configure_logging()
    return run_job(options.run_dir)
