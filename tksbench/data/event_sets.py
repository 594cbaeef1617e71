"""The event data sets DVS-CIFAR10, N-Caltech101 and N-MNIST: recordings on disk to frames for the trainer.

Layouts under the data root: `CIFAR10DVS/<class>/cifar10_<class>_<n>.aedat`,
`Caltech101/<class>/image_<nnnn>.bin`, `n_mnist/{Train,Test}/<digit>/<nnnnn>.bin`.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from tksbench.component import component
from tksbench.data import miniature_events
from tksbench.data.archives import Archive
from tksbench.data.base import Data, Split, balanced_subset
from tksbench.data.dataset import FileStatus
from tksbench.data.errors import DataError
from tksbench.data.event_frames import FrameMaker, FrameSplit, cached
from tksbench.data.event_listing import Recordings, beyond, class_of
from tksbench.data.event_recordings import RecordingSplit, check_unframed
from tksbench.data.event_splits import Listing, read_manifest, split_by_rule
from tksbench.data.events import is_aedat4, read_aedat2, read_aedat4, read_atis
from tksbench.data.frame_cache import cache_folder, sources_of
from tksbench.data.places import shown
from tksbench.data.registry import folder_of, info
from tksbench.errors import TksbenchError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tksbench.data.framing import Events
    from tksbench.recipe import DataSpec


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


class EventSet(Recordings):
    """An event set whose recordings become frames, which are made once and kept in the frame cache.

    Attributes:
        side: Height and width of its sensor; None where recordings have the size of what they hold.
        plane: Height and width that hold every recording, where `side` is None.
        whole_counts: Whether frames of the sensor's own size are kept as counts, and not resized.
        balanced: Whether training draws classes equally often.
    """

    kind = "event"
    in_chans, T = 2, 10
    augmentations: tuple[str, ...] = ("dvs", "none")
    below: tuple[str, ...] = ("extract",)

    folder: str
    size: int
    side: int | None = None
    plane: tuple[int, int] | None = None
    whole_counts: bool = False
    balanced: bool = False

    def read(self, path: Path, overflow: bool, *, repair: bool) -> Events:
        """Read one recording.

        Raises:
            EventFileError: It is malformed.
        """
        raise NotImplementedError

    def load(self, spec: DataSpec, T: int, seed: int, root: Path) -> Data:
        """Read both halves; without time steps (T = 0) as recordings, not as frames.

        Raises:
            DataError: Recordings are missing or unexpected, or the specification cannot be met.
            EventFileError: A recording is malformed (`data.repair` mends what can be mended).
        """
        if spec.augment not in self.augmentations:
            raise DataError(f"data.augment={spec.augment}: {spec.name} has {', '.join(self.augmentations)}")
        entry = info(spec.name)
        folder = folder_of(spec.name, root)
        found = self.recordings(folder)
        if spec.source == "twin":
            from tksbench.data.twin_set import asked

            wanted = asked(spec)
            found = {name: found[name] for name in (*wanted.train, *wanted.test)}
        listing = self.split(found, spec.split, folder, complete=spec.source == "real")
        if spec.source == "real":
            _check_sizes(spec, listing, folder)
        classes = self.classes(listing)
        size = spec.image_size or entry.size
        maker = FrameMaker(spec.name, T or self.T, spec.framing, size, overflow=spec.overflow, repair=spec.repair)
        if not T:
            check_unframed(spec)
        manifest = {f"{entry.folder} ({spec.split} split)": f"sha256:{listing.sha256}"}
        splits: list[Split] = []
        for part, files, subset in (
            ("train", listing.train, spec.train_subset),
            ("test", listing.test, spec.test_subset),
        ):
            labels = np.array([classes.index(class_of(name)) for name in files], dtype=np.int64)
            order = balanced_subset(labels, subset)
            chosen = {files[index]: found[files[index]] for index in order}
            if not T:
                recordings = RecordingSplit(tuple(chosen.values()), labels[order], maker.read, self._plane)
                manifest[f"{entry.folder} {part} recordings"] = f"sha256:{recordings.sources()}"
                splits.append(recordings)
                continue
            cache, digest = cached(maker, chosen, cache_folder(root) / f"{spec.name}-{part}")
            manifest[f"{entry.folder} {part} frames"] = f"sha256:{digest}"
            manifest[f"{entry.folder} {part} recordings"] = f"sha256:{sources_of(cache)}"
            splits.append(
                FrameSplit(
                    cache,
                    labels[order],
                    augmented=part == "train" and spec.augment == "dvs",
                    balanced=part == "train" and self.balanced,
                    seed=seed,
                )
            )
        return Data(splits[0], splits[1], len(classes), manifest)

    @property
    def _plane(self) -> tuple[int, int]:
        return self.plane or (self.side or self.size, self.side or self.size)

    def verify(self, root: Path) -> list[FileStatus]:
        """Read every recording of the real set and compare its listing with the published one.

        Returns:
            One status for each class folder, and one for the listing as a whole.
        """
        folder = folder_of(self.name, root)
        called = shown(folder, root)
        if not folder.is_dir():
            return [FileStatus(called, "missing", "no such folder")]
        maker = FrameMaker(self.name, self.T, "time", self.size)
        found = self.recordings(folder)
        faults: dict[str, str] = {}
        for recording, path in found.items():
            try:
                maker.read(path)
            except TksbenchError as error:
                faults.setdefault(recording.rpartition("/")[0], str(error))
        counts = Counter(recording.rpartition("/")[0] for recording in found)
        statuses = [
            FileStatus(
                f"{called}/{part}", "corrupt" if part in faults else "ok", faults.get(part, f"{count} recordings")
            )
            for part, count in counts.items()
        ]
        return [*statuses, self.judge(found, folder, called)]


@component("data", "dvs_cifar10")
class DVSCIFAR10(EventSet):
    """CIFAR10-DVS: CIFAR-10 images before a DVS128; it has no official split."""

    title = "DVS-CIFAR10"
    num_classes, n_train, n_test = 10, 9000, 1000
    size = 48
    folder = "CIFAR10DVS"
    markers = ("airplane", "truck")
    splits = ("natural", "tebn")
    also_called = ("dvscifar10",)
    side = 128
    suffixes = (".aedat", ".aedat4")  # the re-encoded release is taken where the original is absent
    strict = True
    # MD5 of the class archives (SpikingJelly:cifar10_dvs.py:266-318).
    archives = tuple(
        Archive(f"{name}.zip", name, f"CIFAR10DVS/{name}", md5)
        for name, md5 in (
            ("airplane", "0afd5c4bf9ae06af762a77b180354fdd"),
            ("automobile", "8438dfeba3bc970c94962d995b1b9bdd"),
            ("bird", "a9c207c91c55b9dc2002dc21c684d785"),
            ("cat", "52c63c677c2b15fa5146a8daf4d56687"),
            ("deer", "b6bf21f6c04d21ba4e23fc3e36c8a4a3"),
            ("dog", "f379ebdf6703d16e0a690782e62639c3"),
            ("frog", "cad6ed91214b1c7388a5f6ee56d08803"),
            ("horse", "e7cbbf77bec584ffbf913f00e682782a"),
            ("ship", "41c7bd7d6b251be82557c6cce9a7d5c9"),
            ("truck", "89f3922fd147d9aeff89e76a2b0b70a7"),
        )
    )
    twin_of = "cifar10"
    by_hand = "the ten archives airplane.zip ... truck.zip of CIFAR10-DVS from https://figshare.com (4724671)"

    def read(self, path: Path, overflow: bool, *, repair: bool) -> Events:
        """Read one recording by its content: some .aedat4 files are called .aedat all the same."""
        return (read_aedat4 if is_aedat4(path) else read_aedat2)(path, repair=repair)

    def halves(self, found: Mapping[str, Path], split: str, folder: Path, *, complete: bool) -> Listing:
        """Keep of the committed manifest what is on disk."""
        halves = self._published(found, split)
        missing = [recording for half in halves for recording in half if recording not in found]
        if missing and complete:
            total = sum(map(len, halves))
            raise DataError(f"{folder}: {len(missing)} of {total} recordings are missing, the first {missing[0]}")
        return Listing(*(tuple(recording for recording in half if recording in found) for half in halves))

    def surplus(self, found: Mapping[str, Path]) -> list[Path]:
        """Recordings that are not of the published set."""
        known = {recording for half in self._published(found, "natural") for recording in half}
        return [path for recording, path in found.items() if recording not in known]

    def ensure_twin(self, spec: DataSpec, root: Path) -> Path:
        """Record images of CIFAR-10 with a simulated camera."""
        from tksbench.data.twin_set import ensure_twin

        return ensure_twin(spec, root)

    def _published(self, found: Mapping[str, Path], split: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The lists of the manifest, with the suffix that the recordings here have."""
        manifest = read_manifest(self.name, split)
        suffix = PurePath(next(iter(found))).suffix if found else ".aedat"
        train, test = (
            tuple(recording.removesuffix(".aedat") + suffix for recording in half)
            for half in (manifest.train, manifest.test)
        )
        return train, test

    def make_miniature(self, root: Path) -> None:
        """Write stand-in data in the layout and format of the original."""
        miniature_events.make_dvs_cifar10(root)


@component("data", "ncaltech101")
class NCaltech101(EventSet):
    """N-Caltech101: Caltech-101 images before a moving ATIS, split by rule; training draws classes equally often."""

    title = "N-Caltech101"
    num_classes, n_train, n_test = 101, 7839, 870
    size = 48
    folder = "Caltech101"
    markers = ("BACKGROUND_Google", "yin_yang")
    also_called = ("ncaltech101",)
    plane = (180, 240)  # images were shown to fit it (docs/protocol.md#n-caltech101)
    balanced = True
    archives = (
        Archive("Caltech101.zip", "Caltech101", "Caltech101", "66201824eabb0239c7ab992480b50ba3"),
        Archive("N-Caltech101-archive.zip", "Caltech101", "Caltech101", "66201824eabb0239c7ab992480b50ba3"),
    )
    by_hand = "Caltech101.zip of N-Caltech101 from https://data.mendeley.com/datasets/cy6cvx3ryv"

    def read(self, path: Path, overflow: bool, *, repair: bool) -> Events:
        """Read one recording, moved to its bounding box, as the authors do."""
        return read_atis(path, overflow, repair=repair).to_corner()

    def halves(self, found: Mapping[str, Path], split: str, folder: Path, *, complete: bool) -> Listing:
        """Split by rule; a complete set must have the published number of recordings in each class.

        The manifest's file numbers are derived (no published list could be had), so numbers with gaps are no error;
        the record holds the SHA-256 of the list that was used.
        """
        manifest = read_manifest(self.name, split)
        counts, expected = (Counter(map(class_of, names)) for names in (found, (*manifest.train, *manifest.test)))
        unknown = sorted(set(counts) - set(expected))
        if unknown:
            raise DataError(f"{folder}: {unknown[0]} is no class of N-Caltech101")
        wrong = [label for label in sorted(expected) if counts[label] != expected[label]]
        if wrong and complete:
            numbers = f"{wrong[0]} holds {counts[wrong[0]]} recordings instead of {expected[wrong[0]]}"
            raise DataError(f"{folder}: {len(wrong)} classes are not complete, such as {numbers}")
        return split_by_rule(found)

    def surplus(self, found: Mapping[str, Path]) -> list[Path]:
        """Copies, and recordings of other names in classes that hold more than is published."""
        manifest = read_manifest(self.name, "natural")
        known = {*manifest.train, *manifest.test}
        return beyond(found, Counter(map(class_of, known)), class_of, known.__contains__)

    def make_miniature(self, root: Path) -> None:
        """Write stand-in data in the layout and format of the original."""
        miniature_events.make_ncaltech101(root)


@component("data", "nmnist")
class NMNIST(EventSet):
    """N-MNIST: MNIST digits before a moving ATIS."""

    title = "N-MNIST"
    num_classes, n_train, n_test = 10, 60_000, 10_000
    size = 34
    folder = "n_mnist"
    markers = ("Train/0", "Test/0")
    side = 34
    whole_counts = True
    depth = 2
    archives = (
        Archive("Train.zip", "Train", "n_mnist/Train", "20959b8e626244a1b502305a9e6e2031"),
        Archive("Test.zip", "Test", "n_mnist/Test", "69ca8762b2fe404d9b9bad1103e97832"),
    )
    by_hand = "Train.zip and Test.zip of N-MNIST from https://data.mendeley.com/datasets/468j46mzdv"

    def read(self, path: Path, overflow: bool, *, repair: bool) -> Events:
        """Read one recording, on the whole sensor."""
        return read_atis(path, overflow, height=self.side, width=self.side, repair=repair)

    def halves(self, found: Mapping[str, Path], split: str, folder: Path, *, complete: bool) -> Listing:
        """Train and Test as they lie on disk."""
        train, test = (tuple(name for name in found if name.startswith(f"{half}/")) for half in ("Train", "Test"))
        return Listing(train, test)

    def surplus(self, found: Mapping[str, Path]) -> list[Path]:
        """Copies, and recordings of other names in a half that holds more than is published."""
        expected = Counter(Train=self.n_train, Test=self.n_test)
        return beyond(found, expected, lambda recording: recording.partition("/")[0], _is_nmnist_name)

    def classes(self, listing: Listing) -> list[str]:
        """The ten digits, whichever are there."""
        return [str(digit) for digit in range(10)]

    def is_published(self, listing: Listing) -> bool:
        """No list of its names is committed; the counts are all that is compared."""
        return True

    def make_miniature(self, root: Path) -> None:
        """Write stand-in data in the layout and format of the original."""
        miniature_events.make_nmnist(root)


def _is_nmnist_name(recording: str) -> bool:
    return re.fullmatch(r"\d{5}\.bin", recording.rpartition("/")[2]) is not None
