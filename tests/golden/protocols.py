"""Identities of the committed protocols, kept as data: `python -m tests.golden.protocols` writes those of today.

A row that differs is a run that would be trained anew, and a record that nothing finds: rows are added for new
protocols, and never changed.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from tksbench.recipe import SCALES, Run, expand, load_recipe
from tksbench.recipe.at_hand import EVERY_DATA

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("protocols.csv")


class Protocol(NamedTuple):
    """A run at a scale with the recipe's first seed; smoke runs on a twin or a miniature have rows of their own."""

    scale: str
    name: str
    id: str
    group: str


def runs_of_today() -> list[Run]:
    """All runs of all committed recipes at all scales, with real data, with twins and with miniatures."""
    recipes = [load_recipe(path) for path in sorted((ROOT / "recipes").glob("**/*.yaml"))]
    return [
        run
        for recipe in recipes
        for scale in SCALES
        for at_hand in EVERY_DATA
        for run in expand(recipe, scale, 1, (), *at_hand)
    ]


def protocols_of_today() -> set[Protocol]:
    """Identities of `runs_of_today`."""
    return {Protocol(run.scale, run.name, run.id, run.group) for run in runs_of_today()}


def kept_protocols() -> set[Protocol]:
    """The rows of the file."""
    with FILE.open(newline="", encoding="utf-8") as file:
        return {Protocol(**row) for row in csv.DictReader(file)}


if __name__ == "__main__":
    with FILE.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(Protocol._fields)
        rows.writerows(sorted(protocols_of_today()))
