"""ImageNet-1k (ILSVRC2012) from its synset folders or tars, in the order of timm's folder reader.

Its protocol: docs/protocol.md#imagenet.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING

from tksbench.component import component
from tksbench.data.dataset import DataSet, FileStatus
from tksbench.data.errors import DataError
from tksbench.data.files import read_file, sha256_of_listing
from tksbench.data.imagenet_flat import Unsorted
from tksbench.data.imagenet_index import (
    COMMAND,
    ImageList,
    find_synsets,
    index_path,
    list_files,
    listed,
    natural,
    read_index,
    write_index,
)
from tksbench.data.places import first_of, is_copy, shown
from tksbench.data.registry import folder_of, info

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tksbench.data.base import Data
    from tksbench.data.imagenet_index import Packing
    from tksbench.recipe import DataSpec


_PACKED = {"folders": "synset folders", "tars": "tars", "flat": "images of all synsets in one folder"}
_FILES = {"train": re.compile(r"n\d{8}/n\d{8}_\d+\.\w+"), "val": re.compile(r"n\d{8}/ILSVRC2012_val_\d{8}\.\w+")}


def _images(folder: Path) -> ImageList:
    """The images of one half: from its index, else from a listing of its synset folders."""
    if (images := read_index(folder)) is None:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; it should hold one folder of images a synset")
        packing, synsets = find_synsets(folder)
        if packing != "folders":  # too slow to be done at every start
            raise DataError(
                f"{folder}: holds {_PACKED[packing]}, but {index_path(folder)} is not there: {COMMAND} writes it"
            )
        images = listed(folder, packing, chain.from_iterable(list_files(packing, synsets).values()))
    if not len(images):
        raise DataError(f"{folder}: holds no images in synset folders such as n01440764/")
    return images


def _classes(names: list[str]) -> tuple[list[str], list[int]]:
    """The synsets in the order of their class numbers (that of timm), and the class of every image."""
    synsets = [name.partition("/")[0] for name in names]
    classes = sorted(set(synsets), key=natural)
    number = {synset: index for index, synset in enumerate(classes)}
    return classes, [number[synset] for synset in synsets]


def _check_classes(folder: Path, train: list[str], val: list[str], expected: int | None) -> None:
    if train != val:
        odd = sorted(set(train) ^ set(val))
        raise DataError(f"{folder}: train/ and val/ differ in their synsets: {', '.join(odd[:5])} is in one only")
    if expected is not None and len(train) != expected:
        raise DataError(f"{folder / 'train'}: {len(train)} synsets with images, expected {expected}")


def _check_images(folder: Path, names: list[str], expected: int) -> None:
    found = len(names)
    if found > expected and (odd := _odd_names(folder.name, names)):
        raise DataError(f"{folder}: {found:,} images, expected {expected:,}: {_elsewhere(odd)}")
    if found != expected:
        raise DataError(f"{folder}: {found:,} images, expected {expected:,}: a part of a data set is another one")


def _judge(
    part: str, path: str, packing: Packing, synsets: dict[str, list[str]], classes: int, images: int
) -> FileStatus:
    total, full = sum(map(len, synsets.values())), sum(map(bool, synsets.values()))
    names = [name for name in synsets if not (name.startswith("n") and name[1:].isdigit() and len(name) == 9)]
    what = "synsets in one folder" if packing == "flat" else f"synset {packing}"
    detail = f"{full} of {classes} {what}, {total} of {images} images"
    if names:
        return FileStatus(path, "corrupt", f"{detail}; not a synset: {', '.join(sorted(names)[:3])}")
    images_named = [line.partition("\t")[0] for lines in synsets.values() for line in lines]
    if total > images and (odd := _odd_names(part, images_named)):
        return FileStatus(path, "surplus", f"{detail}: {_elsewhere(odd)}")
    return FileStatus(path, "ok" if (full, total) == (classes, images) else "corrupt", detail)


def _odd_names(part: str, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if is_copy(name) or not _FILES[part].fullmatch(name))


def _elsewhere(odd: list[str]) -> str:
    return f"{first_of(odd)}: not of the published set; move {'it' if len(odd) == 1 else 'them'} elsewhere"


def _judge_index(folder: Path, path: str, packing: Packing, lines: list[str], *, write: bool) -> list[FileStatus]:
    """Compare an index with what is there; folders can do without one."""
    file = index_path(folder)
    if not (write or file.exists()):
        if packing == "folders":
            return []
        what = "tars" if packing == "tars" else "images in one folder"
        return [FileStatus(path, "missing", f"{what} are read by it: {COMMAND} writes it")]
    images = listed(folder, packing, lines)
    if not file.exists() or read_file(file) != images.index():
        if not write:
            return [FileStatus(path, "corrupt", f"damaged, or lists other images than there are: {COMMAND} renews it")]
        write_index(images)
    return [FileStatus(path, "ok", f"{len(lines)} images in {'one folder' if packing == 'flat' else packing}")]


@component("data", "imagenet")
class ImageNet(DataSet):
    """ImageNet-1k: 1000 synsets, each a folder or a tar, or all images of a half in one folder."""

    title = "ImageNet-1k"
    kind = "static"
    num_classes, n_train, n_test = 1000, 1_281_167, 50_000
    in_chans, size, T = 3, 224, 4
    folder = "ILSVRC2012"
    markers = ("train", "val")
    augmentations = ("imagenet", "none")
    also_called = ("imagenet", "imagenet1k", "imagenetobjectlocalizationchallenge")
    below = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
    entries = r"n\d{8}(\.tar)?"
    indexed = True
    forms = (
        (("*.parquet", "*/*.parquet"), "as parquet (Hugging Face)"),
        (("*train*-000*.tar", "train/*train*-000*.tar"), "as shards (webdataset)"),
    )
    why_not = "synset folders or tars are read, any image of which can be had at any time"
    by_hand = (
        "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz from "
        "https://image-net.org (an account is needed; to keep 1000 tars instead of 1,281,167 files, first "
        "`mkdir train` and `tar -xf ILSVRC2012_img_train.tar -C train` there)"
    )
    into_folder = True

    def load(self, spec: DataSpec, T: int, seed: int, root: Path) -> Data:
        """Read both halves.

        Raises:
            DataError: Folders are missing, or train and val disagree, or there are not 1000 classes,
                or not all images, or an index is damaged.
        """
        import numpy as np

        from tksbench.data.augment import imagenet_transform
        from tksbench.data.base import Data
        from tksbench.data.static import FileSplit

        if spec.augment not in self.augmentations:
            raise DataError(f"data.augment={spec.augment}: {spec.name} has {', '.join(self.augmentations)}")
        entry, real = info(spec.name), spec.source != "miniature"
        folder, size = folder_of(spec.name, root), spec.image_size or entry.size
        train, val = _images(folder / "train"), _images(folder / "val")
        names = {"train": train.names(), "val": val.names()}
        (classes, train_labels), (val_classes, val_labels) = _classes(names["train"]), _classes(names["val"])
        _check_classes(folder, classes, val_classes, entry.num_classes if real else None)
        if real:
            _check_images(folder / "train", names["train"], entry.n_train)
            _check_images(folder / "val", names["val"], entry.n_test)

        def split(images: ImageList, labels: list[int], augmented: bool, subset: int | None) -> FileSplit:
            transform = imagenet_transform(augmented, size)
            return FileSplit(images, np.array(labels, dtype=np.int64), transform=transform, seed=seed, subset=subset)

        # Of the names alone: the same for folders and tars, with an index and without.
        manifest = {
            f"{entry.folder}/{part}": f"sha256:{sha256_of_listing(f'{part}/{name}' for name in own)}"
            for part, own in names.items()
        }
        return Data(
            split(train, train_labels, spec.augment == "imagenet", spec.train_subset),
            split(val, val_labels, False, spec.test_subset),
            len(classes),
            manifest,
        )

    def verify(self, root: Path) -> list[FileStatus]:
        """Count synsets and images, and compare the indexes with them (names only: no image is opened)."""
        return self._inspect(root, write=False)

    def index(self, root: Path) -> list[FileStatus]:
        """Do what `verify` does, and write the index of each half that is complete.

        Raises:
            DataError: An index cannot be written, or a tar cannot be used.
        """
        return self._inspect(root, write=True)

    def _inspect(self, root: Path, *, write: bool) -> list[FileStatus]:
        entry, halves, place = info(self.name), [], folder_of(self.name, root)
        found: list[FileStatus] = []
        for part, images in (("train", entry.n_train), ("val", entry.n_test)):
            folder, path = place / part, f"{shown(place, root)}/{part}"
            if not folder.is_dir():
                found.append(
                    FileStatus(path, "missing", f"{entry.num_classes} synset folders or tars, {images} images")
                )
                continue
            try:
                packing, paths = find_synsets(folder)
                synsets = list_files(packing, paths)
            except Unsorted as error:
                found.append(FileStatus(path, "unsorted", str(error)))
                continue
            except DataError as error:
                if write:
                    raise
                found.append(FileStatus(path, "corrupt", str(error)))
                continue
            halves.append(set(synsets))
            status = _judge(part, path, packing, synsets, entry.num_classes, images)
            lines = list(chain.from_iterable(synsets.values()))
            found.append(status)
            found += _judge_index(folder, f"{path}.index", packing, lines, write=write and status.state == "ok")
        if len(halves) == 2 and (odd := sorted(halves[0] ^ halves[1])):
            found.append(FileStatus(shown(place, root), "corrupt", f"in train or val only: {', '.join(odd[:5])}"))
        return found

    def make_miniature(self, root: Path) -> None:
        """Write a small set of scikit-learn's digits in the original layout."""
        from tksbench.data.miniature import make_imagenet

        make_imagenet(root / self.folder)

    def install(self, root: Path) -> tuple[list[FileStatus], list[str]]:
        """Let torchvision verify and sort the official archives, and write the indexes."""
        from tksbench.data.prepare import unpack_imagenet

        used = unpack_imagenet(folder_of(self.name, root))
        return self.index(root), used
