"""Learning rate and order of samples: functions of the epoch alone, so that a resumed run needs no state."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import numpy as np
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.scheduler.step_lr import StepLRScheduler

from tksbench.component import component
from tksbench.train.components import make
from tksbench.train.errors import TrainError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch
    from numpy.typing import NDArray
    from pydantic import Field
    from timm.scheduler.scheduler import Scheduler

    from tksbench.data.base import Key, Split
    from tksbench.recipe import OptimSpec


def learning_rate(optimizer: torch.optim.Optimizer, spec: OptimSpec) -> Scheduler:
    """The spec's schedule: call `.step(epoch)` before each epoch, counted from 0.

    Raises:
        TrainError: A schedule from outside cannot be used.
    """
    if spec.schedule is not None:
        return _Given(optimizer, spec)
    if spec.drop_every is None:
        return cosine(optimizer, spec)
    return StepLRScheduler(
        optimizer,
        decay_t=spec.drop_every,
        decay_rate=0.1,
        warmup_t=spec.warmup_epochs,
        warmup_lr_init=spec.warmup_lr,
        warmup_prefix=False,
    )


def cosine(optimizer: torch.optim.Optimizer, spec: OptimSpec) -> CosineLRScheduler:
    """The authors' schedule.

    Linear from `warmup_lr` over the warm-up epochs, then a cosine evaluated at the epoch itself (the
    warm-up is no prefix), ending at `min_lr` (TKS:train_main.py:222-235; docs/protocol.md#training). The first epoch is
    thus trained at `warmup_lr`. Cool-down epochs are not executed there, hence not here.

    With `cosine_epochs` it is torch's `CosineAnnealingLR` with that `T_max`, which rises again where it has come down.
    """
    kind = CosineLRScheduler if spec.cosine_epochs is None else _Periodic
    return kind(
        optimizer,
        t_initial=spec.cosine_epochs or spec.epochs,
        lr_min=spec.min_lr,
        warmup_t=spec.warmup_epochs,
        warmup_lr_init=spec.warmup_lr,
        warmup_prefix=False,
    )


class _Periodic(CosineLRScheduler):
    """A cosine that goes on after its minimum."""

    def _get_lr(self, t: int) -> list[float]:
        if t < self.warmup_t:
            return super()._get_lr(t)
        share = (1.0 + math.cos(math.pi * t / self.t_initial)) / 2.0
        return [self.lr_min + (peak - self.lr_min) * share for peak in self.base_values]


class _Given(CosineLRScheduler):
    """A schedule that is a component, after a warm-up as that of the cosine.

    Each learning rate is asked for twice before training begins, in another order the second time: a run that goes on
    asks for its own again.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, spec: OptimSpec) -> None:
        super().__init__(
            optimizer, spec.epochs, warmup_t=spec.warmup_epochs, warmup_lr_init=spec.warmup_lr, warmup_prefix=False
        )
        assert spec.schedule is not None  # noqa: S101
        what = f"schedule '{spec.schedule.name}'"
        call = make("schedule", spec.schedule, ("epoch", "epochs", "lr"), {"min_lr": spec.min_lr})
        epochs = range(spec.warmup_epochs, spec.epochs)
        self._rates = {(t, peak): _rate(what, call, t, spec.epochs, peak) for t in epochs for peak in self.base_values}
        for (t, peak), rate in reversed(self._rates.items()):
            if _rate(what, call, t, spec.epochs, peak) != rate:
                raise TrainError(f"{what} gives another learning rate at epoch {t} when it is called again")

    def _get_lr(self, t: int) -> list[float]:
        return super()._get_lr(t) if t < self.warmup_t else [self._rates[t, peak] for peak in self.base_values]


def _rate(what: str, call: Callable[..., object], epoch: int, epochs: int, peak: float) -> float:
    """What a schedule says; raises TrainError if that is no learning rate."""
    found = call(epoch, epochs, peak)
    if not isinstance(found, int | float) or not 0 <= found < math.inf:
        raise TrainError(f"{what} gives {found!r} at epoch {epoch}: expected a finite number that is not negative")
    return float(found)


@component("schedule", "polynomial")
def polynomial(
    epoch: int, epochs: int, lr: float, *, min_lr: float, power: Annotated[float, Field(gt=0)] = 1.0
) -> float:
    """Falls from the peak at epoch 0 to `optim.min_lr` after the last epoch, by a power of the share that is left.

    Args:
        epoch: The epoch, from 0.
        epochs: All epochs.
        lr: The peak.
        min_lr: What it falls to.
        power: Of the share of the epochs that is left; 1 is a straight line.
    """
    return min_lr + (lr - min_lr) * math.pow(1 - epoch / epochs, power)


def epoch_order(split: Split, seed: int, epoch: int) -> NDArray[np.int64]:
    """The samples of one epoch in training order, [N]; the same for every process and after every resume.

    A balanced split draws N samples with replacement, each class equally often on average
    (BrainCog:datasets.py:770-794); any other is shuffled.
    """
    labels = split.labels
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)))
    if not split.balanced:
        return rng.permutation(len(labels))
    weight = 1.0 / np.bincount(labels)[labels]
    return rng.choice(len(labels), size=len(labels), p=weight / weight.sum())


class TrainBatches:
    """A batch sampler over all remaining epochs: lists of (epoch, index), B at a time.

    One iterator for the whole run keeps the loader's workers alive and fetching across epoch borders.
    """

    def __init__(self, split: Split, spec: OptimSpec, seed: int, epoch: int = 0, step: int = 0) -> None:
        """Start at a step of an epoch.

        Args:
            split: Training half.
            spec: Batch size, number of epochs, drop_last.
            seed: The run's seed.
            epoch: Epoch to start with.
            step: Batches of that epoch that are done already.
        """
        self.split, self.spec, self.seed = split, spec, seed
        self.epoch, self.step = epoch, step
        self.per_epoch = steps_per_epoch(len(split), spec)

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield the keys of each batch in training order."""
        size = self.spec.batch_size
        for epoch in range(self.epoch, self.spec.epochs):
            order = epoch_order(self.split, self.seed, epoch).tolist()
            first = self.step if epoch == self.epoch else 0
            for step in range(first, self.per_epoch):
                yield [(epoch, index) for index in order[step * size : (step + 1) * size]]

    def numbered(self) -> Iterator[tuple[int, int, list[Key]]]:
        """The same, each behind its epoch and its step of it."""
        places = (
            (epoch, step)
            for epoch in range(self.epoch, self.spec.epochs)
            for step in range(self.step if epoch == self.epoch else 0, self.per_epoch)
        )
        return ((epoch, step, batch) for (epoch, step), batch in zip(places, self, strict=True))

    def __len__(self) -> int:
        """Number of batches left."""
        return (self.spec.epochs - self.epoch) * self.per_epoch - self.step


class TestBatches:
    """A batch sampler over the test half in its own order, the last batch as short as it comes."""

    __test__ = False  # not a pytest class

    def __init__(self, split: Split, batch_size: int) -> None:
        """Store what to iterate over."""
        self.split, self.batch_size = split, batch_size

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield the keys of each batch."""
        total = len(self.split)
        for start in range(0, total, self.batch_size):
            yield [(0, index) for index in range(start, min(start + self.batch_size, total))]

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self.split) // self.batch_size)


def steps_per_epoch(samples: int, spec: OptimSpec) -> int:
    """Optimizer steps in an epoch.

    Raises:
        TrainError: If drop_last leaves no batch at all.
    """
    full, rest = divmod(samples, spec.batch_size)
    if full == 0 and spec.drop_last:
        raise TrainError(
            f"optim.batch_size {spec.batch_size} is more than the {samples} training samples, and drop_last drops "
            "what is no full batch: choose a smaller batch"
        )
    return full + (rest > 0 and not spec.drop_last)
