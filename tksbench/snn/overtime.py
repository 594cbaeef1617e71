"""One presentation over thousands of steps: in parts, in bounded memory, with what it has come to at chosen steps."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from tksbench.snn.encoder import Encoder
from tksbench.snn.errors import SnnError
from tksbench.snn.neuron import Neuron

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn

    from tksbench.snn.layers import SpikingNetwork

BLOCK = 32
"""Steps that a layer computes at once, at most."""
ROWS = 2048
"""Images of 32x32 pixels times steps that it computes at once, unless there are more images."""
PIXELS = 32 * 32


def grid(steps: int) -> list[int]:
    """Numbers of steps to read a network out at: 1, 2, 3, 4, 6, 8, 12, 16, ... and the last, two in each octave.

    Raises:
        ValueError: There is no step.
    """
    if steps < 1:
        raise ValueError(f"{steps} steps: at least 1 is needed")
    powers = [2**exponent for exponent in range(math.floor(math.log2(steps)) + 1)]
    return sorted({*powers, *(3 * power // 2 for power in powers if power > 1 and 3 * power // 2 <= steps), steps})


@contextmanager
def continued(network: nn.Module) -> Iterator[None]:
    """Let neurons and encoder go on from call to call, from rest: calls within are parts of one presentation.

    Raises:
        SnnError: The network has neurons that cannot.
    """
    parts = [module for module in network.modules() if isinstance(module, Neuron | Encoder)]
    for module in parts:
        if not hasattr(module, "carried"):
            kind = type(module).__name__
            raise SnnError(f"{kind}: these neurons begin anew at each call, so steps cannot be computed in parts")
    for module in parts:
        module.carried = {}
    try:
        yield
    finally:
        for module in parts:
            module.carried = None


def can_go_on(network: nn.Module) -> bool:
    """Whether a presentation to a network can be divided into parts.

    One that keeps more from step to step than its neurons do says `in_parts = False`.
    """
    if not getattr(network, "in_parts", True):
        return False
    parts = [module for module in network.modules() if isinstance(module, Neuron | Encoder)]
    return hasattr(network, "present") and all(hasattr(module, "carried") for module in parts)


def at_once(images: Tensor) -> int:
    """How many of some images [B, C, H, W] a layer computes at once for a single step."""
    return max(1, ROWS * PIXELS // (images.shape[-1] * images.shape[-2]))


def parts(images: int, steps: int, pixels: int = PIXELS) -> Iterator[int]:
    """Divide steps into parts that a layer computes at once for so many images of so many pixels."""
    size = max(1, min(BLOCK, ROWS * PIXELS // max(images * pixels, 1)))
    for start in range(0, steps, size):
        yield min(size, steps - start)


def outputs_at(network: SpikingNetwork, images: Tensor, at: Sequence[int]) -> Tensor:
    """What a network's outputs sum up to by each of some numbers of steps, of one pass.

    The memory that it needs does not grow with the number of steps.

    Args:
        network: In evaluation mode; its neurons can go on (`continued`).
        images: A batch [B, C, H, W].
        at: Numbers of steps, rising.

    Returns:
        Sums over the first `at[g]` steps, [G, B, num_classes], float64.

    Raises:
        SnnError: The neurons cannot go on.
    """
    found: list[Tensor] = []
    done, total = 0, torch.zeros(())
    with torch.inference_mode(), continued(network):
        for steps in parts(len(images), at[-1], images[0, 0].numel()):
            sums = network.present(images, steps).double().cumsum(0) + total.to(images.device)
            found += [sums[one - done - 1] for one in at if done < one <= done + steps]
            done, total = done + steps, sums[-1]
    return torch.stack(found)
