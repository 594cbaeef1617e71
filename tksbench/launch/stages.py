"""Runs that start from another run's weights: what they wait for, in a plan and while it is carried out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tksbench.recipe import TrainSpec
from tksbench.runs.provenance import rerun_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tksbench.launch.plan import Item
    from tksbench.recipe import Run
    from tksbench.runs import Ledger

_WEIGHTS = "the weights of its start"


@dataclass
class Summary:
    """How it ended: runs by outcome."""

    done: list[Run] = field(default_factory=list)
    failed: list[Run] = field(default_factory=list)
    refused: list[Run] = field(default_factory=list)
    interrupted: list[Run] = field(default_factory=list)
    left: list[Run] = field(default_factory=list)  # that start from one of these
    stopped: bool = False

    def by_outcome(self) -> dict[str, list[Run]]:
        """The runs of each outcome, by its name."""
        names = {"done": self.done, "failed": self.failed, "refused": self.refused, "interrupted": self.interrupted}
        return {**names, "left out": self.left}


def parent_title(run: Run) -> str:
    """What the run is called in messages that this one starts from."""
    return f"{run.parent.name} seed {run.parent.seed}" if run.parent else f"run {run.parent_id}"


def with_starts(items: Sequence[Item], ledger: Ledger) -> list[Item]:
    """A plan that says of each run what it waits for, and in which none is trained whose start cannot be had.

    Args:
        items: The plan; what others start from comes before them.
        ledger: The results so far.
    """
    known: dict[str, Item] = {}
    for item in items:
        known[item.run.id] = _started(item, known, ledger) if item.action == "run" and item.run.parent_id else item
    return [known[item.run.id] for item in items]


def left_out(queue: Iterable[Run], ended: Summary) -> list[tuple[Run, str]]:
    """Runs of a queue that start from one which has not come to its end, each with the reason."""
    ends = (
        (ended.failed, "has failed"),
        (ended.refused, "was refused"),
        (ended.interrupted, "was interrupted"),
        (ended.left, "is left out"),
    )
    how = {run.id: words for runs, words in ends for run in runs}
    return [
        (run, f"starts from {parent_title(run)}, which {how[run.parent_id]}") for run in queue if run.parent_id in how
    ]


def _started(item: Item, known: dict[str, Item], ledger: Ledger) -> Item:
    """A run that is to be trained, in view of the run that it starts from."""
    run, parent = item.run, known.get(str(item.run.parent_id))
    starts = f"starts from {parent_title(run)}"
    status = parent.status if parent else ledger.status(str(run.parent_id))
    if parent and parent.action in ("run", "wait"):
        when = "is trained first" if parent.action == "run" else "is being trained"
        return replace(item, reason=f"{item.reason}; {starts}, which {when}")
    if status.state == "done":
        folder = ledger.run_dir(str(run.parent_id))
        begun = isinstance(run.spec, TrainSpec) and ledger.run_dir(run.id).has_weights  # it has weights of its own
        if folder.has_weights or begun:
            return replace(item, reason=f"{item.reason}; {starts}")
        anew = f", or train it anew: {rerun_command(run.parent)} --again" if run.parent else ""
        reason = f"{starts}, which is done, but its weights are not here: bring back {folder.checkpoints}/{anew}"
        return replace(item, action="blocked", reason=reason, missing=_WEIGHTS)
    if parent and parent.action == "skip":
        return replace(item, action="skip", reason=f"{starts}, which is left out: {parent.reason}")
    if parent:
        return replace(
            item, action="blocked", reason=f"{starts}, which is blocked: {parent.reason}", missing=parent.missing
        )
    reason = f"{starts}, which is not trained here" + (f": {rerun_command(run.parent)}" if run.parent else "")
    return replace(item, action="blocked", reason=reason, missing=_WEIGHTS)
