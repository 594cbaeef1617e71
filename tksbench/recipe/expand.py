"""From a recipe file to the runs it asks for: overlays, grids, seeds, overrides, and every error at once."""

from __future__ import annotations

import fnmatch
import itertools
import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from tksbench.recipe.at_hand import AtHand, has_a_twin
from tksbench.recipe.catalogue import Outside, outsiders
from tksbench.recipe.errors import Problem, RecipeError, suggest
from tksbench.recipe.explain import explain
from tksbench.recipe.identity import component_versions, group_id, run_id
from tksbench.recipe.method import unused_arguments, with_method
from tksbench.recipe.outside import with_components
from tksbench.recipe.run import Run
from tksbench.recipe.schema import Execution, RunSpec
from tksbench.recipe.shape import END_OF_SEEDS, FIRST_SEED, PARTS, check_shape, child, items, part_of, sources, words
from tksbench.recipe.source import source_digest
from tksbench.recipe.yamltree import Node, parse, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_NAME = re.compile(r"^[A-Za-z0-9_=,+-][A-Za-z0-9_=,.+-]*(/[A-Za-z0-9_=,+-][A-Za-z0-9_=,.+-]*)*$")
_MAX_RUNS = 10_000
Part = TypeVar("Part", bound=BaseModel)


@dataclass(frozen=True)
class _Draft:
    """A run without its seed; `auto`: its data are real or stand-in data, whichever are at hand."""

    name: str
    spec: RunSpec
    execution: Execution
    rows: tuple[str, ...]
    undocumented: tuple[str, ...]
    against: tuple[str, ...]
    auto: bool


@dataclass(frozen=True)
class Recipe:
    """A checked recipe file; `expand` makes runs of it.

    Attributes:
        path: The file.
        root: Its content.
        sources: Content of the recipes that its runs are taken `from`, by the name it gives them.
        checked: Its runs by scale, as they were checked: with real data, without overrides.
    """

    path: str
    root: Node
    sources: Mapping[str, Node] = field(default_factory=dict)
    checked: dict[str, list[_Draft]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def seeds(self) -> int:
        """How many seeds each cell is run with unless the command line says otherwise."""
        node = self.root.get("seeds")
        return int(node.plain()) if node else 1

    @property
    def scales(self) -> list[str]:
        """Names of the scales at which it can be run."""
        return _scales(self.root)

    @property
    def first_seed(self) -> int:
        """The first seed of each cell."""
        node = self.root.get("first_seed")
        return int(node.plain()) if node else FIRST_SEED


def load_recipe(path: str | Path) -> Recipe:
    """Read and check a recipe: every run at every scale is validated.

    Raises:
        RecipeError: With every problem found, each with file and line.
    """
    path = Path(path)
    root = read(path)
    problems = list(check_shape(root))
    found: dict[str, Node] = {}
    for name, node in {} if problems else sources(root).items():
        try:
            found[name] = read(path.parent / name)
        except RecipeError as error:
            problems += [Problem(node.where, f"from: {problem}") for problem in error.problems]
        else:
            problems += check_shape(found[name])
    recipe = Recipe(str(path), root, found)
    if not problems:
        for scale in _scales(recipe.root):
            recipe.checked[scale], more = _collect(recipe, scale)
            problems += more
    if problems:
        raise RecipeError(problems)
    return recipe


def expand(
    recipe: Recipe,
    scale: str = "paper",
    seeds: int | None = None,
    overrides: Sequence[str] = (),
    has_real: Callable[[str], bool] = lambda name: True,
    has_twin: Callable[[str], bool] = lambda name: False,
) -> list[Run]:
    """All runs of a recipe at one scale, breadth first over seeds: every cell's first seed comes first.

    Args:
        recipe: From `load_recipe`.
        scale: One of the recipe's scales.
        seeds: Seeds a cell; None takes the scale's or the recipe's own number.
        overrides: `key=value` words laid over every run, checked by the same schema.
        has_real: Whether a data set's real files are at hand; decides `source: auto`.
        has_twin: Whether its twin is, where it has one and the real files are not.

    Raises:
        RecipeError: Unknown scale, too many seeds, or overrides that do not fit.
    """
    known = _scales(recipe.root)
    if scale not in known:
        raise RecipeError([Problem(recipe.path, f"no scale '{scale}'; {suggest(scale, known)}")])
    drafts = recipe.checked.get(scale)
    if overrides or drafts is None:
        drafts, problems = _collect(recipe, scale, [_override(word) for word in overrides])
        if problems:
            raise RecipeError(problems)
    drafts = [_on_data(draft, AtHand(has_real, has_twin)) for draft in drafts]
    count = seeds if seeds is not None else _seed_count(recipe, scale)
    first = recipe.first_seed
    if first + count > END_OF_SEEDS:
        raise RecipeError([Problem(recipe.path, f"{count} seeds from first_seed {first} on go beyond 2**31 - 1")])
    if count * len(drafts) > _MAX_RUNS:
        raise RecipeError([Problem(recipe.path, f"{count} seeds of {len(drafts)} runs: more than {_MAX_RUNS} runs")])
    runs: dict[str, Run] = {}
    for seed, draft in itertools.product(range(first, first + count), drafts):
        spec = draft.spec.model_copy(update={"seed": seed})
        run = Run(
            id=run_id(spec),
            group=group_id(spec),
            name=draft.name,
            recipe=recipe.path,
            scale=scale,
            seed=seed,
            spec=spec,
            execution=draft.execution,
            overrides=tuple(overrides),
            first_seed=first,
            rows=draft.rows,
            undocumented=draft.undocumented,
            against=draft.against,
        )
        runs.setdefault(run.id, run)
    return list(runs.values())


def _on_data(draft: _Draft, at_hand: AtHand) -> _Draft:
    """With the data that are there, where the recipe leaves that open."""
    if not draft.auto:
        return draft
    return replace(draft, spec=draft.spec.model_copy(update={"data": at_hand.settle(draft.spec.data)}))


def _scales(root: Node) -> list[str]:
    node = root.get("scales")
    return list(node.value) if node and isinstance(node.value, dict) else ["paper"]


def _seed_count(recipe: Recipe, scale: str) -> int:
    node = child(recipe.root, "scales", scale, "seeds")
    return int(node.plain()) if node else recipe.seeds


def _override(word: str) -> Node:
    """`optim.epochs=3` as a tree, placed at the command line."""
    where = f"command line '{word}'"
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise RecipeError([Problem(where, "an override is written KEY=VALUE, for example optim.epochs=3")])
    try:
        value = parse(text, where)
    except RecipeError as error:
        raise RecipeError([Problem(where, error.problems[0].message)]) from None
    node = Node(None if not text.strip() else value.value, where)
    for part in reversed(key.split(".")):
        node = Node({part: node}, where)
    top = key.split(".")[0]
    if top not in (*PARTS, "method", "execution"):
        message = f"unknown key '{key}'; {suggest(top, (*PARTS, 'method', 'execution'))}"
        if top == "seed":
            message = "seeds are chosen with --seeds N"
        raise RecipeError([Problem(where, message)])
    return node


def _collect(recipe: Recipe, scale: str, overrides: Sequence[Node] = ()) -> tuple[list[_Draft], list[Problem]]:
    drafts, problems, methods = [], list[Problem](), list[Outside]()
    runs = recipe.root.get("runs")
    assert runs is not None and isinstance(runs.value, list)  # noqa: S101 - check_shape
    only = child(recipe.root, "scales", scale, "only")
    for entry in (point for run in runs.value for point in _grid(run, problems)):
        root, protocol = _home(recipe, entry, scale, problems)
        if root is None or protocol is None:
            continue
        scale_node = child(root, "scales", scale) or Node({}, root.where)
        tree = protocol.merged(part_of(entry, (*PARTS, "method", "params"))).merged(part_of(scale_node, PARTS))
        for extra in overrides:
            tree = tree.merged(part_of(extra, PARTS))
        tree = Node(tree.value, entry.where)  # what neither says is missing where the run is named
        tree = with_components(tree, problems)
        auto = (source := child(tree, "data", "source")) is not None and source.value == "auto"
        spec = _validate(with_method(root, tree, scale_node, overrides, problems), problems)
        execution = _execution(root, scale_node, overrides, problems)
        if spec is None:
            continue
        if isinstance(spec.method, Outside):
            methods.append(spec.method)
        name = _name(root, entry, tree, problems)
        if name and _wanted(only, name):
            about = words(entry.get("rows")), words(root.get("undocumented")), words(recipe.root.get("against"))
            drafts.append(_Draft(name, spec, execution, *about, auto))
        if len(drafts) > _MAX_RUNS:
            problems.append(Problem(entry.where, f"more than {_MAX_RUNS} runs"))
            break
    if only is not None and not drafts and not problems:
        problems.append(Problem(only.where, f"scales.{scale}.only: matches none of the runs"))
    if not problems:
        problems += unused_arguments(overrides, methods)
    seen: dict[str, _Draft] = {}
    for draft in drafts:
        other = seen.setdefault(draft.name, draft)
        if other.spec != draft.spec:
            problems.append(Problem(runs.where, f"two different runs are named '{draft.name}' at scale {scale}"))
    return drafts, problems


def _home(recipe: Recipe, entry: Node, scale: str, problems: list[Problem]) -> tuple[Node | None, Node | None]:
    """The recipe a run belongs to and its protocol: this one or, `from` another, that one with this one over it."""
    named = entry.get("from")
    if named is None:
        return recipe.root, recipe.root.get("protocol")
    root = recipe.sources[str(named.plain())].merged(recipe.root)
    if scale not in _scales(recipe.sources[str(named.plain())]):
        problems.append(Problem(named.where, f"from: {named.plain()} has no scale '{scale}'"))
        return None, None
    if root.get("protocol") is None:
        problems.append(Problem(named.where, f"from: {named.plain()} has no protocol of its own"))
    return root, root.get("protocol")


def _wanted(only: Node | None, name: str) -> bool:
    if only is None:
        return True
    globs = only.plain() if isinstance(only.value, list) else [only.plain()]
    return any(fnmatch.fnmatchcase(name, str(glob)) for glob in globs)


def _grid(run: Node, problems: list[Problem]) -> Iterator[Node]:
    """A run entry with `grid: {dotted.key: [values]}` as one entry for each point of the product."""
    axes = items(run.get("grid"))
    for key, node in axes:
        if not isinstance(node.value, list) or not node.value:
            problems.append(Problem(node.where, f"grid.{key}: expected a list of values"))
            return
    base = Node({key: node for key, node in items(run) if key != "grid"}, run.where)
    lists = [node.value for _, node in axes if isinstance(node.value, list)]
    if math.prod(map(len, lists)) > _MAX_RUNS:
        problems.append(Problem(run.where, f"grid: more than {_MAX_RUNS} runs"))
        return
    for point in itertools.product(*lists):
        tree = base
        for (key, _), value in zip(axes, point, strict=True):
            node = value
            for part in reversed(key.split(".")):
                node = Node({part: node}, value.where)
            tree = tree.merged(node)
        yield tree


def _execution(root: Node, scale_node: Node, overrides: Sequence[Node], problems: list[Problem]) -> Execution:
    tree = root.get("execution") or Node({}, root.where)
    for layer in (scale_node.get("execution"), *(extra.get("execution") for extra in overrides)):
        tree = tree.merged(layer) if layer is not None else tree
    try:
        return Execution.model_validate(tree.plain())
    except ValidationError as error:
        problems += explain(error, tree, Execution, ("execution",))
        return Execution()


def _validate(tree: Node, problems: list[Problem]) -> RunSpec | None:
    plain = tree.plain()
    data = plain.get("data")
    if isinstance(data, dict) and data.get("source") == "auto":
        data["source"] = "twin" if has_a_twin(data.get("name")) else "real"  # that with the most to say
    try:
        spec = RunSpec.model_validate(plain)
    except ValidationError as error:
        problems += explain(error, tree, RunSpec)
        return None
    for key, one in outsiders(spec):
        source = source_digest(one.name)
        if one.digest not in (None, source):
            where = (child(tree, *key.split("."), one.hashed) or tree).where
            problems.append(Problem(where, f"{key}.{one.hashed}: {one.digest}, but the file's is {source}"))
        spec = _with_digest(spec, [*key.split("."), one.hashed], source)
    names = {"data": spec.data.name, "model": spec.model.name, "method": spec.method.name}
    names |= {"neuron": spec.model.neuron.name, "norm": spec.model.norm.name}
    names |= {slot: one.name for slot, one in (("augment", spec.data.augmentation), ("mix", spec.mix)) if one}
    return spec.model_copy(update={"versions": component_versions(names)})


def _with_digest(whole: Part, keys: Sequence[str], digest: str | None) -> Part:
    """A part of a spec with the hash of a component's file at a path of keys."""
    new = digest if len(keys) == 1 else _with_digest(getattr(whole, keys[0]), keys[1:], digest)
    return whole.model_copy(update={keys[0]: new})


def _name(root: Node, entry: Node, tree: Node, problems: list[Problem]) -> str | None:
    """Fill the recipe's (or the run's own) name template: '{data.name}/{model.name}/{method}'."""
    node = entry.get("name") or root.get("name") or Node("{data.name}/{model.name}/{method}", root.where)
    missing: list[str] = []

    def value(match: re.Match[str]) -> str:
        found = child(tree, *match[1].split("."))
        if found is None or isinstance(found.value, dict | list):
            missing.append(match[1])
            return ""
        return str(found.plain()).replace(":", ".")  # of a method from outside, module:function

    name = re.sub(r"\{([A-Za-z0-9_.]+)\}", value, str(node.plain()))
    if missing:
        problems.append(Problem(node.where, f"name: nothing is called {{{missing[0]}}}"))
    elif not _NAME.fullmatch(name):
        problems.append(Problem(node.where, f"name: {name!r} may hold letters, digits and _=,.+- between slashes"))
    else:
        return name
    return None
