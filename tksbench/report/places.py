"""Where tables and figures lie: what comes of published records alone beside them, all else in a folder of its own.

results/tables and results/figures are committed and checked (`--check`). A table that shows a run of this machine, done
or under way, lies under results/local, which git ignores: training does not change what is committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tksbench.runs import LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LOCAL = "local"


def place(root: Path, kind: Literal["tables", "figures"], names: Iterable[str], *, local: bool) -> Path:
    """The folder for these files; local ones of the same names go if the new ones are of published records alone.

    Args:
        root: The results folder.
        kind: What the files are.
        names: Their names.
        local: Whether they show anything that is not published.

    Raises:
        LedgerError: The folder cannot be made, or an old file not be removed.
    """
    folder = root / LOCAL / kind if local else root / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not local:
            for name in names:
                (root / LOCAL / kind / name).unlink(missing_ok=True)
    except OSError as error:
        raise LedgerError(f"{error.filename}: cannot be made or removed: {error.strerror}") from None
    return folder
