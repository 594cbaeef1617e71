"""Training steps replayed as a CUDA graph: one launch instead of hundreds, which Python is too slow to issue.

A graph fixes its shapes and every Python number that went into it: the learning rate, the teacher's weight. These are
constant within an epoch, so each epoch has a graph of its own: its first step is an ordinary one, its second is
recorded. The kernels and so the bits are those of the ordinary step. Schedules that change within an epoch are never
recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tksbench.recipe import BuiltInOptim
from tksbench.snn.known import graph_safe

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from torch import Tensor, nn

    from tksbench.recipe import TrainSpec
    from tksbench.train.objective import Objective
    from tksbench.train.parallel import OneProcess

    Step = Callable[[Tensor, Tensor], tuple[Tensor, ...]]


class GraphedStep:
    """Does what `step` does, by a graph where the same was asked for in the call before."""

    def __init__(self, step: Step) -> None:
        """Take the ordinary step.

        Args:
            step: Maps images and labels on a CUDA device to tensors, and may change others in place; it may not wait
                for the device.
        """
        self._step = step
        self._seen: Hashable = None  # what the last ordinary step was asked for
        self._recorded: Hashable = None
        self._constants: Hashable = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, ...] = ()
        self._outputs: tuple[Tensor, ...] = ()

    def __call__(self, images: Tensor, labels: Tensor, constants: Hashable = None) -> tuple[Tensor, ...]:
        """One step.

        Args:
            images: A batch.
            labels: Its labels.
            constants: All numbers that `step` uses and that may change between calls.

        Returns:
            What `step` returns; the caller may keep it.
        """
        if constants != self._constants:
            self._forget()  # at once: a graph holds the memory of all that lies between its inputs and outputs
            self._constants = constants
        asked = (images.shape, images.dtype, images.stride(), labels.shape)
        if asked != self._recorded and asked != self._seen:  # such as an epoch's first batch, or a shorter last one
            self._seen = asked
            return self._step(images, labels)
        if asked != self._recorded:
            self._forget()
            self._record(images, labels)
            self._recorded = asked
        assert self._graph is not None  # noqa: S101
        for kept, new in zip(self._inputs, (images, labels), strict=True):
            kept.copy_(new, non_blocking=True)
        self._graph.replay()
        return tuple(output.clone() for output in self._outputs)

    def _forget(self) -> None:
        self._seen = self._recorded = self._graph = None
        self._inputs = self._outputs = ()

    def _record(self, images: Tensor, labels: Tensor) -> None:
        self._inputs = (torch.empty_like(images), torch.empty_like(labels))
        graph = torch.cuda.CUDAGraph()
        # Threads that pin batches must not break the recording: only this thread's calls belong to it.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._outputs = self._step(*self._inputs)
        self._graph = graph


def may_be_recorded(
    spec: TrainSpec, device: torch.device, parallel: OneProcess, model: nn.Module, objective: Objective
) -> bool:
    """Whether a training step can be replayed as a graph."""
    # Several processes, or several passes a step, talk to each other and to the host in between. So may a method or
    # an optimizer from outside, whose Python code a graph would not run again: a counter in it would stand still.
    alone = parallel.size == 1 and spec.optim.replica_batch is None and isinstance(spec.optim, BuiltInOptim)
    still = (
        objective.graph_safe
        and graph_safe(model)
        and not any(hasattr(module, "set_progress") for module in model.modules())
    )
    return device.type == "cuda" and alone and still
