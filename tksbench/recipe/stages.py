"""Runs that start from another run's weights: which one a recipe names, and what each kind of run is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from tksbench.recipe.errors import Problem, RecipeError, suggest
from tksbench.recipe.schema import KINDS, TrainSpec
from tksbench.recipe.shape import KEYS, PARTS, child, items
from tksbench.recipe.yamltree import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tksbench.recipe.schema import RunSpec

_START = ("from", "run", "convert")


def kind_name(tree: Node) -> str:
    """The kind that a run says it is of, or is of without a word."""
    node = tree.get("kind")
    return TrainSpec.kind if node is None else str(node.plain())


def of_its_kind(tree: Node, entry: Node, problems: list[Problem]) -> Node:
    """A run with what its kind is made of.

    What the recipe's protocol, a scale or the command line say for runs of other kinds is left out; what the run itself
    says has to fit.

    Args:
        tree: The run, everything merged.
        entry: What it says itself.
        problems: Gets what is wrong.
    """
    kind = kind_name(tree)
    if kind not in KINDS:
        node = tree.get("kind") or tree
        problems.append(Problem(node.where, f"kind: '{kind}' is none; {suggest(kind, KINDS)}"))
        tree, kind = Node({key: node for key, node in items(tree) if key != "kind"}, tree.where), TrainSpec.kind
    for key, node in items(entry):
        if key in (*PARTS, "method", "params") and key not in (*KEYS[kind], "kind"):
            has = ", ".join(one for one in KEYS[kind] if one != "params")
            problems.append(Problem(node.where, f"{key}: a run of kind '{kind}' has none; it has {has}"))
    start = tree.get("start")
    for key, node in items(start):
        if key not in _START:
            problems.append(Problem(node.where, f"start.{key}: unknown key; {suggest(key, _START)}"))
    if start is not None and not isinstance(child(start, "run"), Node):
        problems.append(Problem(start.where, "start: expected run: NAME, and from: RECIPE if it is another recipe's"))
    return Node({key: node for key, node in items(tree) if key in (*KEYS[kind], "kind")}, tree.where)


def fitting_start(tree: Node, layer: Node) -> Node:
    """What a scale or the command line says, without words about a start or a conversion that the run does not have."""
    own, said = tree.get("start"), layer.get("start")
    if said is None or not isinstance(said.value, dict):
        return layer
    kept = dict(items(said)) if own is not None else {}
    if own is not None and own.get("convert") is None and child(said, "convert", "name") is None:
        kept.pop("convert", None)
    rest = {key: node for key, node in items(layer) if key != "start"}
    return Node({**rest, "start": Node(kept, said.where)} if kept else rest, layer.where)


def started_from(tree: Node, parent: RunSpec | None) -> Node:
    """A run whose `start` holds its parent's spec in place of the words that name it."""
    start = tree.get("start")
    if start is None or parent is None:
        return tree
    convert = {"convert": node} if (node := start.get("convert")) is not None else {}
    full = Node({"run": Node(parent, start.where), **convert}, start.where)  # type: ignore[arg-type]
    return Node({**dict(items(tree)), "start": full}, tree.where)


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Draft = TypeVar("Draft", bound=_Named)


class Parents(Generic[Draft]):
    """Finds the runs that others start from.

    Args:
        path: The recipe.
        names: Of all its runs.
        elsewhere: Gives the runs of another recipe by name; called with the recipe's name and where it is named.
    """

    def __init__(self, path: str, names: set[str], elsewhere: Callable[[str, Node], Mapping[str, Draft]]) -> None:
        self._path, self._names, self._elsewhere = path, names, elsewhere
        self._known: dict[str, Draft | None] = {}
        self._others: dict[str, Mapping[str, Draft] | None] = {}

    def add(self, name: str | None, draft: Draft | None) -> None:
        """A run of this recipe is known; None if something is wrong with it."""
        if name is not None:
            self._known.setdefault(name, draft)

    def ready(self, tree: Node) -> bool:
        """Whether the run that this one starts from, if it is of this recipe, is known."""
        named = child(tree, "start", "run")
        if named is None or child(tree, "start", "from") is not None:
            return True
        return str(named.plain()) in self._known or str(named.plain()) not in self._names

    def find(self, tree: Node, problems: list[Problem]) -> Draft | None:
        """The run that this one starts from; None if it starts from none, or something is wrong with that."""
        named, other = child(tree, "start", "run"), child(tree, "start", "from")
        if named is None:
            return None
        name, known = str(named.plain()), self._known
        if other is not None:
            found = self._read(str(other.plain()), other, problems)
            if found is None:
                return None
            known = dict(found)
        if name not in known:
            where = other.plain() if other is not None else "this recipe"
            problems.append(Problem(named.where, f"start.run: {where} has no run '{name}'; {suggest(name, known)}"))
        return known.get(name)

    def _read(self, name: str, named: Node, problems: list[Problem]) -> Mapping[str, Draft] | None:
        if name not in self._others:
            self._others[name] = None
            try:
                self._others[name] = self._elsewhere(name, named)
            except RecipeError as error:
                problems += [Problem(named.where, f"start.from: {problem}") for problem in error.problems]
        return self._others[name]
