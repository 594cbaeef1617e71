"""What a batch norm sees when a global batch is shared: all of it, or replica batches of a stated size.

The recipe decides (`optim.replica_batch`), never the machine: the statistics of the normalisation and the running
statistics are the same, up to rounding, however many processes share the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tksbench.snn.known import says
from tksbench.snn.normlif import SharedBatchNorm2d, fusable
from tksbench.snn.once_differentiable import once_differentiable
from tksbench.train.errors import TrainError

if TYPE_CHECKING:
    from tksbench.train.parallel import OneProcess


_SYNCHRONISED = (nn.BatchNorm2d,)


def synchronise(model: nn.Module, device: torch.device) -> nn.Module:
    """Let the batch norms of all processes see the global batch; names and values of the weights stay.

    PyTorch's own synchronised batch norm has no CPU implementation.

    Raises:
        TrainError: A module may look at the other samples of its batch in a way that is not known here.
    """
    for name, module in model.named_modules():
        if not (type(module) in _SYNCHRONISED or (says(module, "per_sample") and not isinstance(module, _BatchNorm))):
            raise TrainError(
                f"{name or 'the network'}: what a {type(module).__name__} computes from a batch cannot be synchronised "
                "over several processes: train in one, set optim.replica_batch, or let its class say per_sample = True"
            )
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-any-return, no-untyped-call]
    for module in model.modules():
        if type(module) in _SYNCHRONISED:
            module.__class__ = GlobalBatchNorm2d
    return model


@fusable
class GlobalBatchNorm2d(SharedBatchNorm2d):
    """Batch norm over the samples of all processes, on a CPU; each must call it in training."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` [B, C, H, W]; processes may have different B."""
        if not self.training:
            return super().forward(x)
        mean, invstd, total = self.statistics(x, 1)
        return _Normalise.apply(x, self.weight, self.bias, mean, invstd, self, total)  # type: ignore[no-any-return]

    def statistics(self, x: Tensor, repeats: int) -> tuple[Tensor, Tensor, int]:
        """Those of all processes; see `SharedBatchNorm2d`."""
        assert self.running_mean is not None and self.running_var is not None  # noqa: S101 - track_running_stats
        assert self.num_batches_tracked is not None and self.momentum is not None  # noqa: S101
        with torch.no_grad():
            mean, var = torch.batch_norm_update_stats(x.float(), None, None, 0.0)
            count = x.numel() // x.shape[1]
            mine = torch.cat([mean.double(), var.double(), torch.tensor([count], dtype=torch.float64)])
            parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
            dist.all_gather(parts, mine)
            table = torch.stack(parts)
            means, variances = table[:, :-1].chunk(2, 1)
            total = int(table[:, -1].sum())
            share = table[:, -1:] / total
            mean64 = (share * means).sum(0)
            var64 = (share * (variances + (means - mean64).square())).sum(0)
            self.running_mean.lerp_(mean64.float(), self.momentum)
            unbiased = var64 * (total * repeats / (total * repeats - 1))  # as in one process
            self.running_var.lerp_(unbiased.float(), self.momentum)
            self.num_batches_tracked.add_(1)
            return mean64.float(), torch.rsqrt(var64 + self.eps).float(), total

    def gradient(
        self, grad: Tensor, x: Tensor, mean: Tensor, invstd: Tensor, total: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """That of all processes' losses; see `SharedBatchNorm2d`."""
        mask = [False, True, True]
        fixed = (self.weight, None, None, mean, invstd, True, self.eps)
        _, slope, shift = torch.ops.aten.native_batch_norm_backward(grad.float(), x.float(), *fixed, mask)
        sums = torch.stack([slope, shift])
        dist.all_reduce(sums)
        mean_slope, mean_shift = sums / total
        # (grad - mean_shift - (x - mean) * invstd * mean_slope) * invstd * weight, as two passes over memory.
        scale = invstd * self.weight
        of_x = -scale * invstd * mean_slope
        rest = -scale * mean_shift - of_x * mean
        result = torch.addcmul(_column(rest), x, _column(of_x)).addcmul_(grad, _column(scale))
        return result.to(x.dtype), slope, shift


class _Normalise(torch.autograd.Function):
    """Normalise by given statistics, which are those of `x` and of other processes."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        invstd: Tensor,
        norm: GlobalBatchNorm2d,
        total: int,
    ) -> Tensor:
        ctx.save_for_backward(x, mean, invstd, weight)
        ctx.norm, ctx.total = norm, total
        scale = invstd * weight
        return torch.addcmul(_column(bias - mean * scale), x, _column(scale)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # `gradient` reads the weight again: kept, so that torch refuses one that has changed since.
        x, mean, invstd, _weight = ctx.saved_tensors
        return *ctx.norm.gradient(grad, x, mean, invstd, ctx.total), None, None, None, None


def _column(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)


class ReplicaStatistics:
    """Running statistics under replica batches: one update a step, by the mean of the replica batches' statistics.

    Left alone, a process would update once for each replica batch that it happens to have, and never for those of
    the others, so evaluation would depend on the number of processes.

    Args:
        model: All its floating-point buffers are taken for running statistics.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        self._running: list[Tensor] = []
        self._start: list[Tensor] = []
        self._sum: list[Tensor] = []

    def begin(self) -> None:
        """Before a step."""
        # Asked for at each step: whoever moves the model to a device, as accelerate does, gives it new buffers.
        self._running = [x for x in self._model.buffers() if x.is_floating_point()]
        self._start = [x.clone() for x in self._running]
        self._sum = [torch.zeros_like(x) for x in self._running]

    def add(self, share: float) -> None:
        """After the backward pass (which still needs the buffers) of one of the process's replica batches.

        Args:
            share: Its weight; those of a process's replica batches sum to the number of processes on average.
        """
        torch._foreach_add_(self._sum, self._running, alpha=share)
        torch._foreach_copy_(self._running, self._start)

    def end(self, parallel: OneProcess, batches: int) -> None:
        """After a step: `batches` is the number of replica batches that this process has had."""
        parallel.average(self._sum)
        torch._foreach_copy_(self._running, self._sum)
        for norm in self._norms:
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.sub_(batches - 1)
