"""The paper's claims with their verdicts as Markdown, as LaTeX, and on a terminal; none is wider than 80 columns."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tksbench.report.cells import SMOKE_PASSED
from tksbench.report.claims import LEVEL, claimed_runs, claims
from tksbench.report.markup import document, escape_latex, escape_markdown, long_table, pipe, statistic
from tksbench.report.tables import NONE, p_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from tksbench.report.cells import Estimate
    from tksbench.report.claims import ClaimResult, Comparison
    from tksbench.report.compare import Place
    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.report.paper import Paper

NAME = "claims"
HEADERS = ("Epoch", "Ours", "95 %", "p", "p (Holm)", "McNemar", "n")
_WIDTH = 80
_TITLE = "What the paper claims, and what our runs say"
_MARK, _VARIANT = "+", "++"
MARK_NOTES = (
    f"{_MARK}: not in the paper; its claim carried over to a data set that it does not use.",
    f"{_VARIANT}: not in the paper; a choice of the authors' code that it does not state, against the alternative; p "
    "(Holm) is corrected over these alone.",
)
_NOTES = (
    "Ours: the first-named side less the second, in points (AURC: × 10⁻³, of which less is better), mean over n seeds "
    "that both have, with the 95 % interval and the p of a paired t test over seeds. Against a cited work: our runs of "
    "it, each side by its own protocol, where there are any; else its number, at scale paper alone, with the interval "
    "of one further run of ours. p (Holm): corrected over all claims here. McNemar: the largest p over "
    "the seeds of the exact test on the two runs' test samples, whichever of the two is better there.",
    f"Verdict, of the best epoch as in the paper: holds, if the first side is better with p (Holm) below {LEVEL}; does "
    "not hold, if it is worse with such a p; undecided otherwise, and below three seeds. Whether a difference is as "
    "large as stated is judged at scale paper only: as stated, if it lies in the 95 % prediction interval of one "
    "further pair of ours.",
    "Of former arithmetic: runs whose sums were in an order that the processor decided; made anew, they end elsewhere.",
    "Of single time steps: the row is the step that supports the claim least, with that step's interval and p (times "
    "the number of steps where it contradicts the claim).",
    *MARK_NOTES,
)


@dataclass(frozen=True)
class ClaimsTable:
    """The claims before rendering; `stamp` as in `tables.Table`."""

    results: tuple[ClaimResult, ...]
    stamp: str
    name: str = NAME

    @property
    def touched(self) -> list[ClaimResult]:
        """Those that finished or unfinished runs say something of."""
        return [result for result in self.results if not _waiting(result)]

    @property
    def waiting(self) -> list[ClaimResult]:
        """Those without any run on real data."""
        return [result for result in self.results if _waiting(result)]


def _waiting(result: ClaimResult) -> bool:
    return not result.scale and result.verdict.startswith(("not run", SMOKE_PASSED))


def build_claims(
    paper: Paper, protocols: Mapping[str, Sequence[Candidate]], evidence: Evidence, estimate: Estimate
) -> ClaimsTable:
    """Judge all claims; the arguments are those of `claims.claims`."""
    mine = evidence.of_groups(one.group for name in claimed_runs(paper) for one in protocols.get(name, ()))
    return ClaimsTable(tuple(claims(paper, protocols, mine, estimate)), mine.stamp())


def markdown(table: ClaimsTable) -> str:
    """The claims as a Markdown document: a section each, and a list of those that no run touches."""
    parts = [f"# {_TITLE}"]
    for result in table.touched:
        parts += [f"## {escape_markdown(result.claim.id)}", _wrapped(escape_markdown(headline(result)))]
        parts.append(_wrapped(f"**{escape_markdown(result.verdict)}**{escape_markdown(_remarks(result))}"))
        rows = rows_of(result)
        if rows:
            align = ["left", *["right"] * (len(HEADERS) - 1)]
            parts.append(pipe(HEADERS, rows, align))
    if table.waiting:
        parts.append(f"## Without runs on real data: {len(table.waiting)}")
        parts.append(pipe(("Claim", "Verdict"), [(one.claim.id, one.verdict) for one in table.waiting]))
    parts.append("\n".join(_wrapped(escape_markdown(note), "- ", "  ") for note in _NOTES))
    return document(parts, table.stamp)


def brief(results: Sequence[ClaimResult]) -> str:
    """One row of Markdown for each claim that runs speak to: verdict and p of the best epochs, beside them the last."""
    rows = []
    for result in results:
        if result.best is not None:
            mean, interval, _, corrected, _, n = numbers(result.best)
            last = "{} ({})".format(*numbers(result.last)) if result.last else NONE
            rows.append((headline(result), result.verdict, f"{mean} ({interval})", corrected, last, n))
    headers = ("", "verdict", "best epoch (95 %)", "p (Holm)", "last epoch (95 %)", "n")
    align = ("left", "left", "right", "right", "right", "right")
    return pipe(headers, rows, align)


def latex(table: ClaimsTable) -> str:
    """The claims as a LaTeX table: one row each, the two epochs above each other in its cells."""
    texts = r">{\raggedright}p{41mm}>{\raggedright\arraybackslash}p{37mm}"
    lines = []
    for number, result in enumerate(table.touched):
        rows = rows_of(result) or [("",) * len(HEADERS)]
        lines += [r"    \addlinespace"] * (number > 0)
        lines.append(rf"    {escape_latex(headline(result))} & {escape_latex(result.verdict + _details(result))}")
        lines.append("    " + "".join(f" & {_stacked(column)}" for column in zip(*rows, strict=True)) + r" \\")
    columns, headers = f"{texts}l{'r' * (len(HEADERS) - 1)}", ("Claim", "Verdict", *map(statistic, HEADERS))
    notes = (*_rest(table), *_NOTES)
    return long_table(table.name, _TITLE, columns, headers, lines, notes, gap=3, stamp=table.stamp)


def show(table: ClaimsTable, console: Console) -> None:
    """Print the claims."""
    from rich.padding import Padding
    from rich.text import Text

    from tksbench.report.terminal import colour_of

    console.print(Text(_TITLE, style="bold"))
    for result in table.touched:
        told = Text.assemble((result.verdict, colour_of(result.verdict)), _remarks(result))
        console.print()
        console.print(Text(result.claim.id, style="bold"))
        console.print(Padding(Text(headline(result)), (0, 0, 0, 2), expand=False))
        console.print(Padding(told, (0, 0, 0, 2), expand=False))
        rows = rows_of(result)
        if rows:
            print_numbers(console, HEADERS, rows)
    console.print()
    for line in _rest(table):
        console.print(Text(f"{line} All: python -m tksbench.tables --why {NAME}"))
    for note in _NOTES:
        console.print(Text(note, style="dim"))
    console.print()


def print_numbers(console: Console, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print comparisons below each other: a word, then figures."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for number, header in enumerate(headers):
        grid.add_column(Text(header, style="dim"), justify="right" if number else "left", no_wrap=True)
    for row in rows:
        grid.add_row(*map(Text, row))
    console.print(Padding(grid, (0, 0, 0, 2), expand=False))


def _rest(table: ClaimsTable) -> list[str]:
    """How many claims have no run, in words."""
    count = len(table.waiting)
    return [f"{count} further claim{'s have' if count > 1 else ' has'} no runs on real data yet."] if count else []


def headline(result: ClaimResult) -> str:
    """A claim's words, with a mark where they are not the paper's (`MARK_NOTES`)."""
    claim = result.claim
    return claim.text + f" {_MARK}" * (claim.extends is not None) + f" {_VARIANT}" * (claim.variant is not None)


def _size(result: ClaimResult) -> str:
    claim = result.claim
    return f"; stated size {claim.value:+.{claim.decimals}f}: {result.size}" if result.size else ""


def _remarks(result: ClaimResult) -> str:
    """What follows the verdict: the details and the place in the paper."""
    return _details(result) + f"; in the paper: {result.claim.where}" * result.claim.own


def _details(result: ClaimResult) -> str:
    """The stated size, the steps at which a claim about each of them holds, and what a variant varies."""
    told, best = _size(result), result.best
    if best and best.steps_better:
        told += f"; better at {best.steps_better[0]} of {best.steps_better[1]} steps, least at step {best.step}"
    told += machines_of(best) + "; of former arithmetic" * bool(best and best.former)
    return told + f"; varies {result.claim.variant}" * (result.claim.variant is not None)


def machines_of(compared: Comparison | None) -> str:
    """Which seeds are of which machine, where they are of several; "" where all are of one."""
    words = ""
    if compared and compared.apart:
        words += f"; the two runs of seed {', '.join(map(str, compared.apart))} are of different machines"
    if compared and len(compared.machines) > 1:
        each = (f"seed {', '.join(map(str, seeds))} on {machine}" for machine, seeds in compared.machines)
        words += f"; {', '.join(each)}"
    return words


def rows_of(compared: ClaimResult | Place) -> list[tuple[str, ...]]:
    """A row for each epoch that is compared, in the order of `HEADERS`."""
    both = (("best", compared.best), ("last", compared.last))
    return [(choice, *numbers(one)) for choice, one in both if one]


def numbers(one: Comparison) -> tuple[str, ...]:
    """Difference, interval, p, p after Holm's correction, McNemar's p, n: in the order of `HEADERS`, as text."""
    interval = f"{one.interval.low:+z.2f} to {one.interval.high:+z.2f}" if one.interval else NONE
    mcnemar = max((test.p for test in one.mcnemar), default=None)
    return f"{one.mean:+z.2f}", interval, p_words(one.p), p_words(one.p_holm), p_words(mcnemar), str(one.n)


def _wrapped(text: str, first: str = "", further: str = "") -> str:
    lines = textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=further, break_on_hyphens=False)
    return "\n".join(lines)


def _stacked(cells: Sequence[str]) -> str:
    """A cell of several lines, the first on the row's own line."""
    lines = [re.sub(r"(?<!\w)([-+])(?=\d)", r"$\1$", escape_latex(cell)) for cell in cells]
    return lines[0] if len(lines) == 1 else r"\begin{tabular}[t]{@{}r@{}}" + r"\\".join(lines) + r"\end{tabular}"
