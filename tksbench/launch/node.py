"""The job on the cluster: what the batch script calls before, in, and after the step that trains.

`unready`, `begin` and `end` run once on the job's first node, `task` once for each process:

    python -m tksbench.launch.node unready FOLDER CODE COMMAND   a command of the profile's set-up has failed
    python -m tksbench.launch.node begin FOLDER     may this job train? notes the start
    python -m tksbench.launch.node task FOLDER      this process's part of the training
    python -m tksbench.launch.node end FOLDER CODE  what the step's exit status means: done, failed, or requeue

The trainer is asked to save and leave by Slurm itself (SIGUSR2 before the time limit or at preemption, SIGTERM at
scancel), which signals every process of the step. Only the record says that a run is done.
"""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tksbench.errors import TksbenchError
from tksbench.launch import scheduler
from tksbench.launch.errors import LaunchError
from tksbench.launch.sbatch import NOTHING_TO_DO
from tksbench.launch.submissions import Submission
from tksbench.runs import Ledger, attempt_ended, read_attempts, read_jsonl
from tksbench.runs.attempts import now

if TYPE_CHECKING:
    from types import FrameType

    from tksbench.runs import RunDir
    from tksbench.runs.attempts import Outcome

DONE, FAILED, BAD_INPUT, INTERRUPTED, HELD = 0, 1, 2, 3, 4  # exit statuses of the trainer
_KILLED = 128  # a shell, and srun, report a signal as 128 and its number
_REQUEUE_TRIES, _REQUEUE_PAUSE_S = 6, 10  # the controller may be restarting
# What a process says that has lost the others (gloo, NCCL, torch's store): they, or their node, are gone. One that
# fails by itself has said so before them, and is believed.
_LOST = re.compile(
    r"connection (reset|closed|refused)|broken pipe|gloo/transport|ncclremoteerror|remote process exited|"
    r"\bDist(Backend|Network|Store)?Error\b",
    re.IGNORECASE,
)
_PRINTED = 400  # characters of a job's log that a reason repeats
_WAIT_TO_DIE_S = 120  # after a requeue Slurm kills this script


@dataclass(frozen=True)
class Job:
    """This job: one run of a submission."""

    submission: Submission
    index: int
    restart: int
    ledger: Ledger
    run_dir: RunDir

    @classmethod
    def find(cls, folder: Path) -> Job:
        """This process's job, from Slurm's environment."""
        submission, index = Submission(folder), int(os.environ["SLURM_ARRAY_TASK_ID"])
        ledger = Ledger(folder.parent.parent)
        run_dir = ledger.run_dir(str(submission.intent["runs"][index]))
        return cls(submission, index, int(os.environ.get("SLURM_RESTART_COUNT", "0")), ledger, run_dir)

    @property
    def id(self) -> str:
        """As squeue shows it."""
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{self.index}"


def unready(job: Job, code: int, command: str) -> int:
    """Note why the job ends before it begins: it is not started again, since it would fail once more."""
    if code > _KILLED:  # by scancel or a preemption, which was no fault of the set-up
        return _leave(f"killed by {_signal(code - _KILLED)} during setup")
    job.submission.started(os.environ["SLURM_ARRAY_JOB_ID"], os.environ.get("SLURM_CLUSTER_NAME"))
    job.submission.add_start(job.index, _start(job))
    reason = f"setup: '{command}' ended with status {code} on {platform.node()}"
    job.submission.add_end(job.index, job.restart, {"node": platform.node(), "code": BAD_INPUT, "reason": reason})
    _say(f"refused: {reason}")
    return FAILED


def begin(job: Job) -> int:
    """Decide whether to train, and note it.

    Returns:
        0 to go on, `NOTHING_TO_DO`, or 1 if the run is given up.
    """
    if not job.submission.started(os.environ["SLURM_ARRAY_JOB_ID"], os.environ.get("SLURM_CLUSTER_NAME")):
        return _leave("a launcher has given this job up and submitted another")
    if job.submission.cancelled(job.index):
        return _leave("cancelled")
    status = job.ledger.status(job.run_dir.id)
    again = job.restart > 0 or int(job.submission.intent["link"]) > 0
    if status.state == "done" or (again and status.state == "failed" and _failed_since(job)):
        return _leave(f"the run is {status.state}")
    if not job.run_dir.run.exists():
        return _leave("the run was refused and left nothing behind")
    marker, starts = _progress(job.run_dir), job.submission.starts(job.index)
    since = takewhile(lambda row: row.get("progress") == marker, reversed(starts))
    fruitless = sum(not _was_held(job, row) for row in since)
    if starts and not job.submission.ended(job.index, int(starts[-1]["restart"])):
        _note(job.run_dir, "interrupted", f"Slurm has started job {job.id} again: node failure or preemption")
    if fruitless > int(job.submission.intent["retries"]):
        reason = f"given up after {fruitless} starts without progress in job {job.id}: {_last_reason(job.run_dir)}"
        _note(job.run_dir, "failed", reason)
        _say(reason)
        return FAILED
    job.submission.add_start(job.index, _start(job) | {"progress": marker})
    _say(f"start {job.restart} of {job.run_dir.id} on {os.environ.get('SLURM_JOB_NODELIST', platform.node())}")
    return 0


def task(job: Job) -> int:
    """Train, as one of the run's processes; returns the exit status for srun.

    A process that saved and left does not count as a bad exit, or srun would kill the others while they are still
    leaving: `end` learns of it from rank 0's note.
    """
    for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _let_the_trainer_see_to_it)
    rank = int(os.environ["SLURM_PROCID"])
    try:
        _meet()
    except Exception as error:  # a package that is missing, a node list of a new form
        row = {"rank": rank, "node": platform.node(), "code": FAILED, "reason": f"{type(error).__name__}: {error}"}
        job.submission.add_end(job.index, job.restart, row)
        raise
    log = job.run_dir.log if rank == 0 else job.run_dir.path / f"log-rank{rank}.txt"
    code, last_line = _train([*job.submission.intent["trainer"], str(job.run_dir.path)], log)
    if code != DONE and (code != INTERRUPTED or rank == 0):
        row = {"rank": rank, "node": platform.node(), "code": code, "reason": last_line, "time": now()}
        job.submission.add_end(job.index, job.restart, row)
    if code in (DONE, INTERRUPTED):
        return DONE
    _say(f"rank {rank} on {platform.node()}: {_explain(code, last_line)}")
    return code if code >= 0 else _KILLED - code


def end(job: Job, code: int) -> int:
    """Decide what the step's exit status means; does not return if the job is requeued."""
    status = job.ledger.status(job.run_dir.id)
    if status.state == "done":
        _say("done")
        return DONE
    first = job.submission.first_end(job.index, job.restart)
    if first is None:  # no process came so far as to tell: an option of srun, the container, its interpreter
        first = {"code": code, "reason": _printed(job)}
    culprit = int(first["code"])
    killed = culprit < 0 or culprit >= _KILLED or (culprit == FAILED and bool(_LOST.search(str(first["reason"]))))
    if culprit == BAD_INPUT:
        job.submission.add_end(job.index, job.restart, first)
        _say(f"refused: {first['reason']}")
        return FAILED
    if not killed and culprit not in (INTERRUPTED, HELD):
        if status.state != "failed":
            _end_attempt(job, "failed", _explain(culprit, str(first["reason"])))
        return FAILED
    if killed:  # also where the trainer took the end of another process for a failure of its own
        where = f" on {first['node']}" if "node" in first else ""
        _end_attempt(job, "interrupted", f"{_explain(culprit, str(first['reason']))}{where} in job {job.id}")
    return _again(job)


def _again(job: Job) -> int:
    """Let the job start again: by requeueing it, or by leaving that to the next link of its chain."""
    job.submission.end(job.index, job.restart)
    intent = job.submission.intent
    if job.submission.cancelled(job.index):
        return INTERRUPTED
    if not intent["requeue"]:
        left = int(intent["links"]) - int(intent["link"])
        _say(f"not finished: {left} more jobs are queued behind this one" if left else "not finished: launch again")
        return INTERRUPTED
    for attempt in range(_REQUEUE_TRIES):
        try:
            scheduler.requeue(job.id)  # not SLURM_JOB_ID: that of one element is the id of the whole array
        except LaunchError as error:
            _say(f"not requeued: {error}; the same command goes on from what was saved")
            if attempt + 1 < _REQUEUE_TRIES:
                time.sleep(_REQUEUE_PAUSE_S)
            continue
        _say("requeued")
        time.sleep(_WAIT_TO_DIE_S)
        break
    return INTERRUPTED


def _start(job: Job) -> dict[str, Any]:
    return {"time": now(), "job": job.id, "restart": job.restart, "node": platform.node()}


def _meet() -> None:
    """Tell the trainer by torch's usual names who it is and where its processes meet."""
    os.environ["SUBMITIT_EXECUTOR"] = "slurm"
    os.environ.pop("MASTER_PORT", None)  # the launcher's own, if any: each job needs its own
    import submitit  # late: everything but a job on a cluster works without it
    from submitit.helpers import TorchDistributedEnvironment

    distributed = TorchDistributedEnvironment()
    if submitit.JobEnvironment().num_nodes == 1:
        distributed.master_addr = "127.0.0.1"  # a node's own name need not resolve
    # Slurm has chosen the GPUs; one of them for each local rank is the trainer's business.
    distributed.export(set_cuda_visible_devices=False, overwrite=True)


def _train(command: list[str], log: Path) -> tuple[int, str]:
    """Run the trainer; returns its exit status (negative for a signal) and the last line that it wrote."""
    with log.open("a+b") as file:  # kept open: a run that is refused takes its directory with it
        start = file.seek(0, os.SEEK_END)
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module, no shell
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment
        )
        code = process.wait()
        file.seek(max(start, file.seek(0, os.SEEK_END) - 20_000))
        lines = [line.strip() for line in file.read().decode(errors="replace").split("\n") if line.strip()]
    return code, re.sub(r"^\d\d:\d\d:\d\d ", "", lines[-1])[:600] if lines else ""


def _let_the_trainer_see_to_it(number: int, frame: FrameType | None) -> None:
    """Slurm signals all processes of the step; passing it on would make two signals of one."""


def _failed_since(job: Job) -> bool:
    """Whether the run's last failure is of this submission: an earlier one is why it was submitted again."""
    told = [row for row in read_attempts(job.run_dir) if row.get("event") == "end"]
    try:
        failed = datetime.fromisoformat(str(told[-1]["time"])).timestamp()
    except (IndexError, KeyError, ValueError, TypeError):
        return True
    return failed >= int((job.submission.folder / "intent.json").stat().st_mtime)  # rows tell whole seconds


def _progress(run_dir: RunDir) -> list[Any]:
    """Something that changes whenever the run has got anywhere."""
    saved = sorted(path.name for path in run_dir.checkpoints.glob("*") if not path.name.startswith("."))
    return [len(read_jsonl(run_dir.metrics)), saved]


def _was_held(job: Job, start: dict[str, Any]) -> bool:
    """Whether somebody else was training the run then, which is no reason to give it up: an epoch may take hours."""
    first = job.submission.first_end(job.index, int(start["restart"]))
    return first is not None and first["code"] == HELD


def _end_attempt(job: Job, outcome: Outcome, reason: str) -> None:
    """Say how an attempt ended that could not do so itself, or that was the victim and not the cause."""
    if job.ledger.status(job.run_dir.id).state != "running":
        _note(job.run_dir, outcome, reason)


def _note(run_dir: RunDir, outcome: Outcome, reason: str) -> None:
    """An end for the last attempt, at the place that it told last."""
    last = (read_attempts(run_dir) or [{}])[-1]
    attempt_ended(run_dir, outcome, reason, int(last.get("epoch", 0)), int(last.get("step", 0)))


def _last_reason(run_dir: RunDir) -> str:
    reasons = [str(row.get("reason", "")) for row in read_attempts(run_dir) if row.get("event") == "end"]
    return reasons[-1] if reasons else "it never began to train"


def _printed(job: Job) -> str:
    """What this start has printed besides the run's own log, in one line."""
    path = job.submission.log(job.index)
    text = path.read_text(errors="replace") if path.exists() else ""
    said = re.split(rf"^.* tksbench: start {job.restart} of .*$", text, flags=re.MULTILINE)[-1]
    return "; ".join(line.strip() for line in said.splitlines() if line.strip())[-_PRINTED:]


def _explain(code: int, last_line: str) -> str:
    number = -code if code < 0 else code - _KILLED
    if number in set(signal.Signals):
        return f"killed by {_signal(number)}" + (" (out of memory?)" if number == signal.SIGKILL else "")
    return f"ended with status {code}: {last_line}" if code else "ended without a record"


def _signal(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


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
        job = Job.find(Path(folder))
        if verb == "unready":
            return unready(job, int(rest[0]), rest[1])
        if verb == "begin":
            return begin(job)
        return task(job) if verb == "task" else end(job, int(rest[0]))
    except TksbenchError as error:
        _say(f"error: {error}")
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
