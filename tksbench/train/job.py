"""One run from its directory to its record, under a lease; in one process, or in several that end alike.

Of several processes the leading one has the lease and writes every file; the others train with it and leave with
its exit status.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from tksbench.errors import TksbenchError
from tksbench.exits import BAD_INPUT, DONE, FAILED, HELD, SAVED
from tksbench.recipe.catalogue import outsiders
from tksbench.recipe.source import source_file
from tksbench.runs import Ledger, attempts, environment, write_bytes
from tksbench.runs.code import shown
from tksbench.runs.comparison import changed_files
from tksbench.runs.errors import LeaseHeld, LeaseLost
from tksbench.runs.lease import Lease
from tksbench.runs.paths import RunDir
from tksbench.train.errors import Interrupted
from tksbench.train.join import join
from tksbench.train.origin import Witness, attempt_origin, check_same_code, keep_code, workers_load
from tksbench.train.parallel import ALONE, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from tksbench.recipe import Run
    from tksbench.train.outcome import Procedure
    from tksbench.train.parallel import OneProcess

log = logging.getLogger("tksbench.train")
_PROCEDURES = {  # of each kind of run
    "train": "tksbench.train.loop:Trainer",
    "convert": "tksbench.train.convert:Conversion",
    "classic": "tksbench.train.classic:Classic",
}
# Here and not later: before torch reads its variables, and whatever becomes of the checkout while a run trains, or
# while the process that trainers are forked from waits for the next.
NOT_HEEDED = environment.overriding(os.environ)
environment.settle()
WITNESS = Witness()


class StopFlag:
    """Set by SIGINT, SIGTERM or SIGUSR2; those that follow change nothing, but a second SIGINT kills.

    Until `wait_for_boundary` is set there is nothing to save, so the first one raises KeyboardInterrupt at once.
    """

    def __init__(self) -> None:
        self.raised = self.wait_for_boundary = False
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
            signal.signal(name, self._catch)

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.raised

    def _catch(self, number: int, _frame: FrameType | None) -> None:
        first, self.raised = not self.raised, True
        # One stop may come several times: Slurm and systemd send theirs to every process, a launcher among these
        # passes its own on, and so does its end. A second Ctrl-C is of somebody who does not want to wait.
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
        if first and not self.wait_for_boundary:
            raise KeyboardInterrupt


def run_job(path: Path) -> int:
    """Train the run of a directory, or go on with it, and write its record.

    Returns:
        0 done (or done before), 1 failed, 2 bad input, 3 interrupted after saving, 4 held by another process.
    """
    job = Job(RunDir(path.absolute()))
    try:
        job.begin()
    except KeyboardInterrupt:
        log.info("interrupted before training began")
        return SAVED
    except TksbenchError as error:
        log.error("%s", error)
        return BAD_INPUT
    verdict = job.lead() if job.parallel.lead else job.follow()
    return job.parallel.leave(verdict)


class Job:
    """This process's part in training the run of a directory."""

    run: Run

    def __init__(self, run_dir: RunDir) -> None:
        self.dir = run_dir
        self.ledger = Ledger(run_dir.path.parent.parent)
        self.stop = StopFlag()
        self.parallel: OneProcess = ALONE
        self.lease: Lease | None = None
        self.procedure: Procedure | None = None
        self.origin: dict[str, Any] = {}
        self.strays: set[str] | None = None  # modules from elsewhere that were loaded when training began

    def begin(self) -> None:
        """Read what is to be trained, and meet the run's other processes if there are any.

        Raises:
            TksbenchError: If either cannot be done.
        """
        self.run = self.ledger.load_run(self.dir)
        not_heeded = sorted({*NOT_HEEDED, *environment.overriding(os.environ)})
        self.variables = environment.settle()
        self.parallel = join(self.run.execution, self._ended_elsewhere)
        if not_heeded and self.parallel.lead:
            log.warning(environment.not_heeded(not_heeded))
        if not self.parallel.lead:
            log.setLevel(logging.WARNING)  # one process logs how it goes

    def lead(self) -> Verdict:
        """Take the lease, train, and write the record; how it ended."""
        try:
            with Lease.acquire(self.dir) as self.lease:
                if self.ledger.finished(self.run.id):
                    log.info("%s is done already", self.run.name)
                    return Verdict(DONE, "")
                verdict = self._attempt(self.lease)
                if verdict.code == BAD_INPUT:
                    self.ledger.discard(self.dir)
                return verdict
        except KeyboardInterrupt:
            log.info("interrupted before training began")
            return Verdict(SAVED, "stopped by a signal")
        except (LeaseHeld, LeaseLost) as error:
            log.error("%s", error)
            return Verdict(HELD, str(error))
        except TksbenchError as error:
            log.error("%s", error)
            return Verdict(BAD_INPUT, str(error))

    def follow(self) -> Verdict | None:
        """Train with the leading process; None if it is that one's to say how it ended."""
        try:
            self.parallel.from_lead(lambda: None)  # it has the lease now
            self.procedure = self._prepare(lambda: None)
            self.stop.wait_for_boundary = True
            self.procedure.fit()
        except Interrupted:
            return None
        except KeyboardInterrupt:
            return Verdict(SAVED, "stopped by a signal")
        except TksbenchError as error:  # logged when it is decided whose word counts
            return Verdict(FAILED if self.procedure else BAD_INPUT, str(error))
        except Exception as error:
            traceback.print_exc()
            return Verdict(FAILED, f"{type(error).__name__}: {error}")
        return None

    def _attempt(self, lease: Lease) -> Verdict:
        """Train under the lease and note how it ended."""
        try:
            self.parallel.from_lead(lambda: None)  # the others wait for the lease
            self.procedure = procedure = self._prepare(lease.check)
            self.stop.wait_for_boundary = True
            self._begin_attempt(procedure)
            procedure.fit()
            self._finish(procedure)
        except LeaseLost:
            raise
        except Interrupted as event:
            log.info("interrupted %s; the same command goes on from there", event)
            return self._note(SAVED, "stopped by a signal")
        except TksbenchError as error:
            log.error("%s", error)
            return self._note(FAILED if self._begun() else BAD_INPUT, str(error))
        except Exception as error:
            traceback.print_exc()
            return self._note(FAILED, f"{type(error).__name__}: {error}")
        log.info("%s is done", self.run.name)
        return Verdict(DONE, "")

    def _begin_attempt(self, procedure: Procedure) -> None:
        """Note by what the run is trained from here on, and say so if it was trained by other code before."""
        self._late()
        before = attempts.lasting(attempts.read_attempts(self.dir))
        place, recipe = procedure.place, Path(self.run.recipe)
        self.strays = set(WITNESS.strays())
        self.origin, code = attempt_origin(
            WITNESS, recipe, procedure.device, self.parallel, self.variables, procedure.portable
        )
        keep_code(self.dir, code)
        for attempt in before[-1:]:
            changed = changed_files(attempt.row.get("code"), attempt.row.get("commit"), self.dir, here=code.files)
            if changed and attempt.place < place:
                log.warning(
                    "goes on with other code than it was trained with before (%s), which its record will say; "
                    "the launcher trains it anew with --again",
                    shown(changed),
                )
        attempts.attempt_started(self.dir, *place, self.origin)

    def _late(self) -> list[str]:
        """Files of the package that were written while this process was loading them; modules from elsewhere since."""
        since = [name for name in WITNESS.strays() if self.strays is not None and name not in self.strays]
        return [*WITNESS.look(workers_load(self.run.execution)), *since]

    def _begun(self) -> bool:
        """Whether training has begun, now or ever."""
        return self.procedure is not None or bool(attempts.read_attempts(self.dir))

    def _note(self, code: int, reason: str) -> Verdict:
        """Add a row to the attempts; a run that cannot begin leaves none."""
        if code != BAD_INPUT:
            place = self.procedure.place if self.procedure else (0, 0)
            outcome: attempts.Outcome = "interrupted" if code == SAVED else "failed"
            with suppress(TksbenchError):  # the disk may be what failed; the log has told the reason
                attempts.attempt_ended(self.dir, outcome, reason, *place, self._late())
        return Verdict(code, reason)

    def _ended_elsewhere(self, verdict: Verdict) -> None:
        """Another process has ended the run, and this one is about to exit: leave everything in order."""
        if self.lease is None:
            return
        code = FAILED if verdict.code == BAD_INPUT and self._begun() else verdict.code
        with suppress(TksbenchError):
            self.lease.check()
            if code == BAD_INPUT:
                self.ledger.discard(self.dir)
            elif self.procedure or code == FAILED:
                self._note(code, verdict.reason)
        self.lease.release()

    def _prepare(self, guard: Callable[[], None]) -> Procedure:
        log.info("loading torch")
        # Here and not above: torch takes seconds to import, the lease and the messages before it should not.
        from tksbench.data.registry import load
        from tksbench.train import summary  # noqa: F401 - so that no code is loaded any more when the run ends
        from tksbench.train.components import check_unedited
        from tksbench.train.cpu import set_up_cpu

        check_same_code(self.parallel, WITNESS.code)
        spec = self.run.spec
        for key, one in outsiders(spec):
            check_unedited(key, one)
        data = load(spec.data, spec.frames, spec.seed)
        device = self.parallel.device(self.run.execution)
        if device.type == "cpu":
            set_up_cpu(self.run.execution)
        made = resolve_name(_PROCEDURES[spec.kind])
        procedure: Procedure = made(self.run, self.dir, data, device, self.stop, guard, self.parallel)
        WITNESS.check_compiled()
        procedure.resume()
        if self.parallel.lead:
            _keep_components(self.run, self.dir)
        return procedure

    def _finish(self, procedure: Procedure) -> None:
        """Write the record: from then on the run is done."""
        from tksbench.runs.record import make_record, save_record
        from tksbench.train.summary import record_parts

        attempts.attempt_ended(self.dir, "done", "", *procedure.place, self._late())
        record = make_record(**record_parts(self.run, self.dir, procedure, self.origin))
        procedure.guard()
        save_record(self.dir.record, record)


def _keep_components(run: Run, run_dir: RunDir) -> None:
    """Copy the files of components from outside, which no commit of this project has; they were checked."""
    for key, one in outsiders(run.spec):
        source = source_file(one.name)
        if source is not None:
            write_bytes(run_dir.component(key), source.read_bytes())


def configure_logging() -> None:
    """One line an event on standard output, which the executor sends to the run's log."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


def main(argv: list[str] | None = None) -> int:
    """`python -m tksbench.train RUN_DIR`."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m tksbench.train", description=run_job.__doc__)
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="a folder of results/runs with a run.json")
    options: Any = parser.parse_args(argv)
    configure_logging()
    return run_job(options.run_dir)
