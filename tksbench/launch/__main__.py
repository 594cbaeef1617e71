"""`python -m tksbench.launch`: the command line of the launcher."""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tksbench.cli import CommandParser
from tksbench.exits import BAD_INPUT, DONE, FAILED, INTERRUPTED
from tksbench.launch.errors import LaunchError
from tksbench.launch.view import title
from tksbench.progress import working
from tksbench.text import count, counted, print_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from tksbench.launch.plan import Item
    from tksbench.launch.profile import SlurmProfile
    from tksbench.launch.select import Naming
    from tksbench.launch.stages import Summary
    from tksbench.recipe import Run
    from tksbench.runs import Ledger

_ABOUT = """\
Train what the recipes ask for and is not trained yet. A finished run is never
trained twice; after Ctrl-C, a crash or kill -9 the same command goes on from
the last checkpoint. Several launchers may work on one results folder at once;
two on one machine share its GPUs, and take all cores of its CPU each."""
_EXAMPLES = """\
examples:
  python -m tksbench.launch recipes/cifar10.yaml --plan
  python -m tksbench.launch recipes/cifar10.yaml --scale mini --only '*/tks'
  python -m tksbench.launch recipes/*.yaml --scale budget --max-gpu-hours 20
  python -m tksbench.launch recipes/cifar10.yaml optim.epochs=100
  python -m tksbench.launch recipes/cifar10.yaml execution.track=tensorboard
  python -m tksbench.launch recipes/cifar10.yaml --rehearse
  python -m tksbench.launch recipes/imagenet.yaml --slurm slurm/default.yaml
  python -m tksbench.launch --status --watch

TKSBENCH_DATA names the data root (else data/), TKSBENCH_RESULTS the results
(else results/).
exit status: 0 done, 1 a run failed or there was nothing to cancel,
2 bad input or missing data, 130 interrupted"""


def main(argv: list[str] | None = None) -> int:
    """Obey a command line.

    Args:
        argv: Arguments without the program's name; None takes the process's own.

    Returns:
        The exit status.

    Raises:
        TksbenchError: For anything that the user can put right; nothing has been written then.
    """
    words = sys.argv[1:] if argv is None else argv
    options = _parse(words)
    from tksbench.runs import Ledger

    ledger = Ledger()
    if options.status:
        return _status(ledger, options)
    if options.cancel:
        from tksbench.launch.cluster import cancel_jobs

        with working("reading recipes"):
            listed = _naming(options).known(ledger)
        return cancel_jobs(_console(), ledger, listed())
    with working("reading recipes"):
        from tksbench.data.registry import data_root
        from tksbench.estimate.records import recorded_costs, with_pace
        from tksbench.launch.plan import collect_runs, make_plan

        profile = _profile(options.slurm)
        scale = options.scale or "paper"
        runs = collect_runs(options.recipes, scale, options.seeds, options.overrides, options.only)
    data_root()  # a folder that does not exist is told here, not by every job
    if options.rehearse:
        return _rehearse(runs, profile, options.json)
    with working("reading records"):
        heads = ledger.all_finished()
        known = recorded_costs(ledger, heads)
    trained_here = profile is None or profile.python is None
    unprobed: dict[str, str] = {}
    if options.probe:
        from tksbench.launch.probe import probe

        say = functools.partial(print, file=sys.stderr, flush=True)
        asked = make_plan(runs, ledger, known=known, trained_here=trained_here, again=options.again)
        known, unprobed = probe(asked, known, say)
    with working("reading how the runs stand"):
        known = with_pace(known, runs, heads)
        items = make_plan(
            runs, ledger, budget=options.max_gpu_hours, known=known, trained_here=trained_here, again=options.again
        )
    if profile is not None:
        from tksbench.launch.cluster import add_queue

        items = add_queue(items, ledger, strict=not options.plan)
    from tksbench.launch.other_code import notices, take_aside

    notes = list(notices(items, ledger))
    if unprobed:
        from tksbench.launch.probe import failures

        notes += failures(items, unprobed)
    if not options.plan:
        if options.again:
            notes += take_aside(items, ledger)
            words = [word for word in words if word != "--again"]  # what is interrupted now is gone on with
        if profile is None:
            return _execute(items, ledger, words, notes)
        for note in notes:
            print_line(_console(), f"note: {note}")
        return _submit(items, ledger, profile, options)
    from tksbench.launch.schedule import cluster, schedule, this_machine

    machine = this_machine() if profile is None else cluster(profile)
    needs = schedule(items, machine, known)
    if options.json:
        probes = [{"probe_failed": unprobed.get(item.run.group)} for item in items]
        rows = zip(items, needs, probes, strict=True)
        _print_json([item.to_json() | asdict(one) | probe for item, one, probe in rows])
    else:
        from tksbench.launch.plan_table import print_plan

        print_plan(_console(), items, needs, machine, notes)
        if profile is not None:
            from tksbench.launch.cluster import print_scripts

            print_scripts(_console(), items, ledger, profile)
    return 0


def _profile(path: str | None) -> SlurmProfile | None:
    """The profile that --slurm names; says so where it names none."""
    if path is None:
        return None
    from tksbench.launch.profile import DEFAULT_PROFILE, load_profile

    if not path:
        sys.stderr.write(f"tksbench: no profile is named: taking {DEFAULT_PROFILE}\n")
    return load_profile(path or DEFAULT_PROFILE)


def _rehearse(runs: Sequence[Run], profile: SlurmProfile | None, as_json: bool) -> int:
    from tksbench.devices import find_gpus
    from tksbench.launch.plan import real_is_here
    from tksbench.launch.rehearsal import command

    gpus: list[str] = []
    if any(run.execution.device != "cpu" for run in runs):
        with working("looking for GPUs"):
            gpus = find_gpus()
    return command(_console(), runs, gpus, real_is_here, profile, as_json)


def _submit(items: Sequence[Item], ledger: Ledger, profile: SlurmProfile, options: argparse.Namespace) -> int:
    if options.cluster in ("local", "debug"):
        from tksbench.launch.trial import try_here

        return try_here(items, ledger, profile, options.cluster, functools.partial(print, flush=True))
    from tksbench.launch.cluster import submit_jobs

    words = [*options.recipes, *options.overrides, *(f"--only={pattern}" for pattern in options.only)]
    words += [f"--scale={options.scale}"] if options.scale else []
    return submit_jobs(_console(), items, ledger, profile, shlex.join(["python", "-m", "tksbench.launch", *words]))


def _parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse and check what needs no recipe."""
    parser = CommandParser("python -m tksbench.launch", _ABOUT, _EXAMPLES)
    parser.add_argument(
        "words", nargs="*", metavar="RECIPE | KEY=VALUE", help="recipe files, and values laid over them"
    )
    parser.add_argument(
        "--scale", help="paper (default), budget, mini or smoke; with --status and --cancel the default is all"
    )
    parser.add_argument(
        "--only",
        metavar="GLOB",
        action="append",
        default=[],
        help="only runs whose name matches, for example '*/tks'; may be given several times",
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds a cell, first seeds of all cells first")
    parser.add_argument("--plan", action="store_true", help="show what would be done, why, and its cost; do nothing")
    parser.add_argument(
        "--probe", action="store_true", help="first train 20 steps here of each run whose cost no record tells"
    )
    parser.add_argument(
        "--rehearse", action="store_true", help="train two steps of each run here, save, read back, test; keep nothing"
    )
    parser.add_argument(
        "--again", action="store_true", help="train anew also what is done or begun, which is moved to set-aside/"
    )
    parser.add_argument(
        "--max-gpu-hours", type=float, metavar="GPU_HOURS", help="leave out what does not fit into so many GPU-hours"
    )
    parser.add_argument("--budget", dest="max_gpu_hours", type=float, help=argparse.SUPPRESS)  # its former name
    parser.add_argument(
        "--slurm",
        nargs="?",
        const="",
        metavar="PROFILE",
        help="submit to a cluster instead of training here; PROFILE: see slurm/ (default slurm/default.yaml)",
    )
    parser.add_argument(
        "--cluster",
        choices=("slurm", "local", "debug"),
        help="where the jobs of --slurm run: on the cluster (default), here as processes, or here in this process",
    )
    parser.add_argument("--cancel", action="store_true", help="cancel the Slurm jobs of these runs, and no others")
    parser.add_argument("--status", action="store_true", help="show how the runs stand; without a recipe, all of them")
    parser.add_argument(
        "--watch", action="store_true", help="with --status: again and again, until nothing is running or queued"
    )
    parser.add_argument("--json", action="store_true", help="with --plan, --rehearse or --status: print JSON")
    options = parser.parse_intermixed_args(words)
    if options.slurm and not _is_profile(options.slurm):  # `--slurm RECIPE`: argparse took the recipe for the profile
        options.words.append(options.slurm)
        options.slurm = ""
    if options.cluster and options.slurm is None:
        options.slurm = ""
    is_override = [("=" in word and not Path(word).exists()) for word in options.words]
    options.overrides = [word for word, override in zip(options.words, is_override, strict=True) if override]
    options.recipes = [word for word, override in zip(options.words, is_override, strict=True) if not override]
    _check(options)
    return options


def _is_profile(word: str) -> bool:
    """Whether a word after --slurm is meant as a profile, and is not a recipe or KEY=VALUE."""
    path = Path(word)
    if not path.is_file():
        return "=" not in word
    from tksbench.recipe.yamltree import read

    return read(path).get("runs") is None


def _check(options: argparse.Namespace) -> None:
    if options.seeds is not None and not 1 <= options.seeds <= 1000:
        raise LaunchError(f"--seeds {options.seeds}: expected a number from 1 to 1000")
    if options.max_gpu_hours is not None and not 0 <= options.max_gpu_hours < float("inf"):
        raise LaunchError(f"--max-gpu-hours {options.max_gpu_hours}: expected GPU-hours, 0 or more")
    if options.plan and options.status:
        raise LaunchError("--plan and --status exclude each other")
    if options.probe and not (options.plan or options.max_gpu_hours is not None):
        raise LaunchError("--probe goes with --plan or --max-gpu-hours: it says what runs will cost")
    if options.cancel and (options.plan or options.status or options.slurm is not None):
        raise LaunchError("--cancel goes with recipes, --scale, --only and --seeds alone")
    if options.rehearse and options.slurm is not None and options.cluster != "local":
        raise LaunchError("--rehearse submits nothing: with a profile's job it goes as --cluster local")
    if options.rehearse and (options.plan or options.cancel or options.status or options.again or options.probe):
        raise LaunchError("--rehearse goes with recipes, --scale, --only, --seeds and --json alone")
    if options.again and (options.cancel or options.status):
        raise LaunchError("--again trains, which --status and --cancel do not")
    if options.slurm is not None and options.status:
        raise LaunchError("--status shows Slurm's jobs without --slurm")
    if options.watch and (options.json or not options.status):
        raise LaunchError("--watch goes with --status, and not with --json")
    if options.json and not (options.plan or options.rehearse or options.status):
        raise LaunchError("--json goes with --plan, --rehearse or --status")
    if not options.recipes and (options.overrides or not options.status):
        raise LaunchError("no recipe named, for example: python -m tksbench.launch recipes/cifar10.yaml --plan")


def _execute(items: Sequence[Item], ledger: Ledger, words: Sequence[str], notes: Sequence[str]) -> int:
    from tksbench.devices import find_gpus
    from tksbench.launch.local import LocalExecutor
    from tksbench.launch.stages import Summary
    from tksbench.launch.view import UNREAD, SteadyView, make_view

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
