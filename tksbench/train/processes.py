"""Several processes train one run: accelerate's data parallelism, and how they end together.

Two ways of talking, side by side. Collectives at step boundaries, on the CPU so that no host waits for its device:
what all processes do next (accelerate's own calls would take the devices' group). And a *verdict* in the rendezvous'
key-value store, which a thread in each process watches: a process that fails cannot take part in collectives any more,
and the others may be waiting in one for it.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import threading
import warnings
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

from tksbench.exits import DONE, FAILED, SAVED
from tksbench.runs.processor import describe_cpu
from tksbench.train.batchnorm import synchronise
from tksbench.train.build import pick_device
from tksbench.train.errors import TrainError
from tksbench.train.parallel import OneProcess, Verdict, World

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from torch import Tensor, nn
    from torch.optim import Optimizer

    from tksbench.recipe import Execution
    from tksbench.recipe.schema import TrainSpec

T = TypeVar("T")
# DDP regroups gradients after its first step in the order in which they came, except if it looks for unused
# parameters. A resumed run would regroup again, and sums over three or more processes would differ in their bits.
# Gradients lie in the groups that are sent, so that they are not copied there and back.
DATA_PARALLEL = {"find_unused_parameters": True, "broadcast_buffers": False, "gradient_as_bucket_view": True}
log = logging.getLogger("tksbench.train")
TIMEOUT = timedelta(minutes=30)  # longest wait for another process: it may be preparing data or writing to a slow disk
POLL_S = 0.25
GRACE_S = 3.0  # how long a process that fails waits for the leading one to have failed too
LINGER_S = 60.0  # how long the process that ends the run waits for the others to have heard it
LINGER_FAILED_S = 5.0  # the same after a failure, when one of them may be gone
_VERDICT, _HEARD = "verdict", "heard"


class Processes(OneProcess):
    """This process among the others of its run.

    Args:
        world: Which one this is.
        execution: Says on which kind of device to train.
        on_verdict: Called, in another thread, when another process ends the run; then this process exits.

    Raises:
        TrainError: If the processes cannot meet.
    """

    def __init__(self, world: World, execution: Execution, on_verdict: Callable[[Verdict], None]) -> None:
        self.rank, self.size = world.rank, world.size
        self._on_verdict = on_verdict
        self._accelerator = _meet(world, pick_device(execution).type == "cpu")
        self._host_group: Any = dist.new_group(backend="gloo", timeout=TIMEOUT)
        store = dist.TCPStore(  # type: ignore[attr-defined]
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timedelta(minutes=1)
        )
        self._store = dist.PrefixStore("tksbench", store)  # type: ignore[attr-defined]
        cpu = describe_cpu()
        kind = f"{cpu.get('kind') or cpu['processor']} {torch.backends.cpu.get_cpu_capability()}"
        self._places = self._everyones((platform.node(), super().device_names(self._accelerator.device), kind))
        self._waiting = threading.Event()
        self._heard = threading.Event()
        self._closed = threading.Event()
        self._verdict: Verdict | None = None
        self._thread = threading.Thread(target=self._watch, name="verdict", daemon=True)
        self._thread.start()

    @property
    def nodes(self) -> int:
        """Number of machines."""
        return len({host for host, _, _ in self._places})

    @property
    def processors(self) -> list[str]:
        """The kinds of the machines' processors, each once."""
        return sorted({kind for _, _, kind in self._places})

    def device(self, execution: Execution) -> torch.device:
        """Where this process computes."""
        return self._accelerator.device  # type: ignore[no-any-return]

    def device_names(self, device: torch.device) -> list[str]:
        """Names of all processes' accelerators, in order; none on CPUs."""
        return [name for _, names, _ in self._places for name in names]

    def normalise_together(self, model: nn.Module) -> nn.Module:
        """Make each batch norm see the global batch."""
        return synchronise(model, self._accelerator.device)

    def engage(self, spec: TrainSpec, model: nn.Module, optimizer: Optimizer) -> nn.Module:
        """The model in DistributedDataParallel."""
        with warnings.catch_warnings():  # the new name of broadcast_buffers is not in torch 2.10
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
            return self._accelerator.prepare_model(model)  # type: ignore[no-any-return]

    def accumulating(self, network: nn.Module) -> AbstractContextManager[None]:
        """Keep gradients here until the step's last backward pass."""
        return network.no_sync()  # type: ignore[operator, no-any-return]

    def sums(self, loss: Tensor, correct: Tensor) -> tuple[Tensor, Tensor]:
        """Add up this step's shares of the loss and of the right samples."""
        both = self._accelerator.reduce(torch.stack([loss.double(), correct.double()]), "sum")
        return both[0], both[1].long()

    def average(self, tensors: list[Tensor]) -> None:
        """Replace tensors of one type by their mean over processes, in one message."""
        flat = self._accelerator.reduce(torch.cat([tensor.flatten() for tensor in tensors]), "mean")
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def agree(self, wish: int) -> int:
        """The highest of all processes' wishes; all of them must ask."""
        highest = torch.tensor(wish)
        dist.all_reduce(highest, dist.ReduceOp.MAX, group=self._host_group)
        return int(highest)

    def from_lead(self, make: Callable[[], T]) -> T:
        """What `make` returns in the leading process, in all of them: they may not see the same files yet."""
        box: list[Any] = [make() if self.lead else None]
        dist.broadcast_object_list(box, src=0, group=self._host_group)
        return box[0]  # type: ignore[no-any-return]

    def gather(self, items: list[T]) -> list[T]:
        """Put together what `rank::size` split, in order, in the leading process; the others get nothing."""
        lists: list[Any] | None = [None] * self.size if self.lead else None
        dist.gather_object(items, lists, dst=0, group=self._host_group)
        if lists is None:
            return []
        return [lists[i % self.size][i // self.size] for i in range(sum(map(len, lists)))]

    def leave(self, verdict: Verdict | None) -> int:
        """The last call: tell the others how it ended, or with None wait for the leading process's word.

        Returns:
            The exit status of all.
        """
        if not self.lead:
            # What has failed here has often failed everywhere: the leading process's word is the better one.
            self._waiting.set()
            self._heard.wait(None if verdict is None else GRACE_S)
        self._closed.set()
        self._thread.join()
        if self._verdict is None and verdict is not None:
            self._verdict = verdict
            self._announce(verdict)
        assert self._verdict is not None  # noqa: S101 - heard or given
        if self._verdict.code in (DONE, SAVED):  # otherwise a collective may be under way that will never end
            self._accelerator.end_training()
        return self._verdict.code

    def _announce(self, verdict: Verdict) -> None:
        """Write a verdict, and give the others time to read it: the store ends with the leading process."""
        reason = f"process {self.rank} on {platform.node()}: {verdict.reason}" if verdict.reason else ""
        try:
            mine = json.dumps([verdict.code, reason]).encode()
            if self._store.compare_set(_VERDICT, "", mine.decode()) != mine:
                self._store.add(_HEARD, 1)  # another process was faster
                return
            linger = LINGER_S if verdict.code in (DONE, SAVED) else LINGER_FAILED_S
            for _ in range(int(linger / POLL_S)):
                if self._store.add(_HEARD, 0) >= self.size - 1:
                    return
                threading.Event().wait(POLL_S)
        except RuntimeError:  # the leading process is gone, and the others know
            return

    def _watch(self) -> None:
        """Wait for another process's verdict; leave with it unless this process waits for it anyway."""
        while not self._closed.wait(POLL_S):
            verdict = self._read_verdict()
            if verdict is None:
                continue
            self._verdict = verdict
            if verdict.code != DONE:
                log.log(logging.INFO if verdict.code == SAVED else logging.ERROR, "ended by %s", verdict.reason)
            self._heard.set()
            if self._waiting.is_set():
                return
            self._on_verdict(verdict)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(verdict.code)  # the main thread may be in a collective, where no exception reaches it

    def _read_verdict(self) -> Verdict | None:
        try:
            if not self._store.check([_VERDICT]):
                return None
            code, reason = json.loads(self._store.get(_VERDICT))
            self._store.add(_HEARD, 1)
        except RuntimeError:
            return Verdict(FAILED, "process 0 has ended without a word (killed, or its node died)")
        return Verdict(code, reason)

    def _everyones(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self._host_group)
        return values


def _meet(world: World, cpu: bool) -> Accelerator:
    """Meet the other processes through accelerate, which reads in the environment which of them this one is."""
    os.environ |= {"RANK": str(world.rank), "WORLD_SIZE": str(world.size), "LOCAL_RANK": str(world.local_rank)}
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))  # accelerate would choose another number
    same_groups = DistributedDataParallelKwargs(**DATA_PARALLEL)
    try:
        accelerator = Accelerator(
            cpu=cpu, mixed_precision="no", kwargs_handlers=[InitProcessGroupKwargs(timeout=TIMEOUT), same_groups]
        )
    except (RuntimeError, ValueError) as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise TrainError(f"process {world.rank} of {world.size} cannot meet the others at {place}: {error}") from None
    if accelerator.num_processes != world.size:  # without a device that accelerate knows, each would train alone
        raise TrainError(f"accelerate sees {accelerator.num_processes} processes, the environment says {world.size}")
    return accelerator
