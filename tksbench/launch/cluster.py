"""What the command line does with a cluster: show, submit, cancel, and list what is queued."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from tksbench.errors import TksbenchError
from tksbench.exits import BAD_INPUT, DONE, FAILED
from tksbench.launch.errors import LaunchError
from tksbench.launch.scheduler import has_slurm
from tksbench.launch.slurm import SlurmExecutor, cancel, describe, has_open, look, release, submissions_root, with_queue
from tksbench.launch.submissions import all_submissions, refusals
from tksbench.launch.view import title
from tksbench.text import count, counted, duration, last_line, print_line, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rich.console import Console

    from tksbench.launch.plan import Item
    from tksbench.launch.profile import SlurmProfile
    from tksbench.launch.slurm import Array
    from tksbench.recipe import Run
    from tksbench.runs import Ledger

_SHOWN = 5  # runs that are named where there may be many


class Queue(NamedTuple):
    """What Slurm and the submissions say of runs, by id, and which runs it will start; None: it cannot be asked."""

    notes: dict[str, str]
    queued: frozenset[str] | None


def add_queue(items: Sequence[Item], ledger: Ledger, *, strict: bool) -> list[Item]:
    """A plan that knows of the queue.

    Args:
        items: The plan.
        ledger: The results folder that the jobs belong to.
        strict: Whether a Slurm that cannot be asked is an error, and not a note.

    Raises:
        LaunchError: If Slurm cannot be asked and `strict` is set.
    """
    try:
        return with_queue(items, look(ledger))
    except LaunchError as error:
        if strict:
            raise
        _unknown(str(error))
        return list(items)


def queue_notes(ledger: Ledger) -> dict[str, str]:
    """What Slurm says of each queued run, by id, and why jobs were refused or never began.

    If Slurm cannot be asked, a note on standard error says why.
    """
    return ask_queue(ledger, _unknown).notes


def ask_queue(ledger: Ledger, unknown: Callable[[str], None]) -> Queue:
    """The queue as far as it concerns a results folder.

    Args:
        ledger: The results folder that the jobs belong to.
        unknown: Given why Slurm cannot be asked.
    """
    root = submissions_root(ledger)
    notes = refusals(root, queue_known=True)  # before Slurm is asked: what is submitted meanwhile is not gone
    queued, known = dict[str, str](), True
    try:
        queued = {run: str(found.task) for run, found in look(ledger).items()}
    except LaunchError as error:
        unknown(str(error))
        notes, known = refusals(root, queue_known=False), False
    # somebody may train it here meanwhile
    notes = {run: note for run, note in notes.items() if ledger.status(run).state != "running"}
    return Queue(notes | _with_logs(queued, ledger), frozenset(queued) if known else None)


def _with_logs(queued: dict[str, str], ledger: Ledger) -> dict[str, str]:
    """What Slurm says of waiting runs with the job's log, and for failed ones the run's own: path and last line."""
    logs = {
        run: submission.log(index)  # of its last job
        for submission in all_submissions(submissions_root(ledger))
        for index, run in enumerate(submission.intent["runs"])
    }
    found = {}
    for run, log in logs.items():
        state = "done" if ledger.run_dir(run).record.exists() else ledger.status(run).state
        if state == "failed" or (run in queued and state != "running"):
            path = ledger.run_dir(run).log if state == "failed" else log
            line = _last_line(path)
            found[run] = f"log: {shown(path)}" + (f": {line}" if line else "")
        if run in queued:
            found[run] = "; ".join([queued[run], *([found[run]] if run in found else [])])
    return found


def _last_line(path: Path) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        return last_line(file)[:300]


def print_scripts(console: Console, items: Sequence[Item], ledger: Ledger, profile: SlurmProfile) -> None:
    """The batch scripts that would go out, and how long one run takes on what the profile gives it."""
    for array, script in SlurmExecutor(ledger, profile).scripts(items):
        print_line(console, f"\nsbatch, {describe(array)}")
        hours = [item.gpu_hours for item in items if item.run in array.runs and item.gpu_hours]
        if hours and array.resources.gpus:
            longest = max(hours) * 3600 / array.resources.gpus
            starts = -(-longest // (profile.minutes * 60))
            gpus = "1 GPU" if array.resources.gpus == 1 else f"{array.resources.gpus} GPUs that share the work evenly"
            words = f"at most {duration(longest)} a run on {gpus}"
            print_line(console, f"{words}: {count(int(starts), 'start')} of {duration(profile.minutes * 60)}")
        print_line(console, script)


def submit_jobs(
    console: Console, items: Sequence[Item], ledger: Ledger, profile: SlurmProfile, same: str = "the same command"
) -> int:
    """Submit what is missing; returns the exit status.

    Args:
        console: Where to print.
        items: The plan.
        ledger: The results folder.
        profile: The cluster.
        same: The command without --slurm, for the lines that say how to watch and how to cancel.

    Raises:
        LaunchError: If Slurm refuses, or there is none.
    """
    if not has_slurm():
        raise LaunchError("sbatch is not on this machine: launch from a login node, or try slurm/devcluster up")

    for queued in release(ledger, [item.run for item in items]):
        print_line(console, f"released: {queued.task}")

    def submitted(array: Array) -> None:
        if array.submission:
            logs = "log/0.txt" if len(array.runs) == 1 else f"log/0.txt to log/{len(array.runs) - 1}.txt"
            print_line(console, f"job {array.submission.job}: {describe(array)}")
            print_line(console, f"  in {shown(array.submission.folder)}: script.sh, {logs}")

    made = SlurmExecutor(ledger, profile).execute(items, submitted)
    new = {run.id for array in made for run in array.runs}
    left = [item for item in items if item.run.id not in new]
    for item in left:
        if item.action in ("wait", "blocked"):
            print_line(console, f"{item.action}: {title(item.run)}: {item.reason}")
    counts = Counter(item.action for item in left)
    others = {"left to another launcher": counts["run"], **{one: counts[one] for one in ("skip", "wait", "blocked")}}
    ended = ", ".join([f"{len(new)} submitted", *filter(None, [counted(others)])])
    print_line(console, f"{count(len(items))} asked for: {ended}")
    if len(items) > counts["blocked"] + counts["skip"]:
        print_line(console, f"watch:  {same} --status --watch")
        print_line(console, f"cancel: {same} --cancel")
    return BAD_INPUT if counts["blocked"] else DONE


def cancel_jobs(console: Console, ledger: Ledger, runs: Sequence[Run]) -> int:
    """Cancel the jobs of these runs; returns the exit status, 1 if there are none."""
    cancelled = cancel(ledger, runs) if has_open(ledger) else []
    titles = {run.id: f"{title(run)}, scale {run.scale}" for run in runs}
    for queued in cancelled:
        print_line(console, f"cancelled: {titles[queued.run]}: {queued.task}")
    if cancelled:
        runs_of_them = len({queued.run for queued in cancelled})
        print_line(console, f"{count(len(cancelled), 'job')} of {count(runs_of_them)} cancelled")
        return DONE
    others = look(ledger)
    print_line(console, "nothing to cancel: no job of these runs is queued or running")
    if others:
        shown = [_titled(ledger, run) for run in list(others)[:_SHOWN]]
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        print_line(console, f"jobs of other runs (other recipe, scale or values): {'; '.join(shown)}{more}")
    return FAILED


def _titled(ledger: Ledger, run: str) -> str:
    """What a run in the queue is called, its values of the command line included."""
    try:
        known = ledger.load_run(ledger.run_dir(run))
    except TksbenchError:
        return run
    return " ".join([f"{known.recipe}: {title(known)}, scale {known.scale}", *known.overrides])


def _unknown(why: str) -> None:
    sys.stderr.write(f"tksbench: note: the queue is not known: {why}\n")
