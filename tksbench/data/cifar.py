"""CIFAR-10 and CIFAR-100 from the original pickle files (Krizhevsky 2009; docs/protocol.md#cifar-10-and-cifar-100)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tksbench.data.errors import DataError
from tksbench.data.files import CHECKSUMS, md5_of, read_checksums, read_file
from tksbench.data.pickles import unpickle
from tksbench.data.places import shown
from tksbench.data.registry import FileStatus, folder_of, info

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tksbench.data.base import Data
    from tksbench.recipe import DataSpec

# Published MD5 of each file (torchvision.datasets.cifar).
MD5 = {
    "cifar10": {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
    "cifar100": {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
}
_TRAIN_FILES = {"cifar10": [f"data_batch_{i}" for i in range(1, 6)], "cifar100": ["train"]}
_TEST_FILES = {"cifar10": ["test_batch"], "cifar100": ["test"]}
_LABEL_KEY = {"cifar10": b"labels", "cifar100": b"fine_labels"}


def read_batch(name: str, raw: bytes, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read one file of images.

    Args:
        name: "cifar10" or "cifar100" (fine labels).
        raw: The file's content, already verified.
        path: Where it came from, for the message.

    Returns:
        Images, uint8 [N, 3, 32, 32] (RGB), and labels, int64 [N].

    Raises:
        DataError: The content is not N rows of 3072 bytes with N labels of the data set's range.
    """
    content, key = unpickle(raw, path), _LABEL_KEY[name]
    images, labels = content.get(b"data"), content.get(key)
    if not (isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.shape[1:] == (3072,)):
        raise DataError(f"{path}: b'data' is not a uint8 array of shape [N, 3072]")
    if not (isinstance(labels, list) and len(labels) == len(images)):
        raise DataError(f"{path}: {key!r} is not a list of {len(images)} labels")
    if not all(isinstance(label, int) and 0 <= label < info(name).num_classes for label in labels):
        raise DataError(f"{path}: {key!r} holds a label outside 0..{info(name).num_classes - 1}")
    return images.reshape(-1, 3, 32, 32).copy(), np.array(labels, dtype=np.int64)


def _check(path: Path, raw: bytes, expected: str) -> str:
    found = md5_of(raw)
    if found != expected:
        raise DataError(
            f"{path}: altered or truncated: MD5 {found}, expected {expected} (file size {len(raw)} bytes); "
            "restore it from the published archive"
        )
    return found


def _read_all(
    name: str, folder: Path, files: list[str], sums: dict[str, str]
) -> tuple[NDArray[np.uint8], NDArray[np.int64], dict[str, str]]:
    images, labels, manifest = [], [], {}
    for file in files:
        path = folder / file
        if file not in sums:
            raise DataError(f"{folder / CHECKSUMS}: does not list {file}; delete {folder} to have it remade")
        raw = read_file(path)
        manifest[file] = _check(path, raw, sums[file])
        batch, batch_labels = read_batch(name, raw, path)
        images.append(batch)
        labels.append(batch_labels)
    joined = images[0] if len(images) == 1 else np.concatenate(images)
    return joined, np.concatenate(labels), manifest


def read_half(name: str, folder: Path, *, train: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64], dict[str, str]]:
    """Read the training or the test images of the real set; every file is verified by MD5.

    Args:
        name: "cifar10" or "cifar100".
        folder: cifar-10-batches-py or cifar-100-python.
        train: The training half, else the test half.

    Returns:
        Images, uint8 [N, 3, 32, 32]; labels, int64 [N]; and the MD5 of each file.

    Raises:
        DataError: A file is missing, altered, truncated or malformed.
    """
    return _read_all(name, folder, (_TRAIN_FILES if train else _TEST_FILES)[name], MD5[name])


def load(spec: DataSpec, T: int, seed: int, root: Path) -> Data:
    """Load CIFAR-10 or CIFAR-100; every file is verified by MD5 before it is used.

    Args:
        spec: The data part of a run's specification.
        T: Ignored: a static image is repeated by the network.
        seed: The run's seed.
        root: Folder that holds cifar-10-batches-py or cifar-100-python.

    Raises:
        DataError: A file is missing, altered, truncated or malformed, or the specification cannot be met.
    """
    from tksbench.data.augment import cifar_normalisation
    from tksbench.data.base import Data
    from tksbench.data.static import ArraySplit

    if spec.augment not in ("strong", "plain", "none"):
        raise DataError(f"data.augment={spec.augment}: {spec.name} has strong, plain or none")
    folder = folder_of(spec.name, root)
    sums = read_checksums(folder) if spec.source == "miniature" else MD5[spec.name]
    splits: list[ArraySplit] = []
    manifest: dict[str, str] = {}
    for train, files in ((True, _TRAIN_FILES[spec.name]), (False, _TEST_FILES[spec.name])):
        images, labels, found = _read_all(spec.name, folder, files, sums)
        manifest |= {f"{info(spec.name).folder}/{file}": f"md5:{digest}" for file, digest in found.items()}
        mean, std = cifar_normalisation(train, spec.norm)
        splits.append(
            ArraySplit(
                _resized(images, spec.image_size),
                labels,
                augmentation=spec.augment if train else "none",
                mean=mean,
                std=std,
                seed=seed,
                subset=spec.train_subset if train else spec.test_subset,
            )
        )
    return Data(splits[0], splits[1], info(spec.name).num_classes, manifest)


def _resized(images: NDArray[np.uint8], size: int | None) -> NDArray[np.uint8]:
    """Resize uint8 [N, 3, 32, 32] once and for all where a recipe asks for another size than 32."""
    if size in (None, images.shape[-1]):
        return images
    import torch
    from torchvision.transforms.functional import resize

    resized: NDArray[np.uint8] = resize(torch.from_numpy(images), [size, size], antialias=True).numpy()
    return resized


def verify(name: str, root: Path) -> list[FileStatus]:
    """Compare every file of the real set with its published MD5."""
    folder, found = folder_of(name, root), []
    for file, expected in MD5[name].items():
        path, called = folder / file, f"{shown(folder, root)}/{file}"
        if not path.is_file():
            found.append(FileStatus(called, "missing"))
            continue
        try:
            _check(path, read_file(path), expected)
        except DataError as error:
            found.append(FileStatus(called, "corrupt", str(error).removeprefix(f"{path}: ")))
        else:
            found.append(FileStatus(called, "ok", "MD5 as published"))
    return found


def make_miniature(name: str, root: Path) -> None:
    """Write a small CIFAR-10 or CIFAR-100 of scikit-learn's digits in the original format."""
    from tksbench.data.miniature import make_cifar

    make_cifar(name, root / info(name).folder)
