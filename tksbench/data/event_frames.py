"""From a recording of an event set to frames, and half a set of them for the trainer; frames are made once and kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from tksbench.data.base import Split
from tksbench.data.errors import DataError
from tksbench.data.events import EventFileError, to_frames
from tksbench.data.frame_cache import cache_key, open_frames, open_or_build
from tksbench.data.registry import reader
from tksbench.data.rng import draw_bits, to_uniform

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from tksbench.data.base import Batch, Key
    from tksbench.data.event_sets import EventSet
    from tksbench.data.framing import Events

FRAMES_VERSION = 2


@dataclass(frozen=True)
class FrameMaker:
    """All that turns a recording into frames; every field is part of the cache's key.

    Attributes:
        name: Data set.
        T: Frames a recording.
        by: What the bins share: "time" or "count".
        size: Height and width of the frames.
        overflow: The rule for row 240 of ATIS files.
        repair: Whether faulty recordings are repaired instead of refused.
    """

    name: str
    T: int
    by: Literal["time", "count"]
    size: int
    overflow: bool = True
    repair: bool = False
    version: int = FRAMES_VERSION

    @property
    def counts(self) -> bool:
        """Whether frames are kept as counts, of the sensor's own size, instead of being resized."""
        return self._set.whole_counts and self.size == self._set.side

    @property
    def _set(self) -> EventSet:
        return cast("EventSet", reader(self.name))

    def read(self, path: Path) -> Events:
        """Read one recording, moved to its bounding box where the authors do so (N-Caltech101).

        Raises:
            EventFileError: It is malformed.
        """
        try:
            return self._set.read(path, self.overflow, repair=self.repair)
        except EventFileError as error:
            raise error.in_recipe() from error

    def frames(self, path: Path) -> NDArray[Any]:
        """Read one recording as frames [T, 2, size, size]: counts, or float32 where they are resized.

        Raises:
            EventFileError: It is malformed, or all its frames are blank; the latter only without `repair`.
            DataError: A pixel counts more events than 16 bits hold.
        """
        events = self.read(path)
        side = self._set.side
        height, width = (side, side) if side else (events.height, events.width)
        counts = to_frames(events, self.T, height, width, self.by)
        if not (self.repair or counts.any()):
            reason = f"none of its {len(events)} events falls into any of the {self.T} frames"
            raise EventFileError(f"{path}: {reason}; remove it, or set data.repair=true to keep it as a blank sample")
        if not self.counts:
            return resize(counts, self.size)
        if counts.dtype != np.int16 and counts.max() >= 2**15:
            raise DataError(f"{path}: a pixel counts {counts.max()} events in one frame, more than 16 bits hold")
        return counts


def resize(counts: NDArray[Any], size: int) -> NDArray[np.float32]:
    """Resize frames [T, 2, H, W] to [T, 2, size, size]: bilinear, corners aligned, no antialiasing.

    Source: docs/protocol.md#dvs-cifar10.
    """
    import torch

    frames = torch.from_numpy(counts.astype(np.float32))
    resized = torch.nn.functional.interpolate(frames, size=(size, size), mode="bilinear", align_corners=True)
    return np.asarray(resized.numpy(), dtype=np.float32)


class FrameSplit(Split):
    """Frames of one half of an event set, mapped from their cache; pickled without them."""

    def __init__(self, cache: Path, labels: NDArray[np.int64], *, augmented: bool, balanced: bool, seed: int) -> None:
        """Open the frames.

        Args:
            cache: File of frames [N, T, 2, S, S].
            labels: Class of each recording, int64 [N].
            augmented: Whether to crop, flip and rotate.
            balanced: Whether training draws classes equally often.
            seed: The run's seed.
        """
        self.cache, self.labels, self.augmented, self.balanced, self.seed = cache, labels, augmented, balanced, seed

    @cached_property
    def frames(self) -> NDArray[Any]:
        """The frames [N, T, 2, S, S], memory-mapped."""
        return open_frames(self.cache)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the mapped frames out: a worker process opens them itself."""
        return {key: value for key, value in self.__dict__.items() if key != "frames"}

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Read one batch; see `Split`."""
        import torch

        from tksbench.data.event_augment import DRAWS, augment_frames

        indices = np.fromiter((index for _, index in keys), dtype=np.int64, count=len(keys))
        frames: torch.Tensor = torch.from_numpy(np.asarray(self.frames[indices], dtype=np.float32))
        if self.augmented:
            uniforms = to_uniform(draw_bits(self.seed, keys, len(self), DRAWS))
            frames = augment_frames(frames, torch.from_numpy(uniforms))
        return frames, torch.from_numpy(self.labels[indices])


def cached(maker: FrameMaker, files: Mapping[str, Path], stem: Path) -> tuple[Path, str]:
    """Make sure that the frames of these recordings are cached; returns the file and its SHA-256."""
    path = stem.with_name(f"{stem.name}-{cache_key(files, maker.__dict__)}.npy")
    shape = (len(files), maker.T, 2, maker.size, maker.size)
    total = hashlib.sha256()

    def rows() -> Iterator[NDArray[Any]]:
        for recording in files.values():
            yield maker.frames(recording)
            with recording.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())

    return path, open_or_build(path, rows(), shape, np.int16 if maker.counts else np.float32, total.digest)
