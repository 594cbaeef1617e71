"""What `source: auto` stands for, and what a twin is to a recipe."""

from __future__ import annotations

import pytest

from tksbench.recipe import RecipeError, Run, expand, load_recipe
from tksbench.recipe.at_hand import EVERY_DATA

RECIPE, NAME = "recipes/dvs_cifar10.yaml", "dvs_cifar10/vgg_snn/tks"


def _runs(*words: str, scale: str = "smoke", recipe: str = RECIPE) -> list[Run]:
    """The first run with each kind of data at hand: real, twin, none."""
    return [expand(load_recipe(recipe), scale, 1, words, *at_hand)[0] for at_hand in EVERY_DATA]


def test_auto_takes_the_real_data_then_the_twin_then_stand_in_data() -> None:
    assert [run.spec.data.source for run in _runs()] == ["real", "twin", "miniature"]


def test_a_data_set_without_a_twin_has_stand_in_data_at_once() -> None:
    sources = [run.spec.data.source for run in _runs(recipe="recipes/cifar100.yaml")]
    assert sources == ["real", "miniature", "miniature"]


def test_loops_are_of_the_twin_alone() -> None:
    real, twin, stand_in = _runs("data.loops=3")
    before = _runs("data.loops=2")
    assert (real.id, stand_in.id) == (before[0].id, before[2].id)
    assert (twin.spec.data.loops, real.spec.data.loops) == (3, 6)
    assert twin.id != before[1].id


def test_a_twin_of_a_set_that_has_none_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"data.source: 'twin' is not for cifar100; it has real, stand-in, auto"):
        _runs("data.source=twin", recipe="recipes/cifar100.yaml")


def test_a_run_goes_to_another_machine_and_back() -> None:
    twin = _runs()[1]
    assert Run.from_json(twin.to_json()) == twin
