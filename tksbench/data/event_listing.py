"""Which recordings of an event set are on disk, how they are split, and which are missing or too many."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tksbench.data.dataset import DataSet, FileStatus
from tksbench.data.errors import DataError
from tksbench.data.event_splits import Listing, list_recordings, read_manifest
from tksbench.data.places import first_of, is_copy
from tksbench.data.registry import info

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


class Recordings(DataSet):
    """An event set as a folder of recordings.

    Attributes:
        suffixes: Of its files; a later one counts where there are none of an earlier one.
        depth: Folders above a recording.
        strict: Whether stand-in data may have no other recordings than the published ones, too.
    """

    suffixes: tuple[str, ...] = (".bin",)
    depth: int = 1
    strict: bool = False

    def recordings(self, folder: Path) -> dict[str, Path]:
        """Where each recording is, by its published name."""
        for suffix in self.suffixes:
            if found := list_recordings(folder, self.depth, suffix):
                return found
        return {}

    def find_listing(self, split: str, folder: Path, *, complete: bool) -> Listing:
        """List the recordings on disk and split them; see `split`."""
        return self.split(self.recordings(folder), split, folder, complete=complete)

    def split(self, found: Mapping[str, Path], split: str, folder: Path, *, complete: bool) -> Listing:
        """Split recordings.

        Args:
            found: Where each recording is, by its published name.
            split: Name of the split.
            folder: The data set's folder, for messages.
            complete: Whether the whole published set must be there (false for stand-in data).

        Raises:
            DataError: No such split, or recordings are missing or unexpected.
        """
        splits = info(self.name).splits
        if split not in splits:
            raise DataError(f"{self.name}: no split {split!r}; it has {', '.join(splits)}")
        if (complete or self.strict) and (odd := self.surplus(found)):
            raise DataError(f"{folder}: {_too_many(odd)}")
        listing = self.halves(found, split, folder, complete=complete)
        if not (listing.train and listing.test):
            raise DataError(f"{folder}: found {len(listing.train)} training and {len(listing.test)} test recordings")
        return listing

    def halves(self, found: Mapping[str, Path], split: str, folder: Path, *, complete: bool) -> Listing:
        """The training and the test recordings; arguments and errors as for `split`."""
        raise NotImplementedError

    def surplus(self, found: Mapping[str, Path]) -> list[Path]:
        """Recordings that are too many: copies of others, and those of names that no published one has."""
        raise NotImplementedError

    def classes(self, listing: Listing) -> list[str]:
        """Class names in the order of their labels: ASCII order (docs/protocol.md#n-caltech101)."""
        return sorted({class_of(recording) for recording in (*listing.train, *listing.test)})

    def is_published(self, listing: Listing) -> bool:
        """Whether a complete listing is the published one to the name."""
        return listing == read_manifest(self.name, "natural")

    def judge(self, found: Mapping[str, Path], folder: Path, called: str) -> FileStatus:
        """Say whether the recordings that were found are the published ones.

        Args:
            found: Where each recording is, by its published name.
            folder: The data set's folder.
            called: The folder's name for people.
        """
        entry = info(self.name)
        odd = self.surplus(found)
        try:
            listing = self.split(found, "natural", folder, complete=True)
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
        note = "" if self.is_published(listing) else "; its file numbers have gaps, unlike the committed manifest's"
        return FileStatus(called, "ok", f"{sizes[0]} + {sizes[1]} recordings, sha256 {listing.sha256}{note}")


def beyond(
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


def _too_many(odd: Sequence[Path]) -> str:
    copies = [path for path in odd if is_copy(path.name)]
    files = first_of(f"{path.parent.name}/{path.name}" for path in copies or odd)
    one = len(odd) == 1
    kind = f"{'a copy' if one else 'copies'}" if copies else f"no recording{'s' * (not one)} of the published set"
    return f"{len(odd)} file{'s' * (not one)} too many ({files}: {kind}); move {'it' if one else 'them'} elsewhere"


def class_of(recording: str) -> str:
    """The class folder of a recording."""
    return recording.split("/")[-2]
