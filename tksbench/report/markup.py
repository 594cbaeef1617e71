"""Tables as Markdown and as LaTeX: pure functions of a `Table`, equal to the byte whenever they are built."""

from __future__ import annotations

import itertools
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tksbench.report.tables import Line, Table

COLUMNS = {
    "dataset": "Data set",
    "method": "Method",
    "architecture": "Architecture",
    "steps": "T",
    "metric": "Metric",
    "paper": "Paper",
    "cited": "Cited work",
    "best": "Best epoch",
    "last": "Last epoch",
    "n": "n",
    "scale": "Scale",
    "run_interval": "Run 95 %",
    "test_interval": "Test 95 %",
    "verdict": "Verdict",
}
RIGHT = {"steps", "paper", "cited", "best", "last", "n", "run_interval", "test_interval"}
_DAGGERS = (r"\dagger", r"\ddagger", r"\S", r"\P", r"\Vert")
_NUMBERS = 8  # columns from T to the verdict, without that of the cited works
_MOST_UNBROKEN = 30  # lines of a data set that stay on one page of a long table
_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    " %": r"\,\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "[": "{[}",  # else it would be taken for the argument of the row end before it
    "]": "{]}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≈": r"$\approx$",
    "µ": r"$\mu$",
    "⁻³": r"$^{-3}$",
    "–": "--",
    "…": r"\dots{}",
}
_TEX_SPECIAL = re.compile("|".join(map(re.escape, _TEX)))
_STAMP = re.compile(r"^(?:<!-- local: (?P<md>.*) -->|% local: (?P<tex>.*))$", re.MULTILINE)


def markdown(table: Table) -> str:
    """The table as a Markdown document: title, table, footnotes, and the stamp of unpublished evidence."""
    fields = columns(table)
    title = f"# {table.title}" + (f": {table.metric}" if table.metric else "")
    rows = [[_marked(line, name) for name in fields] for line in table.lines]
    align = ["right" if name in RIGHT else "left" for name in fields]
    return document(
        [title, pipe([COLUMNS[name] for name in fields], rows, align), listed(footnotes(table))], table.stamp
    )


def document(parts: Sequence[str], stamp: str) -> str:
    """Parts of Markdown below each other, and at the end what unpublished evidence went in (`Evidence.stamp`)."""
    return "\n\n".join(parts) + "\n" + (f"\n<!-- local: {stamp} -->\n" if stamp else "")


def listed(notes: Sequence[str]) -> str:
    """Notes of plain text as a list of Markdown."""
    return "\n".join(f"- {escape_markdown(note)}" for note in notes)


def pipe(headers: Sequence[str], rows: Sequence[Sequence[str]], align: Sequence[str] | None = None) -> str:
    """Rows of plain text as a table of Markdown; `align` says for each column "left" or "right"."""
    from tabulate import tabulate

    cells = [[escape_markdown(cell) for cell in row] for row in rows]
    return tabulate(cells, headers, tablefmt="pipe", disable_numparse=True, colalign=align)


def columns(table: Table) -> list[str]:
    """Those of `COLUMNS` that a table needs."""
    spare = {"metric"} if table.metric else set()
    spare |= {"cited"} if not any(line.is_cited for line in table.lines) else set()
    return [name for name in COLUMNS if name not in spare]


def _marked(line: Line, name: str) -> str:
    """A cell's text, the paper's number with its mark."""
    text: str = getattr(line, name)
    return f"{text} ({line.mark})" if name == "paper" and line.mark else text


def footnotes(table: Table) -> list[str]:
    """Notes below a table; the works that it cites are the last."""
    return [*table.notes, *([f"Cited: {table.cited}."] if table.cited else [])]


def standalone(
    body: str, *, packages: Sequence[str] = ("array", "booktabs"), landscape: bool = False, number: int = 1, stamp: str
) -> str:
    r"""A LaTeX file that compiles alone and can also be read in by a document with the same packages.

    Args:
        body: What stands in the document, ended by a line break.
        packages: That it needs.
        landscape: Turn the page.
        number: Of the first table, where the file is compiled alone.
        stamp: What unpublished evidence went in (`Evidence.stamp`).
    """
    turned = "a landscape part of " * landscape
    return "\n".join(
        [
            "% Built by `python -m tksbench.tables`; do not edit. Compiles as it is.",
            rf"% \input it in {turned}a document that loads {', '.join(packages)}.",
            *([f"% local: {stamp}"] if stamp else []),
            r"\expandafter\ifx\csname @nodocument\endcsname\relax",
            r"  \let\tksbenchend\relax",
            r"\else",
            rf"  \documentclass[a4paper{',landscape' * landscape}]{{article}}",
            r"  \usepackage[margin=14mm]{geometry}",
            rf"  \usepackage{{{','.join(packages)}}}",
            r"  \pagestyle{empty}",
            r"  \def\tksbenchend{\end{document}}",
            r"  \begin{document}",
            rf"  \setcounter{{table}}{{{number - 1}}}",
            r"\fi",
            rf"{body}\tksbenchend",
            "",
        ]
    )


def long_table(
    name: str,
    title: str,
    columns: str,
    headers: Sequence[str],
    lines: Sequence[str],
    notes: Sequence[str],
    *,
    gap: int | None = None,
    packages: Sequence[str] = ("array", "booktabs", "longtable"),
    landscape: bool = False,
    stamp: str,
) -> str:
    """A LaTeX file, as `standalone`, of one table that may go over several pages.

    Args:
        name: Of its label.
        title: Its caption, in plain text.
        columns: As LaTeX takes them.
        headers: LaTeX.
        lines: Of LaTeX between its rules.
        notes: Plain text below it.
        gap: Half the space between columns, in points.
        packages: As in `standalone`, like those below.
        landscape: Likewise.
        stamp: Likewise.
    """
    heading = [r"    \toprule", "    " + " & ".join(headers) + r" \\", r"    \midrule"]
    body = [r"\begingroup", r"  \footnotesize", *([rf"  \setlength{{\tabcolsep}}{{{gap}pt}}"] if gap else [])]
    body += [r"  \setlength{\LTcapwidth}{\linewidth}", rf"  \begin{{longtable}}{{@{{}}{columns}@{{}}}}"]
    body += [rf"  \caption{{{escape_latex(title)}}}\label{{tab:{name}}}\\"]
    body += [*heading, r"    \endfirsthead", *heading, r"    \endhead", *lines, r"    \bottomrule"]
    body += [r"  \end{longtable}", r"  \par\medskip\noindent", r"  \begin{minipage}{\linewidth}\raggedright\scriptsize"]
    body += [*(rf"    {escape_latex(note)}\par" for note in notes), r"  \end{minipage}", r"\endgroup", ""]
    return standalone("\n".join(body), packages=packages, landscape=landscape, stamp=stamp)


def statistic(text: str) -> str:
    """A column's name in LaTeX, that of a statistic as formulas have it."""
    return {"p": "$p$", "p (Holm)": "$p$ (Holm)", "n": "$n$"}.get(text, escape_latex(text))


class _Row(NamedTuple):
    """A line of a LaTeX table.

    Attributes:
        line: Its words.
        leading: The first cells, and how many lines each spans; 0: a line above has it.
        rule: Drawn before it.
        kept: No page may end after it.
    """

    line: Line
    leading: tuple[tuple[str, int], ...]
    rule: str
    kept: bool


def _rows(lines: Sequence[Line], columns: Sequence[str], groups: int) -> Iterator[_Row]:
    """Lay out lines that share the cells of their first `groups` columns, each within those before it."""
    spans = [[1] * len(lines) for _ in columns]
    for depth in range(groups):
        runs = itertools.groupby(lines, key=lambda line: [getattr(line, name) for name in columns[: depth + 1]])
        lengths = [len(list(same)) for _, same in runs]
        spans[depth] = [span for length in lengths for span in (length, *[0] * (length - 1))]
    in_dataset = 0
    for at, line in enumerate(lines):
        in_dataset = spans[0][at] or in_dataset
        part = r"\cmidrule(l)" + f"{{2-{len(columns) + _NUMBERS}}}" if groups > 1 and spans[1][at] else ""
        rule = (r"\midrule" if spans[0][at] else part) if at else ""
        following = [column[at + 1] for column in spans[:groups]] if at + 1 < len(lines) else [1]
        may_end = following[0] or (in_dataset > _MOST_UNBROKEN and following[min(1, groups - 1)])
        leading = [(getattr(line, name), column[at]) for name, column in zip(columns, spans, strict=True)]
        yield _Row(line, tuple(leading), rule, not may_end)


def latex(table: Table) -> str:
    """The table as a LaTeX file that compiles alone, and can be read in by a document with the packages it names."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(  # noqa: S701 - HTML escaping would be wrong here; `finalize` escapes for TeX
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<{",
        variable_end_string="}>",
        comment_start_string="<#",
        comment_end_string="#>",
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, _Raw) else escape_latex(str(value)),
        keep_trailing_newline=True,
    )
    environment.filters |= {"raw": _Raw, "range": lambda text: text.replace(" to ", "–")}
    template = environment.from_string(Path(__file__).with_name("table.tex.j2").read_text(encoding="utf-8"))
    long = not table.metric or "cited" in columns(table)  # else it fits a page, upright
    leading = ("dataset", "method", "architecture") if table.metric else ("dataset", "architecture", "method", "metric")
    scales = list(dict.fromkeys(line.scale for line in table.lines if line.scale))
    marked = [scale for scale in scales if scale != "paper"]
    daggers = {"": "", "paper": "", **{scale: _dagger(rank) for rank, scale in enumerate(marked)}}
    rendered = template.render(  # words alone: Jinja2's cycles would keep the cells' thousands of records alive
        name=table.name,
        metric=table.metric,
        cited="cited" in columns(table),
        long=long,
        notes=footnotes(table),
        title=table.title.partition(". ")[2],  # \caption numbers the table itself
        leading=[COLUMNS[name] for name in leading],
        rows=list(_rows(table.lines, leading, groups=1 if table.metric else 3)),
        daggers=daggers,
        marks=[(scale, daggers[scale] or "no mark") for scale in scales],
    )
    return standalone(
        re.sub(r"\n{2,}", "\n", rendered).lstrip("\n"),  # an empty line would be a paragraph to TeX
        packages=("array", "booktabs", "multirow", "longtable" if long else "tabularx"),
        landscape=long,
        number=int(digits[0]) if (digits := re.search(r"\d+$", table.name)) else 1,
        stamp=table.stamp,
    )


def stamp_of(text: str) -> str:
    """What `Evidence.stamp` wrote into a Markdown or LaTeX file; "" if there is none."""
    found = _STAMP.search(text)
    return (found["md"] or found["tex"]) if found else ""


def escape_markdown(text: str) -> str:
    """Plain text in which Markdown sees no markup."""
    return re.sub(r"([\\`*_|<>~])", r"\\\1", " ".join(text.split()))


def escape_latex(text: str) -> str:
    r"""Plain text in which TeX sees no markup; characters that pdflatex lacks become a question mark.

    Examples:
        >>> escape_latex("62 % of vgg_snn")
        '62\\,\\% of vgg\\_snn'
    """
    escaped = _TEX_SPECIAL.sub(lambda match: _TEX[match[0]], " ".join(text.split()))
    return "".join(char if _in_tex_font(char) else "?" for char in escaped)


def _in_tex_font(char: str) -> bool:
    """Printable ASCII, and Latin-1 letters that are an ASCII letter with an accent."""
    return char.isprintable() and (char.isascii() or (ord(char) < 0x100 and unicodedata.normalize("NFD", char) != char))


def _dagger(rank: int) -> str:
    """A footnote mark: the five usual ones, then each of them doubled, and so on."""
    times, which = divmod(rank, len(_DAGGERS))
    return f"$^{{{_DAGGERS[which] * (times + 1)}}}$"


class _Raw(str):
    """LaTeX that is passed through unescaped."""

    __slots__ = ()
