"""Readers and framing: formats, orientation, faults, and agreement with tonic."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.aedat4 import aedat4
from tksbench.data.aedat4 import DECODER
from tksbench.data.events import (
    EventError,
    EventFileError,
    Events,
    read_aedat2,
    read_aedat4,
    read_atis,
    to_frames,
)
from tksbench.data.miniature_events import write_aedat2, write_atis
from tksbench.errors import TksbenchError

HEADER = b"#!AER-DAT2.0\r\n# a comment\r\n"
SAMPLES = Path(os.environ.get("TKSBENCH_SAMPLES", Path(__file__).parents[3] / "shared" / "data" / "samples"))


def aedat2(path: Path, *records: tuple[int, int], header: bytes = HEADER, tail: bytes = b"") -> Path:
    path.write_bytes(header + b"".join(struct.pack(">II", *record) for record in records) + tail)
    return path


def atis(path: Path, *records: tuple[int, int, int, int], tail: bytes = b"") -> Path:
    raw = b"".join(bytes([x, y]) + (p << 23 | t).to_bytes(3, "big") for x, y, t, p in records)
    path.write_bytes(raw + tail)
    return path


def some_events(n: int, side: int, seed: int = 0, last: int = 300_000) -> Events:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, side, (2, n)).astype(np.int16)
    t = np.sort(rng.integers(0, last, n))
    return Events(x, y, t, rng.integers(0, 2, n).astype(np.uint8))


def as_lists(events: Events) -> tuple[list[int], ...]:
    return tuple(column.tolist() for column in (events.x, events.y, events.t, events.p))


# ---- formats


def test_aedat2_takes_the_published_orientation(tmp_path: Path) -> None:
    # docs/protocol.md#dvs-cifar10: x = 127 - bits 8..14, y = 127 - bits 1..7, p = 1 - bit 0
    path = aedat2(tmp_path / "a.aedat", (3 << 8 | 5 << 1 | 1, 10), (0, 2**32 - 1))
    assert as_lists(read_aedat2(path)) == ([124, 127], [122, 127], [10, 2**32 - 1], [0, 1])


def test_atis_reads_bit_7_as_polarity_and_23_bits_of_time(tmp_path: Path) -> None:
    path = atis(tmp_path / "a.bin", (200, 100, 0x012345, 0), (7, 9, 0x7FFFFF, 1))
    assert as_lists(read_atis(path)) == ([200, 7], [100, 9], [0x012345, 0x7FFFFF], [0, 1])


def test_atis_overflow_row_adds_time_and_is_no_event(tmp_path: Path) -> None:
    path = atis(tmp_path / "a.bin", (1, 1, 100, 0), (0, 240, 0, 0), (2, 2, 50, 1), (0, 240, 60, 0), (3, 3, 70, 1))
    events = read_atis(path)
    assert as_lists(events) == ([1, 2, 3], [1, 2, 3], [100, 50 + 8192, 70 + 2 * 8192], [0, 1, 1])


def test_atis_overflow_row_is_an_event_where_the_rule_is_off(tmp_path: Path) -> None:
    path = atis(tmp_path / "a.bin", (1, 1, 100, 0), (0, 240, 200, 0), (2, 2, 300, 1))
    assert as_lists(read_atis(path, overflow=False)) == ([1, 0, 2], [1, 240, 2], [100, 200, 300], [0, 0, 1])


@pytest.mark.parametrize(("write", "read", "side"), [(write_aedat2, read_aedat2, 128), (write_atis, read_atis, 240)])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_written_is_read_back(tmp_path: Path, write, read, side: int, seed: int) -> None:
    events = some_events(500, side, seed, last=2**23)
    write(tmp_path / "a", events)
    assert as_lists(read(tmp_path / "a")) == as_lists(events)


# ---- faults


GOOD, LATER = (0x0102, 10), (0x0304, 20)
AEDAT2_FAULTS = {
    "cut": (dict(tail=b"abc"), len(HEADER) + 16, "cut", 2),
    "odd": (dict(tail=b"abcd"), len(HEADER) + 16, "cut", 2),
    "backwards": (dict(extra=(0x0506, 15)), len(HEADER) + 16, "backwards", 3),
    "outside": (dict(extra=(0x8000, 30)), len(HEADER) + 16, "DVS128", 2),
}


@pytest.mark.parametrize("fault", AEDAT2_FAULTS)
def test_aedat2_fault_names_file_and_byte_and_repairs_on_request(tmp_path: Path, fault: str) -> None:
    options, byte, word, left = AEDAT2_FAULTS[fault]
    records = [GOOD, LATER, *([options["extra"]] if "extra" in options else [])]
    path = aedat2(tmp_path / "bad.aedat", *records, tail=options.get("tail", b""))
    with pytest.raises(EventFileError, match=rf"bad\.aedat: byte {byte}: .*{word}.*repair=True"):
        read_aedat2(path)
    repaired = read_aedat2(path, repair=True)
    assert len(repaired) == left
    assert (np.diff(repaired.t) >= 0).all()


ATIS_FAULTS = {
    "cut": ([], b"ab", 10, "cut", 2),
    "backwards": ([(3, 3, 15, 0)], b"", 10, "from 20 to 15 us", 3),
    "outside": ([(3, 241, 30, 0)], b"", 10, "off the sensor", 2),
}


@pytest.mark.parametrize("fault", ATIS_FAULTS)
def test_atis_fault_names_file_and_byte_and_repairs_on_request(tmp_path: Path, fault: str) -> None:
    extra, tail, byte, word, left = ATIS_FAULTS[fault]
    path = atis(tmp_path / "bad.bin", (1, 1, 10, 0), (2, 2, 20, 1), *extra, tail=tail)
    with pytest.raises(EventFileError, match=rf"bad\.bin: byte {byte}: .*{word}.*repair=True"):
        read_atis(path)
    assert len(read_atis(path, repair=True)) == left


def test_byte_offset_counts_overflow_records_too(tmp_path: Path) -> None:
    path = atis(tmp_path / "bad.bin", (0, 240, 0, 0), (1, 1, 10, 0), (2, 2, 5, 1))
    with pytest.raises(EventFileError, match="byte 10: event 2: time runs backwards"):
        read_atis(path)


def test_atis_refuses_events_outside_the_given_sensor(tmp_path: Path) -> None:
    path = atis(tmp_path / "bad.bin", (33, 33, 10, 0), (34, 0, 20, 1))
    with pytest.raises(EventFileError, match=r"byte 5: event 1: .* 34 rows by 34 columns"):
        read_atis(path, height=34, width=34)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "byte 0: the file is empty"),
        (b"#!AER-DAT3.1\r\n", "expected the header '#!AER-DAT2.0'"),
        (b"#!AER-DAT4.0\r\n", "use read_aedat4"),
        (b"\x00" * 16, "expected the header"),
        (b"#!AER-DAT2.0\r\n# no end", "byte 14: the file is cut within its header"),
        (b"#!AER-DAT2.0\r\n", "byte 14: no events"),
        (b"#!AER-DAT2.0\r\n\x00\x00\x00", "byte 14: no events"),
    ],
)
@pytest.mark.parametrize("repair", [False, True])
def test_aedat2_without_header_or_events_is_refused(tmp_path: Path, raw: bytes, words: str, repair: bool) -> None:
    path = tmp_path / "bad.aedat"
    path.write_bytes(raw)
    with pytest.raises(EventFileError) as error:
        read_aedat2(path, repair=repair)
    assert "bad.aedat" in str(error.value)
    assert words in str(error.value)


@pytest.mark.parametrize("raw", [b"", b"abc", bytes([0, 240, 0, 0, 0])], ids=["empty", "cut", "overflow only"])
def test_atis_without_events_is_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "bad.bin").write_bytes(raw)
    with pytest.raises(EventFileError, match=r"bad\.bin: byte 0: .*no event"):
        read_atis(tmp_path / "bad.bin", repair=True)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for read in (read_aedat2, read_atis):
        with pytest.raises(EventFileError, match=r"gone: no such event file"):
            read(tmp_path / "gone")


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(EventFileError, match="not a regular file"):
        read_atis(tmp_path / "pipe")


@settings(max_examples=150, deadline=None)
@given(raw=st.binary(max_size=120), repair=st.booleans(), headed=st.booleans())
def test_any_bytes_give_events_or_the_one_error(tmp_path_factory, raw: bytes, repair: bool, headed: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz"
    path.write_bytes((HEADER if headed else b"") + raw)
    for read in (read_aedat2, read_atis):
        try:
            events = read(path, repair=repair)
        except EventFileError as error:
            assert str(path) in str(error)
        else:
            assert to_frames(events, 3, 256, 256).sum() <= len(events)


@pytest.mark.parametrize("body", [b"\x07" * 40, bytes(4)], ids=["an error", "a panic of the package"])
def test_aedat4_garbage_is_refused(tmp_path: Path, body: bytes) -> None:
    pytest.importorskip("aedat")
    (tmp_path / "bad.aedat4").write_bytes(b"#!AER-DAT4.0\r\n" + body)
    with pytest.raises(EventFileError, match=r"bad\.aedat4: byte 0: not a readable AEDAT 4 file"):
        read_aedat4(tmp_path / "bad.aedat4")


FIRST = [(5, 1, 2, 1), (9, 3, 4, 0)]


def test_aedat4_takes_the_first_event_stream(tmp_path: Path) -> None:
    pytest.importorskip("aedat")
    content = aedat4([(1, FIRST[:1]), (2, [(1, 7, 7, 1)]), (1, FIRST[1:])])
    (tmp_path / "a.aedat4").write_bytes(content)
    assert as_lists(read_aedat4(tmp_path / "a.aedat4")) == ([1, 3], [2, 4], [5, 9], [1, 0])


def test_a_file_that_ends_its_decoder_is_named_and_the_next_one_read(tmp_path: Path) -> None:
    pytest.importorskip("aedat")
    whole, cut = tmp_path / "whole.aedat4", tmp_path / "cut.aedat4"
    whole.write_bytes(aedat4([(0, FIRST)]))
    cut.write_bytes(whole.read_bytes()[:-20])
    before = read_aedat4(whole)
    DECODER._running().kill()  # as some damage does
    with pytest.raises(
        EventFileError, match=r"whole\.aedat4: byte 0: not a readable AEDAT 4 file: the decoder gave it"
    ):
        read_aedat4(whole)
    assert as_lists(read_aedat4(whole)) == as_lists(before)
    with pytest.raises(EventFileError, match=r"cut\.aedat4: byte 0: not a readable AEDAT 4 file"):
        read_aedat4(cut)


def test_aedat4_without_events_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("aedat")
    (tmp_path / "a.aedat4").write_bytes(aedat4([(0, [])]))
    with pytest.raises(EventFileError, match="no events in the file"):
        read_aedat4(tmp_path / "a.aedat4")


def test_a_forked_process_has_a_decoder_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("aedat")
    path = tmp_path / "a.aedat4"
    path.write_bytes(aedat4([(0, FIRST)]))
    read_aedat4(path)
    child = os.fork()
    if child == 0:
        os._exit(0 if len(read_aedat4(path)) == 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(read_aedat4(path)) == 2


def test_aedat4_says_which_package_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aedat", None)
    with pytest.raises(TksbenchError, match="pip install aedat"):
        read_aedat4(tmp_path / "a.aedat4")


def test_readers_and_framing_import_no_torch() -> None:
    # The package's own __init__ is light too: `tksbench.data.events` alone must not pull torch in.
    code = "import sys, tksbench.data.events; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- events and frames


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(x=[-1, 0]), "x holds -1"),
        (dict(p=[0, 2]), "p holds 2"),
        (dict(t=[5, 4]), "backwards"),
        (dict(y=[0.0, 1.0]), "y is float64"),
        (dict(x=[1]), "length"),
        (dict(x=[], y=[], t=[], p=[]), "empty"),
    ],
)
def test_impossible_events_are_refused(changes: dict[str, list[int]], words: str) -> None:
    columns = dict(x=[0, 0], y=[0, 0], t=[0, 1], p=[0, 1]) | changes
    with pytest.raises(EventError, match=words):
        Events(**{name: np.array(column) for name, column in columns.items()})


def test_time_bins_are_equal_and_drop_the_trailing_events() -> None:
    # (20 - 0) // 3 = 6 us a bin: [0, 6) [6, 12) [12, 18), and 18, 20 are dropped
    t = np.array([0, 5, 6, 11, 12, 17, 18, 20])
    zeros = np.zeros(8, dtype=np.int64)
    frames = to_frames(Events(zeros, zeros, t, zeros), T=3, height=1, width=1)
    assert frames[:, 0, 0, 0].tolist() == [2, 2, 2]


def test_count_bins_hold_equal_counts_and_drop_the_rest() -> None:
    zeros = np.zeros(8, dtype=np.int64)
    p = np.array([0, 1, 1, 1, 0, 0, 1, 1])
    frames = to_frames(Events(zeros, zeros, np.arange(8), p), T=3, height=1, width=1, by="count")
    assert frames[:, :, 0, 0].tolist() == [[1, 1], [0, 2], [2, 0]]


def test_frames_are_indexed_time_polarity_row_column() -> None:
    one = [np.array([value, value]) for value in (3, 1)]
    frames = to_frames(Events(*one, np.array([0, 10]), np.array([1, 1])), T=1, height=2, width=5)
    assert np.argwhere(frames).tolist() == [[0, 1, 1, 3]]


def test_counts_beyond_16_bits_do_not_wrap() -> None:
    zeros = np.zeros(70_001, dtype=np.int64)
    frames = to_frames(Events(zeros, zeros, np.arange(70_001), zeros), T=1, height=1, width=1)
    assert frames.sum() == 70_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(T=0), "T=0"),
        (dict(T=2.5), "T=2.5"),
        (dict(by="events"), "by='events'"),
        (dict(height=3), "3 by 8"),
        (dict(width=3), "8 by 3"),
    ],
)
def test_impossible_frames_are_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(EventError, match=words):
        to_frames(some_events(200, 8), **(dict(T=4, height=8, width=8) | arguments))


def tonic_frames(events: Events, T: int, height: int, width: int, by: str) -> np.ndarray:
    transforms = pytest.importorskip("tonic.transforms")
    from tonic.io import make_structured_array

    bins = {"time": "n_time_bins", "count": "n_event_bins"}[by]
    array = make_structured_array(events.x, events.y, events.t, events.p)
    return transforms.ToFrame(sensor_size=(width, height, 2), **{bins: T})(array)


@pytest.mark.parametrize("by", ["time", "count"])
@pytest.mark.parametrize(("n", "T", "last"), [(3000, 10, 300_000), (997, 7, 1000), (50, 60, 40), (5, 8, 3), (1, 1, 1)])
def test_framing_equals_tonic_bin_for_bin(n: int, T: int, last: int, by: str) -> None:
    events = some_events(n, 20, seed=n, last=last)
    np.testing.assert_array_equal(to_frames(events, T, 20, 24, by), tonic_frames(events, T, 20, 24, by))


# ---- real recordings


@pytest.fixture(scope="session")
def nmnist(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    archive = SAMPLES / "n_mnist_1100.tar.xz"
    if not archive.is_file():
        pytest.skip(f"no N-MNIST sample in {SAMPLES}")
    folder = tmp_path_factory.mktemp("n_mnist")
    with tarfile.open(archive) as tar:
        members = [m for m in tar if m.name.endswith(".bin")][::37]
        tar.extractall(folder, members=members, filter="data")
    return sorted(folder.rglob("*.bin"))


@pytest.mark.parametrize(
    ("name", "count"), [("DVS128-2017-03-21-short.aedat", 130_114), ("alex_walking_again.aedat", 19_182)]
)
def test_real_aedat2_agrees_with_tonic(name: str, count: int) -> None:
    path = SAMPLES / "aedat2_dvs128" / name
    if not path.is_file():
        pytest.skip(f"no AEDAT-2.0 sample in {SAMPLES}")
    io = pytest.importorskip("tonic.io")
    version, start, _ = io.read_aedat_header_from_file(str(path))
    raw = io.get_aer_events_from_file(str(path), version, start)
    events = read_aedat2(path)
    assert len(events) == len(raw) == count
    np.testing.assert_array_equal(events.t, raw["timeStamp"])
    # tonic leaves the sensor's own orientation: its x is bits 8..14, its y bits 1..7, its p bit 0
    np.testing.assert_array_equal(127 - events.x, raw["address"] >> 8 & 0x7F)
    np.testing.assert_array_equal(127 - events.y, raw["address"] >> 1 & 0x7F)
    assert events.p.sum() == count - (raw["address"] & 1).sum()
    for by in ("time", "count"):
        np.testing.assert_array_equal(to_frames(events, 10, 128, 128, by), tonic_frames(events, 10, 128, 128, by))


def test_real_atis_agrees_with_tonic(nmnist: list[Path]) -> None:
    io = pytest.importorskip("tonic.io")
    for path in nmnist:
        events, raw = read_atis(path, height=34, width=34), io.read_mnist_file(path, dtype=io.events_struct)
        for name in ("x", "y", "t", "p"):
            np.testing.assert_array_equal(getattr(events, name), raw[name])
        np.testing.assert_array_equal(to_frames(events, 10, 34, 34), tonic_frames(events, 10, 34, 34, "time"))
