"""Arrays of a run's directory, read so that a damaged or doctored file costs a message and nothing else.

`numpy.load` makes room for whatever a header asks for before it looks how much is there, and its errors are of many
kinds. Here the header must agree with the file's size, and hold plain numbers.
"""

from __future__ import annotations

import io
import math
import warnings
import zipfile
import zlib
from tokenize import TokenError
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from tksbench.runs.errors import LedgerError
from tksbench.runs.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_NUMBERS = "biuf"  # kinds of dtype: truth values, whole numbers, floating point
_MOST_PACKED = 1100  # times that DEFLATE can make a file smaller
_FAULTS = (ValueError, SyntaxError, TypeError, TokenError, RecursionError, MemoryError, OverflowError)


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write a .npy file atomically."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def read_array(path: Path) -> NDArray[Any]:
    """Read a .npy file of numbers.

    Raises:
        LedgerError: If it is missing, cut, too long, or holds anything but numbers.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return _read(file, size)
    except OSError as error:
        raise LedgerError(f"{path}: cannot be read: {error.strerror}") from None
    except _FAULTS as error:
        raise LedgerError(f"{path}: not an array of numbers: {_line(error)}") from None


def read_arrays(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    """Read the arrays of these names from an .npz file.

    Raises:
        LedgerError: If the file or one of the arrays is missing, damaged, or holds anything but numbers.
    """
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            return [_member(archive, f"{name}.npy", size) for name in names]
    except OSError as error:
        raise LedgerError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError, *_FAULTS) as error:
        raise LedgerError(f"{path}: not arrays of numbers: {_line(error)}") from None


def _member(archive: zipfile.ZipFile, name: str, size: int) -> NDArray[Any]:
    member = archive.getinfo(name)
    if member.file_size > _MOST_PACKED * size:
        raise ValueError(f"{name} says that it holds {member.file_size:,} bytes")
    with archive.open(member) as file:
        raw = file.read(member.file_size + 1)
    return _read(io.BytesIO(raw), len(raw))


def _read(file: IO[bytes], size: int) -> NDArray[Any]:
    version = np.lib.format.read_magic(file)
    if version != (1, 0):  # later ones are for records of many fields, and say in 32 bits how long a header to read
        raise ValueError(f"format {version[0]}.{version[1]} is not known")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how old the header looks
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.kind not in _NUMBERS or dtype.subdtype is not None:
        raise ValueError(f"its type is {dtype}")
    told, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if any(n < 0 for n in shape) or told != there:
        raise ValueError(f"shape {list(shape)} of {dtype} needs {told:,} bytes, and {there:,} are there")
    return np.frombuffer(file.read(), dtype).reshape(shape, order="F" if fortran else "C")


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
