"""What a data set is: facts that a plan reads in the text of its file, and how its files are read.

Imports neither numpy nor torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tksbench.data.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from tksbench.data.archives import Archive
    from tksbench.data.base import Data
    from tksbench.recipe import DataSpec


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set without reading it (sizes: paper section 4.1 and the official lists).

    Attributes:
        name: The name recipes use.
        title: The name people use.
        kind: "static" images [C, H, W] or "event" frames [T, C, H, W].
        num_classes: Number of classes of the real set (stand-in data may have fewer).
        n_train: Training samples of the real set.
        n_test: Test samples of the real set.
        in_chans: Channels C.
        size: Height and width H = W that the network sees.
        T: Time steps the paper uses.
        folder: The data set's folder under the data root.
        markers: Paths inside `folder` whose presence means that the set is there.
        augmentations: What a recipe may say as `data.augment`.
        splits: What it may say as `data.split`.
        packagings: Either of these is all that the set needs, where `markers` are not.
        also_called: Names of its folder besides its own, in small letters and digits alone.
        below: Where mirrors and other packages keep it below a folder of these names.
        entries: Pattern of a name of which there is one in the first marker, where other data may have markers alike.
        files: Whether all markers are files.
        indexed: Whether halves that are packed need an index before they are read.
        forms: Other forms of it that are not read: patterns of files that show one, and its name.
        why_not: Why these are not read.
        twin_of: The data set whose images its twin is made from, if it has one (`tksbench.data.twin`).
        incomplete: What is there, what is not, and what to do about it, for parts that people often lack.
    """

    name: str
    title: str
    kind: Literal["static", "event"]
    num_classes: int
    n_train: int
    n_test: int
    in_chans: int
    size: int
    T: int
    folder: str
    markers: tuple[str, ...] = ()
    augmentations: tuple[str, ...] = ("none",)
    splits: tuple[str, ...] = ("natural",)
    packagings: tuple[tuple[str, ...], ...] = ()
    also_called: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    entries: str = ""
    files: bool = False
    indexed: bool = False
    forms: tuple[tuple[tuple[str, ...], str], ...] = ()
    why_not: str = ""
    twin_of: str = ""
    incomplete: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class FileStatus:
    """What `verify` found at one path (relative to the data root)."""

    path: str
    state: Literal["ok", "missing", "corrupt", "surplus", "unsorted"]
    detail: str = ""


class DataSet:
    """Reads a data set. A subclass states the fields of `DatasetInfo` in its body, each as a plain value.

    `root` is the folder that holds the data set's own folder: `<data root>` for the real set, `<data root>/miniature`
    for stand-in data.

    Attributes:
        name: What recipes call it.
        archives: What it is published as.
        by_hand: What to fetch by hand, and from whom.
        into_folder: Whether that belongs into the data set's folder, not into the data root.
    """

    name: str = ""
    archives: tuple[Archive, ...] = ()
    by_hand: str = "it"
    into_folder: bool = False

    def load(self, spec: DataSpec, T: int, seed: int, root: Path) -> Data:
        """Read both halves.

        Args:
            spec: The data part of a run's specification.
            T: Time steps (event sets: number of frames, 0 for recordings as they are; static sets ignore it).
            seed: The run's seed; together with epoch and index it decides every augmentation.
            root: See above.

        Raises:
            DataError: A file is missing, altered, truncated or malformed, or the specification cannot be met.
        """
        raise NotImplementedError

    def verify(self, root: Path) -> list[FileStatus]:
        """Say of each part of the real set whether it is whole."""
        raise NotImplementedError

    def make_miniature(self, root: Path) -> None:
        """Write stand-in data below an empty folder, in the layout and format of the real set.

        Raises:
            DataError: There is none for this set.
        """
        raise DataError(f"{self.name} has no stand-in data: ask for data.source=real")

    def ensure_twin(self, spec: DataSpec, root: Path) -> Path:
        """Make what a run needs of the twin of this data set, unless it is there.

        Returns:
            The folder below which it has the layout of the real set.

        Raises:
            DataError: There is none of this set, or what it is made of is not there.
        """
        raise DataError(f"{self.name} has no twin: ask for data.source=real")

    def install(self, root: Path) -> tuple[list[FileStatus], list[str]] | None:
        """Put the set in place from what is there of it.

        Returns:
            What `verify` finds then, and the archives that were used; None if its archives are just to be unpacked.
        """
        return None
