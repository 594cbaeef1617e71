"""Reading batches, here or in worker processes."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

    from tksbench.data.base import Batch, Key, Split


def read_batches(split: Split, batches: Iterable[list[Key]], workers: int, device: torch.device) -> Iterable[Batch]:
    """Read batches in the order of their keys.

    Args:
        split: Where from.
        batches: Keys of each batch; iterated over once.
        workers: Processes that read ahead; with 0, each batch is read when it is asked for.
        device: Where the batches will be used.
    """
    if workers == 0:
        return map(split.__getitems__, batches)
    return DataLoader(
        split,
        batch_sampler=batches,
        collate_fn=_identity,
        num_workers=workers,
        worker_init_fn=_quiet,
        pin_memory=device.type == "cuda",
    )


def _identity(batch: Any) -> Any:
    return batch


def _quiet(_worker: int) -> None:
    """Workers inherit the trainer's handlers; only the trainer may act on a signal."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(name, signal.SIG_IGN if name != signal.SIGTERM else signal.SIG_DFL)
