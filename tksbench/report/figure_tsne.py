"""Figure 5: t-SNE of the last LIF layer's features. The one figure that needs more than records: run directories.

The embedding is that of docs/protocol.md#the-figures (BrainCog:visualization.py:27, 121): sklearn's defaults,
perplexity 30, a fixed random state. It is computed anew each time, on one thread, since sums over several threads
are not the same every time.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tksbench.report.figure_data import METHODS, choose, class_names, printed_name, smoke_checked
from tksbench.runs import sha256_file
from tksbench.runs.arrays import read_arrays

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from numpy.typing import NDArray

    from tksbench.report.figure_data import Groups, Protocols
    from tksbench.report.paper import Paper
    from tksbench.runs import Ledger
    from tksbench.runs.record import Record

PERPLEXITY = 30.0
RANDOM_STATE = 20150101
MIN_SAMPLES = 10
# Colours: P. Tol, "Colour schemes", 2021, muted, and black; the markers differ as well.
_CLASS_STYLES = tuple(
    zip(
        ("#332288", "#CC6677", "#117733", "#DDCC77", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499", "#000000"),
        "os^vDP<>X*",
        strict=True,
    )
)
_CYCLIC = "twilight"
_PANEL_INCHES, _LEGEND_INCHES = 3.8, 0.9
_NO_RECORDS, _NO_FEATURES = "no records yet", "features not on this machine"


@dataclass(frozen=True)
class Cloud:
    """One panel: the test samples of one run as points in the plane, or `note`, which says why there are none.

    Attributes:
        dataset: As the paper prints it; clouds of one data set stand in one row.
        method: As the paper prints it.
        scale: Of the run, "" where there are no records.
        seed: Of the run that is shown; None if none is.
        top1: Test accuracy in percent of the embedded network, that of the last epoch.
        points: [N, 2], coordinates without a meaning of their own.
        labels: Class of each point, [N].
        names: Name of each class, empty for data sets of many.
        note: What stands in the panel instead of points.
        smoke_check: Whether the run passed on stand-in data, which is not drawn.
    """

    dataset: str
    method: str
    scale: str
    seed: int | None = None
    top1: float | None = None
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    note: str = ""
    smoke_check: bool = False

    @property
    def title(self) -> str:
        """What the panel is called."""
        return f"{self.dataset}, {self.method}"

    @property
    def missing(self) -> tuple[str, ...]:
        """The method, if it could not be shown."""
        return (self.method,) if self.note else ()


@dataclass(frozen=True)
class Scatter:
    """The figure before drawing."""

    name: str
    title: str
    panels: tuple[Cloud, ...]


def build_scatter(name: str, paper: Paper, protocols: Protocols, by_group: Groups, ledger: Ledger) -> Scatter:
    """Embed the features of the runs that results/paper.yaml lists for a figure.

    Panels of one data set are of one scale: that with features of most methods, then closest to the
    paper. Of several seeds the first with features is shown.

    Args:
        name: As in results/paper.yaml.
        paper: The paper's data sets, and the runs of the figure.
        protocols: From `groups.candidates`.
        by_group: From `cells.group_records`.
        ledger: Where the run directories lie.
    """
    info = paper.figures[name]
    shown = {group: kept for group, records in by_group.items() if (kept := _with_features(records, ledger))}
    rows: dict[str, list[str]] = {}
    for run in info["runs"]:
        rows.setdefault(run.split("/")[0], []).append(run)
    panels = []
    for dataset, runs in rows.items():
        scale, found, source = choose(runs, protocols, shown)
        if not found:
            source = choose(runs, protocols, by_group).source
        for run in runs:
            checked = smoke_checked([run], protocols, by_group)
            panel = Cloud(
                printed_name(dataset, paper, source), METHODS[run.rsplit("/", 1)[-1]], scale, smoke_check=checked
            )
            if run in found:
                panels.append(_embedded(replace(panel, names=class_names(dataset)), found[run][0], ledger))
            else:
                recorded, records, _ = choose([run], protocols, by_group)
                note = _NO_FEATURES if records else _NO_RECORDS
                panels.append(replace(panel, scale=scale or recorded, note=note))
    return Scatter(name, info["title"], tuple(panels))


def rows(figure: Scatter) -> list[dict[str, Any]]:
    """One row for each point: what the CSV holds."""
    return [
        {"panel": panel.title, "scale": panel.scale, "seed": panel.seed, "x": x, "y": y, "label": label}
        for panel in figure.panels
        for (x, y), label in zip(panel.points, panel.labels, strict=True)
    ]


def embed(counts: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """Features [N, F] to points [N, 2]; equal input gives equal output.

    A factor on the features does not matter, so counts serve as well as the authors' means over time.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    # The algorithm looks at 3 x perplexity neighbours of a point, so a small test set needs a smaller one.
    perplexity = min(PERPLEXITY, (len(counts) - 1) / 3)
    with threadpool_limits(1):
        points = TSNE(perplexity=perplexity, random_state=RANDOM_STATE).fit_transform(counts.astype(np.float32))
    return np.asarray(points)


def _with_features(records: Sequence[Record], ledger: Ledger) -> list[Record]:
    files = [(record, ledger.run_dir(record.id).features_last) for record in records]
    return [record for record, path in files if path.name in record.files and path.exists()]


def _embedded(panel: Cloud, record: Record, ledger: Ledger) -> Cloud:
    panel = replace(panel, seed=record.seed, top1=record.metrics.last.top1)
    path = ledger.run_dir(record.id).features_last
    if sha256_file(path) != record.files[path.name]:
        return replace(panel, note=f"{path.name} of run {record.id}\nis not what the record names")
    counts, labels = read_arrays(path, ("counts", "labels"))
    if len(counts) < MIN_SAMPLES or counts.shape[1] < 2:
        return replace(panel, note=f"too few to embed: {counts.shape[0]} samples, {counts.shape[1]} neurons")
    if not np.ptp(counts, axis=0).any():
        return replace(panel, note="all samples have the same features")
    # Four decimals of coordinates that span about a hundred: more than a drawing shows.
    points = tuple((round(float(x), 4), round(float(y), 4)) for x, y in embed(counts))
    return replace(panel, points=points, labels=tuple(labels.tolist()))


def draw(canvas: Canvas, figure: Scatter) -> None:
    """Draw a row of panels for each data set, a column for each method; a set with nothing to draw is named below."""
    by_set = [list(panels) for _, panels in itertools.groupby(figure.panels, key=lambda panel: panel.dataset)]
    table = [panels for panels in by_set if any(panel.points for panel in panels)]
    absent = "; ".join(f"{panels[0].dataset}: {panels[0].note}" for panels in by_set if panels not in table)
    if not table:
        canvas.text(0.5, 0.5, absent, ha="center")
        return
    if absent:
        canvas.supxlabel(absent, fontsize=8, color="0.4")
    columns = max(len(panels) for panels in table)
    canvas.set_size_inches(_PANEL_INCHES * columns + _LEGEND_INCHES, _PANEL_INCHES * len(table))
    grid = canvas.subplots(len(table), columns, squeeze=False)
    for axes, panels in zip(grid, table, strict=True):
        classes = sorted({label for panel in panels for label in panel.labels})
        for one, panel in zip(axes, panels, strict=False):
            _draw(one, panel, classes)
        for one in axes[len(panels) :]:
            one.set_axis_off()
        _legend(axes[len(panels) - 1], panels, classes)


def _draw(axes: Axes, panel: Cloud, classes: Sequence[int]) -> None:
    # Two lines: on one, a long name runs into the panel beside it.
    axes.set_title(f"{panel.dataset}\n{panel.method}" + (f" (scale {panel.scale})" if panel.scale else ""))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="0.8")
    if panel.note:
        axes.text(0.5, 0.5, panel.note, transform=axes.transAxes, ha="center", va="center", color="0.4")
        return
    places = len(set(panel.points))  # fewer where samples have equal spike counts
    size = f"{len(panel.labels):,} test samples{f' on {places:,} points' if places < len(panel.points) else ''}"
    axes.set_xlabel(f"{size}\nseed {panel.seed}, last epoch, top-1 {panel.top1:.1f} %")
    points, labels = np.asarray(panel.points), np.asarray(panel.labels)
    if len(classes) > len(_CLASS_STYLES):
        place = np.searchsorted(classes, labels) / len(classes)
        axes.scatter(points[:, 0], points[:, 1], s=7, c=place, cmap=_CYCLIC, vmin=0, vmax=1, linewidths=0)
    else:
        for number, label in enumerate(classes):
            own = points[labels == label]
            axes.scatter(own[:, 0], own[:, 1], s=13, **_style(number))
    axes.set_aspect("equal", adjustable="datalim")


def _legend(axes: Axes, panels: Sequence[Cloud], classes: Sequence[int]) -> None:
    """Beside the last panel of a row, for all of the row."""
    if not classes or len(classes) > len(_CLASS_STYLES):
        return
    names = next(panel.names for panel in panels if panel.labels)
    marks = [axes.scatter([], [], s=20, **_style(number)) for number in range(len(classes))]
    words = [names[label] if label < len(names) else f"class {label}" for label in classes]
    axes.legend(marks, words, frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), borderpad=0)


def _style(number: int) -> dict[str, Any]:
    colour, marker = _CLASS_STYLES[number]
    return {"color": colour, "marker": marker, "linewidths": 0}
