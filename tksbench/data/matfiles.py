"""MATLAB's files of lists, read only if all that they state of themselves is true.

No checksums are published of these lists, and SciPy's reader makes room for what a file says before it looks whether it
is there: a damaged or hostile length of a few bytes asks for gigabytes, and some damaged files end the process (a bus
error in SciPy 1.17, which `python -m tests.fuzz mat` finds within 3,000 inputs when nothing is checked). So every
length, shape and kind is checked first, against the bytes at hand.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tksbench.data.errors import DataError
from tksbench.data.files import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

MAX_BYTES = 16_000_000  # of a file, and of each compressed part when unpacked; the largest of these lists has a tenth
_MAX_RATIO = 64  # of unpacked to packed; these lists have 20
_MAX_DEPTH = 8
_SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}  # of a value, by type
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_CELL, _STRUCT, _CHAR, _NUMBERS = 1, 2, 4, range(6, 16)  # kinds of array
_COMPLEX = 0x0800


def load_mat(path: Path, *keys: str) -> list[NDArray[Any]]:
    """Read variables of a MATLAB file (version 5 to 7) as 1-D arrays.

    Args:
        path: The file.
        keys: The variables.

    Raises:
        DataError: The file is absent, too large, damaged, of another version, or lacks a variable.
    """
    from scipy.io import loadmat

    raw = read_file(path, MAX_BYTES)
    try:
        _check(raw)
        content = loadmat(io.BytesIO(raw), squeeze_me=True)  # type: ignore[arg-type]  # takes streams, too
    except Exception as error:  # a damaged file can raise nearly anything
        raise DataError(f"{path}: not a readable MATLAB file: {error}; restore it from the archive") from error
    if missing := [key for key in keys if key not in content]:
        raise DataError(f"{path}: holds no variable {missing[0]!r}; is it another file of the data set?")
    return [np.atleast_1d(content[key]) for key in keys]


def _check(raw: bytes) -> None:
    """Make sure that every part of a file is as long as it says.

    Raises:
        ValueError: It is not, or there is a kind of array that no list is made of.
    """
    order = {b"IM": "<", b"MI": ">"}.get(raw[126:128])
    if order is None or 0 in raw[:4] or raw[125 if order == "<" else 124] != 1:
        raise ValueError("not of version 5 to 7")
    for kind, part in _elements(memoryview(raw)[128:], order):
        if kind == _COMPRESSED:
            for inner, content in _elements(memoryview(_inflated(part)), order):
                _check_array(inner, content, order)
        else:
            _check_array(kind, part, order)


def _inflated(part: memoryview) -> bytes:
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(part, min(MAX_BYTES, _MAX_RATIO * len(part)))
    if not unpacker.eof:
        raise ValueError("a compressed part is cut, or unpacks to far too much")
    return content


def _elements(raw: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """The type and the bytes of one element after the other."""
    place = 0
    while place < len(raw):
        if place + 8 > len(raw):
            raise ValueError("cut within a tag")
        kind, size = struct.unpack_from(f"{order}II", raw, place)
        start, length = place + 8, size
        if kind >> 16:  # up to four bytes are kept within the tag
            kind, length, start = kind & 0xFFFF, kind >> 16, place + 4
            place += 8
            if length > 4:
                raise ValueError("a small element is too large")
        else:
            place = start + (length if kind == _COMPRESSED else -(-length // 8) * 8)
        if start + length > len(raw):
            raise ValueError(f"an element of {length:,} bytes is cut")
        yield kind, raw[start : start + length]


def _check_array(kind: int, raw: memoryview, order: str, depth: int = 0) -> None:
    if kind != _MATRIX or depth > _MAX_DEPTH:
        raise ValueError(f"an element of type {kind} where an array should be, or nested too deep")
    if not raw:  # an empty array may be nothing at all
        return
    parts = list(_elements(raw, order))
    if len(parts) < 3 or [part[0] for part in parts[:3]] != [_UINT32, _INT32, _INT8] or len(parts[0][1]) != 8:
        raise ValueError("an array without flags, shape and name")
    (flags,) = struct.unpack_from(f"{order}I", parts[0][1])
    shape = struct.unpack(f"{order}{len(parts[1][1]) // 4}i", parts[1][1])
    count, rest = math.prod(shape), parts[3:]
    if not 2 <= len(shape) <= 8 or min(shape) < 0:
        raise ValueError(f"an array of shape {list(shape)[:8]}")
    if flags & 0xFF in (_CELL, _STRUCT):
        if flags & 0xFF == _STRUCT:
            count *= _field_count(rest, order)
            rest = rest[2:]
        if count != len(rest):
            raise ValueError(f"{len(rest)} cells where {count} should be")
        for inner, content in rest:
            _check_array(inner, content, order, depth + 1)
    elif flags & 0xFF == _CHAR or flags & 0xFF in _NUMBERS:
        if len(rest) != 1 + bool(flags & _COMPLEX) or any(
            kind not in _SIZES or len(content) < count or len(content) % _SIZES[kind] for kind, content in rest
        ):
            raise ValueError(f"an array of {count} values holds another number of them")
    else:
        raise ValueError(f"an array of kind {flags & 0xFF}")


def _field_count(parts: list[tuple[int, memoryview]], order: str) -> int:
    """The number of fields of a structure, from the two elements that tell their names."""
    if len(parts) < 2 or parts[0][0] != _INT32 or len(parts[0][1]) != 4:
        raise ValueError("a structure without fields")
    length: int = struct.unpack(f"{order}i", parts[0][1])[0]
    if not 1 <= length <= 64 or parts[1][0] != _INT8 or len(parts[1][1]) % length:
        raise ValueError("a structure whose fields have no names")
    return len(parts[1][1]) // length
