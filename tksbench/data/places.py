"""Where data sets lie, and what lies beside them, as archives, mirrors, browsers and systems leave them.

A data set is read where it is: nothing is moved, renamed or removed. Imports neither numpy nor torch.
"""

from __future__ import annotations

import os
import re
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tksbench.data.dataset import DatasetInfo

# By macOS, Windows, and the file servers of Synology and of ext file systems; hidden files are, too.
_LEFT_BEHIND = {"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information"}
_LEFT_BEHIND |= {"@eadir", "#recycle", "#snapshot", "lost+found"}
# What browsers, macOS and Windows call a second file of the same name: stem, mark, suffixes.
_COPY = re.compile(r"(.+?)(?: \(\d+\)|(?: -)? (?:copy|kopie|copi[ae])(?: \(?\d+\)?)?)((?:\.\w+)*)", re.IGNORECASE)
_SECOND = re.compile(r" (\d+|\(\d+\)|copy)$", re.IGNORECASE)  # of a folder
_KAGGLE = "archive"  # what it calls the one file of every data set
_NOT_A_ROOT = {"miniature", "twin", "cache"}  # what this project writes below a data root
IMAGES = (".jpeg", ".jpg", ".png")  # those of timm's reader

# Parts of a data set that some mirrors keep elsewhere in its folder.
_ELSEWHERE = {
    "devkit": ("car_devkit/devkit",),
    "cars_test_annos_withlabels.mat": ("devkit/cars_test_annos_withlabels.mat",),
    "Images": ("images/Images", "images"),
    "train_list.mat": ("lists/train_list.mat",),
    "test_list.mat": ("lists/test_list.mat",),
}


def is_left_behind(name: str) -> bool:
    """Whether a file or folder is no data but what a system leaves beside data.

    >>> [is_left_behind(name) for name in ("._image_0001.bin", "__MACOSX", "@eaDir", "image_0001.bin")]
    [True, True, True, False]
    """
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def is_image(name: str) -> bool:
    """Whether a file is an image of a data set by its name."""
    return name.lower().endswith(IMAGES) and not is_left_behind(name)


def is_copy(name: str) -> bool:
    """Whether a file is named as a second one of the same name.

    >>> [is_copy(name) for name in ("x (1).bin", "x copy.jpg", "x - Copy (2).jpg", "x.bin")]
    [True, True, True, False]
    """
    return _COPY.fullmatch(name) is not None


def uncopied(name: str) -> str | None:
    """The name that a file named as a copy is one of; None for others.

    >>> uncopied("cifar-10-python (1).tar.gz")
    'cifar-10-python.tar.gz'
    """
    found = _COPY.fullmatch(name)
    return found[1] + found[2] if found else None


def undoubled(folder: Path) -> Path:
    """The inner folder where one holds nothing but a folder of its own name, as a double click unpacks archives."""
    try:
        with os.scandir(folder) as entries:
            visible = list(islice((entry for entry in entries if not is_left_behind(entry.name)), 2))
    except OSError:
        return folder
    if len(visible) == 1 and visible[0].name.casefold() == folder.name.casefold() and visible[0].is_dir():
        return folder / visible[0].name
    return folder


def part(folder: Path, name: str) -> Path:
    """Where a part of a data set is: at its place, in a doubled folder, under a browser's name, or as mirrors have it.

    Args:
        folder: The data set's folder.
        name: The part's path in it, as the original archives have it.

    Returns:
        Its path; `folder / name` if it is nowhere.
    """
    for candidate in (name, *_ELSEWHERE.get(name, ())):
        path = folder
        for word in candidate.split("/"):
            path = undoubled(path / word)
        if path.exists():
            return path
        if path.suffix:
            copies = [item for item in _entries(path.parent) if uncopied(item.name) == path.name]
            if len(copies) == 1:
                return copies[0]
    return folder / name


def find(entry: DatasetInfo, root: Path) -> Path:
    """The folder of a real data set.

    It is looked for under its own name in the root, doubled or as mirrors nest it, under names that people give it,
    then in the root itself (which may be that folder), then in the folders of the root.

    Returns:
        The first folder that has all parts; of several in folders of the root none is chosen. If none has all, that
        under its own name, or the folder in it that has most of them.
    """
    own, nested = root / entry.folder, []
    for folder in _near(entry, root):
        if has_all(entry, folder, strict=folder != own):
            return folder
        if folder == own or own in folder.parents:
            nested.append(folder)
    if len(below := places_below(entry, root)) == 1:
        return below[0]
    return max(nested, key=lambda folder: sum(part(folder, name).exists() for name in entry.markers))


def places_below(entry: DatasetInfo, root: Path) -> list[Path]:
    """The folders of a data set that lie one level below where they should: the root is the parent of data roots."""
    candidates = (child / entry.folder for child in _entries(root, folders=True) if child.name not in _NOT_A_ROOT)
    found = {folder.resolve(): folder for folder in candidates if folder.is_dir() and has_all(entry, folder)}
    return list(found.values())


def has_all(entry: DatasetInfo, folder: Path, *, strict: bool = True) -> bool:
    """Whether a folder has all parts of a data set, by their names.

    Args:
        entry: The data set.
        folder: The folder.
        strict: Also look at what the parts are: other data may have parts of the same names.
    """
    packagings = entry.packagings or (entry.markers,)
    return any(all(part(folder, name).exists() for name in names) for names in packagings) and (
        not strict or _fits(entry, folder)
    )


def not_ready(entry: DatasetInfo, folder: Path) -> str:
    """What `prepare` has still to do before a complete set can be read, as one sentence; empty if nothing."""
    if not entry.indexed:
        return ""
    for half in (folder / name for name in entry.markers):
        kind = _packing(half)
        if kind and not half.with_name(f"{half.name}.index").exists():
            what = "holds tars" if kind == "tars" else "holds its images in one folder, not sorted by synset"
            return f"{half} {what}, and has no index"
    return ""


def _packing(half: Path) -> str:
    """How one half of ImageNet is packed where that is not as a folder a synset: "tars" or "flat"."""
    kinds = set()
    try:
        with os.scandir(half) as entries:
            for entry in entries:
                if entry.is_dir() and not is_left_behind(entry.name):
                    return ""
                if ".tar" in entry.name or entry.name.endswith(".tgz"):
                    kinds.add("tars")
                elif is_image(entry.name):
                    kinds.add("flat")
    except OSError:
        pass
    return "tars" if "tars" in kinds else "".join(kinds)


def shown(folder: Path, root: Path) -> str:
    """How a data set's folder is called in messages: relative to the root, or by its name if it is the root."""
    return folder.relative_to(root).as_posix() if root in folder.parents else folder.resolve().name


def namesakes(entry: DatasetInfo, root: Path) -> list[Path]:
    """Folders that are called like a data set, whatever is in them."""
    names = set(entry.also_called) | {_letters(entry.folder)}
    tops = [root, *_entries(root, folders=True)]
    called = re.compile(rf"{'|'.join(sorted(map(re.escape, names)))}|{_letters(entry.name)}(?!\d|dvs).*")
    return [folder for folder in tops if called.fullmatch(_letters(folder.resolve().name))]


def _near(entry: DatasetInfo, root: Path) -> Iterator[Path]:
    """The root's folder of a set's own name and what may be in it, those of other names likewise, and the root."""
    own = root / entry.folder
    yield own
    names = {*entry.also_called, _letters(entry.folder), _KAGGLE}
    named = [child for child in _entries(root, folders=True) if child != own and _is_called(child.name, names)]
    for top in (own, *named, root):
        yield top
        yield from (top / below for below in entry.below)
        if top != root:
            yield from (child for child in _entries(top, folders=True) if _is_called(child.name, names))


def _fits(entry: DatasetInfo, folder: Path) -> bool:
    first = part(folder, entry.markers[0]) if entry.markers else folder
    if entry.kind == "event":
        return any(path.suffix in (".bin", ".aedat", ".aedat4") for path in islice(_entries(first), 100))
    if entry.entries:
        return any(re.fullmatch(entry.entries, path.name) for path in islice(_entries(first), 100))
    return not entry.files or all((folder / name).is_file() for name in entry.markers)


def _entries(folder: Path, *, folders: bool = False) -> Iterator[Path]:
    """What is in a folder, or which folders, without what systems leave there; nothing if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            names = [
                entry.name for entry in entries if not (is_left_behind(entry.name) or (folders and not entry.is_dir()))
            ]
    except OSError:
        return iter(())
    return (folder / name for name in sorted(names))


def _is_called(name: str, names: set[str]) -> bool:
    """Whether a folder has one of these names, or is what systems call a second one (`CUB_200_2011 2`)."""
    return bool({_letters(name), _letters(_SECOND.sub("", name))} & names)


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def first_of(names: Iterable[str], most: int = 3) -> str:
    """A few of many names for a message.

    >>> first_of(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
