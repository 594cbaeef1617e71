"""The method of a run: its own entry, its parameters, and what a scale or the command line lays over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tksbench.recipe import catalogue
from tksbench.recipe.errors import Problem, suggest
from tksbench.recipe.outside import check_outside, parameters
from tksbench.recipe.shape import child, entries, items, part_of
from tksbench.recipe.yamltree import Node

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tksbench.recipe.catalogue import Outside


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
    if preset is None and named.value not in catalogue.names("method") and ":" not in named.value:
        known = {*presets, *catalogue.names("method")}
        problems.append(Problem(named.where, f"unknown method '{named.value}'; {suggest(named.value, known)}"))
        return _stand_in(tree)
    method = Node({"name": Node(named.value, named.where)}, (preset or named).where)
    for own in (preset, tree.get("params")):
        if own is not None and not isinstance(own.value, dict):
            got = "nothing" if own.value is None else repr(own.plain())
            message = f"method '{named.value}': expected parameters as keys and values ({{}} for none), got {got}"
            problems.append(Problem(own.where, message))
        elif own is not None:
            method = method.merged(_beside(method, own))
    for layer in (scale_node.get("method"), *(extra.get("method") for extra in overrides)):
        method = method.merged(_beside(method, _accepted(root, method, layer, problems))) if layer else method
    method, wrong = check_outside("method", method, "method")
    problems += wrong
    parts = {key: node for key, node in items(tree) if key != "params"}
    return Node({**parts, "method": method}, tree.where)


def _stand_in(tree: Node) -> Node:
    """The run with a method that exists, so that what else is wrong with it is listed as well."""
    name = Node({"name": Node("baseline", tree.where)}, tree.where)
    return Node({**{key: node for key, node in items(tree) if key != "params"}, "method": name}, tree.where)


def _accepted(root: Node, method: Node, layer: Node, problems: list[Problem]) -> Node:
    """The part of an overlay that a method takes: an overlay is for every method, each takes what it has."""
    name = str(method.plain().get("name"))
    kinds = {one: set(catalogue.kind("method", one).model_fields) - {"name"} for one in catalogue.names("method")}
    outside = {
        one: {"kwargs", "source", *(parameters("method", one) or ())} for one in {name, *_named(root)} if ":" in one
    }
    own = (kinds | outside).get(name)
    known = {"kwargs"}.union(*kinds.values(), *outside.values())
    if not isinstance(layer.value, dict):
        message = "method: takes parameters (method.alpha=0.5); which methods run is chosen with --only"
        problems.append(Problem(layer.where, message))
    for key, node in items(layer):
        if own is not None and key not in known:
            problems.append(Problem(node.where, f"method.{key}: unknown key; {suggest(key, known)}"))
    if own is None:
        return layer
    taken = part_of(layer, own)
    arguments, takes = taken.get("kwargs"), parameters("method", name)
    if arguments is None or takes is None or not isinstance(arguments.value, dict):
        return taken
    return Node({**dict(items(taken)), "kwargs": part_of(arguments, takes)}, taken.where)


def _beside(method: Node, layer: Node) -> Node:
    """An overlay whose arguments under `kwargs` stand beside the name where the method has them there already.

    A parameter of a method from outside may be written in both places, and the one beside the name counts.
    """
    arguments = items(layer.get("kwargs"))
    beside = {key: node for key, node in arguments if method.get(key) is not None}
    if not beside:
        return layer
    kwargs = Node({key: node for key, node in arguments if key not in beside}, layer.where)
    return Node({**dict(items(layer)), "kwargs": kwargs, **beside}, layer.where)


def _named(root: Node) -> set[str]:
    """Names of the methods that a recipe's runs have."""
    named = {key for key, _ in items(root.get("methods"))}
    for run in (*entries(root), root.get("protocol")):
        axis = child(run, "grid", "method")
        nodes = (child(run, "method"), *(axis.value if axis and isinstance(axis.value, list) else ()))
        named |= {str(node.plain()) for node in nodes if node is not None}
    return named


def unused_arguments(overrides: Sequence[Node], methods: Sequence[Outside]) -> Iterator[Problem]:
    """Arguments on the command line, `method.kwargs.KEY=VALUE`, that no method of the recipe takes.

    Args:
        overrides: Words of the command line.
        methods: All methods from outside that the recipe's runs have.
    """
    given = [argument for word in overrides for argument in items(child(word, "method", "kwargs"))]
    taken = {key for method in methods for key in method.kwargs}
    known = {key for method in methods for key in parameters("method", method.name) or ()}
    for key, node in given:
        if key not in taken:
            reason = f"no method here has such a parameter; {suggest(key, known)}" if known else "no method here has it"
            if not methods:
                reason = "is for methods from outside (module:function), and this recipe has none"
            yield Problem(node.where, f"method.kwargs.{key}: {reason}")
