"""The job on the cluster: what submitit runs in each process, and what its script calls before and after them.

    python -m tksbench.launch.job begin FOLDER      may this job train? notes the start
    python -m tksbench.launch.job task FOLDER       submitit's entry: runs this process's `TrainRun`
    python -m tksbench.launch.job end FOLDER CODE   what the step's exit status means: done, failed, or requeue

Slurm asks the trainer to save and leave (SIGUSR2 before the time limit or at preemption, SIGTERM at scancel), by
signals to every process of the step; then submitit requeues the job. `end` sees to what submitit cannot: processes
that were killed, or lost the others, or never came to be. Only the record says that a run is done.
"""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import submitit
from submitit.core.utils import DelayedSubmission, UncompletedJobError
from submitit.helpers import Checkpointable, TorchDistributedEnvironment

from tksbench.errors import TksbenchError
from tksbench.exits import BAD_INPUT, DONE, FAILED, HELD, KILLED, SAVED, explain
from tksbench.launch.executor import NOTHING_TO_DO
from tksbench.launch.submissions import REFUSED, Submission
from tksbench.runs import Ledger, RunDir, attempt_ended, read_attempts, read_jsonl
from tksbench.runs.attempts import now
from tksbench.text import last_line, without_time

if TYPE_CHECKING:
    from types import FrameType

    from tksbench.runs.attempts import Outcome

_REQUEUE_TRIES, _REQUEUE_PAUSE_S = 6, 10  # the controller may be restarting
_WAIT_TO_DIE_S = 120  # after a requeue Slurm kills the script
_AGAIN = "is to start again"  # printed before a job is requeued
_PRINTED = 400  # characters of a job's log that a reason repeats
FOLDER = "TKSBENCH_SUBMISSION"  # names the submission's folder to `TrainRun`
# What a process says that has lost the others (gloo, NCCL, torch's store): they, or their node, are gone. One that
# fails by itself has said so before them, and is believed.
_LOST = re.compile(
    r"connection (reset|closed|refused)|broken pipe|gloo/transport|ncclremoteerror|remote process exited|"
    r"\bDist(Backend|Network|Store)?Error\b",
    re.IGNORECASE,
)
_ENDED = re.compile(
    r"^\S+ tksbench: rank \d+ on (?P<node>\S+) ended with status (?P<code>-?\d+): ?(?P<reason>.*?)\r?$", re.M
)


class Ended(NamedTuple):
    """How a process ended that did not train to the end."""

    code: int
    reason: str
    node: str = ""


@dataclass(frozen=True)
class Element:
    """This job: one run of a submission."""

    submission: Submission
    index: int
    restart: int
    ledger: Ledger
    run_dir: RunDir

    @classmethod
    def find(cls, folder: Path) -> Element:
        """This process's, from Slurm's environment."""
        submission, index = Submission(folder), int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
        ledger = Ledger(folder.parent.parent)
        run_dir = ledger.run_dir(str(submission.intent["runs"][index]))
        return cls(submission, index, int(os.environ.get("SLURM_RESTART_COUNT", "0")), ledger, run_dir)

    @property
    def id(self) -> str:
        """As squeue shows it."""
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{self.index}"

    @property
    def goes_on(self) -> bool:
        """Whether the job may be requeued."""
        return bool(self.submission.intent["requeue"]) and not self.submission.cancelled(self.index)

    def note(self, outcome: Outcome, reason: str) -> None:
        """An end for the run's last attempt, at the place that it named last."""
        last = (read_attempts(self.run_dir) or [{}])[-1]
        attempt_ended(self.run_dir, outcome, reason, int(last.get("epoch", 0)), int(last.get("step", 0)))


class TrainRun(Checkpointable):
    """Trains a run as one of its processes, wherever submitit starts it.

    It holds nothing but the run's directory, so that what submitit pickles anew at a requeue is what it was.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = str(run_dir)

    def __call__(self) -> None:
        """Train in a child process, which somebody has to outlive who can say how it was killed."""
        element, environment = Element.find(Path(os.environ[FOLDER])), meet()
        run_dir, rank = RunDir(Path(self.run_dir)), environment.global_rank
        if environment.cluster == "debug":
            from tksbench.train.job import run_job

            run_job(run_dir.path)
            return
        log = run_dir.log if rank == 0 else run_dir.path / f"log-rank{rank}.txt"
        code, said = self._train([*element.submission.intent["trainer"], self.run_dir], log)
        if code == SAVED and rank == 0 and self._asked and element.goes_on:
            said = self._requeue()
        if code != DONE and (code != SAVED or rank == 0):
            _say(f"rank {rank} on {platform.node()} ended with status {code}: {said}")
        if code not in (DONE, SAVED):  # those are no bad exits: srun would kill who is still leaving
            sys.exit(code if code >= 0 else KILLED - code)

    def _train(self, command: list[str], log: Path) -> tuple[int, str]:
        """Run the trainer; returns its exit status (negative for a signal) and the last line that it wrote."""
        with log.open("a+b") as file:  # kept open: a run that is refused takes its directory with it
            start = file.seek(0, os.SEEK_END)
            environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module, no shell
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment
            )

            def pass_on(number: int, frame: FrameType | None) -> None:  # submitit's local executor signals us alone
                self._asked |= number == signal.SIGUSR2
                process.send_signal(signal.SIGTERM if number == signal.SIGINT else number)

            self._asked, self._submitit = False, signal.signal(signal.SIGUSR2, pass_on)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, pass_on)
            code = process.wait()
            return code, without_time(last_line(file, start))

    def checkpoint(self) -> DelayedSubmission:
        """Called by submitit before it requeues the job: there is nothing to keep but this."""
        _say(_AGAIN)
        return DelayedSubmission(TrainRun(Path(self.run_dir)))

    def _requeue(self) -> str:
        """Let submitit's handler requeue the job and end this process; returns why it could not: `end` tries again."""
        try:
            return str(self._submitit(signal.SIGUSR2, None)) if callable(self._submitit) else "nobody requeues here"
        except (subprocess.SubprocessError, UncompletedJobError, OSError) as error:
            return f"not requeued: {error}"


def meet() -> submitit.JobEnvironment:
    """Set torch's usual names for who this process is and where all of them meet."""
    os.environ.pop("MASTER_PORT", None)  # the launcher's own, if any: each job needs its own
    environment, distributed = submitit.JobEnvironment(), TorchDistributedEnvironment()
    if environment.num_nodes == 1:
        distributed.master_addr = "127.0.0.1"  # a node's own name need not resolve
    # Slurm has chosen the GPUs; one of them for each local rank is the trainer's business.
    distributed.export(set_cuda_visible_devices=False, overwrite=True)
    return environment


def task(folder: Path) -> None:
    """Run this process's pickle by submitit, under the name and in the folder that it expects."""
    from submitit.core.submission import process_job  # late: it imports numpy, which no launcher needs

    os.environ[FOLDER] = str(folder)
    environment = submitit.JobEnvironment()
    with suppress(FileExistsError):
        os.link(folder / f"{environment.array_task_id}.pkl", folder / f"{environment.job_id}_submitted.pkl")
    # submitit puts the job's id in place of %j in a folder's path, and so on
    process_job(f"/proc/self/fd/{os.open(folder, os.O_RDONLY)}")


def begin(job: Element) -> int:
    """Decide whether to train, and note it.

    Returns:
        0 to go on, `NOTHING_TO_DO`, or 1 if the run is given up.
    """
    if not job.submission.submitted(os.environ["SLURM_ARRAY_JOB_ID"], os.environ.get("SLURM_CLUSTER_NAME")):
        return _leave("a launcher has given this job up and submitted another")
    if job.submission.cancelled(job.index):
        return _leave("cancelled")
    status = job.ledger.status(job.run_dir.id)
    again = job.restart > 0 or int(job.submission.intent["link"]) > 0
    if status.state == "done" or (again and status.state == "failed" and _failed_since(job)):
        return _leave(f"the run is {status.state}")
    if not job.run_dir.run.exists():
        return _leave("the run was refused and left nothing behind")
    starts = job.submission.starts(job.index)
    if starts and _AGAIN not in starts[-1]:
        job.note("interrupted", f"Slurm has started job {job.id} again: node failure or preemption")
    saved = sorted(path.name for path in job.run_dir.checkpoints.glob("*") if not path.name.startswith("."))
    place = f"{len(read_jsonl(job.run_dir.metrics))} epochs, saved {' '.join(saved) or 'nothing'}"
    since = takewhile(
        lambda start: start.partition("\n")[0].rstrip().endswith(f" at {place}"),
        reversed(starts),
    )
    # Where somebody else was training it then, that is no reason to give it up: an epoch may take hours.
    fruitless = sum((ended := _first_end(start)) is None or ended.code != HELD for start in since)
    if fruitless > int(job.submission.intent["retries"]):
        reasons = [str(row.get("reason", "")) for row in read_attempts(job.run_dir) if row["event"] == "end"]
        last = reasons[-1] if reasons else "it never began to train"
        reason = f"given up after {fruitless} starts without progress in job {job.id}: {last}"
        job.note("failed", reason)
        _say(reason)
        return FAILED
    nodes = os.environ.get("SLURM_JOB_NODELIST", platform.node())
    _say(f"start {job.restart} of {job.run_dir.id} on {nodes} at {place}")
    return 0


def _failed_since(job: Element) -> bool:
    """Whether the run's last failure is of this submission: an earlier one is why it was submitted again."""
    ends = [row for row in read_attempts(job.run_dir) if row.get("event") == "end"]
    try:
        failed = datetime.fromisoformat(str(ends[-1]["time"])).timestamp()
    except (IndexError, KeyError, ValueError, TypeError):
        return True
    return failed >= int((job.submission.folder / "intent.json").stat().st_mtime)  # rows have whole seconds


def _first_end(start: str) -> Ended | None:
    """How the first process that ended badly did so, in what one start has printed."""
    found = _ENDED.search(start)
    return Ended(int(found["code"]), found["reason"], found["node"]) if found else None


def end(job: Element, code: int) -> int:
    """Decide what the step's exit status means; does not return if the job is requeued."""
    status = job.ledger.status(job.run_dir.id)
    if status.state == "done":
        _say("done")
        return DONE
    start = (job.submission.starts(job.index) or [""])[-1]
    first = _first_end(start)
    if first is None and _AGAIN in start:  # submitit has requeued the job
        return SAVED
    if first is None:  # no process came so far as to report: an option of srun, the container, its interpreter
        printed = (line.strip() for line in start.splitlines()[1:])
        first = Ended(code, "; ".join(line for line in printed if line)[-_PRINTED:])
    if first.code == BAD_INPUT:
        _say(f"{REFUSED}{first.reason}")
        return FAILED
    lost = first.code == FAILED and _LOST.search(first.reason)
    killed = first.code < 0 or first.code >= KILLED or lost
    why = explain(first.code, first.reason)
    if not killed and first.code not in (SAVED, HELD):
        if status.state not in ("failed", "running"):
            job.note("failed", why)
        return FAILED
    if killed and status.state != "running":  # also where the trainer took the end of another for a failure of its own
        job.note("interrupted", f"{why}{f' on {first.node}' if first.node else ''} in job {job.id}")
    return _again(job)


def _again(job: Element) -> int:
    """Let the job start again: by requeueing it, or by leaving that to the next link of its chain."""
    _say(_AGAIN)
    if not job.goes_on:
        intent = job.submission.intent
        left = int(intent["links"]) - int(intent["link"])
        _say(f"not finished: {left} more jobs are queued behind this one" if left else "not finished: launch again")
        return SAVED
    for attempt in range(_REQUEUE_TRIES):
        try:
            submitit.JobEnvironment()._requeue(0)  # of the element: SLURM_JOB_ID of one is the id of the whole array
        except (subprocess.SubprocessError, OSError) as error:
            _say(f"not requeued: {error}; the same command goes on from what was saved")
            if attempt + 1 < _REQUEUE_TRIES:
                time.sleep(_REQUEUE_PAUSE_S)
            continue
        _say("requeued")
        time.sleep(_WAIT_TO_DIE_S)
        break
    return SAVED


def _leave(why: str) -> int:
    _say(f"nothing to do: {why}")
    return NOTHING_TO_DO


def _say(text: str) -> None:
    sys.stdout.write(f"{now()} tksbench: {text}\n")
    sys.stdout.flush()


def main(argv: list[str] | None = None) -> int:
    """See the module."""
    verb, folder, *rest = sys.argv[1:] if argv is None else argv
    try:
        if verb == "task":
            task(Path(folder))
            return DONE
        job = Element.find(Path(folder))
        return begin(job) if verb == "begin" else end(job, int(rest[0]))
    except TksbenchError as error:
        _say(f"error: {error}")
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
