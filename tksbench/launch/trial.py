"""`--cluster local` and `--cluster debug`: one run after another by the very job that a node runs, without Slurm."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import submitit

from tksbench.devices import find_gpus
from tksbench.exits import BAD_INPUT, DONE, FAILED, INTERRUPTED
from tksbench.launch import scheduler
from tksbench.launch.errors import LaunchError
from tksbench.launch.job import FOLDER, TrainRun
from tksbench.launch.profile import Resources
from tksbench.launch.slurm import submissions_root
from tksbench.launch.submissions import Submission
from tksbench.launch.view import title
from tksbench.text import count, shown
from tksbench.train.job import configure_logging

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tksbench.launch.plan import Item
    from tksbench.launch.profile import SlurmProfile
    from tksbench.recipe import Run
    from tksbench.runs import Ledger


def try_here(
    items: Sequence[Item],
    ledger: Ledger,
    profile: SlurmProfile,
    cluster: str,
    say: Callable[[str], None],
    trainer: Sequence[str] | None = None,
) -> int:
    """Train a plan's "run" items on this machine, and print how each ended; returns the exit status.

    All processes of a run are here, those of a profile's further nodes too; of GPUs they get what there is.

    Args:
        items: The plan.
        ledger: The results folder.
        profile: The cluster whose job is tried.
        cluster: "local": in processes of their own, with the profile's set-up, signal and time limit; "debug": in
            this process, where `breakpoint()` works.
        say: Prints a line.
        trainer: As `SlurmExecutor` takes it; not for "debug".

    Raises:
        LaunchError: If submitit cannot keep its files in the results folder.
    """
    if any(tag in str(ledger.root.absolute()) for tag in ("%j", "%t", "%A", "%a")):
        raise LaunchError(f"{ledger.root}: submitit puts ids in place of %j, %t, %A and %a: set TKSBENCH_RESULTS")
    clean = scheduler.environment()
    for name in set(os.environ) - set(clean):  # of a job of Slurm's around us
        del os.environ[name]
    if cluster == "debug":
        configure_logging()
    runs = [item.run for item in items if item.action == "run"]
    command = [*(trainer or (sys.executable, "-m", "tksbench.train"))]
    try:
        states = [_train(run, ledger, profile, cluster, command, say) for run in runs]
    except KeyboardInterrupt:
        return INTERRUPTED
    blocked = [item for item in items if item.action == "blocked"]
    for item in blocked:
        say(f"blocked: {title(item.run)}: {item.reason}")
    failed = sum(state != "done" for state in states)
    say(f"{count(len(items))} asked for: {len(states) - failed} trained, {failed} not")
    return FAILED if failed else BAD_INPUT if blocked else DONE


def _train(
    run: Run, ledger: Ledger, profile: SlurmProfile, cluster: str, trainer: list[str], say: Callable[[str], None]
) -> str:
    """Train one run; returns its state."""
    run_dir = ledger.prepare(run)
    facts = {"trainer": trainer, "requeue": True, "link": 0}
    submission = Submission.create(submissions_root(ledger).absolute(), [run], facts)
    submission.close()  # nothing of it is in a queue
    os.environ[FOLDER] = str(submission.folder)
    executor = _executor(submission, profile, Resources.of(run, profile), cluster)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C reaches the launcher alone
    job = executor.submit(TrainRun(run_dir.path.absolute()))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    say(f"{title(run)}: {cluster} job {job.job_id}")
    for log in [job.paths.stdout, *([run_dir.log] if cluster == "local" else [])]:
        say(f"  log: {shown(log)}")
    try:
        _wait(job)
    except KeyboardInterrupt:
        os.kill(int(job.job_id), signal.SIGTERM)  # submitit's controller, which passes it on: save and leave
        _wait(job)
    status = ledger.status(run.id)
    reason = "see the log" if status.state == "new" else status.reason
    say(f"{status.state}: {title(run)}" + f": {reason}" * (status.state != "done"))
    if status.state == "interrupted":
        raise KeyboardInterrupt
    return status.state


def _wait(job: submitit.Job[None]) -> None:
    while not job.done():
        time.sleep(0.2)


def _executor(
    submission: Submission, profile: SlurmProfile, resources: Resources, cluster: str
) -> submitit.LocalExecutor | submitit.DebugExecutor:
    if cluster == "debug":
        return submitit.DebugExecutor(submission.folder)
    # As in a batch script; submitit would run the set-up in sh, which has no `source` and no functions of bash.
    lines = "\n".join(["set -e", *profile.setup, "set +e", 'exec "$@"'])
    python = shlex.join(["bash", "-c", lines, "setup", profile.python or sys.executable])
    executor = submitit.LocalExecutor(submission.folder, python=python)
    parameters: dict[str, Any] = {
        "timeout_min": profile.minutes,
        "signal_delay_s": profile.signal_seconds,
        "tasks_per_node": resources.nodes * resources.tasks_per_node,
        "gpus_per_node": min(resources.gpus, len(find_gpus())) if resources.gpus else 0,
        "stderr_to_stdout": True,
    }
    executor.update_parameters(**parameters)
    return executor
