"""A run of a recipe: its spec, its identity, and where it comes from."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tksbench.recipe.errors import Problem, RecipeError
from tksbench.recipe.execution import Execution
from tksbench.recipe.identity import run_id
from tksbench.recipe.schema import RunSpec
from tksbench.recipe.shape import FIRST_SEED

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Run:
    """One training run: what (`spec`), who it is (`id`, `group`, `name`), and where it comes from.

    `first_seed` is the recipe's: with it, the number of seeds that reaches this one is known. `rows` are the cells of
    cited works in the paper's tables that the recipe says this run stands for, `undocumented` what it says could not be
    read of such a work, `against` the run that it is compared with; all three are the recipe's of today, and no part of
    the run. `parent` is the run whose weights it starts from, as that one's recipe has it; its spec is part of this
    one's. `asked` is false for a run that is planned because another one starts from it.
    """

    id: str
    group: str
    name: str
    recipe: str
    scale: str
    seed: int
    spec: RunSpec
    execution: Execution
    overrides: tuple[str, ...] = ()
    first_seed: int = FIRST_SEED
    rows: tuple[str, ...] = field(default=(), compare=False)
    undocumented: tuple[str, ...] = field(default=(), compare=False)
    against: tuple[str, ...] = field(default=(), compare=False)
    parent: Run | None = field(default=None, compare=False, repr=False)
    asked: bool = field(default=True, compare=False)

    @functools.cached_property
    def parent_id(self) -> str | None:
        """Id of the run that this one starts from."""
        return run_id(self.spec.parent) if self.spec.parent else None

    @property
    def chain(self) -> list[Run]:
        """This run behind those that it starts from, in the order in which they are trained."""
        return [*(self.parent.chain if self.parent else ()), self]

    def to_json(self) -> dict[str, Any]:
        """Plain data for run.json; `from_json` reads it back."""
        plain = {key: getattr(self, key) for key in ("id", "group", "name", "recipe", "scale", "seed")}
        dumped = {
            "spec": self.spec.model_dump(mode="json"),
            "execution": self.execution.model_dump(mode="json"),
        }
        # At its default it stays out, as in the id: the run.json of a run under way stays what it is.
        first = {} if self.first_seed == FIRST_SEED else {"first_seed": self.first_seed}
        parent = {"parent": self.parent.to_json()} if self.parent else {}
        return {**plain, **dumped, "overrides": list(self.overrides), **first, **parent}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Run:
        """Read what `to_json` wrote.

        Raises:
            RecipeError: If a part is missing or wrong, or the spec does not hash to the id.
        """
        try:
            spec = RunSpec.model_validate(plain["spec"])
            words = {key: str(plain[key]) for key in ("id", "group", "name", "recipe", "scale")}
            execution = Execution.model_validate(plain["execution"])
            parts: dict[str, Any] = {**words, "seed": spec.seed, "spec": spec, "execution": execution}
            first = int(plain.get("first_seed", FIRST_SEED))
            parent = cls.from_json(plain["parent"]) if "parent" in plain else None
            run = cls(**parts, overrides=tuple(plain["overrides"]), first_seed=first, parent=parent)
        except (KeyError, TypeError, ValueError, OverflowError) as error:  # pydantic's ValidationError is a ValueError
            if isinstance(error, ValidationError):  # its first line counts, its first entry says what is wrong
                wrong = error.errors()[0]
                error = ValueError(f"{'.'.join(map(str, wrong['loc'])) or 'spec'}: {wrong['msg']}")
            raise RecipeError([Problem("run.json", f"not a run: {(str(error).splitlines() or ['?'])[0]}")]) from None
        if run.id != run_id(spec):
            raise RecipeError([Problem("run.json", f"the spec hashes to {run_id(spec)}, not to its id {run.id}")])
        return run
