"""YAML read as a tree in which every value remembers its line.

Scalars follow the YAML 1.2 core schema, not PyYAML's 1.1: `1e-3` is a number, `no` and `on` are
text, `12:30` is text and `010` is ten. Nothing but mappings, sequences and scalars is built, so a
recipe can run no code.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, ClassVar

import yaml

from tksbench.recipe.catalogue import SLOTS
from tksbench.recipe.errors import Problem, RecipeError

if TYPE_CHECKING:
    from pathlib import Path

MAX_DEPTH = 20
MAX_NODES = 20_000  # counted after alias expansion, so that a "billion laughs" file stops early
MAX_BYTES = 1_000_000

_NULL = re.compile(r"^(~|null|Null|NULL|)$")
_BOOL = re.compile(r"^(true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^[-+]?[0-9]+$")
_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")

_TAGS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str"))

Scalar = str | int | float | bool | None


class Node:
    """A value and the place it came from; mappings hold nodes by key, sequences hold nodes in order."""

    __slots__ = ("value", "where")

    def __init__(self, value: dict[str, Node] | list[Node] | Scalar, where: str) -> None:
        self.value = value
        self.where = where

    def plain(self) -> Any:
        """The value without places: dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def get(self, key: str) -> Node | None:
        """The child of a mapping, or None."""
        return self.value.get(key) if isinstance(self.value, dict) else None

    def merged(self, over: Node) -> Node:
        """This node with `over` laid on it: mappings merge key by key, anything else is replaced."""
        if not (isinstance(self.value, dict) and isinstance(over.value, dict)):
            return over
        out = dict(self.value)
        for key, node in over.value.items():
            if key in out and out[key].is_none_of(key, node):
                continue
            out[key] = out[key].named(key).without_own(key, node).merged(node) if key in out else node
        return Node(out, self.where)

    def is_none_of(self, key: str, over: Node) -> bool:
        """Whether this says that there is no component, and `over` has parameters for one, but no name."""
        return key in SLOTS and self.value is None and isinstance(over.value, dict) and "name" not in over.value

    def named(self, key: str) -> Node:
        """A component that is written as its name alone, as a mapping, so that parameters can be laid on it."""
        alone = key in SLOTS and SLOTS[key].alone and isinstance(self.value, str)
        return Node({"name": self}, self.where) if alone else self

    def without_own(self, key: str, over: Node) -> Node:
        """A component that gives way to one of another name: what is left are the keys that all of its kind have."""
        new, old = over.get("name"), self.get("name")
        if key not in SLOTS or not isinstance(self.value, dict) or new is None:
            return self
        if new.value == (old.value if old else SLOTS[key].default):
            return self
        if all(name.value in SLOTS[key].flat for name in (new, old or new)):  # whose parameters are the same
            return self
        kept = {word: node for word, node in self.value.items() if word in SLOTS[key].common}
        return Node(kept, self.where)


def scalar(text: str) -> Scalar:
    """Resolve a plain scalar by the YAML 1.2 core schema."""
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text.lower() == "true"
    if _INT.match(text):
        return int(text) if len(text) < 20 else text
    return float(text) if _FLOAT.match(text) else text


class _TextLoader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """Composes nodes with no implicit types: `scalar` decides what a plain word means."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


class _Builder:
    def __init__(self, source: str) -> None:
        self.source = source
        self.nodes = 0

    def at(self, node: yaml.Node) -> str:
        return f"{self.source}:{node.start_mark.line + 1}"

    def build(self, node: yaml.Node, where: str, depth: int = 0) -> Node:
        self.nodes += 1
        if depth > MAX_DEPTH or self.nodes > MAX_NODES:
            raise RecipeError([Problem(where, f"nested deeper than {MAX_DEPTH} or more than {MAX_NODES} values")])
        if node.tag not in _TAGS:
            raise RecipeError([Problem(where, f"YAML tag {node.tag!r} is not allowed here")])
        if isinstance(node, yaml.MappingNode):
            return Node(self._mapping(node, depth), where)
        if isinstance(node, yaml.SequenceNode):
            return Node([self.build(item, self.at(item), depth + 1) for item in node.value], where)
        plain = isinstance(node, yaml.ScalarNode) and node.style not in ("'", '"', "|", ">")
        return Node(scalar(node.value) if plain else str(node.value), where)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Node]:
        out: dict[str, Node] = {}
        for key_node, value_node in node.value:
            where = self.at(key_node)
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                raise RecipeError([Problem(where, "a key must be a plain word")])
            if key in out:
                raise RecipeError([Problem(where, f"{key}: given twice (first at {out[key].where})")])
            out[key] = self.build(value_node, where, depth + 1)
        return out


def _check_depth(text: str, source: str) -> None:
    """Refuse a text that is nested too deep, without following it down."""
    depth = 0
    for event in yaml.parse(text, Loader=_TextLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise RecipeError([Problem(f"{source}:{line}", f"nested deeper than {MAX_DEPTH}")])


@functools.lru_cache(maxsize=64)  # recipes that runs are taken from, or start from, are named by several others
def parse(text: str, source: str) -> Node:
    """Read YAML text into a tree, which is not changed by whoever gets it.

    Args:
        text: The document.
        source: Its name for error messages, usually the file's path.

    Raises:
        RecipeError: If it is no YAML, holds tags or duplicate keys, or is too deep or too large.
    """
    if len(text) > MAX_BYTES:
        raise RecipeError([Problem(f"{source}:1", f"larger than {MAX_BYTES:,} bytes: not a recipe")])
    try:
        _check_depth(text, source)  # composing is recursive, in C: too deep a file would end the process
        root = yaml.compose(text, Loader=_TextLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else 1
        raise RecipeError([Problem(f"{source}:{line}", f"not valid YAML: {error.problem}")]) from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise RecipeError([Problem(f"{source}:1", f"not valid YAML: {str(error).splitlines()[0]}")]) from None
    if root is None:
        return Node({}, f"{source}:1")
    return _Builder(source).build(root, f"{source}:1")


def _recipes_in(folder: Path) -> list[str]:
    """Recipes of a folder and of `recipes/` in it, as one would name them from there."""
    found = (*folder.glob("*.yaml"), *folder.glob("recipes/*.yaml"))
    return sorted(path.relative_to(folder).as_posix() for path in found if not path.name.startswith("."))


def read(path: Path) -> Node:
    """Read a YAML file into a tree; see `parse`.

    Raises:
        RecipeError: As `parse`, or if the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = ", ".join(_recipes_in(path.parent)) or "none"
        raise RecipeError([Problem(str(path), f"no such file; recipes here: {near}")]) from None
    except IsADirectoryError:
        raise RecipeError(
            [Problem(str(path), "is a folder; name a recipe in it, for example recipes/cifar10.yaml")]
        ) from None
    except (OSError, ValueError) as error:  # no UTF-8, or no name of a file
        raise RecipeError([Problem(str(path).replace("\0", "\\0"), f"cannot be read: {error}")]) from None
    return parse(text, str(path))
