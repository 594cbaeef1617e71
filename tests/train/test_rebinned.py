"""The second protocol of figure 3(a): the test recordings framed anew into k bins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from tests.train.conftest import MakeRun
from tksbench.data import registry
from tksbench.data.base import Data, Split
from tksbench.train.errors import Interrupted
from tksbench.train.loop import Trainer
from tksbench.train.rebinned import rebinned_accuracy

if TYPE_CHECKING:
    from tksbench.recipe import DataSpec

OVERRIDES = (
    *("data.name=nmnist", "data.augment=none", "data.image_size=16", "model.name=vgg_snn", "model.T=3"),
    *("model.width=0.03", "optim.epochs=1", "optim.warmup_epochs=0"),
)


class BinnedSplit(Split):
    """The same twelve events a pixel and polarity at most, in however many bins are asked for."""

    def __init__(self, n: int, bins: int) -> None:
        rng = np.random.default_rng(0)
        self.labels = rng.integers(0, 10, n)
        events = rng.integers(0, 2, (n, 12, 2, 16, 16)) * (1 + self.labels[:, None, None, None, None])
        self.frames = events.reshape(n, bins, 12 // bins, 2, 16, 16).sum(2)

    def __getitems__(self, keys):  # type: ignore[no-untyped-def]
        indices = [index for _, index in keys]
        return torch.tensor(self.frames[indices], dtype=torch.float32), torch.from_numpy(self.labels[indices])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int | None, int]]:
    """What the data set was asked for: training subset and bins, in order."""
    calls: list[tuple[int | None, int]] = []

    def load(spec: DataSpec, T: int, seed: int) -> Data:
        calls.append((spec.train_subset, T))
        return Data(BinnedSplit(32, T), BinnedSplit(25, T), 10, {"tiny": "md5:0"})

    monkeypatch.setattr(registry, "load", load)
    return calls


def trainer_of(make_run: MakeRun, *overrides: str) -> Trainer:
    run, run_dir = make_run("results", *OVERRIDES, *overrides)
    data = registry.load(run.spec.data, run.spec.model.T, run.spec.seed)
    return Trainer(run, run_dir, data, torch.device("cpu"))


def test_a_value_for_every_number_of_bins_and_the_last_is_the_top1(
    make_run: MakeRun, asked: list[tuple[int | None, int]]
) -> None:
    trainer = trainer_of(make_run)
    trainer.fit()
    found = trainer.outcome()
    assert asked == [(None, 3), (1, 1), (1, 2)]  # after the training: the least of the other half
    expected = []
    for bins in (1, 2, 3):
        split = BinnedSplit(25, bins)
        images, labels = split.__getitems__([(0, index) for index in range(25)])
        with torch.no_grad():
            right = trainer.model.eval()(images).mean(0).argmax(-1) == labels
        expected.append(100 * right.double().mean().item())
    assert found.last["top1_rebinned"] == pytest.approx(expected)
    assert found.last["top1_rebinned"][-1] == found.last["top1"]
    assert "top1_rebinned" not in found.best


def test_static_images_have_no_bins(make_run: MakeRun, tiny_data: Data) -> None:
    run, run_dir = make_run()
    assert rebinned_accuracy(Trainer(run, run_dir, tiny_data, torch.device("cpu")), 50.0) is None


def test_it_can_be_stopped(make_run: MakeRun, asked: list[tuple[int | None, int]]) -> None:
    trainer = trainer_of(make_run)
    trainer.stopping = lambda: True
    with pytest.raises(Interrupted, match="after the last epoch"):
        rebinned_accuracy(trainer, 50.0)
