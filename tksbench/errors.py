"""The one exception family that a user's mistake may raise; every command line turns it into exit status 2."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class TksbenchError(Exception):
    """Bad input or an unusable environment: the message says what, where, and what would be right."""


def suggest(wrong: str, known: Iterable[str]) -> str:
    """Return the tail of an error message that names the nearest known word, or all of them.

    >>> suggest("epoch", ["epochs", "lr"])
    "did you mean 'epochs'?"
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(wrong), names, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names)}"
