"""ImageNet-1k (ILSVRC2012) from its synset folders, listed by timm's folder reader (paper.md 5.2)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tksbench.data.errors import DataError
from tksbench.data.files import sha256_of_listing
from tksbench.data.registry import FileStatus, info

if TYPE_CHECKING:
    from pathlib import Path

    from tksbench.data.base import Data
    from tksbench.recipe import DataSpec

_SUFFIXES = (".jpeg", ".jpg", ".png")  # those of timm's reader


def _samples(folder: Path) -> tuple[list[tuple[str, int]], dict[str, int]]:
    """List (path, class) of every image below a folder of synset folders; classes in sorted order."""
    from timm.data.readers.reader_image_folder import find_images_and_targets

    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; it should hold one folder of images a synset")
    samples, classes = find_images_and_targets(str(folder))
    if not samples:
        raise DataError(f"{folder}: holds no images in synset folders such as n01440764/")
    return samples, classes


def _check_classes(folder: Path, train: dict[str, int], val: dict[str, int], expected: int | None) -> None:
    if train != val:
        odd = sorted(set(train) ^ set(val))
        raise DataError(f"{folder}: train/ and val/ differ in their synsets: {', '.join(odd[:5])} is in one only")
    if expected is not None and len(train) != expected:
        raise DataError(f"{folder / 'train'}: {len(train)} synset folders with images, expected {expected}")


def _check_images(folder: Path, found: int, expected: int) -> None:
    if found != expected:
        raise DataError(f"{folder}: {found:,} images, expected {expected:,}: a part of a data set is another one")


def load(spec: DataSpec, T: int, seed: int, root: Path) -> Data:
    """Load ImageNet.

    Args:
        spec: The data part of a run's specification.
        T: Ignored: a static image is repeated by the network.
        seed: The run's seed.
        root: Folder that holds ILSVRC2012/{train,val}/<wnid>/.

    Raises:
        DataError: Folders are missing, or train and val disagree, or there are not 1000 classes,
            or not all images.
    """
    import numpy as np

    from tksbench.data.augment import imagenet_transform
    from tksbench.data.base import Data
    from tksbench.data.static import FileSplit

    if spec.augment not in ("imagenet", "none"):
        raise DataError(f"data.augment={spec.augment}: {spec.name} has imagenet or none")
    folder, entry = root / info(spec.name).folder, info(spec.name)
    (train, classes), (val, val_classes) = _samples(folder / "train"), _samples(folder / "val")
    _check_classes(folder, classes, val_classes, None if spec.source == "miniature" else entry.num_classes)
    if spec.source != "miniature":
        _check_images(folder / "train", len(train), entry.n_train)
        _check_images(folder / "val", len(val), entry.n_test)
    size, manifest, splits = spec.image_size or entry.size, {}, []
    for part, samples, n in (("train", train, spec.train_subset), ("val", val, spec.test_subset)):
        listing = (os.path.relpath(path, folder) for path, _ in samples)
        manifest[f"{folder.name}/{part}"] = f"sha256:{sha256_of_listing(listing)}"
        splits.append(
            FileSplit(
                [path for path, _ in samples],
                np.array([label for _, label in samples], dtype=np.int64),
                transform=imagenet_transform(part == "train" and spec.augment == "imagenet", size),
                seed=seed,
                subset=n,
            )
        )
    return Data(splits[0], splits[1], len(classes), manifest)


def verify(name: str, root: Path) -> list[FileStatus]:
    """Count synset folders and images (names only: no image is opened)."""
    entry = info(name)
    folder = root / entry.folder
    train, val = _counts(folder / "train"), _counts(folder / "val")
    found = [
        _judge(f"{entry.folder}/train", train, entry.num_classes, entry.n_train),
        _judge(f"{entry.folder}/val", val, entry.num_classes, entry.n_test),
    ]
    if train and val and (odd := sorted(set(train) ^ set(val))):
        found.append(FileStatus(entry.folder, "corrupt", f"in train or val only: {', '.join(odd[:5])}"))
    return found


def _counts(folder: Path) -> dict[str, int] | None:
    """Number of images in each synset folder; None if the folder is absent."""
    if not folder.is_dir():
        return None
    return {
        synset.name: sum(file.suffix.lower() in _SUFFIXES for file in synset.iterdir())
        for synset in folder.iterdir()
        if synset.is_dir()
    }


def _judge(path: str, counts: dict[str, int] | None, classes: int, images: int) -> FileStatus:
    if counts is None:
        return FileStatus(path, "missing", f"{classes} synset folders, {images} images")
    total, full = sum(counts.values()), sum(n > 0 for n in counts.values())
    names = [name for name in counts if not (name.startswith("n") and name[1:].isdigit() and len(name) == 9)]
    detail = f"{full} of {classes} synset folders, {total} of {images} images"
    if names:
        return FileStatus(path, "corrupt", f"{detail}; not a synset: {', '.join(sorted(names)[:3])}")
    return FileStatus(path, "ok" if (full, total) == (classes, images) else "corrupt", detail)


def make_miniature(name: str, root: Path) -> None:
    """Write a small ImageNet of scikit-learn's digits in the original layout."""
    from tksbench.data.miniature import make_imagenet

    make_imagenet(root / info(name).folder)
