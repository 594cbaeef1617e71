"""The static miniatures: readable by the original sets' usual readers, deterministic, learnable."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import datasets

from tksbench.data import load
from tksbench.data.miniature import make_cars, make_cifar, python2_pickle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tksbench.data.base import Data
    from tksbench.recipe import DataSpec


def _digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("[!.]*") if path.is_file() and path.suffix != ".mat")
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


@pytest.mark.parametrize(("name", "reader"), [("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)])
def test_torchvision_reads_the_cifar_miniatures(
    static_root: Path,
    make_spec: Callable[..., DataSpec],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    reader: type[datasets.CIFAR10],
) -> None:
    monkeypatch.setattr(reader, "_check_integrity", lambda self: True)
    monkeypatch.setitem(reader.meta, "md5", None)
    ours = load(make_spec(name), 4, 42, static_root)
    for split, train in ((ours.train, True), (ours.test, False)):
        theirs = reader(str(static_root / "miniature"), train=train)
        assert np.array_equal(theirs.data, split.images.transpose(0, 2, 3, 1))  # type: ignore[attr-defined]
        assert theirs.targets == split.labels.tolist()


@pytest.mark.parametrize(("name", "step"), [("cifar10", 1), ("cifar100", 11)])
def test_cifar_miniatures_are_balanced(
    static_root: Path, make_spec: Callable[..., DataSpec], name: str, step: int
) -> None:
    data = load(make_spec(name), 4, 42, static_root)
    for split, each in ((data.train, 200), (data.test, 50)):
        assert np.bincount(split.labels)[::step].tolist() == [each] * 10
        assert len(split) == 10 * each


def test_cifar_miniature_is_deterministic(static_root: Path, tmp_path: Path) -> None:
    make_cifar("cifar10", tmp_path / "again")
    assert _digest(tmp_path / "again") == _digest(static_root / "miniature" / "cifar-10-batches-py")


def test_image_miniature_is_deterministic(static_root: Path, tmp_path: Path) -> None:
    make_cars(tmp_path / "again")
    assert _digest(tmp_path / "again") == _digest(static_root / "miniature" / "stanford_cars")


def test_pickle_writer_refuses_what_it_cannot_write() -> None:
    with pytest.raises(TypeError, match="holds no float"):
        python2_pickle({"x": 1.5})


def _accuracy(data: Data, epochs: int) -> float:
    """Test accuracy in percent of a small plain network after a few epochs."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, data.num_classes),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for epoch in range(epochs):
        order: Any = torch.randperm(len(data.train)).tolist()
        for start in range(0, len(order) - 49, 50):
            images, labels = data.train.__getitems__([(epoch, i) for i in order[start : start + 50]])
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
    network.eval()
    images, labels = data.test.__getitems__([(0, i) for i in range(len(data.test))])
    with torch.no_grad():
        return 100 * float((network(images).argmax(1) == labels).float().mean())


@pytest.mark.parametrize(
    ("name", "values", "epochs", "at_least"),
    [
        ("cifar10", {"augment": "strong"}, 4, 40),
        ("cifar100", {"augment": "plain"}, 4, 40),
        ("imagenet", {"image_size": 32}, 5, 30),
    ],
)
def test_a_small_network_learns(
    static_root: Path,
    make_spec: Callable[..., DataSpec],
    name: str,
    values: dict[str, Any],
    epochs: int,
    at_least: float,
) -> None:
    accuracy = _accuracy(load(make_spec(name, **values), 4, 42, static_root), epochs)
    assert accuracy > at_least, accuracy
