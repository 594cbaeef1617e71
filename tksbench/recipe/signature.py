"""What a class or function takes, read in the text of its file: nothing of it is imported or run."""

from __future__ import annotations

import ast
import functools
import inspect
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from pydantic.fields import FieldInfo

UNREADABLE = (OSError, SyntaxError, ValueError, RecursionError, MemoryError)
Definition = ast.FunctionDef | ast.ClassDef
_WORDS: dict[str, Any] = {
    "bool": bool, "int": int, "float": float, "str": str, "tuple": tuple, "list": list,
    "Literal": Literal, "Annotated": Annotated, "Field": Field,
}  # fmt: skip
_PARTS = (
    ast.Expression, ast.Name, ast.Load, ast.Constant, ast.Subscript, ast.Tuple, ast.List, ast.BinOp, ast.BitOr,
    ast.Call, ast.keyword, ast.UnaryOp, ast.USub,
)  # fmt: skip


class Holds(NamedTuple):
    """The type of a parameter that holds another component, `Annotated[..., "slot"]`."""

    slot: str


class Signature(NamedTuple):
    """What a call takes by name.

    Attributes:
        about: First paragraph of the documentation.
        fields: Type and default of each parameter, as pydantic has them; the type is None where the text does not
            say it, the default is `...` where there is none.
        anything: Whether any other keyword is taken, too.
        given: Names that are given without a recipe.
    """

    about: str
    fields: dict[str, tuple[Any, FieldInfo]]
    anything: bool = False
    given: tuple[str, ...] = ()


def parse(path: Path) -> ast.Module:
    """The text of a file as a tree.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no Python; SyntaxError, RecursionError and MemoryError likewise.
    """
    return _parse(path.read_bytes())


@functools.lru_cache(maxsize=64)
def _parse(text: bytes) -> ast.Module:
    return ast.parse(text)


def signature(tree: ast.Module, made: Definition, given: Collection[str], positional: int = 0) -> Signature | None:
    """What a definition takes beside what it is always given.

    Args:
        tree: The module.
        made: A function, or a class for its `__init__`.
        given: Parameters that are no choice of a recipe.
        positional: How many parameters it is given by position.

    Returns:
        None for a class that leaves its `__init__` to a base class.
    """
    call = made
    if isinstance(made, ast.ClassDef):
        inits = [one for one in made.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
        if not inits:
            return None if made.bases else Signature(about(made), {})
        call, positional = inits[0], positional + 1
    assert isinstance(call, ast.FunctionDef)  # noqa: S101
    arguments = call.args
    ordered = [*arguments.posonlyargs, *arguments.args]
    defaults: dict[str, ast.expr | None] = dict.fromkeys(one.arg for one in ordered)
    late = ordered[len(ordered) - len(arguments.defaults) :]
    defaults |= {one.arg: value for one, value in zip(late, arguments.defaults, strict=True)}
    defaults |= {one.arg: value for one, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)}
    by_name = [*ordered[max(positional, len(arguments.posonlyargs)) :], *arguments.kwonlyargs]
    names, words = _names(tree), _described(call) | _described(made)
    fields: dict[str, tuple[Any, FieldInfo]] = {}
    for one in by_name:
        if one.arg not in given:
            default = defaults[one.arg]
            value = ... if default is None else _value(default, names)
            fields[one.arg] = (_kind(one.annotation, names), Field(value, description=words.get(one.arg)))
    always = (*given, *(one.arg for one in ordered[:positional]))
    return Signature(about(made), fields, arguments.kwarg is not None, always)


def _names(tree: ast.Module) -> dict[str, ast.expr]:
    """What a module's names stand for, of those that are assigned once, at its top."""
    found: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
            pairs = [(target, value)]
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs = list(zip(target.elts, value.elts, strict=False))
            found |= {one.id: value for one, value in pairs if isinstance(one, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found[node.target.id] = node.value
    return found


def _kind(annotation: ast.expr | None, names: dict[str, ast.expr]) -> Any:
    """The type that an annotation of plain types says, with its bounds; None for any other."""
    if annotation is None:
        return None
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return _kind(ast.parse(annotation.value, mode="eval").body, names)
    if isinstance(annotation, ast.Name) and annotation.id in _WORDS:
        return _WORDS[annotation.id]
    known = dict(_WORDS)
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Annotated":
        *_, last = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        if isinstance(last, ast.Constant) and isinstance(last.value, str):
            return Holds(last.value)
    for node in ast.walk(annotation):
        if not isinstance(node, _PARTS) or (isinstance(node, ast.Call) and ast.unparse(node.func) != "Field"):
            return None
        if isinstance(node, ast.Name) and node.id not in known:
            stands_for = _kind(names.get(node.id), {})
            if stands_for is None:
                return None
            known[node.id] = stands_for
    try:
        return eval(compile(ast.Expression(annotation), "annotation", "eval"), {"__builtins__": {}}, known)  # noqa: S307
    except Exception:  # a type that Python does not know, such as int[3]
        return None


def _value(node: ast.expr, names: dict[str, ast.expr]) -> Any:
    """A default that is written as a value, or as a name of the module for one; None for any other."""
    if isinstance(node, ast.Name) and node.id in names:
        node = names[node.id]
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def about(made: Definition) -> str:
    """First paragraph of a definition's documentation."""
    return (ast.get_docstring(made) or "").partition("\n\n")[0].replace("\n", " ")


def _described(made: Definition) -> dict[str, str]:
    """What a docstring says of each parameter, below `Args:`."""
    text = inspect.cleandoc(ast.get_docstring(made) or "")
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    if section is None:
        return {}
    entries = re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", section[1] + "\n", re.MULTILINE | re.DOTALL)
    return {name: " ".join(words.split()) for name, words in entries}


def stated(tree: ast.Module, name: str) -> dict[str, Any]:
    """Attributes that a class states in its body as plain values, those of its base classes in the module included.

    Of a function, those that the module assigns to it.
    """
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    if name not in classes:
        return _assigned(tree, name)
    found: dict[str, Any] = {}
    for base in reversed(classes[name].bases):
        found |= stated(tree, ast.unparse(base))
    for word, value in _names(ast.Module(classes[name].body, [])).items():
        with suppress(ValueError):
            found[word] = ast.literal_eval(value)
    return found


def _assigned(tree: ast.Module, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if isinstance(target, ast.Attribute) and ast.unparse(target.value) == name:
                with suppress(ValueError):
                    found[target.attr] = ast.literal_eval(node.value)
    return found
