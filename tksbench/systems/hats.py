"""HATS: histograms of averaged time surfaces of a recording, without learning and without frames.

Source: Sironi et al., "HATS: Histograms of Averaged Time Surfaces for Robust Event-based Object Classification",
CVPR 2018, equations 4 to 8, as two independent re-implementations have them; these disagree, and `form` is which.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from tksbench.component import component

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydantic import Field

    from tksbench.data.framing import Events

    Form = Literal["past", "self"]


def time_surfaces(
    events: Events,
    height: int,
    width: int,
    *,
    cell: int,
    radius: int,
    tau: float,
    window: int,
    form: Form = "past",
) -> NDArray[np.float64]:
    """Average, over the events of each cell, how recently their neighbours in that cell have fired.

    An event i sees those earlier events j of its cell and polarity that lie at most `radius` pixels away in rows and
    in columns, and `window` microseconds in the past. At the offset (y_j - y_i, x_j - x_i) each adds
    exp(-(t_i - t_j) / tau). Neighbours in another cell are not seen.

    Args:
        events: Events of one recording, N.
        height: Rows of the sensor.
        width: Columns of the sensor.
        cell: Side of the square cells, in pixels; the last row and column of cells may be cut.
        radius: Of the neighbourhood, in pixels.
        tau: Time constant, in microseconds.
        window: Oldest neighbour, in microseconds.
        form: "past" takes neighbours of earlier time stamps, and divides by the number of all events of a cell.
            "self" takes those of an equal stamp too if they come earlier in the recording, adds 1 at offset (0, 0)
            for the event itself, and divides by the number of the cell's events of that polarity.

    Returns:
        [cells, 2, 2 * radius + 1, 2 * radius + 1], cells row by row, polarity 0 first.

    Raises:
        ValueError: Events lie off the sensor.
    """
    surfaces, number = _summed(events, height, width, cell, radius, tau, window, form)
    return surfaces / np.maximum(number, 1)


def _summed(
    events: Events, height: int, width: int, cell: int, radius: int, tau: float, window: int, form: Form
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What `time_surfaces` divides, and by what."""
    if events.height > height or events.width > width:
        span = f"{events.height} rows by {events.width} columns"
        raise ValueError(f"the events span {span}, more than the sensor's {height} by {width}")
    rows, columns = -(-height // cell), -(-width // cell)
    x, y = events.x.astype(np.int64), events.y.astype(np.int64)
    group = 2 * ((y // cell) * columns + x // cell) + events.p
    order = np.argsort(group, kind="stable")  # by time within a cell and polarity
    group, t = group[order], events.t[order] - events.t[0]
    bins, offset_bin = _offset_bins(cell, radius)
    place = ((y % cell) * (2 * cell - 1) + x % cell)[order]
    seen = _seen(group, t, window)
    many = np.argsort(-seen, kind="stable")  # those who see the most come first, so that each pass takes a prefix
    counted = np.bincount(seen, minlength=1)
    left = len(t) - np.cumsum(counted[:-1])  # of events that see at least 1, 2, ... others
    first, now, here = group[many] * bins, t[many], offset_bin.size // 2 - place[many]
    sums = np.zeros(2 * rows * columns * bins)
    for back, n in enumerate(left.tolist(), 1):
        other = many[:n] - back
        age = now[:n] - t[other]
        weight = np.exp(age * (-1.0 / tau))
        if form == "past":
            weight[age == 0] = 0.0
        sums += np.bincount(first[:n] + offset_bin[place[other] + here[:n]], weight, len(sums))
    surfaces = sums.reshape(rows * columns, 2, bins)[..., :-1]
    number = np.bincount(group, minlength=2 * rows * columns).reshape(rows * columns, 2, 1)
    if form == "self":
        surfaces[..., (bins - 1) // 2] += number[..., 0]
    else:
        number = number.sum(axis=1, keepdims=True)
    side = 2 * radius + 1
    return surfaces.reshape(rows * columns, 2, side, side), number[..., None]


def _offset_bins(cell: int, radius: int) -> tuple[int, NDArray[np.int64]]:
    """The bin of each difference of two places in a cell; the last bin is for neighbours that are too far away."""
    side = 2 * radius + 1
    offset = np.arange(1 - cell, cell)
    near = np.abs(offset) <= radius
    bins = (offset[:, None] + radius) * side + offset + radius
    return side * side + 1, np.where(near[:, None] & near, bins, side * side).ravel()


def _seen(group: NDArray[np.int64], t: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """How many events of the same group come before each and are at most `window` older; sorted by group and time."""
    spacing = int(t.max()) + window + 1
    moment = group * spacing + t
    earliest = np.searchsorted(moment, moment - window)
    return np.arange(len(t)) - np.maximum(earliest, np.searchsorted(group, group))


@component("features", "hats")
class HATS:
    """Histograms of averaged time surfaces, concatenated."""

    def __init__(
        self,
        height: int,
        width: int,
        *,
        cell: Annotated[int, Field(ge=1)] = 10,
        radius: Annotated[int, Field(ge=0)] = 3,
        tau: Annotated[float, Field(gt=0)] = 1e9,
        window: Annotated[int, Field(ge=1)] = 100_000,
        form: Literal["past", "self"] = "past",
        rows: Literal["as_they_are", "l2"] = "as_they_are",
    ) -> None:
        """Store the constants; `time_surfaces` says what they mean.

        Args:
            height: Rows of the sensor.
            width: Columns of the sensor.
            cell: Side of a cell in pixels.
            radius: Of the neighbourhood in pixels.
            tau: Time constant in microseconds.
            window: Oldest neighbour in microseconds.
            form: Which of the two definitions.
            rows: Whether a recording's features are divided by their Euclidean norm.
        """
        self.rows = rows
        self._plane = (height, width)
        self._surfaces: Any = {"cell": cell, "radius": radius, "tau": tau, "window": window, "form": form}

    def transform(self, events: Events) -> NDArray[np.float32]:
        """The features [F] of a recording, F = cells * 2 * (2 * radius + 1)^2."""
        surfaces = time_surfaces(events, *self._plane, **self._surfaces).ravel()
        norm = float(np.linalg.norm(surfaces)) if self.rows == "l2" else 1.0
        return (surfaces / (norm or 1.0)).astype(np.float32)

    def macs(self, events: Events) -> float:
        """Multiply-accumulates that the features of a recording take.

        One for each neighbour that an event sees, which decays and is added, and one for each feature, which is scaled.
        """
        sums, _ = _summed(events, *self._plane, **self._surfaces | {"tau": math.inf})  # each neighbour counts 1
        return float(sums.sum()) + sums.size
