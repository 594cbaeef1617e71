"""Putting a data set in place: from an archive in the data root, by download where that is possible, or by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tksbench.data.archives import find_archive, install
from tksbench.data.errors import DataError
from tksbench.data.registry import elsewhere, folder_of, info, reader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tksbench.data.dataset import DataSet, FileStatus

_SHOWN = 6  # of what is wrong


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
    entry, one = info(name), reader(name)
    found, used = one.install(root) or install_archives(one, root)
    folder = folder_of(name, root)
    wrong = [status for status in found if status.state != "ok"]
    if not wrong:
        origin = f" (from {', '.join(used)})" if used else ""
        indexed = ", with an index of its images" if entry.indexed else ""
        return f"{entry.title} is complete in {folder}{indexed}{origin}"
    done = f" (after unpacking {', '.join(used)})" if used else ""
    lines = [f"{entry.title} is not {'complete' if is_incomplete(found) else 'ready'} in {folder}{done}:"]
    lines += [f"  {status.path}: {status.detail or status.state}" for status in wrong[:_SHOWN]]
    if len(wrong) > _SHOWN:
        lines.append(f"  and {len(wrong) - _SHOWN} more: `python -m tksbench.data verify {name}` lists them")
    if why := elsewhere(name, root):
        lines.append(f"  {why}")
    if is_incomplete(found):
        where = folder if one.into_folder else root
        lines.append(f"Download {one.by_hand}; put that into {where} and call prepare again.")
    raise DataError("\n".join(lines))


def is_incomplete(found: list[FileStatus]) -> bool:
    """Whether something is to be fetched; what is too much, or waits to be sorted, is not."""
    return any(status.state in ("missing", "corrupt") for status in found)


def install_archives(
    one: DataSet, root: Path, whole: Callable[[Path], Path | None] | None = None
) -> tuple[list[FileStatus], list[str]]:
    """Unpack the archives of a data set that is not complete.

    Args:
        one: The data set.
        root: The data root; archives are looked for in it and in the data set's own folder.
        whole: How to know the set by its files, whatever they are packed in: where in an unpacked folder it is.

    Returns:
        What `verify` finds then, and the archives that were used.
    """
    found, used = one.verify(root), list[str]()
    if not is_incomplete(found):
        return found, used
    for archive in one.archives:
        path = find_archive(archive, (root, root / info(one.name).folder))
        if path and (archive.inside == "." or not (root / archive.to).exists()):
            install(archive, path, root, whole)
            used.append(path.name)
    return one.verify(root), used


def download(one: DataSet, root: Path) -> list[str]:
    """Fetch CIFAR from where torchvision has it, and unpack it; returns the address."""
    from torchvision.datasets import CIFAR10, CIFAR100
    from torchvision.datasets.utils import download_url

    source, (archive,) = {"cifar10": CIFAR10, "cifar100": CIFAR100}[one.name], one.archives
    try:
        download_url(source.url, str(root), archive.file, source.tgz_md5)
    except (OSError, RuntimeError) as error:
        note = f"\n  {why}" if (why := elsewhere(one.name, root)) else ""
        raise DataError(
            f"cannot download {source.url} ({error}). Download {one.by_hand} on another machine, put it into "
            f"{root} and call prepare again{note}"
        ) from error
    install(archive, root / archive.file, root)
    return [source.url]


def unpack_imagenet(folder: Path) -> list[str]:
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
