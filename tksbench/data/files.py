"""Checksums and path lists. Imports neither numpy nor torch."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from typing import TYPE_CHECKING

from tksbench.data.errors import DataError
from tksbench.process import process_start, this_machine

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CHECKSUMS = "checksums.txt"


def md5_of(raw: bytes) -> str:
    """MD5 of bytes, as the publishers of these data sets give it."""
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()


def md5_of_file(path: Path) -> str:
    """MD5 of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def sha256_of_listing(lines: Iterable[str]) -> str:
    """SHA-256 of lines in the given order, each ended by a newline (`sha256sum` of the list as a text file)."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def read_file(path: Path, limit: int | None = None) -> bytes:
    """Read a file of a data set.

    Args:
        path: The file.
        limit: Bytes that it has at most.

    Raises:
        DataError: It is absent, unreadable or too large.
    """
    try:
        with path.open("rb") as file:
            if limit is not None and os.fstat(file.fileno()).st_size > limit:
                raise DataError(f"{path}: larger than {limit:,} bytes; is it another file?")
            return file.read()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:  # a listed name that cannot be one of a file
        raise DataError(f"{str(path)!r}: {error}") from error


def read_checksums(folder: Path) -> dict[str, str]:
    """Read the list that a miniature carries: lines of "md5  name", as `md5sum` writes them.

    Raises:
        DataError: The list is absent or a line has another form.
    """
    path = folder / CHECKSUMS
    sums = {}
    for number, line in enumerate(read_file(path).decode(errors="replace").splitlines(), start=1):
        digest, _, name = line.partition("  ")
        if len(digest) != 32 or not name:
            raise DataError(f"{path}:{number}: {line[:80]!r} is not 'md5  name'; delete {folder} to have it remade")
        sums[name] = digest
    return sums


def write_checksums(folder: Path) -> None:
    """Write the checksum list of all files of a miniature."""
    names = sorted(path.name for path in folder.iterdir())
    text = "".join(f"{md5_of_file(folder / name)}  {name}\n" for name in names)
    (folder / CHECKSUMS).write_text(text)


def new_scratch(folder: Path, name: str) -> Path:
    """A path beside `name`, not yet made, for what is moved into place when it is whole; says which process builds it.

    What builders that were killed on this machine have left behind under the same name is removed.
    """
    here = hashlib.sha256(this_machine().encode()).hexdigest()[:8]
    for path in folder.glob(f".{name}-{here}-*.tmp"):
        pid, _, start = path.name.removeprefix(f".{name}-{here}-").partition("-")
        if pid.isdecimal() and process_start(int(pid)) != start.partition("-")[0]:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    own = os.getpid()
    return folder / f".{name}-{here}-{own}-{process_start(own)}-{uuid.uuid4().hex[:8]}.tmp"
