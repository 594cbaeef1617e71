"""A twin of CIFAR10-DVS: the real CIFAR-10 images before a simulated DVS128, by the documented recording procedure.

The real recordings (Li et al. 2017, Frontiers in Neuroscience 11:309) were made of CIFAR-10 images, enlarged to
512x512 pixels on a screen and moved in a closed loop of four diagonal legs, before a camera of 128x128 pixels. The
twin does the same: 4x4 pixels of the screen are one of the sensor, a loop takes 200 ms, and a pixel sends an event of
polarity 1 or 0 each time its log intensity has risen or fallen by a contrast threshold since its last event.

Not published, and chosen here: the screen's gamma of 2.2, the black ground, the thresholds (so that a recording has
about the 200,000 events of a real one), the noise, and which images: the 10,000 of the test set, 1,000 of each class,
in the order of its file.

A twin is no copy of the real set, and its numbers never stand in the real set's column.

All arithmetic is of integers, but for two tables and the thresholds, which are rounded to a millionth: the same seed
gives the same bytes on every machine. Each recording has a generator of its own, and a longer recording begins with
the shorter one: nothing depends on how many are made, in which order, or by how many processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from tksbench.data.framing import Events

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 128  # pixels of the sensor
SCREEN = 512  # pixels of the enlarged image
LOOP_MS = 200
LOOPS = 6
SEED = 20170530
_BOX = SCREEN // SIDE
_MARGIN = 32  # pixels of black ground around the image, more than it ever moves
_FIFTHS = 5  # the image moves a fifth of a pixel of the screen in a millisecond: positions are counted in fifths
_LEG = 50  # fifths, and milliseconds: 10 pixels of the screen along each axis
_ONE = 2**20  # log intensity 1.0
_LEVELS = 2**16  # of luminance
_TICK_US = 1000


class Camera(NamedTuple):
    """The simulated sensor.

    Attributes:
        threshold: Change of log intensity that makes an event, on average over pixels.
        spread: Standard deviation of the threshold over pixels and polarities.
        dark: Luminance that is added before the logarithm, as a share of white.
        leak_hz: Rate at which a pixel under constant light sends events of polarity 1.
        shot_hz: Rate of events without a cause, of either polarity, of each pixel.
        jitter: Largest distance of the image from the centre, in pixels of the sensor.
    """

    threshold: float = 0.36
    spread: float = 0.03
    dark: float = 0.02
    leak_hz: float = 0.1
    shot_hz: float = 1.0
    jitter: int = 2


DVS128 = Camera()


def record(image: NDArray[np.uint8], label: int, number: int, loops: int = LOOPS, camera: Camera = DVS128) -> Events:
    """Record one image.

    Args:
        image: RGB, uint8 [3, 32, 32].
        label: Class of the image; with `number` it decides all that is random.
        number: Which image of its class.
        loops: Closed loops of 200 ms.
        camera: The sensor.

    Returns:
        The events in order of time (then pixel, then polarity); timestamps in microseconds from 0.
    """
    rng = np.random.default_rng([SEED, label, number])
    limit = camera.jitter * _BOX * _FIFTHS
    centre = rng.integers(-limit, limit + 1, size=2)
    start = int(rng.integers(LOOP_MS))
    on, off = _thresholds(camera, rng)
    scene = _scene(image, centre, camera)
    keys = [_contrast_events(scene, start, loops, on, off, camera)]
    keys += [_shot_events(loop, camera, rng) for loop in range(loops)]
    return _unpack(np.sort(np.concatenate(keys)))


def path() -> NDArray[np.int64]:
    """Places [200, 2] (down, right) of the image at each millisecond of a loop, in fifths of a screen pixel.

    Four legs, right and up, right and down, left and down, left and up, at 200 screen pixels a second along each axis.
    """
    corners = np.array([[0, -2], [-1, -1], [0, 0], [1, -1]]) * _LEG + [0, _LEG]
    steps = np.array([[-1, 1], [1, 1], [1, -1], [-1, -1]])
    legs = [corner + step * np.arange(_LEG)[:, None] for corner, step in zip(corners, steps, strict=True)]
    return np.concatenate(legs).astype(np.int64)


def _thresholds(camera: Camera, rng: np.random.Generator) -> NDArray[np.int32]:
    """Thresholds [2, pixels] of rising and falling intensity."""
    drawn = camera.threshold + camera.spread * rng.standard_normal((2, SIDE * SIDE))
    return np.round(np.clip(drawn, 0.01, None) * _ONE).astype(np.int32)


def _scene(image: NDArray[np.uint8], centre: NDArray[np.int64], camera: Camera) -> NDArray[np.int32]:
    """Log intensity [200, pixels] that each pixel of the sensor sees at each millisecond of a loop."""
    grey = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).convert("L")
    large = np.asarray(grey.resize((SCREEN, SCREEN), Image.Resampling.BICUBIC))
    luminance = np.round((np.arange(256) / 255) ** 2.2 * (_LEVELS - 1)).astype(np.int64)
    logarithm = np.round(np.log(np.arange(_LEVELS) / (_LEVELS - 1) + camera.dark) * _ONE).astype(np.int32)
    whole = np.zeros((SCREEN + 2 * _MARGIN + 1,) * 2, dtype=np.int64)  # sums over all pixels above and to the left
    whole[_MARGIN + 1 :, _MARGIN + 1 :] = np.pad(luminance[large], ((0, _MARGIN), (0, _MARGIN))).cumsum(0).cumsum(1)
    scene = np.empty((LOOP_MS, SIDE * SIDE), dtype=np.int32)
    share = _FIFTHS * _FIFTHS * _BOX * _BOX
    for moment, place in enumerate(path() + centre):
        light = _edges(_edges(whole, int(place[0])).T, int(place[1])).T
        scene[moment] = logarithm[light.reshape(-1) // share]
    return scene


def _edges(sums: NDArray[np.int64], moved: int) -> NDArray[np.int64]:
    """Sums of boxes of four rows (times 5), from running sums over rows; the image is moved down by so many fifths."""
    first, part = divmod(_MARGIN * _FIFTHS - moved, _FIFTHS)
    stop = first + SCREEN + 1
    at_edges = (_FIFTHS - part) * sums[first:stop:_BOX] + part * sums[first + 1 : stop + 1 : _BOX]
    return np.diff(at_edges, axis=0)


def _contrast_events(
    scene: NDArray[np.int32], start: int, loops: int, on: NDArray[np.int32], off: NDArray[np.int32], camera: Camera
) -> NDArray[np.int64]:
    """Events that changes of intensity and leakage cause, as sortable numbers (see `_pack`)."""
    leak = round(camera.threshold * camera.leak_hz / 1000 * _ONE)  # a millisecond's
    reference = scene[start].copy()
    found = []
    for step in range(1, loops * LOOP_MS + 1):
        # Leakage makes every reference fall evenly; what is kept is the reference without it.
        change = scene[(start + step) % LOOP_MS] - reference
        change += step * leak
        pixel = np.flatnonzero((change >= on) | (change <= -off))
        if not len(pixel):
            continue
        swing = change[pixel].astype(np.int64)
        rising = swing > 0
        size = np.where(rising, on[pixel], off[pixel]).astype(np.int64)
        repeats = np.abs(swing) // size
        reference[pixel] += (np.sign(swing) * repeats * size).astype(np.int32)
        if repeats.max() > 1:
            nth = 1 + np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
            pixel, rising, size, swing = (np.repeat(column, repeats) for column in (pixel, rising, size, swing))
        else:
            nth = repeats
        # Intensity is taken to change evenly within a millisecond: that says when each threshold is crossed.
        crossed = np.minimum(_TICK_US * nth * size // np.abs(swing), _TICK_US - 1)
        found.append(_pack((step - 1) * _TICK_US + crossed, pixel, rising))
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _shot_events(loop: int, camera: Camera, rng: np.random.Generator) -> NDArray[np.int64]:
    """Events of one loop that have no cause: their mean number, at random pixels and times."""
    count = round(camera.shot_hz * SIDE * SIDE * LOOP_MS / 1000)
    t = loop * LOOP_MS * _TICK_US + rng.integers(LOOP_MS * _TICK_US, size=count)
    return _pack(t, rng.integers(SIDE * SIDE, size=count), rng.integers(2, size=count))


def _pack(t: NDArray[np.int64], pixel: NDArray[np.int64], polarity: NDArray[np.generic]) -> NDArray[np.int64]:
    """One number an event, in the order that a recording has: time, pixel, polarity."""
    return (t * (SIDE * SIDE) + pixel) * 2 + polarity.astype(np.int64)


def _unpack(keys: NDArray[np.int64]) -> Events:
    pixel = (keys >> 1) % (SIDE * SIDE)
    columns = ((pixel % SIDE).astype(np.int16), (pixel // SIDE).astype(np.int16))
    return Events(*columns, (keys >> 1) // (SIDE * SIDE), (keys & 1).astype(np.uint8))
