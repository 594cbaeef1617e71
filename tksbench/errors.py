"""The one exception family that a user's mistake may raise; every command line turns it into exit status 2."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAMED = 30  # words, in a message


class TksbenchError(Exception):
    """Bad input or an unusable environment: the message says what, where, and what would be right."""


def suggest(wrong: str, known: Iterable[str]) -> str:
    """Return the tail of an error message that names the nearest known word, or those that there are.

    >>> suggest("epoch", ["epochs", "lr"])
    "did you mean 'epochs'?"
    >>> suggest("epoch", map(str, range(99)))[-30:]
    '31, 32, 33, 34, 35 and 69 more'
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(wrong), names, n=1, cutoff=0.6)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names[:_NAMED])}{more}"
