"""CIFAR: verification, the unpickler's refusals, and agreement with torchvision's reader."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from torchvision import datasets

from tksbench.data import DataError, cifar, has_real, load, registry
from tksbench.data.miniature import python2_pickle
from tksbench.data.pickles import unpickle

if TYPE_CHECKING:
    from collections.abc import Callable

    from tksbench.recipe import DataSpec

PLACE = Path("cifar-10-batches-py/data_batch_1")


@pytest.fixture
def copied_root(static_root: Path, tmp_path: Path) -> Path:
    shutil.copytree(static_root / "miniature" / PLACE.parent, tmp_path / "miniature" / PLACE.parent)
    return tmp_path


@pytest.fixture(scope="module")
def real_root() -> Path:
    root = Path(os.environ.get("TKSBENCH_DATA", "data"))
    if not (has_real("cifar10", root) and has_real("cifar100", root)):
        pytest.skip("no real CIFAR here: set TKSBENCH_DATA")
    return root


def test_altered_file_is_refused_with_both_checksums(copied_root: Path, make_spec: Callable[..., DataSpec]) -> None:
    path = copied_root / "miniature" / PLACE
    raw = bytearray(path.read_bytes())
    raw[1000] ^= 1
    path.write_bytes(raw)
    expected = cifar.read_checksums(path.parent)[path.name]
    with pytest.raises(DataError, match=f"data_batch_1: altered or truncated: MD5 .*{expected}"):
        load(make_spec("cifar10"), 4, 42, copied_root)


def test_truncated_file_is_refused_with_its_size(copied_root: Path, make_spec: Callable[..., DataSpec]) -> None:
    path = copied_root / "miniature" / PLACE
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"data_batch_1: altered or truncated.*5000 bytes"):
        load(make_spec("cifar10"), 4, 42, copied_root)


def test_missing_file_is_refused(copied_root: Path, make_spec: Callable[..., DataSpec]) -> None:
    (copied_root / "miniature" / PLACE).unlink()
    with pytest.raises(DataError, match=r"data_batch_1: No such file"):
        load(make_spec("cifar10"), 4, 42, copied_root)


def test_miniature_does_not_pass_for_the_real_set(static_root: Path) -> None:
    states = {status.state for status in registry.reader("cifar10").verify(static_root / "miniature")}
    assert states == {"corrupt"}


def test_verify_reports_each_absent_file(tmp_path: Path) -> None:
    found = registry.reader("cifar100").verify(tmp_path)
    assert [(s.path, s.state) for s in found] == [
        (f"cifar-100-python/{file}", "missing") for file in ("train", "test", "meta")
    ]


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
        (pickle.dumps(Path("x"), protocol=2), "pathlib"),
    ],
)
def test_pickle_that_asks_for_code_is_refused(raw: bytes, named: str) -> None:
    with pytest.raises(DataError, match=f"asks for {named}"):
        unpickle(raw, Path("evil"))


def test_a_file_of_another_checksum_is_never_unpickled(
    copied_root: Path, make_spec: Callable[..., DataSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpickle(raw: bytes, path: Path) -> dict[bytes, object]:
        raise AssertionError(f"{path} was unpickled")

    monkeypatch.setattr(cifar, "unpickle", unpickle)
    (copied_root / "miniature" / PLACE).write_bytes(b"\x80\x02Nr\xff\xff\xff\x3f.")  # asks for 16 GiB
    with pytest.raises(DataError, match=r"data_batch_1: altered or truncated"):
        load(make_spec("cifar10"), 4, 42, copied_root)


def test_images_of_a_batch_can_be_written_to() -> None:
    images, _ = cifar.read_batch(
        python2_pickle({"data": np.zeros((1, 3072), np.uint8), "labels": [0]}), Path(), b"labels", 10
    )
    assert images.flags.writeable


@pytest.mark.parametrize("raw", [b"", b"not a pickle", b"\x80\x02}(T\xff\xff", b"\x80\x02]."])
def test_malformed_pickle_is_one_clear_error(raw: bytes) -> None:
    with pytest.raises(DataError, match=r"^bad: not a CIFAR pickle"):
        unpickle(raw, Path("bad"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": [0]}, "b'data' is not a uint8 array"),
        ({"data": np.zeros((1, 3071), np.uint8), "labels": [0]}, "b'data' is not a uint8 array"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, "not a list of 2 labels"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": [10]}, "label outside 0..9"),
    ],
)
def test_pickle_of_another_shape_is_refused(content: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        cifar.read_batch(python2_pickle(content), Path("odd"), b"labels", 10)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_wrong_augmentation_is_refused(static_root: Path, make_spec: Callable[..., DataSpec], name: str) -> None:
    with pytest.raises(DataError, match=r"data.augment=imagenet: .* has strong, plain, none"):
        load(make_spec(name, augment="imagenet"), 4, 42, static_root)


def test_subset_is_class_balanced(static_root: Path, make_spec: Callable[..., DataSpec]) -> None:
    data = load(make_spec("cifar10", train_subset=100, test_subset=20), 4, 42, static_root)
    assert np.bincount(data.train.labels).tolist() == [10] * 10
    assert np.bincount(data.test.labels).tolist() == [2] * 10


def test_image_size_is_honoured(static_root: Path, make_spec: Callable[..., DataSpec]) -> None:
    data = load(make_spec("cifar10", image_size=16, train_subset=10), 4, 42, static_root)
    assert data.train.__getitems__([(0, 0), (0, 1)])[0].shape == (2, 3, 16, 16)


def test_manifest_holds_the_checksum_of_every_file(static_root: Path, make_spec: Callable[..., DataSpec]) -> None:
    manifest = load(make_spec("cifar10"), 4, 42, static_root).manifest
    assert len(manifest) == 6
    assert all(value.startswith("md5:") and len(value) == 36 for value in manifest.values())


@pytest.mark.parametrize(("name", "reader"), [("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)])
def test_real_files_read_as_torchvision_reads_them(
    real_root: Path, make_spec: Callable[..., DataSpec], name: str, reader: type[datasets.CIFAR10]
) -> None:
    ours = load(make_spec(name, source="real", augment="none"), 4, 42, real_root)
    for split, train in ((ours.train, True), (ours.test, False)):
        theirs = reader(str(real_root), train=train)
        assert np.array_equal(split.images.transpose(0, 2, 3, 1), theirs.data)
        assert split.labels.tolist() == theirs.targets
