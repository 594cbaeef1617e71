"""Which scale a table shows: one for each data set, unless --scale names another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tksbench.cli import run_command
from tksbench.tables import main

if TYPE_CHECKING:
    from conftest import World

MINE = '\nruns: [{method: "mine:loss"}, '


@pytest.fixture
def mine(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The checkout with a method from outside, which has runs at scale smoke alone."""
    monkeypatch.syspath_prepend(world.root)
    (world.root / "mine.py").write_text("def loss(logits, target):\n    return logits.sum()\n")
    recipe = world.root / "recipes" / "cifar10.yaml"
    recipe.write_text(recipe.read_text().replace("\nruns: [", MINE))
    world.publish(world.run("smoke", "mine:loss"), 33.5)
    return world


def row(world: World, label: str, table: str = "table3.md") -> list[str]:
    line = next(line for line in world.read(table).splitlines() if f"| {label}" in line)
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_a_method_from_outside_is_shown_at_the_scale_of_the_rows_beside_it(mine: World) -> None:
    mine.publish(mine.run("smoke", "baseline"), 22.5)
    mine.publish(mine.run("mini", "baseline"), 44.5)
    main(["table3"])
    assert "44.50" in row(mine, "Baseline")
    assert row(mine, "mine.loss")[-1] == "not run at scale mini (but at smoke)"
    assert "33.50" not in mine.read("table3.md")
    assert "tables --scale SCALE shows those of another" in mine.read("table3.md")


def test_where_the_paper_s_rows_have_no_runs_its_own_scale_is_shown(mine: World) -> None:
    main(["table3"])
    assert "33.50" in row(mine, "mine.loss")


def test_scale_shows_all_methods_at_that_scale_and_writes_nothing(
    mine: World, capsys: pytest.CaptureFixture[str]
) -> None:
    mine.publish(mine.run("smoke", "baseline"), 22.5)
    mine.publish(mine.run("mini", "baseline"), 44.5)
    assert main(["table3", "--scale", "smoke"]) == 0
    out = capsys.readouterr().out
    assert "33.50" in out
    assert "22.50" in out
    assert "44.50" not in out
    assert not (mine.root / "results" / "tables").exists()
    assert main(["table1", "--scale", "paper"]) == 0
    assert "33.50" not in capsys.readouterr().out


def test_claims_and_costs_take_a_scale_too(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    claim = "{id: a, text: TKS beats the baseline, kind: difference, metric: top1, where: w, value: null, "
    claim += "a: {run: cifar10/spiking_resnet19/tks}, b: {run: cifar10/spiking_resnet19/baseline}}"
    paper = world.root / "results" / "paper.yaml"
    paper.write_text(f"{paper.read_text()}claims:\n  - {claim}\n")
    for scale, lead in (("mini", 20.0), ("smoke", 10.0)):
        world.publish(world.run(scale), 50.0 + lead)
        world.publish(world.run(scale, "baseline"), 50.0)
    main(["claims"])
    assert "+20.00" in capsys.readouterr().out
    main(["claims", "costs", "--scale", "smoke"])
    out = capsys.readouterr().out
    assert "+10.00" in out
    assert "+20.00" not in out


def test_own_rows_stand_before_cited_ones_and_ours_leaves_these_out(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["table1"])
    out = capsys.readouterr().out
    assert out.index("TKS*") < out.index("Rate [36]")
    main(["table1", "--ours"])
    out = capsys.readouterr().out
    assert "TKS*" in out
    assert "[36]" not in out
    assert "cited" not in out
    assert "[36]" in world.read("table1.md")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scale", "smok"], "--scale smok: no recipe has such a scale; did you mean 'smoke'?"),
        (["--scale", ""], "--scale : no recipe has such a scale"),
        (["--scale", "mini", "--check"], "--scale only prints tables: leave out --check"),
        (["--scale", "mini", "--only-published"], "--scale only prints tables: leave out --only-published"),
        (["--scale", "mini", "--format", "html"], "--scale only prints tables: leave out html"),
    ],
)
def test_what_a_scale_does_not_go_with_is_one_message(
    world: World, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run_command(main, words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (world.root / "results" / "tables").exists()
