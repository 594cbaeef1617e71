"""What a piece of work takes of memory: its peak, and what autograd keeps between forward and backward pass."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): writing 5 sets the peak of the resident set to its present size


class Memory:
    """Measures on a device: what its allocator has given out, or on a CPU what is resident."""

    def __init__(self, device: torch.device) -> None:
        """Say where."""
        self.cuda = device.type == "cuda"

    def peak(self, work: Callable[[], object]) -> float:
        """Bytes that `work` had at its peak above what was there before; NaN where the system does not tell."""
        gc.collect()
        if self.cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            work()
            torch.cuda.synchronize()
            return float(torch.cuda.max_memory_allocated() - before)
        try:
            _give_back()
            _CLEAR.write_text(_RESET_PEAK)
            before = resident()
            work()
            return float(resident("VmHWM") - before)
        except OSError:
            return float("nan")

    def kept(self, work: Callable[[], object], network: nn.Module) -> float:
        """Bytes of tensors that autograd keeps for the backward pass of `work`, weights apart, each storage once."""
        weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
        storages: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            work()
        return float(sum(storages.values()))


def resident(key: str = "VmRSS") -> int:
    """Bytes of this process that are resident, or at a peak ("VmHWM").

    Raises:
        OSError: The system does not tell.
    """
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def _give_back() -> None:
    """Let the C library give freed memory back to the system, so that what is resident is in use."""
    with suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
