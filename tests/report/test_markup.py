"""How lines of a table share cells in LaTeX, and how scales are marked."""

from __future__ import annotations

import re

from tksbench.report.markup import latex
from tksbench.report.tables import Line, Table
from tksbench.report.terminal import colour_of


def line(dataset: str, architecture: str, method: str, metric: str, scale: str = "") -> Line:
    return Line(dataset, method, architecture, "4", metric, "?", "1.00", "2.00", "3", scale, "–", "–", "not run")


def table(*lines: Line, metric: str | None = None) -> Table:
    return Table("table3", "Table 3. Ablation", lines, metric, (), "")


def body(tex: str) -> list[str]:
    """Rules and lines between the heading and the bottom rule, without what comes after the method."""
    inner = tex.split(r"\endhead" if "endhead" in tex else "Verdict \\\\\n    \\midrule", 1)[1].split(r"\bottomrule")[0]
    return [re.sub(r"( & [^&]*){8} (\\\\\*?)$", r" \2", row.strip()) for row in inner.strip().splitlines()]


def test_a_data_set_a_network_and_a_method_are_named_once_for_all_their_lines() -> None:
    shared = [line("A", "R19", method, metric) for method in ("TET", "TKS") for metric in ("top-1", "AURC")]
    assert body(latex(table(*shared, line("A", "R34", "TKS", "top-1"), line("B", "R34", "TKS", "top-1")))) == [
        r"\multirow[t]{5}{*}{A} & \multirow[t]{4}{*}{R19} & \multirow[t]{2}{*}{TET} & top-1 \\*",
        r"&  &  & AURC \\*",
        r"&  & \multirow[t]{2}{*}{TKS} & top-1 \\*",
        r"&  &  & AURC \\*",
        r"\cmidrule(l){2-12}",
        r"& R34 & TKS & top-1 \\",
        r"\midrule",
        r"B & R34 & TKS & top-1 \\",
    ]


def test_with_one_metric_the_data_set_alone_is_shared() -> None:
    tex = latex(table(line("A", "R19", "TKS", "top-1"), line("A", "R19", "TKS", "top-1"), metric="top-1"))
    assert body(tex) == [r"\multirow[t]{2}{*}{A} & TKS & R19 \\*", r"& TKS & R19 \\"]


def test_a_data_set_longer_than_a_page_may_break_between_its_networks() -> None:
    many = [line("A", f"R{number // 4}", str(number), "top-1") for number in range(40)]
    rows = [row for row in body(latex(table(*many))) if not row.startswith(r"\cmidrule")]
    assert [number for number, row in enumerate(rows) if row.endswith(r"\\")] == list(range(3, 40, 4))


def test_each_scale_has_a_mark_of_its_own_and_an_explanation() -> None:
    scales = ["mini", "paper", "a", "b", "c", "d", "e"]
    tex = latex(table(*(line("A", "R19", "TKS", "top-1", scale) for scale in scales)))
    told = re.search(r"Scale of our numbers: (.*)\.\\par", tex)
    assert told
    marks = dict(reversed(one.split("~")) for one in told[1].split("; "))
    assert marks["paper"] == "no mark"
    assert marks["e"] == r"$^{\dagger\dagger}$"
    assert len(set(marks.values())) == len(scales)
    for scale in scales:
        assert (f"1.00{marks[scale]} & 2.00{marks[scale]} & 3" in tex) == (scale != "paper")


def test_colours_tell_better_from_worse_whichever_way_the_metric_points() -> None:
    good, bad = colour_of("above"), colour_of("below")
    assert good != bad
    assert colour_of("does not hold at scale mini (n=3)") == bad
    assert [colour_of(word, less_is_better=True) for word in ("above", "below")] == [bad, good]
    assert colour_of("holds (n=3)") == colour_of("reproduced", less_is_better=True) != ""
