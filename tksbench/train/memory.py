"""How the C library deals with memory that torch frees on a CPU."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# Of malloc.h; mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_PAD = 64 << 20


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
