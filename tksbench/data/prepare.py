"""Putting a data set in place: from an archive in the data root, by download where that is possible, or by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tksbench.data import imagenet
from tksbench.data.archives import Archive, find_archive, install
from tksbench.data.errors import DataError
from tksbench.data.registry import FileStatus, elsewhere, folder_of, info, reader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_SHOWN = 6  # of what is wrong

# MD5 of the class archives of CIFAR10-DVS (SpikingJelly:cifar10_dvs.py:266-318).
_DVS_MD5 = {
    "airplane": "0afd5c4bf9ae06af762a77b180354fdd",
    "automobile": "8438dfeba3bc970c94962d995b1b9bdd",
    "bird": "a9c207c91c55b9dc2002dc21c684d785",
    "cat": "52c63c677c2b15fa5146a8daf4d56687",
    "deer": "b6bf21f6c04d21ba4e23fc3e36c8a4a3",
    "dog": "f379ebdf6703d16e0a690782e62639c3",
    "frog": "cad6ed91214b1c7388a5f6ee56d08803",
    "horse": "e7cbbf77bec584ffbf913f00e682782a",
    "ship": "41c7bd7d6b251be82557c6cce9a7d5c9",
    "truck": "89f3922fd147d9aeff89e76a2b0b70a7",
}
_NCALTECH_MD5 = "66201824eabb0239c7ab992480b50ba3"

# Published checksums: torchvision.datasets (CIFAR, older StanfordCars), BrainCog:CUB2002011.py:27, tonic:nmnist.py.
ARCHIVES: dict[str, tuple[Archive, ...]] = {
    "cifar10": (
        Archive(
            "cifar-10-python.tar.gz",
            "cifar-10-batches-py",
            "cifar-10-batches-py",
            "c58f30108f718f92721af3b95e74349a",
        ),
    ),
    "cifar100": (
        Archive(
            "cifar-100-python.tar.gz",
            "cifar-100-python",
            "cifar-100-python",
            "eb9058c3a382ffc7106e4002c42a8d85",
        ),
    ),
    "imagenet": (),
    "cub": (Archive("CUB_200_2011.tgz", "CUB_200_2011", "CUB_200_2011", "97eceeb196236b17998738112f37df78"),),
    "dogs": (
        Archive("images.tar", "Images", "StanfordDogs/Images"),
        Archive("lists.tar", ".", "StanfordDogs"),
    ),
    "cars": (
        Archive("cars_train.tgz", "cars_train", "stanford_cars/cars_train", "065e5b463ae28d29e77c1b4b166cfe61"),
        Archive("cars_test.tgz", "cars_test", "stanford_cars/cars_test", "4ce7ebf6a94d07f1952d94dd34c4d501"),
        Archive("car_devkit.tgz", "devkit", "stanford_cars/devkit", "c3b158d763b6e2245038c8ad08e45376"),
        Archive("car_ims.tgz", "car_ims", "stanford_cars/car_ims"),
    ),
    "dvs_cifar10": tuple(Archive(f"{name}.zip", name, f"CIFAR10DVS/{name}", md5) for name, md5 in _DVS_MD5.items()),
    "ncaltech101": (
        Archive("Caltech101.zip", "Caltech101", "Caltech101", _NCALTECH_MD5),
        Archive("N-Caltech101-archive.zip", "Caltech101", "Caltech101", _NCALTECH_MD5),
    ),
    "nmnist": (
        Archive("Train.zip", "Train", "n_mnist/Train", "20959b8e626244a1b502305a9e6e2031"),
        Archive("Test.zip", "Test", "n_mnist/Test", "69ca8762b2fe404d9b9bad1103e97832"),
    ),
}

# What to fetch by hand, and from whom.
BY_HAND = {
    "cifar10": "cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html",
    "cifar100": "cifar-100-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html",
    "imagenet": (
        "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz from "
        "https://image-net.org (an account is needed; to keep 1000 tars instead of 1,281,167 files, first "
        "`mkdir train` and `tar -xf ILSVRC2012_img_train.tar -C train` there)"
    ),
    "cub": "CUB_200_2011.tgz from https://data.caltech.edu/records/65de6-vp158",
    "dogs": "images.tar and lists.tar from http://vision.stanford.edu/aditya86/ImageNetDogs/",
    "cars": (
        "the images and lists of Stanford Cars from a mirror (the official page is gone), as cars_train/, cars_test/, "
        "devkit/ and cars_test_annos_withlabels.mat, or as car_ims/ and cars_annos.mat"
    ),
    "dvs_cifar10": "the ten archives airplane.zip ... truck.zip of CIFAR10-DVS from https://figshare.com (4724671)",
    "ncaltech101": "Caltech101.zip of N-Caltech101 from https://data.mendeley.com/datasets/cy6cvx3ryv",
    "nmnist": "Train.zip and Test.zip of N-MNIST from https://data.mendeley.com/datasets/468j46mzdv",
}


def prepare(name: str, root: Path) -> str:
    """Put a real data set in place.

    Args:
        name: The data set.
        root: The data root; archives are looked for in it and in the data set's own folder.

    Returns:
        One line saying what was done.

    Raises:
        DataError: It is still not complete; the message says what is wrong, and what to download and where to put it.
    """
    entry, used = info(name), list[str]()
    if name == "imagenet":
        used = _unpack_imagenet(folder_of(name, root))
        found, indexed = imagenet.index(name, root), ", with an index of its images"
    else:
        found, indexed = reader(name).verify(name, root), ""
        if _is_incomplete(found):
            used = _install_found(name, root)
            if not used and name in ("cifar10", "cifar100"):
                used = _download_cifar(name, root)
            found = reader(name).verify(name, root)
    folder = folder_of(name, root)
    wrong = [status for status in found if status.state != "ok"]
    if not wrong:
        origin = f" (from {', '.join(used)})" if used else ""
        return f"{entry.title} is complete in {folder}{indexed}{origin}"
    done = f" (after unpacking {', '.join(used)})" if used else ""
    lines = [f"{entry.title} is not {'complete' if _is_incomplete(found) else 'ready'} in {folder}{done}:"]
    lines += [f"  {status.path}: {status.detail or status.state}" for status in wrong[:_SHOWN]]
    if len(wrong) > _SHOWN:
        lines.append(f"  and {len(wrong) - _SHOWN} more: `python -m tksbench.data verify {name}` lists them")
    if why := elsewhere(name, root):
        lines.append(f"  {why}")
    if _is_incomplete(found):
        where = folder if name in ("imagenet", "cars") else root
        lines.append(f"Download {BY_HAND.get(name, 'it')}; put that into {where} and call prepare again.")
    raise DataError("\n".join(lines))


def _is_incomplete(found: list[FileStatus]) -> bool:
    """Whether something is to be fetched; what is too much, or waits to be sorted, is not."""
    return any(status.state in ("missing", "corrupt") for status in found)


def _install_found(name: str, root: Path) -> list[str]:
    used = []
    for archive in ARCHIVES.get(name, ()):
        path = find_archive(archive, (root, root / info(name).folder))
        if path and (archive.inside == "." or not (root / archive.to).exists()):
            install(archive, path, root, _whole(name))
            used.append(path.name)
    return used


def _whole(name: str) -> Callable[[Path], Path | None] | None:
    """How to know a data set by its files, whatever they are packed in; None where they have no published checksums."""
    if name not in ("cifar10", "cifar100"):
        return None

    def find(unpacked: Path) -> Path | None:
        found = reader(name).verify(name, unpacked)
        return folder_of(name, unpacked) if all(status.state == "ok" for status in found) else None

    return find


def _download_cifar(name: str, root: Path) -> list[str]:
    from torchvision.datasets import CIFAR10, CIFAR100
    from torchvision.datasets.utils import download_url

    source, (archive,) = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name], ARCHIVES[name]
    try:
        download_url(source.url, str(root), archive.file, source.tgz_md5)
    except (OSError, RuntimeError) as error:
        note = f"\n  {why}" if (why := elsewhere(name, root)) else ""
        raise DataError(
            f"cannot download {source.url} ({error}). Download {BY_HAND[name]} on another machine, put it into "
            f"{root} and call prepare again{note}"
        ) from error
    install(archive, root / archive.file, root)
    return [source.url]


def _unpack_imagenet(folder: Path) -> list[str]:
    """Let torchvision verify and sort the official archives: the validation archive is flat, its key in the kit."""
    halves = [part for part in ("train", "val") if not (folder / part).exists()]
    archives = [*(f"ILSVRC2012_img_{part}.tar" for part in halves), "ILSVRC2012_devkit_t12.tar.gz"]
    if not halves or not all((folder / file).is_file() for file in archives):
        return []
    from torchvision.datasets import imagenet as published

    try:
        published.parse_devkit_archive(str(folder))
        for part in halves:
            {"train": published.parse_train_archive, "val": published.parse_val_archive}[part](str(folder))
    except (OSError, RuntimeError) as error:
        raise DataError(f"{folder}: the ILSVRC2012 archives cannot be unpacked: {error}") from error
    return archives
