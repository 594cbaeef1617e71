"""What a job runs, and what is in its hands when it is over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from tksbench.train.parallel import OneProcess

    Right = NDArray[Any]


@dataclass(frozen=True)
class Outcome:
    """What a finished procedure has brought: its record holds this, the run, and the machine.

    Attributes:
        last: Test metrics of what it ended with.
        best: Those of its best epoch.
        right_last: Which test samples it had right in the end, [N].
        right_best: Likewise in its best epoch.
        curve: The rows of its epochs.
        files: What is kept beside the record.
        seconds: Time spent on training samples.
        gpu_seconds: All its time, times the number of GPUs.
        images: Training samples in that time.
        parameters: Number of weights.
        snn: What an inference costs; see `tksbench.snn.cost`.
        weights: SHA-256 of parameters and buffers.
        start: Id, name and hash of the weights of the run that it started from, if any.
    """

    last: dict[str, Any]
    best: dict[str, Any]
    right_last: Right
    right_best: Right
    curve: Sequence[Mapping[str, Any]]
    files: tuple[Path, ...]
    seconds: float
    gpu_seconds: float
    images: int
    parameters: int
    snn: dict[str, Any] | None
    weights: str
    start: Mapping[str, str] = field(default_factory=dict)


class Procedure(Protocol):
    """What a job runs: `resume`, `fit` until it is over or interrupted, then `outcome` in the leading process."""

    device: torch.device
    parallel: OneProcess

    @property
    def place(self) -> tuple[int, int]:
        """Epoch and step at which it stands."""

    @property
    def manifest(self) -> dict[str, str]:
        """Checksums of the data set."""

    @property
    def portable(self) -> bool:
        """Whether its bits are the same on every x86-64 processor with AVX2."""

    def guard(self) -> None:
        """Raise if the run belongs to another process by now."""

    def resume(self) -> None:
        """Go on from what earlier attempts have saved."""

    def fit(self) -> None:
        """Do all that is left to do."""

    def outcome(self) -> Outcome:
        """What it has brought."""
