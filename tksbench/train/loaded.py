"""Whether what this process has loaded is what it passes for: installed packages, and Python's compiled files.

Whoever installs a package leaves a list of its files with their checksums beside it (RECORD, see "Recording installed
projects" of the Python Packaging User Guide). And Python takes a compiled file in place of a source of the same size
and second of change, also where the source was edited and taken back within that second.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import marshal
import os
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tksbench.runs.provenance import PACKAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_CHECKED = 0b11  # flags of a compiled file that Python compares with its source by content (PEP 552)
_HEADER = 16  # bytes before the code


class Stated(NamedTuple):
    """What a RECORD says of a file: its SHA-256 in unpadded URL-safe base 64, and its size; "" where it does not."""

    digest: str
    size: str


def edited_packages(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Files of installed packages that are not as they were installed.

    Python files that this process has loaded are compared by content, compiled libraries by size.

    Args:
        packages: Names of distributions; those that are not installed, or have no list of their files, are passed over.

    Returns:
        The first 16 hexadecimal digits of each file's SHA-256, by a name for people.
    """
    loaded = _files_loaded()
    found = {}
    for package in packages:
        for path, stated in _record(package).items():
            if path.endswith(".py"):
                wrong = path in loaded and stated.digest and _digest(path) not in ("", stated.digest)
            else:
                wrong = stated.size and _size(path) not in ("", stated.size)
            if wrong:
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
                found[f"{'/'.join(path.split('/')[-3:])} of {package}, edited since it was installed"] = content
    return found


def stale_bytecode(sources: Iterable[str]) -> list[str]:
    """Compiled files that Python took in place of these sources, and that are not of what the sources are now."""
    return [cached for source in sources if (cached := _cached(source)) and _is_stale(source, cached)]


def _files_loaded() -> set[str]:
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return {real_file(file) for file in files if isinstance(file, str)}


def real_file(file: str) -> str:
    """A module's file with its links followed; folders are looked at once, since there are thousands of modules."""
    folder, name = os.path.split(file)
    path = os.path.join(_real_folder(folder), name)  # noqa: PTH118 - strings, for speed
    return os.path.realpath(path) if os.path.islink(path) else path  # noqa: PTH114


@cache
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


@cache
def _record(package: str) -> Mapping[str, Stated]:
    """The Python files and compiled libraries of a distribution, by path."""
    try:
        installed = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return {}
    if (installed.read_text("INSTALLER") or "").strip() == "conda":  # it rewrites paths in libraries it has listed
        return {}
    folder = os.path.realpath(str(installed.locate_file("")))
    rows = csv.reader((installed.read_text("RECORD") or "").splitlines())
    return {
        os.path.join(folder, row[0]): Stated(row[1].removeprefix("sha256="), row[2])  # noqa: PTH118 - for speed
        for row in rows
        if len(row) == 3 and (row[0].endswith(".py") or ".so" in row[0])
    }


@cache
def _digest(path: str) -> str:
    """As a RECORD has it; "" for a file that cannot be read."""
    try:
        content = Path(path).read_bytes()
    except OSError:
        return ""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _size(path: str) -> str:
    try:
        return str(os.stat(path).st_size)  # noqa: PTH116 - for speed
    except OSError:
        return ""


def _cached(source: str) -> str | None:
    """Where Python keeps what it compiles of a source, if the source was written or renamed after that was kept."""
    from importlib.util import cache_from_source

    cached = cache_from_source(source)
    try:
        newer = os.stat(source).st_ctime_ns >= os.stat(cached).st_mtime_ns  # noqa: PTH116 - for speed
    except OSError:
        return None
    return cached if newer else None


def _is_stale(source: str, cached: str) -> bool:
    try:
        packed, text, about = Path(cached).read_bytes(), Path(source).read_bytes(), Path(source).stat()
    except OSError:
        return False
    flags, rest = int.from_bytes(packed[4:8], "little"), packed[8:_HEADER]
    made_of = int(about.st_mtime).to_bytes(8, "little")[:4] + about.st_size.to_bytes(8, "little")[:4]
    if flags == _CHECKED or (flags == 0 and rest != made_of):
        return False  # Python has compiled the source itself
    try:
        return bool(marshal.loads(packed[_HEADER:]) != compile(text, source, "exec", dont_inherit=True))  # noqa: S302
    except (ValueError, EOFError, TypeError, SyntaxError):
        return True
