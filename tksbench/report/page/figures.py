"""The paper's figures as charts, a panel a data set."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from tksbench.report.figure_data import REBINNED
from tksbench.report.page.charts import Chart, Line, Point, draw

if TYPE_CHECKING:
    from tksbench.report.figure_data import Figure as FigureData
    from tksbench.report.figure_data import Panel, Series

_STYLES = {"Baseline": "baseline", "LS": "ls", "TET": "tet", "TKS": "tks"}


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
    lines = [_line(one, panel, figure.kind) for one in panel.series]
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
    note = f"scale {panel.scale}, each value on {panel.samples:,} test samples{missing}"
    return Drawing(panel.title, note, draw(f"{figure.title}, {panel.title}", figure.x_label, lines, ticks=panel.ticks))


def _line(one: Series, panel: Panel, kind: str) -> Line:
    points = [
        Point(x, mean, sd, f"{mean:.2f}" + (f" ± {sd:.2f}" if sd is not None else "") + f" (n={n})")
        for x, mean, sd, n in zip(one.x, one.mean, one.sd, one.n, strict=True)
    ]
    both = len({other.protocol for other in panel.series}) > 1
    label = f"{one.label}, {one.protocol}" if both else one.label
    style = _STYLES.get(one.label, "other") + " second" * (one.protocol == REBINNED)
    return Line(label, style, points, joined=kind == "line")
