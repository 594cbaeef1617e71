"""CIFAR-10 and CIFAR-100 from the original pickle files (Krizhevsky 2009; docs/protocol.md#cifar-10-and-cifar-100)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tksbench.component import component
from tksbench.data.archives import Archive
from tksbench.data.dataset import DataSet, FileStatus
from tksbench.data.errors import DataError
from tksbench.data.files import CHECKSUMS, md5_of, read_checksums, read_file
from tksbench.data.pickles import unpickle
from tksbench.data.places import shown
from tksbench.data.registry import folder_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tksbench.data.base import Data
    from tksbench.recipe import DataSpec


def read_batch(raw: bytes, path: Path, key: bytes, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read one file of images.

    Args:
        raw: The file's content, already verified.
        path: Where it came from, for the message.
        key: Where it has the labels.
        classes: Number of classes.

    Returns:
        Images, uint8 [N, 3, 32, 32] (RGB), and labels, int64 [N].

    Raises:
        DataError: The content is not N rows of 3072 bytes with N labels of the data set's range.
    """
    content = unpickle(raw, path)
    images, labels = content.get(b"data"), content.get(key)
    if not (isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.shape[1:] == (3072,)):
        raise DataError(f"{path}: b'data' is not a uint8 array of shape [N, 3072]")
    if not (isinstance(labels, list) and len(labels) == len(images)):
        raise DataError(f"{path}: {key!r} is not a list of {len(images)} labels")
    if not all(isinstance(label, int) and 0 <= label < classes for label in labels):
        raise DataError(f"{path}: {key!r} holds a label outside 0..{classes - 1}")
    return images.reshape(-1, 3, 32, 32).copy(), np.array(labels, dtype=np.int64)


def _check(path: Path, raw: bytes, expected: str, advice: str = "; restore it from the published archive") -> str:
    found = md5_of(raw)
    if found != expected:
        raise DataError(
            f"{path}: altered or truncated: MD5 {found}, expected {expected} (file size {len(raw)} bytes){advice}"
        )
    return found


def _resized(images: NDArray[np.uint8], size: int | None) -> NDArray[np.uint8]:
    """Resize uint8 [N, 3, 32, 32] once and for all where a recipe asks for another size than 32."""
    if size in (None, images.shape[-1]):
        return images
    import torch
    from torchvision.transforms.functional import resize

    resized: NDArray[np.uint8] = resize(torch.from_numpy(images), [size, size], antialias=True).numpy()
    return resized


class _CIFAR(DataSet):
    """What both have in common; the folder is read from Python's pickles, each verified by MD5 before it is used."""

    kind = "static"
    n_train, n_test = 50_000, 10_000
    in_chans, size, T = 3, 32, 4
    files = True
    augmentations = ("strong", "plain", "none")
    why_not = "the Python version is read, whose files have an order and published checksums"

    num_classes: int
    folder: str
    md5: ClassVar[Mapping[str, str]]  # published, of each file (torchvision.datasets.cifar)
    train_files: tuple[str, ...]
    test_files: tuple[str, ...]
    label_key: bytes

    def load(self, spec: DataSpec, T: int, seed: int, root: Path) -> Data:
        """Read both halves; every file is verified by MD5 before it is used."""
        from tksbench.data.augment import cifar_normalisation
        from tksbench.data.base import Data
        from tksbench.data.static import ArraySplit

        if spec.augment not in self.augmentations:
            raise DataError(f"data.augment={spec.augment}: {spec.name} has {', '.join(self.augmentations)}")
        folder = folder_of(spec.name, root)
        sums = read_checksums(folder) if spec.source == "miniature" else self.md5
        splits: list[ArraySplit] = []
        manifest: dict[str, str] = {}
        for train, files in ((True, self.train_files), (False, self.test_files)):
            images, labels, found = self._read(folder, files, sums)
            manifest |= {f"{self.folder}/{file}": f"md5:{digest}" for file, digest in found.items()}
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
        return Data(splits[0], splits[1], self.num_classes, manifest)

    def read_half(self, folder: Path, *, train: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64], dict[str, str]]:
        """Read the training or the test images of the real set; every file is verified by MD5.

        Args:
            folder: cifar-10-batches-py or cifar-100-python.
            train: The training half, else the test half.

        Returns:
            Images, uint8 [N, 3, 32, 32]; labels, int64 [N]; and the MD5 of each file.

        Raises:
            DataError: A file is missing, altered, truncated or malformed.
        """
        return self._read(folder, self.train_files if train else self.test_files, self.md5)

    def _read(
        self, folder: Path, files: Sequence[str], sums: Mapping[str, str]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64], dict[str, str]]:
        images, labels, manifest = [], [], {}
        for file in files:
            path = folder / file
            if file not in sums:
                raise DataError(f"{folder / CHECKSUMS}: does not list {file}")
            raw = read_file(path)
            advice = {} if sums is self.md5 else {"advice": ""}  # of stand-in data the registry gives it
            manifest[file] = _check(path, raw, sums[file], **advice)
            batch, batch_labels = read_batch(raw, path, self.label_key, self.num_classes)
            images.append(batch)
            labels.append(batch_labels)
        joined = images[0] if len(images) == 1 else np.concatenate(images)
        return joined, np.concatenate(labels), manifest

    def verify(self, root: Path) -> list[FileStatus]:
        """Compare every file of the real set with its published MD5."""
        folder, found = folder_of(self.name, root), []
        for file, expected in self.md5.items():
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

    def make_miniature(self, root: Path) -> None:
        """Write a small set of scikit-learn's digits in the original format."""
        from tksbench.data.miniature import make_cifar

        make_cifar(self.name, root / self.folder)

    def install(self, root: Path) -> tuple[list[FileStatus], list[str]]:
        """Unpack the archive, or download it; it is known by its files where it was packed anew."""
        from tksbench.data.prepare import download, install_archives, is_incomplete

        def whole(unpacked: Path) -> Path | None:
            found = self.verify(unpacked)
            return folder_of(self.name, unpacked) if all(status.state == "ok" for status in found) else None

        found, used = install_archives(self, root, whole)
        if used or not is_incomplete(found):
            return found, used
        return self.verify(root), download(self, root)


@component("data", "cifar10")
class CIFAR10(_CIFAR):
    """CIFAR-10: 32x32 images of ten classes."""

    title = "CIFAR-10"
    num_classes = 10
    folder = "cifar-10-batches-py"
    markers = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
    also_called = ("cifar10", "cifar10python")
    forms = (
        (("data_batch_1.bin",), "in its version for C programs"),
        (("data_batch_1.mat",), "in its version for MATLAB"),
        (("train/airplane/*.png", "train/airplane/*.jpg"), "as a folder of images a class"),
        (("*.parquet", "*/*.parquet"), "as parquet (Hugging Face)"),
    )
    md5: ClassVar[Mapping[str, str]] = {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    }
    train_files = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")
    test_files = ("test_batch",)
    label_key = b"labels"
    archives = (
        Archive(
            "cifar-10-python.tar.gz", "cifar-10-batches-py", "cifar-10-batches-py", "c58f30108f718f92721af3b95e74349a"
        ),
    )
    by_hand = "cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html"


@component("data", "cifar100")
class CIFAR100(_CIFAR):
    """CIFAR-100, with its fine labels."""

    title = "CIFAR-100"
    num_classes = 100
    folder = "cifar-100-python"
    markers = ("train", "test")
    also_called = ("cifar100",)
    forms = (
        (("train.bin",), "in its version for C programs"),
        (("train.mat",), "in its version for MATLAB"),
        (("train/apple/*.png", "train/*/apple/*.png", "train/apple/*.jpg"), "as a folder of images a class"),
        (("*.parquet", "*/*.parquet"), "as parquet (Hugging Face)"),
    )
    md5: ClassVar[Mapping[str, str]] = {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    }
    train_files = ("train",)
    test_files = ("test",)
    label_key = b"fine_labels"
    archives = (
        Archive("cifar-100-python.tar.gz", "cifar-100-python", "cifar-100-python", "eb9058c3a382ffc7106e4002c42a8d85"),
    )
    by_hand = "cifar-100-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html"
