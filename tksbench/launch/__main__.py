"""`python -m tksbench.launch`: the command line of the launcher."""

from __future__ import annotations

import functools
import gc
import json
import shlex
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from tksbench.exits import BAD_INPUT, DONE, FAILED, INTERRUPTED
from tksbench.launch.arguments import parse
from tksbench.progress import working
from tksbench.text import count, counted, print_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rich.console import Console

    from tksbench.estimate.records import Costs
    from tksbench.launch.plan import Item
    from tksbench.launch.profile import SlurmProfile
    from tksbench.launch.select import Naming
    from tksbench.launch.stages import Summary
    from tksbench.recipe import Run
    from tksbench.runs import Ledger


def main(argv: list[str] | None = None) -> int:
    """Obey a command line.

    Args:
        argv: Arguments without the program's name; None takes the process's own.

    Returns:
        The exit status.

    Raises:
        TksbenchError: For anything that the user can put right; nothing has been written then.
    """
    gc.set_threshold(
        1_000_000
    )  # most of what a plan makes lives to its end: to look for garbage takes a tenth of the time
    words = sys.argv[1:] if argv is None else argv
    options = parse(words)
    from tksbench.runs import Ledger

    ledger = Ledger()
    if options.status:
        return _status(ledger, options)
    if options.cancel:
        return _cancel(ledger, options)
    with working("reading recipes"):
        from tksbench.data.registry import data_root
        from tksbench.launch.plan import collect_runs

        profile = _profile(options.slurm)
        scale = options.scale or "paper"
        runs = collect_runs(options.recipes, scale, options.seeds, options.overrides, options.only)
    data_root()  # of a folder that does not exist this prints one message, and not every job one
    if options.rehearse:
        return _rehearse(runs, profile, options)
    plan = _make_plan(runs, ledger, profile, options)
    if options.plan:
        return _show(plan, ledger, profile, options.json)
    notes = plan.notes
    if options.again:
        from tksbench.launch.other_code import take_aside

        notes += take_aside(plan.items, ledger)
        words = [word for word in words if word != "--again"]  # what is interrupted now is gone on with
    if profile is None:
        return _execute(plan.items, ledger, words, notes)
    for note in notes:
        print_line(_console(), f"note: {note}")
    return _submit(plan.items, ledger, profile, options)


class Plan(NamedTuple):
    """What is to be done, what it may cost (by group), notes on it, and why probes failed (by group)."""

    items: list[Item]
    costs: dict[str, Costs]
    notes: list[str]
    unprobed: dict[str, str]


def _make_plan(runs: Sequence[Run], ledger: Ledger, profile: SlurmProfile | None, options: argparse.Namespace) -> Plan:
    from tksbench.estimate.records import recorded_costs, with_pace
    from tksbench.launch.other_code import notices
    from tksbench.launch.plan import make_plan
    from tksbench.recipe.overrides import partly_taken

    with working("reading records"):
        heads = ledger.all_finished()
        costs = recorded_costs(ledger, heads)
    plan = functools.partial(
        make_plan, runs, ledger, trained_here=profile is None or profile.python is None, again=options.again
    )
    unprobed, failed = dict[str, str](), list[str]()
    if options.probe:
        from tksbench.launch.probe import failures, probe

        asked = plan(known=costs)
        costs, unprobed = probe(asked, costs, functools.partial(print, file=sys.stderr, flush=True))
        failed = failures(asked, unprobed)
    with working("reading how the runs stand"):
        costs = with_pace(costs, runs, heads)
        items = plan(known=costs, budget=options.max_gpu_hours)
    if profile is not None:
        from tksbench.launch.cluster import add_queue

        items = add_queue(items, ledger, strict=not options.plan)
    notes = [*partly_taken(options.overrides, runs), *notices(items, ledger), *failed]
    return Plan(items, costs, notes, unprobed)


def _show(plan: Plan, ledger: Ledger, profile: SlurmProfile | None, as_json: bool) -> int:
    from tksbench.launch.schedule import cluster, schedule, this_machine

    machine = this_machine() if profile is None else cluster(profile)
    needs = schedule(plan.items, machine, plan.costs)
    if as_json:
        probes = [{"probe_failed": plan.unprobed.get(item.run.group)} for item in plan.items]
        rows = zip(plan.items, needs, probes, strict=True)
        _print_json([item.to_json() | asdict(one) | probe for item, one, probe in rows])
        return DONE
    from tksbench.launch.plan_table import print_plan

    print_plan(_console(), plan.items, needs, machine, plan.notes)
    if profile is not None:
        from tksbench.launch.cluster import print_scripts

        print_scripts(_console(), plan.items, ledger, profile)
    return DONE


def _cancel(ledger: Ledger, options: argparse.Namespace) -> int:
    from tksbench.launch.cluster import cancel_jobs

    with working("reading recipes"):
        naming = _naming(options)
        listed, asked = naming.known(ledger), naming.asked() if options.overrides else []
    _note_partly_taken(options, asked)
    return cancel_jobs(_console(), ledger, listed())


def _profile(path: str | None) -> SlurmProfile | None:
    """The profile that --slurm names; says so where it names none."""
    if path is None:
        return None
    from tksbench.launch.profile import DEFAULT_PROFILE, load_profile

    if not path:
        sys.stderr.write(f"tksbench: no profile is named: taking {DEFAULT_PROFILE}\n")
    return load_profile(path or DEFAULT_PROFILE)


def _rehearse(runs: Sequence[Run], profile: SlurmProfile | None, options: argparse.Namespace) -> int:
    from tksbench.devices import find_gpus
    from tksbench.launch.plan import real_is_here
    from tksbench.launch.rehearsal import command

    _note_partly_taken(options, runs)
    gpus: list[str] = []
    if any(run.execution.device != "cpu" for run in runs):
        with working("looking for GPUs"):
            gpus = find_gpus()
    return command(_console(), runs, gpus, real_is_here, profile, options.json)


def _note_partly_taken(options: argparse.Namespace, runs: Sequence[Run]) -> None:
    """Print which of these runs an override does not change; nothing beside JSON."""
    from tksbench.recipe.overrides import partly_taken

    for note in partly_taken(options.overrides, runs) if not options.json else ():
        print_line(_console(), f"note: {note}")


def _submit(items: Sequence[Item], ledger: Ledger, profile: SlurmProfile, options: argparse.Namespace) -> int:
    if options.cluster in ("local", "debug"):
        from tksbench.launch.trial import try_here

        return try_here(items, ledger, profile, options.cluster, functools.partial(print, flush=True))
    from tksbench.launch.cluster import submit_jobs

    words = [*options.recipes, *options.overrides, *(f"--only={pattern}" for pattern in options.only)]
    words += [f"--scale={options.scale}"] if options.scale else []
    return submit_jobs(_console(), items, ledger, profile, shlex.join(["python", "-m", "tksbench.launch", *words]))


def _execute(items: Sequence[Item], ledger: Ledger, words: Sequence[str], notes: Sequence[str]) -> int:
    from tksbench.devices import find_gpus
    from tksbench.launch.local import LocalExecutor
    from tksbench.launch.stages import Summary
    from tksbench.launch.view import UNREAD, SteadyView, make_view, title

    console = _console()
    blocked = [item for item in items if item.action == "blocked"]
    busy = [item for item in items if item.action in ("run", "wait")]
    gpus = []
    if any(item.run.execution.device != "cpu" for item in busy):
        with working("looking for GPUs"):
            gpus = find_gpus()
    view = SteadyView(make_view(console))
    try:
        for note in notes:
            view.event("note", note)
        for item in items:
            if item.action == "skip":
                view.event("skip", f"{title(item.run)}: {item.reason}")
        summary = Summary()
        if busy:
            summary = LocalExecutor(ledger, gpus, view).execute(busy)
        for item in blocked:
            view.event("blocked", f"{title(item.run)}: {item.reason}")
    finally:
        view.close()
    with suppress(*UNREAD):
        mixed = sum(item.run in summary.done for item in items if item.other)
        _print_end(console, summary, len(items), len(blocked), words, mixed)
    if summary.failed:
        return FAILED
    if summary.stopped or summary.interrupted:
        return INTERRUPTED
    return BAD_INPUT if blocked or summary.refused or summary.left else 0


def _print_end(console: Console, summary: Summary, total: int, blocked: int, words: Sequence[str], mixed: int) -> None:
    counts = {"trained" if word == "done" else word: len(runs) for word, runs in summary.by_outcome().items()}
    ended = counted(counts | {"blocked": blocked}) or ("stopped" if summary.stopped else "nothing was left to do")
    print_line(console, f"{count(total)} asked for: {ended}" + f" ({mixed} in part by other code)" * bool(mixed))
    if summary.stopped or summary.interrupted:
        print_line(console, f"go on with: python -m tksbench.launch {shlex.join(words)}")


def _status(ledger: Ledger, options: argparse.Namespace) -> int:
    with working("reading recipes"):
        naming = _naming(options)
        known, asked = naming.known(ledger), naming.asked()
    _note_partly_taken(options, asked)

    def runs() -> list[Run]:
        return list({run.id: run for run in [*(asked if options.scale else []), *known()]}.values())

    from tksbench.launch.status import noted, print_status, watch

    if options.watch:
        return watch(_console(), ledger, runs)
    from tksbench.launch.cluster import queue_notes

    with working("reading how the runs stand"):
        notes = queue_notes(ledger)
        here = {run.id for run in runs()}
        listed = {run.id: run for run in [*asked, *runs()]}.values()
        rows = [(run, noted(ledger.status(run.id), notes)) for run in listed]
    if options.json:
        heads = [{"name": run.name, "scale": run.scale, "seed": run.seed, "recipe": run.recipe} for run, _ in rows]
        plain = [{"id": run.id, **head, **status.to_json()} for (run, status), head in zip(rows, heads, strict=True)]
        _print_json(plain)
        return DONE
    absent = [run for run, status in rows if run.id not in here and status.state == "new"]
    print_status(_console(), [row for row in rows if row[0] not in absent], absent)
    return DONE


def _naming(options: argparse.Namespace) -> Naming:
    from tksbench.launch.select import Naming

    return Naming(options.recipes, options.scale, options.seeds, options.overrides, options.only)


def _print_json(rows: list[dict[str, Any]]) -> None:
    sys.stdout.write(json.dumps(rows, indent=1, allow_nan=False) + "\n")


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


if __name__ == "__main__":
    from tksbench.cli import run_script

    run_script(main)
