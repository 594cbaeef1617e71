"""The miniature event sets: original formats, determinism, and information in time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from tksbench.data import registry
from tksbench.data.events import read_aedat2, read_atis, to_frames
from tksbench.data.miniature_events import NMNIST_ATIS, make_nmnist, record, write_atis
from tksbench.errors import TksbenchError
from tksbench.recipe import DataSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def root(stand_in: Callable[..., Path]) -> Path:
    return stand_in("dvs_cifar10", "ncaltech101", "nmnist")


@pytest.mark.parametrize(
    ("name", "pattern", "sizes", "size"),
    [
        ("dvs_cifar10", "CIFAR10DVS/*/cifar10_*_*.aedat", (400, 200), 48),
        ("ncaltech101", "Caltech101/*/image_????.bin", (540, 60), 48),
        ("nmnist", "n_mnist/*/*/?????.bin", (400, 200), 34),
    ],
)
def test_miniature_loads_through_the_original_reader(
    root: Path, name: str, pattern: str, sizes: tuple[int, int], size: int
) -> None:
    data = registry.load(DataSpec(name=name, source="miniature", augment="none"), 3, 0, root)
    assert (len(data.train), len(data.test)) == sizes
    assert len(list((root / "miniature").glob(pattern))) == sum(sizes)
    frames, labels = data.train.__getitems__([(0, 0), (0, sizes[0] - 1)])
    assert frames.shape == (2, 3, 2, size, size)
    assert labels.tolist() == [0, 9]
    assert data.train.balanced == (name == "ncaltech101")


def test_miniature_is_the_same_every_time(root: Path, tmp_path: Path) -> None:
    registry.ensure_miniature("nmnist", root)
    make_nmnist(tmp_path)

    def digest(folder: Path) -> str:
        return hashlib.sha256(b"".join(p.read_bytes() for p in sorted(folder.rglob("*.bin")))).hexdigest()

    assert digest(tmp_path / "n_mnist") == digest(root / "miniature" / "n_mnist")


def test_recordings_have_both_polarities_and_times_between_sub_frames(root: Path) -> None:
    home = registry.ensure_miniature("dvs_cifar10", root)
    events = read_aedat2(home / "CIFAR10DVS/cat/cifar10_cat_0.aedat")
    assert 0.3 < events.p.mean() < 0.7
    assert len(np.unique(events.t)) > NMNIST_ATIS.steps
    assert events.t[0] > 0


def test_a_still_camera_sees_nothing() -> None:
    image = np.random.default_rng(0).random((1, 8, 8), dtype=np.float32)
    still = NMNIST_ATIS._replace(travel=0.0)
    with pytest.raises(TksbenchError, match="empty"):
        record(image, still, np.random.default_rng(0))


def test_brighter_edges_give_polarity_1() -> None:
    # The first saccade goes down and right: a bright square's leading edges brighten, its trailing edges darken.
    image = np.zeros((1, 8, 8), dtype=np.float32)
    image[0, 3:5, 3:5] = 1
    events = record(image, NMNIST_ATIS, np.random.default_rng(0))[0]
    first = events.t < events.t[0] + NMNIST_ATIS.duration_us // 3
    assert events.y[first & (events.p == 1)].mean() > events.y[first & (events.p == 0)].mean()


def test_time_carries_information(root: Path) -> None:
    home = registry.ensure_miniature("nmnist", root) / "n_mnist"

    def part(name: str) -> tuple[np.ndarray, list[int]]:
        files = sorted((home / name).glob("*/*.bin"))
        frames = np.stack([to_frames(read_atis(f), 4, 34, 34) for f in files])
        pooled = frames.reshape(-1, 4, 2, 17, 2, 17, 2).sum((4, 6))
        return pooled.reshape(len(files), 4, -1), [int(f.parent.name) for f in files]

    (train, y), (test, z) = part("Train"), part("Test")
    model = RidgeClassifier(alpha=100.0)
    first = model.fit(train[:, 0], y).score(test[:, 0], z)
    every = model.fit(train.reshape(len(y), -1), y).score(test.reshape(len(z), -1), z)
    assert first > 0.3  # chance is 0.1
    assert every > first


def test_atis_cannot_say_later_than_23_bits(tmp_path: Path, root: Path) -> None:
    home = registry.ensure_miniature("nmnist", root)
    events = read_atis(next((home / "n_mnist/Test/0").glob("*.bin")))
    events.t[-1] = 2**23
    with pytest.raises(TksbenchError, match="8388608 us is later"):
        write_atis(tmp_path / "a.bin", events)
