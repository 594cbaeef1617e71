"""The paper's figures as charts, a panel a data set."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from tksbench.report.figure_data import REBINNED
from tksbench.report.latency import WITHIN
from tksbench.report.page.charts import Chart, Line, Point, draw

if TYPE_CHECKING:
    from tksbench.report.figure_data import Figure as FigureData
    from tksbench.report.figure_data import Panel, Series

_STYLES = {"Baseline": "baseline", "LS": "ls", "TET": "tet", "TKS": "tks"}
_SHAPES = ("circle", "square", "triangle", "diamond")  # of other series, with a colour and dashes of the style sheet
_COLOURS, _DASHES, _LEVELS = 7, 3, 3


class Drawing(NamedTuple):
    """One panel of a figure; `chart` is None where there are no records."""

    title: str
    note: str
    chart: Chart | None


class Figure(NamedTuple):
    """One figure."""

    name: str
    title: str
    panels: tuple[Drawing, ...]


def lay_out(figure: FigureData) -> Figure:
    """Draw the panels of one figure."""
    panels = tuple(_panel(figure, panel) for panel in figure.panels)
    number = re.sub(r"^figure(\d+)(\w?)$", lambda m: f"Figure {m[1]}" + f"({m[2]})" * bool(m[2]), figure.name)
    return Figure(number.replace("section", "Section "), figure.title, panels)


def _panel(figure: FigureData, panel: Panel) -> Drawing:
    lines = [_line(one, panel, figure.kind, style) for one, style in zip(panel.series, _styles(panel), strict=True)]
    for label in dict.fromkeys(mark.label for mark in panel.marks):
        stated = [
            Point(mark.x, mark.y, words="about " * mark.approximate + f"{mark.y:g}")
            for mark in panel.marks
            if mark.label == label
        ]
        lines.append(
            Line(f"{label}, stated by the paper", f"{_STYLES.get(label, 'other')} paper", stated, joined=False)
        )
    if not panel.series:
        return Drawing(panel.title, "no records yet", draw(panel.title, figure.x_label, lines) if lines else None)
    missing = f"; no records of {', '.join(panel.missing)}" if panel.missing else ""
    note = f"scale {panel.scale}, each value on {panel.samples:,} test samples{missing}{_latencies(panel)}"
    title = f"{figure.title}, {panel.title}"
    return Drawing(panel.title, note, draw(title, figure.x_label, lines, ticks=panel.ticks, log=figure.log))


def _latencies(panel: Panel) -> str:
    near = [f"{one.label} from {one.latency:,} steps on" for one in panel.series if one.latency is not None]
    return f"; within {WITHIN:g} point of its ANN: {', '.join(near)}" if near else ""


def _styles(panel: Panel) -> list[str]:
    """Classes of each series: shape of the marker, colour and dashes; no two of the first 84 have all of them alike."""
    found, curves, levels = [], 0, 0
    for one in panel.series:
        if one.level:
            found.append(f"level dashes{levels % _LEVELS}")
            levels += 1
        elif one.label in _STYLES:
            found.append(_STYLES[one.label] + " second" * (one.protocol == REBINNED))
        else:
            shape = _SHAPES[curves % len(_SHAPES)]
            ring = " ring" * (curves % 2)  # a curve of the same values below stays visible
            found.append(f"{shape} colour{curves % _COLOURS} dashes{curves % _DASHES}{ring}")
            curves += 1
    return found


def _line(one: Series, panel: Panel, kind: str, style: str) -> Line:
    values = zip(one.x, one.mean, one.sd, one.n, strict=True)
    if one.level:  # also between its ends, for who points there
        places = sorted({x for other in panel.series for x in other.x if one.x[0] <= x <= one.x[-1]})
        values = ((x, one.mean[0], one.sd[0], one.n[0]) for x in places)  # type: ignore[assignment]
    points = [
        Point(x, mean, sd, f"{mean:.2f}" + (f" ± {sd:.2f}" if sd is not None else "") + f" (n={n})")
        for x, mean, sd, n in values
    ]
    both = len({other.protocol for other in panel.series}) > 1
    label = f"{one.label}, {one.protocol}" if both else one.label
    return Line(label, style, points, joined=kind == "line", dotted=not one.level)
