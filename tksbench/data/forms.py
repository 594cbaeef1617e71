"""Data sets in forms that are not read here, so that people who have one hear why, and what to do.

Imports neither numpy nor torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tksbench.data import places

if TYPE_CHECKING:
    from pathlib import Path

    from tksbench.data.dataset import DatasetInfo


def other_form(entry: DatasetInfo, root: Path, folder: Path) -> str:
    """What there is of a data set in another form or packaging, as one sentence; empty if there is nothing.

    Args:
        entry: The data set.
        root: The data root.
        folder: The data set's folder.
    """
    for patterns, form in entry.forms:
        for place in places.namesakes(entry, root):
            for pattern in patterns:
                if (found := next(place.glob(pattern), None)) is not None:
                    return f"{found.relative_to(root)} is of {entry.title} {form}; {entry.why_not}"
    if entry.incomplete is None:
        return ""
    there, absent, why = entry.incomplete
    return why if places.part(folder, there).exists() and not places.part(folder, absent).exists() else ""
