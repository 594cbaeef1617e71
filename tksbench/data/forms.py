"""Data sets in forms that are not read here, so that people who have one hear why, and what to do.

Imports neither numpy nor torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tksbench.data import places

if TYPE_CHECKING:
    from pathlib import Path

    from tksbench.data.registry import DatasetInfo


class _Form(NamedTuple):
    """A form: files that show it, relative to a folder, and its name."""

    patterns: tuple[str, ...]
    name: str


_PARQUET = _Form(("*.parquet", "*/*.parquet"), "as parquet (Hugging Face)")
_FORMS = {
    "cifar10": (
        _Form(("data_batch_1.bin",), "in its version for C programs"),
        _Form(("data_batch_1.mat",), "in its version for MATLAB"),
        _Form(("train/airplane/*.png", "train/airplane/*.jpg"), "as a folder of images a class"),
        _PARQUET,
    ),
    "cifar100": (
        _Form(("train.bin",), "in its version for C programs"),
        _Form(("train.mat",), "in its version for MATLAB"),
        _Form(("train/apple/*.png", "train/*/apple/*.png", "train/apple/*.jpg"), "as a folder of images a class"),
        _PARQUET,
    ),
    "imagenet": (_PARQUET, _Form(("*train*-000*.tar", "train/*train*-000*.tar"), "as shards (webdataset)")),
}
_WHY = {
    "cifar": "the Python version is read, whose files have an order and published checksums",
    "imagenet": "synset folders or tars are read, any image of which can be had at any time",
}


def other_form(entry: DatasetInfo, root: Path, folder: Path) -> str:
    """What there is of a data set in another form or packaging, as one sentence; empty if there is nothing.

    Args:
        entry: The data set.
        root: The data root.
        folder: The data set's folder.
    """
    for form in _FORMS.get(entry.name, ()):
        for place in places.namesakes(entry, root):
            for pattern in form.patterns:
                if (found := next(place.glob(pattern), None)) is not None:
                    why = _WHY[entry.name.rstrip("01")]
                    return f"{found.relative_to(root)} is of {entry.title} {form.name}; {why}"
    if entry.name == "cars" and (folder / "cars_annos.mat").exists() and not (folder / "car_ims").exists():
        return (
            "cars_annos.mat lists car_ims/, which is not there; the lists of cars_train/ and cars_test/ are devkit/ "
            "(of car_devkit.tgz) and cars_test_annos_withlabels.mat"
        )
    if entry.name == "dogs" and places.part(folder, "Images").exists():
        return (
            "the images are there, the lists are not: lists.tar from http://vision.stanford.edu/aditya86/ImageNetDogs/"
        )
    return ""
