"""What a reader under fuzzing is, and helpers of all of them."""

from __future__ import annotations

import dataclasses
import random
import tempfile
from collections.abc import Callable
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Reader:
    """A reader, and how its input is made.

    Attributes:
        name: What it is called.
        seeds: Valid inputs.
        read: Gets an input and a folder of its own; data or a named error may come out.
        repair: Mends the checksums of an input, so that what is behind them is reached; not always.
    """

    name: str
    seeds: Callable[[], list[bytes]]
    read: Callable[[bytes, Path], object]
    repair: Callable[[random.Random, bytes], bytes] = lambda rng, raw: raw


def write_file(folder: Path, name: str, raw: bytes) -> Path:
    """A file of this content."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    return path


def chosen(raw: bytes, names: tuple[str, ...]) -> tuple[str, bytes]:
    """The name that the first byte stands for, and the rest."""
    return names[raw[0] % len(names) if raw else 0], raw[1:]


def written(write: Callable[[Path], object]) -> bytes:
    """What a function writes into the file that it is given."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write(path)
        return path.read_bytes()
