"""The paper's own numbers (results/paper.yaml), typed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tksbench.errors import TksbenchError

if TYPE_CHECKING:
    from collections.abc import Iterator

Metric = Literal["top1", "top5", "aurc"]


class PaperError(TksbenchError):
    """results/paper.yaml is missing, or does not say what it should."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Reference(_Part):
    """An entry of the paper's bibliography: the usual short name, if there is one, then authors, venue and year."""

    short: str = ""
    cite: str
    title: str


class Origin(_Part):
    """What a cited work prints itself in the place of a row that cites it.

    Attributes:
        prints: Its own number, for this data set, network and T; None: it has none.
        decimals: Digits of `prints` after the point.
        sure: "read" in the work, its code or its logs; "second-hand" in a later work that quotes it; from "memory".
        note: What a reader of the row should know beside; "" if the row says all.
    """

    prints: float | None
    decimals: int = 2
    sure: Literal["read", "second-hand", "memory"]
    note: str = ""


class Row(_Part):
    """One printed number: the paper's own (`run`) or one it cites (`ref`); or a row added by `report.added`.

    `value` is in percent for top1 and top5, x 10^-3 for aurc; None where the paper has no such row. `cell` names it: of
    the paper's own numbers as results/paper.yaml has it, of cited ones as `cited_cell` does. `run` of a cited number is
    the one that a recipe says stands for it (`report.cited`). `origin` is what a cited work prints itself.
    """

    dataset: str
    label: str
    metric: Metric
    value: float | None
    where: str = ""
    architecture: str | None = None
    T: int | None = None
    star: bool = False
    decimals: int = 2
    ref: str | None = None
    cell: str | None = None
    run: str | None = None
    origin: Origin | None = None

    @property
    def half_digit(self) -> float:
        """By how much the printed value may lie off what was measured."""
        return 0.5 * 10.0**-self.decimals

    @property
    def judged(self) -> tuple[float | None, float]:
        """What our runs are held against, and by how much it may lie off what was measured.

        Of a cited row it is the cited work's own number where it has one, else what the paper prints.
        """
        if self.origin is None or self.origin.prints is None:
            return self.value, self.half_digit
        return self.origin.prints, 0.5 * 10.0**-self.origin.decimals

    @property
    def quoted(self) -> bool:
        """Whether the cited work prints this number, to the digits that the paper has of it."""
        prints = self.origin.prints if self.origin else None
        return prints is not None and self.value is not None and abs(prints - self.value) <= self.half_digit + 1e-9


def cited_cell(table: str, row: Row) -> str:
    """The cell of a number that the paper cites.

    Examples:
        >>> row = Row(dataset="cifar10", label="TET* [23]", ref="23", metric="top1", value=1, architecture="ResNet-19")
        >>> cited_cell("table1", row)
        'table1/cifar10/resnet19/tet-23'
    """
    network = re.sub(r"-(?=\d)", "", row.architecture or "").lower()
    work = re.sub(r"\W+", "_", row.label.replace(f"[{row.ref}]", "").lower()).strip("_")
    parts = (table, row.dataset, re.sub(r"\W+", "_", network).strip("_"), f"{work}-{row.ref}")
    return "/".join(part for part in parts if part)


class PaperTable(_Part):
    """A table of the paper; rows in the printed order, with the table's decimals where they name none."""

    title: str
    decimals: int = 2
    rows: list[Row]

    @model_validator(mode="after")
    def _rows_have_decimals(self) -> PaperTable:
        for index, row in enumerate(self.rows):
            if "decimals" not in row.model_fields_set:
                row = self.rows[index] = row.model_copy(update={"decimals": self.decimals})
            if row.origin and not row.quoted and not row.origin.note:
                raise ValueError(
                    f"{row.label} at {row.value}: a number that the cited work does not print needs a note"
                )
        return self


class Dataset(_Part):
    """How the paper spells a data set, and how many samples its test set has."""

    printed: str
    test_samples: int = Field(gt=0)


class Side(_Part):
    """One side of a claim: a run of ours, or a number that the paper cites.

    Attributes:
        run: Name of the run; None for a cited number.
        steps: Test time steps that are used, None for all.
        table: Of a cited number: where it stands.
        dataset: Of a cited number.
        ref: Of a cited number: its number in the bibliography.
    """

    run: str | None = None
    steps: int | None = Field(default=None, gt=0)
    table: str | None = None
    dataset: str | None = None
    ref: str | None = None

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Side:
        if (self.run is None) == (self.table is None or self.dataset is None or self.ref is None):
            raise ValueError("a side is a run, or a table, dataset and ref")
        return self


class Claim(_Part):
    """Something that the paper asserts: metric(a) less metric(b) is positive (`kind` says of what).

    Attributes:
        id: Unique name.
        text: The claim in words.
        kind: "difference" between two sides; "drop": a and b are one run at many and at few steps; "per_step":
            the difference at every single time step; "narrows": the difference at few steps less that at all;
            "first_lowest": of one run, every other single time step less the first; "worst_class": at the first step
            alone, the recall of the class that is recognised least.
        metric: What is compared.
        a: The side said to be better.
        b: The other side.
        value: The difference that the paper states or its numbers give, None if there is none.
        decimals: Digits of `value` after the point; it is known no better.
        where: Place in the paper; of a statement's claim, "" stands for its section.
        place: The claim in a few words, for a list below its statement.
        note: What a reader of the claim should know beside.
        statement: Number of the sentence that makes the claim, in the order of `Paper.statements`; None if none does.
        extends: Id of the paper's claim that this one carries over to another data set; None: it is the paper's own.
        variant: Key of the recipe that side b sets otherwise: a choice of the authors' code that the paper does not
            tell, of which side a is the code's. None: it is a claim.
    """

    id: str
    text: str
    kind: Literal["difference", "drop", "per_step", "narrows", "first_lowest", "worst_class"]
    metric: Metric
    a: Side
    b: Side
    value: float | None
    decimals: int = 2
    where: str = ""
    place: str = ""
    note: str = ""
    statement: int | None = None
    extends: str | None = None
    variant: str | None = None

    @property
    def half_digit(self) -> float:
        """By how much the stated value may lie off what was measured."""
        return 0.5 * 10.0**-self.decimals

    @property
    def own(self) -> bool:
        """Whether the paper says so itself."""
        return self.extends is None and self.variant is None

    @model_validator(mode="after")
    def _sides_fit_the_kind(self) -> Claim:
        if self.a.run is None:
            raise ValueError("side a is a run: nothing of ours is compared otherwise")
        if self.metric != "top1" and (self.kind != "difference" or self.a.steps or self.b.steps):
            raise ValueError(f"steps are known for top1 only, not for {self.metric}")
        if self.kind != "difference" and self.b.run is None:
            raise ValueError(f"side b of a {self.kind} is a run")
        if self.kind == "drop" and (self.a.run != self.b.run or None in (self.a.steps, self.b.steps)):
            raise ValueError("a drop is of one run, with steps on both sides")
        if self.kind in ("per_step", "first_lowest", "worst_class") and (self.a.steps or self.b.steps):
            raise ValueError(f"a {self.kind} claim names no steps: its kind says which")
        if self.kind == "narrows" and (self.a.steps is None or self.a.steps != self.b.steps):
            raise ValueError("a claim that a difference narrows names the same few steps on both sides")
        if self.kind == "first_lowest" and self.a.run != self.b.run:
            raise ValueError("a first_lowest claim is of one run")
        return self


class Implied(_Part):
    """A rule that makes a claim of each pair of rows, one of TKS and another, as `tksbench.report.derive` has it.

    Attributes:
        by: What finds the other row: its "method", its "ref", that it is the "best" cited one, its "architecture"; or,
            of a figure, the "steps" of training and test.
        table: Of the rows.
        figure: Of `steps`.
        over: Methods, references or architectures of the other rows; none for "best".
        of: With "architecture": that of the row said to be better.
        metric: What is compared.
        datasets: Data sets that the sentence names; none: all that the table has.
    """

    by: Literal["method", "ref", "best", "architecture", "steps"]
    table: str = ""
    figure: str = ""
    over: list[str] = Field(default_factory=list)
    of: str = ""
    metric: Metric = "top1"
    datasets: list[str] = Field(default_factory=list)


class Statement(_Part):
    """A sentence of the paper that claims a result.

    Attributes:
        section: Where it stands.
        says: What it says, in other words.
        implies: Rules that make its claims.
        claims: Claims written out.
        see: Ids of claims of other sentences that it repeats.
        note: Why it has no claims.
    """

    section: str
    says: str
    implies: list[Implied] = Field(default_factory=list)
    claims: list[Claim] = Field(default_factory=list)
    see: list[str] = Field(default_factory=list)
    note: str = ""


class Paper(_Part):
    """All of results/paper.yaml that tables and figures need.

    `load_paper` adds the statements' claims to `claims`; `pairs`, which `report.cited` adds, are runs of other systems,
    each with the run that it is compared with.
    """

    paper: dict[str, Any]
    datasets: dict[str, Dataset]
    references: dict[str, Reference] = Field(default_factory=dict)
    tables: dict[str, PaperTable]
    figures: dict[str, Any] = Field(default_factory=dict)
    methods: dict[str, str] = Field(default_factory=dict)
    statements: list[Statement] = Field(default_factory=list)
    claims: list[Claim] = Field(default_factory=list)
    pairs: list[tuple[str, str]] = Field(default_factory=list)

    def rows(self) -> Iterator[Row]:
        """Every number, over all tables."""
        return (row for table in self.tables.values() for row in table.rows)

    def own_rows(self) -> Iterator[Row]:
        """Every number that is the paper's own, over all tables."""
        return (row for row in self.rows() if not row.ref)

    def cited(self, side: Side) -> Row | None:
        """The row that a claim's side cites, if it stands there once and its number is established."""
        rows = self.tables[side.table].rows if side.table in self.tables else []
        found = [row for row in rows if (row.dataset, row.ref) == (side.dataset, side.ref)]
        return found[0] if len(found) == 1 and found[0].value is not None else None
