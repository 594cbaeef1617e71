"""What the paper claims and what its own numbers say of it: as Markdown, as LaTeX, and on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tksbench.report.claims import LEVEL
from tksbench.report.markup import document, escape_latex, escape_markdown, listed, long_table, pipe, statistic
from tksbench.report.tables import NONE, p_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from tksbench.report.paper_claims import Finding, PaperClaims

TITLE = "What the paper claims, and what its own numbers say"
WORSE = "Not claimed: where a method other than TKS is worse than the baseline"
HEADERS = ("Claim", "TKS", "Other", "Difference", "p", "p (Holm)", "Its numbers")
_FEW = 4  # claims without a number that are listed one by one
_LEAST = (36, 5, 5, 12, 6, 8, 11)  # columns of a terminal, so that the sentences' rows stand below each other
_HOLM = HEADERS.index("p (Holm)")
_WIDE = 100  # columns on which a terminal has room for p (Holm)
NOTES = (
    "Claim: data set, network, and what TKS is claimed to be better than. TKS and Other: as the paper prints them, in "
    "per cent, AURC × 10⁻³; ≈: as its text words them, judged by sign alone. Of a drop and of two leads: the "
    "first-named and the second.",
    "Difference: with ±, 95 % by the size of the test set alone, as of two independent proportions. The paper gives no "
    "predictions; paired by test samples the error would be smaller, so this is an upper bound. Cited works are taken "
    "to have the same test set. p: two-sided; p (Holm): corrected over all claims here. AURC is no proportion, and its "
    "error needs the predictions.",
    f"Its numbers: yes, if the difference has the claim's sign; beyond the error of the test set, if p < {LEVEL}, "
    "else within it. Neither the spread over seeds is in it, as each number is of one run, nor that the authors' code "
    "picks the best epoch on the test set.",
)


def summary(table: PaperClaims) -> str:
    """How many claims there are, and what becomes of them."""
    found = table.findings
    known = [one for one in found if one.supported is not None]
    tested = [one for one in known if one.p is not None]
    beyond = [one for one in tested if one.supported and one.p is not None and one.p < LEVEL]
    sure = [one for one in beyond if one.p_holm is not None and one.p_holm < LEVEL]
    claiming = sum(bool(one.findings) for one in table.sentences)
    return (
        f"Sentences: {len(table.sentences)}, of which {claiming} claim a result; their claims: {len(found)}; with "
        f"numbers in the paper: {len(known)}, of which these support {sum(bool(one.supported) for one in known)}. "
        f"Differences in accuracy: {len(tested)}; for the claim, and beyond the error of the test set: {len(beyond)}; "
        f"after Holm's correction: {len(sure)}."
    )


def markdown(table: PaperClaims) -> str:
    """The list as a Markdown document: a section for each sentence."""
    parts = [f"# {TITLE}", escape_markdown(summary(table)), listed(NOTES)]
    for sentence in table.sentences:
        parts.append(f"## {sentence.section} {escape_markdown(sentence.says)}")
        if sentence.findings:
            parts.append(_pipe(HEADERS, lines_of(sentence.findings)))
        parts += [escape_markdown(_ended(sentence.note))] * bool(sentence.note)
    if table.worse:
        parts += [f"## {WORSE}", _pipe(_worse_headers(), [_worse_row(one) for one in table.worse])]
    return document(parts, "")


def latex(table: PaperClaims) -> str:
    """The list as a LaTeX table: a heading for each sentence, a row for each claim."""
    across = rf"\multicolumn{{{len(HEADERS)}}}{{@{{}}>{{\raggedright}}p{{\linewidth}}@{{}}}}"
    lines = []
    for number, (says, rows, note) in enumerate(groups(table)):
        lines += [r"    \addlinespace"] * (number > 0)
        group = [rf"{across}{{\textbf{{{escape_latex(says)}}}}}", *(" & ".join(map(_tex_cell, row)) for row in rows)]
        group += [rf"{across}{{\emph{{{escape_latex(_ended(note))}}}}}"] * bool(note)
        kept = {0, 1, len(group) - 2} - {len(group) - 1}  # no page parts the first or the last two lines
        lines += [f"    {line} " + r"\\" + "*" * (at in kept) for at, line in enumerate(group)]
    columns, notes = r">{\raggedright}p{86mm}" + "r" * 5 + "l", (summary(table), *NOTES)
    return long_table(table.name, TITLE, columns, [*map(statistic, HEADERS)], lines, notes, gap=4, stamp=table.stamp)


def show(table: PaperClaims, console: Console) -> None:
    """Print the list; p after Holm's correction where there is room for it."""
    from rich.text import Text

    console.print(Text(TITLE, style="bold"))
    console.print(Text(summary(table)))
    for sentence in table.sentences:
        console.print()
        console.print(Text(f"{sentence.section} {sentence.says}", style="bold"))
        if sentence.findings:
            _grid(HEADERS, lines_of(sentence.findings), console)
        if sentence.note:
            console.print(Text(_ended(sentence.note), style="dim"))
    if table.worse:
        console.print()
        console.print(Text(WORSE, style="bold"))
        _grid(_worse_headers(), [_worse_row(one) for one in table.worse], console)
    console.print()
    for note in NOTES:
        console.print(Text(note, style="dim"))
    console.print()


def groups(table: PaperClaims) -> list[tuple[str, list[tuple[str, ...]], str]]:
    """A heading, rows in the order of `HEADERS`, and a note or "", of each sentence; last, of what nobody claims."""
    found = [(f"{one.section} {one.says}", lines_of(one.findings), one.note) for one in table.sentences]
    if table.worse:
        rows = [(*_worse_row(one)[:5], "", _worse_row(one)[5]) for one in table.worse]
        found.append((WORSE, rows, "the second number is the baseline's"))
    return found


def lines_of(findings: Sequence[Finding]) -> list[tuple[str, ...]]:
    """One row a claim, in the order of `HEADERS`; many claims without a number share one."""
    unknown = [one for one in findings if one.supported is None]
    if len(unknown) <= _FEW:
        return [row_of(one) for one in findings]
    words = f"{len(unknown)} claims, from {unknown[0].place} to {unknown[-1].place}"
    rest = (NONE,) * (len(HEADERS) - 2)
    return [*(row_of(one) for one in findings if one.supported is not None), (words, *rest, unknown[0].verdict)]


def row_of(one: Finding) -> tuple[str, ...]:
    """The cells of a claim, in the order of `HEADERS`."""
    place = f"{one.place} ({one.note})" if one.note else one.place
    numbers = (number.text if number else NONE for number in (one.a, one.b))
    return place, *numbers, _difference(one), p_words(one.p), p_words(one.p_holm), one.verdict


def _worse_headers() -> tuple[str, ...]:
    return "Method", "It", "Baseline", "Difference", "p", "Test-set error"


def _worse_row(one: Finding) -> tuple[str, ...]:
    where = NONE if one.p is None else "beyond" if one.p < LEVEL else "within"
    metric = {"top1": "", "top5": ", top-5", "aurc": ", AURC"}[one.metric]
    return (
        one.place + metric,
        *(number.text if number else NONE for number in (one.a, one.b)),
        _difference(one),
        p_words(one.p),
        where,
    )


def _difference(one: Finding) -> str:
    if one.difference is None:
        return NONE
    text = f"{one.difference.value:+.{one.difference.decimals}f}"
    if one.interval is None:
        return text
    half = (one.interval.high - one.interval.low) / 2
    return f"{text} ± {half:.{max(one.difference.decimals, 1)}f}"


def _ended(note: str) -> str:
    """A note as a sentence."""
    return f"{note[:1].upper()}{note[1:]}".rstrip(".") + "."


def _pipe(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return pipe(headers, rows, ["left", *["right"] * (len(headers) - 2), "left"])


def _grid(headers: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    left_out = _HOLM if console.width < _WIDE and len(headers) == len(HEADERS) else None
    grid = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for at, header in enumerate(headers):
        if at != left_out:
            side: Literal["left", "right"] = "left" if at in (0, len(headers) - 1) else "right"
            least = _LEAST[at] if len(headers) == len(HEADERS) else None
            grid.add_column(Text(header, style="dim"), justify=side, no_wrap=at > 0, min_width=least)
    for row in rows:
        grid.add_row(*(Text(cell) for at, cell in enumerate(row) if at != left_out))
    console.print(grid)


def _tex_cell(cell: str) -> str:
    text = escape_latex(cell)
    return f"${text[0]}${text[1:]}" if text[:1] in "+-" and text[1:2].isdigit() else text
