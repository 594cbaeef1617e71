"""NDA (Li et al., "Neuromorphic data augmentation for training spiking neural networks", ECCV 2022, arXiv 2203.06145).

One geometric operation for all frames of a recording and both polarities: what moves an event moves its whole
recording, and the number of events of a pixel is not touched. Operations on colour are left out, because they have no
meaning for counts of events.

The policy is that of the public code (Intelligent-Computing-Lab-Yale/NDA_SNN): exactly one of rolling, rotation and
shear, each as likely as the others, pixels taken by nearest neighbour and filled with 0. The paper also has a flip with
probability 1/2 in front of it, and cutout among the operations; both are parameters here, off as in that code.
Rotation and shear have the conventions of torchvision's `rotate` and `affine`.

Its network is `resnet19`, its neuron `iterative_lif` with decay 1/4, that fires at the threshold 1/2 too, and the
surrogate `rectangle`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import torch
from torch.nn import functional as F

from tksbench.component import component

if TYPE_CHECKING:
    from pydantic import Field
    from torch import Tensor

    Source = tuple[Tensor, Tensor, Tensor]  # of each pixel [B, H, W]: row, column, and whether it is 0 instead


@component("augment", "nda")
class NDA:
    """Rolls, rotates or shears each recording, the same way in all its frames."""

    kind = "event"
    draws = 4

    def __init__(
        self,
        *,
        roll: Annotated[int, Field(ge=0)] = 3,
        rotation: Annotated[float, Field(ge=0, le=180)] = 15.0,
        shear: Annotated[float, Field(ge=0, lt=90)] = 15.0,
        cutout: Annotated[int, Field(ge=0)] = 0,
        flip: Annotated[float, Field(ge=0, le=1)] = 0.0,
    ) -> None:
        """Choose how strong it is; an operation whose bound is 0 is not among those that are drawn.

        Args:
            roll: Most pixels by which rows and columns are rolled, each; what leaves on one side enters on the other.
            rotation: Greatest angle, in degrees, either way.
            shear: Greatest angle of the shear along rows, in degrees, either way.
            cutout: Side of a square that is set to 0, in pixels; its centre is anywhere in the frame.
            flip: Probability of a flip, left to right, before the operation.
        """
        self.roll, self.rotation, self.shear, self.cutout, self.flip = roll, rotation, shear, cutout, flip
        known = ((roll, self.rolled), (rotation, self.rotated), (shear, self.sheared), (cutout, self.cut))
        self.operations = [operation for bound, operation in known if bound]

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """Augment recordings.

        Args:
            images: Frames [B, T, C, H, W].
            uniforms: float64 [B, 4] in [0, 1): operation, its two amounts, flip.

        Returns:
            Frames of the same shape and type.
        """
        height, width = images.shape[-2:]
        chosen, first, second, flipped = uniforms.unsqueeze(-1).unsqueeze(-1).unbind(1)  # each [B, 1, 1]
        row = torch.arange(height, device=images.device).view(1, -1, 1).expand(len(images), -1, width)
        column = torch.arange(width, device=images.device).view(1, 1, -1).expand_as(row)
        number = (chosen * max(len(self.operations), 1)).long()
        outside = torch.zeros_like(row, dtype=torch.bool)
        for index, operation in enumerate(self.operations):
            mine = number == index
            rows, columns, blank = operation(row, column, first, second)
            outside |= mine & blank
            row, column = torch.where(mine, rows, row), torch.where(mine, columns, column)
        column = torch.where(flipped < self.flip, width - 1 - column, column)
        source = torch.where(outside, height * width, row * width + column).view(len(images), 1, -1)
        flat = F.pad(images.flatten(-2).flatten(1, -2), (0, 1))  # one more pixel, 0: what lies outside
        return flat.gather(2, source.expand(-1, flat.shape[1], -1)).view_as(images)

    def rolled(self, row: Tensor, column: Tensor, first: Tensor, second: Tensor) -> Source:
        """Rows down and columns to the right by whole pixels, each as likely as the others, round the edges."""
        down, right = ((uniform * (2 * self.roll + 1)).long() - self.roll for uniform in (first, second))
        rows, columns = (row - down) % row.shape[1], (column - right) % row.shape[2]
        return rows, columns, torch.zeros_like(row, dtype=torch.bool)

    def rotated(self, row: Tensor, column: Tensor, first: Tensor, second: Tensor) -> Source:
        """About the centre; positive angles turn against the clock."""
        y, x = _centred(row, column)
        angle = (2 * first - 1) * math.radians(self.rotation)
        cos, sin = torch.cos(angle), torch.sin(angle)
        return _nearest(sin * x + cos * y, cos * x - sin * y)

    def sheared(self, row: Tensor, column: Tensor, first: Tensor, second: Tensor) -> Source:
        """Along rows, about the centre; positive angles move what is above it to the right."""
        y, x = _centred(row, column)
        return _nearest(y, x + torch.tan((2 * first - 1) * math.radians(self.shear)) * y)

    def cut(self, row: Tensor, column: Tensor, first: Tensor, second: Tensor) -> Source:
        """A square is set to 0 as far as it lies in the frame."""
        top, left = (
            (uniform * size).long() - self.cutout // 2
            for uniform, size in zip((first, second), row.shape[1:], strict=True)
        )
        inside = (row >= top) & (row < top + self.cutout) & (column >= left) & (column < left + self.cutout)
        return row, column, inside


def _centred(row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns [B, H, W] from the centre of the frame, in pixels, float64."""
    height, width = row.shape[1:]
    return row.double() - (height - 1) / 2, column.double() - (width - 1) / 2


def _nearest(y: Tensor, x: Tensor) -> Source:
    """The pixels that are nearest to points from the centre, and which of these lie outside."""
    height, width = y.shape[1:]
    rows, columns = torch.round(y + (height - 1) / 2).long(), torch.round(x + (width - 1) / 2).long()
    return rows, columns, (rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)
