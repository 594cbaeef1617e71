"""Training samples mixed with others, on the device: a function of (seed, epoch, step) and of nothing else.

What is mixed with what, and by which random numbers, is drawn for a whole global batch, so it is the same however many
processes share that batch, and after every resume. A process reads its own part of the batch and, once each, the
samples that are mixed into it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, cast

import numpy as np
import torch

from tksbench.train.components import make
from tksbench.train.loading import channels_last, read_batches, send

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from tksbench.data.base import Batch, Data, Key
    from tksbench.recipe import TrainSpec

_STREAM = 0x6D6978  # "mix": another one than that of the samples' order


class Mix(Protocol):
    """What fills the slot `mix`: a class whose parameters are those of its `__init__`.

    Attributes:
        partners: Where a sample's partner is from: the same global batch in another order, or the whole training half.
    """

    partners: Literal["batch", "set"]

    def draw(self, rng: np.random.Generator, samples: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Draw all random numbers for a global batch.

        Args:
            rng: A generator of this step alone.
            samples: Samples in the batch, B.
            shape: Of one sample: [C, H, W], or [T, C, H, W] of frames.

        Returns:
            A row for each sample, [B, K].
        """
        ...

    def __call__(self, images: Tensor, others: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Mix samples with their partners, each by its own row of `draws`, without waiting for the device.

        Args:
            images: [B, ...], as the network would see them.
            others: The partner of each, in the same shape.
            draws: float64 [B, K].

        Returns:
            The mixed samples, in the same shape, and the share of its own label in each one's target, [B] in [0, 1];
            the rest is the partner's.
        """
        ...


class Part(NamedTuple):
    """A process's part of a global batch.

    Attributes:
        epoch: Counted from 0.
        step: Step of the epoch, counted from 0.
        batch: Keys of the whole global batch.
        part: Which of them.
    """

    epoch: int
    step: int
    batch: list[Key]
    part: slice


class Mixing:
    """Reads parts of batches of a training half, and mixes them.

    Args:
        spec: The run's.
        data: The data set.
        workers: Processes that read ahead.
        device: Where images and labels shall be.

    Raises:
        TrainError: A mix from outside the project cannot be used.
    """

    def __init__(self, spec: TrainSpec, data: Data, workers: int, device: torch.device) -> None:
        self.mix = cast("Mix", make("mix", spec.mix)) if spec.mix else None
        self.data, self.seed = data, spec.seed
        self._workers, self._device = workers, device

    def read(self, parts: Iterable[Part]) -> Iterator[Batch]:
        """Images of each part, and their labels [B]; of mixed ones, soft targets float32 [B, C] that sum to 1."""
        if self.mix is None:
            return self._read(one.batch[one.part] for one in parts)
        return self._mixed(self.mix, parts)

    def _mixed(self, mix: Mix, parts: Iterable[Part]) -> Iterator[Batch]:
        waiting: deque[tuple[Part, NDArray[np.int64]]] = deque()  # read ahead by workers

        def keys() -> Iterator[list[Key]]:
            for one in parts:
                both = one.batch[one.part] + self._partners(mix, one)[one.part]
                number = {key: at for at, key in enumerate(dict.fromkeys(both))}
                waiting.append((one, np.array([number[key] for key in both]).reshape(2, -1)))
                yield list(number)

        for images, labels in self._read(keys()):
            one, where = waiting.popleft()
            rows = mix.draw(self._generator(one, 1), len(one.batch), tuple(images.shape[1:]))[one.part]
            draws = send(torch.from_numpy(np.asarray(rows, dtype=np.float64)), self._device)
            own, other = send(torch.from_numpy(where), self._device)
            mixed, share = mix(images[own], images[other], draws)
            yield channels_last(mixed), soft_targets(labels[own], labels[other], share, self.data.num_classes)

    def _read(self, keys: Iterable[list[Key]]) -> Iterator[Batch]:
        return iter(read_batches(self.data.train, keys, self._workers, self._device))

    def _partners(self, mix: Mix, one: Part) -> list[Key]:
        rng, size = self._generator(one, 0), len(one.batch)
        if mix.partners == "batch":
            return [one.batch[index] for index in rng.permutation(size).tolist()]
        return [(one.epoch, index) for index in rng.integers(len(self.data.train), size=size).tolist()]

    def _generator(self, one: Part, number: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox([_STREAM, self.seed, one.epoch, one.step, number]))


def soft_targets(own: Tensor, other: Tensor, share: Tensor, num_classes: int) -> Tensor:
    """Targets of mixed samples.

    Args:
        own: Labels [B].
        other: Those of the partners.
        share: Of the own label, [B].
        num_classes: C.

    Returns:
        float32 [B, C]; each row sums to 1.
    """
    part = share.to(torch.float32).unsqueeze(1)
    classes = torch.arange(num_classes, device=own.device)
    return part * (own.unsqueeze(1) == classes) + (1 - part) * (other.unsqueeze(1) == classes)
