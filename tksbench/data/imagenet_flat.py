"""Halves of ImageNet whose images lie in one folder, as the archives of the validation images and Kaggle unpack them.

They are read where they are: an index says of each image which synset it is of. For training images the name does so
(n01440764_10026.JPEG), for validation images one of these lists, beside val/ or in a folder above it:

    ILSVRC2012_devkit_t12.tar.gz, or ILSVRC2012_devkit_t12/   the development kit of image-net.org
    LOC_val_solution.csv                                      Kaggle's
    imagenet_2012_validation_synset_labels.txt                a synset a line, in the order of the images
    val.txt                                                   Caffe's: a file and its class number a line
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tksbench.data.archives import unpacked
from tksbench.data.errors import DataError
from tksbench.data.files import read_file
from tksbench.data.places import part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_KIT = "ILSVRC2012_devkit_t12"
WANTED = f"{_KIT}.tar.gz (2.5 MB, from https://image-net.org) or LOC_val_solution.csv (Kaggle)"
_MAX_BYTES = 64_000_000
_TRAIN = re.compile(r"(n\d{8})_\d+\.\w+")
_VAL = re.compile(r"(ILSVRC2012_val_(\d{8}))\.\w+")
_SYNSET = re.compile(r"n\d{8}")
_ABOVE = 4  # folders above a half in which lists are looked for: Kaggle's is three above


class Unsorted(DataError):
    """Nothing says which synset the images of a flat folder are of."""


def synsets_of(half: Path, files: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    """Which synset each image of a flat folder is of.

    Args:
        half: `train` or `val`.
        files: Names of its images.
        known: What an index has said before, used where there is no list any more.

    Returns:
        The synset of each file.

    Raises:
        Unsorted: There is no list.
        DataError: A list is malformed, or says nothing of an image.
    """
    named = {file: found[1] for file in files if (found := _TRAIN.fullmatch(file))}
    rest = [file for file in files if file not in named]
    if not rest:
        return named
    source, labels = next(iter(_lists(half)), (None, {}))
    if source is None:
        if all(file in known for file in rest):
            return named | {file: known[file] for file in rest}
        raise Unsorted(
            f"{len(rest):,} images in one folder, and no list of which synset each is of: put {WANTED} into "
            f"{half.parent}; the images stay where they are"
        )
    sorted_files = {}
    for file in rest:
        found = _VAL.fullmatch(file)
        synset = labels.get(int(found[2])) if found else None
        if synset is None:
            raise DataError(f"{half / file}: {source} says nothing of it; move it elsewhere")
        sorted_files[file] = synset
    return named | sorted_files


def _lists(half: Path) -> Iterable[tuple[Path, dict[int, str]]]:
    """Each list that is there, with the synset of each validation image by its number, from 1."""
    readers: dict[str, Callable[[Path], dict[int, str]]] = {
        f"{_KIT}.tar.gz": _packed_kit,
        _KIT: _kit,
        "LOC_val_solution.csv": _kaggle,
        "imagenet_2012_validation_synset_labels.txt": _lines,
        "val.txt": _caffe,
    }
    for folder in half.absolute().parents[:_ABOVE]:
        for name, read in readers.items():
            path = part(folder, name)
            if path.exists() and (name != "val.txt" or folder == half.absolute().parent):
                yield path, read(path)


def _packed_kit(path: Path) -> dict[int, str]:
    with unpacked(path, Path(path.parent)) as folder:
        return _kit(folder / _KIT)


def _kit(folder: Path) -> dict[int, str]:
    """The development kit: numbers of synsets, a line an image, and the synsets of these numbers in a MATLAB file."""
    from tksbench.data.matfiles import load_mat

    path = folder / "data" / "meta.mat"
    (synsets,) = load_mat(path, "synsets")
    if not {"ILSVRC2012_ID", "WNID"} <= set(synsets.dtype.names or ()):
        raise DataError(f"{path}: lists no synsets; is it another kit?")
    numbers = (str(number) for number in synsets["ILSVRC2012_ID"])
    names = {_whole(number): str(synset) for number, synset in zip(numbers, synsets["WNID"], strict=True)}
    path = folder / "data" / "ILSVRC2012_validation_ground_truth.txt"
    return _numbered(path, [names.get(_whole(line), "") for line in _text(path)])


def _lines(path: Path) -> dict[int, str]:
    return _numbered(path, _text(path))


def _kaggle(path: Path) -> dict[int, str]:
    """Rows of an image and "SYNSET X Y X Y", the box, below a row of headings."""
    labels = {}
    for number, line in enumerate(_text(path)[1:], start=2):
        image, _, boxes = line.partition(",")
        found, synset = _VAL.fullmatch(f"{image}.JPEG"), boxes.partition(" ")[0]
        if not (found and _SYNSET.fullmatch(synset)):
            raise DataError(f"{path}:{number}: {line[:60]!r} is not 'ILSVRC2012_val_00000001,n01751748 BOX'")
        labels[int(found[2])] = synset
    return labels


def _caffe(path: Path) -> dict[int, str]:
    """Rows of a file and its class number, which is the rank of its synset among those of `train`."""
    train = path.parent / "train"
    names = sorted({entry.name.partition(".")[0] for entry in train.iterdir()}) if train.is_dir() else []
    synsets = [name for name in names if _SYNSET.fullmatch(name)]
    labels = {}
    for number, line in enumerate(_text(path), start=1):
        file, _, rank = line.rpartition(" ")
        found = _VAL.fullmatch(file.rpartition("/")[2])
        place = _whole(rank)
        if not found or place is None or place >= len(synsets):
            raise DataError(
                f"{path}:{number}: {line[:60]!r} is not 'ILSVRC2012_val_00000001.JPEG RANK', a rank among the "
                f"{len(synsets)} synsets of {train}"
            )
        labels[int(found[2])] = synsets[place]
    return labels


def _numbered(path: Path, synsets: list[str]) -> dict[int, str]:
    for number, synset in enumerate(synsets, start=1):
        if not _SYNSET.fullmatch(synset):
            raise DataError(f"{path}:{number}: names no synset")
    return dict(enumerate(synsets, start=1))


def _whole(text: str) -> int | None:
    """A number of a list; None for anything else, and for more digits than any list has."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else None


def _text(path: Path) -> list[str]:
    return [line.strip() for line in read_file(path, _MAX_BYTES).decode(errors="replace").splitlines()]
