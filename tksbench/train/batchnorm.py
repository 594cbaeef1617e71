"""What a batch norm sees when a global batch is shared: all of it, or replica batches of a stated size.

The recipe decides (`optim.replica_batch`), never the machine: the statistics of the normalisation and the running
statistics are the same, up to rounding, however many processes share the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from tksbench.train.parallel import OneProcess


def synchronise(model: nn.Module, device: torch.device) -> nn.Module:
    """Let the batch norms of all processes see the global batch; names and values of the weights stay.

    PyTorch's own synchronised batch norm has no CPU implementation.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-any-return, no-untyped-call]
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = GlobalBatchNorm2d
    return model


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the samples of all processes, on a CPU; each must call it in training."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` [B, C, H, W]; processes may have different B."""
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None  # noqa: S101 - track_running_stats
        assert self.num_batches_tracked is not None and self.momentum is not None  # noqa: S101
        out, mean, var, count = _Normalise.apply(x, self.weight, self.bias, self.eps)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (count / (count - 1)), self.momentum)  # unbiased, as in one process
            self.num_batches_tracked.add_(1)
        return out  # type: ignore[no-any-return]


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) * weight + bias with mean and variance over all processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, int]:
        wide = x.float()
        var, mean = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
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
        mean, var = mean64.float(), var64.float()
        scale = torch.rsqrt(var64 + eps).float()
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.total = total
        out = (wide - _column(mean)) * _column(scale * weight) + _column(bias)
        ctx.mark_non_differentiable(mean, var)
        return out.to(x.dtype), mean, var, total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_unused: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, scale = ctx.saved_tensors
        wide = grad.float()
        normal = (x.float() - _column(mean)) * _column(scale)
        mine = torch.stack([wide.sum((0, 2, 3)), (wide * normal).sum((0, 2, 3))])
        everywhere = mine.clone()
        dist.all_reduce(everywhere)
        shift, slope = everywhere / ctx.total
        result = (wide - _column(shift) - normal * _column(slope)) * _column(scale * weight)
        return result.to(x.dtype), mine[1], mine[0], None


def _column(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)


class ReplicaStatistics:
    """Running statistics under replica batches: one update a step, by the mean of the replica batches' statistics.

    Left alone, a process would update once for each replica batch that it happens to have, and never for those of
    the others, so evaluation would depend on the number of processes.

    Args:
        model: Its batch norms must be plain ones.
    """

    def __init__(self, model: nn.Module) -> None:
        self._norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        self._running: list[Tensor] = []
        self._start: list[Tensor] = []
        self._sum: list[Tensor] = []

    def begin(self) -> None:
        """Before a step."""
        # Asked for at each step: whoever moves the model to a device, as accelerate does, gives it new buffers.
        both = ((norm.running_mean, norm.running_var) for norm in self._norms)
        self._running = [x for pair in both for x in pair if x is not None]
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
