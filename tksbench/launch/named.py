"""Runs that a command line names for --status and --cancel: those that recipes ask for, and what is here of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from tksbench.launch.plan import matching, real_is_here, tidy
from tksbench.launch.standing import KnownRuns
from tksbench.recipe import expand, load_recipe
from tksbench.recipe.errors import RecipeError

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

        Raises:
            RecipeError: Anything wrong in a recipe or an override.
            LaunchError: A pattern of `only` matches nothing.
        """
        return self._collect(None)

    def known(self, ledger: Ledger) -> Callable[[], list[Run]]:
        """How to list those in a results folder: of any seed, and of any data, for there may have been other data then.

        Raises:
            RecipeError: As `asked`.
            LaunchError: As `asked`.
        """
        named = [run for real in (True, False) for run in self._collect(lambda _, real=real: real)]  # type: ignore[misc]
        ids, groups = {run.id for run in named}, {(run.group, run.scale) for run in named}
        everything = KnownRuns(ledger, self.only)

        def those() -> list[Run]:
            return [
                run
                for run in everything()
                if run.id in ids or (self.seeds is None and (run.group, run.scale) in groups)
            ]

        return those

    def _collect(self, has_real: Callable[[str], bool] | None) -> list[Run]:
        found: dict[str, Run] = {}
        refused: list[RecipeError] = []
        for recipe in map(load_recipe, map(tidy, self.recipes)):
            fits = False
            for scale in [self.scale] if self.scale else recipe.scales:
                try:
                    runs = expand(recipe, scale, self.seeds, self.overrides, cache(has_real or real_is_here))
                except RecipeError as error:  # an override need not fit every scale
                    refused.append(error)
                    continue
                fits = True
                found |= {run.id: run for run in runs if run.id not in found}
            if not fits:
                raise refused[-1]
        return matching(list(found.values()), self.only, f"scale {self.scale}" if self.scale else "any scale")
