"""Which recordings of an event set are on disk, how they are split, and which are missing or too many."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tksbench.data.errors import DataError
from tksbench.data.event_splits import Listing, list_recordings, read_manifest, split_by_rule
from tksbench.data.places import first_of, is_copy
from tksbench.data.registry import FileStatus, info

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_DEPTHS = {"dvs_cifar10": 1, "ncaltech101": 1, "nmnist": 2}  # folders above a recording
_HALVES = ("Train", "Test")  # of N-MNIST


def find_listing(name: str, split: str, folder: Path, *, complete: bool) -> Listing:
    """List the recordings on disk and split them.

    Args:
        name: Data set.
        split: "natural" or, for dvs_cifar10, "tebn".
        folder: The data set's folder.
        complete: Whether the whole published set must be there (false for a miniature).

    Raises:
        DataError: No such split, or recordings are missing or unexpected.
    """
    return split_recordings(name, split, recordings(name, folder), folder, complete=complete)


def split_recordings(name: str, split: str, found: Mapping[str, Path], folder: Path, *, complete: bool) -> Listing:
    """Split recordings.

    Args:
        name: Data set.
        split: "natural" or, for dvs_cifar10, "tebn".
        found: Where each recording is, by its published name.
        folder: The data set's folder, for messages.
        complete: Whether the whole published set must be there (false for a miniature).

    Raises:
        DataError: No such split, or recordings are missing or unexpected.
    """
    if name == "nmnist" and split != "natural":
        raise DataError(f"nmnist: no split {split!r}; it has only its own, Train and Test on disk")
    if (complete or name == "dvs_cifar10") and (odd := surplus(name, found)):
        raise DataError(f"{folder}: {_too_many(odd)}")
    if name == "nmnist":
        halves = [tuple(recording for recording in found if recording.startswith(f"{half}/")) for half in _HALVES]
        listing = Listing(halves[0], halves[1])
    elif name == "ncaltech101":
        listing = _ncaltech101_listing(split, found, folder, complete)
    else:
        listing = _dvs_cifar10_listing(split, found, folder, complete)
    if not (listing.train and listing.test):
        raise DataError(f"{folder}: found {len(listing.train)} training and {len(listing.test)} test recordings")
    return listing


def recordings(name: str, folder: Path) -> dict[str, Path]:
    """List a set's recordings; of CIFAR10-DVS the .aedat4 release is taken where the original is absent."""
    for suffix in (".aedat", ".aedat4") if name == "dvs_cifar10" else (".bin",):
        if found := list_recordings(folder, _DEPTHS[name], suffix):
            return found
    return {}


def surplus(name: str, found: Mapping[str, Path]) -> list[Path]:
    """Recordings that are too many: copies of others, and those of names that no published one has."""
    if name == "nmnist":
        expected = Counter(Train=info(name).n_train, Test=info(name).n_test)
        return _beyond(found, expected, lambda recording: recording.partition("/")[0], _is_nmnist_name)
    manifest = read_manifest(name, "natural")
    if name == "dvs_cifar10":
        known = {recording for half in _published(found, manifest) for recording in half}
        return [path for recording, path in found.items() if recording not in known]
    known = {*manifest.train, *manifest.test}
    return _beyond(found, Counter(map(class_of, known)), class_of, known.__contains__)


def _beyond(
    found: Mapping[str, Path], expected: Counter[str], part: Callable[[str], str], is_known: Callable[[str], bool]
) -> list[Path]:
    """Copies, and recordings of other names in those parts of a set that hold more than is published.

    No published list of names could be had, so that another name alone is no fault.
    """
    counts = Counter(map(part, found))
    return [
        path
        for recording, path in found.items()
        if is_copy(path.name) or (counts[part(recording)] > expected[part(recording)] and not is_known(recording))
    ]


def _is_nmnist_name(recording: str) -> bool:
    return re.fullmatch(r"\d{5}\.bin", recording.rpartition("/")[2]) is not None


def _too_many(odd: Sequence[Path]) -> str:
    copies = [path for path in odd if is_copy(path.name)]
    files = first_of(f"{path.parent.name}/{path.name}" for path in copies or odd)
    one = len(odd) == 1
    kind = f"{'a copy' if one else 'copies'}" if copies else f"no recording{'s' * (not one)} of the published set"
    return f"{len(odd)} file{'s' * (not one)} too many ({files}: {kind}); move {'it' if one else 'them'} elsewhere"


def _published(found: Mapping[str, Path], manifest: Listing) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The lists of a manifest of CIFAR10-DVS, with the suffix that the recordings here have."""
    suffix = Path(next(iter(found))).suffix if found else ".aedat"
    train, test = (
        tuple(recording.removesuffix(".aedat") + suffix for recording in half)
        for half in (manifest.train, manifest.test)
    )
    return train, test


def _dvs_cifar10_listing(split: str, found: Mapping[str, Path], folder: Path, complete: bool) -> Listing:
    """Keep of the committed manifest what is on disk."""
    halves = _published(found, read_manifest("dvs_cifar10", split))
    missing = [recording for half in halves for recording in half if recording not in found]
    if missing and complete:
        total = sum(map(len, halves))
        raise DataError(f"{folder}: {len(missing)} of {total} recordings are missing, the first {missing[0]}")
    return Listing(*(tuple(recording for recording in half if recording in found) for half in halves))


def _ncaltech101_listing(split: str, found: Mapping[str, Path], folder: Path, complete: bool) -> Listing:
    """Split by rule; a complete set must have the published number of recordings in each class.

    The manifest's file numbers are derived (no published list could be had), so numbers with gaps are no error;
    the record holds the SHA-256 of the list that was used.
    """
    manifest = read_manifest("ncaltech101", split)
    counts, expected = (Counter(map(class_of, names)) for names in (found, (*manifest.train, *manifest.test)))
    unknown = sorted(set(counts) - set(expected))
    if unknown:
        raise DataError(f"{folder}: {unknown[0]} is no class of N-Caltech101")
    wrong = [label for label in sorted(expected) if counts[label] != expected[label]]
    if wrong and complete:
        numbers = f"{wrong[0]} holds {counts[wrong[0]]} recordings instead of {expected[wrong[0]]}"
        raise DataError(f"{folder}: {len(wrong)} classes are not complete, such as {numbers}")
    return split_by_rule(found)


def judge(name: str, found: Mapping[str, Path], folder: Path, called: str) -> FileStatus:
    """Say whether the recordings that were found are the published ones.

    Args:
        name: Data set.
        found: Where each recording is, by its published name.
        folder: The data set's folder.
        called: The folder's name for people.
    """
    entry = info(name)
    odd = surplus(name, found)
    try:
        listing = split_recordings(name, "natural", found, folder, complete=True)
    except DataError as error:
        detail = str(error).removeprefix(f"{folder}: ")
        total = entry.n_train + entry.n_test
        if odd and len(found) - len(odd) >= total:
            return FileStatus(called, "surplus", detail)
        return FileStatus(
            called, "missing", f"{len(found) - len(odd)} of {total} recordings; {detail}" if odd else detail
        )
    sizes = (len(listing.train), len(listing.test))
    if sizes != (entry.n_train, entry.n_test):
        detail = f"{sizes[0]} + {sizes[1]} recordings of {entry.n_train} + {entry.n_test}"
        too_many = sizes[0] >= entry.n_train and sizes[1] >= entry.n_test
        return FileStatus(called, "surplus" if too_many else "missing", detail)
    derived = name == "nmnist" or listing == read_manifest(name, "natural")
    note = "" if derived else "; its file numbers have gaps, unlike the committed manifest's"
    return FileStatus(called, "ok", f"{sizes[0]} + {sizes[1]} recordings, sha256 {listing.sha256}{note}")


def class_of(recording: str) -> str:
    """The class folder of a recording."""
    return recording.split("/")[-2]
