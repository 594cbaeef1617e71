"""ImageNet's folders: class order, checks, verification."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tksbench.data import DataError, imagenet, load
from tksbench.data.miniature import WNIDS
from tksbench.data.registry import info, reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from tksbench.recipe import DataSpec


@pytest.fixture
def copied_root(static_root: Path, tmp_path: Path) -> Path:
    shutil.copytree(static_root / "miniature" / "ILSVRC2012", tmp_path / "miniature" / "ILSVRC2012")
    return tmp_path


def test_class_index_is_the_rank_of_the_synset(static_root: Path, make_spec: Callable[..., DataSpec]) -> None:
    data = load(make_spec("imagenet"), 4, 42, static_root)
    for split in (data.train, data.test):
        synsets = [Path(split._files.read(index)[1]).parent.name for index in range(len(split))]  # type: ignore[attr-defined]
        assert split.labels.tolist() == [sorted(WNIDS).index(synset) for synset in synsets]
    assert (len(data.train), len(data.test), data.num_classes) == (600, 200, 10)


def test_images_have_the_size_of_the_recipe(static_root: Path, make_spec: Callable[..., DataSpec]) -> None:
    data = load(make_spec("imagenet", image_size=64), 4, 42, static_root)
    assert data.train.__getitems__([(0, 0)])[0].shape == (1, 3, 64, 64)
    assert data.test.__getitems__([(0, 0)])[0].shape == (1, 3, 64, 64)


def test_real_set_must_have_a_thousand_classes(static_root: Path, make_spec: Callable[..., DataSpec]) -> None:
    with pytest.raises(DataError, match="10 synsets with images, expected 1000"):
        load(make_spec("imagenet", source="real"), 4, 42, static_root / "miniature")


def test_synset_in_one_half_only_is_refused(copied_root: Path, make_spec: Callable[..., DataSpec]) -> None:
    shutil.rmtree(copied_root / "miniature" / "ILSVRC2012" / "val" / WNIDS[3])
    with pytest.raises(DataError, match=f"differ in their synsets: {WNIDS[3]}"):
        load(make_spec("imagenet"), 4, 42, copied_root)


def test_damaged_image_is_named(copied_root: Path, make_spec: Callable[..., DataSpec]) -> None:
    data = load(make_spec("imagenet"), 4, 42, copied_root)
    path = copied_root / "miniature" / "ILSVRC2012" / "train" / WNIDS[0] / f"{WNIDS[0]}_0.JPEG"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(DataError, match=rf"{WNIDS[0]}_0.JPEG: cannot be read as an image"):
        data.train.__getitems__([(0, 0)])


def test_verify_counts_folders_and_images(static_root: Path) -> None:
    train, val = reader("imagenet").verify(static_root / "miniature")
    assert (train.state, train.detail) == ("corrupt", "10 of 1000 synset folders, 600 of 1281167 images")
    assert (val.state, val.detail) == ("corrupt", "10 of 1000 synset folders, 200 of 50000 images")


def test_verify_reports_a_flat_validation_folder_as_unsorted(tmp_path: Path) -> None:
    (tmp_path / "ILSVRC2012" / "val").mkdir(parents=True)
    (tmp_path / "ILSVRC2012" / "val" / "ILSVRC2012_val_00000001.JPEG").touch()
    train, val = reader("imagenet").verify(tmp_path)
    assert train.state == "missing"
    assert val.state == "unsorted"


def test_a_part_of_the_real_set_is_refused(
    static_root: Path, make_spec: Callable[..., DataSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, entry = make_spec("imagenet", source="real"), replace(info("imagenet"), num_classes=10)
    monkeypatch.setattr(imagenet, "info", lambda name: entry)
    with pytest.raises(DataError, match="600 images, expected 1,281,167: a part of a data set is another one"):
        reader("imagenet").load(spec, 4, 42, static_root / "miniature")


def test_real_sample_images_decode(samples: Path, make_spec: Callable[..., DataSpec], tmp_path: Path) -> None:
    (tmp_path / "ILSVRC2012").symlink_to(samples / "imagenet_sample" / "imagenette224")
    data = reader("imagenet").load(make_spec("imagenet", image_size=64), 4, 42, tmp_path)
    images, labels = data.test.__getitems__([(0, i) for i in range(len(data.test))])
    assert images.isfinite().all()
    assert np.bincount(labels.numpy()).tolist() == [4] * 10
