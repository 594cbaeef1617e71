"""The outline of a recipe: which keys it may have, and what kind of thing stands under each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tksbench.recipe.errors import Problem, suggest
from tksbench.recipe.schema import SCALES
from tksbench.recipe.yamltree import Node

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

PARTS = ("data", "model", "optim", "evaluation", "numerics", "mix", "kind", "start", "T", "features", "classifier")
_COMMON = ("data", "evaluation", "numerics")
KEYS = {  # what a run of each kind is made of, as a recipe has it
    "train": (*_COMMON, "model", "method", "params", "optim", "mix", "start"),
    "convert": (*_COMMON, "start", "T"),
    "classic": (*_COMMON, "features", "classifier"),
}
LENT = (*_COMMON, "execution")  # what is laid over a run and over a parent of it that is another recipe's
FIRST_SEED = 42  # the authors' seed, TKS:train_main.py
END_OF_SEEDS = 2**31
_RUN_KEYS = (*PARTS, "from", "method", "params", "name", "grid", "rows", "at")
_SCALE_KEYS = (*PARTS, "execution", "method", "only", "seeds")
_TOP_KEYS = (
    "about", "undocumented", "against", "name", "seeds", "first_seed", "protocol", "methods", "runs", "scales",
    "execution",
)  # fmt: skip
_KINDS = (("protocol", dict), ("methods", dict), ("scales", dict), ("runs", list), ("execution", dict))


def items(node: Node | None) -> list[tuple[str, Node]]:
    """The children of a mapping by key; nothing for anything else."""
    return list(node.value.items()) if node and isinstance(node.value, dict) else []


def child(node: Node | None, *keys: str) -> Node | None:
    """The node at the end of a path of keys, or None."""
    for key in keys:
        node = node.get(key) if node else None
    return node


def part_of(node: Node, keys: Collection[str]) -> Node:
    """A mapping's children with these keys, as a mapping at the same place."""
    return Node({key: part for key, part in items(node) if key in keys}, node.where)


def entries(root: Node) -> list[Node]:
    """The entries under `runs`."""
    runs = root.get("runs")
    return runs.value if runs and isinstance(runs.value, list) else []


def words(node: Node | None) -> tuple[str, ...]:
    """One text, or a list of them."""
    found = node.plain() if node else []
    return tuple(found) if isinstance(found, list) else (found,)


def sources(root: Node) -> dict[str, Node]:
    """Names of the recipes that runs are taken `from`, each with the first place that says so."""
    found: dict[str, Node] = {}
    for run in entries(root):
        axis = child(run, "grid", "from")
        named = [run.get("from"), *(axis.value if axis and isinstance(axis.value, list) else [])]
        for node in named:
            if node is not None:
                found.setdefault(str(node.plain()), node)
    return found


def check_shape(root: Node) -> Iterator[Problem]:
    """What is wrong with the outline of a recipe: unknown keys, missing ones, the wrong kind of value."""
    if not isinstance(root.value, dict):
        yield Problem(root.where, "a recipe is a mapping with the keys " + ", ".join(_TOP_KEYS))
        return
    yield from _unknown(root, _TOP_KEYS)
    own = [run for run in entries(root) if not run.get("from") and not child(run, "grid", "from")]
    for key in ("protocol", "runs"):
        if key not in root.value and (key == "runs" or own):
            yield Problem(root.where, f"the key '{key}' is missing")
    for key, kind in _KINDS:
        node = root.get(key)
        if node and not isinstance(node.value, kind):
            yield Problem(node.where, f"{key}: expected a {'list' if kind is list else 'mapping'}")
        elif node and kind is dict:
            allowed = {"protocol": (*PARTS, "method"), "scales": SCALES}.get(key)
            yield from _unknown(node, allowed, key)
    for name, scale in items(root.get("scales")):
        yield from _unknown(scale, _SCALE_KEYS, f"scales.{name}")
        yield from _count(scale.get("seeds"), f"scales.{name}.seeds")
    yield from _texts(root.get("undocumented"), "undocumented")
    yield from _texts(root.get("against"), "against")
    for run in entries(root):
        yield from _unknown(run, _RUN_KEYS, "runs")
        yield from _texts(run.get("rows"), "runs.rows")
        if (at := run.get("at")) is not None:
            yield from _unknown(at, SCALES, "runs.at")
            for name, parts in items(at):
                yield from _unknown(parts, PARTS, f"runs.at.{name}")
    for node in sources(root).values():
        if not isinstance(node.value, str):
            yield Problem(node.where, f"from: expected the file name of a recipe, got {node.plain()!r}")
    runs = root.get("runs")
    if runs and runs.value == []:
        yield Problem(runs.where, "runs: expected at least one run")
    yield from _count(root.get("seeds"), "seeds")
    yield from _seed_range(root)


def _seed_range(root: Node) -> Iterator[Problem]:
    """Seeds are whole numbers from 0 to 2**31 - 1, the last one of every scale too."""
    node = root.get("first_seed")
    first = node.value if node else FIRST_SEED
    if node and not (type(first) is int and 0 <= first < END_OF_SEEDS):
        yield Problem(node.where, f"first_seed: expected a whole number from 0 to 2**31 - 1, got {node.plain()!r}")
        return
    scales = [(f"scales.{name}.seeds", scale.get("seeds")) for name, scale in items(root.get("scales"))]
    for path, seeds in (("seeds", root.get("seeds")), *scales):
        if seeds and type(seeds.value) is int and type(first) is int and first + seeds.value > END_OF_SEEDS:
            yield Problem(seeds.where, f"{path}: {seeds.value} from first_seed {first} on go beyond 2**31 - 1")


def _texts(node: Node | None, path: str) -> Iterator[Problem]:
    if node and not (words(node) and all(isinstance(one, str) for one in words(node))):
        yield Problem(node.where, f"{path}: expected a text or a list of texts, got {node.plain()!r}")


def _count(node: Node | None, path: str) -> Iterator[Problem]:
    if node and not (type(node.value) is int and node.value >= 1):
        yield Problem(node.where, f"{path}: expected a whole number of at least 1, got {node.plain()!r}")


def _unknown(node: Node, allowed: Sequence[str] | None, path: str = "") -> Iterator[Problem]:
    if allowed is None:
        return
    if not isinstance(node.value, dict):
        yield Problem(node.where, f"{path}: expected a mapping with some of the keys {', '.join(allowed)}")
        return
    for key, value in node.value.items():
        if key not in allowed:
            dotted = f"{path}.{key}" if path else key
            yield Problem(value.where, f"{dotted}: unknown key; {suggest(key, allowed)}")
