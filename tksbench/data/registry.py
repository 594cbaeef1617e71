"""Which data sets there are, where they lie, and how to get at one. Imports neither numpy nor torch.

The module behind a data set (`DatasetInfo.target`, "module:load") has three functions. Each gets `root`, the
folder that holds the data set's own folder: `<data root>` for the real set, `<data root>/miniature` else.

    load(spec: DataSpec, T: int, seed: int, root: Path) -> Data   # spec.source: is root a miniature's?
    verify(name: str, root: Path) -> list[FileStatus]             # of the real set
    make_miniature(name: str, root: Path) -> None                 # writes root/<info.folder>; root is an
                                      # empty temporary folder, `ensure_miniature` moves the result into place
"""

from __future__ import annotations

import difflib
import importlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tksbench.data import places
from tksbench.data.errors import DataError
from tksbench.data.files import new_scratch
from tksbench.data.forms import other_form

if TYPE_CHECKING:
    from tksbench.data.base import Data
    from tksbench.recipe import DataSpec


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set without reading it (sizes: paper section 4.1 and the official lists).

    Attributes:
        name: The name recipes use.
        title: The name people use.
        target: "module:load" of its reader.
        kind: "static" images [C, H, W] or "event" frames [T, C, H, W].
        num_classes: Number of classes of the real set (a miniature may have fewer).
        n_train: Training samples of the real set.
        n_test: Test samples of the real set.
        in_chans: Channels C.
        size: Height and width H = W that the network sees.
        T: Time steps the paper uses.
        folder: The data set's folder under the data root.
        markers: Paths inside `folder` whose presence means that the set is there.
    """

    name: str
    title: str
    target: str
    kind: Literal["static", "event"]
    num_classes: int
    n_train: int
    n_test: int
    in_chans: int
    size: int
    T: int
    folder: str
    markers: tuple[str, ...]


@dataclass(frozen=True)
class FileStatus:
    """What `verify` found at one path (relative to the data root)."""

    path: str
    state: Literal["ok", "missing", "corrupt", "surplus", "unsorted"]
    detail: str = ""


# Bump when a maker writes other content: a miniature of an older version on disk is then made anew.
MINIATURES_VERSION = 2
_STAMP = ".miniature-version"
TWIN_MARK = "twin.json"  # beside the recordings of a twin (tksbench.data.twin_set), which are nobody's real data

_CIFAR10_FILES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
_CUB_LISTS = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "images")
_FINE = "tksbench.data.finegrained:load"
_EVENT = "tksbench.data.event_sets:load"

DATASETS: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        DatasetInfo(
            "cifar10", "CIFAR-10", "tksbench.data.cifar:load", "static", 10, 50_000, 10_000, 3, 32, 4,
            "cifar-10-batches-py", _CIFAR10_FILES,
        ),
        DatasetInfo(
            "cifar100", "CIFAR-100", "tksbench.data.cifar:load", "static", 100, 50_000, 10_000, 3, 32, 4,
            "cifar-100-python", ("train", "test"),
        ),
        DatasetInfo(
            "imagenet", "ImageNet-1k", "tksbench.data.imagenet:load", "static", 1000, 1_281_167, 50_000,
            3, 224, 4, "ILSVRC2012", ("train", "val"),
        ),
        DatasetInfo(
            "cub", "CUB-200-2011", _FINE, "static", 200, 5994, 5794, 3, 224, 4,
            "CUB_200_2011", _CUB_LISTS,
        ),
        DatasetInfo(
            "dogs", "Stanford Dogs", _FINE, "static", 120, 12_000, 8580, 3, 224, 4,
            "StanfordDogs", ("train_list.mat", "test_list.mat", "Images"),
        ),
        DatasetInfo(
            "cars", "Stanford Cars", _FINE, "static", 196, 8144, 8041, 3, 224, 4, "stanford_cars", ()
        ),
        DatasetInfo(
            "dvs_cifar10", "DVS-CIFAR10", _EVENT, "event", 10, 9000, 1000, 2, 48, 10,
            "CIFAR10DVS", ("airplane", "truck"),
        ),
        DatasetInfo(
            "ncaltech101", "N-Caltech101", _EVENT, "event", 101, 7839, 870, 2, 48, 10,
            "Caltech101", ("BACKGROUND_Google", "yin_yang"),
        ),
        DatasetInfo(
            "nmnist", "N-MNIST", _EVENT, "event", 10, 60_000, 10_000, 2, 34, 10,
            "n_mnist", ("Train/0", "Test/0"),
        ),
    )
}  # fmt: skip


def info(name: str) -> DatasetInfo:
    """Look a data set up by name.

    Raises:
        DataError: No data set has this name; the message names the nearest.
    """
    if name in DATASETS:
        return DATASETS[name]
    close = difflib.get_close_matches(name, DATASETS, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise DataError(f"unknown data set {name!r}: {hint}known are {', '.join(DATASETS)}")


def data_root() -> Path:
    """The folder that holds all data sets: `TKSBENCH_DATA`, else `./data` (which need not exist yet).

    Raises:
        DataError: `TKSBENCH_DATA` names something that is not a folder.
    """
    named = os.environ.get("TKSBENCH_DATA")
    if not named:
        return Path("data")
    root = Path(named).expanduser()
    if not root.is_dir():
        raise DataError(f"TKSBENCH_DATA={named}: no such folder; create it, or unset the variable to use ./data")
    return root


def folder_of(name: str, root: Path | None = None) -> Path:
    """The folder that a data set is read from, under its own name or as mirrors nest it; it need not exist."""
    return places.find(info(name), root or data_root())


def has_real(name: str, root: Path | None = None) -> bool:
    """Whether the real data set seems to be there and ready (a look at its parts' names, no checksum)."""
    entry, folder = info(name), folder_of(name, root)
    return places.has_all(entry, folder, strict=False) and not places.not_ready(entry, folder)


def why_not(name: str, root: Path | None = None) -> str:
    """What there is instead of a real data set that can be read, as one sentence; empty if there is nothing like it."""
    return not_ready(name, root) or elsewhere(name, root)


def not_ready(name: str, root: Path | None = None) -> str:
    """What `prepare` has still to do before a complete set can be read, as one sentence; empty if nothing."""
    return places.not_ready(info(name), folder_of(name, root))


def elsewhere(name: str, root: Path | None = None) -> str:
    """Where a data set is instead of its place, or in which other form, as one sentence; empty if there is none."""
    entry, base = info(name), root or data_root()
    folder = places.find(entry, base)
    if len(several := places.places_below(entry, base)) > 1 and not folder.is_dir():
        return f"it is in {' and in '.join(str(place.parent) for place in several)}: name one of these as the data root"
    return other_form(entry, base, folder)


def look(name: str, root: Path | None = None) -> FileStatus:
    """A quick look at a real data set: names and sizes, no checksum (that is `verify`'s)."""
    entry = info(name)
    base = root or data_root()
    folder = folder_of(name, base)
    if not folder.is_dir() or not any(folder.iterdir()):
        return FileStatus(str(folder), "missing", why_not(name, base))
    if why := not_ready(name, base):
        return FileStatus(str(folder), "unsorted", why)
    if not has_real(name, base):
        absent = [marker for marker in entry.markers if not places.part(folder, marker).exists()]
        why = elsewhere(name, base) or f"without {', '.join(absent) or 'all of its parts'}"
        return FileStatus(str(folder), "corrupt", why)
    present = [places.part(folder, marker) for marker in entry.markers]
    for path in present:
        if path.is_dir() and not any(path.iterdir()):
            return FileStatus(str(path), "corrupt", "empty folder")
        if path.is_file() and not path.stat().st_size:
            return FileStatus(str(path), "corrupt", "empty file")
    if present and all(path.is_file() for path in present):  # the images themselves: CIFAR
        size, least = sum(path.stat().st_size for path in present), (entry.n_train + entry.n_test) * entry.in_chans
        least *= entry.size**2
        if size < least:
            return FileStatus(str(folder), "corrupt", f"{size:,} bytes, the images alone are {least:,}")
    return FileStatus(str(folder), "ok")


def reader(name: str) -> Any:
    """Import the module that reads a data set."""
    return importlib.import_module(info(name).target.partition(":")[0])


def ensure_miniature(name: str, root: Path | None = None) -> Path:
    """Make stand-in data for a data set unless they are there; returns the folder that holds its layout.

    One of another version is replaced. Safe when two processes do it at once: each builds in a folder of its
    own, the first to finish wins.

    Raises:
        DataError: The data root cannot be written to.
    """
    entry = info(name)
    home = (root or data_root()) / "miniature"
    if _is_current(home / entry.folder):
        return home
    try:
        home.mkdir(parents=True, exist_ok=True)
        building = new_scratch(home, name)
        building.mkdir()
    except OSError as error:
        message = f"cannot write stand-in data for {name} to {home}: {error.strerror}"
        raise DataError(f"{message}; set TKSBENCH_DATA to a folder you can write to") from error
    try:
        reader(name).make_miniature(name, building)
        (building / entry.folder / _STAMP).write_text(f"{MINIATURES_VERSION}\n")
        _move_into_place(building / entry.folder, home / entry.folder, building / "old")
    except OSError as error:
        raise DataError(f"cannot write stand-in data for {name} to {home}: {error}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return home


def _is_current(folder: Path) -> bool:
    try:
        return (folder / _STAMP).read_text().strip() == str(MINIATURES_VERSION)
    except OSError:
        return False


def _move_into_place(new: Path, place: Path, aside: Path) -> None:
    if place.exists() and not _is_current(place):
        place.rename(aside)
    try:
        new.rename(place)
    except OSError:
        if not _is_current(place):  # else another process was first
            raise


def load(spec: DataSpec, T: int, seed: int, root: Path | None = None) -> Data:
    """Load a data set as a recipe asks for it; builds its miniature if that is asked for and absent.

    Args:
        spec: The data part of a run's specification.
        T: Time steps (event sets: number of frames; static sets ignore it).
        seed: The run's seed; together with epoch and index it decides every augmentation.
        root: The data root; None for `data_root()`.

    Raises:
        DataError: Unknown name, data missing or corrupt, a subset larger than the real set, or a root that cannot be
            written to.
    """
    entry = info(spec.name)
    base = root or data_root()
    if spec.source != "miniature" and (base / TWIN_MARK).exists():
        raise DataError(f"{base} holds a twin of {entry.title}, not its real recordings; name the data root above it")
    if spec.source == "miniature":
        home = ensure_miniature(spec.name, base)
    elif has_real(spec.name, base):
        home = base
    else:
        why = why_not(spec.name, base)
        raise DataError(
            f"{entry.title} is not complete in {base / entry.folder}{f' ({why})' if why else ''}: `python -m "
            f"tksbench.data verify {spec.name}` says what is missing, `python -m tksbench.data prepare {spec.name}` "
            "what to do"
        )
    data: Data = reader(spec.name).load(spec, T, seed, home)
    if spec.source != "miniature":  # a miniature is as small as it is, whatever is asked of the real set
        for key, half in (("train_subset", data.train), ("test_subset", data.test)):
            if (getattr(spec, key) or 0) > len(half):
                asked = f"data.{key}={getattr(spec, key)}"
                raise DataError(f"{asked}: {entry.title} in {home / entry.folder} has only {len(half)} such samples")
    return data
