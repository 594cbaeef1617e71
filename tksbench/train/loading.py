"""Reading batches, here or in worker processes, and sending them to the device."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, Dataset

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import torch

    from tksbench.data.base import Batch, Key, Packed, Split


def read_batches(split: Split, batches: Iterable[list[Key]], workers: int, device: torch.device) -> Iterator[Batch]:
    """Read batches in the order of their keys; they are finished on the device, which nothing here waits for.

    Args:
        split: Where from.
        batches: Keys of each batch; iterated over once.
        workers: Processes that read ahead; with 0, and where they would not help, each batch is read when it is
            asked for.
        device: Where images and labels shall be.
    """
    packed: Iterable[Packed] = map(split.pack, batches)
    if workers and not split.light:
        packed = DataLoader(
            _Packing(split),
            batch_sampler=batches,
            collate_fn=_identity,
            num_workers=workers,
            worker_init_fn=_quiet,
            pin_memory=device.type == "cuda",
        )
    for parts in packed:
        yield split.unpack(tuple(_send(part, device) for part in parts))


class _Packing(Dataset[Any]):
    """What a worker does of a split."""

    def __init__(self, split: Split) -> None:
        self._split = split

    def __getitems__(self, keys: Sequence[Key]) -> Packed:
        return self._split.pack(keys)


def _send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # from pageable memory, the copy would be waited for


def _identity(batch: Any) -> Any:
    return batch


def _quiet(_worker: int) -> None:
    """Workers inherit the trainer's handlers; only the trainer may act on a signal."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(name, signal.SIG_IGN if name != signal.SIGTERM else signal.SIG_DFL)
