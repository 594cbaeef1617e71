"""Which recording is for training and which for testing: committed manifests, expanded and checked.

A manifest (`splits/*.txt`) holds lines "train PATH" and "test PATH" whose PATH may hold one range {first..last},
and the SHA-256 of the list it expands to. N-MNIST has a split of its own on disk and no manifest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from tksbench.data.errors import DataError
from tksbench.data.files import sha256_of_listing
from tksbench.data.places import is_left_behind, undoubled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MANIFESTS = {
    ("dvs_cifar10", "natural"): "dvs_cifar10_natural.txt",
    ("dvs_cifar10", "tebn"): "dvs_cifar10_tebn.txt",
    ("ncaltech101", "natural"): "ncaltech101_natural.txt",
}
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True)
class Listing:
    """Recordings relative to the data set's folder, in order, and the SHA-256 of their list."""

    train: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """SHA-256 of the lines "train PATH" and then "test PATH"."""
        return sha256_of_listing([f"train {name}" for name in self.train] + [f"test {name}" for name in self.test])


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """Sort key that orders numbers within names by value: image_2 before image_10."""
    parts = re.split(r"(\d+)", name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def read_manifest(name: str, split: str) -> Listing:
    """Expand a committed manifest and check it against its own SHA-256.

    Args:
        name: Data set.
        split: "natural" or, for dvs_cifar10, "tebn".

    Raises:
        DataError: No such split, or the manifest was changed.
    """
    if (name, split) not in MANIFESTS:
        known = ", ".join(sorted(s for n, s in MANIFESTS if n == name)) or "only its own split on disk"
        raise DataError(f"{name}: no split {split!r}; known: {known}")
    file = MANIFESTS[name, split]
    text = (resources.files("tksbench.data") / "splits" / file).read_text(encoding="utf-8")
    listing, expected = parse_manifest(text)
    if listing.sha256 != expected:
        raise DataError(f"splits/{file}: expands to SHA-256 {listing.sha256}, but it says {expected}")
    return listing


def parse_manifest(text: str) -> tuple[Listing, str]:
    """Return the list that a manifest expands to and the SHA-256 that it claims."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    entries = [line.partition(" ") for line in lines]
    parts = {
        part: tuple(path for kind, _, pattern in entries if kind == part for path in _expand(pattern))
        for part in ("sha256", "train", "test")
    }
    return Listing(parts["train"], parts["test"]), "".join(parts["sha256"])


def split_by_rule(names: Iterable[str]) -> Listing:
    """Split each class: the first round(0.9 n) recordings in natural order train, the others test.

    Source: docs/protocol.md#n-caltech101.

    Args:
        names: Paths "class/file".
    """
    by_class: dict[str, list[str]] = {}
    for name in sorted(names, key=natural_key):
        by_class.setdefault(name.partition("/")[0], []).append(name)
    train: list[str] = []
    test: list[str] = []
    for label in sorted(by_class):
        files = by_class[label]
        cut = round(0.9 * len(files))  # Python's own rounding, to even: the authors' code has it
        train += files[:cut]
        test += files[cut:]
    return Listing(tuple(train), tuple(test))


def list_recordings(folder: Path, depth: int, suffix: str) -> dict[str, Path]:
    """List recordings below a folder in natural order, without what systems leave among them.

    Args:
        folder: The data set's folder.
        depth: How many folders deep the recordings lie; a folder may be doubled (airplane/airplane).
        suffix: Of their names.

    Returns:
        Where each is, by its name relative to the folder as it is published.

    Raises:
        DataError: A folder cannot be read.
    """
    found = {"": folder}
    for level in range(depth + 1):
        inner = [(f"{name}/{path.name}".lstrip("/"), path) for name, top in found.items() for path in _inside(top)]
        if level < depth:
            found = {name: undoubled(path) for name, path in inner if path.is_dir()}
        else:
            found = {name: path for name, path in inner if name.endswith(suffix)}
    return {name: found[name] for name in sorted(found, key=natural_key)}


def _inside(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not is_left_behind(path.name)]
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror or error}") from error


def _expand(pattern: str) -> Iterator[str]:
    """Expand the one range {first..last} that a path may hold; leading zeros set the width."""
    found = _RANGE.search(pattern)
    if found is None:
        yield pattern
        return
    first, last = found.groups()
    for number in range(int(first), int(last) + 1):
        yield f"{pattern[: found.start()]}{number:0{len(first)}d}{pattern[found.end() :]}"
