"""Trains runs on a cluster: one element of a job array a run, submitted once however often a launcher dies.

The ledger decides what is done; Slurm is asked only for what is queued or running. A launcher holds the lease of
the queue while it looks and submits, so two of them never submit the same run.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tksbench.launch import scheduler
from tksbench.launch.errors import LaunchError
from tksbench.launch.profile import Resources
from tksbench.launch.scheduler import JobId
from tksbench.launch.submissions import Submission, all_submissions
from tksbench.launch.view import title
from tksbench.runs import Lease, LeaseHeld, RunDir, read_attempts
from tksbench.runs.attempts import now
from tksbench.text import count

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from tksbench.launch.plan import Item
    from tksbench.launch.profile import SlurmProfile
    from tksbench.launch.scheduler import Task
    from tksbench.recipe import Run
    from tksbench.runs import Ledger

_LEASE_S = 300  # patience with another launcher that is submitting just now
_SHOWN = 3  # runs of an array named in the plan


@dataclass(frozen=True)
class Queued:
    """A run in the queue."""

    submission: Submission
    index: int
    task: Task
    run: str  # its id


@dataclass(frozen=True)
class Array:
    """Runs to be submitted together."""

    resources: Resources
    runs: tuple[Run, ...]
    submission: Submission | None = None  # once it is submitted; of a chain the first
    parent: str | None = None  # the run that all of these start from, if it is not done


class SlurmExecutor:
    """Submits the items of a plan.

    Args:
        ledger: Where results go; a folder that all nodes see under the same path.
        profile: The cluster.
        trainer: Command that trains a run directory given as its last argument; None for the real one.
    """

    def __init__(self, ledger: Ledger, profile: SlurmProfile, trainer: Sequence[str] | None = None) -> None:
        self._ledger = ledger
        self._profile = profile
        self._trainer = list(trainer) if trainer else None
        self._root = submissions_root(ledger)

    def execute(self, items: Sequence[Item], say: Callable[[Array], None] | None = None) -> list[Array]:
        """Submit the plan's "run" items that are neither queued nor done; returns each new array.

        A run that seems to be trained by a job which is gone from the queue is submitted too: its node has died.
        One that starts from another's weights waits for that one's job to end well.

        Args:
            items: The plan.
            say: Called with each new array as soon as Slurm has it: it may refuse the next one.

        Raises:
            LaunchError: If Slurm refuses or cannot be asked; the same command goes on from there.
            LedgerError: If the results folder cannot be written.
        """
        runs = [item.run for item in items if item.action == "run" or self._orphan(item)]
        if not runs:
            return []
        with _lease(self._ledger) as lease:
            # Of a run with several jobs the last counts: that one may go on behind it.
            jobs = {one.run: JobId(one.task.id, one.task.cluster) for one in _all_queued(self._ledger, settle=True)}
            left = [run for run in runs if run.id not in jobs and self._ledger.status(run.id).state != "done"]
            made: list[Array] = []
            last: dict[Resources, JobId | None] = {}
            for array in self.arrays(left, scheduler.max_array_size(*self._profile.clusters), jobs):
                lease.check()
                links = self._submit(array, last.get(array.resources), jobs.get(array.parent or ""))
                job = last[array.resources] = links[-1].at
                if job:
                    jobs |= {run.id: JobId(f"{job.number}_{i}", job.cluster) for i, run in enumerate(array.runs)}
                made.append(replace(array, submission=links[0]))
                if say:
                    say(made[-1])
        return made

    def arrays(self, runs: Sequence[Run], max_array: int, queued: Collection[str] = ()) -> list[Array]:
        """Runs grouped by resources and by the run that they wait for, in order.

        Args:
            runs: What is to be submitted; what others start from comes before them.
            max_array: The most elements that the cluster allows; the profile may allow fewer.
            queued: Runs that are in the queue, by id.
        """
        coming = {*queued, *(run.id for run in runs)}
        groups: dict[tuple[Resources, str | None], list[Run]] = defaultdict(list)
        for run in runs:
            groups[Resources.of(run, self._profile), run.parent_id if run.parent_id in coming else None].append(run)
        size = min(max_array, self._profile.max_array or max_array)
        return [
            Array(resources, tuple(group[start : start + size]), parent=parent)
            for (resources, parent), group in groups.items()
            for start in range(0, len(group), size)
        ]

    def scripts(self, items: Sequence[Item]) -> Iterator[tuple[Array, str]]:
        """What would be submitted for a plan; nothing is written, the submission's name is a placeholder."""
        runs = [item.run for item in items if item.action == "run"]
        from tksbench.launch.executor import ArrayExecutor

        size = scheduler.max_array_size(*self._profile.clusters) if scheduler.has_slurm() else 1001
        for array in self.arrays(runs, size):
            submission = Submission(self._root.absolute() / "TOKEN")
            parent = JobId(f"JOB-OF-{array.parent}") if array.parent else None
            executor = ArrayExecutor(submission, self._profile, array.resources, parent=parent)
            yield array, executor.script(len(array.runs))

    def _orphan(self, item: Item) -> bool:
        if item.action != "wait":
            return False
        rows = read_attempts(self._ledger.run_dir(item.run.id))
        return bool(rows) and rows[-1].get("event") == "start" and "job" in rows[-1]

    def _submit(self, array: Array, after: JobId | None, parent: JobId | None) -> list[Submission]:
        """Submit an array and the chain behind it.

        An array of the same launch waits for the one before it, or the cap on parallel runs would not hold.
        """
        from tksbench.launch.executor import ArrayExecutor  # late: who only asks how runs stand needs no submitit
        from tksbench.launch.job import TrainRun

        trained = [TrainRun(self._ledger.prepare(run).path.absolute()) for run in array.runs]
        made: list[Submission] = []
        for link in range(self._profile.chain + 1):
            made.append(Submission.create(self._root.absolute(), array.runs, self._facts(link)))
            try:
                ArrayExecutor(made[-1], self._profile, array.resources, after, parent).submit_array(trained)
            except scheduler.NoAnswer:
                raise  # it may have arrived: the next launcher finds out
            except LaunchError:
                made[-1].abandon()
                raise
            after = made[-1].at
        return made

    def _facts(self, link: int) -> dict[str, Any]:
        return {
            "created": now(),
            "trainer": self._trainer or [self._profile.python or sys.executable, "-m", "tksbench.train"],
            "requeue": self._profile.requeue,
            "retries": self._profile.retries,
            "link": link,
            "links": self._profile.chain,
            "clusters": self._profile.clusters,
        }


def submissions_root(ledger: Ledger) -> Path:
    """Where the submissions of a results folder lie."""
    return ledger.root / "slurm"


def has_open(ledger: Ledger) -> bool:
    """Whether anything submitted from this results folder may still be in the queue."""
    return any(not submission.closed for submission in all_submissions(submissions_root(ledger)))


def look(ledger: Ledger, *, settle: bool = False) -> dict[str, Queued]:
    """Which runs are in the queue, by id.

    Slurm is not asked if nothing was ever submitted from this results folder, or all of it is over.

    Args:
        ledger: The results folder.
        settle: Also settle what dead launchers left open; under the launchers' lease. Else nothing is changed.

    Raises:
        LaunchError: If Slurm cannot be asked.
    """
    found = reversed(_all_queued(ledger, settle=settle))  # of a run with several jobs the first counts
    return {queued.run: queued for queued in found}


def _all_queued(ledger: Ledger, *, settle: bool) -> list[Queued]:
    """Every active element of every submission: a run of a chain has several."""
    waiting = [submission for submission in all_submissions(submissions_root(ledger)) if not submission.closed]
    if not waiting:
        return []
    by_name: dict[str, list[Task]] = defaultdict(list)
    for task in scheduler.my_tasks({submission.name: submission.clusters for submission in waiting}):
        by_name[task.name].append(task)
    found: list[Queued] = []
    for submission in waiting:
        tasks = by_name[submission.name]
        if settle:
            _settle(submission, tasks)
        runs = submission.intent["runs"]
        active = [task for task in tasks if task.active and task.index < len(runs)]
        found += [Queued(submission, task.index, task, runs[task.index]) for task in active]
    return found


def _settle(submission: Submission, tasks: Sequence[Task]) -> None:
    """Bring a submission's files in line with what Slurm knows."""
    if submission.job is None:
        if tasks:
            submission.submitted(tasks[0].job, tasks[0].cluster)
        elif submission.abandon():
            return
    if not any(task.active for task in tasks):
        submission.close()


def with_queue(items: Sequence[Item], queued: Mapping[str, Queued]) -> list[Item]:
    """A plan in which runs that are in the queue wait."""
    return [
        replace(item, action="wait", reason=str(queued[item.run.id].task), gpu_hours=0.0, cost_source="none")
        if item.action in ("run", "wait") and item.run.id in queued
        else item
        for item in items
    ]


def release(ledger: Ledger, runs: Sequence[Run]) -> list[Queued]:
    """Let those jobs of these runs go on that Slurm holds since a launch of theirs failed (its controller died, ...).

    Raises:
        LaunchError: If Slurm cannot be asked, or refuses.
    """
    wanted = {run.id for run in runs}
    stuck = [queued for queued in look(ledger).values() if queued.run in wanted and queued.task.stuck]
    for queued in stuck:
        scheduler.release(queued.task)
    return stuck


def cancel(ledger: Ledger, runs: Sequence[Run]) -> list[Queued]:
    """Cancel these runs' jobs, and no others; those that train save first.

    Raises:
        LaunchError: If Slurm cannot be asked, or refuses.
    """
    with _lease(ledger):
        wanted = {run.id for run in runs}
        chosen = [queued for queued in _all_queued(ledger, settle=True) if queued.run in wanted]
        for queued in chosen:
            queued.submission.cancel(queued.index)
        scheduler.cancel([queued.task for queued in chosen])
    return chosen


def _lease(ledger: Ledger) -> Lease:
    """The right to submit from this results folder."""
    deadline = time.monotonic() + _LEASE_S
    while True:
        try:
            # a folder of its own: whoever takes a lease sweeps up, and jobs are writing in the submissions' folders
            return Lease.acquire(RunDir(submissions_root(ledger) / "launcher"))
        except LeaseHeld as error:
            if time.monotonic() >= deadline:
                raise LaunchError(f"another launcher is submitting, try again later: {error}") from None
            time.sleep(0.5)


def describe(array: Array) -> str:
    """An array in one line for people."""
    names = [title(run) for run in array.runs[:_SHOWN]]
    more = f" and {len(array.runs) - _SHOWN} more" if len(array.runs) > _SHOWN else ""
    return f"{count(len(array.runs))} ({array.resources}): {', '.join(names)}{more}"
