"""What a piece of work takes of memory: its peak, and what autograd keeps between forward and backward pass."""

from __future__ import annotations

import gc
import itertools
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

_STATUS = Path("/proc/self/status")
_MARK = "measured step"


class Memory:
    """Measures on a device what torch's allocator has given out.

    On a CPU what is resident says less: freed pages stay resident, and which of them are used again is the C library's
    choice among the holes of its heap, so that the same step took 256 to 386 MB where it needs 195.
    """

    def __init__(self, device: torch.device) -> None:
        """Say where."""
        self.cuda = device.type == "cuda"

    def peak(self, work: Callable[[], object]) -> float:
        """Bytes that `work` had at its peak above what was there before. On a CPU it runs twice."""
        gc.collect()
        if not self.cuda:
            return _peak_on_cpu(work)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return float(torch.cuda.max_memory_allocated() - before)

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


def _peak_on_cpu(work: Callable[[], object]) -> float:
    # The profiler sees an allocation's end only if it saw it begin: the first round makes what the second frees.
    with (
        _silent(),
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as seen,
    ):
        work()
        with torch.profiler.record_function(_MARK):
            work()
    assert seen.profiler is not None and seen.profiler.kineto_results is not None  # noqa: S101
    events = sorted(seen.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    start = next(number for number, event in enumerate(events) if event.name() == _MARK)
    sizes = (event.nbytes() for event in events[start:] if event.name() == "[memory]")
    return float(max(itertools.accumulate(sizes, initial=0)))


@contextmanager
def _silent() -> Iterator[None]:
    """The profiler's own library prints on standard error what it does."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def resident() -> int:
    """Bytes of this process that are resident.

    Raises:
        OSError: The system does not give it.
    """
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024
