"""Readers of what a run keeps in binary: logits, features, the frame cache; and of event files that others decode."""

from __future__ import annotations

import functools
import hashlib
import io
import random
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tests.fuzz.aedat4 import aedat4
from tests.fuzz.reader import Reader, write_file
from tksbench.data.events import read_aedat4, to_frames
from tksbench.data.frame_cache import open_frames, open_or_build
from tksbench.errors import TksbenchError
from tksbench.runs.arrays import read_array, read_arrays

_SHAPE = (2, 2, 2, 3, 3)  # of the frames


@functools.cache
def _array_seeds() -> list[bytes]:
    rng = np.random.default_rng(0)
    arrays = (rng.random((3, 2, 5)).astype(np.float32), np.arange(3), np.asfortranarray(rng.random((2, 3))))
    return [_npy(array) for array in arrays]


def _npy(array: np.ndarray) -> bytes:  # type: ignore[type-arg]
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _read_logits(raw: bytes, folder: Path) -> object:
    from tksbench.metrics import summarize

    logits = read_array(write_file(folder, "logits_last.npy", raw))
    return summarize(logits, np.zeros(len(logits), np.int64)) if logits.ndim == 3 else logits.tolist()


@functools.cache
def _features_seeds() -> list[bytes]:
    buffer = io.BytesIO()
    counts = np.random.default_rng(0).integers(0, 4, (3, 4)).astype(np.float32)
    np.savez_compressed(buffer, counts=counts, labels=np.arange(3), index=np.arange(3))
    plain = io.BytesIO()
    np.savez(plain, counts=counts, labels=np.arange(3))
    return [buffer.getvalue(), plain.getvalue()]


def _read_features(raw: bytes, folder: Path) -> object:
    return read_arrays(write_file(folder, "features_last.npz", raw), ("counts", "labels"))


@functools.cache
def _cache_seeds() -> list[bytes]:
    array = _npy(np.arange(72, dtype=np.int16).reshape(_SHAPE))
    array += bytes(32)
    return [array + hashlib.sha256(array).digest(), _npy(np.zeros(_SHAPE, np.float32)) + bytes(64)]


def _mend_cache(rng: random.Random, raw: bytes) -> bytes:
    """A checksum that fits, three times in four: what only a forger can make."""
    if rng.random() < 0.25:
        return raw
    return raw[:-32] + hashlib.sha256(raw[:-32]).digest()


class Rebuilt(TksbenchError):
    """The cache was not taken, but built anew."""


def _read_cache(raw: bytes, folder: Path) -> object:
    path = write_file(folder, "frames.npy", raw)
    frames = np.zeros(_SHAPE, np.int16)
    open_or_build(path, iter(frames), _SHAPE, np.int16)
    found = open_frames(path)
    assert found.shape == _SHAPE
    assert found.dtype == np.int16
    total = found.sum()
    if path.read_bytes() != raw:
        assert total == 0
        raise Rebuilt("built anew")
    return total


@functools.cache
def _aedat4_seeds() -> list[bytes]:
    rng = np.random.default_rng(0)

    def packet(n: int, start: int) -> list[tuple[int, int, int, int]]:
        return [(start + i, *rng.integers(0, 128, 2).tolist(), int(rng.integers(2))) for i in range(n)]

    return [aedat4([(0, packet(1, 5))]), aedat4([(1, packet(20, 0)), (2, packet(3, 0)), (1, packet(20, 100))])]


def _read_aedat4(raw: bytes, folder: Path) -> object:
    path = write_file(folder, "x.aedat4", raw)
    events = read_aedat4(path, repair=True)
    return to_frames(events, 4, 128, 128, "time"), read_aedat4(path)


ARRAYS = [
    Reader("logits", _array_seeds, _read_logits),
    Reader("features", _features_seeds, _read_features),
    Reader("frames", _cache_seeds, _read_cache, _mend_cache),
]
if find_spec("aedat"):
    ARRAYS.append(Reader("aedat4", _aedat4_seeds, _read_aedat4))
