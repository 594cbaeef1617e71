"""Two processes with one core each beside one process with one core, the same batch a process (weak scaling).

The workers live through the whole case and take turns as asked; who has no turn sleeps. A ratio of 1.1 means that two
processes reach 0.91 of twice the throughput of one. Neither unconnected processes nor a shared machine reach 1.0, so
the ratio of unconnected ones is printed too: what is above it is the cost of the exchange.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import warnings
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.parts import BenchError
from benchmarks.timing import Candidate, Case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from benchmarks.parts import Options

NEEDS = ()
BATCH = (2, 8)  # a process: small, full
ALONE, UNCONNECTED, AVERAGED, TOGETHER = "one process", "two, unconnected", "two, gradients", "two, and batch norm"
_START_S, _STEP_S = 120, 120


def cases(options: Options) -> Iterator[Case]:
    """One case, where there are two cores."""
    if len(_cores()) < 2:
        raise BenchError("scaling: two cores are needed, and this process may use one")
    batch = BATCH[options.full]
    with Workers(options.scratch, batch) as workers:
        yield Case(
            name=f"ResNet-19, batch {batch} a process, T=4, 32x32, one core a process",
            candidates=[Candidate(name, workers.turn(name)) for name in (ALONE, UNCONNECTED, AVERAGED, TOGETHER)],
            reference=ALONE,
        )


class Workers:
    """Two processes that train steps on demand."""

    def __init__(self, folder: Path, batch: int) -> None:
        """Start them; they meet through a file in `folder`."""
        context = multiprocessing.get_context("spawn")
        meeting = Path(tempfile.mkdtemp(dir=folder)) / "meeting"
        self._pipes: list[Connection] = []
        self._processes = []
        for rank in range(2):
            here, there = context.Pipe()
            process = context.Process(target=work, args=(there, rank, str(meeting), batch), daemon=True)
            process.start()
            there.close()
            self._pipes.append(here)
            self._processes.append(process)

    def __enter__(self) -> Workers:
        """Wait until both are ready."""
        self._hear(self._pipes, _START_S)
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop both."""
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.close()
            process.join(5)
            if process.is_alive():
                process.terminate()

    def turn(self, name: str) -> Callable[[], None]:
        """One step of a candidate, in as many processes as it has."""
        pipes = self._pipes[:1] if name == ALONE else self._pipes

        def run() -> None:
            for pipe in pipes:
                pipe.send(name)
            self._hear(pipes, _STEP_S)

        return run

    def _hear(self, pipes: list[Connection], seconds: float) -> None:
        for pipe in pipes:
            if not pipe.poll(seconds):
                raise BenchError(f"scaling: a worker has said nothing for {seconds} s")
            try:
                pipe.recv()
            except EOFError:
                raise BenchError("scaling: a worker has ended; see above") from None


def work(pipe: Connection, rank: int, meeting: str, batch: int) -> None:
    """What a worker does: a step of the candidate it is given, until the pipe is closed."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {_cores()[rank]})
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # before torch: it warns of what the trainer asks for
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=2, timeout=timedelta(seconds=_START_S)
    )
    steps = _steps(rank, batch)
    pipe.send("ready")
    try:
        while True:
            steps[pipe.recv()]()
            pipe.send("done")
    except (EOFError, OSError):
        dist.destroy_process_group()


def _steps(rank: int, batch: int) -> dict[str, Any]:
    """A step for each candidate; all have the same weights."""
    import torch
    from torch.nn.parallel import DistributedDataParallel

    from benchmarks.networks import Step
    from tksbench.snn.resnet import SpikingResNet19
    from tksbench.train.batchnorm import synchronise
    from tksbench.train.cpu import keep_freed_memory
    from tksbench.train.processes import DATA_PARALLEL

    keep_freed_memory()
    device = torch.device("cpu")
    images = torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(rank))

    def make() -> torch.nn.Module:
        torch.manual_seed(0)
        return SpikingResNet19().to(memory_format=torch.channels_last)

    def parallel(network: torch.nn.Module) -> torch.nn.Module:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
            options: dict[str, Any] = DATA_PARALLEL
            return DistributedDataParallel(network, **options)

    own = Step(make, images, "eager", device)
    made = {
        ALONE: own,
        UNCONNECTED: own,
        AVERAGED: Step(lambda: parallel(make()), images, "eager", device),
        TOGETHER: Step(lambda: parallel(synchronise(make(), device)), images, "eager", device),
    }
    return made


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
