"""What the paper's own numbers say of its claims: sign, error of the test set, and the list in every format."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from rich.console import Console
from scipy import stats as scipy_stats

from tests.report.conftest import World
from tksbench.cli import run_command
from tksbench.report import claims_table
from tksbench.report.claims_table import ClaimsTable
from tksbench.report.derive import all_claims
from tksbench.report.evidence import gather
from tksbench.report.groups import candidates
from tksbench.report.paper import Paper, PaperError
from tksbench.report.paper_claims import Finding, Number, PaperClaims, build_paper_claims
from tksbench.report.paper_claims_table import latex, lines_of, markdown, show, summary
from tksbench.report.paper_file import load_paper
from tksbench.report.stats import StatsError, difference_of_proportions
from tksbench.tables import main

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def paper() -> Paper:
    return load_paper(RESULTS)


@pytest.fixture(scope="module")
def table(paper: Paper) -> PaperClaims:
    return build_paper_claims(paper)


def finding(table: PaperClaims, place: str, metric: str = "top1") -> Finding:
    (found,) = [one for one in table.findings if one.place == place and one.metric == metric]
    return found


def test_two_proportions_of_one_test_set() -> None:
    test = difference_of_proportions([0.9676], [0.9654], 10_000)
    error = math.sqrt((0.9676 * 0.0324 + 0.9654 * 0.0346) / 10_000)
    assert test.mean == pytest.approx(0.0022)
    assert test.interval == pytest.approx((0.0022 - 1.959964 * error, 0.0022 + 1.959964 * error))
    assert test.p == pytest.approx(2 * scipy_stats.norm.sf(0.0022 / error))


def test_four_proportions_have_the_error_of_all() -> None:
    two, four = difference_of_proportions([0.5], [0.5], 100), difference_of_proportions([0.5, 0.5], [0.5, 0.5], 100)
    assert four.interval.high == pytest.approx(math.sqrt(2) * two.interval.high)


@pytest.mark.parametrize(("plus", "minus", "n"), [([1.2], [0.5], 10), ([0.5], [-0.1], 10), ([0.5], [0.5], 0)])
def test_what_is_no_proportion_is_refused(plus: list[float], minus: list[float], n: int) -> None:
    with pytest.raises(StatsError, match="no difference of the proportions"):
        difference_of_proportions(plus, minus, n)


def test_proportions_without_error_differ_or_not() -> None:
    assert difference_of_proportions([1.0], [1.0], 10).p == 1.0
    assert difference_of_proportions([1.0], [0.0], 10).p == 0.0


@pytest.mark.parametrize(
    ("place", "metric", "difference", "verdict"),
    [
        ("CIFAR10 SEW-ResNet-19: baseline", "top1", "0.22", "yes, within"),
        ("CIFAR100 ResNet-19: baseline", "top1", "3.11", "yes, beyond"),
        ("CIFAR100 ResNet-19: baseline", "aurc", "-24.20", "yes"),
        ("StanfordDogs SEW-ResNet-34: baseline", "top5", "-0.75", "no, within"),
        ("DVS-CIFAR10: TEBN [24]", "top1", "0.4", "yes, within"),
        ("ImageNet-1k SEW-ResNet-34: TET [23]", "top1", "1.60", "yes, beyond"),
        ("DVS-CIFAR10: baseline at T = 10, at T = 1", "top1", "≈33", "yes"),
        ("DVS-CIFAR10 tested at T = 1: baseline", "top1", "≈25", "yes"),
        ("DVS-CIFAR10: lead at T = 1, at T = 10", "top1", "≈23", "yes"),
    ],
)
def test_a_small_lead_is_not_taken_for_a_large_one(
    table: PaperClaims, place: str, metric: str, difference: str, verdict: str
) -> None:
    found = finding(table, place, metric)
    assert found.difference is not None
    assert (found.difference.text, found.verdict) == (difference, verdict)


def test_one_claim_is_not_supported(table: PaperClaims) -> None:
    assert [one.place for one in table.findings if one.supported is False] == ["StanfordDogs SEW-ResNet-34: baseline"]


def test_figures_without_numbers_say_so(table: PaperClaims) -> None:
    found = finding(table, "DVS-CIFAR10 at T = 3: TET")
    assert (found.difference, found.verdict) == (None, "no number")


def test_the_best_cited_work_is_named_with_what_is_wrong_with_it(table: PaperClaims) -> None:
    assert finding(table, "ImageNet-1k: SPIKE-NORM [43]").note == (
        "but 69.60, TKS with SEW-ResNet-34, is not; SPIKE-NORM [43] does not print 69.96"
    )


def test_what_nobody_claims_stands_beside(table: PaperClaims) -> None:
    worse = {(one.place, one.metric): one for one in table.worse}
    assert worse["CIFAR10 ResNet-19: LS", "aurc"].difference == Number(2.5, 2)
    assert worse["StanfordCars SEW-ResNet-34: TET", "top1"].difference == Number(-3.1, 2)
    assert all(not place.endswith("TKS") for place, _ in worse)
    assert len(worse) == 10


def test_the_summary_counts(table: PaperClaims) -> None:
    assert "their claims: 102; with numbers in the paper: 78, of which these support 77." in summary(table)


def test_the_docs_have_these_counts(table: PaperClaims) -> None:
    text = " ".join((RESULTS.parent / "docs" / "claims.md").read_text(encoding="utf-8").split())
    tested = [one for one in table.findings if one.p is not None]
    known = sum(one.supported is not None for one in table.findings)
    beyond = sum(one.verdict == "yes, beyond" for one in tested)
    assert f"{len(table.findings)}, of which {known} have numbers. One of these has the wrong sign" in text
    assert f"{beyond} of {len(tested)} differences in accuracy are in favour and larger" in text


def test_p_is_corrected_over_all_claims(table: PaperClaims) -> None:
    tested = [one for one in table.findings if one.p is not None and one.p_holm is not None]
    assert len(tested) == 57
    smallest = min(tested, key=lambda one: one.p or 0.0)
    assert smallest.p_holm == pytest.approx(57 * (smallest.p or 0.0))


def test_many_claims_without_numbers_share_a_line() -> None:
    few = [Finding(f"T = {t}", None, None, "top1") for t in range(4)]
    assert len(lines_of(few)) == 4
    (line,) = lines_of([*few, Finding("T = 4", None, None, "top1")])
    assert line[0] == "5 claims, from T = 0 to T = 4"


def test_the_list_is_in_every_format_and_fits_80_columns(table: PaperClaims, tmp_path: Path) -> None:
    with (tmp_path / "shown").open("w+", encoding="utf-8") as file:
        show(table, Console(width=80, file=file))
        file.seek(0)
        shown = file.read()
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    for one in table.sentences:
        assert f"## {one.section} " in markdown(table)
        assert rf"\textbf{{{one.section} " in latex(table)
    assert "| StanfordDogs SEW-ResNet-34: baseline | 82.82 |   83.57 | -0.75 ± 1.12 |" in markdown(table)
    assert r"StanfordDogs SEW-ResNet-34: baseline & 82.82 & 83.57 & $-$0.75 $\pm$ 1.12 & 0.189 &" in latex(table)
    assert r"$\approx$50" in latex(table)


STATEMENTS = """
statements:
  - {section: "5.2", says: TKS is best, implies: [{table: %s, by: method, over: [baseline]}], see: [%s]}
"""


@pytest.mark.parametrize(
    ("table", "see", "message"),
    [
        ("table3", "over-nothing", "section 5.2: see 'over-nothing'"),
        ("table33", "x", "a rule names the table 'table33'; did you mean 'table3'?"),
    ],
)
def test_a_bad_statement_is_one_message(
    world: World, capsys: pytest.CaptureFixture[str], table: str, see: str, message: str
) -> None:
    path = world.root / "results" / "paper.yaml"
    path.write_text(path.read_text() + STATEMENTS % (table, see))
    assert run_command(main, []) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_rule_names_a_figure_that_is_there(paper: Paper) -> None:
    rule = paper.statements[0].model_copy(
        update={"implies": [one for s in paper.statements for one in s.implies if one.by == "steps"]}
    )
    lame = paper.model_copy(update={"statements": [rule], "claims": [], "figures": {}})
    with pytest.raises(PaperError, match="a rule names the figure 'figure3b'"):
        all_claims(lame)


def test_paper_is_a_name_for_the_list(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    path = world.root / "results" / "paper.yaml"
    text = path.read_text().replace("metric: aurc, value: null", "metric: top1, value: 96.5")
    path.write_text(text + STATEMENTS.replace(", see: [%s]", "") % "table3")
    assert main(["paper"]) == 0
    out = capsys.readouterr().out
    assert "CIFAR10: baseline" in out
    assert "+0.74 ± 0.53" in out
    assert "written to results/tables: paper_claims.md, paper_claims.tex" in " ".join(out.split())
    assert main(["paper", "--check"]) == 0


def test_claims_without_runs_are_counted_apart(world: World) -> None:
    path = world.root / "results" / "paper.yaml"
    text = path.read_text().replace("metric: aurc, value: null", "metric: top1, value: 96.5")
    path.write_text(text + STATEMENTS.replace(", see: [%s]", "") % "table3")
    protocols = candidates([world.root / "recipes/cifar10.yaml"])
    loaded = load_paper(world.root / "results")

    def build() -> ClaimsTable:
        return claims_table.build_claims(loaded, protocols, gather(world.ledger), lambda _: 9.4)

    assert [one.claim.id for one in build().waiting] == ["cifar10-over-baseline"]
    assert "## Without runs on real data: 1\n" in claims_table.markdown(build())
    assert "1 further claim has no runs on real data yet." in claims_table.latex(build())
    for method in ("tks", "baseline"):
        world.publish(world.run("mini", method), 60.0)
    assert not build().waiting
    assert [one.claim.id for one in build().touched] == ["cifar10-over-baseline"]


def test_why_of_a_claim_has_the_sentence_and_the_papers_own_numbers(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    path = world.root / "results" / "paper.yaml"
    text = path.read_text().replace("metric: aurc, value: null", "metric: top1, value: 96.5")
    path.write_text(text + STATEMENTS.replace(", see: [%s]", "") % "table3")
    assert main(["--why", "cifar10-over-baseline"]) == 0
    out = capsys.readouterr().out
    assert "  section 5.2: TKS is best\n  its own numbers: 96.50 and 95.76, +0.74 ± 0.53, p 0.007: yes, beyond\n" in out
