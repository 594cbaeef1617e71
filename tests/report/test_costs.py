"""The table of what an inference costs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tksbench.report.cli import main
from tksbench.report.costs import build_costs
from tksbench.report.evidence import gather
from tksbench.report.groups import candidates
from tksbench.report.listing import show
from tksbench.runs.record import make_record, save_record

if TYPE_CHECKING:
    from tests.report.conftest import World

SNN = {"spike_rate": 0.125, "macs": 2_000_000, "synops": 3_000_000.0, "energy_mj": 0.0119, "layers": [], "samples": 128}


def finish(world: World, seed: int, **cost: float) -> None:
    run = world.run("mini", seed=seed)
    plain = world.record(run).model_dump(mode="json", by_alias=True)
    plain["cost"] |= {"parameters": 1234, "snn": SNN | cost}
    save_record(world.ledger.run_dir(run.id).record, make_record(**plain))


def test_a_row_is_the_mean_over_seeds(world: World) -> None:
    finish(world, 42)
    finish(world, 43, spike_rate=0.375)
    (row,) = build_costs(candidates([Path("recipes/cifar10.yaml")]), gather(world.ledger)).rows
    assert row[1:] == ("mini", "2", "1,234", "0.250", "2.00", "3.00", "11.90")


def test_it_fits_80_columns_and_is_written_and_checked(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    finish(world, 42)
    target = world.ledger.published(world.run("mini").id)
    target.parent.mkdir()
    world.ledger.run_dir(target.stem).record.rename(target)
    assert main(["costs"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    assert main(["costs", "--check"]) == 0
    tex = world.read("costs.tex")
    assert "($\\mu$J)" in tex
    path = world.root / "results" / "tables" / "costs.md"
    path.write_text(path.read_text().replace("0.125", "0.120"))
    assert main(["costs", "--check"]) == 1


def test_runs_without_a_measured_cost_are_left_out(world: World) -> None:
    world.finish(world.run("mini"))
    costs = build_costs(candidates([Path("recipes/cifar10.yaml")]), gather(world.ledger))
    assert costs.rows == ()
    show(costs, Console(file=io.StringIO()))
