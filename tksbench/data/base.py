"""What every data set looks like to the trainer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Key = tuple[int, int]
Batch = tuple[torch.Tensor, torch.Tensor]
Packed = tuple[torch.Tensor, ...]


class Split(Dataset[Batch], ABC):
    """One half (train or test) of a data set, read batch by batch.

    Indices are pairs (epoch, index) so that augmentation can depend on them and on nothing else: order,
    batch, worker and resume do not matter. Give a `DataLoader` a batch sampler of such pairs and an identity
    `collate_fn`.

    `unpack(pack(keys))` gives the same batch in two halves, the first of which may be done in another process and
    the second on another device; in between lies what is cheapest to send.

    Attributes:
        labels: Class of each sample, int64 [N].
        balanced: Whether training draws classes equally often (N-Caltech101).
        light: Whether packing a batch takes less time than another process would need to hand it over.
    """

    labels: NDArray[np.int64]
    balanced: bool = False
    light: bool = False

    def __len__(self) -> int:
        """Number of samples N."""
        return len(self.labels)

    @abstractmethod
    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Read one batch.

        Args:
            keys: B pairs (epoch, index).

        Returns:
            Images, float32 [B, C, H, W] (static) or [B, T, C, H, W] (event), and labels, int64 [B].
        """

    def pack(self, keys: Sequence[Key]) -> Packed:
        """Read one batch as far as it should be before it is sent anywhere.

        Args:
            keys: B pairs (epoch, index).

        Returns:
            Tensors on the CPU, to be sent one by one and given to `unpack` in the same order.
        """
        return self.__getitems__(keys)

    def unpack(self, packed: Packed) -> Batch:
        """Finish a packed batch on the device where its tensors are by now, without waiting for that device.

        Returns:
            What `__getitems__` gives, to the bit on every device.
        """
        images, labels = packed
        return images, labels


@dataclass(frozen=True)
class Data:
    """A loaded data set.

    Attributes:
        train: Training half, augmented.
        test: Test half.
        num_classes: Number of classes present in this data set (of a miniature: its own).
        manifest: File or listing -> checksum, recorded with every result.
    """

    train: Split
    test: Split
    num_classes: int
    manifest: dict[str, str]


def balanced_subset(labels: NDArray[np.int64], n: int | None) -> NDArray[np.int64]:
    """Indices of the first n samples in a class-balanced, deterministic order (None: all, as they lie).

    The order takes the first sample of every class, then the second of every class, and so on.
    """
    if n is None or n >= len(labels):
        return np.arange(len(labels))
    by_class = np.argsort(labels, kind="stable")
    ordered = labels[by_class]
    rank = np.empty(len(labels), dtype=np.int64)
    rank[by_class] = np.arange(len(labels)) - np.searchsorted(ordered, ordered)
    return np.lexsort((labels, rank))[:n]
