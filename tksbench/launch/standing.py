"""How runs stand: the ledger's word, and beside it what Slurm says of those in its queue."""

from __future__ import annotations

import sys
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from tksbench.errors import TksbenchError
from tksbench.runs.unknown import condensed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tksbench.recipe import Run
    from tksbench.runs import Ledger, Status


class KnownRuns:
    """The runs prepared in a results folder; each is read once, directories that are none are passed over.

    Args:
        ledger: The results folder.
        only: Shell patterns, one of which a run's name has to match; none takes all runs.
    """

    def __init__(self, ledger: Ledger, only: Sequence[str] = ()) -> None:
        self._ledger, self._only = ledger, only
        self._read: dict[str, Run | None] = {}

    def __call__(self) -> list[Run]:
        """Those there now; says on standard error, once, which cannot be read."""
        runs, problems = [], list[str]()
        for run_dir in self._ledger.run_dirs():
            if run_dir.id not in self._read:
                try:
                    self._read[run_dir.id] = self._ledger.load_run(run_dir)
                except TksbenchError as error:
                    self._read[run_dir.id] = None
                    problems.append(f"{run_dir.path}: {error}")
            run = self._read[run_dir.id]
            if run and (not self._only or any(fnmatchcase(run.name, pattern) for pattern in self._only)):
                runs.append(run)
        for problem in condensed(problems):
            sys.stderr.write(f"tksbench: warning: {problem}\n")
        return sorted(runs, key=lambda run: (run.name, run.scale, run.seed))


def noted(status: Status, notes: Mapping[str, str]) -> Status:
    """A status that also tells what Slurm says of a run that is not done.

    Args:
        status: The ledger's word.
        notes: Slurm's, by the run's id: `cluster.queue_notes`.
    """
    note = notes.get(status.id)
    if note is None or status.state == "done":
        return status
    return replace(status, reason=note if status.state in ("new", "running") else f"{status.reason}; {note}")
