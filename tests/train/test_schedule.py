"""The learning rate's golden values (docs/protocol.md#training), and orders that are functions of seed and epoch."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.train.conftest import TinySplit
from tksbench.recipe import OptimSpec, TrainSpec, expand, load_recipe
from tksbench.train.errors import TrainError
from tksbench.train.schedule import TestBatches, TrainBatches, cosine, epoch_order, learning_rate, steps_per_epoch

CIFAR10 = Path(__file__).parents[2] / "recipes" / "cifar10.yaml"
PAPER = expand(load_recipe(CIFAR10))[0].spec.optim


def lr_at(epoch: int, spec: OptimSpec = PAPER) -> float:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=spec.lr)
    scheduler = cosine(optimizer, spec)
    scheduler.step(epoch)
    return float(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (0, 1e-6),
        (4, 1e-6 + 4 * (6.25e-4 - 1e-6) / 5),
        (5, 1e-5 + 0.5 * 6.15e-4 * (1 + math.cos(math.pi * 5 / 600))),
        (6, 1e-5 + 0.5 * 6.15e-4 * (1 + math.cos(math.pi * 6 / 600))),
        (300, 1e-5 + 0.5 * 6.15e-4),
        (599, 1e-5 + 0.5 * 6.15e-4 * (1 + math.cos(math.pi * 599 / 600))),
    ],
)
def test_learning_rate_of_the_paper(epoch: int, expected: float) -> None:
    assert lr_at(epoch) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("epoch", [0, 3, 8, 11, 16, 21])
def test_a_cosine_of_fewer_epochs_rises_again_as_torch_s_does(epoch: int) -> None:
    spec = PAPER.model_copy(update={"warmup_epochs": 0, "cosine_epochs": 8, "min_lr": 1e-5})
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=spec.lr)
    its = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8, eta_min=1e-5)
    for _ in range(epoch):
        optimizer.step()
        its.step()
    assert lr_at(epoch, spec) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)


def test_in_steps_it_falls_to_a_tenth_each_time() -> None:
    spec = PAPER.model_copy(update={"warmup_epochs": 0, "drop_every": 35, "lr": 0.1})
    found = []
    for epoch in (0, 34, 35, 69, 70, 119):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=spec.lr)
        learning_rate(optimizer, spec).step(epoch)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx([0.1, 0.1, 0.01, 0.01, 1e-3, 1e-4])


def test_learning_rate_numbers() -> None:
    # The same as plain decimals, so that a slip in the formula above cannot hide.
    found = [lr_at(epoch) for epoch in (0, 4, 5, 6, 300, 599)]
    assert found == pytest.approx([1e-6, 5.002e-4, 6.24895e-4, 6.24848e-4, 3.175e-4, 1.00042e-5], rel=1e-5)


def test_order_depends_on_seed_and_epoch_alone() -> None:
    split = TinySplit(60, 0, True)
    first = epoch_order(split, 42, 3)
    epoch_order(split, 1, 1)
    assert np.array_equal(first, epoch_order(split, 42, 3))
    assert not np.array_equal(first, epoch_order(split, 42, 4))
    assert not np.array_equal(first, epoch_order(split, 43, 3))
    assert sorted(first) == list(range(60))


def test_balanced_order_draws_classes_equally_often() -> None:
    split = TinySplit(1, 0, True)
    split.labels = np.repeat([0, 1, 2], [5000, 900, 100])
    split.balanced = True
    order = epoch_order(split, 42, 0)
    assert len(order) == 6000
    share = np.bincount(split.labels[order]) / 6000
    assert np.abs(share - 1 / 3).max() < 0.025  # four standard errors


@pytest.mark.parametrize(("drop_last", "steps", "last"), [(True, 3, 16), (False, 4, 12)])
def test_last_batch(drop_last: bool, steps: int, last: int) -> None:
    spec = PAPER.model_copy(update={"batch_size": 16, "epochs": 2, "drop_last": drop_last})
    batches = list(TrainBatches(TinySplit(60, 0, True), spec, 42))
    assert steps_per_epoch(60, spec) == steps
    assert len(batches) == 2 * steps
    assert len(batches[steps - 1]) == last


def test_cifar_has_390_steps_an_epoch() -> None:
    assert steps_per_epoch(50_000, PAPER) == 390


def test_batches_go_on_where_they_stopped() -> None:
    spec = PAPER.model_copy(update={"batch_size": 16, "epochs": 3})
    split = TinySplit(60, 0, True)
    whole = list(TrainBatches(split, spec, 42))
    rest = TrainBatches(split, spec, 42, epoch=1, step=2)
    assert list(rest) == whole[5:]
    assert len(rest) == len(whole[5:])


def test_every_test_sample_comes_once() -> None:
    keys = [key for batch in TestBatches(TinySplit(25, 1, False), 16) for key in batch]
    assert keys == [(0, index) for index in range(25)]


SCHEDULES = """
import itertools

calls = itertools.count()


def halved(epoch, epochs, lr, *, every: int = 2):
    return lr / 2 ** (epoch // every)


def forgetful(epoch, epochs, lr):
    return lr / (1 + next(calls))


def rising(epoch, epochs, lr):
    return -lr


class Late:
    def __init__(self, *, min_lr: float, share: float = 0.5):
        self.min_lr, self.share = min_lr, share

    def __call__(self, epoch, epochs, lr):
        return lr if epoch < self.share * epochs else self.min_lr
"""


@pytest.fixture
def scheduled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """The learning rates of four epochs, the first of which warms up, by one of `SCHEDULES`."""
    (tmp_path / "schedules.py").write_text(SCHEDULES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "schedules", raising=False)

    def rates(schedule: str, *words: str) -> list[float]:
        length = ["optim.epochs=4", "optim.warmup_epochs=1", "optim.lr=1.0", "optim.min_lr=0.2", "optim.warmup_lr=0.1"]
        overrides = [*length, f"optim.schedule={schedule}", *words]
        spec = expand(load_recipe(CIFAR10), overrides=overrides)[0].spec
        assert isinstance(spec, TrainSpec)
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=spec.optim.lr)
        scheduler = learning_rate(optimizer, spec.optim)
        found = []
        for epoch in (3, 0, 1, 2):  # a resumed run begins anywhere
            scheduler.step(epoch)
            found.append(optimizer.param_groups[0]["lr"])
        return [*found[1:], found[0]]

    return rates


@pytest.mark.parametrize(
    ("schedule", "words", "expected"),
    [
        ("polynomial", (), [0.1, 0.8, 0.6, 0.4]),
        ("polynomial", ("optim.schedule.power=2",), [0.1, 0.2 + 0.8 * 9 / 16, 0.4, 0.25]),
        ("schedules:halved", (), [0.1, 1.0, 0.5, 0.5]),
        ("schedules:halved", ("optim.schedule.every=1",), [0.1, 0.5, 0.25, 0.125]),
        ("schedules:Late", ("optim.schedule.share=0.75",), [0.1, 1.0, 1.0, 0.2]),
    ],
)
def test_a_schedule_that_is_a_component_follows_the_warm_up(
    scheduled: Callable[..., list[float]], schedule: str, words: tuple[str, ...], expected: list[float]
) -> None:
    assert scheduled(schedule, *words) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("schedules:forgetful", "schedule 'schedules:forgetful' gives another learning rate at epoch 3 when"),
        ("schedules:rising", "gives -1.0 at epoch 1: expected a finite number that is not negative"),
    ],
)
def test_a_schedule_that_cannot_be_resumed_or_is_no_learning_rate_ends_before_training(
    scheduled: Callable[..., list[float]], schedule: str, message: str
) -> None:
    with pytest.raises(TrainError, match=message):
        scheduled(schedule)
