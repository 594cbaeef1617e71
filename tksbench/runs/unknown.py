"""Runs of networks, data sets or methods that another checkout has and this one has not: one line for all of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNKNOWN = re.compile(r"\bunknown ([a-z][a-z ]*) '([^']*)'; ")  # as `recipe.schema` and `recipe.catalogue` word it
_WORDS = {"model": "network"}  # what people call them
_FILE = re.compile(r"/[0-9a-f]{16}(\.json|/(record|run)\.json)?$")


def condensed(problems: Iterable[str]) -> list[str]:
    """Messages about records and runs, `PATH: REASON` each, with one for all that this checkout knows no part of.

    Args:
        problems: The messages.

    Returns:
        The other messages as they were, then a line for each folder and kind of part: how many runs, and the names
        that are not known here.
    """
    kept: list[str] = []
    unknown: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        path, _, reason = problem.partition(": ")
        found = _UNKNOWN.search(reason)
        if found and _FILE.search(path):
            kind = _WORDS.get(found[1], found[1])
            unknown.setdefault((_FILE.sub("", path), kind), []).append(found[2])
        else:
            kept.append(problem)
    for (folder, kind), names in unknown.items():
        count = "1 run of a" if len(names) == 1 else f"{len(names)} runs of"
        kinds = kind if len(names) == 1 else f"{kind}s"
        listed = ", ".join(dict.fromkeys(names))
        kept.append(f"{folder}: {count} {kinds} that this checkout does not know, left out: {listed}")
    return kept
