"""What a recipe's author reads: every problem at once, each with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tksbench.errors import TksbenchError, suggest

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Problem", "RecipeError", "suggest"]


class Problem(NamedTuple):
    """One thing that is wrong: `where` is 'file:line' or the command-line override that said it."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class RecipeError(TksbenchError):
    """A recipe, or an override of one, that cannot be used.

    Attributes:
        problems: All that was found, in the order of their lines, without repeats.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(dict.fromkeys(problems), key=_line)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def _line(problem: Problem) -> int:
    """The line a problem is at; sorting is stable, so problems without one keep their order, in front."""
    line = problem.where.rpartition(":")[2]
    return int(line) if line.isdecimal() else 0
