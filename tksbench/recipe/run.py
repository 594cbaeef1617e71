"""A run of a recipe: its spec, its identity, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tksbench.recipe.errors import Problem, RecipeError
from tksbench.recipe.identity import run_id
from tksbench.recipe.schema import Execution, RunSpec
from tksbench.recipe.shape import FIRST_SEED

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Run:
    """One training run: what (`spec`), who it is (`id`, `group`, `name`), and where it comes from.

    `first_seed` is the recipe's: with it, the number of seeds that reaches this one is known. `rows` are the cells of
    cited works in the paper's tables that the recipe says this run stands for, `undocumented` what it says could not be
    read of such a work, `against` the run that it is compared with; all three are the recipe's of today, and no part of
    the run.
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

    def to_json(self) -> dict[str, Any]:
        """Plain data for run.json; `from_json` reads it back."""
        plain = {key: getattr(self, key) for key in ("id", "group", "name", "recipe", "scale", "seed")}
        dumped = {
            "spec": self.spec.model_dump(mode="json"),
            "execution": self.execution.model_dump(mode="json"),
        }
        # At its default it stays out, as in the id: the run.json of a run under way stays what it is.
        first = {} if self.first_seed == FIRST_SEED else {"first_seed": self.first_seed}
        return {**plain, **dumped, "overrides": list(self.overrides), **first}

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
            run = cls(**parts, overrides=tuple(plain["overrides"]), first_seed=first)
        except (KeyError, TypeError, ValueError, OverflowError) as error:  # pydantic's ValidationError is a ValueError
            if isinstance(error, ValidationError):  # its first line counts, its first entry says what is wrong
                wrong = error.errors()[0]
                error = ValueError(f"{'.'.join(map(str, wrong['loc'])) or 'spec'}: {wrong['msg']}")
            raise RecipeError([Problem("run.json", f"not a run: {(str(error).splitlines() or ['?'])[0]}")]) from None
        if run.id != run_id(spec):
            raise RecipeError([Problem("run.json", f"the spec hashes to {run_id(spec)}, not to its id {run.id}")])
        return run
