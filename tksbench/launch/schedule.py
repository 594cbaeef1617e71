"""What the runs of a plan need besides GPU-hours: wall time, energy, disk; each with where the figure comes from."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from tksbench.devices import count_cores, count_gpus
from tksbench.estimate.model import estimate_disk_bytes
from tksbench.estimate.records import Costs
from tksbench.launch.plan import share_left
from tksbench.launch.slots import cores_of
from tksbench.text import count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tksbench.estimate.records import Source
    from tksbench.launch.plan import Item
    from tksbench.launch.profile import SlurmProfile
    from tksbench.recipe import Run

GPU_WATTS = 700.0  # assumed of each GPU as long as a run has it: an H100 SXM's limit; host and cooling left out


@dataclass(frozen=True)
class Machine:
    """What trains the plan.

    Attributes:
        gpus: GPUs that one run gets; 0: runs train on CPUs.
        at_once: Runs at a time that use GPUs.
        at_once_cpu: Runs at a time that use none, if each takes one core.
        name: For people.
        shared: Whether runs that use no GPU share that number of cores, and take as many as they have threads.
    """

    gpus: int
    at_once: int
    at_once_cpu: int
    name: str
    shared: bool = False

    def places(self, run: Run) -> tuple[int, int]:
        """How many places there are for runs of this one's kind, and how many of them it takes."""
        if self.gpus and run.execution.device != "cpu":
            return self.at_once, 1
        return self.at_once_cpu, cores_of(run.execution, self.at_once_cpu) if self.shared else 1


@dataclass(frozen=True)
class Needs:
    """What one run of a plan needs, as `--plan --json` prints it: None if nothing is known, 0 for nothing to be spent.

    Attributes:
        gpus: GPUs that it gets.
        wall_hours: While it trains, if its GPUs share the work evenly; waiting in a queue left out.
        wall_source: Where that comes from.
        done_after_hours: From the launch until it is done, if each run starts as soon as there is room; None if it
            or a run before it is unknown. For blocked runs: if only they were launched, with their data there.
        energy_kwh: Of the GPUs alone.
        energy_source: Where that comes from: "records" measured it, "model" is GPU-hours at `GPU_WATTS`.
        disk_bytes: What it leaves in its directory.
        disk_source: Where that comes from.
    """

    gpus: int
    wall_hours: float | None
    wall_source: Source
    done_after_hours: float | None
    energy_kwh: float | None
    energy_source: Source
    disk_bytes: float | None
    disk_source: Source


_NOTHING = Needs(0, 0.0, "none", 0.0, 0.0, "none", 0.0, "none")


def this_machine() -> Machine:
    """The machine that the command runs on: one run on each GPU, and on the CPU what it has cores for."""
    gpus = count_gpus()
    cores = count_cores()
    name = f"{count(gpus, 'GPU')} here" if gpus else f"{count(cores, 'core')}, no GPU here"
    return Machine(min(gpus, 1), max(gpus, 1), cores, name, shared=True)


def cluster(profile: SlurmProfile) -> Machine:
    """What a profile asks for, if the cluster grants all of it at once."""
    gpus, runs = profile.nodes * profile.gpus_per_node, profile.parallel
    name = f"{count(gpus, 'GPU')} a run, {count(runs)} at a time, no queue"
    return Machine(gpus, runs, runs, name)


def schedule(items: Sequence[Item], machine: Machine, known: Mapping[str, Costs]) -> list[Needs]:
    """What each run of a plan needs, in the plan's order; nothing for those that are skipped or waited for.

    Args:
        items: The plan.
        machine: What trains it.
        known: What finished runs have cost, by group.
    """
    free: dict[tuple[str, bool], list[float]] = {}  # from when on each place is free
    made = []
    for item in items:
        if item.action not in ("run", "blocked"):
            made.append(_NOTHING)
            continue
        costs = known.get(item.run.group, Costs())
        gpus = 0 if item.run.execution.device == "cpu" else machine.gpus
        wall, wall_source = _wall(item, gpus, costs)
        places, taken = machine.places(item.run)
        done = _place(free.setdefault((item.action, gpus > 0), [0.0] * places), wall, taken)
        made.append(Needs(gpus, wall, wall_source, done, *_energy(item, costs), *_disk(item, costs)))
    return made


def _place(free: list[float], hours: float | None, taken: int) -> float | None:
    """When the next run is done, which starts as soon as enough places are free; None from the first unknown one on."""
    free.sort()
    done = free[taken - 1] + (inf if hours is None else hours)
    taken = len(free) if done == inf else taken
    free[:taken] = [done] * taken
    return None if done == inf else done


def _wall(item: Item, gpus: int, costs: Costs) -> tuple[float | None, Source]:
    if gpus:
        return _known(item.gpu_hours and item.gpu_hours / gpus, item.cost_source)
    return _known(costs.cpu_hours and costs.cpu_hours * share_left(item.run, item.status), costs.source)


def _energy(item: Item, costs: Costs) -> tuple[float | None, Source]:
    if item.run.execution.device == "cpu" or item.gpu_hours is None:
        return None, "unknown"
    if costs.gpu_kwh is not None:
        return costs.gpu_kwh * share_left(item.run, item.status), "records"
    return item.gpu_hours * GPU_WATTS / 1000, "model"


def _disk(item: Item, costs: Costs) -> tuple[float | None, Source]:
    if costs.disk_bytes is not None:
        return costs.disk_bytes, "records"
    return _known(estimate_disk_bytes(item.run.spec), "model")


def _known(value: float | None, source: Source) -> tuple[float | None, Source]:
    return value, "unknown" if value is None else source
