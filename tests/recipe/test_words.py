"""What is wrong with a recipe is told in its author's words: whole messages, from pydantic's and from our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.recipe.test_expand import SMALL, spec
from tksbench.recipe import RecipeError, Run, expand, load_recipe
from tksbench.recipe.errors import Problem, suggest
from tksbench.recipe.execution import Execution
from tksbench.recipe.extras import missing_extra, missing_package
from tksbench.recipe.source import source_digest, source_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def recipe(tmp_path: Path):  # type: ignore[no-untyped-def]
    def writer(text: str = SMALL) -> Path:
        path = tmp_path / "small.yaml"
        path.write_text(text)
        return path

    return writer


def told(path: Path, *words: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        expand(load_recipe(path), overrides=words)
    return str(caught.value).replace(str(path), "small.yaml").splitlines()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("optim.name=lamb", "optim: unknown optimizer 'lamb'; known: adam, adamw, sgd"),
        ("optim.drop_last=yes", "optim.drop_last: expected a boolean, got 'yes' (write true or false)"),
        ("optim.drop_last=OFF", "optim.drop_last: expected a boolean, got 'OFF' (write true or false)"),
        ("optim.drop_last=no", "optim.drop_last: expected a boolean, got 'no' (write true or false)"),
        ("optim.drop_last=on", "optim.drop_last: expected a boolean, got 'on' (write true or false)"),
        ("optim.drop_last=2", "optim.drop_last: expected a boolean, got 2"),
        ("optim.drop_last=maybe", "optim.drop_last: expected a boolean, got 'maybe'"),
        ("data.norm=on", "data.norm: expected 'official' or 'consistent', got 'on'"),
        ("model.width=on", "model.width: expected a number, got 'on'"),
        ("execution.zero=9", "execution.zero: expected 0, 1, 2 or 3, got 9"),
        (
            "execution.gpus=9",
            "execution.gpus: unknown key; known: checkpoint_minutes, device, threads, track, workers, zero",
        ),
        ("model=3", "model: expected keys and values (model.KEY=VALUE), got 3"),
        ("optim.beta=0.5", "optim.beta: unknown key; did you mean 'beta2'?"),
        ("model={T: 2, T: 3}", "T: given twice (first at command line 'model={T: 2, T: 3}':1)"),
        ("model=[", "not valid YAML"),
        (
            "sed=3",
            "unknown key 'sed'; known: T, classifier, data, evaluation, execution, features, kind, method, mix, "
            "model, numerics, optim, start",
        ),
        ("repair=true", "unknown key 'repair'; did you mean data.repair?"),
        ("batch_size=8", "unknown key 'batch_size'; did you mean evaluation.batch_size or optim.batch_size?"),
        ("executoin.workers=1", "unknown key 'executoin.workers'; did you mean 'execution'?"),
        ("methd.alpha=1", "unknown key 'methd.alpha'; did you mean 'method'?"),
        ("model.width.x=1", "model.width: expected a number, got {'x': 1}"),
        ("=3", "an override is written KEY=VALUE, for example optim.epochs=3"),
        ("seed=3", "seeds are chosen with --seeds N"),
    ],
)
def test_an_override_is_told_what_is_wrong_with_it(recipe, word: str, message: str) -> None:  # type: ignore[no-untyped-def]
    (line,) = told(recipe(), word)
    assert line.startswith(f"command line '{word}': {message}")
    assert line == f"command line '{word}': {message}" or message == "not valid YAML"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("alpha: 0.3", "alhpa: 0.3", "small.yaml:7: method.alhpa: unknown key; did you mean 'alpha'?"),
        ("alpha: 0.3", "nam: x", "small.yaml:7: method.nam: unknown key; known: agg, alpha, ce, detach, fallback, "),
        ("alpha: 0.3", "kwargs: {}", "small.yaml:7: method.kwargs: unknown key; known: agg, alpha, ce, detach, "),
        ("{alpha: 0.3}", "{name: tkz}", "small.yaml:7: method: unknown method 'tkz'; did you mean 'tks'?"),
        ("{alpha: 0.3}", "{name: 3}", "small.yaml:7: method: unknown method 3; known: baseline, label_smoothing, "),
        ("model: {name: spiking_resnet19, T: 4}", "model: []", "small.yaml:4: model: expected keys and values "),
        ("{method: tks}", "{method: [tks]}", "small.yaml:10: method: expected the name of a method"),
        ("{method: tks}", "{params: {alpha: 1}}", "small.yaml:10: method: expected the name of a method"),
        ("  data: {name: cifar10, augment: plain}\n", "", "small.yaml:9: data: is missing"),
        ('only: "c/*"', 'onli: "c/*"', "small.yaml:15: scales.mini.onli: unknown key; did you mean 'only'?"),
        ("{method: tks}", "{method: tks, gird: {}}", "small.yaml:10: runs.gird: unknown key; did you mean 'grid'?"),
        ("runs:\n", "seeds: 0\nruns:\n", "small.yaml:9: seeds: expected a whole number of at least 1, got 0"),
        (
            "paper: {}",
            "paper: 3",
            "small.yaml:13: scales.paper: expected a mapping with some of the keys data, model, ",
        ),
        (
            "protocol:\n",
            "protocol:\n  optimm: {}\n",
            "small.yaml:3: protocol.optimm: unknown key; did you mean 'optim'?",
        ),
        (
            "runs:\n",
            "first_seed: 2147483646\nseeds: 3\nruns:\n",
            "small.yaml:10: seeds: 3 from first_seed 2147483646 on go beyond 2**31 - 1",
        ),
        ("epochs: 10, ", "", "small.yaml:5: optim.epochs: is missing"),
        ("T: 4}", "T: 0}", "small.yaml:4: model.T: expected greater than or equal to 1, got 0"),
        ("augment: plain", "augment: plain, train_subset: 0", "small.yaml:3: data.train_subset: expected greater "),
    ],
)
def test_a_recipe_is_told_what_is_wrong_with_it(recipe, old: str, new: str, message: str) -> None:  # type: ignore[no-untyped-def]
    assert old in SMALL
    assert any(line.startswith(message) for line in told(recipe(SMALL.replace(old, new, 1))))


def test_a_wrong_method_does_not_hide_what_else_is_wrong(recipe) -> None:  # type: ignore[no-untyped-def]
    text = SMALL.replace("{method: tks}", "{method: tkz, params: {alpha: 1}, model: {T: x}}")
    assert told(recipe(text)) == [
        "small.yaml:10: unknown method 'tkz'; did you mean 'tks'?",
        "small.yaml:10: model.T: expected a whole number, got 'x'",
    ]


def test_an_override_may_hold_an_equals_sign(recipe) -> None:  # type: ignore[no-untyped-def]
    (line,) = told(recipe(), "data.name=a=b")
    assert line.startswith("command line 'data.name=a=b': data: unknown data set 'a=b'; known: ")


def test_problems_come_by_line_without_repeats_and_those_without_one_first() -> None:
    problems = [
        Problem("x:10", "a"),
        Problem("x:y:9", "b"),
        Problem("there", "c"),
        Problem("x:10", "a"),
        Problem("y:0", "d"),
    ]
    assert [problem.message for problem in RecipeError(problems).problems] == ["c", "d", "b", "a"]
    assert str(RecipeError(problems)) == "there: c\ny:0: d\nx:y:9: b\nx:10: a"


def test_the_nearest_word_is_suggested_or_all_are_named() -> None:
    assert suggest("epoch", ["lr", "epochs"]) == "did you mean 'epochs'?"
    assert suggest("zzz", ["lr", "epochs"]) == "known: epochs, lr"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spec": None}, "not a run: spec: Input should be a valid dictionary or instance of RunSpec"),
        ({"overrides": None}, "not a run: 'NoneType' object is not iterable"),
        ({"first_seed": "x"}, "not a run: invalid literal for int() with base 10: 'x'"),
    ],
)
def test_a_run_json_that_is_no_run_says_so(recipe, change: dict[str, Any], message: str) -> None:  # type: ignore[no-untyped-def]
    plain = expand(load_recipe(recipe()))[0].to_json()
    with pytest.raises(RecipeError) as caught:
        Run.from_json(plain | change)
    assert str(caught.value) == f"run.json: {message}"


def test_a_run_json_whose_method_is_none_says_so(recipe) -> None:  # type: ignore[no-untyped-def]
    plain = expand(load_recipe(recipe()))[0].to_json()
    plain["spec"]["method"] = 3
    with pytest.raises(RecipeError, match=r"^run.json: not a run: method: Input should be a valid dictionary"):
        Run.from_json(plain)


def test_a_missing_part_of_run_json_is_named(recipe) -> None:  # type: ignore[no-untyped-def]
    plain = expand(load_recipe(recipe()))[0].to_json()
    del plain["group"]
    with pytest.raises(RecipeError, match=r"^run.json: not a run: 'group'$"):
        Run.from_json(plain)


def test_a_run_json_under_another_id_is_refused(recipe) -> None:  # type: ignore[no-untyped-def]
    run = expand(load_recipe(recipe()))[0]
    with pytest.raises(RecipeError) as caught:
        Run.from_json(run.to_json() | {"id": "f" * 16})
    assert str(caught.value) == f"run.json: the spec hashes to {run.id}, not to its id {'f' * 16}"


def test_a_run_json_is_plain_json_with_all_of_the_run(recipe) -> None:  # type: ignore[no-untyped-def]
    run = expand(load_recipe(recipe()), overrides=["optim.lr=0.5"])[0]
    plain = run.to_json()
    assert list(plain) == ["id", "group", "name", "recipe", "scale", "seed", "spec", "execution", "overrides"]
    assert Run.from_json(plain) == run
    assert plain["overrides"] == ["optim.lr=0.5"]


# ---- optional packages


@pytest.fixture
def no_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any optional package."""
    monkeypatch.setattr("tksbench.recipe.extras.find_spec", lambda name: None)


@pytest.fixture
def all_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with the optional packages, under their own names."""
    there = {"deepspeed", "wandb", "trackio", "tensorboard"}
    monkeypatch.setattr("tksbench.recipe.extras.find_spec", lambda name: name if name in there else None)


@pytest.mark.usefixtures("no_extras")
def test_zero_without_deepspeed_is_told_what_to_install() -> None:
    execution = Execution(zero=2, track="wandb")
    assert missing_package(execution) == "DeepSpeed"
    assert missing_extra(execution) == (
        "execution.zero 2 needs DeepSpeed: make env EXTRAS=deepspeed (or pip install 'tksbench[deepspeed]'); "
        "execution.zero=0 trains without it"
    )


@pytest.mark.usefixtures("no_extras")
def test_a_tracker_that_is_not_there_is_told_what_to_install() -> None:
    assert missing_package(Execution(track="wandb")) == "wandb"
    assert missing_extra(Execution(track="wandb")) == (
        "execution.track wandb needs that package: pip install wandb; execution.track=none trains without it"
    )
    assert missing_extra(Execution(track="tensorboard")) == (
        "execution.track tensorboard needs that package: make env, or pip install tensorboard; "
        "execution.track=none trains without it"
    )


@pytest.mark.usefixtures("no_extras")
def test_nothing_is_missing_where_nothing_is_asked_for() -> None:
    assert missing_extra(Execution()) is None


@pytest.mark.usefixtures("all_extras")
@pytest.mark.parametrize("execution", [Execution(zero=1), Execution(track="trackio"), Execution(zero=3, track="wandb")])
def test_nothing_is_missing_where_all_is_installed(execution: Execution) -> None:
    assert missing_extra(execution) is None
    assert missing_package(execution) == execution.track


def test_two_ways_to_the_ids_agree() -> None:
    from tksbench.recipe import group_id, run_and_group_id, run_id

    assert run_and_group_id(spec()) == (run_id(spec()), group_id(spec()))


def test_parameters_of_a_method_from_outside_are_suggested_too(recipe, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "outside_words.py").write_text("def loss(logits, target): ...")
    monkeypatch.syspath_prepend(tmp_path)
    text = SMALL.replace("{method: tks}", '{method: "outside_words:loss", params: {kwrgs: {}}}')
    assert told(recipe(text)) == ["small.yaml:10: method.kwrgs: method 'outside_words:loss' has no such parameter"]


def test_the_digest_of_a_method_is_as_long_as_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside_digest.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert source_digest("outside_digest:loss") == "e3b0c44298fc1c14"  # SHA-256 of nothing


def test_a_module_is_not_looked_for_in_one_that_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("outside_plain.py", "deeper.py"):
        (tmp_path / name).touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert source_file("outside_plain.deeper:loss") is None
    assert source_file("outside_plain:loss") == tmp_path / "outside_plain.py"


@pytest.mark.parametrize(
    ("old", "new", "line", "got"),
    [
        ("tks: {alpha: 0.3}", "tks:", 7, "nothing"),
        ("tks: {alpha: 0.3}", "tks: 3", 7, "3"),
        ("{method: tks}", "{method: tks, params: [1]}", 10, "[1]"),
    ],
)
@pytest.mark.parametrize("words", [[], ["method.alpha=0.1"]], ids=["plain", "with an overlay"])
def test_parameters_that_are_no_mapping_are_told(  # type: ignore[no-untyped-def]
    recipe,
    old: str,
    new: str,
    line: int,
    got: str,
    words: list[str],
) -> None:
    message = f"small.yaml:{line}: method 'tks': expected parameters as keys and values ({{}} for none), got {got}"
    assert told(recipe(SMALL.replace(old, new)), *words) == [message]


@pytest.mark.parametrize("key", ["alpha", "zzz"])
def test_an_overlay_of_a_method_that_is_none_says_no_more(recipe, key: str) -> None:  # type: ignore[no-untyped-def]
    text = SMALL.replace("tks: {alpha: 0.3}", "tks: {name: tkz}").partition("  - {method: baseline")[0]
    path = recipe(f"{text}scales:\n  paper: {{method: {{{key}: 1}}}}\n")
    assert told(path) == ["small.yaml:7: method: unknown method 'tkz'; did you mean 'tks'?"]


def test_a_parameter_of_no_possible_kind_is_told_by_its_key_alone(recipe, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "outside_kinds.py").write_text("def loss(logits, target, a=1): ...")
    monkeypatch.syspath_prepend(tmp_path)
    text = SMALL.replace("{method: tks}", '{method: "outside_kinds:loss", params: {kwargs: {a: [1]}}}')
    assert {line.partition(": expected")[0] for line in told(recipe(text))} == {"small.yaml:10: method.kwargs.a"}


def test_an_overlay_speaks_to_a_method_from_outside(recipe, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "outside_overlay.py").write_text("def loss(logits, target, a=1): ...")
    monkeypatch.syspath_prepend(tmp_path)
    text = SMALL.replace("{method: tks}", '{method: "outside_overlay:loss"}')
    path = recipe(text.partition("  - {method: baseline")[0])
    assert expand(load_recipe(path), overrides=["method.kwargs={a: 2}"])[0].spec.method.params == {"a": 2}
    (line,) = told(path, "method.kwargs=3")
    assert line.endswith("method.kwargs: expected keys and values (method.kwargs.KEY=VALUE), got 3")


OUTSIDE = "def loss(logits, target, a=1): ...\ndef other(logits, target, b=1): ...\n"


@pytest.fixture
def mixed(recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # type: ignore[no-untyped-def]
    """A recipe of TKS, the baseline, and two methods from outside with parameters `a` and `b`."""
    (tmp_path / "outside_mixed.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    own = '  - {method: "outside_mixed:loss"}\n  - {method: "outside_mixed:other"}\n'
    path: Path = recipe(SMALL.replace("runs:\n", f"runs:\n{own}", 1))
    return path


def test_arguments_on_the_command_line_reach_the_methods_that_have_them(mixed: Path) -> None:
    plain = {run.name: run.id for run in expand(load_recipe(mixed))}
    runs = expand(load_recipe(mixed), overrides=["method.kwargs.a=3"])
    assert {run.name.rpartition("/")[2]: run.spec.method.params for run in runs if "outside" in run.name} == {
        "outside_mixed.loss": {"a": 3},
        "outside_mixed.other": {},
    }
    assert {run.name for run in runs if run.id != plain[run.name]} == {"cifar10/spiking_resnet19/outside_mixed.loss"}


@pytest.mark.parametrize("written", ["{a: 5}", "{kwargs: {a: 5}}"])
@pytest.mark.parametrize(
    "words", [["method.a=3"], ["method.kwargs.a=3"], ["method.a=4", "method.kwargs.a=3"], ["method.kwargs={a: 3}"]]
)
def test_both_ways_to_name_an_argument_replace_the_recipes(mixed: Path, written: str, words: list[str]) -> None:
    text = mixed.read_text()
    mixed.write_text(text.replace('"outside_mixed:loss"}', f'"outside_mixed:loss", params: {written}}}'))
    runs = {run.name.rpartition("/")[2]: run for run in expand(load_recipe(mixed), overrides=words)}
    assert runs["outside_mixed.loss"].spec.method.params == {"a": 3}


@pytest.mark.parametrize("words", [["method.kwargs.c=3"], ["method.kwargs={c: 3}", "method.kwargs.a=2"]])
def test_an_argument_that_no_method_has_is_refused(mixed: Path, words: list[str]) -> None:
    (line,) = told(mixed, *words)
    assert line.startswith(f"command line '{words[0]}'")
    assert line.endswith("method.kwargs.c: no method here has such a parameter; known: a, b")


def test_an_argument_without_a_method_from_outside_is_refused(recipe) -> None:  # type: ignore[no-untyped-def]
    (line,) = told(recipe(), "method.kwargs.a=3")
    assert line.endswith("method.kwargs.a: is for methods from outside (module:function), and this recipe has none")


def test_a_recipe_is_a_mapping(recipe) -> None:  # type: ignore[no-untyped-def]
    keys = "about, undocumented, against, name, seeds, first_seed, protocol, methods, runs, scales, execution"
    assert told(recipe("- 1\n")) == [f"small.yaml:1: a recipe is a mapping with the keys {keys}"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("runs: 3", "runs: expected a list"),
        ("execution: 3", "execution: expected a mapping"),
        (
            "scales: {paper: 3}",
            "scales.paper: expected a mapping with some of the keys data, model, optim, evaluation, numerics, mix, "
            "kind, start, T, features, classifier, execution, method, only, seeds",
        ),
    ],
)
def test_a_part_of_the_wrong_kind_is_told_what_it_should_be(recipe, more: str, message: str) -> None:  # type: ignore[no-untyped-def]
    text = "protocol: {}\n" + more + ("" if more.startswith("runs") else "\nruns: [{method: tks}]") + "\n"
    assert told(recipe(text)) == [f"small.yaml:2: {message}"]


def test_a_recipe_without_runs_is_told(recipe) -> None:  # type: ignore[no-untyped-def]
    text = SMALL.partition("runs:")[0]
    assert told(recipe(text)) == ["small.yaml:1: the key 'runs' is missing"]


def test_a_protocol_may_name_the_method(recipe) -> None:  # type: ignore[no-untyped-def]
    text = SMALL.replace("protocol:\n", "protocol:\n  method: tks\n").replace("{method: tks}", "{}")
    assert expand(load_recipe(recipe(text)))[0].spec.method.name == "tks"


@pytest.mark.parametrize(("first", "last"), [(0, 1), (2**31 - 2, 2**31 - 1)])
def test_seeds_reach_from_0_to_the_last_there_is(recipe, first: int, last: int) -> None:  # type: ignore[no-untyped-def]
    path = recipe(SMALL.replace("runs:\n", f"first_seed: {first}\nseeds: 2\nruns:\n"))
    assert {run.seed for run in expand(load_recipe(path))} == {first, last}
