"""Imports of the package run one way, in no circle, and no module is too long to be read at a sitting."""

from __future__ import annotations

import ast
import graphlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[1] / "tksbench"
# Each may import those before it. Modules and packages of one line know nothing of each other.
ORDER = (
    {"atomic", "component", "devices", "errors", "exits", "process", "progress", "text", "version"},
    {"cli", "metrics"},
    {"recipe", "snn"},
    {"data", "runs"},
    {"systems"},
    {"estimate", "train"},
    {"launch", "report"},
    {"diff", "doctor", "rerun", "tables"},
    {"__main__", "tksbench"},  # the command, and the package's front
)
MOST_LINES = 400


@cache
def modules() -> dict[str, Path]:
    """All modules of the package by their dotted names."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> dict[str, set[str]]:
    """What each module imports of the package, at once or later, but for what type checkers alone read."""
    return {name: set(_imported(ast.parse(path.read_text()))) & set(modules()) for name, path in modules().items()}


def _imported(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            names = [f"{child.module}.{alias.name}" for alias in child.names]
            yield from (name if name in modules() else str(child.module) for name in names)
        else:
            yield from _imported(child)


def _place(module: str) -> int:
    part = module.split(".")[1] if "." in module else module
    return next(number for number, line in enumerate(ORDER) if part in line)


def test_imports_run_one_way() -> None:
    def apart(one: str, other: str) -> bool:
        return one.split(".")[:2] != other.split(".")[:2]

    up = [f"{one} imports {other}" for one, found in imports().items() for other in found if apart(one, other)
          and _place(other) >= _place(one)]  # fmt: skip
    assert up == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    try:
        graphlib.TopologicalSorter(imports()).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_no_module_is_too_long() -> None:
    lines = {name: path.read_text().count("\n") for name, path in modules().items()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
