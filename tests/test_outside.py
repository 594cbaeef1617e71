"""Components from files of one's own, a data set, a network, its layers and its loss, down to the record of a run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tksbench.recipe import RecipeError, RunSpec, TrainSpec, expand, load_recipe
from tksbench.train.components import maker

ROOT = Path(__file__).parents[1]

MINE = '''"""A neuron that learns its time constant, a norm for each step, and a network and a loss of them."""

from typing import Annotated

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from tksbench.snn.layers import SpikingNetwork
from tksbench.snn.neuron import Neuron
from tksbench.snn.normlif import run_layer


class Learnt(Neuron):
    spiking = True

    def __init__(self, *, tau: Annotated[float, Field(gt=1)] = 2.0, surrogate: Annotated[object, "surrogate"] = None):
        super().__init__()
        self.threshold = 0.5
        self.w = nn.Parameter(torch.tensor(1.0 / tau))

    def step(self, current, v):
        u = v + (current - v) * self.w
        spikes = (u > self.threshold).float() + (u - u.detach())
        return spikes, u * (1 - spikes.detach())


class EachStep(nn.Module):
    per_step = True

    def __init__(self, channels, *, eps: float = 1e-5):
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels, eps=eps) for _ in range(2))

    def forward(self, x, steps):
        return torch.cat([norm(part) for norm, part in zip(self.norms, x.chunk(steps))])


class Small(SpikingNetwork):
    def __init__(self, num_classes, T, in_chans, width, kit, *, depth: int = 1):
        super().__init__(num_classes, T, in_chans, width)
        self.convs = nn.ModuleList(nn.Conv2d(8 if i else in_chans, 8, 3, 2) for i in range(depth))
        self.norms = nn.ModuleList(kit.norm(8) for _ in range(depth))
        self.neurons = nn.ModuleList(kit.neuron() for _ in range(depth))
        self.fc = nn.Linear(8, num_classes)

    def classify(self, x, steps, repeats):
        x = x.repeat(repeats, 1, 1, 1)
        for conv, norm, neurons in zip(self.convs, self.norms, self.neurons):
            x = neurons(run_layer(norm, conv(x), steps), steps)
        return self.fc(x.mean((2, 3)))


class Late:
    def __init__(self, *, gain: float = 0.5):
        self.gain = gain

    def constants(self, at):
        return {"alpha": self.gain * at.epoch / at.epochs}

    def __call__(self, logits, target, alpha):
        return (1 - alpha) * F.cross_entropy(logits.mean(0), target) + alpha * F.cross_entropy(logits[-1], target)
'''

RECIPE = """\
name: "mydigits/small/late"
protocol:
  data: {name: "mydigits:Digits", source: stand-in, augment: none, train_subset: 32, test_subset: 20}
  model:
    name: mine:Small
    T: 2
    depth: 2
    neuron: {name: "mine:Learnt", tau: 3.0}
    norm: {name: "mine:EachStep"}
  optim: {name: sgd, lr: 0.1, weight_decay: 0.0, epochs: 2, warmup_epochs: 1, batch_size: 16, min_lr: 0.01}
runs: [{method: "mine:Late", params: {gain: 0.8}}]
execution: {device: cpu, threads: 1}
"""


def command(folder: Path, *words: str, recipe: str = "small.yaml") -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TKSBENCH_")}
    environment |= {"PYTHONPATH": str(ROOT), "TKSBENCH_DATA": str(folder), "COLUMNS": "80"}
    words = (sys.executable, "-m", "tksbench.launch", recipe, *words)
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_a_data_set_a_network_its_layers_and_a_loss_of_ones_own_are_trained_and_recorded(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "small.yaml").write_text(RECIPE)
    page = (ROOT / "docs" / "how-to" / "add-a-data-set.md").read_text()
    (digits,) = re.findall(r'^```python title="mydigits.py"\n(.*?)^```$', page, re.MULTILINE | re.DOTALL)
    (tmp_path / "mydigits.py").write_text(digits)
    done = command(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("results/runs/*/record.json")
    record = json.loads(path.read_text())
    model = record["spec"]["model"]
    assert (model["name"], model["kwargs"]) == ("mine:Small", {"depth": 2})
    assert (model["neuron"]["kwargs"], model["norm"]["kwargs"]) == ({"tau": 3.0}, {})
    assert record["spec"]["method"]["kwargs"] == {"gain": 0.8}
    kept = {name for name in record["files"] if name.endswith(".py")}
    assert kept == {"data.py", "model.py", "model.neuron.py", "model.norm.py", "method.py"}
    assert all((path.parent / name).read_text() == (digits if name == "data.py" else MINE) for name in kept)
    assert record["cost"]["parameters"] == 3 * 8 * 9 + 8 + 8 * 8 * 9 + 8 + 2 * (2 * 2 * 8 + 1) + 90
    rows = [json.loads(line) for line in (path.parent / "metrics.jsonl").read_text().splitlines()]
    assert [row["alpha"] for row in rows] == [0.0, 0.4]
    refused = command(tmp_path, "model.neuron.tau=0.5")
    assert refused.returncode == 2
    assert refused.stderr.strip().endswith("model.neuron.tau: expected greater than 1, got 0.5")
    (tmp_path / "mine.py").write_text(MINE + "\n")
    plan = command(tmp_path, "--plan").stdout
    assert record["id"] not in plan
    assert "1 to run" in plan or "1 run" in plan


def write_how_to(page: str, folder: Path) -> None:
    text = (ROOT / "docs" / "how-to" / page).read_text()
    for title, content in re.findall(r'^```\w+ title="([^"]*)"\n(.*?)^```$', text, re.MULTILINE | re.DOTALL):
        (folder / title).write_text(content)


def test_an_augmentation_and_a_mix_of_ones_own_are_trained_and_recorded(tmp_path: Path) -> None:
    write_how_to("add-an-augmentation.md", tmp_path)
    few = ("data.train_subset=40", "data.test_subset=20", "model.T=2", "data.image_size=16")
    done = command(tmp_path, *few, recipe="others.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    records = [json.loads(path.read_text()) for path in tmp_path.glob("results/runs/*/record.json")]
    mixed, plain = sorted(records, key=lambda record: record["spec"]["mix"] is None)
    assert plain["spec"]["mix"] is None
    assert (mixed["spec"]["mix"]["name"], mixed["spec"]["mix"]["kwargs"]) == ("others:Mixup", {"beta": 0.4})
    assert mixed["spec"]["data"]["augment"]["kwargs"] == {"side": 6}
    assert {name for name in mixed["files"] if name.endswith(".py")} == {"mix.py", "data.augment.py"}
    assert {name for name in plain["files"] if name.endswith(".py")} == {"data.augment.py"}


def refused(recipe: Path, word: str) -> str:
    """The one thing that is wrong with a recipe under an override."""
    with pytest.raises(RecipeError) as caught:
        expand(load_recipe(recipe), overrides=[word])
    (problem,) = caught.value.problems
    return str(problem)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data.augment.side=0", "data.augment.side: expected greater than or equal to 1, got 0"),
        ("data.augment.sid=4", "augment 'others:Erase' has no such parameter; did you mean 'side'?"),
        ("data.augment=others:Eraser", "has no 'Eraser'; did you mean 'Erase'?"),
        ("mix.beta=0", "mix.beta: expected greater than 0, got 0"),
        ("mix.name=eventmicks", "mix: unknown mix 'eventmicks'; "),
        ("data.name=cifar10", "others.yaml:4: data.augment: 'others:Erase' is for data of kind event, and cifar10 is"),
    ],
)
def test_what_does_not_fit_an_augmentation_or_a_mix_is_refused(
    word: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_how_to("add-an-augmentation.md", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert message in refused(tmp_path / "others.yaml", word)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("optim.name=adamx", "optim: unknown optimizer 'adamx'; did you mean 'adam"),
        ("optim.name=lion:Lyon", "has no 'Lyon'; did you mean 'Lion'?"),
        ("optim.beta3=0.5", "optim.beta3: optim 'lion:Lion' has no such parameter; did you mean 'beta"),
        ("optim.beta1=1", "optim.beta1: expected less than 1, got 1"),
        ("optim.lr=0", "optim.lr: expected greater than 0, got 0"),
        ("optim.schedule=polynomal", "optim.schedule: unknown schedule 'polynomal'; did you mean 'polynomial'?"),
        ("optim.schedule=lion:halfed", "has no 'halfed'; did you mean 'halved'?"),
        ("optim.schedule.every=0", "optim.schedule.every: expected greater than or equal to 1, got 0"),
        ("optim.drop_every=2", "optim.drop_every and optim.schedule exclude each other"),
    ],
)
def test_what_does_not_fit_an_optimizer_or_a_schedule_is_refused(
    word: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_how_to("add-an-optimizer.md", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert message in refused(tmp_path / "lion.yaml", word)


def test_an_unknown_optimizer_or_schedule_is_refused_at_its_line(tmp_path: Path) -> None:
    recipe = tmp_path / "lion.yaml"
    text = (ROOT / "docs" / "how-to" / "add-an-optimizer.md").read_text()
    (text,) = re.findall(r'^```yaml title="lion.yaml"\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)
    text = text.replace('"lion:Lion"', "sdg").replace("    beta2: 0.95\n", "")
    for schedule, message in (
        ("null", "6: optim: unknown optimizer 'sdg'; did you mean 'sgd'?"),
        ("polynomal", "12: optim.schedule: unknown schedule 'polynomal'; did you mean 'polynomial'?"),
    ):
        recipe.write_text(text.replace('{name: "lion:halved", every: 2}', schedule))
        text = text.replace("sdg", "sgd")
        with pytest.raises(RecipeError) as caught:
            load_recipe(recipe)
        assert str(caught.value) == f"{recipe}:{message}"


def test_a_mix_for_a_loss_without_soft_targets_is_refused_at_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_how_to("add-an-augmentation.md", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    recipe = tmp_path / "others.yaml"
    recipe.write_text(recipe.read_text().replace("{method: baseline}", "{method: tks}"))
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe)
    message = "mix: 'others:Mixup' gives soft targets, which method 'tks' does not take; these do: baseline, "
    assert str(caught.value).startswith(f"{recipe}:5: {message}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            '{name: "mine:Learnt", surrogate: triangle}',
            "expected keys and values of which one is 'name', got 'triangle'",
        ),
        (
            '{name: "mine:Learnt", surrogate: {name: triangel}}',
            "unknown surrogate 'triangel'; did you mean 'triangle'?",
        ),
        ('{name: "mine:Learnt", surrogate: {name: triangle, peak: 0}}', "peak: expected greater than 0, got 0"),
        ('{name: "mine:Learnt", surrogate: {name: "mine:Late"}}', "only the package's own components hold one from"),
        ('{name: lif, surrogate: {name: "mine:Latt"}}', "has no 'Latt'; did you mean 'Late'?"),
        ('{name: lif, surrogate: {name: "mine:Late", gian: 1.0}}', "has no such parameter; did you mean 'gain'?"),
    ],
)
def test_a_surrogate_that_does_not_fit_a_neuron_is_refused(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    assert message in refused(ROOT / "recipes" / "cifar10.yaml", f"model.neuron={words}")


def test_a_neuron_of_ones_own_has_a_surrogate_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    recipe, ids = load_recipe(ROOT / "recipes" / "cifar10.yaml"), set()
    for peak in (1.0, 2.0):
        words = f'model.neuron={{name: "mine:Learnt", surrogate: {{name: triangle, peak: {peak}}}}}'
        run = expand(recipe, overrides=[words])[0]
        assert isinstance(run.spec, TrainSpec)
        assert maker("neuron", run.spec.model.neuron).keywords["surrogate"].peak == peak
        assert RunSpec.model_validate(json.loads(run.spec.model_dump_json())) == run.spec
        ids.add(run.id)
    assert len(ids) == 2


def test_features_and_a_classifier_of_ones_own_are_fitted_and_recorded(tmp_path: Path) -> None:
    write_how_to("add-a-classifier.md", tmp_path)
    done = command(tmp_path, "data.train_subset=60", "data.test_subset=40", recipe="rates.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    records = [json.loads(path.read_text()) for path in tmp_path.glob("results/runs/*/record.json")]
    named = {record["name"].removeprefix("rates/nmnist/"): record for record in records}
    assert named.keys() == {"rates.NearestMean", "linear_svm", "sklearn.linear_model.RidgeClassifier"}
    nearest = named["rates.NearestMean"]
    assert nearest["spec"]["features"]["kwargs"] == {"parts": 6}
    assert {"features.py", "classifier.py"} <= set(nearest["files"])
    assert nearest["cost"]["parameters"] == 72 + 10 * (72 + 1)
    for record in records:
        assert record["metrics"]["last"]["top1"] > 20  # ten classes
        assert record["cost"]["snn"]["layers"][1]["macs"] == 10 * 72
    refused = command(tmp_path, "data.framing=count", "--plan", recipe="rates.yaml")
    assert refused.returncode == 2
    assert "data.framing 'count' is for frames, and features are of the recordings as they are" in refused.stderr
