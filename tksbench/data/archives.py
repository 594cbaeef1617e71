"""Unpacking a data set's published archives, without trusting them."""

from __future__ import annotations

import contextlib
import gzip
import re
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, cast

from tksbench.data.errors import DataError
from tksbench.data.files import md5_of_file
from tksbench.data.places import uncopied
from tksbench.data.tars import Careful

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAX_BYTES = 64 * 2**30  # of all unpacked files; the largest of these archives holds a tenth of it
MAX_MEMBERS = 500_000
MAX_RATIO = 200  # of unpacked to packed; text has ten, images and logits one
_SUFFIX = re.compile(r"\.(tar\.gz|tgz|tar|zip)$")
_SMALL = 2**20  # which an archive may unpack to in any case


@dataclass(frozen=True)
class Archive:
    """One published archive.

    Attributes:
        file: Its file name.
        inside: The folder to take out of it; "." for all files at its top.
        to: Where that folder goes, relative to the data root.
        md5: Published MD5, None where none was published.
    """

    file: str
    inside: str
    to: str
    md5: str | None = None


class _Budget:
    """Refuses what no archive of a data set holds: links, paths that lead out, endless data."""

    def __init__(self, path: Path) -> None:
        self._path, self._bytes, self._members = path, 0, 0
        self._most = min(MAX_BYTES, _SMALL + MAX_RATIO * path.stat().st_size)

    def admit(self, name: str, size: int, plain: bool) -> None:
        """Check one member before it is written."""
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in name.partition("/")[0]:
            raise DataError(f"{self._path}: member {name!r} leads out of the folder; nothing was installed")
        if not plain or size < 0:
            raise DataError(f"{self._path}: member {name!r} is a link or a device; nothing was installed")
        self._bytes, self._members = self._bytes + size, self._members + 1
        if self._bytes > self._most or self._members > MAX_MEMBERS:
            raise DataError(
                f"{self._path}: unpacks to more than {self._most:,} bytes or {MAX_MEMBERS:,} files, "
                "which no data set here does; nothing was installed"
            )


def _unpack_tar(path: Path, into: Path) -> None:
    budget = _Budget(path)
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    with (
        gzip.open(path) if zipped else path.open("rb") as stream,
        tarfile.open(fileobj=cast("IO[bytes]", Careful(stream)), mode="r:") as archive,
    ):
        for member in archive:
            budget.admit(member.name, member.size, member.isreg() or member.isdir())
            archive.extract(member, into, filter="data")


def _unpack_zip(path: Path, into: Path) -> None:
    budget = _Budget(path)
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            kind = (member.external_attr >> 16) & 0o170000
            budget.admit(member.filename, member.file_size, kind in (0, 0o100000, 0o040000))
            archive.extract(member, into)


@contextlib.contextmanager
def unpacked(path: Path, beside: Path) -> Iterator[Path]:
    """Unpack a .tar, .tgz, .tar.gz or .zip into a temporary folder.

    Args:
        path: The archive.
        beside: Where to make the temporary folder, so that a rename can move the result.

    Yields:
        The folder; it is removed at the end.

    Raises:
        DataError: The archive is damaged, holds links or paths that lead out, or is far too large.
    """
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=beside) as name:
        try:
            (_unpack_zip if path.suffix == ".zip" else _unpack_tar)(path, Path(name))
        except DataError:
            raise
        except Exception as error:  # a damaged archive can raise nearly anything
            if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
                raise DataError(f"{path}: cannot be unpacked in {beside}: {error}") from error
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"{path}: damaged archive: {reason.rstrip(':')}; download it again") from error
        yield Path(name)


def find_archive(archive: Archive, folders: Iterable[Path]) -> Path | None:
    """Where an archive lies: under its own name, as browsers rename and unpack it (`x (1).tgz`, `x.tar`), or as a zip.

    Args:
        archive: What the archive is.
        folders: Where to look, in order.
    """
    known = list(folders)
    for folder in known:
        if (folder / archive.file).is_file():
            return folder / archive.file
    stem = _SUFFIX.sub("", archive.file)
    for folder in known:
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            name = uncopied(path.name) or path.name
            if _SUFFIX.search(name) and _SUFFIX.sub("", name) == stem and path.is_file():
                return path
    return None


def install(archive: Archive, path: Path, root: Path, whole: Callable[[Path], Path | None] | None = None) -> None:
    """Verify an archive, unpack it, and move its data into place; what is already there stays.

    Args:
        archive: What the archive is.
        path: Where it lies.
        root: The data root.
        whole: Finds the data set's folder where an archive was unpacked, if all its files are as published: then it
            is taken whatever the archive's own MD5 is.

    Raises:
        DataError: Its MD5 is not the published one (nor are its files), it is damaged or unsafe, or it lacks the
            expected folder.
    """
    found = md5_of_file(path) if archive.md5 else None
    differs = f"{path}: MD5 {found}, expected {archive.md5} (file size {path.stat().st_size} bytes)"
    if found != archive.md5 and whole is None:
        raise DataError(
            f"{differs}: damaged, or packed anew. Download it again; or, if you know what is in it, unpack it to "
            f"{root / archive.to} yourself"
        )
    with unpacked(path, root) as folder:
        source: Path | None = folder / archive.inside
        if found != archive.md5 and whole is not None and (source := whole(folder)) is None:
            raise DataError(f"{differs}, and its files are not the published ones either; download it again")
        if source is None or not source.is_dir():
            raise DataError(f"{path}: holds no folder {archive.inside}/; is it another archive?")
        target = root / archive.to
        target.parent.mkdir(parents=True, exist_ok=True)
        if source != folder and not target.exists():
            source.rename(target)
            return
        target.mkdir(exist_ok=True)
        for entry in source.iterdir():
            if not (target / entry.name).exists():
                entry.rename(target / entry.name)
