"""Event sets as recordings that are not framed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tksbench.data import DataError
from tksbench.data.base import Data
from tksbench.data.event_recordings import RecordingSplit
from tksbench.data.events import EventFileError, Events, to_frames
from tksbench.data.miniature_events import write_atis
from tksbench.data.registry import load
from tksbench.recipe import DataSpec

EVENT_SETS = ["dvs_cifar10", "ncaltech101", "nmnist"]


@pytest.fixture(scope="module")
def root(stand_in: Callable[..., Path]) -> Path:
    """A data root with stand-in recordings; read-only by agreement."""
    return stand_in(*EVENT_SETS)


def read(root: Path, name: str, T: int = 0, **changes: object) -> Data:
    spec = {"name": name, "source": "miniature", "augment": "none", **changes}
    return load(DataSpec.model_validate(spec), T, 0, root)


def recordings(data: Data) -> list[RecordingSplit]:
    halves = [data.train, data.test]
    assert all(isinstance(half, RecordingSplit) for half in halves)
    return halves  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("name", "plane"), [("dvs_cifar10", (128, 128)), ("ncaltech101", (180, 240)), ("nmnist", (34, 34))]
)
def test_recordings_are_those_that_frames_are_made_of(root: Path, name: str, plane: tuple[int, int]) -> None:
    framed, raw = read(root, name, T=2, test_subset=3), read(root, name, test_subset=3)
    assert raw.num_classes == framed.num_classes
    for half, frames in zip(recordings(raw), (framed.train, framed.test), strict=True):
        assert half.plane == plane
        assert half.labels.tolist() == frames.labels.tolist()
        assert len(half.files) == len(half.labels)
    for key, value in raw.manifest.items():  # the listing and the recordings, whose checksums are one
        assert framed.manifest[key] == value
    assert len(raw.manifest) == 3
    test = recordings(raw)[1]
    events = [test.recording(index) for index in range(3)]
    assert all(isinstance(one, Events) and len(one) for one in events)
    if name == "nmnist":  # its frames are counts as they are
        (frames,), _ = framed.test.__getitems__([(0, 2)])
        assert np.array_equal(frames, to_frames(events[2], 2, *plane))


@pytest.mark.parametrize(("key", "value"), [("augment", "dvs"), ("framing", "count"), ("image_size", 48)])
def test_what_is_for_frames_is_refused(root: Path, key: str, value: object) -> None:
    with pytest.raises(DataError, match=f"data.{key}={value} is for frames, and this run reads the recordings as they"):
        read(root, "nmnist", **{key: value})


def test_recordings_make_no_batch(root: Path) -> None:
    with pytest.raises(DataError, match="make no batch"):
        read(root, "nmnist").test.__getitems__([(0, 0)])


def test_events_off_the_plane_and_malformed_files_are_named(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "miniature" / "n_mnist", tmp_path / "miniature" / "n_mnist")
    half = recordings(read(tmp_path, "nmnist"))[1]
    half.plane = (34, 20)
    with pytest.raises(EventFileError, match=r"\.bin: its events span \d+ rows by \d+ columns, more than the 34 by 20"):
        for index in range(len(half)):
            half.recording(index)
    half.files[0].write_bytes(b"\x00\x00\x00")
    with pytest.raises(EventFileError, match=half.files[0].name):
        half.recording(0)


def test_an_edited_recording_has_another_checksum(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "miniature" / "n_mnist", tmp_path / "miniature" / "n_mnist")
    before = read(tmp_path, "nmnist").manifest
    file = recordings(read(tmp_path, "nmnist"))[0].files[0]
    one = np.array([1, 2])
    write_atis(file, Events(one.astype(np.int16), one.astype(np.int16), one * 5, one.astype(np.uint8) - 1))
    after = read(tmp_path, "nmnist").manifest
    assert [key for key in before if before[key] != after[key]] == ["n_mnist train recordings"]
