"""Readers of event recordings in their published formats: AEDAT-2.0, AEDAT 4 and ATIS .bin.

NumPy alone: recordings are read and framed long before a training process imports torch.
The formats and the orientation are those of CIFAR10-DVS (docs/protocol.md#dvs-cifar10), N-Caltech101 and N-MNIST.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tksbench.data.framing import EventError, Events, to_frames
from tksbench.errors import TksbenchError

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    _Columns = tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.int64], NDArray[np.uint8]]

__all__ = ["EventError", "EventFileError", "Events", "read_aedat2", "read_aedat4", "read_atis", "to_frames"]

DVS128_SIDE = 128
ATIS_HEIGHT = 240
ATIS_OVERFLOW_ROW = 240
ATIS_OVERFLOW_US = 2**13
_AEDAT2_MAGIC, _AEDAT4_MAGIC = b"#!AER-DAT2.0", b"#!AER-DAT4"
_AEDAT2_RECORD = np.dtype([("address", ">u4"), ("t", ">u4")])
_DVS128_ADDRESS_MAX = 0x7FFF
_ATIS_RECORD_BYTES = 5


class EventFileError(TksbenchError):
    """A malformed event file; the message names the file and the byte offset of the fault.

    Args:
        fault: What is wrong, and where.
        mended: What the reader does about it where it may repair, for example "drops it"; None where it cannot.
        how: How the caller asks for that.
    """

    def __init__(self, fault: str, mended: str | None = None, how: str = "repair=True") -> None:
        super().__init__(f"{fault}; {how} {mended}" if mended else fault)
        self._fault, self._mended = fault, mended

    def in_recipe(self) -> EventFileError:
        """The same error for people who read recordings by a recipe."""
        return EventFileError(self._fault, self._mended, "data.repair=true")


class _Layout(NamedTuple):
    """Where the records of fixed size lie in a file."""

    start: int
    size: int

    def locate(self, index: int) -> str:
        """Say at which byte a record begins."""
        return f"byte {self.start + index * self.size}: "


def read_aedat2(path: str | os.PathLike[str], *, repair: bool = False) -> Events:
    """Read an AEDAT-2.0 recording of a DVS128, as CIFAR10-DVS is published.

    After '#' header lines come big-endian uint32 pairs (address, timestamp in us). The address holds polarity
    in bit 0, a coordinate in bits 1-7 and one in bits 8-14; the published orientation is x = 127 - bits 8-14,
    y = 127 - bits 1-7, p = 1 - bit 0 (SpikingJelly:cifar10_dvs.py:132-143).

    Args:
        path: The .aedat file.
        repair: Drop a cut last record and events off the sensor, and sort by time, instead of refusing.

    Returns:
        The events of the 128x128 sensor.

    Raises:
        EventFileError: Wrong header, no events, a cut record, an address off the sensor, or time running
            backwards; the last three only without `repair`.

    Examples:
        >>> events = read_aedat2("CIFAR10DVS/cat/cifar10_cat_0.aedat")  # doctest: +SKIP
        >>> frames = to_frames(events, T=10, height=128, width=128)  # doctest: +SKIP
    """
    raw = _read_bytes(path)
    start = _aedat2_header_length(path, raw)
    records = np.frombuffer(_whole_records(path, raw, start, _AEDAT2_RECORD.itemsize, repair), _AEDAT2_RECORD)
    address = records["address"].astype(np.uint32)
    t = records["t"].astype(np.int64)
    x = (127 - ((address >> 8) & 0x7F)).astype(np.int16)
    y = (127 - ((address >> 1) & 0x7F)).astype(np.int16)
    columns = (x, y, t, (1 - (address & 1)).astype(np.uint8))
    fault = "its address has bits above the 15 of a DVS128 (a special event, or another camera)"
    outside = address > _DVS128_ADDRESS_MAX
    return _checked(path, columns, outside, fault, _Layout(start, _AEDAT2_RECORD.itemsize), repair)


def read_atis(
    path: str | os.PathLike[str],
    overflow: bool = True,
    *,
    height: int | None = None,
    width: int | None = None,
    repair: bool = False,
) -> Events:
    """Read an ATIS .bin recording, as N-Caltech101 and N-MNIST are published.

    An event is five bytes: x, y, then polarity in bit 7 of the third byte and a big-endian timestamp in us in
    the remaining 23 bits (docs/protocol.md#n-caltech101).

    Args:
        path: The .bin file.
        overflow: Take row 240 for a timer overflow, as tonic does: it adds 2^13 us to its own and every
            later stamp and is no event. With False it is an ordinary event, as SpikingJelly reads it.
        height: Rows of the sensor; by default those of the ATIS (240, and row 240 where it is an event).
        width: Columns of the sensor; by default any that a byte can hold.
        repair: Drop a cut last record and events off the sensor, and sort by time, instead of refusing.

    Returns:
        The events, coordinates as recorded.

    Raises:
        EventFileError: No events, a cut record, a coordinate off the sensor, or time running backwards; the
            last three only without `repair`.
    """
    raw = _read_bytes(path)
    data = np.frombuffer(_whole_records(path, raw, 0, _ATIS_RECORD_BYTES, repair), np.uint8)
    x, y, high, middle, low = data.reshape(-1, _ATIS_RECORD_BYTES).astype(np.int64).T
    t = (high & 0x7F) << 16 | middle << 8 | low
    marker = (y == ATIS_OVERFLOW_ROW) if overflow else np.zeros(len(y), dtype=bool)
    t += ATIS_OVERFLOW_US * np.cumsum(marker)
    rows = height if height is not None else ATIS_HEIGHT + (not overflow)
    limit = width if width is not None else 256
    outside = ((y >= rows) | (x >= limit)) & ~marker
    columns = (x.astype(np.int16), y.astype(np.int16), t, (high >> 7).astype(np.uint8))
    fault = f"its coordinate is off the sensor of {rows} rows by {limit} columns"
    return _checked(path, columns, outside, fault, _Layout(0, _ATIS_RECORD_BYTES), repair, marker)


def read_aedat4(path: str | os.PathLike[str], *, repair: bool = False) -> Events:
    """Read an AEDAT 4 recording with the `aedat` package, as the re-encoded CIFAR10-DVS release is published.

    Coordinates and polarity are kept as stored; the first event stream of the file is read.

    Args:
        path: The .aedat4 file.
        repair: Sort by time and drop events off the 128x128 sensor instead of refusing.

    Returns:
        The events of the 128x128 sensor.

    Raises:
        EventFileError: The file is no AEDAT 4 file, holds no events, or (without `repair`) its events are out
            of order or off the sensor.
        TksbenchError: The optional `aedat` package is not installed.
    """
    if find_spec("aedat") is None:
        install = "pip install aedat (or use the .aedat release)"
        raise TksbenchError(f"{path}: reading .aedat4 needs the 'aedat' package: {install}")
    if not Path(path).is_file():
        raise EventFileError(f"{path}: no such event file")
    from tksbench.data.aedat4 import DECODER, DecodeError

    try:
        stored = DECODER.events(Path(path))
    except DecodeError as error:
        raise EventFileError(f"{path}: byte 0: not a readable AEDAT 4 file: {error}") from None
    if not len(stored):
        raise EventFileError(f"{path}: byte 0: no events in the file")
    x, y, t, p = (stored[name] for name in ("x", "y", "t", "on"))
    outside = (x >= DVS128_SIDE) | (y >= DVS128_SIDE)
    columns = (x.astype(np.int16), y.astype(np.int16), t.astype(np.int64), p.astype(np.uint8))
    fault = f"its coordinate is off the sensor of {DVS128_SIDE} rows by {DVS128_SIDE} columns"
    return _checked(path, columns, outside, fault, None, repair)


def is_aedat4(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as an AEDAT 4 recording does, whatever it is called."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(_AEDAT4_MAGIC)) == _AEDAT4_MAGIC
    except OSError:
        return False


def _read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a regular file; a pipe or a device, which may never end, is refused."""
    file = Path(path)
    if not file.exists():
        raise EventFileError(f"{path}: no such event file")
    if not file.is_file():
        raise EventFileError(f"{path}: not a regular file")
    try:
        return file.read_bytes()
    except OSError as error:
        raise EventFileError(f"{path}: cannot be read: {error.strerror}") from error


def _aedat2_header_length(path: str | os.PathLike[str], raw: bytes) -> int:
    """Return the byte offset of the first event.

    An event cannot be taken for a header line: the highest byte of a DVS128 address is 0, never '#'.
    """
    if not raw:
        raise EventFileError(f"{path}: byte 0: the file is empty; expected the header line '#!AER-DAT2.0'")
    if not raw.startswith(_AEDAT2_MAGIC):
        found = raw[: len(_AEDAT2_MAGIC)]
        hint = "; it is an AEDAT 4 file: use read_aedat4" if found.startswith(_AEDAT4_MAGIC) else ""
        raise EventFileError(f"{path}: byte 0: expected the header '#!AER-DAT2.0', found {found!r}{hint}")
    start = 0
    while raw.startswith(b"#", start):
        end = raw.find(b"\n", start)
        if end < 0:
            raise EventFileError(f"{path}: byte {start}: the file is cut within its header")
        start = end + 1
    return start


def _whole_records(path: str | os.PathLike[str], raw: bytes, start: int, size: int, repair: bool) -> memoryview:
    """Return the bytes of the events, without a cut last record where repair is asked for."""
    count, rest = divmod(len(raw) - start, size)
    if count == 0:
        raise EventFileError(f"{path}: byte {start}: no events in the file ({rest} bytes, an event has {size})")
    end = start + count * size
    if rest and not repair:
        raise EventFileError(f"{path}: byte {end}: the last record is cut ({rest} of {size} bytes)", "drops it")
    return memoryview(raw)[start:end]


def _checked(
    path: str | os.PathLike[str],
    columns: _Columns,
    outside: NDArray[np.bool_],
    fault: str,
    layout: _Layout | None,
    repair: bool,
    marker: NDArray[np.bool_] | None = None,
) -> Events:
    """Refuse or repair events off the sensor (`outside`) and out of order, and leave out `marker` records."""

    def where(index: int) -> str:
        return f"{path}: {'' if layout is None else layout.locate(index)}event {index}"

    if outside.any() and not repair:
        raise EventFileError(f"{where(int(outside.argmax()))}: {fault}", "drops such events")
    kept = np.flatnonzero(~(outside if marker is None else outside | marker))
    if len(kept) == 0:
        raise EventFileError(f"{where(0)}: no event in the file is one of the sensor")
    x, y, t, p = columns
    if len(kept) < len(outside):
        x, y, t, p = x[kept], y[kept], t[kept], p[kept]
    backwards = t[1:] < t[:-1]
    if backwards.any():
        if not repair:
            late = int(backwards.argmax()) + 1
            times = f"time runs backwards, from {t[late - 1]} to {t[late]} us"
            raise EventFileError(f"{where(int(kept[late]))}: {times}", "sorts them")
        order = np.argsort(t, kind="stable")
        x, y, t, p = x[order], y[order], t[order], p[order]
    return Events(x, y, t, p)
