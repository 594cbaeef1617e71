"""Charts as geometry: where lines, points and ticks lie. The template draws them, and so escapes every word in them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tksbench.report.stats import Interval

BARS_WIDTH, _BARS_INSET = 200, 6
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 10, 34
_DODGE = 7  # pixels between the points of two series at one named x


class Axis(NamedTuple):
    """Maps values onto pixels."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Pixel of a value, to a tenth."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


class LogAxis(Axis):
    """The same with equal factors equally far apart."""

    def at(self, value: float) -> float:
        """Pixel of a value, to a tenth."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return round(self.start + share * (self.end - self.start), 1)


class Tick(NamedTuple):
    """A labelled place on an axis."""

    at: float
    label: str


class Dot(NamedTuple):
    """A point in pixels, with the ends of its error bar if it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


class Point(NamedTuple):
    """A value to draw: `sd` is half the length of its error bar, `words` what is printed beside it."""

    x: float
    y: float
    sd: float | None = None
    words: str = ""


class Line(NamedTuple):
    """A series to draw.

    Attributes:
        label: In the legend, and before each value that a reader points at.
        style: Class of the stroke and marker in the style sheet.
        points: By x.
        joined: Draw a line through the points.
        dotted: Draw a marker at each point.
    """

    label: str
    style: str
    points: Sequence[Point]
    joined: bool = True
    dotted: bool = True


class Stroke(NamedTuple):
    """A series, drawn: an SVG path and dots."""

    label: str
    style: str
    path: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Chart:
    """A drawn chart.

    Attributes:
        title: For those who cannot see it.
        x_label: Below the axis.
        width: Of the view box; `height` likewise.
        left: Where the plot begins; `right`, `top` and `bottom` likewise.
        x_ticks: With labels, `y_ticks` likewise.
        strokes: The series.
        hover: JSON: `of` and `unit` go before a heading and after a value; `at` (pixels), `head` and the second of
            each of `rows` ([label, texts]) have an entry a place, texts with a bar between them.
        heads: Headings of the columns of numbers; `rows` their rows: what the hover shows, as a table.
    """

    title: str
    x_label: str
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    strokes: tuple[Stroke, ...]
    hover: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str | None, ...]], ...]


@dataclass(frozen=True)
class Bars:
    """The paper's number, ours and both error bars of one cell, in pixels of a strip `BARS_WIDTH` wide.

    `zero` is where no difference lies, for a claim about one.
    """

    paper: float | None
    ours: float | None
    run: tuple[float, float] | None
    test: tuple[float, float] | None = None
    zero: float | None = None


def bars_axis(values: Iterable[float | None]) -> Axis | None:
    """One axis for all cells that share a data set and a metric, or None if there is nothing to draw."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return None
    low, high = min(known), max(known)
    pad = 0.5 if high == low else 0.0
    return Axis(low - pad, high + pad, _BARS_INSET, BARS_WIDTH - _BARS_INSET)


def bars(
    axis: Axis, paper: float | None, ours: float | None, run: Interval | None, test: Interval | None = None
) -> Bars:
    """Lay one cell's numbers on the axis; `zero` is placed if it lies there."""
    return Bars(
        None if paper is None else axis.at(paper),
        None if ours is None else axis.at(ours),
        None if run is None else (axis.at(run.low), axis.at(run.high)),
        None if test is None else (axis.at(test.low), axis.at(test.high)),
        axis.at(0.0) if axis.low <= 0 <= axis.high else None,
    )


def draw(
    title: str,
    x_label: str,
    lines: Sequence[Line],
    *,
    size: tuple[int, int] = (460, 270),
    ticks: Sequence[str] = (),
    unit: str = " %",
    log: bool = False,
) -> Chart:
    """Lay out series of points.

    Args:
        title: For those who cannot see the chart.
        x_label: Below the axis; the unit of x in the text of a point.
        lines: Not all empty.
        size: Width and height of the view box.
        ticks: Names of x = 1, 2, ...; numbers if empty.
        unit: After each value.
        log: Whether equal factors of x are equally far apart.
    """
    points = [point for line in lines for point in line.points]
    width, height = size
    places = sorted({point.x for point in points})
    low = min(point.y - (point.sd or 0) for point in points)
    high = max(point.y + (point.sd or 0) for point in points)
    if unit == " %":
        low, high = max(0.0, low), min(100.0, high)
    y_values = nice_ticks(low, high, max(2, height // 55))
    step = y_values[1] - y_values[0]
    y_axis = Axis(min(low, y_values[0]), max(high, y_values[-1]), height - _BOTTOM, _TOP)
    margin = 0.5 if ticks else 0.0 if len(places) > 1 else 1.0
    kind = LogAxis if log else Axis
    x_axis = kind(places[0] - margin, places[-1] + margin, _LEFT + 4, width - _RIGHT - 4)
    if ticks:
        x_ticks = [Tick(x_axis.at(x), ticks[int(x) - 1] if int(x) <= len(ticks) else f"{x:g}") for x in places]
    elif log:
        powers = [2**exponent for exponent in range(int(places[-1]).bit_length())]
        x_ticks = [Tick(x_axis.at(x), f"{x:,}") for x in powers[:: 1 + len(powers) // 9]]
    else:
        shown = places if len(places) <= 12 else [x for x in nice_ticks(places[0], places[-1], 6) if x == int(x)]
        x_ticks = [Tick(x_axis.at(x), f"{x:g}") for x in shown if places[0] <= x <= places[-1]]
    words_at = [{point.x: _words(point) for point in line.points} for line in lines]
    told = [[words.get(x) for x in places] for words in words_at]
    heads = [ticks[int(x) - 1] if ticks and int(x) <= len(ticks) else f"{x:g}" for x in places]
    hover = {
        "of": "" if ticks else f"{x_label} ",
        "unit": unit,
        "at": [round(x_axis.at(x)) for x in places],
        "head": "|".join(heads),
        "rows": [[line.label, "|".join(w or "" for w in words)] for line, words in zip(lines, told, strict=True)],
    }
    return Chart(
        title,
        x_label,
        width,
        height,
        _LEFT,
        width - _RIGHT,
        _TOP,
        height - _BOTTOM,
        tuple(x_ticks),
        tuple(Tick(y_axis.at(value), _number(value, step)) for value in y_values),
        tuple(
            _stroke(line, x_axis, y_axis, dodge) for line, dodge in zip(lines, _dodges(lines, bool(ticks)), strict=True)
        ),
        json.dumps(hover, ensure_ascii=False, separators=(",", ":")),
        tuple(heads),
        tuple((line.label, tuple(words)) for line, words in zip(lines, told, strict=True)),
    )


def thin(values: Sequence[float], keep: Iterable[int], most: int) -> list[int]:
    """Indices of at most about `most` of many values, evenly spaced: the ends, and those in `keep`, are among them."""
    last = len(values) - 1
    even = {round(i * last / (most - 1)) for i in range(most)} if len(values) > most else set(range(len(values)))
    return sorted(even | {index for index in keep if 0 <= index <= last})


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Round values that cover [low, high], about `count` steps apart: multiples of 1, 2 or 5 times a power of ten.

    Example:
        >>> nice_ticks(61, 97, 4)
        [60.0, 70.0, 80.0, 90.0, 100.0]
    """
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * count >= span * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * i, 10) for i in range(first, max(last, first + 1) + 1)]


def _dodges(lines: Sequence[Line], apart: bool) -> list[float]:
    return [_DODGE * (i - (len(lines) - 1) / 2) if apart else 0.0 for i in range(len(lines))]


def _stroke(line: Line, x_axis: Axis, y_axis: Axis, dodge: float) -> Stroke:
    dots = [
        Dot(
            round(x_axis.at(point.x) + dodge, 1),
            y_axis.at(point.y),
            None if not point.sd else y_axis.at(max(y_axis.low, point.y - point.sd)),
            None if not point.sd else y_axis.at(min(y_axis.high, point.y + point.sd)),
        )
        for point in line.points
    ]
    path = "M" + " ".join(f"{dot.x:.0f},{dot.y:g}" for dot in dots) if line.joined and len(dots) > 1 else ""
    return Stroke(line.label, line.style, path, tuple(dots) if line.dotted or len(dots) == 1 else ())


def _words(point: Point) -> str:
    return point.words or f"{point.y:.2f}"


def _number(value: float, step: float) -> str:
    return f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"
