"""How a global batch is shared: among processes, and among the backward passes of one process."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from tksbench.train.batchnorm import ReplicaStatistics
from tksbench.train.errors import TrainError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from tksbench.data.base import Batch
    from tksbench.recipe import OptimSpec
    from tksbench.train.parallel import OneProcess


class BatchShares:
    """This process's part of each global batch, and the gradient of the whole batch's mean loss.

    Without replica batches a part is trained on in one pass: statistics of the global batch cannot be gathered
    over passes. Replica batches are passes of their own, so fewer processes take more passes to the same step.

    Args:
        samples: Training samples in an epoch.
        optim: Batch sizes.
        model: The network whose running statistics replica batches share.
        parallel: The processes.

    Raises:
        TrainError: If some batch cannot be shared among the processes; the message says what would be right.
    """

    def __init__(self, samples: int, optim: OptimSpec, model: nn.Module, parallel: OneProcess) -> None:
        _check(samples, optim, parallel)
        self._samples, self._optim, self._parallel = samples, optim, parallel
        self._replicas = ReplicaStatistics(model) if optim.replica_batch else None

    def total(self, step: int) -> int:
        """Samples of the global batch at a step of an epoch; only the last one may be short."""
        return min(self._optim.batch_size, self._samples - step * self._optim.batch_size)

    def parts(self, step: int) -> list[slice]:
        """This process's part of the global batch at a step, one slice a backward pass."""
        return self.cut(self.total(step))

    def cut(self, total: int) -> list[slice]:
        """This process's part of a global batch of `total` samples."""
        return cut(total, self._optim.replica_batch, self._parallel.rank, self._parallel.size)

    def backward(
        self,
        network: nn.Module,
        batches: list[Batch],
        total: int,
        forward: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    ) -> tuple[Tensor, Tensor]:
        """Accumulate the gradient of the global batch's mean loss.

        Args:
            network: What `forward` calls, as `OneProcess.engage` made it.
            batches: This process's part, one batch a backward pass.
            total: Samples in the global batch.
            forward: Maps images and labels to their mean loss and the number of right ones.

        Returns:
            The global batch's mean loss and its number of right samples, in every process.
        """
        size = self._parallel.size
        groups = -(-total // (self._optim.replica_batch or total))
        losses, corrects = [], []
        if self._replicas:
            self._replicas.begin()
        for number, (images, labels) in enumerate(batches, 1):
            share = len(labels) / total
            with nullcontext() if number == len(batches) else self._parallel.accumulating(network):
                loss, correct = forward(images, labels)
                self._parallel.backward(network, loss * (share * size))  # averaged over processes
            losses.append(loss.detach() * share)
            corrects.append(correct)
            if self._replicas:
                self._replicas.add(size / groups)
        if self._replicas:
            self._replicas.end(self._parallel, len(batches))
        return self._parallel.sums(sum(losses[1:], losses[0]), sum(corrects[1:], corrects[0]))


def cut(total: int, replica: int | None, rank: int, size: int) -> list[slice]:
    """Cut a global batch, in order, into one part a process, or into replica batches of which each has a number.

    A full batch gives equal parts, the last one of an epoch may not.

    Args:
        total: Samples in the global batch.
        replica: What one batch norm sees; None for the global batch.
        rank: Whose part is asked for.
        size: Number of processes.
    """
    if replica is None:
        return [slice(rank * total // size, (rank + 1) * total // size)]
    groups = -(-total // replica)
    mine = range(rank * groups // size, (rank + 1) * groups // size)
    return [slice(group * replica, min((group + 1) * replica, total)) for group in mine]


def _check(samples: int, optim: OptimSpec, parallel: OneProcess) -> None:
    size = parallel.size
    units = optim.batch_size // (optim.replica_batch or 1)
    if units % size:
        what = f" ({units} replica batches of {optim.replica_batch})" if optim.replica_batch else ""
        raise TrainError(
            f"optim.batch_size {optim.batch_size}{what} cannot be shared evenly among {size} processes: "
            f"choose a number of processes that divides {units}"
        )
    rest = 0 if optim.drop_last else samples % optim.batch_size
    units = -(-rest // (optim.replica_batch or 1))
    if rest and units < size:
        raise TrainError(
            f"the last batch of an epoch has {rest} samples, too few for {size} processes: "
            "choose fewer processes, or optim.drop_last=true"
        )
    if optim.replica_batch and units % size and parallel.even_passes:
        raise TrainError(
            f"the last batch of an epoch has {units} replica batches, not as many for each of {size} processes, which "
            "execution.zero 2 and 3 ask for: choose execution.zero=1, or optim.drop_last=true"
        )
