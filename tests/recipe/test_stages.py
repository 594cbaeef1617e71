"""Which run a recipe names as the one that another starts from, and what is wrong where it names none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tksbench.recipe import ConvertSpec, RecipeError, Run, expand, load_recipe
from tksbench.recipe.overrides import check_taken, partly_taken

ANN = """\
protocol:
  data: {name: cifar10, augment: none}
  model: {name: spiking_resnet19, T: 1, neuron: {name: relu}}
  optim: {name: adamw, lr: 1e-3, weight_decay: 0.0, epochs: 9, batch_size: 128, warmup_epochs: 0}
runs: [{name: ann, method: baseline}]
execution: {threads: 1}
scales: {paper: {}, mini: {data: {image_size: 16}}}
"""
CHILD = """\
protocol:
  data: {name: cifar10, augment: none}
  start: {from: ann.yaml, run: ann}
runs:
  - {name: converted, kind: convert, T: 8, start: {convert: {name: "toys:convert"}}}
  - name: tuned
    method: baseline
    model: {name: spiking_resnet19, T: 4}
    optim: {name: adamw, lr: 1e-4, weight_decay: 0.0, epochs: 3, batch_size: 128, warmup_epochs: 0}
scales: {paper: {}, mini: {T: 4, data: {image_size: 16}}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "toys.py").write_text("def convert(network, images, T, gain: float = 1.0):\n    return network\n")
    (tmp_path / "ann.yaml").write_text(ANN)
    return tmp_path


def runs(folder: Path, text: str = CHILD, *words: str, scale: str = "paper", seeds: int = 1) -> dict[str, Run]:
    (folder / "child.yaml").write_text(text)
    found = expand(load_recipe(folder / "child.yaml"), scale, seeds, words)
    return {f"{run.name} {run.seed}": run for run in found}


def test_a_parent_of_another_recipe_is_that_recipes_run_at_the_scale_with_the_seed(folder: Path) -> None:
    for scale in ("paper", "mini"):
        ann = {run.seed: run for run in expand(load_recipe(folder / "ann.yaml"), scale, 2)}
        for run in runs(folder, scale=scale, seeds=2).values():
            assert run.parent == ann[run.seed]
            assert run.parent_id == ann[run.seed].id
            assert run.spec.parent == ann[run.seed].spec
            assert Run.from_json(run.to_json()).parent == run.parent
    converted = runs(folder, scale="mini")["converted 42"].spec
    assert isinstance(converted, ConvertSpec)
    assert converted.T == 4


def test_of_the_command_line_a_parent_of_another_recipe_takes_data_and_execution_alone(folder: Path) -> None:
    words = ("data.image_size=20", "execution.threads=2", "optim.epochs=2", "T=3", "start.convert.gain=0.5")
    found = runs(folder, CHILD, *words)
    parent = found["tuned 42"].parent
    assert parent is not None
    assert (parent.spec.data.image_size, parent.execution.threads, parent.spec.epochs) == (20, 2, 9)
    assert parent.overrides == words[:2]
    assert (found["tuned 42"].spec.epochs, found["converted 42"].spec.steps) == (2, 3)
    (again,) = expand(load_recipe(folder / "ann.yaml"), overrides=parent.overrides)
    assert again.id == parent.id


def test_a_parent_of_the_same_recipe_may_stand_behind_its_child_and_takes_all_words(folder: Path) -> None:
    text = ANN.replace("runs: [", "runs:\n  [{name: after, kind: convert, T: 8, start: {run: ann, convert: "
                       "{name: 'toys:convert'}}}, ")  # fmt: skip
    found = runs(folder, text, "optim.epochs=2")
    assert list(found) == ["after 42", "ann 42"]
    assert found["after 42"].parent == found["ann 42"]
    assert found["ann 42"].spec.epochs == 2


def test_a_run_keeps_the_words_that_it_or_the_run_it_starts_from_takes(folder: Path) -> None:
    words = ("optim.epochs=2", "T=3", "start.convert.gain=0.5", "data={image_size: 20}", "model.T=2", "model.T=3")
    found = runs(folder, CHILD, *words)
    assert found["converted 42"].overrides == words[1:4]
    assert found["tuned 42"].overrides == ("optim.epochs=2", "data={image_size: 20}", "model.T=3")
    text = ANN.replace("runs: [", "runs:\n  [{name: after, kind: convert, T: 8, start: {run: ann, convert: "
                       "{name: 'toys:convert'}}}, ")  # fmt: skip
    assert runs(folder, text, "optim.epochs=2")["after 42"].overrides == ("optim.epochs=2",)


@pytest.mark.parametrize(
    ("text", "word", "message"),
    [
        (ANN, "T=2", "no run here has T; one of kind 'train' has data, evaluation, numerics, model, method, optim, "),
        (ANN, "classifier.C=2", "no run here has classifier.C; one of kind 'train' has "),
        (ANN.replace("\nruns:", "\n  mix: null\nruns:"), "mix.alpha=2", "no run here has mix.alpha"),
        (ANN, "start.convert.gain=2", "no run here has start.convert.gain"),
        (ANN, "method.alpha=0.5", "no run here has method.alpha"),
        (CHILD.partition("  - name: tuned")[0] + "scales: {paper: {}}\n", "model.T=2", "one of kind 'convert' has "),
    ],
)
def test_a_word_that_no_run_takes_is_refused(folder: Path, text: str, word: str, message: str) -> None:
    found = runs(folder, text, word).values()
    with pytest.raises(RecipeError) as caught:
        check_taken([word], list(found))
    assert str(caught.value).startswith(f"command line '{word}': no run here has ")
    assert message in str(caught.value)


def test_a_word_that_a_later_one_replaces_is_no_mistake(folder: Path) -> None:
    for words in (("optim.epochs=2", "optim.epochs=3"), ("model.neuron.tau=2", "model.neuron={name: lif}")):
        check_taken(words, list(runs(folder, ANN, *words).values()))


def test_of_a_word_that_some_runs_take_the_others_are_named(folder: Path) -> None:
    found = list(runs(folder, CHILD, "T=3", "data.image_size=20").values())
    assert list(partly_taken(["T=3", "data.image_size=20"], found)) == ["T=3 changes nothing of tuned"]
    many = [replace(found[1], name=f"tuned{number}") for number in range(5)]
    (note,) = partly_taken(["T=3"], [found[0], *many])
    assert note == "T=3 changes nothing of tuned0, tuned1, tuned2 and 2 more"


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("run: ann}", "run: an}", 3, "start.run: ann.yaml has no run 'an'; did you mean 'ann'?"),
        ("from: ann.yaml", "from: no.yaml", 3, "start.from: {folder}/no.yaml: no such file; recipes here: ann.yaml"),
        ("from: ann.yaml", "from: child.yaml", 3, "start.from: child.yaml starts from this recipe itself"),
        ("from: ann.yaml, run: ann", "run: converted", 3, "start.run: it starts from itself"),
        ("kind: convert", "kind: convrt", 5, "kind: 'convrt' is none; did you mean 'convert'?"),
        ("T: 8, ", "", 5, "T: is missing"),
        ("T: 8, ", "T: 8, optim: {}, ", 5, "optim: a run of kind 'convert' has none; it has data, "),
        ("convert: {name", "convrt: {name", 5, "start.convrt: unknown key; did you mean 'convert'?"),
        ('convert: {name: "toys:convert"}', "convert: {name: 3}", 5, "unknown convert 3; known: "),
        ("toys:convert\"", "toys:convert\", gian: 2.0", 5, "has no such parameter; did you mean 'gain'?"),
        ("start: {convert: {name: \"toys:convert\"}}", "evaluation: {}", 3, "start.convert is missing"),
        ("data: {name: cifar10,", "data: {name: cifar100,", 3, "start.run is trained on cifar10, and this run is of "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_line(folder: Path, old: str, new: str, line: int, message: str) -> None:
    assert old in CHILD
    with pytest.raises(RecipeError) as caught:
        runs(folder, CHILD.replace(old, new))
    told = str(caught.value)
    assert message.format(folder=folder) in told
    assert f"child.yaml:{line}: " in told
