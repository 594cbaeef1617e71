"""What finished runs have cost: the best guess at what their like will cost."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from tksbench.estimate.model import dataset, training_steps
from tksbench.recipe.schema import TrainSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tksbench.recipe import Run, RunSpec
    from tksbench.runs import Finished, Ledger

Source = Literal["records", "probe", "pace", "model", "none", "unknown"]
"""Where an estimate comes from: runs of the same group, a probe, runs of the same shape, a model; "none" is needed."""


@dataclass(frozen=True)
class Costs:
    """Means over the finished runs of one group (the same spec with any seed); None where no run says.

    Of a group without any they may be a probe's, scaled up (`launch.probe`), or at the pace of runs of the same shape.

    Attributes:
        gpu_hours: Of those that used a GPU.
        cpu_hours: Wall time of those that used none, whatever the number of their threads.
        gpu_kwh: Energy of those that used a GPU and measured it.
        disk_bytes: Size of those directories that are here.
        source: Where hours come from.
    """

    gpu_hours: float | None = None
    cpu_hours: float | None = None
    gpu_kwh: float | None = None
    disk_bytes: float | None = None
    source: Source = "records"


def recorded_costs(ledger: Ledger, heads: Iterable[Finished] | None = None) -> dict[str, Costs]:
    """Costs of all finished runs by group.

    Args:
        ledger: The results folder.
        heads: Its finished runs; None reads them.
    """
    groups: dict[str, list[Finished]] = defaultdict(list)
    for head in ledger.all_finished() if heads is None else heads:
        groups[head.group].append(head)
    return {group: _means(found, ledger) for group, found in groups.items()}


def _means(heads: Sequence[Finished], ledger: Ledger) -> Costs:
    on_gpu = [head for head in heads if head.gpu_hours > 0]
    return Costs(
        gpu_hours=_mean([head.gpu_hours for head in on_gpu]),
        cpu_hours=_mean([head.hours for head in heads if head.gpu_hours == 0]),
        gpu_kwh=_mean([head.energy_kwh for head in on_gpu if head.energy_kwh is not None]),
        disk_bytes=_mean([size for head in heads if (size := _size(ledger, head.id))]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _size(ledger: Ledger, run: str) -> float:
    """Bytes of a finished run's directory; 0 where there is none, or no longer all of it."""
    run_dir = ledger.run_dir(run)
    if not (run_dir.record.exists() and run_dir.checkpoints.is_dir()):
        return 0.0
    return float(sum(path.stat().st_size for path in run_dir.path.rglob("*") if path.is_file()))


def with_pace(costs: Mapping[str, Costs], runs: Iterable[Run], heads: Iterable[Finished]) -> dict[str, Costs]:
    """Costs, and those of groups without any where finished runs of the same shape have a pace: seconds a step.

    Args:
        costs: Costs by group, from records and probes.
        runs: The runs of a plan.
        heads: All finished runs (`Ledger.all_finished`).
    """
    wanted = {run.group: run for run in runs if run.group not in costs}
    networks = {run.spec.network for run in wanted.values()}
    paces: dict[object, list[float]] = defaultdict(list)
    for head in heads if wanted else ():
        spec = _spec(head, networks)
        steps, shape = (training_steps(spec), _shape(spec)) if spec else (None, None)
        if steps and shape and head.gpu_hours > 0:
            paces[shape].append(head.gpu_hours / steps)
        elif steps and shape and head.hours > 0:
            paces[shape, head.threads].append(head.hours / steps)
    found = dict(costs)
    for group, run in wanted.items():
        shape, threads = _shape(run.spec), run.execution.threads or len(os.sched_getaffinity(0))
        steps = training_steps(run.spec) or 0
        gpu, cpu = (median(pace) * steps if (pace := paces.get(key)) else None for key in (shape, (shape, threads)))
        if gpu or cpu:
            found[group] = Costs(gpu, cpu, source="pace")
    return found


def _spec(head: Finished, networks: set[str]) -> RunSpec | None:
    """A record's spec, if it was trained, is one of these networks' and this checkout understands it."""
    model = head.spec.get("model")
    if "kind" in head.spec or not isinstance(model, dict) or model.get("name") not in networks:
        return None
    try:
        return TrainSpec.model_validate(head.spec)
    except ValidationError:
        return None


def _shape(spec: RunSpec) -> tuple[object, ...] | None:
    """All that a training step's time depends on by far the most; data set and loss are not among it.

    None for what is not trained, and for a data set that is not known here, whose images have no known size.
    """
    if not isinstance(spec, TrainSpec):
        return None
    data, model, numerics = dataset(spec), spec.model, spec.numerics
    pixels = data and (spec.data.image_size or data.size)
    if not pixels:
        return None
    return model.name, model.width, pixels, model.T, spec.optim.batch_size, numerics.precision, numerics.neuron
