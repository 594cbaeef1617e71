"""The numbers behind each figure of the paper, from the records alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from tksbench.recipe import ConvertSpec
from tksbench.report.groups import ReportError, telling
from tksbench.report.latency import pairs
from tksbench.report.stats import mean_sd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tksbench.report.groups import Candidate
    from tksbench.report.latency import Pair
    from tksbench.report.paper import Paper
    from tksbench.runs.record import MetricsByChoice, Record

    Protocols = Mapping[str, Sequence[Candidate]]
    Groups = Mapping[str, Sequence[Record]]
    Values = Callable[[MetricsByChoice], Sequence[float | None]]

METHODS = {"baseline": "Baseline", "label_smoothing": "LS", "tet": "TET", "tks": "TKS"}
EXTRA_SETS = ("nmnist",)  # not in the paper; a panel of their own where there are records
PREFIX, REBINNED = "first k of T bins", "k bins"  # the two protocols of figure 3(a)
_STEP_AXIS = "time steps"
_CLASSES = {
    "dvs_cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "nmnist": tuple("0123456789"),
}


@dataclass(frozen=True)
class Series:
    """One method in one panel: a value for each x, mean and standard deviation (None for one seed) over seeds.

    `protocol` tells two curves of one method apart; "" where there is one way to test. Of a `level` the first and the
    last x are given alone: it is one value for all x. `latency` is the x from which on a converted network is near its
    analog one, of all seeds.
    """

    label: str
    x: tuple[int, ...]
    mean: tuple[float, ...]
    sd: tuple[float | None, ...]
    n: tuple[int, ...]
    protocol: str = ""
    level: bool = False
    latency: int | None = None


@dataclass(frozen=True)
class Mark:
    """A value that the paper's text states."""

    label: str
    x: int
    y: float
    approximate: bool


@dataclass(frozen=True)
class Panel:
    """One data set, or its twin: all series of one scale ("" where there are no records).

    `missing` are the methods that belong here and have no records at that scale; `samples` is the size of the test
    set, 0 without records; `smoke_check` says that there are runs on stand-in data, which are not drawn.
    """

    title: str
    scale: str
    series: tuple[Series, ...]
    marks: tuple[Mark, ...] = ()
    ticks: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    samples: int = 0
    smoke_check: bool = False


@dataclass(frozen=True)
class Figure:
    """A figure before drawing; y is test accuracy in percent at the best epoch.

    Of `REBINNED`, and of converted networks and their ANNs, it is that of the last.
    """

    name: str
    title: str
    x_label: str
    kind: str  # "line" or "bar"
    panels: tuple[Panel, ...]
    log: bool = False  # whether x grows by factors


def build_figure(name: str, paper: Paper, protocols: Protocols, by_group: Groups) -> Figure:
    """Collect one figure's numbers.

    Args:
        name: As in results/paper.yaml, one of `FIGURES`.
        paper: The paper's numbers: data sets, methods, stated values.
        protocols: From `groups.candidates`.
        by_group: From `cells.group_records`.

    Raises:
        ReportError: There is no such figure.
    """
    if name not in FIGURES or name not in paper.figures:
        from tksbench.recipe import suggest

        raise ReportError(f"no figure '{name}'; {suggest(name, FIGURES)}")
    return FIGURES[name](name, paper, protocols, by_group)


def rows(figure: Figure) -> list[dict[str, Any]]:
    """One row for each point, and for each value that the paper states: what the CSV holds."""
    table: list[dict[str, Any]] = []
    for panel in figure.panels:
        for one in panel.series:
            for x, mean, sd, n in zip(one.x, one.mean, one.sd, one.n, strict=True):
                point = {"source": "ours", "series": one.label, "protocol": one.protocol, "scale": panel.scale, "x": x}
                table.append({"panel": panel.title, **point, "mean": mean, "sd": sd, "n": n})
        for mark in panel.marks:
            point = {"source": "paper", "series": mark.label, "protocol": "", "scale": "paper", "x": mark.x}
            table.append({"panel": panel.title, **point, "mean": mark.y, "sd": None, "n": 1})
    return table


def _prefix(name: str, paper: Paper, protocols: Protocols, by_group: Groups) -> Figure:
    """Figure 3(a): only the first k of the T steps are averaged; or the recording is framed anew into k bins."""
    info = paper.figures[name]
    methods = info.get("methods", ["baseline", "tet", "tks"])
    values = {PREFIX: _prefix_values, REBINNED: _rebinned_values}
    panels = _panels([info["dataset"]], methods, paper, protocols, by_group, values)
    own = panels[0].title == printed_name(info["dataset"], paper)  # what the paper states is not of the twin
    marked = (replace(panels[0], marks=tuple(_marks(info["stated"])) if own else ()), *panels[1:])
    return Figure(name, info["title"], f"{_STEP_AXIS} used at test time", "line", marked)


def _each_step(name: str, paper: Paper, protocols: Protocols, by_group: Groups) -> Figure:
    """Figure 4: each time step alone."""
    info = paper.figures[name]
    panels = _panels(info["datasets"], info["methods"], paper, protocols, by_group, {"": _step_values})
    return Figure(name, info["title"], "time step", "line", panels)


def _first_step(name: str, paper: Paper, protocols: Protocols, by_group: Groups) -> Figure:
    """Section 5.4: recall of each class from the first step."""
    info = paper.figures[name]
    panels = _panels([info["dataset"]], info["methods"], paper, protocols, by_group, {"": _recall_values})
    classes = {
        printed_name(dataset, paper, source): class_names(dataset)
        for dataset in (info["dataset"], *EXTRA_SETS)
        for source in ("real", "twin")
    }
    named = tuple(replace(panel, ticks=classes.get(panel.title, ())) for panel in panels)
    return Figure(name, info["title"], "class", "bar", named)


def _retrained(name: str, paper: Paper, protocols: Protocols, by_group: Groups) -> Figure:
    """Figure 3(b): a network for each T; the largest T is the run that the tables use."""
    info, dataset = paper.figures[name], paper.figures[name]["dataset"]

    def run(method: str, steps: int) -> str:
        return f"{dataset}/vgg_snn{'' if steps == max(info['T']) else f'-T{steps}'}/{method}"

    wanted = [run(method, steps) for method in info["methods"] for steps in info["T"]]
    scale, found, source = choose(wanted, protocols, by_group)
    series = []
    for method in info["methods"]:
        points = [(steps, found[run(method, steps)]) for steps in info["T"] if run(method, steps) in found]
        if points:
            values = [mean_sd([record.metrics.best.top1 for record in records]) for _, records in points]
            series.append(
                Series(
                    METHODS[method],
                    tuple(steps for steps, _ in points),
                    tuple(mean for mean, _ in values),
                    tuple(sd for _, sd in values),
                    tuple(len(records) for _, records in points),
                )
            )
    missing = _missing([METHODS[method] for method in info["methods"]], series)
    panel = Panel(
        printed_name(dataset, paper, source),
        scale,
        tuple(series),
        tuple(_marks(info["stated"])) if source == "real" else (),
        missing=missing,
        samples=_samples(found),
        smoke_check=smoke_checked(wanted, protocols, by_group),
    )
    return Figure(name, info["title"], f"{_STEP_AXIS} in training and test", "line", (panel,))


def _over_time(name: str, paper: Paper, protocols: Protocols, by_group: Groups) -> Figure:
    """Accuracy of each converted run over its first steps, a panel a data set, and of its ANN as a level."""
    by_id = {record.id: record for records in by_group.values() for record in records}
    runs = {run: found[0].run.spec for run, found in protocols.items() if isinstance(found[0].run.spec, ConvertSpec)}
    panels = []
    for dataset in dict.fromkeys(spec.data.name for spec in runs.values()):
        wanted = [run for run, spec in runs.items() if spec.data.name == dataset]
        scale, found, source = choose(wanted, protocols, by_group)
        curves = [one for run, records in found.items() for one in _curves(dataset, run, pairs(records, by_id))]
        longest: dict[str, Series] = {}
        for one in sorted(
            curves, key=lambda one: (one.x[-1], one.n[0])
        ):  # several are of one ANN, whose level is drawn once
            longest[one.label] = one
        series = tuple(longest[label] for label in dict.fromkeys(one.label for one in curves))
        checked = smoke_checked(wanted, protocols, by_group)
        shown = (printed_name(dataset, paper, source), scale if series else "", series)
        panels.append(Panel(*shown, samples=_samples(found) if series else 0, smoke_check=checked))
    title = paper.figures[name]["title"]
    return Figure(name, title, f"{_STEP_AXIS} of the converted network", "line", tuple(panels), log=True)


def _short(run: str, dataset: str) -> str:
    return "/".join(part for part in run.split("/") if part != dataset)


def _curves(dataset: str, run: str, of: Sequence[Pair]) -> list[Series]:
    """The curve of a converted run, and the level of its ANN."""
    if not of:
        return []
    grid = [steps for steps, _ in of[0].over_time]
    columns = [[dict(pair.over_time)[steps] for pair in of] for steps in grid]
    level = [pair.analog.metrics.last.top1 for pair in of]
    analog = f"{_short(of[0].analog.name, dataset)} (ANN)"
    ann = _summed(analog, [grid[0], grid[-1]], [level, level])
    reached = [pair.latency for pair in of]
    latency = None if None in reached else max(one for one in reached if one is not None)
    curve = _summed(_short(run, dataset), grid, columns)
    return [replace(curve, latency=latency), replace(ann, level=True)]


def _summed(label: str, grid: Sequence[int], columns: Sequence[Sequence[float]]) -> Series:
    summaries = [mean_sd(list(column)) for column in columns]
    means, sds = tuple(mean for mean, _ in summaries), tuple(sd for _, sd in summaries)
    return Series(label, tuple(grid), means, sds, tuple(len(column) for column in columns))


FIGURES: dict[str, Callable[[str, Paper, Protocols, Groups], Figure]] = {
    "figure3a": _prefix,
    "figure3b": _retrained,
    "figure4": _each_step,
    "section5.4": _first_step,
    "over_time": _over_time,
}


class Chosen(NamedTuple):
    """What a panel shows.

    Attributes:
        scale: Of its runs; "" if there are no records at all.
        found: Records by the name of the run.
        source: Of their data: "real" or "twin".
    """

    scale: str
    found: dict[str, Sequence[Record]]
    source: str


def choose(runs: Iterable[str], protocols: Protocols, by_group: Groups) -> Chosen:
    """Records of several runs at one scale and on one source of data: where most runs have some, then the nearest.

    A data set's own goes before its twin, then the scale nearest the paper's. Runs on stand-in data are in no figure.
    """
    by_rank: dict[int, Chosen] = {}
    for run in runs:
        for candidate in telling(protocols.get(run, ())):
            if candidate.group in by_group:
                one = by_rank.setdefault(candidate.rank, Chosen(candidate.scale, {}, candidate.source))
                one.found[run] = by_group[candidate.group]
    if not by_rank:
        return Chosen("", {}, "real")
    return by_rank[min(by_rank, key=lambda rank: (-len(by_rank[rank].found), rank))]


def smoke_checked(runs: Iterable[str], protocols: Protocols, by_group: Groups) -> bool:
    """Whether any of these runs passed on stand-in data."""
    return any(one.stand_in and one.group in by_group for run in runs for one in protocols.get(run, ()))


def _panels(
    datasets: Sequence[str],
    methods: Sequence[str],
    paper: Paper,
    protocols: Protocols,
    by_group: Groups,
    values: Mapping[str, Values],
) -> tuple[Panel, ...]:
    """A panel for each of the paper's data sets, and for each extra one that has records; `values` by protocol."""
    panels = []
    for dataset in (*datasets, *EXTRA_SETS):
        names = {f"{dataset}/vgg_snn/{method}": METHODS[method] for method in methods}
        scale, found, source = choose(names, protocols, by_group)
        drawn = (
            _series(names[run], found[run], protocol, of)
            for protocol, of in values.items()
            for run in names
            if run in found
        )
        series = tuple(one for one in drawn if one.x)
        if series or dataset in datasets:
            missing = _missing(names.values(), series)
            checked = smoke_checked(names, protocols, by_group)
            title, samples = printed_name(dataset, paper, source), _samples(found)
            panels.append(Panel(title, scale, series, missing=missing, samples=samples, smoke_check=checked))
    return tuple(panels)


def _samples(found: Mapping[str, Sequence[Record]]) -> int:
    """Test samples behind each value: one protocol, so the same for all."""
    return next((records[0].test.n for records in found.values()), 0)


def _missing(methods: Iterable[str], series: Sequence[Series]) -> tuple[str, ...]:
    there = {one.label for one in series}
    return tuple(method for method in methods if method not in there)


def _series(label: str, records: Sequence[Record], protocol: str, values: Values) -> Series:
    columns = zip_longest(*(values(record.metrics) for record in records))  # a record may lack a protocol's values
    known = [(x, [v for v in column if v is not None]) for x, column in enumerate(columns, start=1)]
    known = [(x, column) for x, column in known if column]
    summaries = [mean_sd(column) for _, column in known]
    return Series(
        label,
        tuple(x for x, _ in known),
        tuple(mean for mean, _ in summaries),
        tuple(sd for _, sd in summaries),
        tuple(len(column) for _, column in known),
        protocol,
    )


def _prefix_values(metrics: MetricsByChoice) -> Sequence[float | None]:
    return metrics.best.top1_prefix


def _rebinned_values(metrics: MetricsByChoice) -> Sequence[float | None]:
    return metrics.last.top1_rebinned or ()


def _step_values(metrics: MetricsByChoice) -> Sequence[float | None]:
    return metrics.best.top1_step


def _recall_values(metrics: MetricsByChoice) -> Sequence[float | None]:
    return metrics.best.first_step_recall


def _marks(stated: Sequence[Mapping[str, Any]]) -> Iterable[Mark]:
    for one in stated:
        yield Mark(METHODS[str(one["run"]).rsplit("/", 1)[-1]], one["steps"], one["value"], one["approximate"])


def printed_name(dataset: str, paper: Paper, source: str = "real") -> str:
    """A data set as the paper prints it; one that is not in the paper, or a twin, as people call it."""
    if dataset in paper.datasets and source == "real":
        return paper.datasets[dataset].printed
    from tksbench.data.registry import title_of

    return title_of(dataset, source)


def class_names(dataset: str) -> tuple[str, ...]:
    """What the classes are called, by label; empty where there are too many to name."""
    return _CLASSES.get(dataset, ())
