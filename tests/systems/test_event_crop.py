"""Crop and flip of event frames: by hand, and one of both for all frames."""

from __future__ import annotations

import torch

from tksbench.systems.event_crop import EventCrop


def uniforms(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_what_is_cropped_is_mirrored_after_it_and_zeros_come_in() -> None:
    x = torch.arange(1.0, 10.0).view(1, 1, 1, 3, 3).expand(2, -1, -1, -1, -1)
    down, right = (1 + 1.5) / 3, (-1 + 1.5) / 3  # of 1 row down and 1 column to the left
    found = EventCrop(padding=1, flip=0.5)(x, uniforms((down, right, 0.6), (down, right, 0.4)))
    assert found[0, 0, 0].tolist() == [[0, 4, 5], [0, 7, 8], [0, 0, 0]]
    assert found[1, 0, 0].tolist() == [[5, 4, 0], [8, 7, 0], [0, 0, 0]]


def test_all_frames_of_a_recording_have_the_same_and_the_bounds_are_reached() -> None:
    x = torch.zeros(400, 2, 2, 9, 9)
    x[..., 4, 4] = 1
    numbers = torch.rand(400, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = EventCrop(padding=3)(x, numbers)
    assert torch.equal(found, found[:, :1, :1].expand_as(found))
    places = found[:, 0, 0].nonzero()
    assert {(axis.min().item(), axis.max().item()) for axis in places[:, 1:].unbind(1)} == {(1, 7)}


def test_without_padding_and_flip_nothing_is_changed() -> None:
    x = torch.rand(2, 2, 2, 4, 4)
    assert torch.equal(EventCrop(padding=0, flip=0.0)(x, torch.rand(2, 3, dtype=torch.float64)), x)
