"""Which run a recipe names as the one that another starts from, and what is wrong where it names none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tksbench.recipe import ConvertSpec, RecipeError, Run, expand, load_recipe

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
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_line(folder: Path, old: str, new: str, line: int, message: str) -> None:
    assert old in CHILD
    with pytest.raises(RecipeError) as caught:
        runs(folder, CHILD.replace(old, new))
    told = str(caught.value)
    assert message.format(folder=folder) in told
    assert f"child.yaml:{line}: " in told
