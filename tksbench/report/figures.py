"""Drawing of the figures: PDF, PNG, and the numbers as CSV. matplotlib is imported when one is drawn."""

from __future__ import annotations

import csv
import io
import math
import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from tksbench.report import figure_data, figure_tsne
from tksbench.report.figure_data import FIGURES, REBINNED, Figure, build_figure
from tksbench.report.groups import ReportError
from tksbench.report.latency import WITHIN
from tksbench.runs import write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

    from tksbench.report.figure_data import Groups, Panel, Protocols, Series
    from tksbench.report.figure_tsne import Scatter
    from tksbench.report.paper import Paper
    from tksbench.runs import Ledger

NAMES = (*FIGURES, "figure5")

# Okabe and Ito, Color universal design, 2008: told apart with any colour vision; line and marker differ as well.
_STYLES: dict[str, dict[str, Any]] = {
    "Baseline": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    "LS": {"color": "#009E73", "marker": "^", "linestyle": "-."},
    "TET": {"color": "#CC79A7", "marker": "D", "linestyle": ":"},
    "TKS": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
}
# Of other series: the rest of that palette, then Tol's (Introduction to colour schemes, 2021) for whom 7 are too few.
_COLOURS = [
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#882255",
    "#999933",
    "#332288",
]
_MARKERS = "osD^voXDPp"
_DASHES = ("-", "--", "-.", ":")
_LEVELS = ("--", ":", "-.", "-")
_CROWDED = 4  # series: with more of them the legend stands below the axes, where no curve runs
_LEGEND_POINTS, _LEGEND_ROW_INCHES = 7.5, 0.17
_PANEL_INCHES = (4.6, 3.6)
_PNG_DPI = 160
_MADE_FROM = re.compile(rb"csv ([0-9a-f]{64}) local ((?:[0-9a-f]{2})*)\.")
_THIN = 0.8  # points: the second protocol
_UNASKED = "no recipe has runs for this figure"
_COLUMNS = ("panel", "source", "series", "protocol", "scale", "x", "mean", "sd", "n")
_SCATTER_COLUMNS = ("panel", "scale", "seed", "x", "y", "label")


def make_figure(name: str, paper: Paper, protocols: Protocols, by_group: Groups, ledger: Ledger) -> Figure | Scatter:
    """Collect one figure's numbers, whichever kind it is.

    Args:
        name: As in results/paper.yaml, one of `NAMES`.
        paper: The paper's numbers.
        protocols: From `groups.candidates`.
        by_group: From `cells.group_records`.
        ledger: Where the run directories lie; only figure 5 needs them.

    Raises:
        ReportError: There is no such figure.
    """
    if name in NAMES and name not in paper.figures:
        raise ReportError(f"results/paper.yaml says nothing of '{name}' under figures")
    if name in NAMES and name not in FIGURES:
        return figure_tsne.build_scatter(name, paper, protocols, by_group, ledger)
    return build_figure(name, paper, protocols, by_group)


def write_figure(figure: Figure | Scatter, folder: Path, stamp: str = "") -> list[str]:
    """Draw a figure and lay it, and its numbers, in a folder.

    Args:
        figure: From `make_figure`.
        folder: Where to.
        stamp: What the drawings say of evidence that is not published, `Evidence.stamp`.

    Returns:
        The file names: `<name>.pdf`, `.png`, `.csv`.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    contents = {"csv": to_csv(figure)}
    made_from = f"csv {sha256(contents['csv']).hexdigest()} local {stamp.encode().hex()}."
    with rc_context({"font.size": 9, "pdf.fonttype": 42, "axes.spines.top": False, "axes.spines.right": False}):
        canvas = Canvas(layout="constrained")
        if isinstance(figure, Figure):
            draw_panels(canvas, figure)
        else:
            figure_tsne.draw(canvas, figure)
        for suffix, metadata in (
            ("pdf", {"CreationDate": None, "Keywords": made_from}),
            ("png", {"Software": None, "Description": made_from}),
        ):
            buffer = io.BytesIO()  # without date and version the same numbers give the same bytes
            canvas.savefig(buffer, format=suffix, dpi=_PNG_DPI, metadata=metadata)
            contents[suffix] = buffer.getvalue()
    for suffix, content in contents.items():
        write_bytes(folder / f"{figure.name}.{suffix}", content)
    return [f"{figure.name}.{suffix}" for suffix in ("pdf", "png", "csv")]


def made_from(name: str, folder: Path) -> str | None:
    """What `write_figure` was given of evidence that is not published; None where none of its files is there.

    Raises:
        ReportError: A file is missing, or the drawings are not of the numbers beside them.
    """
    paths = [folder / f"{name}.{suffix}" for suffix in ("csv", "pdf", "png")]
    if not any(path.exists() for path in paths):
        return None
    try:
        numbers, *drawings = [path.read_bytes() for path in paths]
    except OSError as error:
        raise ReportError(f"{error.filename}: missing or unreadable") from None
    told = [_MADE_FROM.search(drawing) for drawing in drawings]
    for path, found in zip(paths[1:], told, strict=True):
        if found is None or found[1].decode() != sha256(numbers).hexdigest():
            raise ReportError(f"{path}: is not drawn from {name}.csv as it stands")
    stamps = {found[2] for found in told if found}
    if len(stamps) > 1:
        raise ReportError(f"{paths[1]}: is not drawn from the same runs as {name}.png")
    return bytes.fromhex(stamps.pop().decode()).decode(errors="replace")


def to_csv(figure: Figure | Scatter) -> bytes:
    """The figure's numbers, a row a point; time steps and classes on an x axis count from 1."""
    buffer = io.StringIO()
    curves = isinstance(figure, Figure)
    writer = csv.DictWriter(buffer, _COLUMNS if curves else _SCATTER_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(figure_data.rows(figure) if isinstance(figure, Figure) else figure_tsne.rows(figure))
    return buffer.getvalue().encode()


def describe(figure: Figure | Scatter) -> Iterator[str]:
    """A line a panel: what it shows and what it lacks."""
    if not figure.panels:
        yield _UNASKED
    for panel in figure.panels:
        note = getattr(panel, "note", "")
        if not panel.scale:
            passed = "; smoke check passed (stand-in data, not drawn)" * panel.smoke_check
            yield f"{panel.title}: no records yet{passed}"
        elif note:
            yield f"{panel.title}: {panel.scale}; {' '.join(note.split())}"
        else:
            missing = f"; no records of {', '.join(panel.missing)}" if panel.missing else ""
            yield f"{panel.title}: {panel.scale}{missing}"


def draw_panels(canvas: Canvas, figure: Figure) -> None:
    """Draw lines or bars, the panels side by side; a data set with nothing to draw is named below them."""
    drawn = [panel for panel in figure.panels if panel.series or panel.marks]
    rows = max((math.ceil(len(panel.series) / 2) for panel in drawn if _crowded(panel, figure)), default=0)
    canvas.set_size_inches(_PANEL_INCHES[0] * max(1, len(drawn)), _PANEL_INCHES[1] + rows * _LEGEND_ROW_INCHES)
    all_axes = canvas.subplots(1, max(1, len(drawn)), squeeze=False)[0]
    absent = ", ".join(panel.title for panel in figure.panels if panel not in drawn)
    if not drawn:
        all_axes[0].set_axis_off()
        words = f"no records yet: {absent}" if absent else _UNASKED
        all_axes[0].text(0.5, 0.5, words, transform=all_axes[0].transAxes, ha="center")
    elif absent:
        canvas.supxlabel(f"no records yet: {absent}", fontsize=8, color="0.4")
    for axes, panel in zip(all_axes, drawn, strict=False):
        _draw(axes, panel, figure)


def _draw(axes: Axes, panel: Panel, figure: Figure) -> None:
    axes.set_title(panel.title + (f" (scale {panel.scale})" if panel.scale else ""))
    crowded = _crowded(panel, figure)
    sampling = "; ".join(filter(None, (_sampling(panel, figure.kind), _seeds(panel) if crowded else "")))
    axes.set_xlabel("\n".join(filter(None, (figure.x_label, sampling, _latencies(axes, panel)))))
    axes.set_ylabel("top-1 accuracy (%)" if figure.kind == "line" else "accuracy at the first step (%)")
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    levels = [series for series in panel.series if series.level]
    curves = [series for series in panel.series if not series.level]
    for index, series in enumerate(panel.series):
        label = series.label if crowded and _seeds(panel) else _legend(series)
        if series.level:
            dashes = _LEVELS[levels.index(series) % len(_LEVELS)]
            axes.plot(series.x, series.mean, label=label, color="0.35", linewidth=1.2, linestyle=dashes)
        elif figure.kind == "line":
            _line(axes, series, label, _STYLES.get(series.label) or _style(curves.index(series)))
        else:
            _bars(axes, series, index, len(panel.series))
    if any(series.protocol == REBINNED for series in panel.series):
        axes.plot([], [], color="0.4", linewidth=_THIN, label="thin: events in k bins, last epoch")
    _marks(axes, panel)
    if figure.kind == "bar":
        axes.set_ylim(0, 120)  # room for the legend above 100 %
        axes.set_yticks(range(0, 101, 20))
    for label in panel.missing if panel.series else ():
        _absent(axes, label, figure.kind)
    if crowded:
        lines = 2 + axes.get_xlabel().count("\n")  # numbers and words of the x axis, which the legend is to stand below
        points = 12 + 1.25 * lines * float(axes.xaxis.label.get_fontsize())
        axes.legend(
            frameon=False,
            fontsize=_LEGEND_POINTS,
            ncols=2,
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            borderaxespad=points / _LEGEND_POINTS,
        )
    elif panel.series:
        bars = figure.kind == "bar"
        axes.legend(frameon=False, fontsize=8, loc="upper center" if bars else "best", ncols=2 if bars else 1)
    else:
        axes.text(0.5, 0.5, "no records of ours yet", transform=axes.transAxes, ha="center", color="0.4")
    _ticks(axes, panel, log=figure.log)


def _marks(axes: Axes, panel: Panel) -> None:
    """What the paper's text states: each star has its words beside it, since one in a legend would pass for data."""
    places = [mark.x for mark in panel.marks] + [x for series in panel.series for x in series.x]
    for mark in panel.marks:
        colour = _STYLES[mark.label]["color"]
        face = "white" if mark.approximate else colour
        axes.plot(mark.x, mark.y, "*", markersize=12, color=colour, markerfacecolor=face)
        left = 2 * mark.x <= min(places) + max(places)  # the words go towards the middle
        axes.annotate(
            f"{mark.label}, paper: {'about ' * mark.approximate}{mark.y:g}",
            (mark.x, mark.y),
            xytext=(10 if left else -10, 0),
            textcoords="offset points",
            ha="left" if left else "right",
            va="center",
            fontsize=8,
            color=colour,
        )


def _crowded(panel: Panel, figure: Figure) -> bool:
    return figure.kind == "line" and sum(series.protocol != REBINNED for series in panel.series) > _CROWDED


def _latencies(axes: Axes, panel: Panel) -> str:
    """Print above curves from which step on they are near their level; returns what the numbers mean, if any are."""
    tops: dict[int, float] = {}
    for one in panel.series:
        if one.latency is not None:
            mean = one.mean[one.x.index(one.latency)]
            tops[one.latency] = max(mean, tops.get(one.latency, mean))
    for steps, mean in tops.items():
        axes.annotate(f"{steps:,}", (steps, mean), (0, 5), textcoords="offset points", ha="center", fontsize=7)
    listed = ", ".join(f"{steps:,}" for steps in sorted(tops))
    return f"{listed}: from there on within {WITHIN:g} point of its ANN" if tops else ""


def _seeds(panel: Panel) -> str:
    """How many seeds each value is of, if all are of as many."""
    counts = {n for series in panel.series for n in series.n}
    return {1: "one seed"}.get(most := max(counts), f"n = {most} seeds, mean ± sd") if len(counts) == 1 else ""


def _style(index: int) -> dict[str, Any]:
    """Of the so-and-so-many-th curve that is none of the paper's methods.

    Every second one has rings for markers, which leave the dots of a curve visible that has the same values.
    """
    ring = index % 2 == 1
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "linestyle": _DASHES[index % len(_DASHES)],
        "markersize": 6.5 if ring else 4,
        "markerfacecolor": "none" if ring else None,
    }


def _line(axes: Axes, series: Series, label: str, style: dict[str, Any]) -> None:
    if series.protocol == REBINNED:  # one line of the legend stands for all of them; the spread is in the CSV
        axes.plot(series.x, series.mean, linewidth=_THIN, **style | {"marker": ""})
        return
    axes.plot(series.x, series.mean, label=label, **{"markersize": 4} | style)
    if any(series.sd):
        below, above = _spread(series)
        low = [mean - sd for mean, sd in zip(series.mean, below, strict=True)]
        high = [mean + sd for mean, sd in zip(series.mean, above, strict=True)]
        axes.fill_between(series.x, low, high, color=style["color"], alpha=0.15, linewidth=0)


def _bars(axes: Axes, series: Series, index: int, count: int) -> None:
    width = 0.8 / count
    places = [x - 0.4 + (index + 0.5) * width for x in series.x]
    axes.bar(
        places,
        series.mean,
        width,
        yerr=_spread(series) if any(series.sd) else None,
        label=_legend(series),
        color=_STYLES[series.label]["color"],
        hatch="//" if series.label == "Baseline" else None,
        edgecolor="white",
    )


def _spread(series: Series) -> tuple[list[float], list[float]]:
    """A standard deviation below and above each mean, as far as there are such accuracies."""
    sds = [sd or 0.0 for sd in series.sd]
    below = [min(sd, mean) for mean, sd in zip(series.mean, sds, strict=True)]
    return below, [min(sd, 100 - mean) for mean, sd in zip(series.mean, sds, strict=True)]


def _sampling(panel: Panel, kind: str) -> str:
    """How far the finite test set alone lets a value be off: the bands over the seeds do not show that."""
    samples = panel.samples if kind == "line" else panel.samples // max((len(one.x) for one in panel.series), default=1)
    if not samples:
        return ""
    margin = 100 * 1.96 * math.sqrt(0.25 / samples)  # 95 %, normal, at its widest: an accuracy of one half
    if kind == "line":
        return f"{samples:,} test samples: 95 % interval up to ±{margin:.2g} points"
    return f"a class of {samples:,} test samples, the mean:\n95 % interval up to ±{margin:.2g} points"


def _absent(axes: Axes, label: str, kind: str) -> None:
    """A line of the legend for a method without records, so that nobody takes the figure for whole."""
    style = _STYLES[label] if kind == "line" else {"color": _STYLES[label]["color"], "marker": "s", "linestyle": ""}
    axes.plot([], [], label=f"{label} (no records)", alpha=0.4, markersize=4, **style)


def _legend(series: Series) -> str:
    fewest, most = min(series.n), max(series.n)
    return (
        f"{series.label} (n={most}{', mean ± sd' * (most > 1)})"
        if fewest == most
        else f"{series.label} (n={fewest}–{most})"
    )


def _ticks(axes: Axes, panel: Panel, *, log: bool) -> None:
    if log and panel.series:
        most = max(x for series in panel.series for x in series.x)
        powers = [2**exponent for exponent in range(most.bit_length())]
        axes.set_xscale("log", base=2)
        axes.set_xticks(powers[:: 1 + len(powers) // 9], [f"{x:,}" for x in powers[:: 1 + len(powers) // 9]])
        return
    places = sorted({x for series in panel.series for x in series.x} | {mark.x for mark in panel.marks})
    if panel.ticks and panel.series:
        names = [panel.ticks[x - 1] for x in places]
        slant: dict[str, Any] = {"rotation": 45, "ha": "right"} if max(map(len, names)) > 1 else {}
        axes.set_xticks(places, names, **slant)
    elif not places:
        axes.set(xticks=[], yticks=[])
    elif len(places) <= 20:
        axes.set_xticks(places)
