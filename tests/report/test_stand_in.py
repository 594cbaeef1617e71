"""Numbers of stand-in data stand under their own heading, and in no table, claim, figure or section of the paper's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.records import record_parts
from tksbench.report import apart
from tksbench.report.added_rows import with_added_rows
from tksbench.report.catalog import Sources, all_tables, build_figure, build_table, table_names
from tksbench.report.claims_table import ClaimsTable
from tksbench.report.evidence import Evidence
from tksbench.report.figure_data import FIGURES
from tksbench.report.figures import to_csv
from tksbench.report.groups import candidates
from tksbench.report.page.write import write_page
from tksbench.report.paper_file import load_paper
from tksbench.report.tables import Table
from tksbench.runs import Ledger
from tksbench.runs.record import make_record
from tksbench.tables import main

if TYPE_CHECKING:
    from conftest import World

    from tksbench.recipe import Run
    from tksbench.runs.record import Record

ROOT = Path(__file__).parents[2]
MARK = "41.41"  # the accuracy of every run on stand-in data, and of nothing else


def stand_in(run: Run, seed: int) -> Record:
    """A record that would be drawn and compared wherever it is let in."""
    spec = run.spec.model_copy(update={"seed": seed})
    parts: dict[str, Any] = record_parts(run, float(MARK))
    from tksbench.recipe import run_and_group_id

    parts |= {"spec": spec.model_dump(mode="json"), "seed": seed, "id": run_and_group_id(spec)[0]}
    parts["metrics"]["last"] |= {name: [float(MARK)] * run.spec.model.T for name in ("top1_prefix", "top1_step")}
    parts["metrics"]["last"]["first_step_recall"] = [float(MARK)] * 10
    parts["cost"]["snn"] = {"spike_rate": 0.4141, "macs": 41.41e6, "synops": 41.41e6, "energy_mj": 41.41e-3}
    return make_record(**parts)


@pytest.fixture(scope="module")
def sources() -> Sources:
    """The repository's own recipes and paper, with three seeds on stand-in data of every run that can have them."""
    protocols = candidates((ROOT / "recipes").glob("*.yaml"))
    found = [one for many in protocols.values() for one in many if one.source == "miniature"]
    records = {one.group: [stand_in(one.run, seed) for seed in (42, 43, 44)] for one in reversed(found)}
    evidence = Evidence(published=tuple(record for many in records.values() for record in many))
    paper = with_added_rows(load_paper(ROOT / "results"), protocols)
    return Sources(paper, protocols, evidence, Ledger(ROOT / "results"))


def test_every_run_of_the_paper_has_a_stand_in_record_here(sources: Sources) -> None:
    have = {record.name for record in sources.evidence.published}
    assert {row.run for row in sources.paper.own_rows()} - have == set()


def test_no_table_has_a_number_of_stand_in_data(sources: Sources) -> None:
    texts = all_tables(sources, sources.evidence)
    held = {name for name, content in texts.items() if re.search(r"41\.41|0\.414", content.decode())}
    assert held == {"smoke-checks.md", "smoke-checks.tex"}
    for name in table_names(sources.paper):
        table = build_table(name, sources, sources.evidence)
        if isinstance(table, Table):
            own = [cell for cell in table.cells if not cell.row.ref]
            assert own
            assert [cell for cell in own if cell.ours or cell.verdict != "smoke check passed"] == [], name
        if isinstance(table, ClaimsTable):
            assert [one.claim.id for one in table.results if one.best or one.last] == []


def test_no_figure_has_a_number_of_stand_in_data(sources: Sources) -> None:
    for name in FIGURES:
        figure = build_figure(name, sources, sources.evidence)
        assert MARK not in to_csv(figure).decode()
        assert [panel.title for panel in figure.panels if getattr(panel, "series", ())] == []


def test_the_page_has_them_in_one_section_alone(sources: Sources, tmp_path: Path) -> None:
    paper, protocols, evidence, _ = sources
    html = write_page(paper, protocols, evidence, Ledger(tmp_path)).read_text(encoding="utf-8")
    sections = dict(re.findall(r'<section id="([a-z-]+)".*?>(.*?)(?=<section id="|</main>)', html, re.DOTALL))
    assert {"claims", "tables", "figures", "runs", "costs", "smoke-checks"} <= sections.keys()
    assert {name for name, content in sections.items() if MARK in content} == {"smoke-checks"}
    before, _, _ = html.partition('<section id="claims"')
    assert MARK not in before.partition("<body>")[2]
    assert "No finished run yet on the data sets themselves. " in before


def test_a_row_opens_the_smoke_check_behind_it(world: World) -> None:
    world.publish(world.run("smoke", real=False), 41.5)
    main(["--format", "html"])
    html = (world.root / "results" / "report.html").read_text(encoding="utf-8")
    (anchor,) = re.findall(r'id="table1/cifar10/resnet19/tks" data-kind="smoke check"[^>]*data-run="([^"]+)"', html)
    _, article, rest = html.partition('<section id="smoke-checks"')[2].partition(f'<article class="run" id="{anchor}"')
    assert article
    assert "says nothing about the data set itself" in rest.partition("41.50 %")[0]


def test_beside_real_data_only_these_count(world: World) -> None:
    for real, top1 in ((False, 41.5), (True, 63.5)):
        world.publish(world.run("smoke", real=real), top1)
    assert main([]) == 0
    assert "63.50" in world.read("table1.md")
    assert "41.50" not in world.read("table1.md")
    assert "41.50" in world.read("smoke-checks.md")
    assert "63.50" not in world.read("smoke-checks.md")


def test_a_table_prints_its_smoke_checks_below_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.finish(world.run("smoke", real=False), 41.5)
    main(["table1"])
    table, heading, rest = capsys.readouterr().out.partition("Smoke checks on stand-in data\n")
    assert "smoke check passed" in " ".join(table.split())
    assert "41.50" not in table
    assert heading
    assert re.search(r"cifar10/spiking_resnet19/tks +smoke +1 +41\.50 +41\.50", rest)
    assert "says nothing about the data set" in " ".join(rest.split())


def test_without_stand_in_data_there_is_no_such_heading(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.finish(world.run("smoke"), 41.5)
    main(["table1"])
    assert apart.SMOKE_TITLE not in capsys.readouterr().out


def test_a_claim_of_smoke_checks_alone_says_so(world: World) -> None:
    claim = "{id: a, text: TKS beats the baseline, kind: difference, metric: top1, where: w, value: 3, "
    claim += "a: {run: cifar10/spiking_resnet19/tks}, b: {run: cifar10/spiking_resnet19/baseline}}"
    paper = world.root / "results" / "paper.yaml"
    paper.write_text(f"{paper.read_text()}claims:\n  - {claim}\n")
    world.publish(world.run("smoke", real=False), 41.5)
    main(["claims"])
    assert "| a       | not run (about" in world.read("claims.md")  # one side alone
    world.publish(world.run("smoke", "baseline", real=False), 31.5)
    main(["claims"])
    assert "| a       | smoke check passed |" in world.read("claims.md")
    assert "10.00" not in world.read("claims.md")
