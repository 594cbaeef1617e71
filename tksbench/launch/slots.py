"""Where runs go on this machine: one at a time on each GPU, and on the CPU as many as it has cores for."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tksbench.recipe import Execution


@dataclass(frozen=True)
class Slot:
    """A place for one run at a time: `gpu` is one entry of CUDA_VISIBLE_DEVICES, None for the CPU."""

    gpu: str | None = None

    def __str__(self) -> str:
        return "CPU" if self.gpu is None else f"GPU {self.gpu}"

    def environment(self) -> dict[str, str]:
        """What the job's environment says about devices."""
        if self.gpu is None:
            return {"CUDA_VISIBLE_DEVICES": ""}
        return {"CUDA_VISIBLE_DEVICES": self.gpu, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def cores_of(execution: Execution, cores: int) -> int:
    """How many of `cores` a run on the CPU takes: its threads, and the processes that load its data."""
    return cores if execution.threads is None else min(execution.threads + execution.workers, cores)


def lock_slot(slot: Slot, folder: Path | None = None) -> int | None:
    """Reserve a GPU against other launchers of the same user on this machine.

    The lock belongs to the open file: passed on to the job, it ends with the job, however that ends.

    Args:
        slot: The slot; the CPU is shared and needs no lock.
        folder: Where lock files lie; None takes a folder under the system's temporary one.

    Returns:
        A file descriptor to pass to the job and then close, -1 where nothing has to be (or can be)
        locked, or None if the slot is taken.
    """
    if slot.gpu is None:
        return -1
    folder = folder or Path(tempfile.gettempdir()) / f"tksbench-{os.getuid()}"
    name = re.sub(r"[^A-Za-z0-9-]", "_", slot.gpu)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / f"gpu-{name}.lock", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    except OSError:
        return -1  # a convenience only: the lease keeps runs apart, this keeps GPUs from being shared
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # a file system without locks: not a taken slot, or the launcher would wait for ever
        os.close(descriptor)
        return -1
    return descriptor
