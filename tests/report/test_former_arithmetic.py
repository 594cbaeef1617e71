"""Runs whose bits depended on the processor are marked in tables and claims; others are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tksbench.runs.comparison import of_former_arithmetic
from tksbench.runs.record import save_record
from tksbench.tables import main

if TYPE_CHECKING:
    from conftest import World

NOTE = "Of former arithmetic, whose sums were in an order that the processor decided: cifar10/spiking_resnet19/tks"
CLAIM = (
    "claims:\n  - {id: a, text: TKS beats the baseline, kind: difference, metric: top1, where: w, value: 3, "
    "a: {run: cifar10/spiking_resnet19/tks}, b: {run: cifar10/spiking_resnet19/baseline}}\n"
)


def publish(world: World, seed: int, method: str, gpu_hours: float, machine: dict[str, str] | None) -> None:
    run = world.run("mini", method, seed)
    plain = world.record(run, 60.0 + seed % 3)
    proof: dict[str, Any] = {**plain.provenance.model_dump(mode="json"), "machine": machine or {}}
    cost = {**plain.cost.model_dump(mode="json"), "gpu_hours": gpu_hours}
    record = world.record(run, 60.0 + seed % 3, {"cost": cost, "provenance": proof})
    assert of_former_arithmetic(record) == (gpu_hours == 0 and not machine)
    target = world.ledger.published(run.id)
    target.parent.mkdir(exist_ok=True)
    save_record(target, record)


@pytest.mark.parametrize(
    ("gpu_hours", "machine", "marked"),
    [(0.0, None, True), (0.0, {"kind": "family 25"}, False), (0.5, None, False)],
)
def test_they_are_marked(world: World, gpu_hours: float, machine: dict[str, str] | None, marked: bool) -> None:
    paper = world.root / "results" / "paper.yaml"
    paper.write_text(paper.read_text() + CLAIM)
    for method in ("tks", "baseline"):
        publish(world, 42, method, gpu_hours, machine)
    main(["table1", "claims"])
    assert (NOTE in world.read("table1.md").replace("\\", "")) == marked
    assert ("; of former arithmetic" in " ".join(world.read("claims.md").split())) == marked


def test_where_not_all_are_the_note_says_how_many(world: World) -> None:
    publish(world, 42, "tks", 0.0, None)
    publish(world, 43, "tks", 0.0, {"kind": "family 25"})
    main(["table1"])
    assert f"{NOTE} (1 of 2)" in world.read("table1.md").replace("\\", "")
