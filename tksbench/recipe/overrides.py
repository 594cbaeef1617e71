"""Words of the command line that change values of a recipe: how they are read, and which runs take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tksbench.recipe.errors import Problem, RecipeError, suggest
from tksbench.recipe.execution import Execution
from tksbench.recipe.schema import TrainSpec
from tksbench.recipe.shape import KEYS, PARTS
from tksbench.recipe.yamltree import Node, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tksbench.recipe.run import Run

_NAMED = 3  # runs, in a note


def place(word: str) -> str:
    """Where messages say that an override stands; the places of its values begin so."""
    return f"command line '{word}'"


def override(word: str) -> Node:
    """`optim.epochs=3` as a tree, placed at the command line.

    Raises:
        RecipeError: It is not written so, or no recipe has such a part.
    """
    where = place(word)
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise RecipeError([Problem(where, "an override is written KEY=VALUE, for example optim.epochs=3")])
    try:
        value = parse(text, where)
    except RecipeError as error:
        raise RecipeError([Problem(where, error.problems[0].message)]) from None
    node = Node(None if not text.strip() else value.value, where)
    for part in reversed(key.split(".")):
        node = Node({part: node}, where)
    top = key.split(".")[0]
    if top not in (*PARTS, "method", "execution"):
        whole = " or ".join(_written_in_full(key))
        near = f"did you mean {whole}?" if whole else suggest(top, (*PARTS, "method", "execution"))
        message = f"unknown key '{key}'; {near}"
        if top == "seed":
            message = "seeds are chosen with --seeds N"
        raise RecipeError([Problem(where, message)])
    return node


def _written_in_full(key: str) -> list[str]:
    """The keys of a trained run, or of its execution, that end in this one.

    >>> _written_in_full("epochs"), _written_in_full("batch_size")
    (['optim.epochs'], ['evaluation.batch_size', 'optim.batch_size'])
    """
    parts = {part: getattr(field.annotation, "model_fields", {}) for part, field in TrainSpec.model_fields.items()}
    return [f"{part}.{key}" for part, keys in (parts | {"execution": Execution.model_fields}).items() if key in keys]


def taken(tree: Node, overrides: Sequence[Node]) -> frozenset[str]:
    """The places of those overrides that a run takes: a value of it is theirs, or they are about its execution.

    Args:
        tree: The run, everything merged, without what its kind and its components do not have.
        overrides: From `override`.
    """
    places = set(_places(tree)) if overrides else set[str]()
    inner = {where.removesuffix(f":{where.rpartition(':')[2]}") for where in places}  # of a value that is a mapping
    words = (word for word in overrides if word.get("execution") is not None or word.where in places | inner)
    return frozenset(word.where for word in words)


def _places(node: Node) -> Iterator[str]:
    """The places of all values in a tree."""
    if isinstance(node.value, dict):
        for part in node.value.values():
            yield from _places(part)
    else:
        yield node.where


def check_taken(overrides: Sequence[str], runs: Sequence[Run]) -> None:
    """Refuse an override that changes none of the runs that are asked for.

    Args:
        overrides: Words of the command line.
        runs: The runs.

    Raises:
        RecipeError: With each such word. One that a later word replaces is none.
    """
    problems = []
    for number, word in enumerate(overrides):
        key = word.partition("=")[0]
        later = [other.partition("=")[0] for other in overrides[number + 1 :]]
        if any(f"{key}.".startswith(f"{other}.") for other in later) or any(word in run.overrides for run in runs):
            continue
        top, kinds = key.split(".")[0], sorted({run.spec.kind for run in runs})
        message = f"no run here has {key}"
        if not any(top in KEYS[kind] for kind in kinds):
            has = (f"one of kind '{kind}' has {', '.join(k for k in KEYS[kind] if k != 'params')}" for kind in kinds)
            message += f"; {'; '.join(has)}"
        problems.append(Problem(place(word), message))
    if problems:
        raise RecipeError(problems)


def partly_taken(overrides: Sequence[str], runs: Sequence[Run]) -> Iterator[str]:
    """A note for each override that some of the runs do not have.

    Args:
        overrides: Words of the command line.
        runs: The runs.
    """
    for word in dict.fromkeys(overrides):
        without = list(dict.fromkeys(run.name for run in runs if word not in run.overrides))
        if without and any(word in run.overrides for run in runs):
            more = f" and {len(without) - _NAMED} more" if len(without) > _NAMED else ""
            yield f"{word} changes nothing of {', '.join(without[:_NAMED])}{more}"
