"""Why mutants survive: each survivor falls under the first of these rules that fits, or under none."""

from __future__ import annotations

import re

UNEXPLAINED = "No reason found: a test is missing"

_WORDS = re.compile(r"""(raise |Problem\(|Error\(|message|problems|yield |hint|return f?"|told|words|suggest\()""")
# (file, what the changed lines hold before, what they hold after, why nothing can or need notice)
RULES: tuple[tuple[str, str, str, str], ...] = ()


def reason(file: str, before: str, after: str) -> str:
    """The reason of a survivor."""
    for name, old, new, why in RULES:
        if re.fullmatch(name, file) and re.search(old, before) and re.search(new, after):
            return why
    if _WORDS.search(before) and _plain(before) == _plain(after):
        return "The wording of a message, of which tests pin the part that a user acts on"
    return UNEXPLAINED


def _plain(text: str) -> str:
    """Code without the letters in its strings, and without mutmut's marks in them."""
    return re.sub(r"""f?"[^"]*"|f?'[^']*'""", '""', text).lower().replace(" ", "")
