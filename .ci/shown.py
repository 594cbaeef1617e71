"""Bring what README and docs show of the published records up to date; --check compares.

They say that it is what stands, so all of it is made from the records: docs/table1.svg, the paper's own rows of Table 1
on a terminal, and what lies between the marks `<!-- from the records: ... -->`: the state in README.md, claims
in docs/claims.md, variants and verdicts in docs/fidelity.md.
"""

from __future__ import annotations

import html
import io
import re
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from tksbench.estimate.model import estimate_gpu_hours
from tksbench.recipe.schema import SCALES
from tksbench.report.added_rows import with_added_rows
from tksbench.report.cells import JUDGED, rounded
from tksbench.report.cited import with_cited_runs
from tksbench.report.claims_table import brief, build_claims
from tksbench.report.evidence import gather
from tksbench.report.figure_data import printed_name
from tksbench.report.groups import candidates, recipes_in
from tksbench.report.paper_file import load_paper
from tksbench.report.tables import Table, build_table
from tksbench.report.terminal import show
from tksbench.runs import Ledger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tksbench.report.claims import ClaimResult
    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.report.paper import Paper

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "table1.svg"
README = ROOT / "README.md"
FIDELITY = ROOT / "docs" / "fidelity.md"
BLOCKS = (
    ("state", README),
    ("claims", ROOT / "docs" / "claims.md"),
    ("variants", FIDELITY),
    ("verdicts", FIDELITY),
)
FIGURES = ("figure3a.png", "over_time.png")
COPIES = {ROOT / "docs" / name: ROOT / "results" / "figures" / name for name in FIGURES}  # for pages under docs/
SEEDS = 3  # that a verdict takes
_VERDICTS = ("holds", "does not hold", "undecided")


def make() -> tuple[Table, dict[str, str], Sequence[str]]:
    """Table 1, by the name of its place each block of text, and what is wrong with the published records."""
    ledger = Ledger(ROOT / "results")
    protocols = candidates(recipes_in(ROOT / "recipes"))
    evidence = gather(ledger, protocols).only_published()
    paper = with_added_rows(with_cited_runs(load_paper(ledger.root), protocols), protocols)
    tables = [build_table(name, paper, protocols, evidence, estimate_gpu_hours) for name in paper.tables]
    results = build_claims(paper, protocols, evidence, estimate_gpu_hours).results
    blocks = {
        name: brief([result for result in results if (result.claim.variant is not None) == (name == "variants")])
        for name in ("claims", "variants")
    }
    own = [result for result in results if result.claim.variant is None]
    blocks["state"] = state(tables, own, protocols, evidence)
    blocks["verdicts"] = verdicts(own, paper)
    return next(table for table in tables if table.name == "table1"), blocks, evidence.problems


def state(
    tables: Sequence[Table],
    results: Sequence[ClaimResult],
    protocols: Mapping[str, Sequence[Candidate]],
    evidence: Evidence,
) -> str:
    """Four lines: the runs by scale, what they say of the paper's cells and claims, and what is left to train."""
    real = Counter[str](record.scale for record in evidence.published if record.spec.data.source == "real")
    other = Counter[str](record.spec.data.source for record in evidence.published)
    words = (("twin", "on a twin"), ("miniature", "on stand-in data"))
    others = "".join(f"; {other[source]} {where}" for source, where in words if other[source])
    cells = [cell for table in tables for cell in table.cells if not cell.row.ref]
    verdicts = Counter[str](cell.verdict for cell in cells if cell.verdict in JUDGED)
    wanted = {cell.row.run: first for cell in cells if cell.row.run and (first := full(protocols, cell.row.run))}
    counts = {words: sum(one.verdict.startswith(words) for one in results) for words in _VERDICTS}
    trained = Counter[str](record.group for record in evidence.published)
    hours: dict[str, float] = {}
    for candidate in wanted.values():
        left = max(0, SEEDS - trained[candidate.group]) * (estimate_gpu_hours(candidate.run.spec) or 0.0)
        hours[candidate.run.spec.data.name] = hours.get(candidate.run.spec.data.name, 0.0) + left
    total, imagenet = sum(hours.values()), hours.get("imagenet", 0.0)
    scales = ", ".join(f"{real[scale]} at `{scale}`" for scale in SCALES)
    return "\n".join(
        [
            f"- **Runs** on real data: {scales}{others}.",
            f"- **Cells** of the paper's own numbers: {verdicts['reproduced']} of {len(cells)} reproduced, "
            f"{verdicts['above'] + verdicts['below']} not; a verdict takes {SEEDS} seeds at scale `paper`.",
            f"- **Claims**: {counts['holds']} hold, {counts['does not hold']} do not, {counts['undecided']} are "
            "undecided ([which](docs/fidelity.md#what-holds)).",
            f"- **The rest**, {SEEDS} seeds of {len(wanted)} runs, takes about {rounded(total)} GPU-hours (estimate, "
            f"H100 class), {rounded(imagenet)} of them ImageNet's.",
        ]
    )


def verdicts(results: Sequence[ClaimResult], paper: Paper) -> str:
    """What holds and what does not, claim by claim; of the undecided and the others, how many on which data."""
    lines = []
    for start in _VERDICTS[:2]:
        found = [f"{one.claim.text} ({_place(one)})" for one in results if one.verdict.startswith(start)]
        lines.append(f"- **{start.capitalize()}**: {'; '.join(found) or 'nothing yet'}.")
    undecided, waiting = Counter[str](), Counter[str]()
    for one in results:
        name = printed_name((one.claim.a.run or "").partition("/")[0], paper, one.source or "real")
        if one.verdict.startswith("undecided"):
            undecided[f"{name} ({_place(one)})"] += 1
        elif not one.verdict.startswith(("holds", "does not hold")):
            waiting[name] += 1
    for words, counts in (("Undecided", undecided), ("Not run, or not comparable at a small scale", waiting)):
        listed = ", ".join(f"{count} on {where}" for where, count in sorted(counts.items()))
        lines.append(f"- **{words}**: {counts.total()} claims{f': {listed}' * bool(listed)}.")
    return "\n".join(textwrap.fill(line, 120, subsequent_indent="  ", break_on_hyphens=False) for line in lines)


def _place(result: ClaimResult) -> str:
    twin = ", twin" * (result.source == "twin")  # its claims name the real set
    return f"`{result.scale}`{twin}" + f", n = {result.best.n}" * bool(result.best)


def full(protocols: Mapping[str, Sequence[Candidate]], run: str) -> Candidate | None:
    """The paper's own protocol of a run."""
    return next((one for one in protocols.get(run, ()) if one.scale == "paper" and one.source == "real"), None)


def draw(table: Table) -> str:
    """The picture: the command and all that it prints on 80 columns."""
    console = Console(record=True, width=82, file=io.StringIO(), highlight=False)
    console.print("$ python -m tksbench.tables table1 --ours", markup=False)
    console.print()
    console.width = 80  # what the table is laid out for; two more keep the picture from cutting its edge
    show(table, console, ours=True)
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
        raise SystemExit(f"error: a page lacks the mark {((found and end) or begin).strip()}")
    return f"{head}{begin}\n{block}\n\n{end}{tail}"


def main() -> int:
    """Write, or compare."""
    table, blocks, problems = make()
    if problems:  # what is left of the records must not pass for all of them
        sys.stderr.writelines(f"refused: {problem}\n" for problem in problems)
        return 1
    picture = draw(table)
    pages = {path: path.read_text(encoding="utf-8") for _, path in BLOCKS}
    wanted = dict(pages)
    for name, path in BLOCKS:
        wanted[path] = filled(wanted[path], name, blocks[name])
    drifted = [path for path in wanted if wanted[path] != pages[path]]
    drifted += [
        path for path, source in COPIES.items() if not path.exists() or path.read_bytes() != source.read_bytes()
    ]
    if not PICTURE.exists() or words(PICTURE.read_text(encoding="utf-8")) != words(picture):
        drifted.append(PICTURE)
    if "--check" in sys.argv[1:]:
        for path in drifted:
            sys.stderr.write(f"drift: {path.relative_to(ROOT)} is not what the records say; python .ci/shown.py\n")
        return 1 if drifted else 0
    for path in drifted:
        content = COPIES[path].read_bytes() if path in COPIES else wanted.get(path, picture).encode()
        path.write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
