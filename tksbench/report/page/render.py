"""The page as HTML. Whatever comes from a record, a recipe or the paper is escaped by the template."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tksbench.report.cells import rounded
from tksbench.report.page.model import KINDS
from tksbench.report.page.runs import MOST_DRAWN
from tksbench.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tksbench.report.page.model import Page

_HERE = Path(__file__).parent
_WORDS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def render(page: Page) -> str:
    """Lay the page out as one file that fetches nothing.

    Its own script is let run by its hash and no other is: a record that got markup past the escaping could still not
    run any.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"slug": _slug, "number": _number, "rounded": rounded, "hours": _hours, "counted": _counted}
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(
        page=page,
        version=__version__,
        most=MOST_DRAWN,
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )


def _slug(kind: str) -> str:
    return kind.replace(" ", "-")


def _number(value: int) -> str:
    """A count in words as far as prose spells it out."""
    return _WORDS[value] if value < len(_WORDS) else f"{value:,}"


def _hours(value: float, of: str = "") -> str:
    text = f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
    return f"{text} {of}hour{'s' * (text != '1')}"


def _counted(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    return dict.fromkeys(KINDS, 0) | dict(counts)
