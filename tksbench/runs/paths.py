"""Where results lie: the root, and the files of one run's directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


def results_root() -> Path:
    """The results folder: `TKSBENCH_RESULTS`, else `results` in the working directory."""
    return Path(os.environ.get("TKSBENCH_RESULTS") or "results")


@dataclass(frozen=True)
class RunDir:
    """The directory of one run; see the README of this room for who writes what and when."""

    path: Path

    @property
    def id(self) -> str:
        """The run's id, which is the directory's name."""
        return self.path.name

    @property
    def run(self) -> Path:
        """The run itself (spec, execution, seed), written first."""
        return self.path / "run.json"

    @property
    def leases(self) -> Path:
        """Who has trained this run: one small file an attempt, the highest number holds."""
        return self.path / "leases"

    @property
    def metrics(self) -> Path:
        """A row an epoch, without wall-clock values: equal to the byte however often a run was broken off."""
        return self.path / "metrics.jsonl"

    @property
    def losses(self) -> Path:
        """A row an epoch with the loss of every step."""
        return self.path / "losses.jsonl"

    @property
    def progress(self) -> Path:
        """The live view's file, rewritten about every second."""
        return self.path / "progress.json"

    @property
    def attempts(self) -> Path:
        """A row at each start and each end of training."""
        return self.path / "attempts.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of the newest checkpoints."""
        return self.path / "checkpoints"

    @property
    def has_weights(self) -> bool:
        """Whether a checkpoint is here, from which another run could start once this one is done."""
        return any(self.checkpoints.glob("epoch*.safetensors"))

    @property
    def log(self) -> Path:
        """Standard output and error of the job."""
        return self.path / "log.txt"

    @property
    def logits_last(self) -> Path:
        """Per-step test logits [N, T, C] after the last epoch, float32."""
        return self.path / "logits_last.npy"

    @property
    def logits_best(self) -> Path:
        """Per-step test logits [N, T, C] of the best epoch, float32; there once the run is over."""
        return self.path / "logits_best.npy"

    def logits(self, choice: str) -> Path:
        """Those of the "last" or the "best" epoch; what is not trained in epochs has one file for both."""
        best = choice == "best" and self.logits_best.exists()
        return self.logits_best if best else self.logits_last

    def best(self, epoch: int) -> Path:
        """The logits of an epoch that was the best so far; a checkpoint names which of these is its own."""
        return self.checkpoints / f"best-epoch{epoch:05d}.npy"

    @property
    def labels(self) -> Path:
        """Test labels [N]."""
        return self.path / "labels.npy"

    @property
    def features_last(self) -> Path:
        """Spike counts of the last LIF layer after the last epoch, on a part of the test half: `train.features`."""
        return self.path / "features_last.npz"

    def component(self, key: str) -> Path:
        """Copy of the file of the component from outside that stands at a dotted key of the spec."""
        return self.path / f"{key}.py"

    def code(self, digest: str) -> Path:
        """The checksums of the files that an attempt was trained with, by the digest that its row names."""
        return self.path / f"code-{digest}.json"

    def patch(self, name: str) -> Path:
        """The uncommitted changes that an attempt was trained with, as `git apply` takes them."""
        return self.path / f"code-{name}.diff"

    @property
    def record(self) -> Path:
        """The record: written last and atomically, it is what being done means."""
        return self.path / "record.json"
