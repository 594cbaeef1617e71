"""Random numbers that depend on (seed, epoch, index of the sample) and on nothing else."""

from __future__ import annotations

import random
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tksbench.data.base import Key


@lru_cache(maxsize=4)
def _table(seed: int, epoch: int, n: int, k: int) -> NDArray[np.uint64]:
    # Row-major from a counter-based generator: row i does not depend on n, so a subset draws the same numbers.
    bits = np.random.Philox(np.random.SeedSequence([seed, epoch])).random_raw(n * k)
    return np.asarray(bits, dtype=np.uint64).reshape(n, k)


def draw_bits(seed: int, keys: Sequence[Key], n: int, k: int) -> NDArray[np.uint64]:
    """Draw k random 64-bit integers for each sample of a batch.

    Args:
        seed: Seed of the run.
        keys: B pairs (epoch, index), 0 <= index < n.
        n: Number of samples of the split.
        k: Numbers a sample; part of the identity of the stream.

    Returns:
        Integers, uint64 [B, k].
    """
    epochs, indices = np.asarray(keys, dtype=np.int64).reshape(-1, 2).T
    bits = np.empty((len(indices), k), dtype=np.uint64)
    for epoch in np.unique(epochs).tolist():
        chosen = epochs == epoch
        bits[chosen] = _table(seed, epoch, n, k)[indices[chosen]]
    return bits


def to_uniform(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Turn random 64-bit integers into uniform numbers in [0, 1)."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def seed_globals(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch (CPU), which timm and torchvision draw from."""
    random.seed(seed)
    np.random.seed(seed & 0xFFFF_FFFF)
    torch.default_generator.manual_seed(seed & 0x7FFF_FFFF_FFFF_FFFF)


@contextmanager
def preserved_globals() -> Iterator[None]:
    """Give the global generators back as they were: augmentation must not disturb the training process."""
    python, legacy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
