"""Tables as Markdown and as LaTeX: pure functions of a `Table`, equal to the byte whenever they are built."""

from __future__ import annotations

import itertools
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tksbench.report.tables import Table

COLUMNS = {
    "dataset": "Data set",
    "method": "Method",
    "architecture": "Architecture",
    "steps": "T",
    "metric": "Metric",
    "paper": "Paper",
    "best": "Best epoch",
    "last": "Last epoch",
    "n": "n",
    "scale": "Scale",
    "run_interval": "Run 95 %",
    "test_interval": "Test 95 %",
    "verdict": "Verdict",
}
RIGHT = {"steps", "paper", "best", "last", "n", "run_interval", "test_interval"}
_DAGGERS = ("$^{\\dagger}$", "$^{\\ddagger}$", "$^{\\S}$", "$^{\\P}$", "$^{\\Vert}$")
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
    "µ": r"$\mu$",
    "⁻³": r"$^{-3}$",
    "–": "--",
    "…": r"\dots{}",
}
_TEX_SPECIAL = re.compile("|".join(map(re.escape, _TEX)))
_STAMP = re.compile(r"^(?:<!-- local: (?P<md>.*) -->|% local: (?P<tex>.*))$", re.MULTILINE)


def markdown(table: Table) -> str:
    """The table as a Markdown document: title, table, footnotes, and the stamp of unpublished evidence."""
    from tabulate import tabulate

    fields = [name for name in COLUMNS if name != "metric" or not table.metric]
    body = tabulate(
        [[escape_markdown(getattr(line, name)) for name in fields] for line in table.lines],
        headers=[COLUMNS[name] for name in fields],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["right" if name in RIGHT else "left" for name in fields],
    )
    title = f"# {table.title}" + (f": {table.metric}" if table.metric else "")
    notes = "\n".join(f"- {escape_markdown(note)}" for note in table.notes)
    stamp = f"\n<!-- local: {table.stamp} -->\n" if table.stamp else ""
    return f"{title}\n\n{body}\n\n{notes}\n{stamp}"


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


def latex(table: Table) -> str:
    """The table as a LaTeX file that compiles alone and can also be read in by a document with booktabs."""
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
    environment.filters["raw"] = _Raw
    template = environment.from_string(Path(__file__).with_name("table.tex.j2").read_text(encoding="utf-8"))
    scales = list(dict.fromkeys(line.scale for line in table.lines if line.scale not in ("", "paper")))
    shown = list(zip(scales, itertools.cycle(_DAGGERS)))
    groups = itertools.groupby(table.lines, key=lambda line: line.dataset)
    rendered = template.render(
        table=table,
        title=table.title.partition(". ")[2],  # \caption numbers the table itself
        datasets=[(dataset, list(lines)) for dataset, lines in groups],
        daggers={"": "", "paper": "", **dict(shown)},
        shown=shown,
    )
    return standalone(
        re.sub(r"\n{2,}", "\n", rendered).lstrip("\n"),  # an empty line would be a paragraph to TeX
        packages=("array", "booktabs") if table.metric else ("array", "booktabs", "longtable"),
        landscape=not table.metric,
        number=int(digits[0]) if (digits := re.search(r"\d+$", table.name)) else 1,
        stamp=table.stamp,
    )


RENDERINGS: dict[str, Callable[[Table], str]] = {"md": markdown, "tex": latex}


def stamp_of(text: str) -> str:
    """What `Evidence.stamp` wrote into a Markdown or LaTeX file; "" if there is none."""
    found = _STAMP.search(text)
    return (found["md"] or found["tex"]) if found else ""


def escape_markdown(text: str) -> str:
    """Plain text in which Markdown sees no markup."""
    return re.sub(r"([\\`*_|<>~])", r"\\\1", " ".join(text.split()))


def escape_latex(text: str) -> str:
    r"""Plain text in which TeX sees no markup; characters that pdflatex lacks become a question mark.

    Example:
        >>> escape_latex("62 % of vgg_snn")
        '62\\,\\% of vgg\\_snn'
    """
    escaped = _TEX_SPECIAL.sub(lambda match: _TEX[match[0]], " ".join(text.split()))
    return "".join(char if _in_tex_font(char) else "?" for char in escaped)


def _in_tex_font(char: str) -> bool:
    """Printable ASCII, and Latin-1 letters that are an ASCII letter with an accent."""
    return char.isprintable() and (char.isascii() or (ord(char) < 0x100 and unicodedata.normalize("NFD", char) != char))


class _Raw(str):
    """LaTeX that is passed through unescaped."""

    __slots__ = ()
