"""Miniatures of the static data sets: scikit-learn's handwritten digits in each set's original format.

Every image is a real 8x8 digit, enlarged, coloured and placed with jitter on a dim, uneven ground. Training and
test images come from different digits. All is deterministic.
"""

from __future__ import annotations

import colorsys
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tksbench.data.files import write_checksums

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

# The first ten synsets of ILSVRC2012 in sorted order.
WNIDS = (
    "n01440764", "n01443537", "n01484850", "n01491361", "n01494475",
    "n01496331", "n01498041", "n01514668", "n01514859", "n01518878",
)  # fmt: skip
_JPEG_SIZES = ((80, 64), (96, 80), (72, 88))  # (width, height) in pixels, cycled through


@cache
def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    found = load_digits()
    images: NDArray[np.uint8] = (found.images * (255 / 16)).astype(np.uint8)
    labels: NDArray[np.int64] = found.target.astype(np.int64)
    return images, labels


@cache
def _pool(digit: int, train: bool) -> NDArray[np.uint8]:
    """All real images of one digit that belong to one split (every fifth is a test image), uint8 [n, 8, 8]."""
    images, labels = _digits()
    own: NDArray[np.uint8] = images[labels == digit]
    return own[np.flatnonzero((np.arange(len(own)) % 5 == 0) != train)]


def _paint(glyph: NDArray[np.uint8], hue: float, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Enlarge a digit, colour it, place it on a dim ground of other hues."""
    side = round(min(width, height) * rng.uniform(0.85, 1.0))
    left, top = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))
    ground = Image.fromarray(rng.integers(0, 40, (4, 4, 3), dtype=np.uint8)).resize((width, height))
    colour = tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue % 1.0, 0.85, 0.95))
    mask = Image.fromarray(glyph).resize((side, side), Image.Resampling.BICUBIC)
    ground.paste(colour, (left, top), mask)
    return ground


def render(digit: int, hue: float, spread: float, train: bool, nth: int, size: tuple[int, int]) -> Image.Image:
    """Render the nth image of a digit.

    Args:
        digit: 0..9.
        hue: Mean colour, in turns of the colour circle.
        spread: Standard deviation of the colour, in turns.
        train: Take a digit of the training pool, else of the test pool.
        nth: Which one; the same arguments give the same image.
        size: (width, height) in pixels.

    Returns:
        An RGB image.
    """
    rng = np.random.default_rng([digit, round(hue * 1000), train, nth])
    pool = _pool(digit, train)
    return _paint(pool[nth % len(pool)], hue + rng.normal(0.0, spread), *size, rng)


def _tinted(digit: int, train: bool, nth: int, size: tuple[int, int]) -> Image.Image:
    # The colour says nearly as much as the shape, so that a narrow network learns within a few hundred steps.
    return render(digit, digit / 10, 0.02, train, nth, size)


def python2_pickle(content: object) -> bytes:
    """Pickle plain containers and uint8 arrays as Python 2 did for CIFAR (its strings are bytes in Python 3).

    Python 3's own pickler cannot write such strings, and any reader of the original files expects them.

    Raises:
        TypeError: The content holds anything but dict, list, str, int or a uint8 array.
    """
    return b"\x80\x02" + _opcodes(content) + b"."


def _opcodes(content: object) -> bytes:
    if isinstance(content, dict):
        items = b"".join(_opcodes(key) + _opcodes(value) for key, value in content.items())
        return b"}(" + items + b"u"
    if isinstance(content, list):
        return b"](" + b"".join(map(_opcodes, content)) + b"e"
    if isinstance(content, (str, bytes)):
        raw = content.encode("latin-1") if isinstance(content, str) else content
        return b"T" + len(raw).to_bytes(4, "little") + raw
    if isinstance(content, int):
        return b"J" + content.to_bytes(4, "little", signed=True)
    if isinstance(content, np.ndarray) and content.dtype == np.uint8:
        shape = b"(" + b"".join(map(_opcodes, content.shape)) + b"t"
        empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + _opcodes("b") + b"tR"
        dtype = b"cnumpy\ndtype\n(" + _opcodes("u1") + b"K\x00K\x01tR(K\x03" + _opcodes("|")
        dtype += b"NNN" + _opcodes(-1) + _opcodes(-1) + b"K\x00tb"
        return empty + b"(K\x01" + shape + dtype + b"\x89" + _opcodes(content.tobytes()) + b"tb"
    raise TypeError(f"a CIFAR pickle holds no {type(content).__name__}")


def _planar(images: Sequence[Image.Image]) -> NDArray[np.uint8]:
    """Rows of 3072 bytes, channel-planar, as CIFAR stores images."""
    return np.stack([np.asarray(image).transpose(2, 0, 1).reshape(-1) for image in images])


def _shuffled(classes: int, each: int) -> list[tuple[int, int]]:
    """(class, nth) of every image in a fixed random order."""
    order = np.random.default_rng(0).permutation(classes * each)
    return [(int(i) % classes, int(i) // classes) for i in order]


def _cifar_content(name: str, pairs: list[tuple[int, int]], train: bool, title: str) -> dict[str, Any]:
    labels = [label for label, _ in pairs]
    filenames = [f"digit_s_{label:02d}_{nth:04d}.png" for label, nth in pairs]
    head: dict[str, Any] = {"batch_label": title, "filenames": filenames}
    head["data"] = _planar([_tinted(label, train, nth, (32, 32)) for label, nth in pairs])
    if name == "cifar10":
        return head | {"labels": labels}
    return head | {"fine_labels": [11 * label for label in labels], "coarse_labels": [2 * label for label in labels]}


def make_cifar(name: str, folder: Path) -> None:
    """Write a CIFAR-10 or a CIFAR-100 of 2000 + 500 images.

    Of the hundred fine labels ten occur (0, 11, ..., 99): twenty images a class teach a spiking network nothing.

    Args:
        name: "cifar10" or "cifar100".
        folder: The folder of the files; created. It also gets checksums.txt, for the published MD5 cannot match.
    """
    folder.mkdir(parents=True)
    if name == "cifar10":
        train = _shuffled(10, 200)
        for i in range(5):
            title = f"training batch {i + 1} of 5"
            content = _cifar_content(name, train[i * 400 : (i + 1) * 400], True, title)
            (folder / f"data_batch_{i + 1}").write_bytes(python2_pickle(content))
        test = _cifar_content(name, _shuffled(10, 50), False, "testing batch 1 of 1")
        (folder / "test_batch").write_bytes(python2_pickle(test))
        meta: dict[str, Any] = {"num_cases_per_batch": 400, "label_names": list(map(str, range(10))), "num_vis": 3072}
        (folder / "batches.meta").write_bytes(python2_pickle(meta))
    else:
        for file, each, title in (("train", 200, "training batch 1 of 1"), ("test", 50, "testing batch 1 of 1")):
            content = _cifar_content(name, _shuffled(10, each), file == "train", title)
            (folder / file).write_bytes(python2_pickle(content))
        fine = [f"{label // 11}" if label % 11 == 0 else f"unused_{label}" for label in range(100)]
        coarse = [f"{label // 2}" if label % 2 == 0 else f"unused_{label}" for label in range(20)]
        meta = {"fine_label_names": fine, "coarse_label_names": coarse}
        (folder / "meta").write_bytes(python2_pickle(meta))
    write_checksums(folder)


def _save_jpeg(path: Path, digit: int, train: bool, nth: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = _tinted(digit, train, nth, _JPEG_SIZES[nth % len(_JPEG_SIZES)])
    # Some of the originals are greyscale, so some of these are.
    (image.convert("L") if nth % 25 == 24 else image).save(path, "JPEG", quality=90)


def make_imagenet(folder: Path) -> None:
    """Write an ILSVRC2012 of ten synset folders: 60 training and 20 validation images each, 64-96 pixels."""
    for digit, wnid in enumerate(WNIDS):
        for nth in range(60):
            _save_jpeg(folder / "train" / wnid / f"{wnid}_{nth}.JPEG", digit, True, nth)
        for nth in range(20):
            number = digit * 20 + nth + 1
            _save_jpeg(folder / "val" / wnid / f"ILSVRC2012_val_{number:08d}.JPEG", digit, False, nth)


_FINE_TRAIN, _FINE_TEST = 40, 20


def make_cub(folder: Path) -> None:
    """Write a CUB_200_2011 of ten classes: 40 + 20 images each, with the official text lists."""
    lists: dict[str, list[str]] = {"images": [], "image_class_labels": [], "train_test_split": []}
    classes = [f"{digit + 1:03d}.Digit_{digit}" for digit in range(10)]
    number = 0
    for digit, name in enumerate(classes):
        for nth in range(_FINE_TRAIN + _FINE_TEST):
            number += 1
            train = nth < _FINE_TRAIN
            file = f"{name}/Digit_{digit}_{nth:04d}_{number}.jpg"
            _save_jpeg(folder / "images" / file, digit, train, nth)
            lists["images"].append(f"{number} {file}")
            lists["image_class_labels"].append(f"{number} {digit + 1}")
            lists["train_test_split"].append(f"{number} {int(train)}")
    lists["classes"] = [f"{digit + 1} {name}" for digit, name in enumerate(classes)]
    for stem, lines in lists.items():
        (folder / f"{stem}.txt").write_text("\n".join(lines) + "\n")


def _column(texts: Sequence[str]) -> NDArray[np.object_]:
    column = np.empty((len(texts), 1), dtype=object)
    column[:, 0] = texts
    return column


def make_dogs(folder: Path) -> None:
    """Write a StanfordDogs of ten classes: 40 + 20 images each, with the official .mat lists."""
    from scipy.io import savemat

    whole: tuple[list[str], list[int]] = ([], [])
    for train, stem, each in ((True, "train_list", _FINE_TRAIN), (False, "test_list", _FINE_TEST)):
        files, labels = [], []
        for digit, wnid in enumerate(WNIDS):
            for nth in range(each):
                file = f"{wnid}-digit_{digit}/{wnid}_{nth if train else _FINE_TRAIN + nth}.jpg"
                _save_jpeg(folder / "Images" / file, digit, train, nth)
                files.append(file)
                labels.append(digit + 1)
        whole[0].extend(files)
        whole[1].extend(labels)
        savemat(folder / f"{stem}.mat", _dog_list(files, labels))
    savemat(folder / "file_list.mat", _dog_list(*whole))


def _dog_list(files: list[str], labels: list[int]) -> dict[str, Any]:
    stems = [file.removesuffix(".jpg") for file in files]
    return {
        "file_list": _column(files),
        "annotation_list": _column(stems),
        "labels": np.array(labels, dtype=np.uint8)[:, None],
    }


def make_cars(folder: Path) -> None:
    """Write a stanford_cars of ten classes: 40 + 20 images each, with the official .mat lists."""
    from scipy.io import savemat

    (folder / "devkit").mkdir(parents=True)
    targets = (
        (True, "cars_train", folder / "devkit" / "cars_train_annos.mat", _FINE_TRAIN),
        (False, "cars_test", folder / "cars_test_annos_withlabels.mat", _FINE_TEST),
    )
    fields = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
    for train, part, path, each in targets:
        records = np.empty((1, 10 * each), dtype=[(field, object) for field in fields])
        for i, (digit, nth) in enumerate(_shuffled(10, each)):
            file = f"{i + 1:05d}.jpg"
            _save_jpeg(folder / part / file, digit, train, nth)
            width, height = _JPEG_SIZES[nth % len(_JPEG_SIZES)]
            records[0, i] = (1, 1, width, height, digit + 1, file)
        savemat(path, {"annotations": records})
    names = _column([f"Digit {digit}" for digit in range(10)]).T
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})
