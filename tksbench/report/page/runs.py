"""What stands behind a cell, for a reader: the seeds of one protocol, their curves, and what made them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tksbench.report.facts import MOST_TEXT, Fact, facts, log_end
from tksbench.report.page.charts import Chart, Line, Point, draw, thin
from tksbench.runs.provenance import rerun_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tksbench.report.groups import Candidate
    from tksbench.runs import Ledger
    from tksbench.runs.record import Record

MOST_SHOWN = 5  # seeds that are shown; the others are counted
MOST_DRAWN = 3  # seeds whose curves are drawn
_MOST_POINTS = 48  # of a curve
_CURVE_SIZE, _LOSS_SIZE = (460, 210), (460, 130)


@dataclass(frozen=True)
class Seed:
    """One finished run, as text."""

    id: str
    seed: int
    best: str
    best_epoch: int
    last: str
    aurc: str
    hours: str
    finished: str
    where: str
    published: bool
    weights: str
    command: str
    diff: str
    log: str


@dataclass(frozen=True)
class RunCard:
    """One run of the recipes, under the protocol that its cells show.

    Attributes:
        anchor: Identifies it within the page.
        name: As in recipes.
        scale: In words; of the protocol to train if nothing is trained.
        stand_in: Whether the data are not the data set's own.
        state: What unfinished runs of this protocol are at, "" if there are none.
        count: Finished runs; `took` is their time in words.
        command: Trains it, or shows that it is trained.
        cost: Estimated GPU-hours of a run, None if unknown or if there are records.
        seeds: Of the first `MOST_SHOWN` finished runs.
        others: Protocols of the same run that are not shown: scale in words and number of records.
        accuracy: Curves of the first `MOST_DRAWN`, None without records; `loss` likewise.
        facts: What the runs were made with.
        spec: The full spec but the seed: dotted key and value as JSON.
        group: Hash of that spec.
    """

    anchor: str
    name: str
    scale: str
    stand_in: bool
    state: str
    count: int
    took: str
    command: str
    cost: float | None
    seeds: tuple[Seed, ...]
    others: tuple[tuple[str, int], ...]
    accuracy: Chart | None
    loss: Chart | None
    facts: tuple[Fact, ...]
    spec: tuple[tuple[str, str], ...]
    group: str


def run_card(
    anchor: str,
    protocols: Sequence[Candidate],
    by_group: Mapping[str, Sequence[Record]],
    states: Mapping[str, str],
    estimate: Callable[[Any], float | None],
    ledger: Ledger,
) -> RunCard:
    """Describe one run.

    Args:
        anchor: Identifies it within the page.
        protocols: Of the run, the one closest to the paper first; not empty.
        by_group: Records of each group, by seed.
        states: What unfinished runs of a group are at.
        estimate: GPU-hours of a run.
        ledger: Where the logs lie.
    """
    trained = [one for one in protocols if one.group in by_group]
    shown = trained[0] if trained else next((one for one in protocols if one.group in states), protocols[0])
    records = by_group.get(shown.group, ())
    first = records[:MOST_SHOWN]
    return RunCard(
        anchor=anchor,
        name=shown.run.name,
        scale=shown.words,
        stand_in=shown.stand_in,
        state=states.get(shown.group, ""),
        count=len(records),
        took=_took(sum(record.cost.hours for record in records), sum(record.cost.gpu_hours for record in records)),
        command=rerun_command(shown.run),
        cost=None if records else estimate(shown.run.spec),
        seeds=tuple(_seed(record, ledger) for record in first),
        others=tuple((one.words, len(by_group[one.group])) for one in trained[1:]),
        accuracy=_accuracy(first[:MOST_DRAWN]) if first else None,
        loss=_loss(first[:MOST_DRAWN]) if first else None,
        facts=tuple(facts(first)) if first else (),
        spec=tuple(_flat(shown.run.spec.model_dump(mode="json", exclude={"seed"}))),
        group=shown.group,
    )


def _seed(record: Record, ledger: Ledger) -> Seed:
    best, last, cost, proof = record.metrics.best, record.metrics.last, record.cost, record.provenance
    published = ledger.published(record.id).exists()
    return Seed(
        id=record.id,
        seed=record.seed,
        best=f"{best.top1:.2f}",
        best_epoch=best.epoch + 1,
        last=f"{last.top1:.2f}",
        aurc=f"{best.aurc_logit:.2f}",
        hours=_took(cost.hours, cost.gpu_hours),
        finished=proof.finished[:10],
        where=f"records/{record.id}.json" if published else f"runs/{record.id}/record.json",
        published=published,
        weights=record.weights_sha256,
        command=proof.command,
        diff=_cut(proof.diff),
        log=log_end(record, ledger),
    )


def _took(hours: float, gpu_hours: float) -> str:
    return f"{hours:.2f} h" + (f", {gpu_hours:.2f} GPU-h" if gpu_hours else "")


def _accuracy(records: Sequence[Record]) -> Chart | None:
    lines = []
    for record in records:
        curve, best = record.metrics.curve, record.metrics.best
        of = f", seed {record.seed}" if len(records) > 1 else ""
        kept = thin(curve.epoch, [i for i, epoch in enumerate(curve.epoch) if epoch == best.epoch], _MOST_POINTS)
        tested = [Point(curve.epoch[i] + 1, value) for i in kept if (value := curve.test_top1[i]) is not None]
        trained = [Point(curve.epoch[i] + 1, curve.train_top1[i]) for i in kept]
        lines += [Line(f"train{of}", "train", trained, dotted=False), Line(f"test{of}", "test", tested, dotted=False)]
        lines.append(Line(f"best{of}", "best", [Point(best.epoch + 1, best.top1)], joined=False))
    lines.sort(key=lambda line: ("train", "test", "best").index(line.style))
    drawn = [line for line in lines if line.points]
    return draw("top-1 accuracy by epoch", "epoch", drawn, size=_CURVE_SIZE) if drawn else None


def _loss(records: Sequence[Record]) -> Chart | None:
    lines = []
    for record in records:
        curve = record.metrics.curve
        of = f", seed {record.seed}" if len(records) > 1 else ""
        kept = thin(curve.epoch, (), _MOST_POINTS)
        points = [Point(curve.epoch[i] + 1, curve.train_loss[i]) for i in kept]
        if points:
            lines.append(Line(f"loss{of}", "loss", points, dotted=False))
    return draw("training loss by epoch", "epoch", lines, size=_LOSS_SIZE, unit="") if lines else None


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(item, ensure_ascii=False)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + "\n... (cut; all of it is in the record)"
