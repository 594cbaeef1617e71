"""`tables compare A B`: which runs are paired, what is said of them, and bad input."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tksbench.cli import run_command
from tksbench.tables import main

if TYPE_CHECKING:
    from conftest import World


def compared(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["compare", *words, "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_two_methods_are_paired_by_seed_at_one_scale(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, (ours, theirs) in {42: (80.0, 70.0), 43: (81.0, 70.5), 44: (82.0, 72.0)}.items():
        world.publish(world.run("mini", seed=seed), ours)
        world.publish(world.run("mini", "baseline", seed), theirs)
    world.publish(world.run("mini", seed=45), 10.0)  # without a partner
    world.publish(world.run("paper"), 99.0)  # without one at its scale
    (place,) = compared(capsys, "tks", "baseline")
    assert (place["a"], place["scale"], place["data"]) == ("cifar10/spiking_resnet19/tks", "mini", "real")
    assert place["verdict"] == "tks is better (n=3)"
    best = place["best"]
    assert (best["seeds"], best["differences"]) == ([42, 43, 44], [10.0, 10.5, 10.0])
    low, high = best["interval"]
    assert low < best["mean"] < high
    assert best["p"] == best["p_holm"] < 0.01
    assert [test["only_a"] - test["only_b"] for test in best["mcnemar"]] == [20, 21, 20]
    (turned,) = compared(capsys, "baseline", "tks")
    assert turned["best"]["mean"] == -best["mean"]
    assert turned["verdict"] == "tks is better (n=3)"


def test_p_is_corrected_over_all_that_is_printed(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for scale in ("mini", "smoke"):
        for seed, lead in {42: 10.0, 43: 14.0, 44: 12.0}.items():
            world.publish(world.run(scale, seed=seed), 60.0 + lead)
            world.publish(world.run(scale, "baseline", seed), 60.0)
    both = compared(capsys, "tks", "baseline")
    assert [place["scale"] for place in both] == ["mini", "smoke"]
    assert both[0]["best"]["p_holm"] == pytest.approx(2 * both[0]["best"]["p"])
    (one,) = compared(capsys, "tks", "baseline", "--scale", "mini")
    assert one["best"]["p_holm"] == one["best"]["p"]


def test_less_aurc_is_better(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (42, 43, 44):
        world.publish(world.run("mini", seed=seed), 90.0)
        world.publish(world.run("mini", "baseline", seed), 60.0)
    (place,) = compared(capsys, "tks", "baseline", "--metric", "aurc")
    assert place["best"]["mean"] < 0
    assert place["verdict"] == "tks is better (n=3)"


def test_stand_in_data_have_their_own_heading_and_correction(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for real in (False, True):
        for method, top1 in (("tks", 70.0), ("baseline", 60.0)):
            world.publish(world.run("smoke", method, real=real), top1)
    main(["compare", "tks", "baseline"])
    out = capsys.readouterr().out
    first, heading, second = out.partition("On stand-in data: these show that it works, and say nothing about")
    assert heading
    for part in (first, second):
        assert "cifar10/spiking_resnet19, scale smoke: tks less baseline" in part
        assert "undecided (n=1)" in part
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("words", [("*/tks", "baseline"), ("cifar10/spiking_resnet19/tks", "*/spiking*/base*")])
def test_names_and_globs_choose_runs(world: World, capsys: pytest.CaptureFixture[str], words: tuple[str, str]) -> None:
    for method in ("tks", "baseline"):
        world.publish(world.run("mini", method), 70.0)
    (place,) = compared(capsys, *words)
    assert (place["a"], place["b"]) == ("cifar10/spiking_resnet19/tks", "cifar10/spiking_resnet19/baseline")


def test_two_networks_are_compared_where_each_side_has_one(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = world.root / "recipes" / "cifar10.yaml"
    text = recipe.read_text()
    recipe.write_text(text.replace("{method: baseline}]", "{method: tks, model: {name: sew_resnet19}}]"))
    from tksbench.recipe import expand, load_recipe

    for run in expand(load_recipe(recipe), "mini"):
        world.publish(run, 70.0)
    (place,) = compared(capsys, "cifar10/sew_resnet19/tks", "cifar10/spiking_resnet19/tks")
    assert place["best"]["mean"] == 0
    main(["compare", "cifar10/sew_resnet19/tks", "cifar10/spiking_resnet19/tks"])
    assert "cifar10, scale mini: sew_resnet19/tks less spiking_resnet19/tks" in capsys.readouterr().out


def test_runs_without_a_common_seed_are_named_and_not_compared(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.publish(world.run("mini"), 70.0)
    world.publish(world.run("mini", "baseline", 43), 70.0)
    (place,) = compared(capsys, "tks", "baseline")
    assert (place["best"], place["verdict"]) == (None, "undecided (no seed in common)")


def test_where_nothing_can_be_compared_it_lists_what_there_is(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.publish(world.run("mini"), 70.0)
    assert main(["compare", "tks", "baseline"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "nothing to compare: tks and baseline have no runs of one protocol",
        "  tks: cifar10/spiking_resnet19/tks at scale mini (n=1)",
        "  baseline: no finished run",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tks", "baselin"], "compare baselin: no run of the recipes is called so; did you mean 'baseline'?"),
        (["tks", "cifar10/spiking_resnet19/tk"], "did you mean 'cifar10/spiking_resnet19/tks'?"),
        (["tks", "base*"], "compare base*: no run of the recipes is called so"),  # a glob is of whole names
        (["tks", "tks"], "both sides name the same run: cifar10/spiking_resnet19/tks"),
        (["tks", "baseline", "--scale", "smok"], "--scale smok: no recipe has such a scale; did you mean 'smoke'?"),
        (["tks"], "the following arguments are required: B"),
    ],
)
def test_bad_input_is_one_message_and_status_2(
    world: World, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run_command(main, ["compare", *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
