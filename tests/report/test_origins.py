"""What the cited works print themselves: marks, foot-notes, and the misquotations that are known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.report.conftest import World
from tksbench.report.markup import latex, markdown
from tksbench.report.origins import bibliography, footnotes, marks
from tksbench.report.paper import Origin, PaperError, Reference, Row
from tksbench.report.paper_file import load_paper
from tksbench.report.tables import Line, Table
from tksbench.tables import main

RESULTS = Path(__file__).parents[2] / "results"


def row(value: float, prints: float | None, note: str = "", ref: str = "5", sure: str = "read") -> Row:
    origin = Origin.model_validate({"prints": prints, "sure": sure, "note": note})
    return Row(dataset="a", label=f"X [{ref}]", ref=ref, metric="top1", value=value, decimals=1, origin=origin)


def test_rows_of_one_work_with_one_note_share_a_letter() -> None:
    rows = [row(1.0, 1.0), row(2.0, 2.0, "n"), row(3.0, 3.0, "m"), row(4.0, 4.0, "n"), row(2.0, 2.0, "n", ref="6")]
    assert marks(rows) == ["", "a", "b", "a", "c"]


def test_there_are_more_marks_than_letters() -> None:
    assert marks([row(1.0, 1.0, str(n)) for n in range(28)])[24:] == ["y", "z", "aa", "ab"]


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (row(70.0, 65.47, "of VGG"), "a: X [5]: 65.47 in the cited work (read); of VGG."),
        (row(70.0, None, "of [4]", sure="memory"), "a: X [5]: not in the cited work (from memory); of [4]."),
        (row(70.0, 70.0, "the best", sure="second-hand"), "a: X [5]: as in the cited work (second-hand); the best."),
        (row(66.8, 66.75, "T is disputed"), "a: X [5]: 66.75 in the cited work (read); T is disputed."),
        (row(83.2, 83.17), "No letter: as in the cited work; read: [5] as 83.17."),
    ],
)
def test_a_note_says_what_the_cited_work_prints_and_how_sure_that_is(one: Row, words: str) -> None:
    assert footnotes([one])[0] == words


def test_rows_of_the_paper_alone_need_no_notes() -> None:
    own = Row(dataset="a", label="TKS", metric="top1", value=1.0)
    assert (marks([own]), footnotes([own]), bibliography([own], {})) == ([""], [], "")


def test_the_bibliography_has_the_works_that_are_cited() -> None:
    references = {ref: Reference(cite=f"{ref} et al.", title="T") for ref in ("4", "5", "36")}
    assert bibliography([row(1.0, 1.0, ref="36"), row(1.0, 1.0)], references) == "[5] 5 et al.; [36] 36 et al."


def test_another_number_of_the_cited_work_needs_a_note(world: World) -> None:
    paper = world.root / "results" / "paper.yaml"
    paper.write_text(paper.read_text().replace("67.04, star", "67.04, origin: {prints: 65.0, sure: read}, star"))
    with pytest.raises(
        PaperError, match=r"Other_net & co \[5\]\* at 67.04: a number that the cited work does not print"
    ):
        load_paper(world.root / "results")


def test_marks_and_notes_stand_in_every_format(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    paper = world.root / "results" / "paper.yaml"
    origin = '67.04, origin: {prints: 65.0, sure: read, note: "of <VGG>"}, star'
    paper.write_text(paper.read_text().replace("67.04, star", origin))
    assert main(["table1", "--format", "md,tex,html"]) == 0
    assert re.search(r"67\.04 a +–", capsys.readouterr().out)
    (file,) = (world.root / "results").rglob("table1.md")
    assert r"67.04 (a)" in (text := file.read_text())
    assert r"- a: Other\_net & co [5]\*: 65.00 in the cited work (read); of \<VGG\>." in text
    assert r"67.04\rlap{$^\mathrm{a}$} &" in file.with_suffix(".tex").read_text()
    (page,) = (world.root / "results").rglob("report.html")
    html = page.read_text()
    assert 'data-mark="a">67.04<' in html
    assert "65.00 in the cited work (read); of &lt;VGG&gt;." in html


def test_the_cited_works_are_named_below_a_table() -> None:
    line = Line("A", "X [5]", "R", "4", "top-1", "1.0", "–", "–", "–", "", "–", "–", "cited")
    table = Table("table1", "Table 1. T", (line,), "top-1", (), "", cited="[5] Zheng et al., AAAI 2021")
    assert markdown(table).endswith("- Cited: [5] Zheng et al., AAAI 2021.\n")
    assert "Cited: {[}5{]} Zheng et al., AAAI 2021." in latex(table)


KNOWN = {  # table, data set, label as printed: what the cited work prints there, and words of the note
    ("table1", "cifar10", "STBP [39]"): (None, "AAAI 2019"),
    ("table1", "cifar10", "TSSL-BP [41]"): (91.41, "best single run"),
    ("table1", "cifar10", "TET* [23]"): (94.44, "asterisk"),
    ("table1", "cifar100", "STBP-tdBN [5]"): (None, "[23]"),
    ("table1", "imagenet", "SPIKE-NORM [43]"): (65.47, "VGG-16"),
    ("table2", "dvs_cifar10", "Streaming Rollout [44]"): (66.75, "T = 48"),
    ("table2", "dvs_cifar10", "Conv3D [45]"): (71.7, "above its own LIAF"),
    ("table2", "dvs_cifar10", "LIAF [45]"): (70.4, "analog"),
    ("table2", "dvs_cifar10", "PLIF [7]"): (74.8, "69.00"),
    ("table2", "dvs_cifar10", "TCJA-SNN [8]"): (80.7, "loss of TET"),
    ("table2", "ncaltech101", "EventMixer [46]"): (79.47, "EventMix"),
    ("table2", "ncaltech101", "NDA [47]"): (78.6, "83.7"),
    ("table2", "ncaltech101", "DART [49]"): (66.8, "66.42"),
}


@pytest.mark.parametrize(("place", "known"), KNOWN.items())
def test_every_known_misquotation_has_its_mark(place: tuple[str, str, str], known: tuple[float | None, str]) -> None:
    table, dataset, label = place
    rows = load_paper(RESULTS).tables[table].rows
    (at,) = [i for i, one in enumerate(rows) if (one.dataset, one.label) == (dataset, label)]
    origin = rows[at].origin
    assert origin
    assert origin.prints == known[0]
    assert known[1] in origin.note
    assert marks(rows)[at]


def test_every_cited_row_has_its_origin() -> None:
    paper = load_paper(RESULTS)
    cited = [one for table in paper.tables.values() for one in table.rows if one.ref]
    assert len(cited) == 37
    assert all(one.origin for one in cited)
    assert [one.label for one in cited if not one.quoted] == ["STBP [39]", "STBP-tdBN [5]", "SPIKE-NORM [43]"]
