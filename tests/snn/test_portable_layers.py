"""Which networks are known to have the same bits on every processor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tksbench.recipe import RunSpec, expand, load_recipe
from tksbench.snn import eventconv
from tksbench.snn.neuron import LIF
from tksbench.snn.portable import portable
from tksbench.train.build import build_model

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(eventconv.library() is None, reason="no C compiler, or a processor without AVX2")


def spec(recipe: str, *words: str) -> RunSpec:
    path = Path(__file__).parents[2] / f"recipes/{recipe}.yaml"
    return expand(load_recipe(path), "smoke", 1, list(words), lambda _: False)[0].spec


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    assert torch.get_num_threads() == 1, "make test sets OMP_NUM_THREADS=1"


@pytest.mark.parametrize("recipe", ["cifar10", "dvs_cifar10", "cub", "nmnist"])
def test_the_narrow_networks_are(recipe: str) -> None:
    chosen = spec(recipe)
    assert portable(build_model(chosen, 10, 3, CPU), chosen, CPU)


@pytest.mark.parametrize(
    "word", ["model.width=1.0", "numerics.neuron=reference", "numerics.precision=bf16", "numerics.deterministic=false"]
)
def test_wide_ones_and_other_arithmetic_are_not(word: str) -> None:
    chosen = spec("cifar10", word)
    assert not portable(build_model(chosen, 10, 3, CPU), chosen, CPU)


def test_a_neuron_or_a_layer_from_elsewhere_is_not() -> None:
    class Mine(LIF):
        pass

    class Scale(nn.Module):
        pass

    chosen = spec("cifar10")
    for stranger in (Mine(), Scale(), nn.Linear(4, 4), nn.GroupNorm(1, 4)):
        network = build_model(chosen, 10, 3, CPU)
        assert portable(network, chosen, CPU)
        network.add_module("stranger", stranger)
        assert not portable(network, chosen, CPU)


def test_several_threads_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = spec("cifar10")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert not portable(build_model(chosen, 10, 3, CPU), chosen, CPU)
