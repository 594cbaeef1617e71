"""One pass over the test half, from which every metric derives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tksbench.snn.known import graph_safe
from tksbench.train.graph import GraphedStep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray
    from torch import nn

    from tksbench.data.base import Batch


def per_step_logits(
    model: nn.Module,
    batches: Iterable[Batch],
    device: torch.device,
    autocast: Callable[[], Any],
    at_batch: Callable[[], None],
) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """The network's raw outputs on some batches of the test half.

    Args:
        model: Maps a batch of images to logits [T, B, C]; put into evaluation mode and back.
        batches: Images and labels [B].
        device: Where the model is.
        autocast: Context of the forward pass.
        at_batch: Called after each batch; may raise to stop.

    Returns:
        Logits [B, T, C] and labels [B] of each batch.
    """
    parts = []
    training = model.training

    def logits(images: torch.Tensor, _target: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with autocast():
            return (model(images).float().transpose(0, 1),)

    forward = GraphedStep(logits) if device.type == "cuda" and graph_safe(model) else logits
    model.eval()
    try:
        with torch.inference_mode():
            waiting = None
            for images, target in batches:
                (out,) = forward(to_device(images, device), target)
                if waiting is not None:  # fetched when the device has its next batch already
                    parts.append(_fetch(*waiting))
                waiting = (out, target)
                at_batch()
            if waiting is not None:
                parts.append(_fetch(*waiting))
    finally:
        model.train(training)
    return parts


def _fetch(logits: torch.Tensor, target: torch.Tensor) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    return logits.cpu().numpy(), target.cpu().numpy()


def concatenate(
    parts: list[tuple[NDArray[np.float32], NDArray[np.int64]]],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits [N, T, C] and labels [N] of batches in order; empty arrays of none."""
    if not parts:
        return np.empty((0, 0, 0), np.float32), np.empty(0, np.int64)
    logits, labels = zip(*parts, strict=True)
    return np.concatenate(logits), np.concatenate(labels)


def to_device(images: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Move a batch, channels last where it is one of static images."""
    if images.dim() == 4:
        return images.to(device=device, memory_format=torch.channels_last, non_blocking=True)
    return images.to(device=device, non_blocking=True)
