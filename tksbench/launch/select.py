"""Runs that a command line names for --status and --cancel: those that recipes ask for, and what is here of them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING

from tksbench.errors import TksbenchError
from tksbench.launch.plan import matching, real_is_here, tidy, twin_is_here
from tksbench.recipe import expand, load_recipe
from tksbench.recipe.at_hand import EVERY_DATA, AtHand
from tksbench.recipe.errors import RecipeError
from tksbench.recipe.overrides import check_taken
from tksbench.runs.unknown import condensed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tksbench.recipe import Run
    from tksbench.runs import Ledger


@dataclass(frozen=True)
class Naming:
    """The words of a command line that name runs.

    Attributes:
        recipes: Paths of recipe files.
        scale: A scale; None for all that the recipes have.
        seeds: Seeds a cell; None for all that were ever asked for.
        overrides: `key=value` words.
        only: Shell patterns, one of which a run's name has to match; none takes all runs.
    """

    recipes: Sequence[str]
    scale: str | None = None
    seeds: int | None = None
    overrides: Sequence[str] = ()
    only: Sequence[str] = ()

    def asked(self) -> list[Run]:
        """The runs that a launch with these words would train on this machine's data, at each scale meant.

        Without a recipe there are none.

        Raises:
            RecipeError: Anything wrong in a recipe or an override.
            LaunchError: A pattern of `only` matches nothing.
        """
        return self._collect(AtHand(cache(real_is_here), cache(twin_is_here))) if self.recipes else []

    def known(self, ledger: Ledger) -> KnownRuns:
        """Those in a results folder: of any seed, and of any data, for there may have been other data then.

        Without a recipe, all runs in it.

        Raises:
            RecipeError: As `asked`.
            LaunchError: As `asked`.
        """
        if not self.recipes:
            known = KnownRuns(ledger, self.only)
            matching(known(), self.only, str(ledger.root))
            return known
        named = [run for data in EVERY_DATA for run in self._collect(data)]
        ids, groups = {run.id for run in named}, {(run.group, run.scale) for run in named}
        any_seed = self.seeds is None
        return KnownRuns(
            ledger, self.only, lambda run: run.id in ids or (any_seed and (run.group, run.scale) in groups)
        )

    def _collect(self, at_hand: AtHand) -> list[Run]:
        found: dict[str, Run] = {}
        refused: list[RecipeError] = []
        for recipe in map(load_recipe, map(tidy, self.recipes)):
            fits = False
            for scale in [self.scale] if self.scale else recipe.scales:
                try:
                    runs = expand(recipe, scale, self.seeds, self.overrides, *at_hand)
                except RecipeError as error:  # an override need not fit every scale
                    refused.append(error)
                    continue
                fits = True
                found |= {run.id: run for run in runs if run.id not in found}
            if not fits:
                raise refused[-1]
        chosen = matching(list(found.values()), self.only, f"scale {self.scale}" if self.scale else "any scale")
        check_taken(self.overrides, chosen)
        return chosen


class KnownRuns:
    """The runs prepared in a results folder; each is read once, directories that are none are passed over.

    Args:
        ledger: The results folder.
        only: Shell patterns, one of which a run's name has to match; none takes all runs.
        wanted: Which of these to list; None takes all.
    """

    def __init__(self, ledger: Ledger, only: Sequence[str] = (), wanted: Callable[[Run], bool] | None = None) -> None:
        self._ledger, self._only, self._wanted = ledger, only, wanted
        self._read: dict[str, Run | None] = {}

    def __call__(self) -> list[Run]:
        """Those there now; says on standard error, once, which cannot be read."""
        runs, problems = [], list[str]()
        for run_dir in self._ledger.run_dirs():
            if run_dir.id not in self._read:
                try:
                    self._read[run_dir.id] = self._ledger.load_run(run_dir)
                except TksbenchError as error:
                    self._read[run_dir.id] = None
                    problems.append(f"{run_dir.path}: {error}")
            run = self._read[run_dir.id]
            if run is None or (self._wanted and not self._wanted(run)):
                continue
            if not self._only or any(fnmatchcase(run.name, pattern) for pattern in self._only):
                runs.append(run)
        for problem in condensed(problems):
            sys.stderr.write(f"tksbench: warning: {problem}\n")
        return sorted(runs, key=lambda run: (run.name, run.scale, run.seed))
