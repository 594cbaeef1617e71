"""CUB-200-2011, Stanford Dogs and Stanford Cars from their official layouts and lists.

The protocol of these sets: docs/protocol.md#fine-grained-sets.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from tksbench.component import component
from tksbench.data.archives import Archive
from tksbench.data.dataset import DataSet, FileStatus
from tksbench.data.errors import DataError
from tksbench.data.files import read_file, sha256_of_listing
from tksbench.data.matfiles import load_mat
from tksbench.data.places import part, shown
from tksbench.data.registry import folder_of, info

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tksbench.data.base import Data
    from tksbench.recipe import DataSpec

# The images of one split: paths relative to the data set's folder, and the class 0..C-1 of each.
Listing = list[tuple[str, int]]


def _safe(folder: str, file: str, source: Path) -> str:
    """Join a listed name to its folder; refuse one that would lead out of it."""
    name = PurePosixPath(file)
    if name.is_absolute() or ".." in name.parts:
        raise DataError(f"{source}: lists {file!r}, which leads out of {folder}/")
    return f"{folder}/{file}" if folder else file


def _read_columns(path: Path) -> dict[str, str]:
    """Read a CUB list: an id and a value a line."""
    columns = {}
    for number, line in enumerate(read_file(path).decode("utf-8", "replace").splitlines(), start=1):
        key, _, value = line.strip().partition(" ")
        if not value:
            raise DataError(f"{path}:{number}: {line[:80]!r} is not 'id value'")
        columns[key] = value
    return columns


def _whole(value: str, allowed: range, path: Path, key: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 9 and int(value) in allowed):
        raise DataError(f"{path}: image {key}: {value[:20]!r} is not in {allowed.start}..{allowed.stop - 1}")
    return int(value)


def cub_lists(folder: Path) -> tuple[Listing, Listing]:
    """Read the lists of CUB-200-2011: images.txt, image_class_labels.txt, train_test_split.txt.

    Args:
        folder: CUB_200_2011.

    Returns:
        Training and test listing, in the order of images.txt.

    Raises:
        DataError: A list is absent, malformed, or the three disagree about which images there are.
    """
    sources = [part(folder, f"{stem}.txt") for stem in ("images", "image_class_labels", "train_test_split")]
    files, labels, flags = (_read_columns(path) for path in sources)
    for path, column in zip(sources[1:], (labels, flags), strict=True):
        if odd := files.keys() ^ column.keys():
            raise DataError(f"{path}: differs from {sources[0].name} in image {min(odd)}")
    splits: tuple[Listing, Listing] = ([], [])
    for key, file in files.items():
        is_train = _whole(flags[key], range(2), sources[2], key)
        label = _whole(labels[key], range(1, info("cub").num_classes + 1), sources[1], key) - 1
        splits[0 if is_train else 1].append((_safe("images", file, sources[0]), label))
    return splits


def _listing(name: str, folder: str, files: Any, labels: Any, source: Path) -> Listing:
    classes, found = info(name).num_classes, []
    if len(files) != len(labels):
        raise DataError(f"{source}: {len(files)} files but {len(labels)} labels")
    for file, label in zip(files, labels, strict=True):
        if not (np.ndim(label) == 0 and np.isreal(label) and 1 <= label <= classes):
            raise DataError(f"{source}: {file}: class {label} is not in 1..{classes}")
        found.append((_safe(folder, str(file), source), int(label) - 1))
    return found


def dogs_lists(folder: Path) -> tuple[Listing, Listing]:
    """Read train_list.mat and test_list.mat of Stanford Dogs.

    Args:
        folder: StanfordDogs.

    Returns:
        Training and test listing, in the order of the lists.

    Raises:
        DataError: A list is absent or malformed.
    """
    sources = part(folder, "train_list.mat"), part(folder, "test_list.mat")
    train, test = (load_mat(path, "file_list", "labels") for path in sources)
    return (
        _listing("dogs", "Images", train[0], train[1], sources[0]),
        _listing("dogs", "Images", test[0], test[1], sources[1]),
    )


def cars_lists(folder: Path) -> tuple[Listing, Listing]:
    """Read the lists of Stanford Cars, in either packaging.

    The split packaging has cars_train/, cars_test/, devkit/cars_train_annos.mat and
    cars_test_annos_withlabels.mat; the joint one has car_ims/ and cars_annos.mat, whose field `test` is the same
    split under other file names.

    Args:
        folder: stanford_cars.

    Returns:
        Training and test listing, in the order of the lists.

    Raises:
        DataError: A list is absent or malformed.
    """
    joint, devkit = part(folder, "cars_annos.mat"), part(folder, "devkit")
    split_is_whole = all(part(folder, name).exists() for name in Cars.packagings[0])
    if joint.is_file() and not split_is_whole and (part(folder, "car_ims").exists() or not devkit.exists()):
        records = _annotations(joint, "relative_im_path", "class", "test")
        train, test = records[records["test"] == 0], records[records["test"] == 1]
        return (
            _listing("cars", "", train["relative_im_path"], train["class"], joint),
            _listing("cars", "", test["relative_im_path"], test["class"], joint),
        )
    sources = part(devkit, "cars_train_annos.mat"), part(folder, "cars_test_annos_withlabels.mat")
    train, test = (_annotations(path, "fname", "class") for path in sources)
    return (
        _listing("cars", "cars_train", train["fname"], train["class"], sources[0]),
        _listing("cars", "cars_test", test["fname"], test["class"], sources[1]),
    )


def _annotations(path: Path, *fields: str) -> NDArray[Any]:
    (records,) = load_mat(path, "annotations")
    names = records.dtype.names or ()
    if missing := [field for field in fields if field not in names]:
        raise DataError(f"{path}: annotations have no field {missing[0]!r}, only {', '.join(names) or 'none'}")
    return records


def check_counts(name: str, folder: Path, train: Listing, test: Listing) -> None:
    """Compare a real set's lists with the official numbers of images and classes.

    Raises:
        DataError: They differ.
    """
    entry = info(name)
    found = len(train), len(test), len({label for _, label in train})
    expected = entry.n_train, entry.n_test, entry.num_classes
    if found != expected:
        raise DataError(
            f"{folder}: the lists give {found[0]} training and {found[1]} test images of {found[2]} classes; "
            f"{entry.title} has {expected[0]}, {expected[1]} and {expected[2]}"
        )


def _paths(folder: Path, listing: Listing) -> list[Path]:
    """Where the listed images are; their folder may be nested as mirrors have it: cars_train/cars_train."""
    tops = {top: part(folder, top) for top in {file.partition("/")[0] for file, _ in listing}}
    return [tops[file.partition("/")[0]] / file.partition("/")[2] for file, _ in listing]


def _present(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


class _FineGrained(DataSet):
    """What the three have in common: images below a folder, and lists of both halves."""

    kind = "static"
    in_chans, size, T = 3, 224, 4
    augmentations = ("finegrained", "none")

    def lists(self, folder: Path) -> tuple[Listing, Listing]:
        """Training and test listing, in the order of the lists.

        Raises:
            DataError: A list is absent or malformed.
        """
        raise NotImplementedError

    def load(self, spec: DataSpec, T: int, seed: int, root: Path) -> Data:
        """Read both halves; the counts of a real set must be the official ones."""
        from tksbench.data.augment import finegrained_transform
        from tksbench.data.base import Data
        from tksbench.data.static import FileSplit, PathFiles

        if spec.augment not in self.augmentations:
            raise DataError(f"data.augment={spec.augment}: {spec.name} has {', '.join(self.augmentations)}")
        entry = info(spec.name)
        folder, size = folder_of(spec.name, root), spec.image_size or entry.size
        train, test = self.lists(folder)
        if spec.source != "miniature":
            check_counts(spec.name, folder, train, test)
        splits, manifest = [], {}
        for half, listing, n in (("train", train, spec.train_subset), ("test", test, spec.test_subset)):
            lines = (f"{file} {label}" for file, label in listing)
            manifest[f"{entry.folder}/{half}"] = f"sha256:{sha256_of_listing(lines)}"
            splits.append(
                FileSplit(
                    PathFiles(_paths(folder, listing)),
                    np.array([label for _, label in listing], dtype=np.int64),
                    transform=finegrained_transform(half == "train" and spec.augment == "finegrained", size),
                    seed=seed,
                    subset=n,
                )
            )
        classes = 1 + max(label for _, label in train) if spec.source == "miniature" else entry.num_classes
        return Data(splits[0], splits[1], classes, manifest)

    def verify(self, root: Path) -> list[FileStatus]:
        """Check the lists, their counts, and that every listed image is there and not empty (none is decoded)."""
        entry = info(self.name)
        folder = folder_of(self.name, root)
        called = shown(folder, root)
        if not folder.is_dir():
            return [FileStatus(called, "missing", f"{entry.n_train} + {entry.n_test} images and their lists")]
        try:
            train, test = self.lists(folder)
            check_counts(self.name, folder, train, test)
        except DataError as error:
            absent = isinstance(error.__cause__, FileNotFoundError)
            return [FileStatus(f"{called} lists", "missing" if absent else "corrupt", str(error))]
        found = [FileStatus(f"{called} lists", "ok", f"{len(train)} + {len(test)}, {entry.num_classes} classes")]
        for half, listing in (("train", train), ("test", test)):
            paths = _paths(folder, listing)
            absent_files = [file for (file, _), path in zip(listing, paths, strict=True) if not _present(path)]
            detail = f"{len(listing) - len(absent_files)} of {len(listing)} images"
            if absent_files:
                detail += f"; the first that is absent or empty: {absent_files[0]}"
            found.append(FileStatus(f"{called} {half}", "missing" if absent_files else "ok", detail))
        return found


@component("data", "cub")
class CUB(_FineGrained):
    """CUB-200-2011: 200 species of birds."""

    title = "CUB-200-2011"
    num_classes, n_train, n_test = 200, 5994, 5794
    folder = "CUB_200_2011"
    markers = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "images")
    also_called = ("cub200", "cub")
    archives = (Archive("CUB_200_2011.tgz", "CUB_200_2011", "CUB_200_2011", "97eceeb196236b17998738112f37df78"),)
    by_hand = "CUB_200_2011.tgz from https://data.caltech.edu/records/65de6-vp158"
    lists = staticmethod(cub_lists)

    def make_miniature(self, root: Path) -> None:
        """Write a small set of scikit-learn's digits in the original layout."""
        from tksbench.data.miniature import make_cub

        make_cub(root / self.folder)


@component("data", "dogs")
class Dogs(_FineGrained):
    """Stanford Dogs: 120 breeds."""

    title = "Stanford Dogs"
    num_classes, n_train, n_test = 120, 12_000, 8580
    folder = "StanfordDogs"
    markers = ("train_list.mat", "test_list.mat", "Images")
    also_called = ("stanforddogsdataset", "dogs")
    incomplete = (
        "Images",
        "train_list.mat",
        "the images are there, the lists are not: lists.tar from http://vision.stanford.edu/aditya86/ImageNetDogs/",
    )
    archives = (Archive("images.tar", "Images", "StanfordDogs/Images"), Archive("lists.tar", ".", "StanfordDogs"))
    by_hand = "images.tar and lists.tar from http://vision.stanford.edu/aditya86/ImageNetDogs/"
    lists = staticmethod(dogs_lists)

    def make_miniature(self, root: Path) -> None:
        """Write a small set of scikit-learn's digits in the original layout."""
        from tksbench.data.miniature import make_dogs

        make_dogs(root / self.folder)


@component("data", "cars")
class Cars(_FineGrained):
    """Stanford Cars: 196 models, in either of its two packagings."""

    title = "Stanford Cars"
    num_classes, n_train, n_test = 196, 8144, 8041
    folder = "stanford_cars"
    packagings = (
        ("cars_train", "cars_test", "devkit", "cars_test_annos_withlabels.mat"),
        ("car_ims", "cars_annos.mat"),
    )
    also_called = ("stanfordcarsdataset", "cars")
    incomplete = (
        "cars_annos.mat",
        "car_ims",
        "cars_annos.mat lists car_ims/, which is not there; the lists of cars_train/ and cars_test/ are devkit/ "
        "(of car_devkit.tgz) and cars_test_annos_withlabels.mat",
    )
    archives = (
        Archive("cars_train.tgz", "cars_train", "stanford_cars/cars_train", "065e5b463ae28d29e77c1b4b166cfe61"),
        Archive("cars_test.tgz", "cars_test", "stanford_cars/cars_test", "4ce7ebf6a94d07f1952d94dd34c4d501"),
        Archive("car_devkit.tgz", "devkit", "stanford_cars/devkit", "c3b158d763b6e2245038c8ad08e45376"),
        Archive("car_ims.tgz", "car_ims", "stanford_cars/car_ims"),
    )
    by_hand = (
        "the images and lists of Stanford Cars from a mirror (the official page is gone), as cars_train/, cars_test/, "
        "devkit/ and cars_test_annos_withlabels.mat, or as car_ims/ and cars_annos.mat"
    )
    into_folder = True
    lists = staticmethod(cars_lists)

    def make_miniature(self, root: Path) -> None:
        """Write a small set of scikit-learn's digits in the original layout."""
        from tksbench.data.miniature import make_cars

        make_cars(root / self.folder)
