"""One entry under `runs` of a recipe: the points of its grid, its components, its name, and the spec that it makes."""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from tksbench.recipe.at_hand import has_a_twin
from tksbench.recipe.catalogue import outsiders
from tksbench.recipe.errors import Problem
from tksbench.recipe.execution import Execution
from tksbench.recipe.explain import explain
from tksbench.recipe.identity import component_versions
from tksbench.recipe.schema import RunSpec, kind_of
from tksbench.recipe.shape import child, items
from tksbench.recipe.source import source_digest
from tksbench.recipe.stages import kind_name
from tksbench.recipe.yamltree import Node

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NAME = re.compile(r"^[A-Za-z0-9_=,+-][A-Za-z0-9_=,.+-]*(/[A-Za-z0-9_=,+-][A-Za-z0-9_=,.+-]*)*$")
MAX_RUNS = 10_000
Part = TypeVar("Part", bound=BaseModel)


def points(run: Node, problems: list[Problem]) -> Iterator[Node]:
    """A run entry with `grid: {dotted.key: [values]}` as one entry for each point of the product."""
    axes = items(run.get("grid"))
    for key, node in axes:
        if not isinstance(node.value, list) or not node.value:
            problems.append(Problem(node.where, f"grid.{key}: expected a list of values"))
            return
    base = Node({key: node for key, node in items(run) if key != "grid"}, run.where)
    lists = [node.value for _, node in axes if isinstance(node.value, list)]
    if math.prod(map(len, lists)) > MAX_RUNS:
        problems.append(Problem(run.where, f"grid: more than {MAX_RUNS} runs"))
        return
    for point in itertools.product(*lists):
        tree = base
        for (key, _), value in zip(axes, point, strict=True):
            node = value
            for part in reversed(key.split(".")):
                node = Node({part: node}, value.where)
            tree = tree.merged(node)
        yield tree


def execution_of(root: Node, scale_node: Node, overrides: Sequence[Node], problems: list[Problem]) -> Execution:
    """How a run is executed: as the recipe says, then the scale, then the command line."""
    tree = root.get("execution") or Node({}, root.where)
    for layer in (scale_node.get("execution"), *(extra.get("execution") for extra in overrides)):
        tree = tree.merged(layer) if layer is not None else tree
    try:
        return Execution.model_validate(tree.plain())
    except ValidationError as error:
        problems += explain(error, tree, Execution, ("execution",))
        return Execution()


def validated(tree: Node, problems: list[Problem]) -> RunSpec | None:
    """The spec that a run's tree makes; None where something is wrong with it, which is added to `problems`."""
    plain = tree.plain()
    data = plain.get("data")
    if isinstance(data, dict) and data.get("source") == "auto":
        data["source"] = "twin" if has_a_twin(data.get("name")) else "real"  # that with the most to say
    try:
        spec = RunSpec.model_validate(plain)
    except ValidationError as error:
        problems += explain(error, tree, kind_of(kind_name(tree)))
        return None
    for key, one in outsiders(spec):
        source = source_digest(one.name)
        if one.digest not in (None, source):
            where = (child(tree, *key.split("."), one.hashed) or tree).where
            problems.append(Problem(where, f"{key}.{one.hashed}: {one.digest}, but the file's is {source}"))
        spec = _with_digest(spec, [*key.split("."), one.hashed], source)
    return spec.model_copy(update={"versions": component_versions(spec.components())})


def _with_digest(whole: Part, keys: Sequence[str], digest: str | None) -> Part:
    """A part of a spec with the hash of a component's file at a path of keys."""
    new = digest if len(keys) == 1 else _with_digest(getattr(whole, keys[0]), keys[1:], digest)
    return whole.model_copy(update={keys[0]: new})


def name_of(root: Node, entry: Node, tree: Node, problems: list[Problem]) -> str | None:
    """Fill the recipe's (or the run's own) name template: '{data.name}/{model.name}/{method}'."""
    node = entry.get("name") or root.get("name") or Node("{data.name}/{model.name}/{method}", root.where)
    missing: list[str] = []

    def value(match: re.Match[str]) -> str:
        found = child(tree, *match[1].split("."))
        if found is None or isinstance(found.value, dict | list):
            missing.append(match[1])
            return ""
        return str(found.plain()).replace(":", ".")  # of a method from outside, module:function

    name = re.sub(r"\{([A-Za-z0-9_.]+)\}", value, str(node.plain()))
    if missing:
        problems.append(Problem(node.where, f"name: nothing is called {{{missing[0]}}}"))
    elif not _NAME.fullmatch(name):
        problems.append(Problem(node.where, f"name: {name!r} may hold letters, digits and _=,.+- between slashes"))
    else:
        return name
    return None
