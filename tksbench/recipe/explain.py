"""What pydantic found wrong, in the words of a recipe's author and at the line that said it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from tksbench.recipe import catalogue
from tksbench.recipe.errors import Problem, suggest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tksbench.recipe.yamltree import Node


def explain(
    error: ValidationError, tree: Node, model: type[BaseModel], prefix: tuple[str, ...] = ()
) -> Iterator[Problem]:
    """Each of pydantic's complaints, in our words and at its line."""
    for item in error.errors(include_url=False):
        node, path = tree, list[str]()
        for part in item["loc"]:
            child = node.get(str(part))
            if child is not None:
                node = child
                path.append(str(part))
            elif part == item["loc"][-1] and item["type"] == "missing":
                path.append(str(part))
        place = ".".join((*prefix, *path))
        words = _words(item, _siblings(model, tree, item["loc"]), place)
        if words.startswith("unknown ") and node.get("name") is not None:
            node = node.get("name") or node
        key, _, rest = words.partition(" ")
        if item["type"] == "value_error" and (about := node.get(key)) is not None:  # it begins with the key
            node, place, words = about, f"{place}.{key}".lstrip("."), rest
        elif item["type"] == "value_error" and not path:  # between parts: with a key of several words
            node = _nearest(tree, key)
        yield Problem(node.where, (place + ": " if place else "") + words)


def complaints(error: ValidationError) -> Iterator[str]:
    """The same of one value, which is what is wrong."""
    for item in error.errors(include_url=False):
        yield _words(item, (), "")


def _nearest(tree: Node, dotted: str) -> Node:
    """The node at a dotted key, or the last one on the way to it."""
    for key in dotted.split("."):
        child = tree.get(key)
        if child is None:
            break
        tree = child
    return tree


def _words(item: Any, siblings: Sequence[str], place: str) -> str:
    kind, got, context = item["type"], item.get("input"), item.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key; {suggest(place.rpartition('.')[2], siblings)}"
    if kind in ("model_type", "dict_type"):
        return f"expected keys and values ({place}.KEY=VALUE), got {'nothing' if got is None else repr(got)}"
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(context.get("error", item["msg"]))
    message = (
        str(item["msg"])
        .replace("Input should be", "expected")
        .replace("a valid ", "a ")
        .replace("a integer", "a whole number")
        .replace("'miniature'", "'stand-in'")  # as people know it; records have the former word
    )
    hint = ""
    if isinstance(got, str) and kind.startswith("bool") and got.lower() in ("yes", "no", "on", "off"):
        hint = " (write true or false)"
    return f"{message}, got {got!r}{hint}"


def _siblings(model: type[BaseModel], tree: Node, loc: Sequence[Any]) -> list[str]:
    """The keys that could have stood where an error is, without the names of components."""
    node: Node | None = tree
    for part in loc[:-1]:
        node = node.get(str(part)) if node else None
        name = node.get("name") if node else None
        field = model.model_fields.get(str(part))
        if part in catalogue.SLOTS and name is not None:
            model = catalogue.kind(str(part), str(name.plain()))
        elif field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
    return [key for key in model.model_fields if key != "name" or not issubclass(model, catalogue.Component)]
