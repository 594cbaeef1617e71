"""Recipes: overlays, grids, overrides, identity, and what a wrong one says."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from tksbench.recipe import (
    BuiltInOptim,
    DataSpec,
    RecipeError,
    Run,
    RunSpec,
    catalogue,
    expand,
    group_id,
    load_recipe,
    run_id,
)
from tksbench.recipe.schema import EvalSpec, NumericsSpec

RECIPES = Path(__file__).parents[2] / "recipes"

SMALL = """\
name: "{data.name}/{model.name}/{method}"
protocol:
  data: {name: cifar10, augment: plain}
  model: {name: spiking_resnet19, T: 4}
  optim: {name: adamw, lr: 1e-3, weight_decay: 0.01, epochs: 10, batch_size: 64, warmup_epochs: 1}
methods:
  tks: {alpha: 0.3}
  tks_mean: {name: tks, agg: mean}
runs:
  - {method: tks}
  - {method: baseline, grid: {model.T: [1, 2]}, name: "c/{model.T}"}
scales:
  paper: {}
  mini:
    only: "c/*"
    seeds: 2
    optim: {epochs: 2}
"""


@pytest.fixture
def write(tmp_path: Path):  # type: ignore[no-untyped-def]
    def writer(text: str) -> Path:
        path = tmp_path / "small.yaml"
        path.write_text(text)
        return path

    return writer


def problems(path: Path, **options: object) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        expand(load_recipe(path), **options)  # type: ignore[arg-type]
    return [str(problem).replace(str(path), "small.yaml") for problem in caught.value.problems]


def test_a_run_may_have_values_of_its_own_at_one_scale(write) -> None:  # type: ignore[no-untyped-def]
    recipe = load_recipe(
        write(SMALL.replace("{method: tks}", "{method: tks, at: {mini: {optim: {epochs: 3}}}}").replace('"c/*"', '"*"'))
    )
    assert [run.spec.optim.epochs for run in expand(recipe, "mini", seeds=1)] == [3, 2, 2]
    assert [run.spec.optim.epochs for run in expand(recipe, "paper", seeds=1)] == [10, 10, 10]
    assert [run.spec.optim.epochs for run in expand(recipe, "mini", seeds=1, overrides=["optim.epochs=4"])] == [4, 4, 4]


def test_protocol_run_and_scale_are_laid_over_each_other(write) -> None:  # type: ignore[no-untyped-def]
    runs = expand(load_recipe(write(SMALL)), "mini")
    assert [(run.name, run.seed, run.spec.model.T, run.spec.optim.epochs) for run in runs] == [
        ("c/1", 42, 1, 2),
        ("c/2", 42, 2, 2),
        ("c/1", 43, 1, 2),
        ("c/2", 43, 2, 2),
    ]


def test_method_takes_its_own_entry(write) -> None:  # type: ignore[no-untyped-def]
    run = expand(load_recipe(write(SMALL)))[0]
    assert run.spec.method.params["alpha"] == 0.3
    assert run.spec.method.params["temperature"] == 3.0


def test_a_scale_may_set_parameters_of_the_methods(write) -> None:  # type: ignore[no-untyped-def]
    run = expand(load_recipe(write(SMALL.replace("paper: {}", "paper: {method: {alpha: 0.1}}"))))[0]
    assert run.spec.method.params["alpha"] == 0.1


def test_a_recipe_may_say_how_its_runs_are_executed(write) -> None:  # type: ignore[no-untyped-def]
    assert expand(load_recipe(write(SMALL + "execution: {workers: 3}\n")))[0].execution.workers == 3


def test_preset_may_have_a_name_of_its_own(write) -> None:  # type: ignore[no-untyped-def]
    run = expand(load_recipe(write(SMALL.replace("{method: tks}", "{method: tks_mean}"))))[0]
    assert (run.name, run.spec.method.name) == ("cifar10/spiking_resnet19/tks_mean", "tks")
    assert run.spec.method.params["agg"] == "mean"


def test_override_goes_through_the_same_schema(write) -> None:  # type: ignore[no-untyped-def]
    path = write(SMALL)
    runs = expand(load_recipe(path), overrides=["optim.lr=2e-3", "method.alpha=0.5", "model.width=0.5"])
    assert [run.spec.optim.lr for run in runs] == [0.002] * 3
    assert runs[0].spec.method.params["alpha"] == 0.5
    assert runs[0].overrides == ("optim.lr=2e-3", "method.alpha=0.5", "model.width=0.5")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("optim.epochs=abc", "optim.epochs: expected a whole number, got 'abc'"),
        ("optim.epoch=3", "optim.epoch: unknown key; did you mean 'epochs'?"),
        ("modle.T=3", "unknown key 'modle.T'; did you mean 'model'?"),
        ("method.alhpa=0.2", "method.alhpa: unknown key; did you mean 'alpha'?"),
        ("method=tet", "method: takes parameters (method.alpha=0.5); which methods run is chosen with --only"),
        ("method.name=tet", "method.name: unknown key"),
        ("method.alpha=2", "method.alpha: expected less than or equal to 1, got 2"),
        ("model.name=spiking_resnet18", "unknown model 'spiking_resnet18'; did you mean 'spiking_resnet19'?"),
        ("data.name=cifar11", "unknown data set 'cifar11'; did you mean 'cifar10'?"),
        ("model.name=nosuch:thing", "model 'nosuch:thing': there is no module 'nosuch' with a source file"),
        ("model.neuron.name=lfi", "model.neuron: unknown neuron 'lfi'; did you mean 'lif'?"),
        ("model.neuron.taw=3", "model.neuron.taw: unknown key; did you mean 'tau'?"),
        ("model.neuron.tau=0", "model.neuron.tau: expected greater than or equal to 1, got 0"),
        ("model.norm.name=batchnorm", "model.norm: unknown norm 'batchnorm'; did you mean 'batch_norm'?"),
        ("model.neuron.surrogate.name=arktan", "unknown surrogate 'arktan'; did you mean 'arctan'?"),
        ("model.neuron.surrogate.beta=1", "model.neuron.surrogate.name: is missing"),
        ("data.name=nosuch:thing", "data 'nosuch:thing': there is no module 'nosuch' with a source file"),
        ("data.augment=imagenet", "data.augment: 'imagenet' is not for cifar10; it has strong, plain, none"),
        ("data.split=tebn", "data.split: 'tebn' is not for cifar10; it has natural"),
        ("optim=", "optim: expected keys and values (optim.KEY=VALUE), got nothing"),
        ("execution=3", "execution: expected keys and values (execution.KEY=VALUE), got 3"),
        ("optim.min_lr=1", "optim.min_lr 1.0 is above optim.lr 0.001"),
        ("seed=3", "seeds are chosen with --seeds N"),
        ("lr", "an override is written KEY=VALUE"),
        ("model.width=no", "model.width: expected a number, got 'no'"),
        ("optim.lr=.nan", "optim.lr: expected a number, got '.nan'"),
    ],
)
def test_wrong_override(write, word: str, message: str) -> None:  # type: ignore[no-untyped-def]
    found = problems(write(SMALL), overrides=[word])
    assert len(found) == 1
    assert found[0].startswith(f"command line '{word}'")
    assert message in found[0]


def test_what_does_not_fit_together_is_told_at_the_key_it_is_about(write) -> None:  # type: ignore[no-untyped-def]
    found = problems(write(SMALL), overrides=["model.T=2", "optim.lr=1e-6"])
    assert found == ["small.yaml:5: optim.min_lr 1e-05 is above optim.lr 1e-06"]


def test_all_errors_at_once_with_their_lines(write) -> None:  # type: ignore[no-untyped-def]
    text = SMALL.replace("augment: plain", "augment: 12:30").replace("T: 4}", "T: four}").replace("lr: 1e-3", "l: 1e-3")
    assert problems(write(text.replace("method: tks}", "method: tkss}"))) == [
        "small.yaml:3: augment '12:30': one from outside is written module:name",
        "small.yaml:4: model.T: expected a whole number, got 'four'",
        "small.yaml:5: optim.lr: is missing",
        "small.yaml:5: optim.l: unknown key; did you mean 'lr'?",
        "small.yaml:10: unknown method 'tkss'; did you mean 'tks'?",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("scales:", "scale:", "small.yaml:12: scale: unknown key; did you mean 'scales'?"),
        ("  mini:", "  tiny:", "small.yaml:14: scales.tiny: unknown key"),
        (
            "{method: tks}",
            "{method: tks, at: {min: {}}}",
            "small.yaml:10: runs.at.min: unknown key; did you mean 'mini'?",
        ),
        ("{method: tks}", "{method: tks, at: {mini: {only: x}}}", "small.yaml:10: runs.at.mini.only: unknown key"),
        ("seeds: 2", "seeds: 0", "scales.mini.seeds: expected a whole number of at least 1, got 0"),
        ("optim: {epochs: 2}", "optim: {epohcs: 2}", "small.yaml:17: optim.epohcs: unknown key"),
        ("grid: {model.T: [1, 2]}", "grid: {model.T: 2}", "grid.model.T: expected a list"),
        ("c/{model.T}", "c/{model.t}", "name: nothing is called {model.t}"),
        ("c/{model.T}", "../{model.T}", "may hold letters"),
        ("c/{model.T}", "c", "two different runs are named 'c'"),
        ("runs:", "runs: 3\nx:", "runs: expected a list"),
        ("runs:", "runs: []\nx:", "small.yaml:9: runs: expected at least one run"),
        ('only: "c/*"', 'only: "d/*"', "small.yaml:15: scales.mini.only: matches none of the runs"),
        (
            "runs:",
            "first_seed: x\nruns:",
            "small.yaml:9: first_seed: expected a whole number from 0 to 2**31 - 1, got 'x'",
        ),
        ("runs:", "first_seed: [1]\nruns:", "first_seed: expected a whole number from 0 to 2**31 - 1, got [1]"),
        ("runs:", "first_seed: -3\nruns:", "first_seed: expected a whole number from 0 to 2**31 - 1, got -3"),
        ("runs:", "first_seed: 1.9\nruns:", "first_seed: expected a whole number from 0 to 2**31 - 1, got 1.9"),
        ("runs:", "first_seed: 2147483648\nruns:", "first_seed: expected a whole number from 0 to 2**31 - 1, got"),
        ("runs:", "first_seed: 2147483647\nruns:", "small.yaml:17: scales.mini.seeds: 2 from first_seed 2147483647"),
        ("augment: plain", "augment: dvs", "small.yaml:3: data.augment: 'dvs' is not for cifar10"),
        (
            "method: tks}",
            "method: nosuch_module:loss}",
            "small.yaml:10: method 'nosuch_module:loss': there is no module",
        ),
        ("method: tks}", 'method: "json:"}', "method 'json:': one from outside is written module:name"),
        ("optim: {epochs: 2}", "optim: {epochs: 1}", "optim.warmup_epochs 1 must be less than optim.epochs 1"),
        ("augment: plain", "augment: plain, train_subset: 63", "batch_size 64 is more than data.train_subset 63"),
    ],
)
def test_wrong_recipe(write, old: str, new: str, message: str) -> None:  # type: ignore[no-untyped-def]
    assert any(message in line for line in problems(write(SMALL.replace(old, new))))


def test_unknown_scale(write) -> None:  # type: ignore[no-untyped-def]
    assert "no scale 'minni'; did you mean 'mini'?" in problems(write(SMALL), scale="minni")[0]


def test_missing_file_names_its_neighbours(write) -> None:  # type: ignore[no-untyped-def]
    path = write(SMALL).with_name("smal.yaml")
    with pytest.raises(RecipeError, match=r"no such file; recipes here: small\.yaml"):
        load_recipe(path)


def test_missing_file_names_the_recipes_folder_and_no_hidden_file(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    for name in (".hidden.yaml", "recipes/one.yaml"):
        (tmp_path / name).touch()
    with pytest.raises(RecipeError, match=r"recipes here: recipes/one\.yaml$"):
        load_recipe(tmp_path / "nope.yaml")


def test_method_from_outside_is_planned_without_being_imported(write, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "losses_of_mine.py").write_text("raise RuntimeError\ndef one(logits, target, a): ...")
    monkeypatch.syspath_prepend(tmp_path)
    text = SMALL.replace("method: tks}", "method: losses_of_mine:one, params: {kwargs: {a: 1}}}")
    recipe = load_recipe(write(text + "    method: {alpha: 0.1}\n"))
    run = expand(recipe, overrides=["method.temperature=2"])[0]
    assert run.name == "cifar10/spiking_resnet19/losses_of_mine.one"
    assert (run.spec.method.name, run.spec.method.params) == ("losses_of_mine:one", {"a": 1})


@pytest.fixture
def outside(write, tmp_path: Path, monkeypatch):  # type: ignore[no-untyped-def]
    """Run of a method in a package of the user's, of which nothing is imported."""
    folder = tmp_path / "package_of_mine"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(tmp_path)

    def plan(code: str, params: str = "{}") -> Run:
        (folder / "late.py").write_text(f"{code}\ndef loss(logits, target): ...\n" if code.startswith("a =") else code)
        text = SMALL.replace("method: tks}", f'method: "package_of_mine.late:loss", params: {params}}}')
        return expand(load_recipe(write(text)))[0]

    return plan


def test_an_edited_method_from_outside_is_another_run(outside) -> None:  # type: ignore[no-untyped-def]
    first, again, edited = outside("a = 1"), outside("a = 1"), outside("a = 2")
    assert first.id == again.id
    assert first.group == again.group
    assert edited.id != first.id
    assert edited.group != first.group
    assert Run.from_json(json.loads(json.dumps(first.to_json()))) == first


def test_a_recipe_may_state_the_hash_of_the_method_it_means(outside) -> None:  # type: ignore[no-untyped-def]
    source = outside("a = 1").spec.method.source
    assert outside("a = 1", f"{{source: '{source}'}}").id == outside("a = 1").id
    with pytest.raises(
        RecipeError, match=rf"small\.yaml:10: method\.source: {source}, but the file's is [0-9a-f]{{16}}"
    ):
        outside("a = 2", f"{{source: '{source}'}}")


def test_a_hash_that_is_not_the_files_is_told_where_it_is_stated(outside, write) -> None:  # type: ignore[no-untyped-def]
    source = outside("a = 1").spec.method.source
    stated = f"tks:\n    name: package_of_mine.late:loss\n    source: {'f' * 16}"
    assert problems(write(SMALL.replace("tks: {alpha: 0.3}", stated))) == [
        f"small.yaml:9: method.source: {'f' * 16}, but the file's is {source}"
    ]


def test_a_module_that_is_not_there_is_told_by_its_name(write) -> None:  # type: ignore[no-untyped-def]
    assert problems(write(SMALL.replace("method: tks}", 'method: "nowhere.at_all:loss"}'))) == [
        "small.yaml:10: method 'nowhere.at_all:loss': there is no module 'nowhere.at_all' with a source file; "
        "install it, or use python -m tksbench.launch in the folder that holds it"
    ]


@pytest.mark.parametrize("name", ["package_of_mine.none:loss", "package_of_mine.late.deeper:loss", "math:exp"])
def test_a_method_without_a_source_file_is_refused(outside, write, name: str) -> None:  # type: ignore[no-untyped-def]
    outside("a = 1")
    told = problems(write(SMALL.replace("method: tks}", f'method: "{name}"}}')))
    assert "there is no module" in told[0]
    assert "with a source file" in told[0]


@pytest.mark.parametrize(
    ("code", "kwargs", "message"),
    [
        ("def loss(o, y, gain=1): ...", "gian: 1", "method.kwargs.gian: M has no such parameter; did you mean 'gain'?"),
        ("def loss(o, y, /, *, gain=1): ...", "gian: 1", "did you mean 'gain'?"),
        ("def loss(o, y): ...", "gain: 1", "method.kwargs.gain: M has no such parameter"),
        ("BOUND = 1\ndef loss(o, y): ...", "gain: 1", "method.kwargs.gain: M has no such parameter"),
        ("def loss(o, y, **more): ...", "y: 1", "method.kwargs.y: M has no such parameter"),
        ("def loss(o, y, gain): ...", "", "M needs a value for 'gain': it has no default"),
        ("def loss(o, y, *, a=1, gain): ...", "", "M needs a value for 'gain'"),
        ("def loss(o): ...", "", "M takes 1 positional, but is given 2"),
        ("def los(o, y): ...", "", "late.py has no 'loss'; did you mean 'los'?"),
        ("def loss(o, y:\n", "", "late.py is no Python that can be read: line 1: "),
        ("def loss(o, y, gain: float): ...", "gain: x", "method.kwargs.gain: expected a number, got 'x'"),
        ("def loss(o, y, gain: Literal[1, 2] = 1): ...", "gain: 3", "method.kwargs.gain: expected 1 or 2, got 3"),
        ("loss = '\0'", "", "late.py is no Python that can be read: "),
    ],
)
def test_a_call_that_a_method_from_outside_cannot_take_is_told_by_its_file(  # type: ignore[no-untyped-def]
    outside, code: str, kwargs: str, message: str
) -> None:
    with pytest.raises(RecipeError) as error:
        outside(code, f"{{kwargs: {{{kwargs}}}}}")
    assert len(error.value.problems) == 1
    assert error.value.problems[0].where.endswith("small.yaml:10")
    assert message.replace("M", "method 'package_of_mine.late:loss'") in str(error.value)


@pytest.mark.parametrize(
    "code",
    [
        "def loss(o, y, gain, more=2): ...",
        "def loss(o, y, **more): ...",
        "def loss(*both, gain=1): ...",
        "def loss(o, y, *, gain): ...",
        "@wraps\ndef loss(o): ...",
        "def loss(o): ...\nloss = other",
        "if x:\n    def loss(o): ...\nelse:\n    def loss(o, y): ...",
        "from elsewhere import loss",
        "from elsewhere import *",
        "def loss(o): ...\nfrom elsewhere import *",
        "def __getattr__(name): ...  # loss",
        "class loss(Base): ...",
        "def loss(o, y, /, gain): ...",
        "def loss(o, y, gain): ...\ndef other(): ...",
    ],
)
def test_what_a_file_does_not_tell_of_a_method_is_left_to_the_trainer(outside, code: str) -> None:  # type: ignore[no-untyped-def]
    assert outside(code, "{kwargs: {gain: 1}}").spec.method.params == {"gain": 1}


def test_a_file_without_functions_has_none_to_suggest(outside) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RecipeError, match=r"has no 'loss'$"):
        outside("")


@pytest.mark.parametrize(
    ("code", "function"),
    [("class Losses:\n    def one(logits, target): ...", "Losses.one"), ("import os.path", "os.fspath")],
)
def test_a_method_may_be_what_something_in_its_module_holds(  # type: ignore[no-untyped-def]
    write, tmp_path: Path, monkeypatch, code: str, function: str
) -> None:
    (tmp_path / "holder_of_mine.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    path = write(SMALL.replace("method: tks}", f'method: "holder_of_mine:{function}"}}'))
    assert expand(load_recipe(path))[0].spec.method.name == f"holder_of_mine:{function}"


def test_a_method_whose_file_cannot_be_read_is_told(write, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    gone = tmp_path / "gone.py"  # as a file that goes away after it was found
    monkeypatch.setattr("tksbench.recipe.outside.source_file", lambda name: gone)
    (told,) = problems(write(SMALL.replace("method: tks}", 'method: "gone:loss"}')))
    assert told == (
        f"small.yaml:10: method 'gone:loss': {gone} is no Python that can be read: "
        f"[Errno 2] No such file or directory: '{gone}'"
    )


def test_first_seed_is_the_recipes_and_survives_json(write) -> None:  # type: ignore[no-untyped-def]
    runs = expand(load_recipe(write(SMALL.replace("runs:", "first_seed: 7\nruns:"))), seeds=2)
    assert {(run.seed, run.first_seed) for run in runs} == {(7, 7), (8, 7)}
    assert Run.from_json(json.loads(json.dumps(runs[-1].to_json()))) == runs[-1]


@pytest.mark.parametrize("seeds", [2**31, 10_000])
def test_too_many_seeds_are_refused(write, seeds: int) -> None:  # type: ignore[no-untyped-def]
    assert f"{seeds} seeds" in problems(write(SMALL), seeds=seeds)[0]


def test_seeds_beyond_the_last_there_is_are_refused(write) -> None:  # type: ignore[no-untyped-def]
    text = SMALL.replace("runs:", f"first_seed: {2**31 - 2}\nruns:")
    assert len(expand(load_recipe(write(text)), seeds=2)) == 6
    assert problems(write(text), seeds=3)[0].endswith(f"3 seeds from first_seed {2**31 - 2} on go beyond 2**31 - 1")


def at_most(monkeypatch: pytest.MonkeyPatch, runs: int) -> None:
    for module in ("tksbench.recipe.expand", "tksbench.recipe.entry"):
        monkeypatch.setattr(importlib.import_module(module), "MAX_RUNS", runs)


def test_as_many_runs_as_allowed_are_planned_and_no_more(write, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    # By import_module, as the package calls its function by the same name.
    at_most(monkeypatch, 6)
    assert len(expand(load_recipe(write(SMALL)), seeds=2)) == 6
    assert problems(write(SMALL), seeds=3)[0].endswith("3 seeds of 3 runs: more than 6 runs")


def test_a_recipe_of_more_runs_than_allowed_is_told_where_they_become_too_many(write, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    path = write(SMALL)
    at_most(monkeypatch, 3)
    assert len(expand(load_recipe(path))) == 3
    at_most(monkeypatch, 2)
    assert problems(path) == ["small.yaml:11: more than 2 runs"]


def test_a_grid_of_more_runs_than_allowed_is_told(write, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    at_most(monkeypatch, 1)
    assert problems(write(SMALL)) == ["small.yaml:11: grid: more than 1 runs"]


def test_what_is_wrong_with_a_run_does_not_hide_what_is_with_the_next(write) -> None:  # type: ignore[no-untyped-def]
    text = SMALL.replace("{method: tks}", "{method: tks, model: {T: x}}").replace("[1, 2]", "[y]")
    assert problems(write(text)) == [
        "small.yaml:10: model.T: expected a whole number, got 'x'",
        "small.yaml:11: model.T: expected a whole number, got 'y'",
    ]


def test_a_recipe_without_a_name_names_its_runs_by_data_network_and_method(write) -> None:  # type: ignore[no-untyped-def]
    (_, _, text) = SMALL.partition("\n")
    assert expand(load_recipe(write(text)))[0].name == "cifar10/spiking_resnet19/tks"


def test_a_recipes_own_name_is_that_of_its_runs(write) -> None:  # type: ignore[no-untyped-def]
    text = SMALL.replace("{data.name}/{model.name}/{method}", "{method}-{model.T}")
    assert expand(load_recipe(write(text)))[0].name == "tks-4"


def test_a_method_that_cannot_be_in_a_name_is_told_at_the_recipes_head(write) -> None:  # type: ignore[no-untyped-def]
    text = SMALL.partition("\n")[2].replace("  tks_mean:", '  "a b":').replace("{method: tks}", "{method: a b}")
    assert problems(write(text)) == [
        "small.yaml:1: name: 'cifar10/spiking_resnet19/a b' may hold letters, digits and _=,.+- between slashes"
    ]


def test_a_network_for_events_takes_images_and_the_reverse(write) -> None:  # type: ignore[no-untyped-def]
    recipe = load_recipe(write(SMALL))
    assert expand(recipe, overrides=["model.name=vgg_snn"])  # by direct coding, see test_networks
    assert expand(recipe, overrides=["data.name=nmnist", "data.augment=none"])


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is a folder; name a recipe in it"):
        load_recipe(tmp_path)


def test_source_auto_follows_the_data_root() -> None:
    recipe = load_recipe(RECIPES / "cifar10.yaml")
    there = expand(recipe, "smoke", has_real=lambda name: True)[0]
    absent = expand(recipe, "smoke", has_real=lambda name: False)[0]
    assert (there.spec.data.source, absent.spec.data.source) == ("real", "miniature")
    assert there.id != absent.id


def test_stand_in_data_have_one_identity_under_both_names() -> None:
    recipe = load_recipe(RECIPES / "cifar10.yaml")
    absent = expand(recipe, "smoke", has_real=lambda name: False)[0]
    for word in ("stand-in", "miniature"):
        assert expand(recipe, "smoke", overrides=[f"data.source={word}"])[0].id == absent.id
    with pytest.raises(
        RecipeError, match=r"data\.source: expected 'real', 'stand-in', 'twin' or 'auto', got 'standin'"
    ):
        expand(recipe, "smoke", overrides=["data.source=standin"])


def test_source_auto_asks_for_the_data_set_by_name() -> None:
    recipe = load_recipe(RECIPES / "cifar10.yaml")
    assert expand(recipe, "smoke", has_real=lambda name: name == "cifar10")[0].spec.data.source == "real"


def spec() -> RunSpec:
    return expand(load_recipe(RECIPES / "cifar10.yaml"))[0].spec


def test_a_specification_may_be_made_of_parts_that_are_made() -> None:
    made = spec()
    assert RunSpec.model_validate({name: getattr(made, name) for name in type(made).model_fields}) == made


def test_identity_holds_the_seed_and_the_group_does_not() -> None:
    one, two = spec(), spec().model_copy(update={"seed": 43})
    assert run_id(one) != run_id(two)
    assert group_id(one) == group_id(two)
    assert run_id(one) != group_id(one)


def test_execution_is_not_identity() -> None:
    recipe = load_recipe(RECIPES / "cifar10.yaml")
    more = expand(recipe, overrides=["execution.workers=3", "execution.checkpoint_minutes=1"])
    assert [run.id for run in more] == [run.id for run in expand(recipe)]


def test_identity_of_the_paper_run_is_what_it_was() -> None:
    # Changing this id orphans every committed record: bump a component version instead, on purpose.
    assert expand(load_recipe(RECIPES / "cifar10.yaml"))[0].id == "037920831d35a4ee"


def test_schema_defaults_are_what_they_were() -> None:
    # Values at their default stay out of the hash; a changed default would give an old id a new meaning.
    defaults = {
        "tks": catalogue.kind("method", "tks")(name="tks").params,
        "tet": catalogue.kind("method", "tet")(name="tet").params,
        "ls": catalogue.kind("method", "label_smoothing")(name="label_smoothing").params,
        "data": {key: field.default for key, field in DataSpec.model_fields.items() if not field.is_required()},
        "evaluation": EvalSpec().model_dump(),
        "numerics": NumericsSpec().model_dump(),
        "optim": {key: field.default for key, field in BuiltInOptim.model_fields.items() if not field.is_required()},
    }
    assert defaults == {
        "tks": {
            "alpha": 0.7,
            "temperature": 3.0,
            "schedule": "linear_epoch",
            "agg": "sum",
            "fallback": "uniform",
            "detach": False,
            "t2": True,
            "ce": "mean_logits",
        },
        "tet": {"lamb": 0.0, "means": 1.0},
        "ls": {"eps": 0.1},
        "data": {
            "source": "real",
            "norm": "official",
            "train_subset": None,
            "test_subset": None,
            "image_size": None,
            "framing": "time",
            "split": "natural",
            "overflow": True,
            "repair": False,
            "loops": 6,
        },
        "evaluation": {"every": 1, "batch_size": 256},
        "numerics": {"precision": "fp32", "neuron": "auto", "deterministic": True},
        "optim": {
            "decays": "matrices",
            "linear_lr": None,
            "amsgrad": False,
            "nesterov": True,
            "cosine_epochs": None,
            "drop_every": None,
            "clip_norm": None,
            "beta1": 0.9,
            "beta2": 0.999,
            "eps": 1e-8,
            "momentum": 0.9,
            "warmup_epochs": 5,
            "warmup_lr": 1e-6,
            "min_lr": 1e-5,
            "replica_batch": None,
            "drop_last": True,
            "schedule": None,
        },
    }


def test_run_survives_json() -> None:
    run = expand(load_recipe(RECIPES / "imagenet.yaml"), "mini")[1]
    assert Run.from_json(json.loads(json.dumps(run.to_json()))) == run


def test_doctored_run_is_refused() -> None:
    plain = expand(load_recipe(RECIPES / "cifar10.yaml"))[0].to_json()
    plain["spec"]["optim"]["epochs"] = 599
    with pytest.raises(RecipeError, match="hashes to"):
        Run.from_json(plain)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_committed_recipes_are_valid_at_every_scale(path: Path) -> None:
    recipe = load_recipe(path)
    for scale in ("paper", "budget", "mini", "smoke"):
        assert expand(recipe, scale)


@pytest.mark.parametrize(
    ("file", "method", "expected"),
    [
        ("cifar10", "tks", {"alpha": 0.7, "temperature": 3.0}),
        ("cifar100", "tks", {"alpha": 0.7, "temperature": 3.0}),
        ("imagenet", "tks", {"alpha": 0.7, "temperature": 1.0}),
    ],
)
def test_paper_constants(file: str, method: str, expected: dict[str, float]) -> None:
    runs = [run for run in expand(load_recipe(RECIPES / f"{file}.yaml")) if run.spec.method.name == method]
    assert runs
    for run in runs:
        assert expected.items() <= run.spec.method.params.items()
        assert (run.spec.model.T, run.spec.optim.batch_size, run.spec.optim.lr) == (4, 128, 6.25e-4)


BORROWED = """\
methods:
  label_smoothing: {eps: 0.2}
runs:
  - {from: small.yaml, grid: {method: [tks, label_smoothing]}}
  - {from: small.yaml, method: tks, params: {detach: true, alpha: 0.5}, name: "c/{params.alpha}"}
scales:
  paper: {}
  mini: {}
"""


@pytest.fixture
def borrow(write, tmp_path: Path):  # type: ignore[no-untyped-def]
    def writer(text: str = BORROWED, small: str = SMALL) -> Path:
        write(small)
        path = tmp_path / "borrowed.yaml"
        path.write_text(text)
        return path

    return writer


def test_run_from_another_recipe_is_the_same_run(borrow, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    theirs = expand(load_recipe(tmp_path / borrow().with_name("small.yaml")))[0]
    ours = expand(load_recipe(borrow()))[0]
    assert (ours.id, ours.name) == (theirs.id, "cifar10/spiking_resnet19/tks")
    assert ours.recipe != theirs.recipe


def test_run_from_another_recipe_takes_its_scale_but_not_its_choice_of_runs(borrow) -> None:  # type: ignore[no-untyped-def]
    runs = expand(load_recipe(borrow()), "mini")
    assert [(run.name, run.seed, run.spec.optim.epochs) for run in runs] == [
        ("cifar10/spiking_resnet19/tks", 42, 2),
        ("cifar10/spiking_resnet19/label_smoothing", 42, 2),
        ("c/0.5", 42, 2),
    ]


def test_the_other_recipe_may_be_an_axis_of_a_grid(borrow) -> None:  # type: ignore[no-untyped-def]
    text = BORROWED.partition("  - {from: small.yaml, method: tks,")[0]
    axis = text.replace("{from: small.yaml, grid: {method", "{grid: {from: [small.yaml], method")
    assert axis != text
    assert [run.id for run in expand(load_recipe(borrow(axis)))] == [
        run.id for run in expand(load_recipe(borrow(text)))
    ]


def test_own_words_are_laid_over_the_other_recipe(borrow) -> None:  # type: ignore[no-untyped-def]
    text = BORROWED.replace("mini: {}", "mini: {optim: {epochs: 3}, execution: {workers: 2}}")
    run = expand(load_recipe(borrow(text)), "mini")[1]
    assert (run.spec.method.params, run.spec.optim.epochs, run.execution.workers) == ({"eps": 0.2}, 3, 2)


def test_params_are_laid_over_the_method(borrow) -> None:  # type: ignore[no-untyped-def]
    params = expand(load_recipe(borrow()))[2].spec.method.params
    assert (params["detach"], params["alpha"], params["temperature"]) == (True, 0.5, 3.0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{detach: true", "{detahc: true", "borrowed.yaml:5: method.detahc: unknown key; did you mean 'detach'?"),
        ("{from: small.yaml", "{from: smal.yaml", "borrowed.yaml:4: from: "),
        ("{from: small.yaml", "{from: 3", "borrowed.yaml:4: from: expected the file name of a recipe, got 3"),
        ("{from: small.yaml, grid", "{grid", "borrowed.yaml:1: the key 'protocol' is missing"),
        ("mini: {}", "smoke: {}", "borrowed.yaml:4: from: small.yaml has no scale 'smoke'"),
        ("{from: small.yaml, grid", "{from: borrowed.yaml, grid", "from: borrowed.yaml has no protocol of its own"),
    ],
)
def test_wrong_words_about_another_recipe(borrow, old: str, new: str, message: str) -> None:  # type: ignore[no-untyped-def]
    path = borrow(BORROWED.replace(old, new, 1))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert any(message in str(problem).replace(f"{path.parent}/", "") for problem in caught.value.problems)


def test_fault_in_the_other_recipe_is_told_with_its_own_place(borrow) -> None:  # type: ignore[no-untyped-def]
    path = borrow(small=SMALL.replace("lr: 1e-3", "lr: fast"))
    with pytest.raises(RecipeError, match=r"small\.yaml:5: optim\.lr: expected a number, got 'fast'"):
        load_recipe(path)


def test_a_name_that_is_no_files_is_not_looked_for(borrow) -> None:  # type: ignore[no-untyped-def]
    path = borrow(BORROWED.replace("{from: small.yaml, grid", "{from: 3, grid"))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(caught.value) == f"{path}:4: from: expected the file name of a recipe, got 3"


def test_every_run_of_a_recipe_without_the_scale_is_told(borrow) -> None:  # type: ignore[no-untyped-def]
    path = borrow(BORROWED.replace("mini: {}", "smoke: {}"))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert [problem.where for problem in caught.value.problems] == [f"{path}:4", f"{path}:5"]


def test_every_recipe_that_is_not_there_is_told(borrow) -> None:  # type: ignore[no-untyped-def]
    text = BORROWED.replace("from: small.yaml, grid", "from: one.yml, grid").replace("from: small", "from: other")
    with pytest.raises(RecipeError) as caught:
        load_recipe(borrow(text))
    assert [problem.message.partition(": no such")[0].rpartition("/")[2] for problem in caught.value.problems] == [
        "one.yml",
        "other.yaml",
    ]


def model_of(path: Path, *overrides: str) -> dict[str, object]:
    plain: dict[str, object] = expand(load_recipe(path), overrides=overrides)[0].spec.model.model_dump(
        exclude_defaults=True
    )
    return plain


NEURON = "  model: {name: spiking_resnet19, T: 4, neuron: {tau: 3.0, surrogate: {name: arctan, alpha: 3.0}}}"


@pytest.fixture
def with_neuron(write) -> Path:  # type: ignore[no-untyped-def]
    (old,) = (line for line in SMALL.splitlines() if line.startswith("  model:"))
    path: Path = write(SMALL.replace(old, NEURON))
    return path


def test_a_component_given_parameters_alone_is_the_default_one(with_neuron: Path) -> None:
    surrogate = {"name": "arctan", "alpha": 3.0}
    assert model_of(with_neuron)["neuron"] == {"name": "lif", "tau": 3.0, "surrogate": surrogate}
    assert model_of(with_neuron, "model.neuron.tau=4")["neuron"] == {"name": "lif", "tau": 4.0, "surrogate": surrogate}


def test_a_component_of_another_name_takes_over_nothing_from_the_one_before(with_neuron: Path) -> None:
    assert model_of(with_neuron, "model.neuron.name=relu")["neuron"] == {"name": "relu"}
    assert model_of(with_neuron, "model.neuron.name=lif")["neuron"] == model_of(with_neuron)["neuron"]
    other = model_of(with_neuron, "model.neuron.surrogate.name=sigmoid")["neuron"]
    assert other == {"name": "lif", "tau": 3.0, "surrogate": {"name": "sigmoid"}}


def test_a_network_of_another_name_keeps_what_all_networks_have(with_neuron: Path, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "network_of_mine.py").write_text("def net(num_classes, T, in_chans, width, kit, depth=2): ...")
    monkeypatch.syspath_prepend(tmp_path)
    named = NEURON.replace("spiking_resnet19", '"network_of_mine:net", depth: 3').replace("T: 4", "T: 4, width: 0.5")
    (old,) = (line for line in with_neuron.read_text().splitlines() if line.startswith("  model:"))
    with_neuron.write_text(with_neuron.read_text().replace(old, named).replace("model.name}", "data.augment}"))
    outside = model_of(with_neuron)
    assert (outside["name"], outside["kwargs"], outside["width"]) == ("network_of_mine:net", {"depth": 3}, 0.5)
    ours = model_of(with_neuron, "model.name=vgg_snn")
    assert set(ours) == {"name", "T", "width", "neuron"}
    (told,) = problems(with_neuron, overrides=["model.deepth=3"])
    assert told.endswith("model.deepth: model 'network_of_mine:net' has no such parameter; did you mean 'depth'?")


def test_a_scale_alone_is_looked_at_where_it_is_asked_for(write) -> None:  # type: ignore[no-untyped-def]
    path = write(SMALL)
    recipe = load_recipe(path, "paper")
    assert list(recipe.checked) == ["paper"]
    assert expand(recipe, "paper") == expand(load_recipe(path), "paper")
    assert list(load_recipe(path, "absent").checked) == recipe.scales
