"""Runs in which no weights are trained: what all of their kinds have in common."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tksbench.metrics import correct, summarize
from tksbench.runs.arrays import write_array
from tksbench.runs.files import write_json
from tksbench.train.errors import Interrupted
from tksbench.train.parallel import ALONE, OneProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from tksbench.data.base import Data
    from tksbench.recipe import Run
    from tksbench.runs.paths import RunDir
    from tksbench.train.outcome import Outcome

_SHOW_S = 1.0  # seconds between two updates of the live view


class Untrained:
    """One pass, done by the leading process alone. A subclass defines `work` and `outcome`.

    Args:
        run: What to do.
        run_dir: Where its files are.
        data: Its data set.
        device: Where to do it.
        stopping: Asked between two batches; true means leave.
        guard: Called before anything is written; raises if the run belongs to another process by now.
        parallel: The processes that the run was given.
    """

    def __init__(
        self,
        run: Run,
        run_dir: RunDir,
        data: Data,
        device: torch.device,
        stopping: Callable[[], bool] = lambda: False,
        guard: Callable[[], None] = lambda: None,
        parallel: OneProcess = ALONE,
    ) -> None:
        self.run, self.dir, self.data, self.device = run, run_dir, data, device
        self.stopping, self.guard, self.parallel = stopping, guard, parallel
        self.done = False
        self._began = self._shown_at = time.monotonic()

    @property
    def place(self) -> tuple[int, int]:
        """Epoch and step at which it stands."""
        return int(self.done), 0

    @property
    def manifest(self) -> dict[str, str]:
        """Checksums of the data set."""
        return self.data.manifest

    @property
    def portable(self) -> bool:
        """Whether no processor decides about the bits of the result: not known."""
        return False

    def resume(self) -> None:
        """What is kept of an attempt that was broken off is found when it is needed."""

    def fit(self) -> None:
        """Do all of it.

        Raises:
            Interrupted: If `stopping` said so.
        """
        if self.parallel.lead:
            self.work()
            self.done = True

    def work(self) -> None:
        """Do all of it, in the leading process."""
        raise NotImplementedError

    def outcome(self) -> Outcome:
        """What it has brought."""
        raise NotImplementedError

    def stop_if_asked(self) -> None:
        """Leave if a signal has come.

        Raises:
            Interrupted: One has.
        """
        if self.stopping():
            raise Interrupted("between two batches")

    def show(self, step: int, steps: int, images: int) -> None:
        """Rewrite the live view's file, about every second.

        Args:
            step: Parts of the work that are done.
            steps: All of them.
            images: Samples that this attempt has been through.
        """
        now = time.monotonic()
        if now - self._shown_at < _SHOW_S:
            return
        self._shown_at, pace = now, (now - self._began) / max(step, 1)
        view = {"epoch": 0, "epochs": 1, "step": step, "steps": steps, "eta_s": (steps - step) * pace}
        view |= {"images_per_s": images / (now - self._began), "updated": time.time()}
        write_json(self.dir.progress, view, durable=False)

    def tested(self, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, Any]:
        """Keep test logits [N, C] and labels [N], and return their metrics."""
        self.guard()
        write_array(self.dir.logits_last, logits[:, None])
        write_array(self.dir.labels, labels)
        return {"epoch": 0, **summarize(logits[:, None], labels)}

    def right(self, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which test samples logits [N, C] have right, [N]."""
        return correct(logits, labels)
