"""`python -m tksbench.rerun`: train a record's run once more, and compare."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tksbench.cli import CommandParser
from tksbench.exits import BAD_INPUT, INTERRUPTED
from tksbench.progress import working

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from tksbench.recipe import Run
    from tksbench.runs import Ledger
    from tksbench.runs.record import Record

_ABOUT = """\
Train the run of a record once more, from the spec that the record holds, with
as many threads as it had on a CPU and the variables that it names, and compare
the two to the bit. What is known to differ here (code, packages, processor,
environment) is printed first. The record and its results folder are left as
they are. After Ctrl-C the same command goes on; with uncommitted changes of
the code it begins anew."""
_EXAMPLES = """\
examples:
  python -m tksbench.rerun 6e99             what a record's id begins with
  python -m tksbench.rerun ../elsewhere/records/062ee01857a5e143.json

exit status: 0 equal to the bit, 1 not, or the run failed, 2 bad input or
missing data, 130 interrupted"""


def main(argv: list[str] | None = None) -> int:
    """Obey a command line.

    Args:
        argv: Arguments without the program's name; None takes the process's own.

    Returns:
        The exit status.

    Raises:
        TksbenchError: The record cannot be found or read, or its data are not there.
    """
    options = _parse(sys.argv[1:] if argv is None else argv)
    with working("reading the record"):
        from tksbench.report.difference import compare, find_side
        from tksbench.report.groups import ReportError
        from tksbench.runs import Ledger
        from tksbench.runs.comparison import bits_expected, known_differences

        first = find_side(Ledger(), options.record)
    if first.record is None:
        raise ReportError(f"{first.path}: not finished; only what has a record can be made again")
    run = run_of(first.record)
    _take_over(first.record)
    again = _place(Path(options.into), run)
    made = again.run_dir(run.id)
    if made.record.resolve() == first.path.resolve():
        raise ReportError(f"{first.path}: lies where the run would be made again; choose another folder with --into")
    with working("comparing code, packages and machine"):
        differences, expected = known_differences(first.record), bits_expected(first.record)
    for difference in differences:
        sys.stdout.write(f"note: {difference}\n")
    sys.stdout.write(f"note: {expected}\n")
    if made.record.exists():
        sys.stdout.write(f"note: made again at this commit before, not trained now; to train: rm -r {made.path}\n")
    status = _train(run, again)
    if status:
        return status
    with working("comparing"):
        second = find_side(again, str(made.path))
        text, equal = compare(first, second)
    sys.stdout.write(text)
    if not equal and second.record is not None:
        sys.stdout.write(f"{_as_another_seed(first.record, second.record)}\n")
    return 0 if equal else 1


def _as_another_seed(first: Record, second: Record) -> str:
    """Whether unequal bits have led further away than another seed would: a line about the last epoch's accuracy."""
    from tksbench.report.stats import prediction_interval
    from tksbench.runs import Ledger

    of_seed = {one.seed: one.metrics.last.top1 for one in Ledger().records() if one.group == first.group}
    of_seed[first.seed] = first.metrics.last.top1
    top1 = second.metrics.last.top1
    if len(of_seed) < 2:
        return f"top-1 of the last epoch: {top1:.2f} for {of_seed[first.seed]:.2f}; no other seed has a record"
    low, high = prediction_interval(list(of_seed.values()), resolution=100 / first.test.n)
    place = "within" if low <= top1 <= high else "outside"
    return (
        f"top-1 of the last epoch: {top1:.2f} for {of_seed[first.seed]:.2f}, {place} {low:.2f} to {high:.2f}, "
        f"which one more seed gives with 95 % (from {len(of_seed)} seeds)"
    )


def run_of(record: Record) -> Run:
    """The run that a record is of, to be executed as it was: on a GPU, or on a CPU with as many threads.

    Raises:
        RecipeError: The record's spec does not hash to its id.
    """
    from tksbench.recipe import Execution, Run

    on_gpu = record.cost.gpu_hours > 0
    execution = Execution(
        device="cuda" if on_gpu else "cpu", threads=None if on_gpu else record.provenance.threads, workers=4 * on_gpu
    )
    kept = record.model_dump(mode="json", include={"id", "group", "name", "recipe", "scale", "spec", "overrides"})
    run = Run.from_json(kept | {"execution": execution.model_dump(mode="json")})
    return replace(run, parent=_parent_of(run, record.provenance.start.get("name")))


def _parent_of(run: Run, name: str | None) -> Run | None:
    """The run that one starts from, to be executed likewise; its spec is all that a record has of it but the name."""
    from tksbench.recipe import run_and_group_id

    spec = run.spec.parent
    if spec is None:
        return None
    identity, group = run_and_group_id(spec)
    parent = replace(run, id=identity, group=group, name=name or f"run {identity}", seed=spec.seed, spec=spec)
    return replace(parent, parent=_parent_of(parent, None))


def _take_over(record: Record) -> None:
    """Take over the variables of the environment that the record was made in, but for those that are set here.

    Torch's kernels for AVX-512 are not asked for where the processor has none.
    """
    from tksbench.runs.comparison import variables_of
    from tksbench.runs.processor import has_avx512

    for name, value in variables_of(record).items():
        if name not in os.environ and (value != "avx512" or has_avx512()):
            os.environ[name] = value
            sys.stdout.write(f"note: {name}={value} is set, as it was for the record\n")


def _place(into: Path, run: Run) -> Ledger:
    """The results folder of this state of the code: what another one has trained proves nothing of it.

    A run is begun anew unless code and packages are known to be those that it was begun with.

    Raises:
        LedgerError: If it would have to be begun anew, and is being trained or cannot be removed.
    """
    from tksbench.runs import Ledger, LedgerError, read_holder
    from tksbench.runs.provenance import state_name

    name = state_name()
    ledger = Ledger(into / (name or "uncommitted"))
    if name is None:
        run_dir = ledger.run_dir(run.id)
        holder = read_holder(run_dir)
        if holder is not None and holder.alive is not False:
            raise LedgerError(
                f"{run_dir.path}: held by {holder}, and would be begun anew, as the code is not known to be that of a "
                "commit; wait for its end, or choose another folder with --into"
            )
        try:
            shutil.rmtree(run_dir.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise LedgerError(f"{error.filename}: cannot be removed: {error.strerror}") from error
    return ledger


def _train(run: Run, ledger: Ledger) -> int:
    """Train what is not trained yet; returns an exit status, 0 if there is a record now."""
    from rich.console import Console

    from tksbench.devices import find_gpus
    from tksbench.launch.errors import LaunchError
    from tksbench.launch.local import LocalExecutor
    from tksbench.launch.plan import make_plan
    from tksbench.launch.view import SteadyView, make_view
    from tksbench.recipe.catalogue import outsiders
    from tksbench.recipe.source import source_digest

    items = make_plan(run.chain, ledger)
    gpus = find_gpus() if run.execution.device == "cuda" else []
    blocked = [item.reason for item in items if item.action == "blocked"]
    if run.execution.device == "cuda" and not gpus:
        blocked.append("the record is of a GPU, and there is none here")
    for key, one in outsiders(run.spec):  # those of its parent among them
        if source_digest(one.name) != one.digest:
            blocked.append(f"the file of '{one.name}' is not the record's; a copy is {key}.py in the run's folder")
    if blocked:
        raise LaunchError(f"{run.name} seed {run.seed}: {blocked[0]}")
    view = SteadyView(make_view(Console(highlight=False)))
    try:
        summary = LocalExecutor(ledger, gpus, view).execute(items)
    finally:
        view.close()
    if summary.failed:
        return 1
    if summary.stopped or summary.interrupted:
        return INTERRUPTED
    return BAD_INPUT if summary.refused else 0


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = CommandParser("python -m tksbench.rerun", _ABOUT, _EXAMPLES)
    parser.add_argument("record", metavar="RUN", help="what a run's id begins with, a record, or a run's folder")
    parser.add_argument(
        "--into",
        default="build/rerun",
        metavar="FOLDER",
        help="gets a results folder for each state of the code (default %(default)s)",
    )
    options = parser.parse_args(words)
    if not options.into:
        parser.error("--into: '' names no folder")
    return options


if __name__ == "__main__":
    from tksbench.cli import run_script

    run_script(main)
