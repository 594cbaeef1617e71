"""From a recipe file to the runs it asks for: overlays, grids, seeds, overrides, and every error at once."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tksbench.recipe.at_hand import AtHand
from tksbench.recipe.catalogue import Outside
from tksbench.recipe.entry import MAX_RUNS, execution_of, name_of, points, validated
from tksbench.recipe.errors import Problem, RecipeError, suggest
from tksbench.recipe.identity import run_and_group_id
from tksbench.recipe.method import unused_arguments, with_method
from tksbench.recipe.outside import with_components
from tksbench.recipe.overrides import override, place, taken
from tksbench.recipe.run import Run
from tksbench.recipe.schema import ConvertSpec, TrainSpec
from tksbench.recipe.shape import (
    END_OF_SEEDS,
    FIRST_SEED,
    LENT,
    PARTS,
    check_shape,
    child,
    part_of,
    sources,
    words,
)
from tksbench.recipe.shape import entries as entries_of
from tksbench.recipe.stages import Parents, fitting_start, kind_name, of_its_kind, started_from
from tksbench.recipe.yamltree import Node, read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tksbench.recipe.execution import Execution
    from tksbench.recipe.schema import RunSpec


@dataclass(frozen=True)
class _Draft:
    """A run without its seed; `auto`: its data are real or stand-in data, whichever are at hand.

    `parent` is the run that it starts from, `recipe` the one that it is of; `taken` are the places of the overrides
    that it took.
    """

    name: str
    spec: RunSpec
    execution: Execution
    rows: tuple[str, ...]
    undocumented: tuple[str, ...]
    against: tuple[str, ...]
    auto: bool
    parent: _Draft | None
    recipe: Recipe
    taken: frozenset[str]


@dataclass(frozen=True)
class Recipe:
    """A checked recipe file; `expand` makes runs of it.

    Attributes:
        path: The file.
        root: Its content.
        sources: Content of the recipes that its runs are taken `from`, by the name it gives them.
        checked: Its runs by scale, as they were checked: with real data, without overrides.
        others: Recipes that its runs start from, by the name it gives them, as far as they have been read.
    """

    path: str
    root: Node
    sources: Mapping[str, Node] = field(default_factory=dict)
    checked: dict[str, list[_Draft]] = field(default_factory=dict, compare=False, repr=False)
    others: dict[str, Recipe] = field(default_factory=dict, compare=False, repr=False)

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


def load_recipe(path: str | Path, only: str | None = None) -> Recipe:
    """Read and check a recipe: every run at every scale is validated.

    Args:
        path: The file.
        only: The one scale that is asked for: if the recipe has it, its runs alone are looked at. A plan of many
            recipes takes a quarter of the time so.

    Raises:
        RecipeError: With every problem found, each with file and line.
    """
    recipe, problems = _read(Path(path)), list[Problem]()
    scales = _scales(recipe.root)
    for scale in [only] if only in scales else scales:
        recipe.checked[scale], more = _collect(recipe, scale)
        problems += more
    if problems:
        raise RecipeError(problems)
    return recipe


def _read(path: Path) -> Recipe:
    """Read a recipe whose runs are not looked at yet.

    Raises:
        RecipeError: As `load_recipe`.
    """
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
    if problems:
        raise RecipeError(problems)
    return Recipe(str(path), root, found)


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
        drafts, problems = _collect(recipe, scale, [override(word) for word in overrides])
        if problems:
            raise RecipeError(problems)
    drafts = [_on_data(draft, AtHand(has_real, has_twin)) for draft in drafts]
    count = seeds if seeds is not None else _seed_count(recipe, scale)
    first = recipe.first_seed
    if first + count > END_OF_SEEDS:
        raise RecipeError([Problem(recipe.path, f"{count} seeds from first_seed {first} on go beyond 2**31 - 1")])
    if count * len(drafts) > MAX_RUNS:
        raise RecipeError([Problem(recipe.path, f"{count} seeds of {len(drafts)} runs: more than {MAX_RUNS} runs")])
    made = (_run(draft, recipe, scale, seed, overrides) for seed in range(first, first + count) for draft in drafts)
    runs: dict[str, Run] = {}
    for run in made:
        runs.setdefault(run.id, run)
    return list(runs.values())


def _run(draft: _Draft, recipe: Recipe, scale: str, seed: int, overrides: Sequence[str]) -> Run:
    """A draft with a seed, and the run that it starts from with the same one."""
    spec = draft.spec.with_seed(seed)
    parent = _run(draft.parent, recipe, scale, seed, overrides) if draft.parent else None
    inherited = parent.overrides if parent else ()  # without these there would be another parent, so another run
    key, group = run_and_group_id(spec)
    return Run(
        id=key,
        group=group,
        name=draft.name,
        recipe=draft.recipe.path,
        scale=scale,
        seed=seed,
        spec=spec,
        execution=draft.execution,
        overrides=tuple(word for word in overrides if place(word) in draft.taken or word in inherited),
        first_seed=draft.recipe.first_seed,
        rows=draft.rows,
        undocumented=draft.undocumented,
        against=draft.against,
        parent=parent,
    )


def _on_data(draft: _Draft, at_hand: AtHand) -> _Draft:
    """With the data that are there, where the recipe leaves that open."""
    spec, parent = draft.spec, draft.parent and _on_data(draft.parent, at_hand)
    if draft.auto:
        spec = spec.model_copy(update={"data": at_hand.settle(spec.data)})
    if parent is not None and isinstance(spec, TrainSpec | ConvertSpec) and spec.start:
        spec = spec.model_copy(update={"start": spec.start.model_copy(update={"run": parent.spec})})
    return replace(draft, spec=spec, parent=parent)


def _scales(root: Node) -> list[str]:
    node = root.get("scales")
    return list(node.value) if node and isinstance(node.value, dict) else ["paper"]


def _seed_count(recipe: Recipe, scale: str) -> int:
    node = child(recipe.root, "scales", scale, "seeds")
    return int(node.plain()) if node else recipe.seeds


class _Entry(NamedTuple):
    """A run as its recipe has it at a scale, everything merged; `wrong` is what is wrong with its name."""

    node: Node
    root: Node
    scale: Node
    tree: Node
    name: str | None
    wrong: list[Problem]


def _collect(recipe: Recipe, scale: str, overrides: Sequence[Node] = ()) -> tuple[list[_Draft], list[Problem]]:
    """The runs of a recipe at a scale, and what is wrong with them."""
    drafts, problems = _drafts(recipe, scale, overrides)
    runs, only = child(recipe.root, "runs"), child(recipe.root, "scales", scale, "only")
    drafts = [draft for draft in drafts if _wanted(only, draft.name)]
    if only is not None and not drafts and not problems:
        problems.append(Problem(only.where, f"scales.{scale}.only: matches none of the runs"))
    seen: dict[str, _Draft] = {}
    for draft in drafts:
        other = seen.setdefault(draft.name, draft)
        if other.spec != draft.spec and runs is not None:
            problems.append(Problem(runs.where, f"two different runs are named '{draft.name}' at scale {scale}"))
    return drafts, problems


def _drafts(
    recipe: Recipe, scale: str, overrides: Sequence[Node], above: tuple[str, ...] = ()
) -> tuple[list[_Draft], list[Problem]]:
    """All runs that a recipe has at a scale, in its order; `above` are the recipes on whose behalf it is read."""
    problems = list[Problem]()
    entries = [
        found
        for run in entries_of(recipe.root)
        for point in points(run, problems)
        if (found := _merged(recipe, point, scale, overrides, problems))
    ]
    if len(entries) > MAX_RUNS:
        problems.append(Problem(entries[MAX_RUNS].node.where, f"more than {MAX_RUNS} runs"))
        return [], problems
    parents = Parents(
        recipe.path, {entry.name for entry in entries if entry.name}, _elsewhere(recipe, scale, overrides, above)
    )
    made: dict[int, _Draft | None] = {}
    waiting = list(range(len(entries)))
    while waiting:
        later = [number for number in waiting if not parents.ready(entries[number].tree)]
        if len(later) == len(waiting):
            named = [child(entries[number].tree, "start", "run") for number in later]
            problems += (Problem(node.where, "start.run: it starts from itself") for node in named if node)
            break
        for number in waiting:
            if number not in later:
                entry = entries[number]
                made[number] = _draft(entry, parents.find(entry.tree, problems), recipe, overrides, problems)
                parents.add(entry.name, made[number])
        waiting = later
    drafts = [draft for number in sorted(made) if (draft := made[number])]
    if not problems:
        methods = (draft.spec.method for draft in drafts if isinstance(draft.spec, TrainSpec))
        problems += unused_arguments(overrides, [method for method in methods if isinstance(method, Outside)])
    return drafts, problems


def _merged(
    recipe: Recipe, entry: Node, scale: str, overrides: Sequence[Node], problems: list[Problem]
) -> _Entry | None:
    """An entry with protocol, scale and overrides."""
    root, protocol = _home(recipe, entry, scale, problems)
    if root is None or protocol is None:
        return None
    scale_node = child(root, "scales", scale) or Node({}, root.where)
    tree = protocol.merged(part_of(entry, (*PARTS, "method", "params")))
    own = child(entry, "at", scale) or Node({}, entry.where)  # over the scale's, which is for all runs
    for layer in (scale_node, own, *overrides):
        tree = tree.merged(fitting_start(tree, part_of(layer, PARTS)))
    tree = Node(tree.value, entry.where)  # what neither says is missing where the run is named
    tree = with_components(of_its_kind(tree, entry, problems), problems)
    wrong = list[Problem]()
    return _Entry(entry, root, scale_node, tree, name_of(root, entry, tree, wrong), wrong)


def _draft(
    entry: _Entry, parent: _Draft | None, recipe: Recipe, overrides: Sequence[Node], problems: list[Problem]
) -> _Draft | None:
    """A run of its entry; None where something is wrong, which is added to `problems`."""
    tree, root = entry.tree, entry.root
    if kind_name(tree) == TrainSpec.kind:
        tree = with_method(root, tree, entry.scale, overrides, problems)
    execution = execution_of(root, entry.scale, overrides, problems)
    if tree.get("start") is not None and parent is None:  # which is listed already
        return None
    spec = validated(started_from(tree, parent.spec if parent else None), problems)
    if spec is None:
        return None
    problems += entry.wrong
    if entry.name is None:
        return None
    auto = (source := child(tree, "data", "source")) is not None and source.value == "auto"
    about = words(entry.node.get("rows")), words(root.get("undocumented")), words(recipe.root.get("against"))
    return _Draft(entry.name, spec, execution, *about, auto, parent, recipe, taken(tree, overrides))


def _elsewhere(
    recipe: Recipe, scale: str, overrides: Sequence[Node], above: tuple[str, ...]
) -> Callable[[str, Node], Mapping[str, _Draft]]:
    """Reads the runs of another recipe at the same scale, by name; raises RecipeError."""
    path = Path(recipe.path)
    lent = [part_of(word, LENT) for word in overrides]

    def read_it(name: str, named: Node) -> Mapping[str, _Draft]:
        other = path.parent / name
        if str(other.resolve()) in (*above, str(path.resolve())):
            raise RecipeError([Problem(named.where, f"start.from: {name} starts from this recipe itself")])
        if name not in recipe.others:
            recipe.others[name] = _read(other)
        if scale not in _scales(recipe.others[name].root):
            raise RecipeError([Problem(named.where, f"start.from: {name} has no scale '{scale}'")])
        drafts, problems = _drafts(recipe.others[name], scale, lent, (*above, str(path.resolve())))
        if problems:
            raise RecipeError(problems)
        return {draft.name: draft for draft in drafts}

    return read_it


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
