"""What is at hand to fill the cells with: published records, this machine's own, and the state of unfinished runs."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tksbench.errors import TksbenchError
from tksbench.metrics import optimal_aurc
from tksbench.recipe import TrainSpec
from tksbench.runs.record import correct_bits
from tksbench.runs.unknown import condensed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tksbench.report.groups import Candidate
    from tksbench.runs import Ledger, Status
    from tksbench.runs.record import Record

_REASON_LENGTH = 60
_STATE_ORDER = ("running", "failed", "interrupted")  # what a cell says when its seeds are in several states


@dataclass(frozen=True)
class Evidence:
    """Records and states that tables are built from.

    Attributes:
        published: Valid records of results/records.
        local: Valid records of finished runs on this machine that are not published.
        states: "running 62 %", "failed (reason)", "interrupted 40 %" by group, of unfinished runs here.
        problems: One message for each record that was refused; one for all of networks that are not known here.
    """

    published: tuple[Record, ...] = ()
    local: tuple[Record, ...] = ()
    states: dict[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def of_groups(self, groups: Iterable[str]) -> Evidence:
        """The part that concerns these groups: what one table is built from."""
        wanted = set(groups)
        return replace(
            self,
            published=tuple(record for record in self.published if record.group in wanted),
            local=tuple(record for record in self.local if record.group in wanted),
            states={group: state for group, state in sorted(self.states.items()) if group in wanted},
        )

    def finished(self) -> Evidence:
        """Without the states of unfinished runs."""
        return replace(self, states={})

    def only_published(self) -> Evidence:
        """Without this machine's own: what everybody else sees."""
        return replace(self, local=(), states={})

    def stamp(self) -> str:
        """What a table file says of evidence that is not published: JSON without a double hyphen, "" if none."""
        if not self.local and not self.states:
            return ""
        plain = {"runs": [record.id for record in self.local], "states": self.states}
        return json.dumps(plain, sort_keys=True).replace("--", "-\\u002d")  # an HTML comment may not hold one


def gather(ledger: Ledger, protocols: Mapping[str, Sequence[Candidate]] | None = None) -> Evidence:
    """Read all records and states under a results folder; what is no valid record is named in `problems`.

    Args:
        ledger: The results folder.
        protocols: From `groups.candidates`: a record that says another scale than its spec has in the recipes is
            refused. A spec that no recipe has any more, or one under a new name, is no reason to doubt a record.
    """
    scales: dict[str, set[str]] = {}
    for candidate in itertools.chain.from_iterable((protocols or {}).values()):
        scales.setdefault(candidate.group, set()).add(candidate.scale)
    problems: list[str] = []
    published: list[Record] = []
    local: list[Record] = []
    for record in ledger.records(problems):
        path = ledger.published(record.id)
        is_published = path.exists()
        doubt = inconsistency(record) or (None if is_published else _missing_file(ledger, record))
        if record.scale not in (known := scales.get(record.group, {record.scale})):
            doubt = f"says scale {record.scale}, but its spec is that of scale {' and '.join(sorted(known))}"
        if doubt:
            path = path if is_published else ledger.run_dir(record.id).record
            problems.append(f"{path} ({record.name}, seed {record.seed}): {doubt}")
        elif is_published:
            published.append(record)
        else:
            local.append(record)
    return Evidence(tuple(published), tuple(local), _states(ledger), tuple(condensed(problems)))


def _missing_file(ledger: Ledger, record: Record) -> str | None:
    """A file that a local record was made from and that is gone; published records travel without theirs."""
    folder = ledger.run_dir(record.id).path
    gone = next((name for name in sorted(record.files) if not (folder / name).is_file()), None)
    return f"{folder / gone} is missing" if gone else None


def inconsistency(record: Record) -> str | None:
    """Why a record's metrics cannot be true, or None.

    Accuracies must follow from the stored right samples or be a whole number of samples, and an AURC less its
    excess must be the optimum for that many errors (see `metrics.optimal_aurc`). Every step has its accuracy alone
    and as a prefix, and the curve of the epochs holds both epochs' accuracies.
    """
    for choice in ("last", "best"):
        metrics, n = getattr(record.metrics, choice), record.test.n
        right = correct_bits(getattr(record.test, f"correct_{choice}")).bit_count()
        counted = 100 * right / n
        whole = {"top1": metrics.top1, "top1_prefix": metrics.top1_prefix[-1]}
        if metrics.top1_rebinned:
            whole["top1_rebinned"] = metrics.top1_rebinned[-1]
        for name, stated in whole.items():
            if abs(stated - counted) > 1e-6:
                return f"metrics.{choice}.{name} says {stated}, but {right} of {n} samples are right"
        lists = {"top5": [metrics.top5], "top1_prefix": metrics.top1_prefix, "top1_step": metrics.top1_step}
        for name, values in (lists | {"top1_rebinned": metrics.top1_rebinned or []}).items():
            for stated in values:
                if abs(stated * n / 100 - round(stated * n / 100)) > 1e-6:
                    return f"metrics.{choice}.{name} says {stated}, which is no whole number of {n} samples"
        for kind in ("logit", "softmax"):
            stated = getattr(metrics, f"aurc_{kind}") - getattr(metrics, f"eaurc_{kind}")
            if abs(stated - optimal_aurc(n - right, n)) > 1e-6:
                return f"metrics.{choice}: aurc_{kind} and eaurc_{kind} do not fit {n - right} errors in {n} samples"
        if len(metrics.top1_step) != len(metrics.top1_prefix):
            steps = f"{len(metrics.top1_step)} of them alone, {len(metrics.top1_prefix)} as prefixes"
            return f"metrics.{choice}: accuracies of {steps}: not one set of time steps"
        if metrics.top5 < metrics.top1:
            return f"metrics.{choice}.top5 {metrics.top5} is below top1 {metrics.top1}"
    if record.metrics.best.top1 < record.metrics.last.top1:
        return f"best epoch ({record.metrics.best.top1}) is worse than the last ({record.metrics.last.top1})"
    return _curve_doubt(record)


def _curve_doubt(record: Record) -> str | None:
    """Why the curve of the epochs contradicts itself or the metrics, or None; optimism is estimated from it."""
    curve, n = record.metrics.curve, record.test.n
    if record.spec.kind != TrainSpec.kind and not any(column for _, column in curve):
        return None
    lengths = {name: len(column) for name, column in curve}
    if len(set(lengths.values())) > 1:
        return f"metrics.curve: columns of unequal length: {', '.join(f'{k} {v}' for k, v in lengths.items())}"
    even, odd = (n + 1) // 2, n // 2
    for epoch, top1, halves in zip(curve.epoch, curve.test_top1, curve.test_top1_halves, strict=True):
        if top1 is None and halves is None:
            continue
        if top1 is None or halves is None or len(halves) != 2:
            return f"metrics.curve: epoch {epoch} lacks the test accuracy or that of its two halves"
        if not -1e-6 < (even * halves[0] + odd * halves[1]) / n - top1 < 1e-6:
            return f"metrics.curve: epoch {epoch} says {top1}, but its halves are {halves[0]} and {halves[1]}"
    for choice in ("last", "best"):
        metrics = getattr(record.metrics, choice)
        row = curve.epoch.index(metrics.epoch) if metrics.epoch in curve.epoch else None
        stated = None if row is None else curve.test_top1[row]
        if row is None or stated != metrics.top1:
            return f"metrics.curve says {stated} of epoch {metrics.epoch}, metrics.{choice}.top1 {metrics.top1}"
        if curve.test_top1_halves[row] != metrics.top1_halves:
            return f"metrics.curve and metrics.{choice} differ in the halves at epoch {metrics.epoch}"
    highest = max(top1 for top1 in curve.test_top1 if top1 is not None)
    if highest != record.metrics.best.top1:
        return f"metrics.curve rises to {highest}, but metrics.best.top1 is {record.metrics.best.top1}"
    return None


def _states(ledger: Ledger) -> dict[str, str]:
    by_group: dict[str, list[Status]] = {}
    for run_dir in ledger.run_dirs():
        status = ledger.status(run_dir.id)
        if status.state in _STATE_ORDER:
            try:
                group = ledger.load_run(run_dir).group
            except TksbenchError:
                continue  # a run.json that cannot be read belongs to no cell; the launcher reports it
            by_group.setdefault(group, []).append(status)
    return {group: _describe(statuses) for group, statuses in by_group.items()}


def _describe(statuses: list[Status]) -> str:
    status = min(statuses, key=lambda one: _STATE_ORDER.index(one.state))
    if status.state == "failed":
        reason = " ".join(re.sub(r"(?<!\S)/\S*/", "", status.reason).split())  # a file's name is enough in a table
        return f"failed ({reason if len(reason) <= _REASON_LENGTH else reason[: _REASON_LENGTH - 1] + '…'})"
    if not status.epochs:
        return status.state
    return f"{status.state} {100 * (status.epoch or 0) // status.epochs} %"
