"""Crop and flip of event frames, as the public code of TEBN and the framework of LIAF-Net's authors augment them.

Frames are padded with zeros and cropped back to their size, then mirrored with a probability: one crop and one flip for
all frames of a recording and both polarities (ChaotengDuan/TEBN, padding 4; LynxiTech/BIDL, padding 16).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import torch
from torch.nn import functional as F

from tksbench.component import component

if TYPE_CHECKING:
    from pydantic import Field
    from torch import Tensor


@component("augment", "event_crop")
class EventCrop:
    """Crops each recording at a place of its own and mirrors some, the same way in all frames."""

    kind = "event"
    draws = 3

    def __init__(
        self, *, padding: Annotated[int, Field(ge=0)] = 4, flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    ) -> None:
        """Choose how strong it is.

        Args:
            padding: Rows and columns of zeros on each side, in pixels.
            flip: Probability of a flip, left to right, after the crop.
        """
        self.padding, self.flip = padding, flip

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """Augment recordings.

        Args:
            images: Frames [B, T, C, H, W].
            uniforms: float64 [B, 3] in [0, 1): row and column of the crop, flip.

        Returns:
            Frames of the same shape and type.
        """
        height, width = images.shape[-2:]
        top, left = ((uniforms[:, :2] * (2 * self.padding + 1)).long() - self.padding).view(-1, 2, 1, 1).unbind(1)
        row = torch.arange(height, device=images.device).view(1, -1, 1) + top
        column = torch.arange(width, device=images.device).view(1, 1, -1)
        column = torch.where(uniforms[:, 2].view(-1, 1, 1) < self.flip, width - 1 - column, column) + left
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        source = torch.where(inside, row * width + column, height * width).view(len(images), 1, -1)
        flat = F.pad(images.flatten(-2).flatten(1, -2), (0, 1))  # one more pixel, 0: what lies outside
        return flat.gather(2, source.expand(-1, flat.shape[1], -1)).view_as(images)
