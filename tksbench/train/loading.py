"""Reading batches, here or in worker processes, and sending them to the device."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset

from tksbench.train.origin import WORKERS_START

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tksbench.data.base import Batch, Key, Packed, Split


def read_batches(split: Split, batches: Iterable[list[Key]], workers: int, device: torch.device) -> Iterator[Batch]:
    """Read batches in the order of their keys; they are finished on the device, which nothing here waits for.

    Static images lie channels last, as the network's weights do.

    Args:
        split: Where from.
        batches: Keys of each batch; iterated over once.
        workers: Processes that read ahead, at most one a core; with 0, and where they would not help, each batch is
            read when it is asked for.
        device: Where images and labels shall be.
    """
    packed: Iterable[Packed] = map(split.pack, batches)
    if workers and not split.light:
        loader = DataLoader(
            _Packing(split),
            batch_sampler=batches,
            collate_fn=_identity,
            num_workers=min(workers, cores()),
            multiprocessing_context=WORKERS_START,
            worker_init_fn=_quiet,
            pin_memory=device.type == "cuda",
        )
        with _sigterm_waits():  # for workers too, from their first moment
            packed = iter(loader)
    for parts in packed:
        images, labels = split.unpack(tuple(send(part, device) for part in parts))
        yield channels_last(images), labels


def channels_last(images: torch.Tensor) -> torch.Tensor:
    """Static images [B, C, H, W] lie channels last, as the network's weights do; frames stay as they are."""
    return images.contiguous(memory_format=torch.channels_last) if images.dim() == 4 else images


def cores() -> int:
    """Cores that this process may use: more workers than that would only wait for each other."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Packing(Dataset[Any]):
    """What a worker does of a split."""

    def __init__(self, split: Split) -> None:
        self._split = split

    def __getitems__(self, keys: Sequence[Key]) -> Packed:
        return self._split.pack(keys)


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on the device, which is not waited for."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # from pageable memory, the copy would be waited for


def _identity(batch: Any) -> Any:
    return batch


@contextmanager
def _sigterm_waits() -> Iterator[None]:
    """Let a SIGTERM wait until the end of the block, and in processes that are forked within it for good."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _quiet(_worker: int) -> None:
    """Workers inherit the trainer's handlers; only the trainer may act on a signal that every process gets."""
    for name in (signal.SIGINT, signal.SIGUSR2):
        signal.signal(name, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_heed_the_trainer, name="trainer", daemon=True).start()


def _heed_the_trainer() -> None:
    """End by SIGTERM from the trainer alone, which is how one that exits ends its children, and waits for them.

    By anyone else's (scancel, systemd), the trainer saves, but fails at once if it loses a worker.
    """
    trainer = multiprocessing.parent_process()
    assert trainer is not None  # noqa: S101 - this is a worker
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != trainer.pid and os.getppid() == trainer.pid:
        pass
    os._exit(0)  # any other status, and the trainer's torch would call it a failure
