"""A converted run: another run's network, converted on training images and tested over many time steps in one pass."""

from __future__ import annotations

import io
import logging
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from tksbench.data.base import balanced_subset
from tksbench.metrics import correct, first_step_recall
from tksbench.runs.files import write_bytes
from tksbench.snn.cost import measure_cost
from tksbench.snn.overtime import can_go_on, grid, outputs_at
from tksbench.train import build
from tksbench.train.checkpoint import State, save_checkpoint, weights_digest
from tksbench.train.errors import Interrupted
from tksbench.train.loading import read_batches
from tksbench.train.outcome import Outcome
from tksbench.train.schedule import TestBatches
from tksbench.train.start import TrainingImages, converted, ledger_of, parent_network, start_of, start_tensors
from tksbench.train.untrained import Untrained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import nn

    from tksbench.recipe import ConvertSpec
    from tksbench.snn.layers import SpikingNetwork

log = logging.getLogger("tksbench.train")
COST_SAMPLES = 32  # test samples over which spikes are counted


def sums_at(network: nn.Module, images: torch.Tensor, at: Sequence[int]) -> torch.Tensor:
    """What a network's outputs sum up to by each of some numbers of steps, [G, B, C]: in parts if its neurons go on."""
    if can_go_on(network):
        return outputs_at(cast("SpikingNetwork", network), images, at)
    with torch.inference_mode():
        return network(images).double().cumsum(0)[[steps - 1 for steps in at]]  # type: ignore[no-any-return]


class Conversion(Untrained):
    """Converts, saves the converted network's weights, and tests it."""

    network: nn.Module

    def work(self) -> None:
        """Convert, save, and test.

        Raises:
            TksbenchError: The parent is not done or not here, or its network cannot be converted.
            Interrupted: If `stopping` said so; what was tested so far is kept.
        """
        spec = self.spec
        ledger, began = ledger_of(self.dir), time.monotonic()
        self.start = start_of(self.run, ledger)
        tensors = start_tensors(self.run, ledger)
        log.info("converting the network of %s", self.start["name"] or self.start["id"])
        network = parent_network(self.run, self.data, tensors, self.device)
        build.set_numerics(spec.numerics, spec.seed)
        images = TrainingImages(self.data.train, spec.seed, spec.evaluation.batch_size, self.device)
        assert spec.start.convert is not None  # noqa: S101 - the schema sees to it
        self.network = converted(network, spec.start.convert, images, spec.T, spec.seed).to(self.device).eval()
        self.weights = weights_digest(self.network)
        self.guard()
        kept = {f"model/{name}": one.detach().cpu().contiguous() for name, one in self.network.state_dict().items()}
        save_checkpoint(self.dir.checkpoints, State(self.run.id, epoch=1), kept)
        self._test()
        self.seconds = time.monotonic() - began

    @property
    def spec(self) -> ConvertSpec:
        """The run's spec."""
        return cast("ConvertSpec", self.run.spec)

    def _test(self) -> None:
        """Ask the network about the whole test half: outputs of all steps, and how many are right after fewer."""
        test, steps = self.data.test, grid(self.spec.T)
        batches = list(TestBatches(test, self.spec.evaluation.batch_size))
        logits, first, right = self._kept(len(steps))
        ahead = [batch for batch in batches if batch[0][1] >= len(logits)]
        saved_at, images = time.monotonic(), 0
        for number, (batch, target) in enumerate(read_batches(test, ahead, self.run.execution.workers, self.device), 1):
            with build.autocast(self.spec.numerics, self.device)():
                sums = sums_at(self.network, batch, steps)
            means = (sums / torch.tensor(steps, device=sums.device)[:, None, None]).float().cpu().numpy()
            labels = target.cpu().numpy()
            right = right + np.array([correct(one, labels).sum() for one in means])
            logits = np.concatenate([logits.reshape(-1, means.shape[2]), means[-1]])
            first = np.concatenate([first.reshape(-1, means.shape[2]), means[0]])
            images += len(labels)
            self.show(len(batches) - len(ahead) + number, len(batches), images)
            due, stop = time.monotonic() - saved_at >= self.run.execution.checkpoint_minutes * 60, self.stopping()
            if due or stop:
                self._keep(logits, first, right)
                saved_at = time.monotonic()
            if stop:
                raise Interrupted(f"after {len(logits)} test images")
        self._keep(logits, first, right)
        labels = np.asarray(test.labels)
        over_time = [(k, 100 * int(count) / len(labels)) for k, count in zip(steps, right, strict=True)]
        self.metrics: dict[str, Any] = self.tested(logits, labels) | {
            "first_step_recall": first_step_recall(first[:, None], labels),
            "top1_over_time": over_time,
        }
        self.correct = self.right(logits, labels)
        log.info("top-1 after %s", ", ".join(f"{k} steps {top1:.2f} %" for k, top1 in over_time[-3:]))

    def _kept(self, steps: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """What an earlier attempt has tested of the same network."""
        empty = np.empty((0, 0), np.float32)
        try:
            with np.load(self._partial, allow_pickle=False) as kept:
                if str(kept["weights"]) == self.weights and kept["right"].shape == (steps,):
                    log.info("going on after %d test images", len(kept["logits"]))
                    return kept["logits"], kept["first"], kept["right"]
        except (OSError, ValueError, KeyError, EOFError):  # there is none, or it was cut
            pass
        return empty, empty, np.zeros(steps, np.int64)

    def _keep(self, logits: NDArray[np.float32], first: NDArray[np.float32], right: NDArray[np.int64]) -> None:
        self.guard()
        buffer = io.BytesIO()
        np.savez(buffer, logits=logits, first=first, right=right, weights=np.array(self.weights))
        write_bytes(self._partial, buffer.getvalue())

    @property
    def _partial(self) -> Any:
        return self.dir.checkpoints / "tested.npz"

    def outcome(self) -> Outcome:
        """What it has brought; no epoch has been trained, so its curve is empty."""
        sample = balanced_subset(self.data.test.labels, COST_SAMPLES)[:COST_SAMPLES]
        keys = [[(0, number) for number in sample.tolist()]]
        images = next(iter(read_batches(self.data.test, keys, 0, self.device)))[0]
        snn = measure_cost(cast("SpikingNetwork", self.network), images)
        on_gpu = self.device.type == "cuda"
        return Outcome(
            last=self.metrics,
            best=self.metrics,
            right_last=self.correct,
            right_best=self.correct,
            curve=(),
            files=(self.dir.logits_last, self.dir.labels),
            seconds=self.seconds,
            gpu_seconds=self.seconds if on_gpu else 0.0,
            images=0,
            parameters=sum(parameter.numel() for parameter in self.network.parameters()),
            snn=snn | {"samples": len(sample)},
            weights=self.weights,
            start=self.start,
        )
