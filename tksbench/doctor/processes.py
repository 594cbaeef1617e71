"""Checks of talking between processes: gloo between two of them here, NCCL between this machine's GPUs."""

from __future__ import annotations

import multiprocessing
import os
import socket
from datetime import timedelta
from typing import TYPE_CHECKING

from tksbench.doctor.findings import Finding

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_MEET = timedelta(seconds=40)
_WAIT_S = 90.0


def gloo() -> list[Finding]:
    """Whether two processes on this machine can add up their numbers."""
    answers = _ranks("gloo", 2)
    if answers == ["3.0", "3.0"]:
        return [Finding("gloo", "ok", "two processes here add up their numbers")]
    advice = (
        "does this host's name resolve (getent hosts $(hostname))? else name an interface: GLOO_SOCKET_IFNAME=lo on "
        "one machine, the cluster's network (ip addr) on several"
    )
    return [Finding("gloo", "FAILED", _first_problem(answers), advice)]


def nccl() -> list[Finding]:
    """The same on the GPUs, where there are any: a process on each of the first two."""
    from tksbench.devices import find_gpus

    gpus = min(len(find_gpus()), 2)
    if not gpus:
        return [Finding("NCCL", "ok", "not needed: no GPU here")]
    answers = _ranks("nccl", gpus)
    if answers == [f"{sum(range(1, gpus + 1)):.1f}"] * gpus:
        who = "two GPUs add up their numbers" if gpus == 2 else "starts on the one GPU; between GPUs it is not tested"
        return [Finding("NCCL", "ok", who)]
    advice = "NCCL_DEBUG=INFO python -m tksbench.doctor prints more; NCCL_P2P_DISABLE=1 helps where GPUs cannot meet"
    return [Finding("NCCL", "FAILED", _first_problem(answers), advice)]


def _ranks(backend: str, size: int) -> list[str]:
    """What each process says: its sum, or what went wrong."""
    context = multiprocessing.get_context("fork")  # torch is not imported yet, so forking is safe
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ends, workers = [], []
    for rank in range(size):
        mine, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_rank, args=(backend, rank, size, port, theirs), daemon=True)
        worker.start()
        theirs.close()
        ends.append(mine)
        workers.append(worker)
    answers = []
    for end in ends:
        try:
            answers.append(str(end.recv()) if end.poll(_WAIT_S) else f"no answer within {_WAIT_S:.0f} s")
        except EOFError:
            answers.append("a process died")
    for worker in workers:
        worker.kill()
        worker.join()
    return answers


def _rank(backend: str, rank: int, size: int, port: int, answer: Connection) -> None:
    import torch
    import torch.distributed as dist

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        device = torch.device("cuda", rank) if backend == "nccl" else torch.device("cpu")
        dist.init_process_group(backend, rank=rank, world_size=size, timeout=_MEET)
        number = torch.tensor([rank + 1.0], device=device)
        dist.all_reduce(number)
        answer.send(f"{float(number):.1f}")
        dist.barrier()
        dist.destroy_process_group()
    except Exception as error:
        answer.send(f"{type(error).__name__}: {str(error).splitlines()[0][:300]}")


def _first_problem(answers: list[str]) -> str:
    return next((answer for answer in answers if not answer.replace(".", "").isdigit()), f"sums {', '.join(answers)}")
