"""LaTeX: the committed tables and figures, and tables with hostile names, compile with nothing sticking out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tksbench.report import costs
from tksbench.report.listing import Listing, latex
from tksbench.tables import main

if TYPE_CHECKING:
    from conftest import World

pytestmark = pytest.mark.latex
RESULTS = Path(__file__).parents[2] / "results"
COMMITTED = sorted(path.stem for path in (RESULTS / "tables").glob("*.tex"))
PACKAGES = (
    r"\usepackage[margin=14mm]{geometry}\usepackage{array,booktabs,longtable,multirow,tabularx,graphicx,pdflscape}"
)
COMPLAINTS = re.compile(r"Overfull|Float too large|undefined|Missing character|multiply|Rerun|^!", re.MULTILINE)


def compile_twice(folder: Path, name: str) -> str:
    """The log of the second pass, which has the first one's references and column widths."""
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
    for _ in range(2):
        done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-2000:]
    log = (folder / f"{name}.log").read_text(errors="replace")
    assert COMPLAINTS.findall(log) == []
    return log


def document(folder: Path, figures: list[str] = []) -> None:  # noqa: B006 - never changed
    """A paper with all tables of a folder; those that say so in a landscape part, each with a reference."""
    parts = []
    for path in sorted(folder.glob("*.tex")):
        text = path.read_text()
        assert rf"\label{{tab:{path.stem}}}" in text
        included = rf"\input{{{path.name}}}See Table~\ref{{tab:{path.stem}}}." + "\n"
        wide = "landscape part" in text.partition("\\expandafter")[0]
        parts.append(rf"\begin{{landscape}}{included}\end{{landscape}}" if wide else included)
    parts += [
        rf"\begin{{figure}}\includegraphics[width=\linewidth]{{{name}}}\caption{{x}}\end{{figure}}" for name in figures
    ]
    body = "\n".join(parts)
    (folder / "document.tex").write_text(
        rf"\documentclass[a4paper]{{article}}{PACKAGES}\begin{{document}}{body}\end{{document}}"
    )


def test_all_tables_are_committed_as_latex() -> None:
    assert {"claims", "costs", "table1", "table2", "table3", "table4"} <= set(COMMITTED)


@pytest.mark.parametrize("name", COMMITTED)
def test_a_committed_table_compiles_alone_and_is_numbered_as_in_the_paper(tmp_path: Path, name: str) -> None:
    shutil.copy(RESULTS / "tables" / f"{name}.tex", tmp_path)
    compile_twice(tmp_path, name)
    label = re.search(rf"newlabel{{tab:{name}}}{{{{(\d+)}}", (tmp_path / f"{name}.aux").read_text())
    assert label is not None
    assert label[1] == (name.removeprefix("table") if name.startswith("table") else "1")


def test_the_committed_tables_and_figures_make_one_document(tmp_path: Path) -> None:
    for name in COMMITTED:
        shutil.copy(RESULTS / "tables" / f"{name}.tex", tmp_path)
    figures = sorted((RESULTS / "figures").glob("*.pdf"))
    for path in figures:
        shutil.copy(path, tmp_path)
    document(tmp_path, [path.name for path in figures])
    log = compile_twice(tmp_path, "document")
    for path in figures:
        assert f"<{path.name}" in log.replace("\n", "")


def test_hostile_names_and_daggers(world: World) -> None:
    for seed in (42, 43, 44):
        world.publish(world.run("mini", seed=seed), 60.0 + seed / 2)
        world.publish(world.run("smoke", "baseline", seed=seed), 50.0 + seed / 2)
    directory = world.ledger.prepare(world.run("mini", method="tks", seed=45))
    directory.attempts.write_text(
        json.dumps({"event": "end", "outcome": "failed", "reason": r"50% \of #1 & 日 {~^_"}) + "\n"
    )
    paper = world.root / "results" / "paper.yaml"
    text = (  # a table has two scales where it has two data sets
        paper.read_text().replace("cifar10, label: Baseline", "cifar100, label: Baseline")
        + r"""
claims:
  - {id: a, text: 'T & K_S beats 100% of {x} #1 \relax, $5 ≥ ~^ Gödel', kind: difference, metric: top1,
     a: {run: cifar10/spiking_resnet19/tks}, b: {run: cifar10/spiking_resnet19/baseline}, value: 1, where: w}
"""
    )
    paper.write_text(text)
    main([])
    tables = world.root / "results" / "local" / "tables"  # one run has failed here, so all show something local
    assert "Scale of our numbers: $^{\\dagger}$~mini.\\par" in world.read("table1.tex")
    assert re.search(r"81\.50 .*\$\^\{\\dagger\}\$ & ", world.read("table1.tex"))
    assert "$^{\\dagger}$~smoke" in world.read("table3.tex")
    assert "$^{\\ddagger}$~mini" in world.read("table3.tex")
    for name in ("table1", "table3", "costs", "claims"):
        compile_twice(tables, name)
    for path in tables.glob("*.aux"):
        path.unlink()
    document(tables)
    compile_twice(tables, "document")


def test_wide_numbers_fit(world: World) -> None:
    for seed, (tks, baseline) in zip((42, 43, 44), ((99.5, 10.0), (10.0, 99.5), (50.0, 15.5)), strict=True):
        world.publish(world.run("paper", seed=seed), tks)
        world.publish(world.run("paper", "baseline", seed=seed), baseline)
    paper = world.root / "results" / "paper.yaml"
    claim = "{id: a, text: TKS beats the baseline on CIFAR100 with ResNet-19 by 3.11 points, kind: difference, "
    claim += "metric: top1, a: {run: cifar10/spiking_resnet19/tks}, b: {run: cifar10/spiking_resnet19/baseline}, "
    paper.write_text(f"{paper.read_text()}\nclaims:\n  - {claim}value: 3.11, where: w}}\n")
    main([])
    assert re.search(r"\$-\$\d\d\d\.\d\d to \$\+\$\d\d\d\.\d\d", world.read("claims.tex"))
    for name in ("table1", "table3", "costs", "claims"):
        compile_twice(world.root / "results" / "tables", name)


def test_a_table_of_costs_may_be_longer_than_a_page(tmp_path: Path) -> None:
    rows = tuple((f"cifar100/spiking_resnet19/tks-{number}", "mini", "3", *["1.00"] * 5) for number in range(200))
    (tmp_path / "costs.tex").write_text(latex(Listing("costs", "Costs", costs.HEADERS, rows, ("A note.",))))
    assert re.search(r"written on costs.pdf \([3-9] pages", compile_twice(tmp_path, "costs"))
