"""Reads results/paper.yaml: what the paper prints, and the claims that its sentences make."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import ValidationError

from tksbench.report.derive import all_claims
from tksbench.report.paper import Paper, PaperError, cited_cell


def load_paper(results: Path) -> Paper:
    """Read the paper's numbers from a results folder, or from ./results if that folder has none of its own.

    Raises:
        PaperError: The file is missing, is no YAML, or lacks something; the message names the place.
    """
    path = results / "paper.yaml"
    if not path.exists():
        path = Path("results/paper.yaml")
    try:
        plain = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        paper = Paper.model_validate(plain)
    except OSError as error:
        raise PaperError(f"{path}: {error.strerror}: run this from the checkout's root folder") from None
    except yaml.YAMLError as error:
        raise PaperError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise PaperError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    for name, table in paper.tables.items():
        table.rows[:] = [
            row.model_copy(update={"cell": cited_cell(name, row)}) if row.ref else row for row in table.rows
        ]
    cells = [row.cell for row in paper.rows()]
    twice = sorted({str(cell) for cell in cells if cells.count(cell) > 1})
    if twice:
        raise PaperError(f"{path}: the cell {twice[0]} stands twice: every number has exactly one cell")
    try:
        paper = paper.model_copy(update={"claims": all_claims(paper)})
    except PaperError as error:
        raise PaperError(f"{path}: {error}") from None
    return paper
