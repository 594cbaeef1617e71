"""Draw docs/table1.svg, the README's picture of Table 1 on a terminal, from the published records; --check compares.

The picture says that it is the table as it stands, so it has to be drawn again whenever the table changes.
"""

from __future__ import annotations

import html
import io
import re
import sys
from pathlib import Path

from rich.console import Console

from tksbench.launch.cost import estimate_gpu_hours
from tksbench.report.added import with_added_rows
from tksbench.report.evidence import gather
from tksbench.report.groups import candidates
from tksbench.report.paper import load_paper
from tksbench.report.tables import build_table
from tksbench.report.terminal import show
from tksbench.runs import Ledger

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "table1.svg"


def draw() -> str:
    """The picture: the command and all that it prints on 80 columns."""
    ledger = Ledger(ROOT / "results")
    protocols = candidates(sorted((ROOT / "recipes").glob("*.yaml")))
    evidence = gather(ledger, protocols).only_published()
    table = build_table(
        "table1", with_added_rows(load_paper(ledger.root), protocols), protocols, evidence, estimate_gpu_hours
    )
    console = Console(record=True, width=82, file=io.StringIO(), highlight=False)
    console.print("$ python -m tksbench.tables table1", markup=False)
    console.print()
    console.width = 80  # what the table is laid out for; two more keep the picture from cutting its edge
    show(table, console)
    return console.export_svg(title="tksbench")


def words(picture: str) -> str:
    """All that a picture says, without how it is drawn, which another version of rich does otherwise."""
    texts = re.findall(r"<text[^>]*>(.*?)</text>", picture, re.DOTALL)
    return " ".join(html.unescape(" ".join(texts)).split())


def main() -> int:
    """Draw, or compare."""
    if "--check" not in sys.argv[1:]:
        PICTURE.write_text(draw(), encoding="utf-8")
        return 0
    if words(PICTURE.read_text(encoding="utf-8")) == words(draw()):
        return 0
    sys.stderr.write(f"drift: {PICTURE.relative_to(ROOT)} is not Table 1 as it stands; python .ci/picture.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
