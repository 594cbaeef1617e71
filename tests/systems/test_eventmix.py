"""EventMix: golden values of mask and labels, what is conserved, its network by the number of its parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tksbench.systems.eventmix import (
    EventMix,
    PreActResNet18,
    highest,
    mixture,
    share_by_count,
    share_by_distance,
)


def golden_pair() -> tuple[Tensor, Tensor, Tensor]:
    """Two recordings [1, 1, 2, 4, 4] and a mask [1, 1, 1, 4, 4] of the sheet."""
    one, two = torch.zeros(2, 1, 1, 2, 4, 4, dtype=torch.float64)
    for x, events in (
        (one, {(0, 0, 0): 3, (0, 1, 2): 2, (1, 3, 3): 4, (1, 2, 1): 1}),
        (two, {(0, 0, 1): 1, (0, 3, 0): 2, (1, 0, 0): 5, (1, 2, 2): 2}),
    ):
        for place, count in events.items():
            x[0, 0][place] = count
    inside = torch.zeros(1, 1, 1, 4, 4, dtype=torch.bool)
    inside[..., :2, :3] = True
    return one, two, inside


def test_golden_label_by_count() -> None:
    one, two, inside = golden_pair()
    assert torch.where(inside, two, one).sum() == 11
    assert share_by_count(one, two, inside).item() == pytest.approx(0.454545454545, abs=1e-10)


def test_golden_label_by_distance() -> None:
    one, two, inside = golden_pair()
    mixed = torch.where(inside, two, one)
    assert share_by_distance(one, two, mixed).item() == pytest.approx(0.096685368, abs=1e-8)


GAUSSIANS = torch.tensor([[[0.5, 0, 1, 1, 1, 1.5, 0.75], [0.25, 1, 0, 2, 0.5, 0.3, 1.5]]], dtype=torch.float64)
DENSITY = [0.1785, 0.4275, 0.1984, 0.2056, 0.5001, 0.2057, 0.1646, 0.4004, 0.1646]
DENSITY += [0.2026, 0.4430, 0.3498, 0.1251, 0.3040, 0.1256, 0.0998, 0.2428, 0.0998]
MASK = [0, 1, 1, 1, 1, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 0, 1, 0]


def test_golden_density_and_mask() -> None:
    density = mixture(GAUSSIANS, (2, 3, 3))
    assert density.flatten().tolist() == pytest.approx(DENSITY, abs=5e-5)
    assert density.flatten().sort().values[6].item() == pytest.approx(0.178506, abs=5e-7)
    assert highest(density, torch.tensor([0.6], dtype=torch.float64)).flatten().tolist() == MASK


@pytest.mark.parametrize(("share", "points"), [(0.0, 0), (0.3, 6), (0.5, 9), (0.99, 18), (1.0, 18)])
def test_the_mask_is_a_share_of_the_volume(share: float, points: int) -> None:
    density = torch.rand(1, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert highest(density, torch.tensor([share], dtype=torch.float64)).sum() == points


def frames(seed: int) -> Tensor:
    return torch.randint(0, 3, (40, 4, 2, 8, 8), generator=torch.Generator().manual_seed(seed)).float()


def draws(mix: EventMix, seed: int = 0) -> Tensor:
    return torch.from_numpy(mix.draw(np.random.default_rng(seed), 40, (4, 2, 8, 8)))


@pytest.mark.parametrize("label", ["count", "distance"])
def test_every_pixel_is_of_one_of_both_in_both_polarities_and_shares_are_shares(label: Any) -> None:
    mix, own, other = EventMix(probability=1.0, label=label), frames(1), frames(2)
    mixed, share = mix(own, other, draws(mix))
    theirs = (mixed != own).any(2, keepdim=True)
    assert torch.equal(mixed, torch.where(theirs, other, own))
    assert 0 <= share.min() < share.max() <= 1
    assert 0.2 < share.mean() < 0.8


def test_what_is_not_drawn_is_left_alone() -> None:
    mix, own, other = EventMix(probability=0.5), frames(1), frames(2)
    rows = draws(mix)
    mixed, share = mix(own, other, rows)
    alone = rows[:, 0] == 0
    assert 10 < alone.sum() < 30
    assert torch.equal(mixed[alone], own[alone])
    assert (share[alone] == 1).all()
    assert all(not torch.equal(one, two) for one, two in zip(mixed[~alone], own[~alone], strict=True))


def test_a_sample_is_mixed_alike_whatever_else_is_in_its_part_of_the_batch() -> None:
    mix, own, other = EventMix(), frames(1), frames(2)
    rows = draws(mix)
    whole = mix(own, other, rows)
    parts = [mix(own[part], other[part], rows[part]) for part in (slice(0, 7), slice(7, 40))]
    for one, several in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(one, torch.cat(several))


def test_recordings_without_events_have_shares_all_the_same() -> None:
    nothing = torch.zeros(40, 4, 2, 8, 8)
    for label in ("count", "distance"):
        mix = EventMix(probability=1.0, label=label)  # type: ignore[arg-type]
        for own, other in ((nothing, nothing), (nothing, frames(1)), (frames(1), nothing)):
            share = mix(own, other, draws(mix))[1]
            assert share.isfinite().all() and 0 <= share.min() <= share.max() <= 1


def test_draws_are_of_the_code_s_distributions() -> None:
    mix = EventMix()
    rows = mix.draw(np.random.default_rng(0), 4000, (10, 2, 48, 40))
    assert rows[:, 0].mean() == pytest.approx(0.5, abs=0.03)
    assert (rows[:, 1].mean(), rows[:, 1].var()) == pytest.approx((0.5, 0.05), abs=0.01)
    gaussians = rows[:, 2:].reshape(-1, 7)
    assert gaussians[:, 1:4].min(0).tolist() == [0, 0, 0]
    assert gaussians[:, 1:4].max(0).tolist() == [9, 47, 39]
    assert gaussians[:, 4:].min(0).tolist() == pytest.approx([0.5, 2.4, 2.0])
    assert (gaussians[:, 4:].max(0) < [5, 24, 20]).all()


@pytest.mark.parametrize(("classes", "parameters"), [(101, 11_219_173), (100, 11_218_660), (10, 11_172_490)])
def test_parameters_of_its_network(classes: int, parameters: int) -> None:
    with torch.device("meta"):
        network = PreActResNet18(classes)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_its_network_takes_frames_of_any_number_and_images() -> None:
    network = PreActResNet18(5, T=3, width=0.0625)
    assert network(torch.rand(2, 4, 2, 16, 16)).shape == (4, 2, 5)
    assert network.eval()(torch.rand(2, 2, 16, 16)).shape == (3, 2, 5)
    assert network.forward_features(torch.rand(2, 4, 2, 16, 16)).shape[0] == 2
