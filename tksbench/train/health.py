"""When a network is beyond help: going on would waste the machine.

Both checks look at what is on this side of the device anyway, when a checkpoint or a test is due: a step costs
nothing. Neither stops a network that may still learn: one whose neurons are silent at first (a narrow head often
is) learns through the surrogate's gradient, within some epochs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from tksbench.train.errors import Diverged

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from tksbench.recipe import OptimSpec
    from tksbench.train.checkpoint import State

PATIENCE = 10  # epochs at least, and a tenth of all
# Training steps at least: after fewer, batch norm's running statistics may still be what keeps a network silent in
# testing while it learns. So smoke and mini runs are too short to be judged.
STEPS = 1000
_LUCK = 1.5  # times the share of the most frequent class


def check_finite(model: nn.Module, state: State) -> None:
    """Refuse to save a damaged network: a neuron turns NaN into silence, so the loss alone may not show it.

    Raises:
        Diverged: A weight or a running statistic is not finite.
    """
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            place = f"epoch {state.epoch}, step {state.step}"
            raise Diverged(f"{name} is not finite at {place}; the checkpoints before it are kept")


def note_flat(state: State, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    """Note since which epoch the network has told no two samples apart, in testing and in training.

    Args:
        state: After an epoch's last step; `flat_since` is brought up to date.
        logits: Test logits [N, T, C].
        labels: Test labels [N].
    """
    guessing = state.correct <= _LUCK * state.seen * np.bincount(labels).max() / len(labels)
    if not (guessing and (logits == logits[0]).all()):
        state.flat_since = None
    elif state.flat_since is None:
        state.flat_since = state.epoch


def check_alive(state: State, optim: OptimSpec, steps: int) -> None:
    """Stop a run whose network has been dead for long after its warm-up.

    Args:
        state: After an epoch's last step.
        optim: How many epochs there are.
        steps: Training steps of an epoch.

    Raises:
        Diverged: It has been for a tenth of all epochs, `PATIENCE` epochs and `STEPS` steps at least.
    """
    if state.flat_since is None:
        return
    since = max(state.flat_since, optim.warmup_epochs)
    dead = state.epoch + 1 - since
    if dead >= max(PATIENCE, optim.epochs // 10) and dead * steps >= STEPS:
        raise Diverged(
            f"the network is dead at epoch {state.epoch}, step {state.step}: since epoch {since} it answers every test "
            "sample alike and is right in training by chance alone; the checkpoints before it are kept"
        )
