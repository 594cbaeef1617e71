"""The paper's own numbers (results/paper.yaml), typed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tksbench.errors import TksbenchError

if TYPE_CHECKING:
    from collections.abc import Iterator

Metric = Literal["top1", "top5", "aurc"]


class PaperError(TksbenchError):
    """results/paper.yaml is missing, or does not say what it should."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Row(_Part):
    """One printed number: the paper's own (`cell` and `run`) or one it cites (`ref`); or `added` by `report.added`.

    `value` is in percent for top1 and top5, x 10^-3 for aurc; None where it is not known what the paper prints.
    """

    dataset: str
    label: str
    metric: Metric
    value: float | None
    source: Literal["paper", "cited-work", "inferred", "unknown", "added"]
    where: str = ""
    architecture: str | None = None
    T: int | None = None
    star: bool = False
    decimals: int | None = None
    ref: str | None = None
    cell: str | None = None
    run: str | None = None


class PaperTable(_Part):
    """A table of the paper; rows in the printed order."""

    title: str
    decimals: int = 2
    rows: list[Row]


class Dataset(_Part):
    """How the paper spells a data set, and how many samples its test set has."""

    printed: str
    test_samples: int = Field(gt=0)


class Paper(_Part):
    """All of results/paper.yaml that tables and figures need."""

    paper: dict[str, Any]
    datasets: dict[str, Dataset]
    tables: dict[str, PaperTable]
    figures: dict[str, Any] = Field(default_factory=dict)
    claims: list[dict[str, Any]] = Field(default_factory=list)

    def own_rows(self) -> Iterator[Row]:
        """Every number that is the paper's own, over all tables."""
        return (row for table in self.tables.values() for row in table.rows if row.cell)


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
    cells = [row.cell for row in paper.own_rows()]
    twice = sorted({str(cell) for cell in cells if cells.count(cell) > 1})
    if twice:
        raise PaperError(f"{path}: the cell {twice[0]} stands twice: every own number has exactly one cell")
    return paper
