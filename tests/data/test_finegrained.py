"""CUB, Dogs and Cars: official counts, both packagings, malformed lists, greyscale."""

from __future__ import annotations

import shutil
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from tksbench.data import DataError, finegrained, load, registry
from tksbench.data.static import decode_rgb

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tksbench.recipe import DataSpec

LISTS = {
    "cub": (finegrained.cub_lists, "cub_200_2011_sample/annotations_full"),
    "dogs": (finegrained.dogs_lists, "stanford_dogs_sample/lists_full"),
    "cars": (finegrained.cars_lists, "stanford_cars_sample/stanford_cars"),
}


def png_header(*size: int) -> bytes:
    head = b"IHDR" + struct.pack(">II", *size) + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + b"\0\0\0\x09IDAT"


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    (tmp_path / "images.txt").write_text("1 001.A/a.jpg\n2 002.B/b.jpg\n")
    (tmp_path / "image_class_labels.txt").write_text("1 1\n2 2\n")
    (tmp_path / "train_test_split.txt").write_text("1 1\n2 0\n")
    return tmp_path


@pytest.mark.parametrize(("name", "counts"), [("cub", (5994, 5794)), ("dogs", (12_000, 8580)), ("cars", (8144, 8041))])
def test_official_lists_have_the_official_counts(samples: Path, name: str, counts: tuple[int, int]) -> None:
    read, place = LISTS[name]
    train, test = read(samples / place)
    assert (len(train), len(test)) == counts
    finegrained.check_counts(name, samples / place, train, test)
    assert not {file for file, _ in train} & {file for file, _ in test}


def test_list_that_lost_an_image_is_refused(samples: Path) -> None:
    read, place = LISTS["dogs"]
    train, test = read(samples / place)
    with pytest.raises(DataError, match=r"11999 training .* Stanford Dogs has 12000, 8580 and 120"):
        finegrained.check_counts("dogs", samples / place, train[1:], test)


def test_real_sample_images_decode(samples: Path) -> None:
    train, test = finegrained.cub_lists(samples / "cub_200_2011_sample" / "CUB_200_2011")
    assert len(train) + len(test) == 82
    file, label = train[0]
    assert file.startswith(f"images/{label + 1:03d}.")
    raw = (samples / "cub_200_2011_sample" / "CUB_200_2011" / file).read_bytes()
    assert decode_rgb(raw, file).mode == "RGB"


@pytest.mark.parametrize("name", ["cub", "dogs", "cars"])
def test_miniature_has_ten_classes_in_both_halves(
    static_root: Path, make_spec: Callable[..., DataSpec], name: str
) -> None:
    data = load(make_spec(name, image_size=32), 4, 42, static_root)
    assert data.num_classes == 10
    assert np.bincount(data.train.labels).tolist() == [40] * 10
    assert np.bincount(data.test.labels).tolist() == [20] * 10
    images, _ = data.train.__getitems__([(0, i) for i in range(0, 400, 20)])
    assert images.shape == (20, 3, 32, 32)


@pytest.mark.parametrize("name", ["cub", "dogs", "cars"])
def test_real_set_with_other_counts_is_refused(
    static_root: Path, make_spec: Callable[..., DataSpec], name: str
) -> None:
    with pytest.raises(DataError, match="the lists give 400 training and 200 test images"):
        load(make_spec(name, source="real"), 4, 42, static_root / "miniature")


def test_joint_packaging_of_cars_gives_the_same_split(static_root: Path, tmp_path: Path) -> None:
    folder = static_root / "miniature" / "stanford_cars"
    split = finegrained.cars_lists(folder)
    fields = ("relative_im_path", "class", "test")
    rows = [(f"car_ims/{file.replace('/', '_')}", label + 1, i) for i in (0, 1) for file, label in split[i]]
    records = np.array([tuple(row) for row in rows], dtype=[(field, object) for field in fields])[None]
    savemat(tmp_path / "cars_annos.mat", {"annotations": records})
    joint = finegrained.cars_lists(tmp_path)
    assert [[label for _, label in half] for half in joint] == [[label for _, label in half] for half in split]
    assert joint[0][0][0].startswith("car_ims/cars_train_")


def test_cub_labels_become_zero_based(cub: Path) -> None:
    assert finegrained.cub_lists(cub) == ([("images/001.A/a.jpg", 0)], [("images/002.B/b.jpg", 1)])


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("images.txt", "1\n2 b.jpg\n", r"images.txt:1: '1' is not 'id value'"),
        ("images.txt", "1 ../../etc/passwd\n2 b.jpg\n", "leads out of images/"),
        ("images.txt", "1 /etc/passwd\n2 b.jpg\n", "leads out of images/"),
        ("image_class_labels.txt", "1 1\n", r"image_class_labels.txt: differs from images.txt in image 2"),
        ("image_class_labels.txt", "1 1\n2 201\n", r"image 2: '201' is not in 1..200"),
        ("image_class_labels.txt", "1 1\n2 x\n", r"image 2: 'x' is not in 1..200"),
        ("train_test_split.txt", "1 1\n2 3\n", r"train_test_split.txt: image 2: '3' is not in 0..1"),
    ],
)
def test_malformed_cub_list_is_named(cub: Path, file: str, text: str, message: str) -> None:
    (cub / file).write_text(text)
    with pytest.raises(DataError, match=message):
        finegrained.cub_lists(cub)


def test_missing_list_is_named(cub: Path) -> None:
    (cub / "train_test_split.txt").unlink()
    with pytest.raises(DataError, match=r"train_test_split\.txt: No such file"):
        finegrained.cub_lists(cub)


@pytest.mark.parametrize("keep", [0, 100, 400])
def test_damaged_mat_file_is_named(static_root: Path, tmp_path: Path, keep: int) -> None:
    folder = tmp_path / "StanfordDogs"
    shutil.copytree(static_root / "miniature" / "StanfordDogs", folder, ignore=shutil.ignore_patterns("Images"))
    path = folder / "train_list.mat"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"train_list.mat: (not a readable MATLAB file|holds no variable)"):
        finegrained.dogs_lists(folder)


def test_class_out_of_range_is_named(static_root: Path, tmp_path: Path) -> None:
    source = static_root / "miniature" / "StanfordDogs"
    content = {key: loadmat(source / "train_list.mat")[key] for key in ("file_list", "labels")}
    content["labels"][0] = 121
    savemat(tmp_path / "train_list.mat", content)
    shutil.copy(source / "test_list.mat", tmp_path)
    with pytest.raises(DataError, match=r"class 121 is not in 1\.\.120"):
        finegrained.dogs_lists(tmp_path)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "1"])
def test_other_colour_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / f"image.{'jpg' if mode == 'CMYK' else 'png'}"
    Image.new(mode, (8, 8)).save(path)
    assert decode_rgb(path.read_bytes(), str(path)).mode == "RGB"


def test_verify_counts_absent_and_empty_images(samples: Path, tmp_path: Path) -> None:
    folder = tmp_path / "CUB_200_2011"
    shutil.copytree(samples / "cub_200_2011_sample" / "annotations_full", folder)
    lists, train, test = registry.reader("cub").verify(tmp_path)
    assert (lists.state, train.state, test.state) == ("ok", "missing", "missing")
    assert train.detail.startswith("0 of 5994 images; the first that is absent or empty: images/001.")


def test_verify_of_an_absent_list_says_missing(tmp_path: Path) -> None:
    (tmp_path / "CUB_200_2011").mkdir()
    (status,) = registry.reader("cub").verify(tmp_path)
    assert status.state == "missing"
    assert "images.txt: No such file" in status.detail


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "cannot identify"),  # Pillow would start a program
        (b"BM" + bytes(60), "cannot identify"),
        (png_header(10_000, 10_000), "more than 90,000,000"),
    ],
)
def test_what_is_no_jpeg_or_png_or_is_huge_is_not_decoded(raw: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode_rgb(raw, "image.jpg")


def test_a_list_whose_lengths_are_not_true_is_refused_before_room_is_made(tmp_path: Path) -> None:
    """A .mat file of 200 bytes that states four thousand million labels."""
    savemat(tmp_path / "train_list.mat", {"labels": np.arange(5.0)})
    raw = (tmp_path / "train_list.mat").read_bytes()
    (tmp_path / "train_list.mat").write_bytes(raw.replace(b"\x01\0\0\0\x05\0\0\0", b"\xff\xff\0\0\xff\xff\0\0"))
    with pytest.raises(DataError, match=r"train_list\.mat: .*an array of 4294836225 values holds another number"):
        finegrained.dogs_lists(tmp_path)
