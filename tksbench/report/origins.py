"""What the cited works print themselves, beside what the paper prints of them: a mark at a row, and foot-notes."""

from __future__ import annotations

import itertools
import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tksbench.report.paper import Origin, Reference, Row

_SURE = {"read": "read", "second-hand": "second-hand", "memory": "from memory"}
_LEGEND = (
    "Cited rows: what the cited work prints itself, and how sure that is; read: in that work, its code or its logs; "
    "second-hand: in a later work that quotes it; from memory: still to be checked there."
)


def marks(rows: Sequence[Row]) -> list[str]:
    """A letter for each row whose origin has a note, "" for the others; rows of one work with one note share it.

    Args:
        rows: Of one table, in the printed order.
    """
    letters = _letters()
    given: dict[tuple[str | None, str], str] = {}
    found = []
    for row in rows:
        key = (row.ref, row.origin.note if row.origin else "")
        if key[1] and key not in given:
            given[key] = next(letters)
        found.append(given.get(key, ""))
    return found


def footnotes(rows: Sequence[Row]) -> list[str]:
    """The note of each letter of `marks`, what is known of the rows that have none, and what the words mean."""
    notes: dict[str, str] = {}
    plain: dict[str, list[str]] = {}
    for mark, row in zip(marks(rows), rows, strict=True):
        if row.origin and mark:
            notes.setdefault(mark, f"{mark}: {row.label}: {_found(row, row.origin)}; {row.origin.note}.")
        elif row.origin:
            exact = _exact(row, row.origin)
            plain.setdefault(row.origin.sure, []).append(f"[{row.ref}]" + f" as {exact}" * bool(exact))
    found = list(notes.values())
    if plain:
        parts = [f"{word}: {', '.join(dict.fromkeys(plain[sure]))}" for sure, word in _SURE.items() if sure in plain]
        found.append(f"No letter: as in the cited work; {'; '.join(parts)}.")
    return [*found, _LEGEND] if found else []


def bibliography(rows: Sequence[Row], references: Mapping[str, Reference]) -> str:
    """The works that rows cite, in the order of their numbers, on one line; "" if there are none."""
    used = {row.ref for row in rows}
    return "; ".join(f"[{ref}] {one.cite}" for ref, one in references.items() if ref in used)


def origin_words(row: Row) -> str:
    """What a row's cited work has in its place, how sure that is, and the note; "unknown" if the row does not say."""
    if row.origin is None:
        return "unknown"
    note = f"; {row.origin.note}" if row.origin.note else ""
    number = "" if _exact(row, row.origin) or row.origin.prints is None else f"{row.origin.prints}, "
    return f"{number}{_found(row, row.origin)}{note}"


def _found(row: Row, origin: Origin) -> str:
    """What the cited work has in this row's place, and how sure that is."""
    exact = _exact(row, origin)
    if origin.prints is None:
        words = "not in the cited work"
    else:
        words = f"{exact} in the cited work" if exact else "as in the cited work"
    return f"{words} ({_SURE[origin.sure]})"


def _exact(row: Row, origin: Origin) -> str:
    """The cited work's number where it is not the row's to the last digit: rounded, or quoted otherwise; else ""."""
    if origin.prints is None or origin.prints == row.value:
        return ""
    return f"{origin.prints:.{origin.decimals}f}"


def _letters() -> Iterator[str]:
    """From a to z, then from aa to zz."""
    for length in itertools.count(1):
        for letters in itertools.product(string.ascii_lowercase, repeat=length):
            yield "".join(letters)
