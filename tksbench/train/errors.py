"""What can go wrong while training."""

from __future__ import annotations

from tksbench.errors import TksbenchError


class TrainError(TksbenchError):
    """The run cannot be built or trained as its spec says."""


class CheckpointError(TrainError):
    """A checkpoint that is cut, altered or of another run."""


class Diverged(TrainError):
    """The loss is no finite number, or the network has stopped firing: going on would waste the machine."""


class Interrupted(Exception):
    """A signal asked the run to stop; its checkpoint is on disk and the same command goes on from it."""
