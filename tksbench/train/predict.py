"""What the network as it is makes of samples: for tests, other framings, features and cost, in one way."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from tksbench.snn.known import graph_safe
from tksbench.train.graph import GraphedStep
from tksbench.train.loading import read_batches
from tksbench.train.parallel import ALONE
from tksbench.train.schedule import TestBatches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from tksbench.data.base import Batch, Split
    from tksbench.snn.layers import SpikingNetwork
    from tksbench.train.parallel import OneProcess

    Part = tuple[NDArray[np.float32], NDArray[np.int64]]


class Predictor:
    """Asks a network, in evaluation mode and without gradients; it is put back into the mode that it was in.

    Args:
        network: Maps a batch of images to logits [T, B, C].
        device: Where it is.
        autocast: Context of the forward pass.
        batch_size: Samples at a time.
        workers: Processes that read ahead.
    """

    def __init__(
        self, network: nn.Module, device: torch.device, autocast: Callable[[], Any], batch_size: int, workers: int = 0
    ) -> None:
        self.network, self.device, self.autocast = network, device, autocast
        self.batch_size, self.workers = batch_size, workers

    def logits(self, split: Split, parallel: OneProcess = ALONE, at_batch: Callable[[], None] = lambda: None) -> Part:
        """Raw outputs [N, T, C] and labels [N] of a whole split, in the leading process; of none in the others.

        Args:
            split: What is asked about.
            parallel: The processes that share it batch by batch.
            at_batch: Called after each batch, as often in each process; may raise to stop.
        """
        batches = list(TestBatches(split, self.batch_size))
        mine = batches[parallel.rank :: parallel.size]
        parts = self._logits(read_batches(split, mine, self.workers, self.device), at_batch)
        if len(mine) < -(-len(batches) // parallel.size):
            at_batch()  # where the others have one batch more
        parts = parallel.gather(parts)
        if not parts:
            return np.empty((0, 0, 0), np.float32), np.empty(0, np.int64)
        logits, labels = zip(*parts, strict=True)
        return np.concatenate(logits), np.concatenate(labels)

    def _logits(self, batches: Iterator[Batch], at_batch: Callable[[], None]) -> list[Part]:
        def logits(images: Tensor, _target: Tensor) -> tuple[Tensor, ...]:
            with self.autocast():
                return (self.network(images).float().transpose(0, 1),)

        recorded = self.device.type == "cuda" and graph_safe(self.network)
        forward = GraphedStep(logits) if recorded else logits
        parts = []
        with self._asking():
            waiting = None
            for images, target in batches:
                (out,) = forward(images, target)
                if waiting is not None:  # fetched when the device has its next batch already
                    parts.append(_fetch(*waiting))
                waiting = (out, target)
                at_batch()
            if waiting is not None:
                parts.append(_fetch(*waiting))
        return parts

    def features(
        self, split: Split, index: NDArray[np.int64], keep: Callable[[NDArray[np.float32]], NDArray[Any]]
    ) -> NDArray[Any]:
        """What is kept of the mean output over time of each of the last neurons, for some samples of a split.

        Args:
            split: The split.
            index: Which of its samples, [N].
            keep: Maps a part of the features [B, F] to what is kept of it.

        Returns:
            [N, F], of the type that holds all parts.
        """
        network = cast("SpikingNetwork", self.network)
        parts = []
        with self._asking():
            for images, _ in self._read(split, np.array_split(index, -(-len(index) // self.batch_size))):
                with self.autocast():
                    parts.append(keep(network.forward_features(images).float().cpu().numpy()))
        return np.concatenate(parts)

    def images(self, split: Split, index: NDArray[np.int64]) -> Tensor:
        """Some samples of a split on the device, as one batch."""
        return next(self._read(split, [index]))[0]

    def _read(self, split: Split, parts: list[NDArray[np.int64]]) -> Iterator[Batch]:
        keys = [[(0, number) for number in part.tolist()] for part in parts]
        return read_batches(split, keys, 0, self.device)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        training = self.network.training
        self.network.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            self.network.train(training)


def _fetch(logits: Tensor, target: Tensor) -> Part:
    return logits.cpu().numpy(), target.cpu().numpy()
