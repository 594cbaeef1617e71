"""The committed recipes as a whole: the paper's inventory, one meaning for each name, the paper's constants."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tksbench.data.errors import DataError
from tksbench.data.registry import DATASETS, reader
from tksbench.recipe import SCALES, DataSpec, Recipe, Run, RunSpec, expand, load_recipe

ROOT = Path(__file__).parents[2]
RECIPES = {path.stem: path for path in sorted((ROOT / "recipes").glob("*.yaml"))}


@functools.cache
def recipe(stem: str) -> Recipe:
    return load_recipe(RECIPES[stem])


@functools.cache
def runs(stem: str, scale: str, real: bool = True) -> tuple[Run, ...]:
    return tuple(expand(recipe(stem), scale, seeds=1, has_real=lambda name: real))


def all_runs(scale: str, real: bool = True) -> list[Run]:
    return [run for stem in RECIPES for run in runs(stem, scale, real)]


def leaf_lines(node: yaml.Node) -> Iterator[int]:
    """Lines, from 0, of the values at the ends of a YAML tree."""
    if isinstance(node, yaml.ScalarNode) or not node.value:
        yield node.start_mark.line
    for part in node.value if isinstance(node, yaml.CollectionNode) else ():
        yield from leaf_lines(part[1] if isinstance(node, yaml.MappingNode) else part)


@pytest.mark.parametrize("stem", RECIPES)
def test_every_value_of_a_protocol_and_of_a_method_says_where_it_is_from(stem: str) -> None:
    text = RECIPES[stem].read_text(encoding="utf-8")
    told = {key.value: node for key, node in yaml.compose(text, Loader=yaml.SafeLoader).value}
    numbers = {
        n for key in ("protocol", "methods", "seeds", "first_seed") if key in told for n in leaf_lines(told[key])
    }
    lines = text.splitlines()
    assert numbers
    assert [lines[n] for n in sorted(numbers) if not re.search(r"# .*\[(paper|code|inferred)\]", lines[n])] == []


@pytest.mark.parametrize("path", sorted((ROOT / "recipes" / "cited").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_value_of_a_cited_system_says_how_sure_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    told = {key.value: node for key, node in yaml.compose(text, Loader=yaml.SafeLoader).value}
    lines = text.splitlines()
    numbers = {n for key in ("protocol", "seeds", "first_seed") if key in told for n in leaf_lines(told[key])}
    # What a part is called may follow from the system itself.
    marks = r"# .*\[(paper|code|second-hand|memory|inferred)\]|^ *(name|from|run): "
    assert [lines[n] for n in sorted(numbers) if not re.search(marks, lines[n])] == []


def accepts(make: Any) -> bool:
    try:
        make()
    except (ValueError, DataError) as error:
        return not re.search(r"data\.(augment|split)|(augment|split) '|no split", str(error))
    return True


@pytest.mark.parametrize("name", DATASETS)
def test_the_schema_takes_the_augmentations_that_the_reader_takes(name: str, tmp_path: Path) -> None:
    plain = next(run for run in all_runs("paper") if run.spec.data.name == name).spec.model_dump()
    for augment in ("strong", "plain", "imagenet", "finegrained", "dvs", "none"):
        data = {**plain["data"], "augment": augment}
        schema = accepts(lambda data=data: RunSpec.model_validate({**plain, "data": data}))
        spec = DataSpec.model_validate(data)
        assert schema == accepts(lambda spec=spec: reader(name).load(spec, 2, 0, tmp_path)), augment


@pytest.mark.parametrize("name", [name for name, info in DATASETS.items() if info.kind == "event"])
def test_the_schema_takes_the_splits_that_an_event_set_has(name: str, tmp_path: Path) -> None:
    plain = next(run for run in all_runs("paper") if run.spec.data.name == name).spec.model_dump()
    for split in ("natural", "tebn"):
        data = {**plain["data"], "split": split}
        schema = accepts(lambda data=data: RunSpec.model_validate({**plain, "data": data}))
        assert schema == accepts(lambda split=split: reader(name).find_listing(split, tmp_path, complete=False)), split


def in_paper(run: Run) -> bool:
    """N-MNIST, the variants of the loss and other systems at TKS's level are extras."""
    return run.spec.data.name != "nmnist" and "/tks-" not in run.name and not run.name.startswith("level/")


def mentioned(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        if "extends" in tree:  # the paper's claim, on a data set of ours
            return
        if "run" in tree:
            yield tree["run"]
        yield from tree.get("runs", []) if isinstance(tree.get("runs"), list) else []
    for value in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else []:
        yield from mentioned(value)


@pytest.fixture(scope="module")
def paper() -> Any:
    return yaml.safe_load((ROOT / "results" / "paper.yaml").read_text(encoding="utf-8"))


def test_paper_is_48_runs_and_75_with_the_retraining_of_figure_3b() -> None:
    distinct = {run.id: run for run in all_runs("paper") if in_paper(run)}
    retrained = [run for run in distinct.values() if re.search(r"-T\d", run.name)]
    assert (len(distinct), len(retrained)) == (75, 27)


@pytest.mark.parametrize(
    ("stem", "count"),
    [("dvs_cifar10", 3), ("ncaltech101", 3), ("nmnist", 3), ("cub", 6), ("dogs", 6), ("cars", 6), ("timestep", 30)],
)
def test_runs_of_a_recipe(stem: str, count: int) -> None:
    assert len(runs(stem, "paper")) == count


def test_table_3_has_28_rows_and_the_rest_of_the_ablation_are_variants() -> None:
    ablation = runs("ablation", "paper")
    variants = [run for run in ablation if not in_paper(run)]
    assert len(ablation) - len(variants) == 28
    assert {(run.spec.data.name, run.spec.model.name) for run in variants} == {
        ("cifar100", "spiking_resnet19"),
        ("dvs_cifar10", "vgg_snn"),
    }


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("scale", SCALES)
def test_a_name_is_one_run_whatever_recipe_makes_it(scale: str, real: bool) -> None:
    ids: dict[str, set[str]] = {}
    names: dict[str, set[str]] = {}
    for run in all_runs(scale, real):
        ids.setdefault(run.name, set()).add(run.id)
        names.setdefault(run.id, set()).add(run.name.removeprefix("level/"))  # where a run stands beside other systems
    assert [name for name, found in ids.items() if len(found) > 1] == []
    assert [sorted(found) for found in names.values() if len(found) > 1] == []


def test_every_run_that_the_paper_reports_is_made_by_a_recipe(paper: Any) -> None:
    wanted = set(mentioned(paper))
    assert len(wanted) == 51
    assert wanted - {run.name for run in all_runs("paper")} == set()


def test_figure_3b_is_made_at_every_length_it_lists(paper: Any) -> None:
    figure = paper["figures"]["figure3b"]
    made = {(run.spec.model.T, run.spec.method.name): run.name for run in runs("timestep", "paper")}
    assert made == {
        (T, method): f"dvs_cifar10/vgg_snn{'' if T == 10 else f'-T{T}'}/{method}"
        for T in figure["T"]
        for method in figure["methods"]
    }


@pytest.mark.parametrize(
    ("data", "T", "alpha", "temperature", "optimizer", "decay"),
    [
        ("cifar10", 4, 0.7, 3.0, "adamw", 0.01),
        ("cifar100", 4, 0.7, 3.0, "adamw", 0.01),
        ("imagenet", 4, 0.7, 1.0, "adam", 0.0),
        ("dvs_cifar10", 10, 0.3, 5.0, "adamw", 0.01),
        ("ncaltech101", 10, 0.3, 5.0, "adamw", 0.01),
        ("cub", 4, 0.7, 3.0, "adamw", 0.01),
        ("dogs", 4, 0.7, 3.0, "adamw", 0.01),
        ("cars", 4, 0.7, 3.0, "adamw", 0.01),
    ],
)
def test_constants_of_the_paper(
    data: str, T: int, alpha: float, temperature: float, optimizer: str, decay: float
) -> None:
    found = [run for run in all_runs("paper") if in_paper(run) and run.spec.data.name == data and "-T" not in run.name]
    assert {
        (run.spec.model.T, run.spec.optim.name, run.spec.optim.weight_decay, run.spec.optim.batch_size) for run in found
    } == {(T, optimizer, decay, 128)}
    teachers = [run.spec.method.params for run in found if run.spec.method.name == "tks"]
    official = {"schedule": "linear_epoch", "agg": "sum", "fallback": "uniform", "detach": False, "t2": True}
    for params in teachers:
        assert params == {"alpha": alpha, "temperature": temperature, "ce": "mean_logits", **official}
    assert teachers


@pytest.mark.parametrize("data", ["cifar100/spiking_resnet19", "dvs_cifar10/vgg_snn"])
def test_a_variant_differs_from_tks_in_the_named_choice_alone(data: str) -> None:
    made = {run.name: run.spec for run in runs("ablation", "paper")}
    standard = made[f"{data}/tks"]
    changed = {
        name.rpartition("/tks-")[2]: dict(spec.method.params.items() - standard.method.params.items())
        for name, spec in made.items()
        if name.startswith(f"{data}/tks-") and "-alpha" not in name
    }
    assert changed == {
        "no-t2": {"t2": False},
        "mean": {"agg": "mean"},
        "best": {"agg": "best"},
        "all": {"agg": "all"},
        "detach": {"detach": True},
        "skip": {"fallback": "skip"},
        "ensemble": {"fallback": "ensemble"},
        "onehot": {"fallback": "onehot"},
        "static": {"schedule": "static"},
        "per-step-ce": {"ce": "per_step"},
    }
    for name, spec in made.items():
        if name.startswith(f"{data}/tks-"):
            assert spec.model_copy(update={"method": standard.method}) == standard


@pytest.mark.parametrize(("data", "standard"), [("cifar100", (0.7, 3.0)), ("dvs_cifar10", (0.3, 5.0))])
def test_sweep_of_alpha_and_temperature_is_whole(data: str, standard: tuple[float, float]) -> None:
    points = [
        (run.spec.method.params["alpha"], run.spec.method.params["temperature"])
        for run in runs("ablation", "paper")
        if run.spec.data.name == data and "-alpha" in run.name
    ]
    grid = {(alpha, tau) for alpha in (0.1, 0.3, 0.5, 0.7, 0.9) for tau in (1.0, 2.0, 3.0, 5.0)}
    assert sorted(points) == sorted(grid - {standard})


def test_smoke_has_every_row_of_tables_2_to_4(paper: Any) -> None:
    rows = {name for table in ("table2", "table3", "table4") for name in mentioned(paper["tables"][table])}
    assert rows - {run.name for run in all_runs("smoke", real=False)} == set()


@pytest.mark.parametrize("scale", ["mini", "smoke"])
def test_small_scales_ask_for_a_cpu_and_for_a_teacher_no_heavier_than_the_labels_or_than_was_tried(scale: str) -> None:
    tried = {("mini", "dvs_cifar10"): 2.8}  # on held-out training samples: docs/evidence.md
    for run in all_runs(scale):
        assert run.execution.device == "cpu"
        params = run.spec.method.params
        if run.spec.method.name == "tks" and "/tks-" not in run.name and run.spec.data.name != "imagenet":
            assert params["alpha"] * params["temperature"] ** 2 <= tried.get((scale, run.spec.data.name), 1.1) * (
                1 - params["alpha"]
            )
