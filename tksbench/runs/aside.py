"""Runs that are to be trained anew: what they have is moved aside, and nothing is lost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tksbench.runs.errors import LedgerError
from tksbench.runs.lease import Lease

if TYPE_CHECKING:
    from pathlib import Path

    from tksbench.runs.ledger import Ledger


def set_aside(ledger: Ledger, run: str) -> Path | None:
    """Move a run's directory and its published record to a folder of their own under `set-aside/` of the results.

    The directory becomes `run/` there, the record keeps its name; both count again once they are moved back.

    Args:
        ledger: The results.
        run: The run's id.

    Returns:
        The folder; None if there was nothing to move.

    Raises:
        LeaseHeld: If somebody trains the run.
        LedgerError: If something cannot be moved.
    """
    run_dir, published = ledger.run_dir(run), ledger.published(run)
    begun = run_dir.path.is_dir()
    if not begun and not published.exists():
        return None
    folder = ledger.root / "set-aside" / f"{run}-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
    try:
        folder.mkdir(parents=True)
        if begun:
            with Lease.acquire(run_dir):
                run_dir.path.rename(folder / "run")
        if published.exists():
            published.rename(folder / published.name)
    except OSError as error:
        raise LedgerError(f"{folder}: cannot take what run {run} has: {error.strerror}") from error
    except LedgerError:
        folder.rmdir()
        raise
    return folder
