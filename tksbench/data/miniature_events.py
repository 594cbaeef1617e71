"""Miniatures of the event sets: scikit-learn's digits moved in front of a simulated event camera.

A pixel of the camera sends an event of polarity 1 or 0 each time the logarithm of its intensity has risen or fallen by
a contrast threshold since its last event (Lichtsteiner et al. 2008). The digit makes the three saccades of N-MNIST
(Orchard et al. 2015), so the upright strokes speak while it moves sideways and the level ones while it moves up or
down: no single time step shows all of it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tksbench.data.framing import Events
from tksbench.errors import TksbenchError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TRAIN_PER_CLASS = 40
TEST_PER_CLASS = 20
SEED = 20230413
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CALTECH_CLASSES = (
    "BACKGROUND_Google",
    "Faces_easy",
    "Leopards",
    "Motorbikes",
    "accordion",
    "airplanes",
    "anchor",
    "ant",
    "barrel",
    "bass",
)
_AEDAT2_HEADER = (
    b"#!AER-DAT2.0\r\n"
    b"# This is a raw AE data file - do not edit\r\n"
    b"# Data format is int32 address, int32 timestamp (8 bytes total), repeated for each event\r\n"
    b"# Timestamps tick: 1 us\r\n"
    b"# AEChip: DVS128 (simulated)\r\n"
    b"#End Of ASCII Header\r\n"
)
_ATIS_LAST_US = 2**23 - 1


class Camera(NamedTuple):
    """A simulated event camera and the scene before it.

    Attributes:
        side: Rows and columns of the part of the sensor that sees the digit.
        scale: Pixels of the sensor for one of the 8x8 pixels of a digit.
        travel: Length of a saccade in pixels.
        threshold: Change of log intensity that makes an event.
        duration_us: Length of a recording in microseconds.
        steps: Sub-frames that are rendered; events between two of them get times between theirs.
    """

    side: int
    scale: float
    travel: float
    threshold: float
    duration_us: int
    steps: int


DVS128 = Camera(side=112, scale=11.5, travel=18.0, threshold=1.0, duration_us=300_000, steps=18)
CALTECH_ATIS = Camera(side=60, scale=5.5, travel=12.0, threshold=0.7, duration_us=300_000, steps=18)
NMNIST_ATIS = Camera(side=34, scale=2.75, travel=5.0, threshold=0.4, duration_us=300_000, steps=18)


def record(images: NDArray[np.float32], camera: Camera, rng: np.random.Generator) -> list[Events]:
    """Record still images that the camera moves over.

    Args:
        images: Intensities [B, 8, 8] in [0, 1].
        camera: The camera.
        rng: Places, speeds and first timestamps of the recordings.

    Returns:
        One recording for each image.
    """
    batch = len(images)
    path = _saccades(batch, camera, rng)
    first_us = rng.integers(0, 50_000, size=batch)
    step_us = camera.duration_us // camera.steps
    reference = _log_intensity(images, path[:, 0], camera)
    found: list[tuple[NDArray[np.int64], ...]] = []
    for step in range(1, camera.steps + 1):
        change = _log_intensity(images, path[:, step], camera) - reference
        sample, y, x = np.nonzero(np.abs(change) >= camera.threshold)
        seen = change[sample, y, x]
        repeats = np.floor(np.abs(seen) / camera.threshold).astype(np.int64)
        reference[sample, y, x] += np.sign(seen) * repeats * camera.threshold
        p = (seen > 0).astype(np.int64)
        sample, y, x, p, swing = (np.repeat(column, repeats) for column in (sample, y, x, p, np.abs(seen)))
        nth = 1 + np.arange(len(sample)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        # Intensity is taken to change evenly between two sub-frames: that says when each threshold is crossed.
        crossed = (step_us * nth * camera.threshold / swing).astype(np.int64)
        t = first_us[sample] + (step - 1) * step_us + crossed
        found.append((sample, t, y, x, p))
    sample, t, y, x, p = (np.concatenate(columns) for columns in zip(*found, strict=True))
    order = np.lexsort((x, y, t, sample))
    bounds = np.searchsorted(sample[order], np.arange(batch + 1))
    columns = [column[order] for column in (x, y, t, p)]
    return [_events(*(column[start:stop] for column in columns)) for start, stop in pairwise(bounds)]


def write_aedat2(path: Path, events: Events) -> None:
    """Write events of a 128x128 sensor as AEDAT-2.0; the inverse of `events.read_aedat2`."""
    records = np.empty((len(events), 2), dtype=">u4")
    x, y, p = (column.astype(np.int64) for column in (events.x, events.y, events.p))
    records[:, 0] = (127 - x) << 8 | (127 - y) << 1 | (1 - p)
    records[:, 1] = events.t
    path.write_bytes(_AEDAT2_HEADER + records.tobytes())


def write_atis(path: Path, events: Events) -> None:
    """Write events as ATIS .bin; the inverse of `events.read_atis`.

    Raises:
        TksbenchError: A timestamp needs more than 23 bits.
    """
    if events.t[-1] > _ATIS_LAST_US:
        raise TksbenchError(f"{path}: {events.t[-1]} us is later than an ATIS file can say ({_ATIS_LAST_US} us)")
    columns = (events.x, events.y, events.p << 7 | events.t >> 16, events.t >> 8 & 0xFF, events.t & 0xFF)
    path.write_bytes(np.stack([column.astype(np.uint8) for column in columns], axis=1).tobytes())


def make_dvs_cifar10(root: Path) -> None:
    """Write root/CIFAR10DVS: digit k under the k-th class name, numbers 0.. train and 900.. test, as the real set."""
    rng = np.random.default_rng([SEED, 1])
    for label, name in enumerate(CIFAR_CLASSES):
        folder = root / "CIFAR10DVS" / name
        folder.mkdir(parents=True)
        numbers = [*range(TRAIN_PER_CLASS), *range(900, 900 + TEST_PER_CLASS)]
        for number, events in zip(numbers, record(_digits(label), DVS128, rng), strict=True):
            write_aedat2(folder / f"cifar10_{name}_{number}.aedat", _moved(events, (4, 12), rng))


def make_ncaltech101(root: Path) -> None:
    """Write root/Caltech101: ten of its 101 classes, each recording somewhere else on the sensor."""
    rng = np.random.default_rng([SEED, 2])
    for label, name in enumerate(CALTECH_CLASSES):
        folder = root / "Caltech101" / name
        folder.mkdir(parents=True)
        for number, events in enumerate(record(_digits(label), CALTECH_ATIS, rng), start=1):
            write_atis(folder / f"image_{number:04d}.bin", _moved(events, (0, 120), rng))


def make_nmnist(root: Path) -> None:
    """Write root/n_mnist: Train/<digit> and Test/<digit>."""
    rng = np.random.default_rng([SEED, 3])
    for label in range(10):
        recordings = record(_digits(label), NMNIST_ATIS, rng)
        parts = {"Train": recordings[:TRAIN_PER_CLASS], "Test": recordings[TRAIN_PER_CLASS:]}
        for part, chosen in parts.items():
            folder = root / "n_mnist" / part / str(label)
            folder.mkdir(parents=True)
            for number, events in enumerate(chosen):
                write_atis(folder / f"{number * 10 + label + 1:05d}.bin", events)


def _digits(label: int) -> NDArray[np.float32]:
    """The first images [60, 8, 8] of a digit, intensities in [0, 1]."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = digits.images[digits.target == label][: TRAIN_PER_CLASS + TEST_PER_CLASS] / 16.0
    return np.asarray(images, dtype=np.float32)


def _saccades(batch: int, camera: Camera, rng: np.random.Generator) -> NDArray[np.float64]:
    """Places [B, steps + 1, 2] (row, column) of the digit's corner on its triangular way, in pixels."""
    corners = np.array([[0.0, 0.0], [1.0, 0.5], [0.0, 1.0], [0.0, 0.0]]) * camera.travel
    phase = np.linspace(0, 3, camera.steps + 1)
    way = np.stack([np.interp(phase, np.arange(4), corners[:, axis]) for axis in (0, 1)], axis=-1)
    room = camera.side - 8 * camera.scale - camera.travel
    start = room / 2 + rng.uniform(-1, 1, size=(batch, 1, 2)) * min(max(room / 2, 0.0), camera.scale)
    return start + way * rng.uniform(0.8, 1.2, size=(batch, 1, 1))


def _log_intensity(images: NDArray[np.float32], corner: NDArray[np.float64], camera: Camera) -> NDArray[np.float32]:
    """Log intensity [B, side, side] of the digits, interpolated linearly, on a dark ground of a fifth of full light."""
    rows, columns = (_weights(corner[:, axis], camera) for axis in (0, 1))
    seen: NDArray[np.float32] = np.log(0.2 + 0.8 * (rows @ images @ columns.transpose(0, 2, 1)))
    return seen


def _weights(corner: NDArray[np.float64], camera: Camera) -> NDArray[np.float32]:
    """Share [B, side, 8] of each of the 8 rows (or columns) of a digit in each row (or column) of the sensor."""
    position = (np.arange(camera.side)[None, :] - corner[:, None]) / camera.scale - 0.5
    distance = np.abs(position[:, :, None] - np.arange(8)).astype(np.float32)
    return np.maximum(np.float32(0), 1 - distance)


def _moved(events: Events, between: tuple[int, int], rng: np.random.Generator) -> Events:
    """Move a recording right and down, each by so many pixels."""
    row, column = rng.integers(*between, size=2, endpoint=True)
    return Events(events.x + column, events.y + row, events.t, events.p)


def _events(x: NDArray[np.int64], y: NDArray[np.int64], t: NDArray[np.int64], p: NDArray[np.int64]) -> Events:
    """Give the columns the types that the readers give them."""
    return Events(x.astype(np.int16), y.astype(np.int16), t, p.astype(np.uint8))
