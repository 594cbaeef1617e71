"""Augmentation of event frames, as the authors train on them (docs/protocol.md#dvs-cifar10)."""

from __future__ import annotations

import torch
from torch.nn import functional as F

CROP_PADDING = 4
MAX_ROTATION_DEGREES = 15.0
DRAWS = 4


def draw(count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw the uniform numbers [count, 4] in [0, 1) that `augment_frames` takes."""
    return torch.rand(count, DRAWS, generator=generator, dtype=torch.float64)


def augment_frames(frames: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Crop (padding 4), flip (probability 1/2) and rotate (+-15 degrees, nearest pixel, filled with 0).

    Each recording has one crop, flip and rotation for all its frames and both polarities
    (BrainCog:datasets.py:655-673). The three are composed into one table of source pixels, so that the frames are
    read once.

    Args:
        frames: [B, T, 2, S, S].
        uniforms: [B, 4] in [0, 1): row of the crop, column of the crop, flip, angle.

    Returns:
        Augmented frames, same shape and type.
    """
    batch, size = frames.shape[0], frames.shape[-1]
    row, column, inside = _rotated_pixels(size, (2 * uniforms[:, 3] - 1) * MAX_ROTATION_DEGREES)
    flip = (uniforms[:, 2] < 0.5).view(-1, 1, 1)
    column = torch.where(flip, size - 1 - column, column)
    offset = (uniforms[:, :2] * (2 * CROP_PADDING + 1)).long() - CROP_PADDING
    row, column = row + offset[:, 0].view(-1, 1, 1), column + offset[:, 1].view(-1, 1, 1)
    inside &= (row >= 0) & (row < size) & (column >= 0) & (column < size)
    source = torch.where(inside, row * size + column, size * size).view(batch, 1, -1)
    flat = F.pad(frames.reshape(batch, -1, size * size), (0, 1))  # one more pixel, 0: what lies outside
    return flat.gather(2, source.expand(-1, flat.shape[1], -1)).view_as(frames)


def _rotated_pixels(size: int, degrees: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return row, column and whether it is inside [B, S, S] of the pixel that turning by `degrees` shows."""
    radians = torch.deg2rad(degrees).view(-1, 1, 1)
    centred = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    y, x = centred.view(1, -1, 1), centred.view(1, 1, -1)
    cos, sin = torch.cos(radians), torch.sin(radians)
    column = torch.round(cos * x - sin * y + (size - 1) / 2).long()
    row = torch.round(sin * x + cos * y + (size - 1) / 2).long()
    inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
    return row, column, inside
