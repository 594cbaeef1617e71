"""The two hashes that are taken at once are those that are taken one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tksbench.recipe import RunSpec, expand, group_id, load_recipe, run_and_group_id, run_id
from tksbench.recipe.identity import COMPONENT_VERSIONS

RECIPE = Path(__file__).parents[2] / "recipes" / "cifar10.yaml"


@pytest.mark.parametrize("scale", ["paper", "smoke"])
def test_both_hashes_at_once_are_those_taken_one_by_one(scale: str) -> None:
    specs = [run.spec for run in expand(load_recipe(RECIPE), scale, seeds=2)]  # the default seed, and another
    assert [run_and_group_id(spec) for spec in specs] == [(run_id(spec), group_id(spec)) for spec in specs]


@pytest.mark.parametrize("override", ["data.overflow=false", "data.repair=true"])
def test_how_event_files_are_read_is_identity_where_it_is_not_the_default(override: str) -> None:
    recipe = load_recipe(RECIPE.with_name("nmnist.yaml"))
    default = override.replace("false", "TRUE").replace("true", "false").replace("TRUE", "true")
    plain, said, changed = (expand(recipe, overrides=words)[0] for words in ([], [default], [override]))
    assert plain.id == said.id != changed.id
    assert plain.group == said.group != changed.group


@pytest.mark.parametrize(
    "name", ["train", "neuron", "data/cifar10", "model/spiking_resnet19", "method/baseline", "method/tks"]
)
def test_a_component_at_a_new_version_makes_new_runs_of_those_that_hold_it(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    recipe = load_recipe(RECIPE)
    before = expand(recipe)
    monkeypatch.setitem(COMPONENT_VERSIONS, name, 2)
    after = expand(load_recipe(RECIPE))
    holds = [name in ("train", "neuron", f"data/{run.spec.data.name}", f"model/{run.spec.model.name}",
                      f"method/{run.spec.method.name}") for run in before]  # fmt: skip
    assert True in holds
    assert [old.id != new.id for old, new in zip(before, after, strict=True)] == holds


def spec_of(kind: str) -> RunSpec:
    trained = expand(load_recipe(RECIPE))[0].spec
    start = {"run": trained, "convert": {"name": "toys:Convert"}}
    plain = {
        "train": trained.model_dump() | {"start": start},
        "convert": {"data": trained.data, "T": 8, "start": start},
        "classic": {"data": trained.data, "features": {"name": "toys:F"}, "classifier": {"name": "toys:C"}},
    }[kind]
    return RunSpec.model_validate({"kind": kind, **plain})


@pytest.mark.parametrize("kind", ["train", "convert", "classic"])
def test_a_parents_seed_follows_its_childs_and_is_no_part_of_the_group(kind: str) -> None:
    one, other = spec_of(kind), spec_of(kind).with_seed(43)
    assert run_id(one) != run_id(other)
    assert group_id(one) == group_id(other)
    assert [other.seed, *([other.parent.seed] if other.parent else [])] == [43] * (1 + (kind != "classic"))
    assert RunSpec.model_validate_json(other.model_dump_json()) == other


def test_kinds_that_hold_the_same_are_different_runs_and_a_trained_one_says_none() -> None:
    specs = [spec_of(kind) for kind in ("train", "convert", "classic")]
    assert [spec.model_dump().get("kind") for spec in specs] == [None, "convert", "classic"]
    plain = specs[0].model_dump(mode="json")
    assert run_id(RunSpec.model_validate({**plain, "kind": "train"})) == run_id(specs[0])
    assert run_id(RunSpec.model_validate({key: plain[key] for key in plain if key != "start"})) == run_id(
        expand(load_recipe(RECIPE))[0].spec
    )
