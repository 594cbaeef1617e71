"""Test logits that a run keeps: those of its last epoch, and those of its best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tksbench.runs.arrays import read_array, write_array
from tksbench.runs.files import sha256_file
from tksbench.train.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from tksbench.runs.paths import RunDir
    from tksbench.train.checkpoint import State


class TestLogits:
    """The files with a run's test logits, which its checkpoints speak of.

    Args:
        run_dir: Where they are.
    """

    __test__ = False  # not a pytest class

    def __init__(self, run_dir: RunDir) -> None:
        self._dir = run_dir
        self._saved: int | None = None  # best epoch as the newest checkpoint knows it

    def keep_best(self, state: State, metrics: dict[str, Any], logits: NDArray[np.float32]) -> None:
        """Keep the logits [N, T, C] if this is the best epoch so far, the first of equals."""
        if state.best is not None and metrics["top1"] <= state.best["top1"]:
            return
        state.best = metrics
        path = self._dir.best(metrics["epoch"])
        path.parent.mkdir(parents=True, exist_ok=True)
        write_array(path, logits)
        state.best_sha256 = sha256_file(path)

    def keep_last(self, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Keep the logits [N, T, C] of the last epoch, and the labels [N]."""
        write_array(self._dir.logits_last, logits)
        write_array(self._dir.labels, labels)

    def resumed(self, state: State) -> None:
        """A checkpoint's state is gone on from."""
        self._saved = state.best["epoch"] if state.best else None

    def saved(self, state: State) -> None:
        """A checkpoint was written: keep the best epochs' logits that the two newest ones speak of."""
        best = state.best["epoch"] if state.best else None
        kept = {self._dir.best(epoch) for epoch in (best, self._saved) if epoch is not None}
        for path in set(self._dir.checkpoints.glob("best-epoch*.npy")) - kept:
            path.unlink(missing_ok=True)
        self._saved = best

    def check(self, state: State) -> Path | None:
        """The file with the logits of the best epoch that a state names, if any.

        Raises:
            CheckpointError: If it is not what was written.
        """
        if state.best is None:
            return None
        best = self._dir.best(state.best["epoch"])
        best = best if best.exists() else self._dir.logits_best  # moved there before a crash
        if not best.exists() or sha256_file(best) != state.best_sha256:
            raise CheckpointError(f"{best}: missing or altered since epoch {state.best['epoch']} wrote it")
        return best

    def right(self, state: State) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which test samples the last and the best epoch had right [N], at the end of training.

        Raises:
            CheckpointError: If the best epoch's logits on disk are not those that were written.
        """
        best = self.check(state)
        assert best is not None  # noqa: S101 - the last epoch is always tested
        best.replace(self._dir.logits_best)
        labels = read_array(self._dir.labels)
        last, best_right = (
            read_array(path).mean(1).argmax(-1) == labels for path in (self._dir.logits_last, self._dir.logits_best)
        )
        return last, best_right
