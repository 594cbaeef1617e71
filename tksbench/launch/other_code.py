"""Runs that other code has trained, or begun: said before they are skipped or gone on with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tksbench.runs.aside import set_aside
from tksbench.runs.code import shown
from tksbench.runs.comparison import changed_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tksbench.launch.plan import Item
    from tksbench.runs import Ledger

_MARK = "other code"


def with_code(item: Item, ledger: Ledger) -> Item:
    """A plan's item that names the files which are not what its run was trained with so far."""
    status = item.status
    if status.state not in ("done", "interrupted", "failed") or item.action not in ("skip", "run", "blocked"):
        return item
    changed = changed_files(status.code, status.commit, ledger.run_dir(item.run.id), status.edited)
    if not changed or (status.state != "done" and not status.epoch and not status.percent):
        return item
    if status.state == "done":
        committed = ledger.published(item.run.id).exists()  # many at a time: said once for all of them
        return replace(item, other=changed, reason=item.reason if committed else f"{item.reason}, {_of(changed)}")
    return replace(item, other=changed, reason=f"{item.reason}, with {_of(changed).removeprefix('of ')}")


def notices(items: Sequence[Item], ledger: Ledger) -> Iterator[str]:
    """What is to be said of them, a line for each kind."""
    other = [item for item in items if item.other]
    done = [item for item in other if item.status.state == "done"]
    committed = [item for item in done if ledger.published(item.run.id).exists()]
    kinds = (
        (
            [item for item in done if item not in committed],
            "finished run{s} skipped that {is_} {code}; --again trains {it} anew",
        ),
        (
            committed,
            "committed record{s} {is_} {code}; python -m tksbench.rerun ID checks one, --again trains {it} anew",
        ),
        (
            [item for item in other if item.action == "run" and item.status.state != "done"],
            "run{s} to go on with {other}, which the record{s} will say; --again trains {it} anew",
        ),
    )
    for found, words in kinds:
        if found:
            many = len(found) > 1
            said = _of(sorted({path for item in found for path in item.other}))
            forms = {"s": "s" * many, "is_": "are" if many else "is", "it": "them" if many else "it"}
            yield f"{len(found)} " + words.format(code=said, other=said.removeprefix("of "), **forms)


def take_aside(items: Sequence[Item], ledger: Ledger) -> list[str]:
    """Move what the plan's "run" items have aside, so that they are trained anew; a line for each that had something.

    Args:
        items: A plan made with `again`.
        ledger: The results.

    Raises:
        LedgerError: If something cannot be moved, or somebody else has begun a run meanwhile.
    """
    moved = [(item.run, set_aside(ledger, item.run.id)) for item in items if item.action == "run"]
    return [f"{run.name} seed {run.seed}: what it had is in {folder}" for run, folder in moved if folder is not None]


def _of(changed: Sequence[str]) -> str:
    return f"of {_MARK} ({shown(changed)})"
