"""Runs of several processes on this machine: forked from a server that has imported everything once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from tests.train.conftest import TinySplit
from tksbench.data.base import Data

Hook = Callable[[int, Data], None]
PRELOAD = [
    "tests.train.ranks",
    "tksbench.train.job",
    "tksbench.train.loop",
    "tksbench.train.summary",
    "tksbench.train.processes",
]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def run_ranks(
    run_dir: Path, size: int, hook: Hook | None = None, limit_s: float = 300.0, log: Path | None = None
) -> list[int | None]:
    """Train the run of a directory in `size` processes, on the tiny data; their exit statuses.

    Args:
        run_dir: A prepared run.
        size: Number of processes.
        hook: A module's function, called in each process with its rank and the data before the run begins.
        limit_s: Processes that take longer are killed, and have status -9.
        log: Where they write; None for the run's own log.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    port = free_port()
    log = log or run_dir / "log.txt"
    shared = (run_dir, size, port, log, hook, dict(os.environ))
    ranks = [context.Process(target=_rank, args=(rank, *shared)) for rank in range(size)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(limit_s)
        if process.exitcode is None:
            process.kill()
            process.join()
    return [process.exitcode for process in ranks]


def _rank(
    rank: int, run_dir: Path, size: int, port: int, log: Path, hook: Hook | None, environment: dict[str, str]
) -> None:
    from tksbench.data import registry
    from tksbench.train import job

    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.clear()  # the server that this was forked from has the variables of the test that started it
    os.environ.update(environment)
    if size > 1:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    data = Data(TinySplit(60, 0, True), TinySplit(25, 1, False), 10, {"tiny": "md5:0"})
    registry.load = lambda spec, T, seed: data
    if hook:
        hook(rank, data)
    job.configure_logging()
    sys.exit(job.run_job(run_dir))


def at_fetch(data: Data, number: int, action: Callable[[], None]) -> None:
    """Do something when this process fetches its training batch of that number, from 0."""
    fetch, calls = data.train.__getitems__, iter(range(10**6))

    def fetch_and_act(keys):  # type: ignore[no-untyped-def]
        if next(calls) == number:
            action()
        return fetch(keys)

    data.train.__getitems__ = fetch_and_act  # type: ignore[method-assign]


def stop_process_1(rank: int, data: Data) -> None:
    if rank == 1:
        at_fetch(data, 4, lambda: os.kill(os.getpid(), signal.SIGUSR2))


def divide_all(rank: int, data: Data) -> None:
    """ZeRO keeps small weights whole, and all of the tiny network's are small."""
    from tksbench.train import zero

    config = zero._config

    def divided(stage, spec):  # type: ignore[no-untyped-def]
        out = config(stage, spec)
        out["zero_optimization"]["stage3_param_persistence_threshold"] = 0
        return out

    zero._config = divided


def divide_all_and_stop(rank: int, data: Data) -> None:
    divide_all(rank, data)
    stop_process_1(rank, data)


def override_the_recipe(rank: int, data: Data) -> None:
    """What a user's shell may have set for other programs."""
    os.environ |= {"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_USE_FSDP": "true"}


def fail_in_process_1(rank: int, data: Data) -> None:
    def fail() -> None:
        raise OSError("the disk of node 2 is gone")

    if rank == 1:
        at_fetch(data, 4, fail)


def kill_process_1(rank: int, data: Data) -> None:
    if rank == 1:
        at_fetch(data, 4, lambda: os.kill(os.getpid(), signal.SIGKILL))


def compare_batch_norms(rank: int, data: Data) -> None:
    """In place of training: each process normalises its part; process 0 compares with the whole in one process."""
    import torch
    import torch.distributed as dist
    from torch import nn

    from tksbench.train.batchnorm import synchronise

    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.manual_seed(0)
    whole, target = torch.randn(10, 3, 4, 5) * 3 + 7, torch.randn(10, 3, 4, 5)
    expected, found = nn.Sequential(nn.BatchNorm2d(3)), nn.Sequential(nn.BatchNorm2d(3))
    for net in (expected, found):
        nn.init.uniform_(net[0].weight.data, generator=torch.Generator().manual_seed(1))
    synchronise(found, torch.device("cpu"))
    part = slice(0, 4) if rank == 0 else slice(4, 10)  # parts need not be alike
    one, two = whole.clone().requires_grad_(), whole[part].clone().requires_grad_()
    (expected(one) * target).sum().backward()
    (found(two) * target[part]).sum().backward()
    for parameter in found.parameters():
        dist.all_reduce(parameter.grad)
    assert one.grad is not None
    pairs = [(one.grad[part], two.grad), *zip(expected.state_dict().values(), found.state_dict().values(), strict=True)]
    pairs += [(a.grad, b.grad) for a, b in zip(expected.parameters(), found.parameters(), strict=True)]
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    expected(whole.bfloat16())
    found(whole.bfloat16()[part])
    for a, b in zip(expected.buffers(), found.buffers(), strict=True):  # in float32 whatever comes in
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    sys.exit(0)


def compare_fused_batch_norms(rank: int, data: Data) -> None:
    """In place of training: the compiled pass over each process's part; process 0 compares with the whole in one."""
    import torch
    import torch.distributed as dist
    from torch import nn

    from tksbench.snn import native
    from tksbench.snn.neuron import LIF
    from tksbench.snn.normlif import _fits, _native, norm_lif
    from tksbench.train.batchnorm import synchronise

    dist.init_process_group("gloo", rank=rank, world_size=2)
    steps, batch = 3, 10
    part = slice(0, 4) if rank == 0 else slice(4, 10)
    for repeats, with_shortcut in ((1, False), (1, True), (steps, False)):
        torch.manual_seed(repeats + with_shortcut)
        folded = 1 if repeats > 1 else steps
        x, shortcut = 2 * torch.randn(folded, batch, 6, 4, 5) + 1, torch.rand(folded, batch, 6, 4, 5)
        target = torch.randn(steps, batch, 6, 4, 5)
        found = []
        for norm, mine in (
            (nn.BatchNorm2d(6), slice(None)),
            (synchronise(nn.BatchNorm2d(6), torch.device("cpu")), part),
        ):
            assert isinstance(norm, nn.BatchNorm2d)
            nn.init.uniform_(norm.weight, generator=torch.Generator().manual_seed(1))
            one, two = (
                tensor[:, mine].flatten(0, 1).contiguous(memory_format=torch.channels_last).requires_grad_()
                for tensor in (x, shortcut)
            )
            neurons, added = LIF(), two if with_shortcut else None
            assert native.library() is None or (_fits(norm, neurons, one) and _native(neurons, one, added))
            spikes = norm_lif(norm, neurons, one, steps, added, repeats)
            (spikes.view(steps, -1, 6, 4, 5) * target[:, mine]).sum().backward()
            assert norm.weight.grad is not None and norm.bias.grad is not None and one.grad is not None
            sums = torch.stack([norm.weight.grad, norm.bias.grad])
            if mine is part:
                dist.all_reduce(sums)
            grads = [one.grad] if two.grad is None else [one.grad, two.grad]
            local = [spikes.detach().view(steps, -1, 6, 4, 5), *(grad.view(folded, -1, 6, 4, 5) for grad in grads)]
            found.append((local, [sums, *norm.state_dict().values()]))
        (whole, expected), (local, shared) = found
        for a, b in zip(whole, local, strict=True):
            torch.testing.assert_close(a[:, part], b, rtol=1e-5, atol=1e-5)
        for a, b in zip(expected, shared, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    sys.exit(0)
