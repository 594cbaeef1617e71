"""Runs that are not trained from initial weights, with toys from a file of one's own: convert, fine-tune, classic."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tksbench.data.base import Split
from tksbench.data.registry import load
from tksbench.recipe import expand, load_recipe, run_id
from tksbench.report.publish import doubts
from tksbench.runs import Ledger
from tksbench.train.convert import Conversion
from tksbench.train.errors import Interrupted, TrainError
from tksbench.train.loop import Trainer
from tksbench.train.start import start_tensors

ROOT = Path(__file__).parents[1]

TOYS = '''"""A network of rates, a conversion that makes its neurons spike, features and a classifier."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tksbench.snn.encoder import Poisson
from tksbench.snn.layers import SpikingNetwork
from tksbench.snn.neuron import Neuron


class Small(SpikingNetwork):
    def __init__(self, num_classes, T, in_chans, width, kit, *, hidden: int = 8):
        super().__init__(num_classes, T, in_chans, width)
        self.conv = nn.Conv2d(in_chans, hidden, 5, 3, bias=False)
        self.neuron = kit.neuron()
        self.fc = nn.Linear(hidden, num_classes, bias=False)

    def classify(self, x, steps, repeats):
        x = self.conv(x).repeat(repeats, 1, 1, 1)
        return self.fc(self.neuron(x, steps).mean((2, 3)))


class Spikes(Neuron):
    spiking = True

    def __init__(self, *, threshold: float = 1.0):
        super().__init__()
        self.register_buffer("threshold", torch.tensor(threshold))

    def step(self, current, v):
        u = v + current
        soft = torch.sigmoid(4 * (u - self.threshold))
        spikes = (u >= self.threshold).float() + soft - soft.detach()
        return spikes, u - spikes.detach() * self.threshold


class Largest:
    """Sets the threshold to the largest output on training images, times a factor."""

    def __init__(self, random_state, *, factor: float = 1.0, coded: bool = False):
        self.factor, self.coded = factor, coded

    def __call__(self, network, images, T):
        top = 0.0
        with torch.no_grad():
            for batch in images:
                top = max(top, float(F.relu(network.conv(batch)).max()))
        if not hasattr(network.neuron, "threshold"):
            network.neuron = Spikes()
        network.neuron.threshold.fill_(self.factor * top)
        if self.coded:
            network.encoder = Poisson()
        network.T = T
        return network


def means(sample, *, parts: int = 4):
    """Mean of each channel in a grid of parts."""
    return F.adaptive_avg_pool2d(torch.from_numpy(sample), parts).flatten().numpy()


class Nearest:
    """The nearest class mean."""

    def __init__(self, *, scale: float = 1.0):
        self.scale = scale

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        self.means_ = np.stack([x[y == one].mean(0) for one in self.classes_])

    def decision_function(self, x):
        return -self.scale * np.square(x[:, None] - self.means_).sum(-1)
'''

ANN = """\
name: "toy/{model.neuron.name}"
protocol:
  data: {name: cifar10, source: stand-in, augment: none, train_subset: 60, test_subset: 40, image_size: 16}
  model: {name: "toys:Small", T: 1, neuron: {name: relu}}
  optim: {name: adam, lr: 1e-2, weight_decay: 0.0, epochs: 2, warmup_epochs: 0, batch_size: 20, min_lr: 1e-3}
runs: [{method: baseline}]
execution: {device: cpu, threads: 1}
scales: {paper: {}, smoke: {data: {train_subset: 40}}}
"""

STAGES = """\
protocol:
  data: {name: cifar10, source: stand-in, augment: none, train_subset: 60, test_subset: 40, image_size: 16}
  start: {from: ann.yaml, run: toy/relu}
runs:
  - {name: toy/converted, kind: convert, T: 16, start: {convert: {name: "toys:Largest"}}}
  - name: toy/tuned
    method: baseline
    model: {name: "toys:Small", T: 2, neuron: {name: "toys:Spikes"}}
    optim: {name: adam, lr: 1e-3, weight_decay: 0.0, epochs: 1, warmup_epochs: 0, batch_size: 20, min_lr: 1e-4}
    start: {convert: {name: "toys:Largest", factor: 0.5}}
execution: {device: cpu, threads: 1}
scales: {paper: {}, smoke: {T: 4, data: {train_subset: 40}}}
"""

CLASSIC = """\
name: "toy/{features.name}"
protocol:
  data: {name: cifar10, source: stand-in, augment: none, train_subset: 60, test_subset: 40, image_size: 16}
runs: [{kind: classic, features: {name: "toys:means", parts: 2}, classifier: {name: "toys:Nearest"}}]
execution: {device: cpu, threads: 1}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("stages")
    for name, text in (("toys.py", TOYS), ("ann.yaml", ANN), ("stages.yaml", STAGES), ("classic.yaml", CLASSIC)):
        (made / name).write_text(text)
    return made


def command(folder: Path, *words: str, module: str = "launch") -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TKSBENCH_")}
    environment |= {"PYTHONPATH": str(ROOT), "TKSBENCH_DATA": str(folder), "COLUMNS": "200"}
    words = (sys.executable, "-m", f"tksbench.{module}", *words)
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def plan(folder: Path, *words: str) -> dict[str, Any]:
    done = command(folder, "--plan", "--json", *words)
    assert done.returncode == 0, done.stderr
    return {item["name"]: item for item in json.loads(done.stdout)}


@pytest.fixture(scope="module")
def records(folder: Path) -> dict[str, dict[str, Any]]:
    """The records of the chain and of the classic run, by name, all of one command."""
    done = command(folder, "stages.yaml", "classic.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 runs asked for: 4 trained" in done.stdout
    found = [json.loads(path.read_text()) for path in folder.glob("results/runs/*/record.json")]
    return {record["name"]: record for record in found}


def test_a_plan_names_what_waits_for_what(folder: Path) -> None:
    planned = plan(folder, "stages.yaml", "--scale", "smoke")
    assert list(planned) == ["toy/relu", "toy/converted", "toy/tuned"]
    assert planned["toy/converted"]["reason"] == "new; starts from toy/relu seed 42, which is trained first"


def test_records_of_a_chain_name_the_run_that_they_start_from(records: dict[str, dict[str, Any]]) -> None:
    ann, converted, tuned = (records[name] for name in ("toy/relu", "toy/converted", "toy/tuned"))
    start = {"id": ann["id"], "name": "toy/relu", "weights_sha256": ann["weights_sha256"]}
    assert converted["provenance"]["start"] == tuned["provenance"]["start"] == start
    assert "start" not in ann["provenance"]
    assert converted["spec"]["start"]["run"] == tuned["spec"]["start"]["run"] == ann["spec"]
    assert len({record["weights_sha256"] for record in (ann, converted, tuned)}) == 3


def test_a_converted_run_has_its_accuracy_over_time(records: dict[str, dict[str, Any]]) -> None:
    converted = records["toy/converted"]
    last = converted["metrics"]["last"]
    assert [steps for steps, _ in last["top1_over_time"]] == [1, 2, 3, 4, 6, 8, 12, 16]
    assert last["top1_over_time"][-1][1] == last["top1"]
    assert converted["cost"]["snn"]["steps"] == 16


def test_runs_of_every_kind_follow_from_their_files(
    folder: Path, records: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tksbench.report.publish._unknown_code", lambda *_: None)  # the toys are in no git checkout
    finished = [one for one in Ledger(folder / "results").run_dirs() if one.record.exists()]
    assert len(finished) >= len(records)
    assert [doubt for one in finished if (doubt := doubts(one))] == []


def test_weights_that_are_gone_are_named_with_how_to_get_them_back(
    folder: Path, records: dict[str, dict[str, Any]]
) -> None:
    run_dir, moved = folder / "results" / "runs" / records["toy/relu"]["id"], folder / "elsewhere"
    (run_dir / "checkpoints").rename(moved)
    lost = plan(folder, "stages.yaml", "T=5", "--only", "toy/converted")["toy/converted"]
    moved.rename(run_dir / "checkpoints")
    assert lost["action"] == "blocked"
    assert lost["reason"] == (
        "starts from toy/relu seed 42, which is done, but its weights are not here: bring back "
        f"results/runs/{run_dir.name}/checkpoints/, or train it "
        "anew: python -m tksbench.launch ann.yaml --scale paper --only toy/relu --again"
    )
    again = plan(folder, "stages.yaml", "T=5", "--only", "toy/converted")
    assert {name: item["action"] for name, item in again.items()} == {"toy/relu": "skip", "toy/converted": "run"}


def test_a_fine_tuning_with_weights_of_its_own_needs_those_of_its_start_no_more(
    folder: Path, records: dict[str, dict[str, Any]]
) -> None:
    words = ("stages.yaml", "optim.epochs=2", "--only", "toy/tuned")
    identity = plan(folder, *words)["toy/tuned"]["id"]
    ledger, begun = Ledger(folder / "results"), Ledger(folder / "results").run_dir(identity)
    ann, moved = ledger.run_dir(records["toy/relu"]["id"]).checkpoints, folder / "elsewhere"
    tuned = ledger.run_dir(records["toy/tuned"]["id"]).checkpoints
    ann.rename(moved)
    try:
        assert plan(folder, *words)["toy/tuned"]["action"] == "blocked"
        shutil.copytree(tuned, begun.checkpoints)
        assert plan(folder, *words)["toy/tuned"]["action"] == "run"
    finally:
        moved.rename(ann)
        shutil.rmtree(begun.path, ignore_errors=True)


class Unread(Split):
    """A half of which no sample may be read."""

    def __init__(self, other: Split) -> None:
        self.labels = other.labels

    def __getitems__(self, keys: Any) -> Any:
        raise AssertionError("a sample was read")


def test_a_conversion_waits_for_its_start_and_is_made_before_a_test_image_is_read(
    folder: Path, tmp_path: Path, records: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("TKSBENCH_DATA", str(folder))
    ledger, runs = Ledger(tmp_path), {run.name: run for run in expand(load_recipe("stages.yaml"))}
    run, tuned = runs["toy/converted"], runs["toy/tuned"]
    with pytest.raises(TrainError, match=rf"toy/relu seed 42 \({run.parent_id}\), .* is not done: train it first"):
        start_tensors(run, ledger)
    shutil.copytree(
        folder / "results" / "runs" / records["toy/relu"]["id"], tmp_path / "runs" / records["toy/relu"]["id"]
    )
    data = load(run.spec.data, run.spec.steps, run.spec.seed)
    data = replace(data, test=Unread(data.test))
    conversion = Conversion(run, ledger.prepare(run), data, torch.device("cpu"))
    with pytest.raises(AssertionError, match="a sample was read"):
        conversion.fit()
    assert conversion.weights == records["toy/converted"]["weights_sha256"]
    trainer = Trainer(tuned, ledger.prepare(tuned), data, torch.device("cpu"))
    trainer.resume()
    assert trainer.model.get_buffer("neuron.threshold").item() != 1.0


def test_training_has_the_encoder_of_its_model_whatever_the_conversion_balances_with(
    folder: Path, records: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that goes on from a checkpoint has no other."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("TKSBENCH_DATA", str(folder))
    runs = expand(load_recipe("stages.yaml"), overrides=["start.convert.coded=true"])
    run = next(one for one in runs if one.name == "toy/tuned")
    run_dir = Ledger(folder / "results").prepare(run)
    trainer = Trainer(run, run_dir, load(run.spec.data, run.spec.steps, run.spec.seed), torch.device("cpu"))
    trainer.resume()
    shutil.rmtree(run_dir.path)
    assert trainer.model.encoder is None


def test_a_conversion_that_was_broken_off_goes_on_where_it_was(
    folder: Path, records: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("TKSBENCH_DATA", str(folder))
    run = next(one for one in expand(load_recipe("stages.yaml")) if one.name == "toy/converted")
    spec = run.spec.model_copy(update={"evaluation": run.spec.evaluation.model_copy(update={"batch_size": 10})})
    run = replace(run, spec=spec, id=run_id(spec))
    ledger = Ledger(folder / "results")
    data = load(run.spec.data, run.spec.steps, run.spec.seed)
    asked, run_dir = iter([False, True]), ledger.prepare(run)

    def made(stopping: Callable[[], bool] = lambda: False) -> Conversion:
        return Conversion(run, run_dir, data, torch.device("cpu"), stopping=stopping)

    with pytest.raises(Interrupted):
        made(lambda: next(asked)).fit()
    with caplog.at_level("INFO"):
        (again := made()).fit()
    assert "going on after 20 test images" in caplog.text
    (run_dir.checkpoints / "tested.npz").unlink()
    (whole := made()).fit()
    assert (again.metrics, again.weights) == (whole.metrics, whole.weights)


def test_a_converted_run_is_made_again_with_the_run_that_it_starts_from(
    folder: Path, records: dict[str, dict[str, Any]]
) -> None:
    done = command(folder, records["toy/converted"]["id"], module="rerun")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("equal to the bit\n")


def test_a_classic_run_is_recorded(records: dict[str, dict[str, Any]]) -> None:
    record = records["toy/toys.means"]
    assert record["spec"]["kind"] == "classic"
    assert record["metrics"]["last"]["top1"] == record["metrics"]["best"]["top1"] > 15
    assert record["cost"]["parameters"] == 10 * 3 * 2 * 2
    assert {"features.py", "classifier.py", "logits_last.npy", "labels.npy"} <= set(record["files"])


def test_runs_of_every_kind_are_rehearsed(folder: Path) -> None:
    rehearsed = command(folder, "stages.yaml", "classic.yaml", "--rehearse")
    assert "4 runs: 4 ok" in rehearsed.stdout, rehearsed.stdout + rehearsed.stderr
