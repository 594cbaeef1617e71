"""The method of a run: its own entry, its parameters, and what a scale or the command line lays over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tksbench.recipe.errors import Problem, suggest
from tksbench.recipe.outside import check_outside, parameters
from tksbench.recipe.schema import METHODS, CustomMethod
from tksbench.recipe.shape import child, items, part_of
from tksbench.recipe.yamltree import Node

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def with_method(root: Node, tree: Node, scale_node: Node, overrides: Sequence[Node], problems: list[Problem]) -> Node:
    """Replace the name under `method` by that method's own entry, and lay scale and overrides on it.

    Args:
        root: The recipe, for its `methods`.
        tree: The run with its protocol, the scale and the overrides of its other parts.
        scale_node: The scale, for its `method`.
        overrides: Words of the command line, for their `method`.
        problems: Gets what is wrong.
    """
    named = tree.get("method")
    if named is None or not isinstance(named.value, str):
        problems.append(Problem((named or tree).where, "method: expected the name of a method"))
        return _stand_in(tree)
    presets = dict(items(root.get("methods")))
    preset = presets.get(named.value)
    if preset is None and named.value not in METHODS and ":" not in named.value:
        known = {*presets, *METHODS}
        problems.append(Problem(named.where, f"unknown method '{named.value}'; {suggest(named.value, known)}"))
        return _stand_in(tree)
    method = Node({"name": Node(named.value, named.where)}, (preset or named).where)
    for own in (preset, tree.get("params")):
        if own is not None and not isinstance(own.value, dict):
            got = "nothing" if own.value is None else repr(own.plain())
            message = f"method '{named.value}': expected parameters as keys and values ({{}} for none), got {got}"
            problems.append(Problem(own.where, message))
        elif own is not None:
            method = method.merged(own)
    for layer in (scale_node.get("method"), *(extra.get("method") for extra in overrides)):
        method = method.merged(_accepted(method, layer, problems)) if layer else method
    problems += check_outside(method)
    parts = {key: node for key, node in items(tree) if key != "params"}
    return Node({**parts, "method": method}, tree.where)


def _stand_in(tree: Node) -> Node:
    """The run with a method that exists, so that what else is wrong with it is told as well."""
    name = Node({"name": Node("baseline", tree.where)}, tree.where)
    return Node({**{key: node for key, node in items(tree) if key != "params"}, "method": name}, tree.where)


def _accepted(method: Node, layer: Node, problems: list[Problem]) -> Node:
    """The part of an overlay that a method takes: an overlay is for every method, each takes what it has."""
    name = str(method.plain().get("name"))
    kind = METHODS.get(name, CustomMethod if ":" in name else None)
    kinds = (*METHODS.values(), *([kind] if kind else []))
    known = {"kwargs"} | {field for other in kinds for field in other.model_fields if field != "name"}
    if not isinstance(layer.value, dict):
        message = "method: takes parameters (method.alpha=0.5); which methods run is chosen with --only"
        problems.append(Problem(layer.where, message))
    for key, node in items(layer):
        if kind is not None and key not in known:
            problems.append(Problem(node.where, f"method.{key}: unknown key; {suggest(key, known)}"))
    if kind is None:
        return layer
    taken = part_of(layer, known & set(kind.model_fields))
    arguments, takes = taken.get("kwargs"), parameters(name) if kind is CustomMethod else None
    if arguments is None or takes is None or not isinstance(arguments.value, dict):
        return taken
    return Node({**dict(items(taken)), "kwargs": part_of(arguments, takes)}, taken.where)


def unused_arguments(overrides: Sequence[Node], methods: Sequence[CustomMethod]) -> Iterator[Problem]:
    """Arguments on the command line, `method.kwargs.KEY=VALUE`, that no method of the recipe takes.

    Args:
        overrides: Words of the command line.
        methods: All methods from outside that the recipe's runs have.
    """
    given = [argument for word in overrides for argument in items(child(word, "method", "kwargs"))]
    taken = {key for method in methods for key in method.kwargs}
    known = {key for method in methods for key in parameters(method.name) or ()}
    for key, node in given:
        if key not in taken:
            reason = f"no method here has such a parameter; {suggest(key, known)}" if known else "no method here has it"
            if not methods:
                reason = "is for methods from outside (module:function), and this recipe has none"
            yield Problem(node.where, f"method.kwargs.{key}: {reason}")
