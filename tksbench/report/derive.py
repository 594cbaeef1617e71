"""The claims that the paper's sentences make: implied by its tables, row by row, or written out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tksbench.recipe import suggest
from tksbench.report.paper import Claim, PaperError, Side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tksbench.report.paper import Implied, Paper, Row

    Rule = Callable[[Implied, Paper], Iterator[Claim]]

OURS = "tks"  # the method that the paper proposes
_IN_WORDS = {"baseline": "the baseline", "label_smoothing": "label smoothing"}


def all_claims(paper: Paper) -> list[Claim]:
    """The claims of each sentence, in the paper's order, then those of `paper.claims`, which are not the paper's.

    Args:
        paper: As results/paper.yaml has it.

    Raises:
        PaperError: A rule names no table or figure, two claims have one id, or a claim names one that is not there.
    """
    found: list[Claim] = []
    for number, statement in enumerate(paper.statements):
        implied = [claim for rule in statement.implies for claim in _RULES[rule.by](rule, paper)]
        section = f"section {statement.section}"
        places = [f"{claim.where}, {section}" for claim in implied]
        places += [claim.where or section for claim in statement.claims]
        for claim, where in zip((*implied, *statement.claims), places, strict=True):
            found.append(claim.model_copy(update={"statement": number, "where": where}))
    found += paper.claims
    ids = Counter(claim.id for claim in found)
    for one, times in ids.items():
        if times > 1:
            raise PaperError(f"the claim {one} stands twice")
    named = [(f"claim {claim.id} extends", claim.extends) for claim in found if claim.extends]
    named += [(f"section {one.section}: see", claim) for one in paper.statements for claim in one.see]
    for who, other in named:
        if other not in ids:
            raise PaperError(f"{who} '{other}'; {suggest(other, ids)}")
    return found


def _by_method(rule: Implied, paper: Paper) -> Iterator[Claim]:
    """TKS against other methods of the paper's own runs, at each data set and network."""
    rows = _rows(rule, paper)
    for mine in (row for row in rows if _method(row) == OURS):
        for method in rule.over:
            for row in rows:
                if (_method(row), row.dataset, row.architecture) == (method, mine.dataset, mine.architecture):
                    yield _claim(rule, paper, mine, row, method.replace("_", "-"))


def _by_ref(rule: Implied, paper: Paper) -> Iterator[Claim]:
    """TKS against cited works, at the same data set, network and asterisk."""
    rows = _rows(rule, paper)
    for mine in (row for row in rows if not row.ref):
        for ref in rule.over:
            for row in rows:
                place = (row.ref, row.dataset, row.architecture, row.star)
                if place == (ref, mine.dataset, mine.architecture, mine.star):
                    short = paper.references[ref].short if ref in paper.references else ref
                    yield _claim(rule, paper, mine, row, f"cited-{short.lower()}")


def _by_best(rule: Implied, paper: Paper) -> Iterator[Claim]:
    """The highest number of TKS against the highest cited one, at each data set."""
    rows = _rows(rule, paper)
    for dataset in dict.fromkeys(row.dataset for row in rows):
        mine = [row for row in rows if row.dataset == dataset and not row.ref]
        cited = [row for row in rows if row.dataset == dataset and row.ref]
        if mine and cited:
            best, other = max(mine, key=_value), max(cited, key=_value)
            lower = [row for row in mine if _value(row) <= _value(other)]
            notes = [f"but {_printed(row)}, {row.label} with {row.architecture}, is not" for row in lower]
            notes += [f"{other.label} does not print {_printed(other)}"] * (not other.quoted and bool(other.origin))
            yield _claim(rule, paper, best, other, "cited", "; ".join(notes))


def _by_architecture(rule: Implied, paper: Paper) -> Iterator[Claim]:
    """TKS on one network against TKS on another, at each data set."""
    rows = [row for row in _rows(rule, paper) if not row.ref]
    for mine in (row for row in rows if row.architecture == rule.of):
        for row in rows:
            if row.architecture in rule.over and (row.dataset, row.star) == (mine.dataset, mine.star):
                yield _claim(rule, paper, mine, row, _network(row))


def _by_steps(rule: Implied, paper: Paper) -> Iterator[Claim]:
    """TKS against other methods, each trained and tested at T; the largest T is a table's, and has its claims there."""
    figure = paper.figures.get(rule.figure)
    if figure is None:
        raise PaperError(f"a rule names the figure '{rule.figure}'; {suggest(rule.figure, paper.figures)}")
    dataset = figure["dataset"]
    for steps in sorted(figure["T"])[:-1]:
        for method in rule.over:
            names = [f"{dataset}/vgg_snn-T{steps}/{one}" for one in (OURS, method)]
            other = _IN_WORDS.get(method, paper.methods.get(method, method))
            yield Claim(
                id=f"{dataset.replace('_', '-')}-T{steps}-over-{method.replace('_', '-')}",
                text=f"Trained and tested at T = {steps}, TKS beats {other} on {paper.datasets[dataset].printed}",
                place=f"{paper.datasets[dataset].printed} at T = {steps}: {_short(method, paper)}",
                kind="difference",
                metric=rule.metric,
                a=Side(run=names[0]),
                b=Side(run=names[1]),
                value=None,
                where="figure 3(b)",
            )


_RULES: dict[str, Rule] = {
    "method": _by_method,
    "ref": _by_ref,
    "best": _by_best,
    "architecture": _by_architecture,
    "steps": _by_steps,
}


def _rows(rule: Implied, paper: Paper) -> list[Row]:
    if rule.table not in paper.tables:
        raise PaperError(f"a rule names the table '{rule.table}'; {suggest(rule.table, paper.tables)}")
    rows = [row for row in paper.tables[rule.table].rows if row.metric == rule.metric and row.value is not None]
    return [row for row in rows if not rule.datasets or row.dataset in rule.datasets]


def _claim(rule: Implied, paper: Paper, mine: Row, other: Row, over: str, note: str = "") -> Claim:
    dataset = paper.datasets[mine.dataset].printed
    own = [row for row in paper.tables[rule.table].rows if row.dataset == mine.dataset and not row.ref]
    networks = {row.architecture for row in own}
    several = len(networks) > 1 and rule.by != "best"
    decimals = max(mine.decimals, other.decimals)
    value = round(_value(mine) - _value(other), decimals)
    supported = value < 0 if rule.metric == "aurc" else value > 0
    verb, top5 = "has a lower AURC than" if rule.metric == "aurc" else "beats", " in top-5" * (rule.metric == "top5")
    method = _method(other)
    name = other.label if other.ref else _IN_WORDS.get(method, paper.methods.get(method, method))
    text, place = {
        "method": (f"TKS {verb} {name}{top5} on {dataset}", f": {_short(method, paper)}"),
        "ref": (f"TKS {verb} the published {name}{top5} on {dataset}", f": {name}"),
        "best": (f"TKS {verb} every cited work{top5} on {dataset}, of which {name} is best,", f": {name}"),
        "architecture": (f"TKS with {rule.of} {verb} TKS with {other.architecture}{top5} on {dataset}", ""),
    }[rule.by]
    if rule.by == "architecture":
        place = f" {rule.of}: {other.architecture}"
    elif several:
        text += f" with {mine.architecture}"
        place = f" {mine.architecture}{place}"
    size = f" by {abs(value):.{decimals}f}" + " points" * (rule.metric != "aurc")
    side = Side(run=other.run) if other.run else Side(table=rule.table, dataset=other.dataset, ref=other.ref)
    parts = (
        mine.dataset.replace("_", "-"),
        _network(mine) if several or rule.by == "architecture" else "",
        "over",
        over,
    )
    return Claim(
        id="-".join(filter(None, parts)) + {"top1": "", "top5": "-top5", "aurc": "-aurc"}[rule.metric],
        text=(text + size) if supported else text.rstrip(","),
        place=dataset + place,
        kind="difference",
        metric=rule.metric,
        a=Side(run=mine.run),
        b=side,
        value=value,
        decimals=decimals,
        where=f"Table {rule.table.removeprefix('table')}",
        note=note,
    )


def _short(method: str, paper: Paper) -> str:
    """A method as the paper prints it."""
    return "baseline" if method == "baseline" else paper.methods.get(method, method)


def _value(row: Row) -> float:
    return 0.0 if row.value is None else row.value


def _printed(row: Row) -> str:
    return f"{_value(row):.{row.decimals}f}"


def _method(row: Row) -> str:
    """Of a run of the paper's own; "" for a cited row."""
    return (row.run or "").rpartition("/")[2]


def _network(row: Row) -> str:
    """As ids have it: "sew-resnet19" of the run "cifar10/sew_resnet19/tks"."""
    return (row.run or "//").split("/")[1].removeprefix("spiking_").replace("_", "-")
