"""Methods from outside the project, `module:function`: found and hashed by their file, never imported here.

What a method computes is part of a run's identity, so the hash of its source file is in the spec: an edited loss is
another method, with runs of its own.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import re
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

from tksbench.recipe.errors import Problem, suggest
from tksbench.recipe.shape import items

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from tksbench.recipe.yamltree import Node

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def check_outside(method: Node) -> Iterator[Problem]:
    """What is wrong with a method from outside, by its name and its file; nothing for the project's own methods.

    Args:
        method: Name and parameters, as a recipe has them.
    """
    name = method.get("name")
    if name is None or not (isinstance(name.value, str) and ":" in name.value):
        return
    if not _NAME.fullmatch(name.value):
        yield Problem(name.where, f"method '{name.value}': one from outside is written module:function")
        return
    path = source_file(name.value)
    if path is None:
        module = name.value.partition(":")[0]
        hint = "install it, or use python -m tksbench.launch in the folder that holds it"
        yield Problem(name.where, f"method '{name.value}': there is no module '{module}' with a source file; {hint}")
        return
    yield from _check_call(name, method, path)


def parameters(name: str) -> list[str] | None:
    """Parameters beside (logits, target) that a method's function takes by name, in order.

    Args:
        name: The method, `module:function`.

    Returns:
        None where the file does not say: it cannot be read, does not define the function just once and plainly, or
        the function takes any keyword.
    """
    path = source_file(name) if _NAME.fullmatch(name) else None
    try:
        found = _defined(_parsed(path.read_bytes()), name.partition(":")[2]) if path else None
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return None if found is None or found.args.kwarg else _by_name(found.args)


def _check_call(name: Node, method: Node, path: Path) -> Iterator[Problem]:
    """Hold the recipe's `kwargs` against the function's parameters, as far as its file tells without being run."""
    called, function = f"method '{name.value}'", str(name.value).partition(":")[2]
    try:
        tree = _parsed(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else str(error)
        yield Problem(name.where, f"{called}: {path} is no Python that can be read: {reason}")
        return
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if not _times_bound(tree, function.partition(".")[0]) and not _times_bound(tree, "__getattr__"):
        yield Problem(name.where, f"{called}: {path} has no '{function}'{_hint(function, functions)}")
        return
    found = _defined(tree, function)
    if found is not None:
        yield from _check_parameters(called, name, method, found.args)


def _defined(tree: ast.Module, function: str) -> ast.FunctionDef | None:
    """The definition that a call of the function ends in; None where only running the file would show it."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    found = functions.get(function)
    return None if found is None or found.decorator_list or _times_bound(tree, function) > 1 else found


def _by_name(declared: ast.arguments) -> list[str]:
    """Parameters that can be given by name, without the first two, (logits, target)."""
    by_name = [*declared.args[max(0, 2 - len(declared.posonlyargs)) :], *declared.kwonlyargs]
    return [parameter.arg for parameter in by_name]


def _check_parameters(called: str, name: Node, method: Node, declared: ast.arguments) -> Iterator[Problem]:
    positional = [*declared.posonlyargs, *declared.args]
    if len(positional) < 2 and declared.vararg is None:
        yield Problem(name.where, f"{called} takes {len(positional)} positional, but is given (logits, target)")
        return
    known = _by_name(declared)
    given = dict(items(method.get("kwargs")))
    for key, node in given.items():
        if key not in known and (declared.kwarg is None or key in [one.arg for one in declared.args[:2]]):
            yield Problem(node.where, f"method.kwargs.{key}: {called} has no such parameter{_hint(key, known)}")
    with_default = [parameter.arg for parameter in positional[len(positional) - len(declared.defaults) :]]
    with_default += [one.arg for one, value in zip(declared.kwonlyargs, declared.kw_defaults, strict=True) if value]
    lacking = [parameter for parameter in known if parameter not in given and parameter not in with_default]
    if lacking:
        yield Problem(name.where, f"{called} needs a value for '{lacking[0]}': it has no default; give it in kwargs")


def _hint(wrong: str, known: Collection[str]) -> str:
    return f"; {suggest(wrong, known)}" if known else ""


@functools.lru_cache(maxsize=32)
def _parsed(source: bytes) -> ast.Module:
    return ast.parse(source)


def _times_bound(tree: ast.Module, name: str) -> int:
    """How often a name is, or may be, bound anywhere in a module; more than once is more than its text can tell."""
    count = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            count += node.name == name
        elif isinstance(node, ast.Name):
            count += node.id == name and isinstance(node.ctx, ast.Store)
        elif isinstance(node, ast.alias):
            count += (node.asname or node.name.partition(".")[0]) in (name, "*")
    return count


def source_file(name: str) -> Path | None:
    """The .py file of a method's module, or None; looks where an import would, and runs no code."""
    parts = name.partition(":")[0].split(".")
    folders: Sequence[str] | None = None
    for i in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: i + 1]), folders)
        if spec is None or (i + 1 < len(parts) and spec.submodule_search_locations is None):
            return None
        folders = spec.submodule_search_locations
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def source_digest(name: str) -> str | None:
    """SHA-256 of a method's source file, 16 hexadecimal digits as an id has; None where there is none to read."""
    path = source_file(name)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path else None
    except OSError:
        return None
