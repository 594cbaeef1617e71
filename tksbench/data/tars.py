"""Files inside uncompressed tar archives, read in any order without unpacking. Imports neither numpy nor torch."""

from __future__ import annotations

import functools
import os
import resource
import tarfile
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, BinaryIO, NamedTuple, cast

from tksbench.data.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from gzip import GzipFile
    from pathlib import Path

_BLOCK = tarfile.BLOCKSIZE
_LONGEST = 100  # Other names are kept elsewhere than in the header in front of the data.
MAX_HEADER = 2**20  # bytes of a member's name and attributes
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class Careful:
    """A stream that a tar is read from: its headers are read whole, so they may not ask for all of the memory."""

    def __init__(self, stream: BinaryIO | GzipFile) -> None:
        self.seek, self.tell, self._read = stream.seek, stream.tell, stream.read

    def read(self, size: int) -> bytes:
        """Read as many bytes as a header, or a part of a member, may have."""
        if not 0 <= size <= MAX_HEADER:
            raise ValueError(f"a header of {size:,} bytes")
        return self._read(size)


class Member(NamedTuple):
    """One file in an archive: its name as the archive has it, and where its bytes lie."""

    name: str
    offset: int
    size: int


def members(path: Path) -> Iterator[Member]:
    """List the files of an archive by reading its headers; folders are passed over.

    Args:
        path: An uncompressed tar.

    Yields:
        The files, in the archive's order.

    Raises:
        DataError: The archive is compressed, damaged or cut short, or a member is a link, a device, a sparse
            file, has a path that leads out, or a name that its header cannot hold.
    """
    try:
        # Small reads: the default buffer of a parallel file system (its stripe) would read all data, too.
        with path.open("rb", buffering=8 * _BLOCK) as file, _open(file) as archive:
            for member in archive:
                if not member.isdir():
                    yield _plain(path, member)
            # Python takes a damaged header for the end; the true end is a block of zeros.
            if os.pread(file.fileno(), _BLOCK, archive.offset) != bytes(_BLOCK):
                raise DataError(f"{path}: damaged or cut short at byte {archive.offset:,}; restore it")
    except (tarfile.TarError, ValueError, OverflowError) as error:
        if kind := _compression(path):
            raise DataError(
                f"{path}: compressed with {kind}, so that no image can be read by itself; store it uncompressed"
            ) from error
        raise DataError(f"{path}: not a tar, or damaged ({error}); restore it") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _open(file: BinaryIO) -> tarfile.TarFile:
    return tarfile.open(fileobj=cast("IO[bytes]", Careful(file)), mode="r:")


def _plain(path: Path, member: tarfile.TarInfo) -> Member:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise DataError(f"{path}: member {member.name!r} leads out of its folder")
    if not member.isreg() or member.issparse() or member.size < 0:
        raise DataError(f"{path}: member {member.name!r} is a link, a device or a sparse file")
    if len(member.name) > _LONGEST or not member.name.isascii():
        raise DataError(f"{path}: member {member.name!r} has a name longer than {_LONGEST} letters, or not ASCII")
    return Member(member.name, member.offset_data, member.size)


def _compression(path: Path) -> str | None:
    with path.open("rb") as file:
        start = file.read(8)
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)


class _OpenFile:
    """A file descriptor that is closed with its last user."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)


def _most_open() -> int:
    """All of a thousand archives where the system allows it, else a quarter of the files a process may open."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1024 if allowed == resource.RLIM_INFINITY else min(1024, allowed // 4)


# Of this process. A forked child inherits the descriptors, which is safe: pread moves no shared position.
_opened = functools.lru_cache(maxsize=_most_open())(_OpenFile)


def read_member(path: str, file: str, offset: int, size: int) -> bytes:
    """Read one file from an archive.

    Args:
        path: The archive; it stays open for later reads.
        file: The member's name without its folders.
        offset: Where its bytes begin.
        size: How many there are.

    Raises:
        OSError: The archive cannot be opened or read.
        DataError: The header in front of these bytes is not that of this file and size.
    """
    opened = _opened(path)
    there = offset >= _BLOCK and 0 <= size <= os.fstat(opened.fd).st_size - offset
    raw = os.pread(opened.fd, _BLOCK + size, offset - _BLOCK) if there else b""
    try:
        header = tarfile.TarInfo.frombuf(raw[:_BLOCK], "utf-8", "surrogateescape")
        sound = header.isreg() and (PurePosixPath(header.name).name, header.size) == (file, size)
    except tarfile.HeaderError:
        sound = False
    if not sound or len(raw) != _BLOCK + size:
        raise DataError(f"{path}: holds no {file} of {size:,} bytes at byte {offset:,}")
    return raw[_BLOCK:]
