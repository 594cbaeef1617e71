"""Numbers of a twin stand under its own name: in no column of the real set, and in claims and figures that say so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.records import record_parts
from tksbench.recipe import run_and_group_id
from tksbench.report.added_rows import with_added_rows
from tksbench.report.catalog import Sources, build_figure, build_table, rendered
from tksbench.report.claims_table import ClaimsTable
from tksbench.report.evidence import Evidence
from tksbench.report.figure_data import Figure
from tksbench.report.figures import to_csv
from tksbench.report.frame import data_words
from tksbench.report.groups import candidates
from tksbench.report.output import print_tables
from tksbench.report.page.write import write_page
from tksbench.report.paper_file import load_paper
from tksbench.report.tables import Table
from tksbench.report.why import why
from tksbench.runs import Ledger
from tksbench.runs.record import make_record

if TYPE_CHECKING:
    from tksbench.recipe import Run
    from tksbench.runs.record import Record

ROOT = Path(__file__).parents[2]
MARK, NAME = "42.42", "DVS-CIFAR10, twin from CIFAR-10"


def on_twin(run: Run, seed: int) -> Record:
    """A record on the twin, TKS a little ahead of all others."""
    spec = run.spec.model_copy(update={"seed": seed})
    top1 = float(MARK) + 3 * (run.spec.method.name == "tks") + 0.001 * seed
    parts: dict[str, Any] = record_parts(run, top1)
    parts |= {"spec": spec.model_dump(mode="json"), "seed": seed, "id": run_and_group_id(spec)[0]}
    for choice in ("best", "last"):
        parts["metrics"][choice] |= {name: [top1] * run.spec.model.T for name in ("top1_prefix", "top1_step")}
        parts["metrics"][choice]["first_step_recall"] = [top1] * 10
    return make_record(**parts)


@pytest.fixture(scope="module")
def sources() -> Sources:
    """The repository's own recipes and paper, with three seeds on the twin of every run that can have them."""
    recipes = [ROOT / "recipes" / f"{name}.yaml" for name in ("dvs_cifar10", "timestep", "ablation", "figures")]
    protocols = candidates(recipes)
    found = {one.group: one.run for many in protocols.values() for one in many if one.twin and one.scale == "smoke"}
    records = [on_twin(run, seed) for run in found.values() for seed in (42, 43, 44)]
    paper = with_added_rows(load_paper(ROOT / "results"), protocols)
    return Sources(paper, protocols, Evidence(published=tuple(records)), Ledger(ROOT / "results"))


@pytest.mark.parametrize("name", ["table1", "table2", "table3"])
def test_no_table_of_the_paper_has_a_number_of_the_twin(sources: Sources, name: str) -> None:
    table = build_table(name, sources, sources.evidence)
    assert isinstance(table, Table)
    assert [cell for cell in table.cells if cell.ours] == []
    verdicts = {cell.verdict for cell in table.cells if (cell.row.run or "").startswith("dvs_cifar10/vgg_snn/")}
    assert verdicts <= {"not run (its twin is)"}
    assert verdicts or name == "table1"


def test_the_twin_has_a_table_of_its_own(sources: Sources, capsys: pytest.CaptureFixture[str]) -> None:
    text = rendered(build_table("twin", sources, sources.evidence), "md")
    assert text.startswith(f"# {NAME}\n")
    assert re.search(r"dvs_cifar10/vgg_snn/tks +\| smoke +\| +3 \| 45\.46 ± 0\.00", text.replace("\\", ""))
    print_tables([build_table("table2", sources, sources.evidence)], sources, ours=True)
    assert NAME in capsys.readouterr().out


def test_claims_are_judged_on_the_twin_and_say_so(sources: Sources) -> None:
    table = build_table("claims", sources, sources.evidence)
    assert isinstance(table, ClaimsTable)
    judged = [one for one in table.results if one.best]
    assert judged
    assert all(one.source == "twin" and "scale smoke, twin" in one.verdict for one in judged)
    (ahead,) = [one for one in judged if one.claim.id == "dvs-cifar10-every-step"]
    assert ahead.verdict.endswith(" at scale smoke, twin (n=3)")
    text = why("dvs-cifar10-every-step", sources.paper, sources.protocols, sources.evidence, sources.ledger)
    assert ahead.verdict in text


@pytest.mark.parametrize("name", ["figure3a", "figure3b", "figure4", "section5.4"])
def test_figures_of_the_twin_bear_its_name_and_none_of_the_papers_numbers(sources: Sources, name: str) -> None:
    figure = build_figure(name, sources, sources.evidence)
    assert isinstance(figure, Figure)
    assert [(panel.title, panel.marks) for panel in figure.panels if panel.series] == [(NAME, ())]
    assert NAME in to_csv(figure).decode()


def test_the_page_has_the_twin_in_no_table_of_the_paper(sources: Sources, tmp_path: Path) -> None:
    paper, protocols, evidence, _ = sources
    html = write_page(paper, protocols, evidence, Ledger(tmp_path)).read_text(encoding="utf-8")
    sections = dict(re.findall(r'<section id="([a-z0-9-]+)".*?>(.*?)(?=<section id="|</main>)', html, re.DOTALL))
    held = {name for name, content in sections.items() if "42.46" in content}
    assert "twins" in held
    assert not held & {"tables", "table1", "table2", "table3", "smoke-checks"}


def test_a_twin_has_a_word_of_its_own_in_records_as_data(sources: Sources) -> None:
    assert {data_words(record.spec.data) for record in sources.evidence.published} == {"twin"}
