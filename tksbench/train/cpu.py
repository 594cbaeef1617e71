"""What a process that trains on a CPU sets up before it does."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from tksbench.recipe import Execution

# Of malloc.h; mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_PAD = 64 << 20


def set_up_cpu(execution: Execution) -> None:
    """Compute with the threads that a run is to have, and keep freed memory."""
    if execution.threads is not None:
        torch.set_num_threads(execution.threads)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let the process keep the memory that it frees, since the next step is going to need as much of it.

    Otherwise glibc gives each large tensor back to the system, and the system clears each page before it is used
    anew, step after step. Elsewhere than on glibc nothing is done.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)  # never
        mallopt(_TOP_PAD, _PAD)
