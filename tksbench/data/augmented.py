"""Augmentations that are components: laid over the training half of any data set, on the device where a batch is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from tksbench.data.base import Split
from tksbench.data.rng import draw_bits, to_uniform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from tksbench.data.base import Batch, Key, Packed


class Augmentation(Protocol):
    """What fills the slot `augment`: a class whose parameters are those of its `__init__`.

    Attributes:
        draws: Random numbers that it takes for each sample.
    """

    draws: int

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """Augment a batch, each sample by its own numbers and by nothing else; without waiting for the device.

        Args:
            images: What the network would see: float32 [B, C, H, W], normalised, or frames [B, T, C, H, W].
            uniforms: float64 [B, draws] in [0, 1), on the same device: functions of (seed, epoch, index of the
                sample).

        Returns:
            The same shape and type.
        """
        ...


class Augmented(Split):
    """Another split, augmented."""

    def __init__(self, split: Split, augmentation: Augmentation, seed: int) -> None:
        """Take both.

        Args:
            split: What is augmented; it augments nothing itself.
            augmentation: By what.
            seed: The run's seed.
        """
        self.split, self.augmentation, self.seed = split, augmentation, seed
        self.labels, self.balanced, self.light = split.labels, split.balanced, split.light

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Read one batch; see `Split`."""
        return self.unpack(self.pack(keys))

    def pack(self, keys: Sequence[Key]) -> Packed:
        """What the split packs, behind the random numbers of each sample, float64 [B, draws]."""
        uniforms = to_uniform(draw_bits(self.seed, keys, len(self), self.augmentation.draws))
        return torch.from_numpy(uniforms), *self.split.pack(keys)

    def unpack(self, packed: Packed) -> Batch:
        """Augment; see `Split`."""
        uniforms, *rest = packed
        images, labels = self.split.unpack(tuple(rest))
        return self.augmentation(images, uniforms), labels
