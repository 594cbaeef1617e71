"""What would be done and why: a pure function of recipes, ledger and data root."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tksbench.estimate.model import estimate_gpu_hours
from tksbench.estimate.records import Costs, recorded_costs
from tksbench.launch.errors import LaunchError
from tksbench.launch.other_code import with_code
from tksbench.launch.stages import with_starts
from tksbench.recipe import expand, load_recipe, suggest
from tksbench.recipe.extras import missing_extra, missing_package
from tksbench.recipe.overrides import check_taken
from tksbench.runs import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tksbench.estimate.records import Source
    from tksbench.recipe import Run
    from tksbench.runs import Ledger

Action = Literal["run", "skip", "wait", "blocked"]


@dataclass(frozen=True)
class Item:
    """One run of a plan.

    Attributes:
        run: The run.
        action: "run" it, "skip" it (done, or beyond --max-gpu-hours), "wait" for whoever trains it, or "blocked".
        reason: Why, in one line.
        gpu_hours: What is still to be spent, 0 for a run that is done or asks for a CPU; None if unknown.
        cost_source: Where `gpu_hours` comes from.
        status: What the ledger says.
        missing: What a blocked run lacks, in a word.
        other: Files of the code that are not what the run was trained with so far.
    """

    run: Run
    action: Action
    reason: str
    gpu_hours: float | None
    cost_source: Source
    status: Status
    missing: str = ""
    other: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data: the contract of `--plan --json`."""
        run, status = self.run, self.status
        return {
            "id": run.id,
            "name": run.name,
            "scale": run.scale,
            "action": self.action,
            "reason": self.reason,
            "gpu_hours": self.gpu_hours,
            "cost_source": self.cost_source,
            "seed": run.seed,
            "recipe": run.recipe,
            "state": status.state,
            "epoch": status.epoch,
            "epochs": run.spec.epochs,
            "top1": status.top1,
            "other_code": list(self.other),
        }


def collect_runs(
    recipes: Sequence[str],
    scale: str,
    seeds: int | None = None,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    has_real: Callable[[str], bool] | None = None,
) -> list[Run]:
    """All runs that the recipes ask for, each once, breadth first: every cell's first seed before any second.

    A run that others start from comes before them, whether it is asked for or not.

    Args:
        recipes: Paths of recipe files.
        scale: Name of a scale that each recipe has.
        seeds: Seeds a cell; None takes the recipes' own numbers.
        overrides: `key=value` words.
        only: Shell patterns, one of which a run's name has to match; none takes all runs.
        has_real: Whether a data set's real files are there; None looks under the data root.

    Raises:
        RecipeError: Anything wrong in a recipe or an override.
        LaunchError: A pattern of `only` matches nothing.
    """
    present, twin = cache(has_real or real_is_here), cache(twin_is_here)
    runs: dict[str, Run] = {}
    for path in recipes:
        for run in expand(load_recipe(tidy(path), scale), scale, seeds, overrides, present, twin):
            runs.setdefault(run.id, run)
    chosen = matching(list(runs.values()), only, f"scale {scale}")
    check_taken(overrides, chosen)
    wanted = {run.id: run for run in chosen}
    turns: dict[tuple[str, str], int] = defaultdict(int)
    ranked = []
    for run in chosen:
        ranked.append((turns[run.recipe, run.name], run))
        turns[run.recipe, run.name] += 1
    found: dict[str, Run] = {}
    for _, run in sorted(ranked, key=lambda pair: pair[0]):
        for one in run.chain:
            found.setdefault(one.id, wanted.get(one.id, replace(one, asked=False)))
    return list(found.values())


def matching(runs: Sequence[Run], only: Sequence[str], where: str) -> list[Run]:
    """The runs whose name matches one of the shell patterns `only`; all if there are none.

    Raises:
        LaunchError: A pattern matches nothing; `where` says among which runs.
    """
    matches = {pattern: [run.id for run in runs if fnmatchcase(run.name, pattern)] for pattern in only}
    for pattern, found in matches.items():
        if not found:
            hint = f"; {suggest(pattern, {run.name for run in runs})}" if runs else ""
            raise LaunchError(f"--only '{pattern}' matches no run at {where}{hint}")
    wanted = {key for found in matches.values() for key in found}
    return [run for run in runs if not only or run.id in wanted]


def make_plan(
    runs: Sequence[Run],
    ledger: Ledger,
    has_real: Callable[[str], bool] | None = None,
    budget: float | None = None,
    known: Mapping[str, Costs] | None = None,
    trained_here: bool = True,
    again: bool = False,
) -> list[Item]:
    """Decide for each run what to do.

    Args:
        runs: In order of importance, see `collect_runs`.
        ledger: The results so far.
        has_real: As in `collect_runs`.
        budget: GPU-hours that may be spent: in the order of `runs`, each run that still fits is kept.
        known: What the finished runs have cost, by group; None reads it from the ledger.
        trained_here: Whether runs are trained with the packages of this interpreter, so that a missing one matters.
        again: Whether runs that are done or begun are to be trained anew, if they are asked for.
    """
    without = cache(partial(_without_data, has_real or real_is_here))  # the disk is looked at once for each data set
    known = recorded_costs(ledger) if known is None else known
    states = [_as_new(ledger.status(run.id)) if again and run.asked else ledger.status(run.id) for run in runs]
    items = [
        _item(
            run,
            status,
            known.get(run.group, Costs()),
            without(run.spec.data.source, run.spec.data.name),
            missing_extra(run.execution) if trained_here else None,
        )
        for run, status in zip(runs, states, strict=True)
    ]
    items = [with_code(item, ledger) for item in items]
    return with_starts(items if budget is None else _cut(items, budget), ledger)


def _as_new(status: Status) -> Status:
    """How a run stands whose results so far are to be moved aside."""
    if status.state == "running":
        return replace(status, reason=f"{status.reason}; not set aside")
    return status if status.state == "new" else Status(status.id, "new", f"anew; before: {status.reason}")


def _item(run: Run, status: Status, costs: Costs, without: str, lacking: str | None) -> Item:
    if status.state == "done":
        return Item(run, "skip", status.reason, 0.0, "none", status)
    if status.state == "running":
        return Item(run, "wait", status.reason, 0.0, "none", status)
    hours, source = _hours(run, status, costs)
    if without:
        return Item(run, "blocked", without, hours, source, status, run.spec.data.name)
    if lacking:
        return Item(run, "blocked", lacking, hours, source, status, missing_package(run.execution))
    return Item(run, "run", _why_run(run, status), hours, source, status)


def _hours(run: Run, status: Status, costs: Costs) -> tuple[float | None, Source]:
    """GPU-hours still to be spent on a run, and where the figure comes from."""
    if run.execution.device == "cpu":
        return 0.0, "none"
    hours = costs.gpu_hours if costs.gpu_hours is not None else estimate_gpu_hours(run.spec)
    if hours is None:
        return None, "unknown"
    return hours * share_left(run, status), "model" if costs.gpu_hours is None else costs.source


def share_left(run: Run, status: Status) -> float:
    """Part of a run's epochs that is still to be trained, from 0 to 1."""
    return 1 - min(status.epoch or 0, run.spec.epochs) / run.spec.epochs


def _why_run(run: Run, status: Status) -> str:
    after = f"resume after epoch {status.epoch} of {run.spec.epochs}" if status.epoch else "start again"
    if status.state == "failed":
        return f"failed before ({status.reason}); {after}"
    if status.state == "interrupted":
        return f"{status.reason}; {after}"
    return status.reason or "new"


def _without_data(has_real: Callable[[str], bool], source: str, name: str) -> str:
    """Why a data set cannot be read; empty if it can."""
    if source == "real" and not has_real(name):
        return _missing(name)
    return _no_twin(name) if source == "twin" and not twin_is_here(name) else ""


def _missing(name: str) -> str:
    from tksbench.data.registry import data_root, elsewhere, not_ready

    todo = f"python -m tksbench.data prepare {name}"
    if why := not_ready(name):
        return f"data set {name} is not ready: {why}: {todo}"
    note = f" ({why})" if (why := elsewhere(name)) else ""
    return f"data set {name} is not under {data_root()}/{note}: {todo}"


def real_is_here(name: str) -> bool:
    """Whether the files of a real data set are under the data root."""
    from tksbench.data.registry import has_real, known

    return known(name) is None or has_real(name)  # of one that is not known the schema says so


def twin_is_here(name: str) -> bool:
    """Whether a data set's twin is under the data root, or can be made of what is there."""
    from tksbench.data.registry import has_twin, known

    return known(name) is not None and has_twin(name)


def _no_twin(name: str) -> str:
    from tksbench.data.registry import info

    images = info(name).twin_of
    return f"the twin of {name} is made of {images}: {_missing(images)}"


def _cut(items: Sequence[Item], budget: float) -> list[Item]:
    left, kept = budget, []
    for item in items:
        if item.action != "run":
            kept.append(item)
        elif item.gpu_hours is None or item.gpu_hours > left:
            need = "of unknown cost" if item.gpu_hours is None else f"needs {item.gpu_hours:.2g} GPU-hours"
            kept.append(replace(item, action="skip", reason=f"over --max-gpu-hours: {need}, {max(left, 0):.2g} left"))
        else:
            left -= item.gpu_hours
            kept.append(item)
    return kept


def tidy(path: str) -> str:
    """The path from the working directory where it lies under it: records show it to other people."""
    absolute = Path(path).absolute()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else path
