"""One run over several processes, as the loop and the job see it; `OneProcess` is the ordinary case.

Each process is started as `python -m tksbench.train RUN_DIR`; the environment says which of how many it is.
Imports no torch: a run in one process must not pay for what it does not use (`tksbench.train.processes` does).
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tksbench.train.errors import TrainError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import torch
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from tksbench.recipe import Execution
    from tksbench.recipe.schema import TrainSpec

T = TypeVar("T")
_TORCH = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
_SLURM = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
_MASTER = ("MASTER_ADDR", "MASTER_PORT")

# What a process wishes at a step boundary; the highest wish of all is what they do.
GO_ON, SAVE, STOP = 0, 1, 2


class Verdict(NamedTuple):
    """How a run over several processes ended: the exit status of all of them, and why."""

    code: int
    reason: str


@dataclass(frozen=True)
class World:
    """Which of how many processes this one is, and which of those on its node."""

    rank: int
    size: int
    local_rank: int


def world_from_env() -> World | None:
    """Read RANK, WORLD_SIZE, LOCAL_RANK, or Slurm's equivalents, where MASTER_ADDR and MASTER_PORT are given.

    Slurm sets its own in every job, so without a MASTER_ADDR they say nothing: the run is then one process.

    Returns:
        None for a run of one process.

    Raises:
        TrainError: If the variables are incomplete or contradict each other.
    """
    if any(name in os.environ for name in _TORCH):
        names = _TORCH
    elif all(name in os.environ for name in (*_SLURM, *_MASTER)):
        names = _SLURM
    else:
        return None
    try:
        rank, size, local = (int(os.environ[name]) for name in names)
    except (KeyError, ValueError):
        found = ", ".join(f"{name}={os.environ.get(name, '')}" for name in names)
        raise TrainError(f"{found}: each must be a number, or all be unset for a run of one process") from None
    if not 0 <= rank < size or local < 0:
        raise TrainError(f"{names[0]}={rank} is none of the {size} processes of {names[1]}, counted from 0")
    if size == 1:
        return None
    missing = [name for name in _MASTER if not os.environ.get(name)]
    if missing:
        raise TrainError(f"{' and '.join(missing)}: must say where process 0 of {size} is to be met")
    return World(rank, size, local)


class OneProcess:
    """A run of one process: nothing to share, nobody to ask."""

    rank = 0
    size = 1
    even_passes = False  # whether each process has to make as many backward passes for a step as any other

    @property
    def lead(self) -> bool:
        """Whether this process holds the lease and writes the files."""
        return self.rank == 0

    @property
    def nodes(self) -> int:
        """Number of machines."""
        return 1

    @property
    def processors(self) -> list[str]:
        """The kinds of the machines' processors, each once; none where this process's own is the only one."""
        return []

    def device(self, execution: Execution) -> torch.device:
        """Where this process computes."""
        from tksbench.train.build import pick_device

        return pick_device(execution)

    def device_names(self, device: torch.device) -> list[str]:
        """Names of all processes' accelerators; none on CPUs."""
        import torch

        return [torch.cuda.get_device_name(device)] if device.type == "cuda" else []

    def normalise_together(self, model: nn.Module) -> nn.Module:
        """Make each batch norm see what it would see in one process."""
        return model

    def engage(self, spec: TrainSpec, model: nn.Module, optimizer: Optimizer) -> nn.Module:
        """What to call in training instead of the model, so that gradients become those of the global batch.

        Called once, when model and optimizer are as training begins or goes on with them.
        """
        return model

    def accumulating(self, network: nn.Module) -> AbstractContextManager[None]:
        """A context for the passes, forward and backward, before a step's last one."""
        return nullcontext()

    def backward(self, network: nn.Module, loss: Tensor) -> None:
        """Add a loss's gradient to those of the step."""
        loss.backward()  # type: ignore[no-untyped-call]

    def step(self, network: nn.Module, optimizer: Optimizer, clip_norm: float | None = None) -> None:
        """Change the weights by gradients that are shortened where they are longer than a bound, and forget these."""
        if clip_norm is not None:
            from torch.nn.utils import clip_grad_norm_

            clip_grad_norm_(network.parameters(), clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def make_whole(self, model: nn.Module) -> None:
        """Give the model in each process all weights as training has left them; all processes must ask."""

    def tensors(self, model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
        """What a checkpoint holds, in the leading process; all of them must ask, after `make_whole`."""
        from tksbench.train.checkpoint import tensors_of

        return tensors_of(model, optimizer) if self.lead else {}

    def sums(self, loss: Tensor, correct: Tensor) -> tuple[Tensor, Tensor]:
        """Add up this step's shares of the loss and of the right samples."""
        return loss, correct

    def average(self, tensors: list[Tensor]) -> None:
        """Replace tensors by their mean over processes."""

    def agree(self, wish: int) -> int:
        """The highest of all processes' wishes (GO_ON, SAVE, STOP); all of them must ask."""
        return wish

    def from_lead(self, make: Callable[[], T]) -> T:
        """What `make` returns in the leading process, in all of them."""
        return make()

    def gather(self, items: list[T]) -> list[T]:
        """Put together what `rank::size` split, in order, in the leading process; the others get nothing."""
        return items

    def leave(self, verdict: Verdict | None) -> int:
        """The last call: tell the others how it ended, or with None wait for the leading process's word.

        Returns:
            The exit status.
        """
        return verdict.code if verdict else 0


ALONE = OneProcess()
