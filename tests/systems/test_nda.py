"""NDA: golden values of each operation, one operation for all frames, the same numbers in any batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from tksbench.data.augmented import Augmented
from tksbench.data.base import Split
from tksbench.recipe import expand, load_recipe
from tksbench.systems.nda import NDA
from tksbench.train.build import build_kit
from tksbench.train.components import maker

RECIPES = Path(__file__).parents[2] / "recipes"


def frames(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 5, shape, generator=torch.Generator().manual_seed(seed)).float()


def uniforms(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def amount(value: float, bound: float) -> float:
    """The uniform number of an angle."""
    return (value / bound + 1) / 2


def test_golden_roll() -> None:
    x = torch.arange(12.0).view(1, 1, 1, 3, 4)
    down, right = (1 + 3.5) / 7, (-2 + 3.5) / 7
    rolled = NDA(rotation=0, shear=0)(x, uniforms((0.5, down, right, 0.5)))
    assert rolled[0, 0, 0].tolist() == [[10, 11, 8, 9], [2, 3, 0, 1], [6, 7, 4, 5]]


@pytest.mark.parametrize(
    ("operation", "degrees", "golden"),
    [
        ("rotation", 30, {(0, 1): 1, (1, 4): 2, (4, 2): 3}),
        ("shear", 15, {(0, 3): 1, (2, 4): 2, (4, 0): 3}),
        ("shear", 30, {(0, 3): 1, (2, 4): 2, (4, 0): 3}),
    ],
)
def test_golden_rotation_and_shear(operation: str, degrees: float, golden: dict[tuple[int, int], float]) -> None:
    x = torch.zeros(1, 1, 1, 5, 5)
    for value, (row, column) in enumerate([(0, 2), (2, 4), (4, 1)], start=1):
        x[..., row, column] = value
    nda = NDA(**{"roll": 0, "rotation": 0.0, "shear": 0.0, operation: 45.0})
    found = nda(x, uniforms((0.5, amount(degrees, 45), 0.0, 0.5)))[0, 0, 0]
    assert {tuple(place): found[tuple(place)].item() for place in found.nonzero().tolist()} == golden


@pytest.mark.parametrize("degrees", [-14.2, -7.7, 3.3, 11.1])
def test_rotation_and_shear_are_torchvisions(degrees: float) -> None:
    x, row = frames(1, 2, 2, 48, 48), uniforms((0.5, amount(degrees, 15), 0.0, 0.5))
    assert torch.equal(NDA(roll=0, shear=0)(x, row)[0], TF.rotate(x[0], degrees, InterpolationMode.NEAREST))
    sheared = TF.affine(x[0], 0.0, [0, 0], 1.0, [degrees, 0.0], InterpolationMode.NEAREST)
    assert torch.equal(NDA(roll=0, rotation=0)(x, row)[0], sheared)


def test_one_operation_for_every_frame_and_both_polarities() -> None:
    nda = NDA(cutout=8, flip=0.5)
    numbers = torch.rand(64, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    same = frames(64, 1, 1, 12, 12).expand(-1, 5, 2, -1, -1)
    found = nda(same, numbers)
    assert torch.equal(found, found[:, :1, :1].expand_as(found))
    assert not torch.equal(found, same)


def test_each_operation_is_drawn_equally_often_and_one_alone() -> None:
    numbers = torch.rand(3000, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    place = frames(1, 1, 1, 9, 9).expand(3000, -1, -1, -1, -1)
    everything = NDA()(place, numbers)
    for index, only in enumerate((NDA(rotation=0, shear=0), NDA(roll=0, shear=0), NDA(roll=0, rotation=0))):
        mine = (numbers[:, 0] * 3).long() == index
        assert 900 < mine.sum() < 1100
        assert torch.equal(everything[mine], only(place, numbers)[mine])


def test_rolling_loses_no_event_and_the_bounds_are_reached() -> None:
    numbers = torch.rand(500, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x = torch.zeros(500, 1, 1, 9, 9)
    x[..., 4, 4] = 7
    places = NDA(rotation=0, shear=0)(x, numbers).nonzero()
    assert len(places) == 500
    assert {(rows.min().item(), rows.max().item()) for rows in places[:, 3:].unbind(1)} == {(1, 7)}


def test_cutout_sets_a_square_to_zero_and_is_cut_off_at_the_edge() -> None:
    ones = torch.ones(2, 3, 2, 10, 10)
    cut = NDA(roll=0, rotation=0, shear=0, cutout=4)(ones, uniforms((0.0, 0.5, 0.5, 0.5), (0.0, 0.0, 0.99, 0.5)))
    assert (1 - cut).sum((2, 3, 4)).div(2).tolist() == [[16] * 3, [6] * 3]
    assert cut[0, 0, 0, 3:7, 3:7].sum() == 0


def test_a_flip_comes_before_the_operation() -> None:
    x = frames(1, 2, 2, 7, 7)
    nda = NDA(roll=2, rotation=0, shear=0, flip=0.5)
    flipped, plain = uniforms((0.1, 0.9, 0.2, 0.4)), uniforms((0.1, 0.9, 0.2, 0.6))
    assert torch.equal(nda(x, flipped), nda(x.flip(-1), plain))


def test_without_a_bound_nothing_is_changed() -> None:
    x = frames(2, 2, 2, 6, 6)
    numbers = torch.rand(2, 4, dtype=torch.float64)
    assert torch.equal(NDA(roll=0, rotation=0, shear=0)(x, numbers), x)


class Counts(Split):
    def __init__(self) -> None:
        self.frames, self.labels = frames(20, 3, 2, 8, 8), torch.arange(20).numpy()

    def __getitems__(self, keys):  # type: ignore[no-untyped-def]
        indices = [index for _, index in keys]
        return self.frames[indices], torch.from_numpy(self.labels[indices])


def test_a_recording_is_augmented_alike_in_any_batch_and_otherwise_in_another_epoch() -> None:
    split = Augmented(Counts(), NDA(), seed=42)
    whole, labels = split.__getitems__([(1, index) for index in range(20)])
    parts = [split.__getitems__([(1, index)])[0] for index in range(20)]
    assert torch.equal(whole, torch.cat(parts))
    assert labels.tolist() == list(range(20))
    assert not torch.equal(whole, split.__getitems__([(2, index) for index in range(20)])[0])
    assert not torch.equal(whole, Augmented(Counts(), NDA(), seed=43).__getitems__([(1, i) for i in range(20)])[0])


def test_the_recipe_s_network_has_as_many_parameters_as_the_code_s_and_its_neurons_fire_at_the_threshold() -> None:
    spec = expand(load_recipe(RECIPES / "cited" / "nda.yaml"))[0].spec
    kit, counts = build_kit(spec), []
    with torch.device("meta"):
        for stem in (64, 128):
            made = maker("model", spec.model.model_copy(update={"stem": stem}), offered={"kit": kit})
            network = made(num_classes=101, in_chans=2)
            counts.append(sum(parameter.numel() for parameter in network.parameters()))
    assert counts == [12_653_669, 12_720_229]
    current = torch.tensor([0.5, 0.25, 0.4375, 0.5], dtype=torch.float64).view(-1, 1)
    assert kit.neuron()(current).flatten().tolist() == [1, 0, 1, 1]
