"""The table of what an inference costs: spikes, operations and energy of every run that has a cell or a figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tksbench.report.cells import group_records
from tksbench.report.markup import escape_latex, escape_markdown, standalone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.runs.record import Record

NAME = "costs"
HEADERS = ("Run", "Scale", "n", "Parameters", "Spike rate", "MMAC", "MSynOp", "Energy (µJ)")
_WIDE, _LEFT_OUT, _RUN_WIDTH = 100, ("n", "MMAC"), 34
_MARK = " [f]"
_KEYS = {"spike_rate", "macs", "synops", "energy_mj"}
_TITLE = "Cost of one inference"
_NOTES = (
    "Spike rate: spikes a neuron and time step. MMAC: millions of multiply-accumulates of the first layer, which reads "
    "analog values; MSynOp: millions of accumulates, one a synapse and incoming spike. All for one test sample over "
    "all time steps, the mean over test samples of all classes and over n seeds.",
    "Energy: 4.6 pJ a multiply-accumulate and 0.9 pJ an accumulate, 32-bit floating point in 45 nm (Horowitz, ISSCC "
    "2014); memory traffic, which costs more, is left out.",
    "[f]: by an earlier version, from the first 32 test samples, which may be of few classes.",
    "Scales other than paper have narrower networks and smaller inputs, and cost accordingly.",
)


@dataclass(frozen=True)
class Costs:
    """The table before rendering: `rows` hold plain text under `HEADERS`; `stamp` as in `tables.Table`."""

    rows: tuple[tuple[str, ...], ...]
    stamp: str
    name: str = NAME
    notes: tuple[str, ...] = _NOTES


def build_costs(protocols: Mapping[str, Sequence[Candidate]], evidence: Evidence) -> Costs:
    """Collect the cost of every run that a recipe names and a record tells of."""
    known = {one.group: (run, one) for run, found in protocols.items() for one in found}
    mine = evidence.of_groups(known)
    records = group_records((*mine.published, *mine.local))
    order = sorted(records, key=lambda group: (known[group][0], known[group][1].rank))
    measured = [group for group in order if all(set(one.cost.snn or {}) >= _KEYS for one in records[group])]
    rows = tuple(_row(*known[group], records[group]) for group in measured)
    return Costs(rows, mine.stamp())


def _row(run: str, candidate: Candidate, records: Sequence[Record]) -> tuple[str, ...]:
    def mean(key: str) -> float:
        return sum(float((record.cost.snn or {})[key] or 0) for record in records) / len(records)

    spikes = all((record.cost.snn or {})["spike_rate"] is not None for record in records)
    balanced = all("samples" in (record.cost.snn or {}) for record in records)
    return (
        run + _MARK * (not balanced),
        candidate.scale + ", miniature" * (candidate.source == "miniature"),
        str(len(records)),
        f"{records[0].cost.parameters:,}",
        f"{mean('spike_rate'):.3f}" if spikes else "–",
        f"{mean('macs') / 1e6:.2f}",
        f"{mean('synops') / 1e6:.2f}",
        f"{mean('energy_mj') * 1e3:.2f}",
    )


def markdown(costs: Costs) -> str:
    """The table as a Markdown document."""
    from tabulate import tabulate

    body = tabulate(
        [[escape_markdown(cell) for cell in row] for row in costs.rows],
        headers=HEADERS,
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["left", "left", *["right"] * (len(HEADERS) - 2)] if costs.rows else None,
    )
    notes = "\n".join(f"- {escape_markdown(note)}" for note in _NOTES)
    stamp = f"\n<!-- local: {costs.stamp} -->\n" if costs.stamp else ""
    return f"# {_TITLE}\n\n{body}\n\n{notes}\n{stamp}"


def latex(costs: Costs) -> str:
    """The table as a LaTeX file that compiles alone, and can be read in by a document with the packages it names."""
    heading = [r"    \toprule", "    " + " & ".join(map(escape_latex, HEADERS)) + r" \\", r"    \midrule"]
    lines = [r"\begingroup", r"  \footnotesize", r"  \setlength{\LTcapwidth}{\linewidth}"]
    lines += [rf"  \begin{{longtable}}{{@{{}}ll{'r' * (len(HEADERS) - 2)}@{{}}}}"]
    lines += [rf"  \caption{{{escape_latex(_TITLE)}}}\label{{tab:{costs.name}}}\\"]
    lines += [*heading, r"    \endfirsthead", *heading, r"    \endhead"]
    lines += ["    " + " & ".join(map(escape_latex, row)) + r" \\" for row in costs.rows]
    lines += [r"    \bottomrule", r"  \end{longtable}", r"  \par\medskip\noindent"]
    lines += [r"  \begin{minipage}{\linewidth}\raggedright\scriptsize"]
    lines += [rf"    {escape_latex(note)}\par" for note in _NOTES]
    lines += [r"  \end{minipage}", r"\endgroup", ""]
    return standalone("\n".join(lines), packages=("booktabs", "longtable"), stamp=costs.stamp)


def show(costs: Costs, console: Console) -> None:
    """Print the table."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = [header for header in HEADERS if console.width >= _WIDE or header not in _LEFT_OUT]
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for header in shown:
        run = header == HEADERS[0]
        justify: Literal["left", "right"] = "left" if header in HEADERS[:2] else "right"
        grid.add_column(
            header.replace(" ", "\n"), justify=justify, overflow="fold", min_width=_RUN_WIDTH if run else None
        )
    for row in costs.rows:
        grid.add_row(*(Text(cell) for header, cell in zip(HEADERS, row, strict=True) if header in shown))
    console.print(Text(_TITLE, style="bold"))
    console.print(grid)
    for note in _NOTES:
        console.print(Text(note, style="dim"))
    console.print()
