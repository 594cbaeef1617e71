"""What runs will take by the pace of finished runs of the same shape: seconds a step, times the steps."""

from __future__ import annotations

import os
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from tksbench.launch.cost import iterations
from tksbench.launch.past import Past
from tksbench.recipe.schema import RunSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tksbench.recipe import Run
    from tksbench.runs import Finished


class Shape(NamedTuple):
    """All that a training step's time depends on by far the most; data set and loss are not among it.

    Attributes:
        network: Its name.
        width: Factor on all channels.
        pixels: Height and width of the images or frames.
        T: Time steps.
        batch: Samples a step.
        precision: Of the convolutions.
        neuron: Which implementation.
    """

    network: str
    width: float
    pixels: int
    T: int
    batch: int
    precision: str
    neuron: str


def with_pace(past: Mapping[str, Past], runs: Iterable[Run], heads: Iterable[Finished]) -> dict[str, Past]:
    """Past costs, and those of groups without any where finished runs of the same shape have a pace.

    Args:
        past: Costs by group, from records and probes.
        runs: The runs of a plan.
        heads: All finished runs (`Ledger.all_finished`).
    """
    wanted = {run.group: run for run in runs if run.group not in past}
    found = dict(past)
    if not wanted:
        return found
    networks = {run.spec.model.name for run in wanted.values()}
    on_gpu: dict[Shape, list[float]] = {}
    on_cpu: dict[tuple[Shape, int | None], list[float]] = {}
    for head in heads:
        spec = _spec(head, networks)
        shape, steps = (_shape(spec), _steps(spec)) if spec else (None, 0)
        if shape is None or not steps:
            continue
        if head.gpu_hours > 0:
            on_gpu.setdefault(shape, []).append(head.gpu_hours / steps)
        elif head.hours > 0:
            on_cpu.setdefault((shape, head.threads), []).append(head.hours / steps)
    for group, run in wanted.items():
        shape = _shape(run.spec)
        if shape is None:
            continue
        threads = run.execution.threads or len(os.sched_getaffinity(0))
        gpu, cpu = on_gpu.get(shape), on_cpu.get((shape, threads))
        if gpu or cpu:
            gpu_hours, cpu_hours = (median(pace) * _steps(run.spec) if pace else None for pace in (gpu, cpu))
            found[group] = Past(gpu_hours, cpu_hours, source="pace")
    return found


def _spec(head: Finished, networks: set[str]) -> RunSpec | None:
    """A record's spec, if it is one of these networks' and this checkout understands it."""
    model = head.spec.get("model")
    if not isinstance(model, dict) or model.get("name") not in networks:
        return None
    try:
        return RunSpec.model_validate(head.spec)
    except ValidationError:
        return None


def _shape(spec: RunSpec) -> Shape | None:
    """None for a data set that is not known here, whose images have no known size."""
    from tksbench.data.registry import DATASETS

    data, model, numerics = DATASETS.get(spec.data.name), spec.model, spec.numerics
    pixels = spec.data.image_size or (data.size if data else None)
    if data is None or pixels is None:
        return None
    return Shape(model.name, model.width, pixels, model.T, spec.optim.batch_size, numerics.precision, numerics.neuron)


def _steps(spec: RunSpec) -> int:
    """Optimizer steps of a whole run."""
    from tksbench.data.registry import DATASETS

    return spec.optim.epochs * iterations(spec, DATASETS[spec.data.name])
