"""Frames of a whole data set in one memory-mapped file, keyed by everything that shapes them.

The file is an ordinary .npy with 64 more bytes at its end: the SHA-256 of the recordings that it was made from, and
that of all before it. It is written under a name of its own and moved into place, by one process at a time where
the folder can be locked, and harmlessly by several where not.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import logging
import math
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tksbench.data.errors import DataError
from tksbench.data.files import new_scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

log = logging.getLogger("tksbench.data")
CACHE_VERSION = 2
_DIGEST_BYTES = 32


def cache_folder(root: Path) -> Path:
    """The folder of all frame caches: `TKSBENCH_CACHE`, else `cache` in the data set's root."""
    named = os.environ.get("TKSBENCH_CACHE")
    return Path(named).expanduser() if named else root / "cache"


def cache_key(files: Mapping[str, Path], settings: Mapping[str, Any]) -> str:
    """Hash what shapes the frames: each file's name, size and time of change, and all settings.

    Args:
        files: Where each recording is, by its published name, in order.
        settings: JSON values: framing, sensor, size, reader versions and so on.

    Returns:
        16 hexadecimal digits.
    """
    stats = {name: path.stat() for name, path in files.items()}
    listing = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()]
    text = json.dumps([CACHE_VERSION, listing, dict(settings)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def open_or_build(
    path: Path,
    rows: Iterable[NDArray[Any]],
    shape: tuple[int, ...],
    dtype: type[np.generic],
    sources: Callable[[], bytes] = lambda: bytes(_DIGEST_BYTES),
) -> str:
    """Make sure that a cache is there and sound; build it where it is absent, or rebuild it where it is damaged.

    Args:
        path: The cache file.
        rows: The frames of each recording, made only when they are needed.
        shape: Shape of the whole array; its first entry is the number of rows.
        dtype: Type of the array.
        sources: Asked after the last row for the SHA-256 of what the rows were made from: `sources_of`.

    Returns:
        The SHA-256 of the file (hexadecimal).

    Raises:
        DataError: The cache cannot be written.
    """
    header = _header(shape, np.dtype(dtype))
    size = len(header) + math.prod(shape) * np.dtype(dtype).itemsize + 2 * _DIGEST_BYTES
    digest = sound_digest(path) if _is_of(path, header, size) else None
    if digest is not None:
        return digest
    with turn(path.parent, f"another process builds frames in {path.parent}"):
        digest = sound_digest(path) if _is_of(path, header, size) else None  # somebody else's work meanwhile
        return digest or _build(path, lambda file: _write(file, rows, header, np.dtype(dtype), sources))


def _build(path: Path, write: Callable[[Path], str]) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        building = new_scratch(path.parent, path.stem)
        building.touch(exist_ok=False)
    except OSError as error:
        raise DataError(
            f"{path.parent}: the frame cache cannot be written ({error.strerror}); "
            "set TKSBENCH_CACHE to a folder you own"
        ) from error
    try:
        digest = write(building)
        building.replace(path)
    except OSError as error:
        raise DataError(f"{path}: the frame cache cannot be written: {error.strerror}") from error
    finally:
        building.unlink(missing_ok=True)
    return digest


@contextmanager
def turn(folder: Path, why: str) -> Iterator[None]:
    """One process at a time builds in a folder: runs that start side by side need the same files.

    Where the folder cannot be made or locked, each builds its own copy, which is slower and as right.

    Args:
        folder: It is made if it is not there.
        why: What the log says while another process has its turn.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield
        return
    try:
        with suppress(OSError):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("%s: waiting for it", why)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def open_frames(path: Path) -> NDArray[Any]:
    """Map the array of a cache that `open_or_build` has seen, read-only."""
    frames: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return frames


def sources_of(path: Path) -> str:
    """The SHA-256 (hexadecimal) of the recordings that a cache was made from."""
    with path.open("rb") as file:
        file.seek(-2 * _DIGEST_BYTES, os.SEEK_END)
        return file.read(_DIGEST_BYTES).hex()


def sound_digest(path: Path) -> str | None:
    """Return the checksum of a cache file, or None where it is absent or does not match its checksum."""
    if not path.is_file() or path.stat().st_size <= _DIGEST_BYTES:
        return None
    digest = hashlib.sha256()
    left = path.stat().st_size - _DIGEST_BYTES
    with path.open("rb") as file:
        while chunk := file.read(min(left, 1 << 20)):
            digest.update(chunk)
            left -= len(chunk)
        return digest.hexdigest() if file.read() == digest.digest() else None


def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """The first bytes of a .npy file of this shape and type."""
    buffer = io.BytesIO()
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def _is_of(path: Path, header: bytes, size: int) -> bool:
    """Whether a file has the size and the beginning that the cache must have: a checksum alone anyone can make."""
    if not path.is_file() or path.stat().st_size != size:
        return False
    with path.open("rb") as file:
        return file.read(len(header)) == header


def _write(
    path: Path, rows: Iterable[NDArray[Any]], header: bytes, dtype: np.dtype[Any], sources: Callable[[], bytes]
) -> str:
    """Write the array and its checksum; returns the checksum."""
    digest = hashlib.sha256(header)
    with path.open("wb") as file:
        file.write(header)
        for row in rows:
            raw = np.ascontiguousarray(row, dtype=dtype).tobytes()
            digest.update(raw)
            file.write(raw)
        made_from = sources()
        digest.update(made_from)
        file.write(made_from)
        file.write(digest.digest())
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()
