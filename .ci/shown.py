"""Bring what README and docs show of the published records up to date; --check compares.

They say that it is what stands, so all of it is made from the records: docs/table1.svg, Table 1 on a terminal, and
the claims between the marks `<!-- from the records: ... -->` in README.md and docs/fidelity.md.
"""

from __future__ import annotations

import html
import io
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from tksbench.launch.cost import estimate_gpu_hours
from tksbench.report.added import with_added_rows
from tksbench.report.claims_table import brief, build_claims
from tksbench.report.evidence import gather
from tksbench.report.groups import candidates
from tksbench.report.paper import load_paper
from tksbench.report.tables import Table, build_table
from tksbench.report.terminal import show
from tksbench.runs import Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "table1.svg"
CLAIMS = {"claims": ROOT / "README.md", "variants": ROOT / "docs" / "fidelity.md"}


def make() -> tuple[Table, dict[str, str], Sequence[str]]:
    """Table 1, by the name of its place each block of claims, and what is wrong with the published records."""
    ledger = Ledger(ROOT / "results")
    protocols = candidates(sorted((ROOT / "recipes").glob("*.yaml")))
    evidence = gather(ledger, protocols).only_published()
    paper = with_added_rows(load_paper(ledger.root), protocols)
    table = build_table("table1", paper, protocols, evidence, estimate_gpu_hours)
    results = build_claims(paper, protocols, evidence, estimate_gpu_hours).results
    blocks = {
        name: brief([result for result in results if (result.claim.variant is not None) == (name == "variants")])
        for name in CLAIMS
    }
    return table, blocks, evidence.problems


def draw(table: Table) -> str:
    """The picture: the command and all that it prints on 80 columns."""
    console = Console(record=True, width=82, file=io.StringIO(), highlight=False)
    console.print("$ python -m tksbench.tables table1", markup=False)
    console.print()
    console.width = 80  # what the table is laid out for; two more keep the picture from cutting its edge
    show(table, console)
    # rich has the picture fetch a font; any monospaced one does, and nothing here needs a network
    return re.sub(r"\s*@font-face \{[^}]*\}", "", console.export_svg(title="tksbench"))


def words(picture: str) -> str:
    """All that a picture says, without how it is drawn, which another version of rich does otherwise."""
    texts = re.findall(r"<text[^>]*>(.*?)</text>", picture, re.DOTALL)
    return " ".join(html.unescape(" ".join(texts)).split())


def filled(page: str, name: str, block: str) -> str:
    """A page with another block in the place of that name."""
    begin, end = f"<!-- from the records: {name} -->\n", "<!-- end -->\n"
    head, found, rest = page.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"error: {CLAIMS[name].relative_to(ROOT)} lacks the mark {((found and end) or begin).strip()}")
    return f"{head}{begin}\n{block}\n\n{end}{tail}"


def main() -> int:
    """Write, or compare."""
    table, blocks, problems = make()
    if problems:  # what is left of the records must not pass for all of them
        sys.stderr.writelines(f"refused: {problem}\n" for problem in problems)
        return 1
    picture = draw(table)
    pages = {path: path.read_text(encoding="utf-8") for path in CLAIMS.values()}
    wanted = {path: filled(pages[path], name, blocks[name]) for name, path in CLAIMS.items()}
    drifted = [path for path in wanted if wanted[path] != pages[path]]
    for figure in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", pages[ROOT / "README.md"]):
        if ROOT / figure != PICTURE and not (ROOT / figure).exists():
            sys.stderr.write(f"missing: {figure}, which README.md shows\n")
            return 1
    if not PICTURE.exists() or words(PICTURE.read_text(encoding="utf-8")) != words(picture):
        drifted.append(PICTURE)
    if "--check" in sys.argv[1:]:
        for path in drifted:
            sys.stderr.write(f"drift: {path.relative_to(ROOT)} is not what the records say; python .ci/shown.py\n")
        return 1 if drifted else 0
    for path in drifted:
        path.write_text(wanted.get(path, picture), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
