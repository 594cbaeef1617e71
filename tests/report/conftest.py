"""A checkout in miniature: one recipe, a small paper.yaml, and records made to measure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tksbench.metrics import correct, mean_logits, summarize
from tksbench.recipe import Run, expand, load_recipe
from tksbench.runs import Ledger, sha256_file
from tksbench.runs.record import make_record, pack_correct, save_record

if TYPE_CHECKING:
    from pathlib import Path

    from tksbench.runs.record import Record

RECIPE = """
name: "{data.name}/{model.name}/{method}"
protocol:
  data: {name: cifar10, source: auto, augment: none}
  model: {name: spiking_resnet19, T: 2}
  optim: {name: adamw, lr: 1e-3, weight_decay: 0.0, epochs: 600, batch_size: 4, warmup_epochs: 0}
methods: {baseline: {}, tks: {}}
runs: [{method: tks}, {method: baseline}]
scales: {paper: {}, mini: {optim: {epochs: 3}}, smoke: {optim: {epochs: 2}}}
"""
PAPER = """
paper: {title: T}
datasets: {cifar10: {printed: CIFAR10, test_samples: 10000}, cifar100: {printed: CIFAR100, test_samples: 10000}}
tables:
  table1:
    title: Static data sets
    rows:
      - {dataset: cifar10, label: "Rate [36]", ref: "36", metric: top1, value: null}
      - {dataset: cifar10, label: "Other_net & co [5]*", ref: "5", metric: top1, value: 67.04, star: true}
      - {dataset: cifar10, label: TKS*, cell: table1/cifar10/resnet19/tks, run: cifar10/spiking_resnet19/tks,
         architecture: ResNet-19, T: 4, metric: top1, value: 80.0, star: true}
      - {dataset: cifar100, label: TKS, cell: table1/cifar100/resnet19/tks, run: cifar100/spiking_resnet19/tks,
         architecture: ResNet-19, T: 4, metric: top1, value: 79.89}
  table3:
    title: Ablation
    rows:
      - {dataset: cifar10, label: Baseline, cell: table3/cifar10/resnet19/baseline/top1,
         run: cifar10/spiking_resnet19/baseline, architecture: ResNet-19, T: 4, metric: top1, value: 95.76}
      - {dataset: cifar10, label: TKS, cell: table3/cifar10/resnet19/tks/aurc,
         run: cifar10/spiking_resnet19/tks, architecture: ResNet-19, T: 4, metric: aurc, value: null}
"""
SAMPLES = 200


class World:
    """A checkout in a temporary folder, which is the working directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "recipes").mkdir()
        (root / "results").mkdir()
        (root / "recipes" / "cifar10.yaml").write_text(RECIPE)
        (root / "results" / "paper.yaml").write_text(PAPER)
        self.ledger = Ledger(root / "results")

    def run(self, scale: str = "paper", method: str = "tks", seed: int = 42, real: bool = True) -> Run:
        runs = expand(load_recipe("recipes/cifar10.yaml"), scale, seeds=seed - 41, has_real=lambda _: real)
        return next(run for run in runs if run.seed == seed and run.spec.method.name == method)

    def record(self, run: Run, top1: float = 80.0, changes: dict[str, Any] | None = None) -> Record:
        """A consistent record of this accuracy in percent (a multiple of 0.5); its files lie in the run directory.

        The first of several steps gets every fourth sample wrong, whatever the mean over steps says.
        """
        labels = np.arange(SAMPLES) % 10
        logits = np.zeros((SAMPLES, run.spec.model.T, 10), dtype=np.float32)
        right = np.random.default_rng(run.seed).permutation(SAMPLES) < round(top1 * SAMPLES / 100)
        logits[np.arange(SAMPLES), :, np.where(right, labels, (labels + 1) % 10)] = 1.0
        first_right = right & (np.arange(SAMPLES) % 4 > 0) if run.spec.model.T > 1 else right
        logits[:, 0] = 0.0
        logits[np.arange(SAMPLES), 0, np.where(first_right, labels, (labels + 1) % 10)] = 0.5
        directory = self.ledger.prepare(run)
        np.save(directory.labels, labels)
        for path in (directory.logits_last, directory.logits_best):
            np.save(path, logits)
        one = {"epoch": 1, **summarize(logits, labels)}
        bits = pack_correct(correct(mean_logits(logits), labels).tolist())
        curve = {"epoch": [0, 1], "lr": [1e-3, 1e-4], "train_loss": [2.0, 1.0], "train_top1": [10.0, 50.0]}
        curve |= {"test_top1": [None, one["top1"]], "test_top1_halves": [None, one["top1_halves"]]}
        provenance = {"versions": {"torch": "2.15.0"}, "python": "3.11.7", "platform": "Linux", "devices": []}
        provenance |= {
            "commit": "c0ffee",
            "dirty": True,
            "diff": "-old\n+new",
            "command": "python -m tksbench.launch r",
        }
        provenance |= {"data": {"test_batch": "0" * 32}, "started": "2026-01-01T00:00", "finished": "2026-01-01T01:00"}
        plain = {key: value for key, value in run.to_json().items() if key != "execution"}
        files = (directory.logits_last, directory.logits_best, directory.labels)
        return make_record(
            **plain
            | {
                "metrics": {"last": one, "best": one, "curve": curve},
                "test": {"n": SAMPLES, "correct_last": bits, "correct_best": bits},
                "attempts": [],
                "cost": {"hours": 1.0, "gpu_hours": 0.5, "device": "CPU", "parameters": 12},
                "provenance": provenance,
                "weights_sha256": "a" * 64,
                "files": {path.name: sha256_file(path) for path in files},
            }
            | (changes or {})
        )

    def finish(self, run: Run, top1: float = 80.0) -> Record:
        """Lay a local record."""
        record = self.record(run, top1)
        save_record(self.ledger.run_dir(run.id).record, record)
        return record

    def publish(self, run: Run, top1: float = 80.0) -> Record:
        """Lay a published record without a local one."""
        record = self.record(run, top1)
        target = self.ledger.published(run.id)
        target.parent.mkdir(exist_ok=True)
        save_record(target, record)
        return record

    def read(self, name: str) -> str:
        """A table's file: the one that shows runs of this machine, if there is one."""
        local = self.root / "results" / "local" / "tables" / name
        return (local if local.exists() else self.root / "results" / "tables" / name).read_text()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TKSBENCH_RESULTS", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    return World(tmp_path)
