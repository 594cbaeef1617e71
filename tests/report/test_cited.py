"""Our runs of systems that the paper cites: bound to its rows by their recipes, beside both numbers, against TKS."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tksbench.cli import run_command
from tksbench.recipe import RecipeError, expand, load_recipe
from tksbench.tables import main

if TYPE_CHECKING:
    from conftest import World

    from tksbench.recipe import Run
    from tksbench.runs.record import Record

ORIGIN = 'value: 67.04, architecture: ResNet-19, origin: {prints: 60.0, decimals: 1, sure: read, note: "another"}'
CELL = "table1/cifar10/resnet19/other_net_co-5"
CITED = """
name: "other/{data.name}/{model.name}/other"
protocol:
  data: {name: cifar10, source: auto, augment: none}
  model: {name: spiking_resnet19, T: 2}
  optim: {name: sgd, lr: 1e-3, weight_decay: 0.0, epochs: 300, batch_size: 4, warmup_epochs: 0}
runs: [{method: baseline, rows: CELL}]
scales: {paper: {}, mini: {optim: {epochs: 3}}, smoke: {optim: {epochs: 2}}}
"""


class Cited:
    """The checkout with a recipe of a cited work."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.recipe = world.root / "recipes" / "cited" / "other.yaml"
        self.recipe.parent.mkdir()
        self.write()
        paper = world.root / "results" / "paper.yaml"
        paper.write_text(paper.read_text().replace("value: 67.04", ORIGIN))

    def write(self, old: str = "", new: str = "") -> None:
        self.recipe.write_text(CITED.replace("CELL", CELL).replace(old, new) if old else CITED.replace("CELL", CELL))

    def run(self, scale: str = "paper", seed: int = 42) -> Run:
        return next(run for run in expand(load_recipe(self.recipe), scale, seeds=seed - 41) if run.seed == seed)

    def publish(self, top1: float, scale: str = "paper", seed: int = 42) -> Record:
        return self.world.publish(self.run(scale, seed), top1)


@pytest.fixture
def cited(world: World) -> Cited:
    return Cited(world)


def row(world: World, label: str, table: str = "table1.md") -> list[str]:
    line = next(line for line in world.read(table).splitlines() if f"| {label}" in line)
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def why(capsys: pytest.CaptureFixture[str], name: str) -> str:
    assert main(["--why", name]) == 0
    return capsys.readouterr().out


def test_ours_stands_beside_the_paper_s_number_and_the_cited_work_s(cited: Cited) -> None:
    cited.publish(60.5, "mini")
    main(["table1"])
    found = row(cited.world, r"Other\_net")
    assert found[4:8] == ["67.04 (a)", "60.0", "60.50", "60.50"]
    assert found[-1] == "not comparable (scale mini)"
    assert row(cited.world, "TKS*".replace("*", r"\*"))[5] == ""


def test_the_verdict_is_against_the_cited_number(cited: Cited) -> None:
    for seed, top1 in ((42, 60.0), (43, 60.5), (44, 59.5)):
        cited.publish(top1, seed=seed)
    main(["table1"])
    assert row(cited.world, r"Other\_net")[-1] == "reproduced"  # 60.0, not 67.04


def test_an_incomplete_protocol_is_never_judged(cited: Cited, capsys: pytest.CaptureFixture[str]) -> None:
    cited.write("runs:", "undocumented: [the number of layers]\nruns:")
    main(["table1"])
    assert row(cited.world, r"Other\_net")[-1] == "not run (about 4.0 GPU-h, protocol incomplete)"
    printed = capsys.readouterr().out
    assert ", protocol" not in printed  # on 80 columns the note alone says it
    assert "Protocol incomplete, what of it could not be read" in " ".join(printed.split())
    main(["table1", "--ours"])
    of_ours = " ".join(capsys.readouterr().out.split())
    assert "Protocol incomplete" not in of_ours
    assert "Cited rows" not in of_ours
    for seed in (42, 43, 44):
        cited.publish(60.0, seed=seed)
    main(["table1"])
    assert row(cited.world, r"Other\_net")[-1] == "not comparable (protocol incomplete)"
    assert r"could not be read: Other\_net & co [5]\*: the number of layers." in cited.world.read("table1.md")
    capsys.readouterr()
    assert "not read    the number of layers" in why(capsys, CELL)


def test_why_names_recipe_spec_and_command(cited: Cited, capsys: pytest.CaptureFixture[str]) -> None:
    told = why(capsys, CELL)
    assert "recipe recipes/cited/other.yaml" in told
    assert "python -m tksbench.launch recipes/cited/other.yaml" in told
    assert "cited work  60.0 in the cited work (read); another" in told
    assert "epochs: 300" in told
    assert CELL in why(capsys, "table1")


def test_a_row_without_a_recipe_says_so(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no recipe stands for this row yet" in why(capsys, "table1/cifar10/rate-36")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (CELL, CELL[:-1] + "6", f"rows: the paper cites no work in a cell '{CELL[:-1]}6'; did you mean '{CELL}'?"),
        ("name: cifar10,", "name: cifar100,", f"rows: '{CELL}' is of cifar10, but the run is trained on cifar100"),
        ("runs: [", f"runs: [{{method: tet, name: two, rows: {CELL}}}, ", "has the run 'two' already"),
        ("runs:", "against: nobody\nruns:", "against: no recipe has a run 'nobody'"),
    ],
)
def test_a_wrong_binding_is_one_message(
    cited: Cited, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    cited.write(old, new)
    assert run_command(main, ["table1"]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", ["rows: 7", "rows: [a, 7]", "rows: []"])
def test_rows_are_texts(cited: Cited, words: str) -> None:
    cited.write(f"rows: {CELL}", words)
    with pytest.raises(RecipeError, match=r"runs\.rows: expected a text or a list of texts"):
        load_recipe(cited.recipe)


def test_rows_change_no_identity(cited: Cited) -> None:
    before = cited.run()
    cited.write(f", rows: {CELL}", "")
    assert cited.run().id == before.id
    assert cited.run() == before


def test_each_system_by_its_own_protocol_is_compared_with_tks(cited: Cited) -> None:
    for seed, lead in ((42, 10.0), (43, 10.5), (44, 9.5)):
        cited.publish(60.0, "mini", seed)
        cited.world.publish(cited.world.run("mini", seed=seed), 60.0 + lead)
    main(["level"])
    found = row(cited.world, "other/cifar10", "level.md")
    assert found[:7] == [
        r"other/cifar10/spiking\_resnet19/other", "tks is better (n=3)", "mini", "3", "60.00 ± 0.00", "70.00 ± 0.50",
        "+10.00",
    ]  # fmt: skip


def test_a_recipe_s_runs_are_compared_with_the_one_it_names(cited: Cited, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = cited.world.root / "recipes" / "cifar10.yaml"
    recipe.write_text("against: cifar10/spiking_resnet19/tks\n" + recipe.read_text())
    main(["level"])
    assert row(cited.world, "cifar10/", "level.md")[:2] == [
        r"cifar10/spiking\_resnet19/baseline", "not run (about 8.1 GPU-h)",
    ]  # fmt: skip
    assert "cifar10/spiking_resnet19/baseline" in capsys.readouterr().out


def test_a_claim_about_a_cited_work_is_judged_by_runs_of_both(cited: Cited) -> None:
    paper = cited.world.root / "results" / "paper.yaml"
    claim: dict[str, Any] = {
        "a": "{run: cifar10/spiking_resnet19/tks}",
        "b": "{table: table1, dataset: cifar10, ref: '5'}",
    }
    head = "{id: over, text: TKS beats it, kind: difference, metric: top1, where: w, value: null, "
    paper.write_text(f"{paper.read_text()}claims:\n  - {head}a: {claim['a']}, b: {claim['b']}}}\n")
    for seed, lead in ((42, 10.0), (43, 10.5), (44, 9.5)):
        cited.publish(60.0, "mini", seed)
        cited.world.publish(cited.world.run("mini", seed=seed), 60.0 + lead)
    main(["claims"])
    assert "**holds at scale mini (n=3)**" in cited.world.read("claims.md")


def test_runs_are_expanded_once(cited: Cited, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(cited.recipe)
    monkeypatch.setattr(sys.modules["tksbench.recipe.expand"], "_collect", lambda *_: pytest.fail("expanded again"))
    (real,), (miniature,) = (expand(recipe, "smoke", has_real=lambda _, real=real: real) for real in (True, False))
    assert (real.spec.data.source, miniature.spec.data.source) == ("real", "miniature")
    assert Path(real.recipe) == cited.recipe
