"""From a run's name, as tables use it, to the groups of records that may stand in its cell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tksbench.errors import TksbenchError
from tksbench.recipe import SCALES, Run, expand, load_recipe, suggest
from tksbench.recipe.at_hand import EVERY_DATA

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


SOURCES = {"real": "", "twin": ", twin", "miniature": ", stand-in data"}  # best first, and what follows a scale


class ReportError(TksbenchError):
    """Recipes, records or names from which no table can be made."""


@dataclass(frozen=True)
class Candidate:
    """One protocol under which a named run may have been trained: its seeds share one group.

    Attributes:
        group: Hash of the spec without its seed.
        scale: The recipe's scale.
        source: "real" data, the "twin", or the "miniature", which people know as stand-in data.
        run: The first seed's run.
        rank: Position when candidates of one name compete; the smallest with records is shown.
    """

    group: str
    scale: str
    source: str
    run: Run
    rank: int

    @property
    def stand_in(self) -> bool:
        """Whether the data are handwritten digits: its numbers stand in no table, claim or figure of the paper."""
        return self.source == "miniature"

    @property
    def twin(self) -> bool:
        """Whether the data are the data set's twin: its numbers stand in no column of the real set."""
        return self.source == "twin"

    @property
    def words(self) -> str:
        """Scale and, if they are not the data set's own, data: for people."""
        return self.scale + SOURCES[self.source]


def recipes_in(folder: Path) -> list[Path]:
    """The recipes of a folder: its own, and those of cited works in `cited/`."""
    return sorted((*folder.glob("*.yaml"), *folder.glob("cited/*.yaml")))


def recipe_files() -> list[Path]:
    """The recipes of the checkout that is the working directory.

    Raises:
        ReportError: There is none.
    """
    recipes = recipes_in(Path("recipes"))
    if not recipes:
        raise ReportError("there is no recipes/*.yaml here: run this from the checkout's root folder")
    return recipes


def candidates(recipes: Iterable[Path]) -> dict[str, list[Candidate]]:
    """All protocols of all recipes, by run name, the one closest to the paper first.

    Real data go before a twin, that before a miniature; of each, scales rank paper, budget, mini, smoke, then any
    others by name. Runs trained with command-line overrides are in no group of these, so that they never enter a cell.

    Raises:
        RecipeError: A recipe is wrong.
        ReportError: Two recipes give one name at one scale to different protocols.
    """
    found: dict[str, dict[tuple[str, str], Candidate]] = {}
    for path in sorted(recipes):
        recipe = load_recipe(path)
        scales = recipe.root.get("scales")
        for scale in scales.plain() if scales else ("paper",):
            for at_hand in EVERY_DATA:
                for run in expand(recipe, scale, 1, (), *at_hand):
                    _add(found.setdefault(run.name, {}), run)
    return {name: sorted(by_scale.values(), key=lambda c: (c.rank, c.scale)) for name, by_scale in found.items()}


def real(protocols: Iterable[Candidate]) -> list[Candidate]:
    """Those on the data set itself: what alone may be held against the paper."""
    return [candidate for candidate in protocols if candidate.source == "real"]


def telling(protocols: Iterable[Candidate]) -> list[Candidate]:
    """Those that say something of the methods: on the data set itself, and after these on its twin."""
    return [candidate for candidate in protocols if not candidate.stand_in]


def named(protocols: Mapping[str, Sequence[Candidate]]) -> dict[str, tuple[str, Candidate]]:
    """By its group, each protocol with its run's name; of a run that several recipes have, the first one's."""
    found: dict[str, tuple[str, Candidate]] = {}
    for run, several in protocols.items():
        for one in several:
            found.setdefault(one.group, (run, one))
    return found


def at_scale(protocols: Mapping[str, Sequence[Candidate]], scale: str | None) -> dict[str, list[Candidate]]:
    """Those of one scale, under all names; all of them for None."""
    return {name: [one for one in found if scale in (None, one.scale)] for name, found in protocols.items()}


def check_scale(scale: str | None, protocols: Mapping[str, Sequence[Candidate]]) -> None:
    """Refuse a scale that no recipe has; None passes.

    Raises:
        ReportError: It is none.
    """
    known = {candidate.scale for found in protocols.values() for candidate in found}
    if scale is not None and scale not in known:
        raise ReportError(f"--scale {scale}: no recipe has such a scale; {suggest(scale, known)}")


def _add(by_scale: dict[tuple[str, str], Candidate], run: Run) -> None:
    source = run.spec.data.source
    scale = SCALES.index(run.scale) if run.scale in SCALES else len(SCALES)
    rank = scale + (len(SCALES) + 1) * list(SOURCES).index(source)
    candidate = Candidate(run.group, run.scale, source, run, rank)
    key = (run.scale, source)
    other = by_scale.setdefault(key, candidate)
    if Path(run.recipe).stem == run.spec.data.name:  # the data set's own recipe is the one to point people to
        by_scale[key] = candidate
    if other.group != run.group:
        raise ReportError(
            f"{run.recipe} and {other.run.recipe} both have a run '{run.name}' at scale {run.scale}, but not the same: "
            "rename one, or make them equal"
        )
