"""Components from outside the project, `module:name`: found, read and hashed by their file, never imported here.

What one computes is part of a run's identity, so the hash of its source file is in the spec: an edited loss is another
method, with runs of its own.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from tksbench.recipe.catalogue import SLOTS, load
from tksbench.recipe.catalogue import kind as kind_of_component
from tksbench.recipe.errors import Problem, suggest
from tksbench.recipe.explain import complaints, explain
from tksbench.recipe.shape import child, items, part_of
from tksbench.recipe.signature import UNREADABLE, Definition, Holds, Signature, parse, signature
from tksbench.recipe.source import source_file
from tksbench.recipe.yamltree import Node

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

# Where components stand in a run; `method` has its own rules.
_PLACES = (
    *(("data",), ("data", "augment"), ("model",), ("model", "neuron"), ("model", "norm"), ("mix",), ("optim",)),
    *(("model", "neuron", "surrogate"), ("model", "encoder")),
    *(("optim", "schedule"), ("start", "convert"), ("features",), ("classifier",)),
)
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def with_components(tree: Node, problems: list[Problem]) -> Node:
    """A run with a name for each component that is given parameters alone; those from outside are checked.

    Args:
        tree: The run.
        problems: Gets what is wrong.
    """
    for *outer, slot in _PLACES:
        one = child(tree, *outer, slot) or Node(None, tree.where)
        if isinstance(one.value, str) and ":" in one.value:
            one = one.named(slot)
        if not isinstance(one.value, dict):
            continue
        if SLOTS[slot].default:
            one = Node({"name": Node(SLOTS[slot].default, one.where), **one.value}, one.where)
        one, wrong = check_outside(slot, one, ".".join((*outer, slot)))
        problems += wrong
        tree = _put(tree, (*outer, slot), one)
    return tree


def _put(tree: Node, keys: Sequence[str], node: Node) -> Node:
    """The tree with another node at a path of keys."""
    inner = child(tree, keys[0])
    new = node if len(keys) == 1 or inner is None else _put(inner, keys[1:], node)
    return Node({**dict(items(tree)), keys[0]: new}, tree.where)


def check_outside(slot: str, one: Node, key: str) -> tuple[Node, list[Problem]]:
    """Hold a component from outside against the text of its file; one of the project's own is left as it is.

    Args:
        slot: What it is for.
        one: Name and parameters, as a recipe has them.
        key: Where it stands, dotted.

    Returns:
        The component without the parameters that it does not have, and what is wrong.
    """
    name = one.get("name")
    if name is None or not (isinstance(name.value, str) and ":" in name.value):
        return one, []
    called = f"{slot} '{name.value}'"
    if not _NAME.fullmatch(name.value):
        return one, [Problem(name.where, f"{called}: one from outside is written module:name")]
    path = source_file(name.value)
    if path is None:
        module = name.value.partition(":")[0]
        hint = "install it, or use python -m tksbench.launch in the folder that holds it"
        return one, [Problem(name.where, f"{called}: there is no module '{module}' with a source file; {hint}")]
    function = name.value.partition(":")[2]
    try:
        tree = parse(path)
    except UNREADABLE as error:
        reason = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else str(error)
        return one, [Problem(name.where, f"{called}: {path} is no Python that can be read: {reason}")]
    if not _times_bound(tree, function.partition(".")[0]) and not _times_bound(tree, "__getattr__"):
        defined = [node.name for node in tree.body if isinstance(node, Definition)]
        return one, [Problem(name.where, f"{called}: {path} has no '{function}'{_hint(function, defined)}")]
    found = _defined(tree, function)
    taken = signature(tree, found, SLOTS[slot].given, SLOTS[slot].by_position(found)) if found else None
    if found is None or taken is None:
        return one, []
    if isinstance(found, ast.FunctionDef):
        positional = [*found.args.posonlyargs, *found.args.args]
        if len(positional) < SLOTS[slot].positional and found.args.vararg is None:
            message = f"{called} takes {len(positional)} positional, but is given {SLOTS[slot].positional}"
            return one, [Problem(name.where, message)]
    return _check_parameters(slot, called, one, key, taken)


def _check_parameters(slot: str, called: str, one: Node, key: str, taken: Signature) -> tuple[Node, list[Problem]]:
    """Hold what a recipe says of a component, beside its name or as its `kwargs`, against what it takes."""
    said = ("name", "kwargs", "source", "code", *SLOTS[slot].common)
    problems, kept, given = list[Problem](), dict[str, Node](), dict[str, Node]()
    beside = {word: node for word, node in items(one) if word not in said}
    for prefix, group in ((f"{key}.kwargs", dict(items(one.get("kwargs")))), (key, beside)):
        for word, node in group.items():
            if word not in taken.fields and not (taken.anything and word not in taken.given):
                message = f"{called} has no such parameter{_hint(word, taken.fields)}"
                problems.append(Problem(node.where, f"{prefix}.{word}: {message}"))
                continue
            given[word] = node
            kind, _ = taken.fields.get(word, (None, None))
            if isinstance(kind, Holds):
                wrong = list(_held(kind.slot, node, f"{prefix}.{word}"))
                problems += wrong
                kept |= {word: node} if group is beside and not wrong else {}
                continue
            try:
                TypeAdapter(Any if kind is None else kind).validate_python(node.plain(), strict=True)
            except ValidationError as error:
                problems += (Problem(node.where, f"{prefix}.{word}: {words}") for words in complaints(error))
                continue
            if group is beside:
                kept[word] = node
    for word, (_, field) in taken.fields.items():
        if field.is_required() and word not in given:
            where = (one.get("name") or one).where
            problems.append(Problem(where, f"{called} needs a value for '{word}': it has no default"))
            break
    if isinstance(kwargs := one.get("kwargs"), Node) and isinstance(kwargs.value, dict):
        kept["kwargs"] = part_of(kwargs, taken.fields if not taken.anything else kwargs.value)
    rest = {word: node for word, node in items(one) if word in said}
    return Node(rest | kept, one.where), problems


def _held(slot: str, node: Node, key: str) -> Iterator[Problem]:
    """What is wrong with a component that one from outside is given: it has to be one of this package's."""
    name = node.get("name")
    if name is None or not isinstance(name.value, str):
        yield Problem(node.where, f"{key}: expected keys and values of which one is 'name', got {node.plain()!r}")
    elif ":" in name.value:
        yield Problem(name.where, f"{key}: only the package's own components hold one from outside")
    else:
        try:
            load(slot, node.plain())
        except ValidationError as error:
            yield from explain(error, node, kind_of_component(slot, name.value), (key,))
        except ValueError as error:
            yield Problem(name.where, f"{key}: {error}")


def parameters(slot: str, name: str) -> list[str] | None:
    """Parameters that a component from outside takes by name, in order.

    Args:
        slot: What it is for.
        name: The component, `module:name`.

    Returns:
        None where the file does not say: it cannot be read, does not define the name just once and plainly, or it
        takes any keyword.
    """
    path = source_file(name) if _NAME.fullmatch(name) else None
    try:
        tree = parse(path) if path else None
    except UNREADABLE:
        return None
    found = tree and _defined(tree, name.partition(":")[2])
    taken = tree and found and signature(tree, found, SLOTS[slot].given, SLOTS[slot].by_position(found))
    return None if not taken or taken.anything else list(taken.fields)


def _defined(tree: ast.Module, name: str) -> Definition | None:
    """The definition that a call ends in; None where only running the file would show it."""
    found = {node.name: node for node in tree.body if isinstance(node, Definition)}.get(name)
    return None if found is None or found.decorator_list or _times_bound(tree, name) > 1 else found


def _hint(wrong: str, known: Collection[str]) -> str:
    return f"; {suggest(wrong, known)}" if known else ""


def _times_bound(tree: ast.Module, name: str) -> int:
    """How often a name is, or may be, bound anywhere in a module; more than once is more than its text can decide."""
    count = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            count += node.name == name
        elif isinstance(node, ast.Name):
            count += node.id == name and isinstance(node.ctx, ast.Store)
        elif isinstance(node, ast.alias):
            count += (node.asname or node.name.partition(".")[0]) in (name, "*")
    return count
