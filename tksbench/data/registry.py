"""Which data sets there are, where they lie, and how to get at one. Imports neither numpy nor torch."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tksbench.data import places
from tksbench.data.dataset import DataSet, DatasetInfo, FileStatus
from tksbench.data.errors import DataError
from tksbench.data.files import new_scratch
from tksbench.data.forms import other_form
from tksbench.errors import TksbenchError
from tksbench.recipe import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tksbench.data.base import Data
    from tksbench.recipe import DataSpec
    from tksbench.recipe.catalogue import Component


# Bump when a maker writes other content: a miniature of an older version on disk is then made anew.
MINIATURES_VERSION = 2
_STAMP = ".miniature-version"
_FACTS = tuple(field.name for field in fields(DatasetInfo) if field.name != "name")
TWIN_MARK = "twin.json"  # beside the recordings of a twin (tksbench.data.twin_set), which are not the real data


class _Known(Mapping[str, DatasetInfo]):
    """The data sets of this package by name; each is read in the text of its file when it is asked for."""

    def __getitem__(self, name: str) -> DatasetInfo:
        if name not in catalogue.names("data"):
            raise KeyError(name)
        return info(name)

    def __iter__(self) -> Iterator[str]:
        return iter(catalogue.names("data"))

    def __len__(self) -> int:
        return len(catalogue.names("data"))


DATASETS: Mapping[str, DatasetInfo] = _Known()


@functools.cache
def info(name: str) -> DatasetInfo:
    """Look a data set up by name.

    Args:
        name: That of one of this package, or `module:class` for one from outside.

    Raises:
        DataError: No data set has this name, or its class does not state what has to be known; the message names
            the nearest.
    """
    try:
        facts = catalogue.attributes("data", name)
        return DatasetInfo(name=name, **{key: facts[key] for key in _FACTS if key in facts})
    except ValueError as error:
        raise DataError(str(error)) from None
    except TypeError as error:
        raise DataError(f"data set '{name}': its class does not state all facts as plain values: {error}") from None


def known(name: str) -> DatasetInfo | None:
    """As `info`; None for a data set that cannot be looked up here."""
    try:
        return info(name)
    except DataError:
        return None


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


def has_twin(name: str, root: Path | None = None) -> bool:
    """Whether a data set has a twin here, or one can be made of what is here (a quick look, as `has_real`)."""
    entry, base = info(name), root or data_root()
    made = (base / "twin").glob(f"*/{TWIN_MARK}")
    return bool(entry.twin_of) and (has_real(entry.twin_of, base) or any(True for _ in made))


def title_of(name: str, source: str) -> str:
    """The name that people use for a data set; a twin has one of its own."""
    entry = info(name)
    if source != "twin" or not entry.twin_of:
        return entry.title
    return f"{entry.title}, twin from {info(entry.twin_of).title}"


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


def reader(name: str, **params: Any) -> DataSet:
    """What reads a data set.

    Args:
        name: The data set.
        **params: Its own parameters.

    Raises:
        DataError: It is from outside and cannot be imported.
    """
    info(name)
    made: DataSet = _made("data", catalogue.load("data", {"name": name, "augment": "none"}), params)
    made.name = name
    return made


def _made(slot: str, one: Component, params: Mapping[str, Any]) -> Any:
    try:
        return catalogue.resolve(slot, one)(**params)
    except (ImportError, AttributeError, TypeError) as error:
        raise DataError(f"{catalogue.CALLED[slot]} '{one.name}' cannot be made: {error}") from None


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
        reader(name).make_miniature(building)
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
    """Load a data set as a recipe asks for it; makes its miniature or its twin if that is asked for and absent.

    Args:
        spec: The data part of a run's specification.
        T: Time steps (event sets: number of frames, 0 for recordings as they are; static sets ignore it).
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
    elif spec.source == "twin":
        home = reader(spec.name, **spec.params).ensure_twin(spec, base)
    elif has_real(spec.name, base):
        home = base
    else:
        why = why_not(spec.name, base)
        raise DataError(
            f"{entry.title} is not complete in {base / entry.folder}{f' ({why})' if why else ''}: `python -m "
            f"tksbench.data verify {spec.name}` says what is missing, `python -m tksbench.data prepare {spec.name}` "
            "what to do"
        )
    augmentation = spec.augmentation
    alone = spec.model_copy(update={"augment": "none"}) if augmentation else spec
    try:
        data = reader(spec.name, **spec.params).load(alone, T, seed, home)
    except TksbenchError as error:
        folder = home / entry.folder
        if spec.source == "miniature" and str(folder) in str(error):
            raise DataError(f"{error}; these are stand-in data, which are made anew: rm -r {folder}") from error
        raise
    if augmentation:
        from tksbench.data.augmented import Augmented

        made = _made("augment", augmentation, augmentation.params)
        data = replace(data, train=Augmented(data.train, made, seed))
    if spec.source != "miniature":  # a miniature is as small as it is, whatever is asked of the real set
        for key, half in (("train_subset", data.train), ("test_subset", data.test)):
            if (getattr(spec, key) or 0) > len(half):
                asked = f"data.{key}={getattr(spec, key)}"
                raise DataError(f"{asked}: {entry.title} in {home / entry.folder} has only {len(half)} such samples")
    return data
