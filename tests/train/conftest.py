"""A run that trains in a second: 60 tiny random images, a network of a few hundred weights."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tksbench.data.base import Data, Split
from tksbench.recipe import Run, expand, load_recipe
from tksbench.runs import Ledger
from tksbench.runs.paths import RunDir

os.environ.setdefault("OMP_NUM_THREADS", "1")

RECIPE = """\
protocol:
  data: {name: cifar10, augment: plain}
  model: {name: spiking_resnet19, T: 2, width: 0.03}
  optim: {name: adamw, lr: 1e-2, weight_decay: 0.01, epochs: 3, batch_size: 16, warmup_epochs: 1, min_lr: 1e-3}
  evaluation: {batch_size: 16}
runs: [{method: tks}, {method: baseline}]
execution: {device: cpu, checkpoint_minutes: 60}
"""


class TinySplit(Split):
    """Random 8x8 images whose brightness tells their class; a training image gets noise keyed by epoch."""

    def __init__(self, n: int, seed: int, noisy: bool) -> None:
        rng = np.random.default_rng(seed)
        self.labels = rng.integers(0, 10, n)
        self.images = rng.normal(size=(n, 3, 8, 8)) * 0.3 + self.labels[:, None, None, None] / 5 - 1
        self.noisy = noisy

    def __getitems__(self, keys):  # type: ignore[no-untyped-def]
        out = []
        for epoch, index in keys:
            noise = np.random.default_rng([7, epoch, index]).normal(size=(3, 8, 8)) if self.noisy else 0.0
            out.append(self.images[index] + 0.1 * noise)
        indices = [index for _, index in keys]
        return torch.tensor(np.stack(out), dtype=torch.float32), torch.from_numpy(self.labels[indices])


@pytest.fixture
def tiny_data() -> Data:
    return Data(TinySplit(60, 0, True), TinySplit(25, 1, False), 10, {"tiny": "md5:0"})


MakeRun = Callable[..., tuple[Run, RunDir]]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Prepare a run in a results folder of its own: `make_run("a", "optim.epochs=2", method="baseline")`."""

    def maker(folder: str = "results", *overrides: str, method: str = "tks") -> tuple[Run, RunDir]:
        path = tmp_path / "tiny.yaml"
        path.write_text(RECIPE)
        runs = expand(load_recipe(path), overrides=overrides)
        run = next(run for run in runs if run.spec.method.name == method)
        run = dataclasses.replace(run, recipe="tiny.yaml")
        return run, Ledger(tmp_path / folder).prepare(run)

    return maker
