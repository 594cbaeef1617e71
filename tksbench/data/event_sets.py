"""The event data sets DVS-CIFAR10, N-Caltech101 and N-MNIST: recordings on disk to frames for the trainer.

Layouts under the data root: `CIFAR10DVS/<class>/cifar10_<class>_<n>.aedat`,
`Caltech101/<class>/image_<nnnn>.bin`, `n_mnist/{Train,Test}/<digit>/<nnnnn>.bin`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tksbench.data import miniature_events
from tksbench.data.base import Data, Split, balanced_subset
from tksbench.data.errors import DataError
from tksbench.data.event_listing import class_of, judge, recordings, split_recordings
from tksbench.data.events import EventFileError, is_aedat4, read_aedat2, read_aedat4, read_atis, to_frames
from tksbench.data.frame_cache import cache_folder, cache_key, open_frames, open_or_build, sources_of
from tksbench.data.places import shown
from tksbench.data.registry import FileStatus, folder_of, info
from tksbench.data.rng import draw_bits, to_uniform
from tksbench.errors import TksbenchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from tksbench.data.base import Batch, Key
    from tksbench.data.event_splits import Listing
    from tksbench.data.framing import Events
    from tksbench.recipe import DataSpec

FRAMES_VERSION = 2
_DVS_SIDE = 128
_NMNIST_SIDE = 34


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
        return self.name == "nmnist" and self.size == _NMNIST_SIDE

    def read(self, path: Path) -> Events:
        """Read one recording, moved to its bounding box where the authors do so (N-Caltech101).

        Raises:
            EventFileError: It is malformed.
        """
        try:
            return self._read(path)
        except EventFileError as error:
            raise error.in_recipe() from error

    def _read(self, path: Path) -> Events:
        if self.name == "dvs_cifar10":
            reader = read_aedat4 if is_aedat4(path) else read_aedat2  # its content: some are called .aedat all the same
            return reader(path, repair=self.repair)
        if self.name == "ncaltech101":
            return read_atis(path, self.overflow, repair=self.repair).to_corner()
        return read_atis(path, self.overflow, height=_NMNIST_SIDE, width=_NMNIST_SIDE, repair=self.repair)

    def frames(self, path: Path) -> NDArray[Any]:
        """Read one recording as frames [T, 2, size, size]: counts, or float32 where they are resized.

        Raises:
            EventFileError: It is malformed, or all its frames are blank; the latter only without `repair`.
            DataError: A pixel counts more events than 16 bits hold.
        """
        events = self.read(path)
        side = {"dvs_cifar10": _DVS_SIDE, "nmnist": _NMNIST_SIDE}.get(self.name)
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


def load(spec: DataSpec, T: int, seed: int, root: Path) -> Data:
    """Load an event set; its frames are made once and kept in the frame cache.

    Args:
        spec: The data part of a run's specification.
        T: Frames a recording.
        seed: The run's seed.
        root: Folder that holds CIFAR10DVS, Caltech101 or n_mnist.

    Raises:
        DataError: Recordings are missing or unexpected, or the specification cannot be met.
        EventFileError: A recording is malformed (`data.repair` mends what can be mended).
    """
    if spec.augment not in ("dvs", "none"):
        raise DataError(f"data.augment={spec.augment}: {spec.name} has dvs or none")
    entry = info(spec.name)
    folder = folder_of(spec.name, root)
    found = recordings(spec.name, folder)
    listing = split_recordings(spec.name, spec.split, found, folder, complete=spec.source != "miniature")
    if spec.source != "miniature":
        _check_sizes(spec, listing, folder)
    classes = _classes(spec.name, listing)
    size = spec.image_size or entry.size
    maker = FrameMaker(spec.name, T, spec.framing, size, overflow=spec.overflow, repair=spec.repair)
    manifest = {f"{entry.folder} ({spec.split} split)": f"sha256:{listing.sha256}"}
    splits = []
    for part, files, subset in (("train", listing.train, spec.train_subset), ("test", listing.test, spec.test_subset)):
        labels = np.array([classes.index(class_of(name)) for name in files], dtype=np.int64)
        order = balanced_subset(labels, subset)
        chosen = {files[index]: found[files[index]] for index in order}
        cache, digest = _cached(maker, chosen, cache_folder(root) / f"{spec.name}-{part}")
        manifest[f"{entry.folder} {part} frames"] = f"sha256:{digest}"
        manifest[f"{entry.folder} {part} recordings"] = f"sha256:{sources_of(cache)}"
        splits.append(
            FrameSplit(
                cache,
                labels[order],
                augmented=part == "train" and spec.augment == "dvs",
                balanced=part == "train" and spec.name == "ncaltech101",
                seed=seed,
            )
        )
    return Data(splits[0], splits[1], len(classes), manifest)


def _check_sizes(spec: DataSpec, listing: Listing, folder: Path) -> None:
    """Refuse a part of a real set, unless a subset of it is asked for that is there."""
    entry = info(spec.name)
    for half, files, expected, key in (
        ("training", listing.train, entry.n_train, "train_subset"),
        ("test", listing.test, entry.n_test, "test_subset"),
    ):
        subset = getattr(spec, key)
        if len(files) != expected and (subset is None or subset > len(files)):
            remedy = f"complete it, or ask for data.{key} of at most {len(files)}"
            raise DataError(f"{folder}: found {len(files)} of {expected} {half} recordings; {remedy}")


def verify(name: str, root: Path) -> list[FileStatus]:
    """Read every recording of a real event set and compare its listing with the published one.

    Args:
        name: Data set.
        root: The data root.

    Returns:
        One status for each class folder, and one for the listing as a whole.
    """
    folder = folder_of(name, root)
    called = shown(folder, root)
    if not folder.is_dir():
        return [FileStatus(called, "missing", "no such folder")]
    maker = FrameMaker(name, info(name).T, "time", info(name).size)
    found = recordings(name, folder)
    faults: dict[str, str] = {}
    for recording, path in found.items():
        try:
            maker.read(path)
        except TksbenchError as error:
            faults.setdefault(recording.rpartition("/")[0], str(error))
    counts = Counter(recording.rpartition("/")[0] for recording in found)
    statuses = [
        FileStatus(f"{called}/{part}", "corrupt" if part in faults else "ok", faults.get(part, f"{count} recordings"))
        for part, count in counts.items()
    ]
    return [*statuses, judge(name, found, folder, called)]


def make_miniature(name: str, root: Path) -> None:
    """Write the miniature of an event set below a folder, in the layout and format of the real one."""
    makers = {
        "dvs_cifar10": miniature_events.make_dvs_cifar10,
        "ncaltech101": miniature_events.make_ncaltech101,
        "nmnist": miniature_events.make_nmnist,
    }
    makers[name](root)


def _classes(name: str, listing: Listing) -> list[str]:
    """Class names in the order of their labels: ASCII order (docs/protocol.md#n-caltech101)."""
    if name == "nmnist":
        return [str(digit) for digit in range(10)]
    return sorted({class_of(recording) for recording in (*listing.train, *listing.test)})


def _cached(maker: FrameMaker, files: Mapping[str, Path], stem: Path) -> tuple[Path, str]:
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
