"""Arrays of a run's directory: what is read is what was written, and nothing a file says is believed."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tksbench.runs import LedgerError
from tksbench.runs.arrays import read_array, read_arrays

if TYPE_CHECKING:
    from pathlib import Path


def npy(array: np.ndarray) -> bytes:  # type: ignore[type-arg]
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array(3.0),
        np.zeros((0, 2), np.int16),
        np.array([True, False]),
        np.arange(3, dtype=">u4"),
    ],
    ids=["three axes", "columns first", "no axis", "empty", "truth", "big-endian"],
)
def test_an_array_comes_back_as_it_was(tmp_path: Path, array: np.ndarray) -> None:  # type: ignore[type-arg]
    np.save(tmp_path / "x.npy", array)
    found = read_array(tmp_path / "x.npy")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_the_length_of_a_header_is_not_believed(tmp_path: Path) -> None:
    raw = bytearray(npy(np.zeros((2, 3), np.float32)))
    raw[6] = 2  # the format whose length has 32 bits: 660 MB here
    (tmp_path / "x.npy").write_bytes(raw)
    tracemalloc.start()
    with pytest.raises(LedgerError, match=r"format 2\.0 is not known"):
        read_array(tmp_path / "x.npy")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1e6


def _header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


GOOD = npy(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (GOOD[:-1], r"shape \[2, 3\] of float32 needs 24 bytes, and 23 are there"),
        (GOOD + b"\0", r"shape \[2, 3\] of float32 needs 24 bytes, and 25 are there"),
        (b"", "EOF"),
        (b"PK\x03\x04" + bytes(60), "magic"),
        (b"\x93NUMPY\x03\x00" + GOOD[8:], r"format 3\.0 is not known"),
        (npy(np.array(["ab"])), "its type is <U2"),
        (npy(np.zeros(2, [("a", "i4")])), "its type is"),
        (npy(np.zeros(2, complex)), "its type is complex128"),
        (npy(np.zeros(2, "M8[s]")), "its type is"),
        (
            _header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n") + b"cos\nsystem\n",
            "its type is object",
        ),
        (_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -6), }\n") + bytes(24), r"shape \[-1, -6\]"),
        (_header("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 99), }\n"), "needs 3,95"),
        (_header("{" * 5000), "not an array of numbers"),
        (_header("__import__('os').system('true')\n"), "not an array of numbers"),
    ],
    ids=range(14),
)
def test_what_is_no_array_of_numbers_is_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(raw)
    with pytest.raises(LedgerError, match=message) as caught:
        read_array(path)
    assert str(caught.value).startswith(f"{path}: not an array of numbers: ")
    assert len(str(caught.value)) < len(str(path)) + 250


def test_an_array_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"x\.npy: cannot be read: No such file or directory$"):
        read_array(tmp_path / "x.npy")


def test_arrays_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", a=np.arange(2), b=np.arange(3), c=np.array(["text"]))
    assert [array.tolist() for array in read_arrays(tmp_path / "x.npz", ("b", "a"))] == [[0, 1, 2], [0, 1]]


def _zip(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in members.items():
            archive.writestr(f"{name}.npy", raw)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (_zip(b=GOOD), "no item named 'a.npy'"),
        (_zip(a=GOOD[:-1]), r"needs 24 bytes, and 23 are there"),
        (_zip(a=npy(np.array(["text"]))), "its type is"),
        (_zip(a=GOOD)[:-5], "not a zip file"),
        (_zip(a=GOOD).replace(b"\x08\0", b"\x63\0"), "compression method is not supported"),
        (b"", "not a zip file"),
    ],
    ids=range(6),
)
def test_what_holds_no_such_arrays_is_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(raw)
    with pytest.raises(LedgerError, match=message) as caught:
        read_arrays(path, ["a"])
    assert str(caught.value).startswith(f"{path}: not arrays of numbers: ")


def test_a_flipped_bit_in_packed_arrays_is_noticed(tmp_path: Path) -> None:
    raw = bytearray(_zip(a=npy(np.random.default_rng(0).random(50))))
    raw[200] ^= 1
    (tmp_path / "x.npz").write_bytes(raw)
    with pytest.raises(LedgerError, match="not arrays of numbers"):
        read_arrays(tmp_path / "x.npz", ["a"])


def test_an_array_larger_than_packing_can_make_it_is_not_unpacked(tmp_path: Path) -> None:
    raw = _zip(a=GOOD)
    size = len(GOOD).to_bytes(4, "little")
    assert raw.count(size) >= 2
    (tmp_path / "x.npz").write_bytes(raw.replace(size, (2**31).to_bytes(4, "little")))
    with pytest.raises(LedgerError, match=r"a\.npy says that it holds 2,147,483,648 bytes"):
        read_arrays(tmp_path / "x.npz", ["a"])


def test_packed_arrays_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"x\.npz: cannot be read: No such file or directory$"):
        read_arrays(tmp_path / "x.npz", ["a"])
