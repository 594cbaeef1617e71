"""What pydantic found wrong, in the words of a recipe's author and at the line that said it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from tksbench.recipe.errors import Problem, suggest
from tksbench.recipe.schema import METHODS, CustomMethod

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
        words = _words(item, model, place)
        if item["type"] == "value_error" and not path:  # between parts: it begins with the key it is about
            node = _nearest(tree, words.partition(" ")[0])
        yield Problem(node.where, (place + ": " if place else "") + words)


def _nearest(tree: Node, dotted: str) -> Node:
    """The node at a dotted key, or the last one on the way to it."""
    for key in dotted.split("."):
        child = tree.get(key)
        if child is None:
            break
        tree = child
    return tree


def _words(item: Any, model: type[BaseModel], place: str) -> str:
    kind, got, context = item["type"], item.get("input"), item.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key; {suggest(place.rpartition('.')[2], _siblings(model, item['loc']))}"
    if kind in ("model_type", "dict_type"):
        return f"expected keys and values ({place}.KEY=VALUE), got {'nothing' if got is None else repr(got)}"
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(context.get("error", item["msg"]))
    if kind.startswith("union_tag"):
        name = got.get("name") if isinstance(got, dict) else got
        return f"unknown method {name!r}; {suggest(str(name), METHODS)}"
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


def _siblings(model: type[BaseModel], loc: Sequence[Any]) -> list[str]:
    if len(loc) > 1 and loc[0] == "method":
        kind: type[BaseModel] = METHODS.get(str(loc[1]), CustomMethod)
        return [name for name in kind.model_fields if name != "name"]
    for part in loc[:-1]:
        inner = model.model_fields[str(part)].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return list(model.model_fields)
