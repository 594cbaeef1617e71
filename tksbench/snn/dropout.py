"""Dropout whose masks depend on the run's seed and on how far it is, so that a resumed run draws the same ones."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from tksbench.snn.errors import SnnError


class Dropout(nn.Module):
    """Sets values to 0 with a probability, and scales the others to keep the mean; does nothing in evaluation.

    Masks are drawn from a key, which is drawn when the layer is made, and from what `set_progress` was given last. Each
    process of several draws them for its own samples.
    """

    per_sample = True
    spiking = True

    def __init__(self, p: float, *, per_step: bool = False, strips: bool = False) -> None:
        """Build the layer.

        Args:
            p: Probability with which a value becomes 0.
            per_step: Draw a mask at every time step; else one holds for all steps of a sample.
            strips: Drop rows of a channel, over their width, together.

        Raises:
            SnnError: The probability is out of range.
        """
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise SnnError(f"Dropout: p is {p}; it must be at least 0 and below 1")
        self.p, self.per_step, self.strips = p, per_step, strips
        self._key = int(torch.randint(2**62, (), device="cpu"))
        self._drawn: tuple[torch.device, torch.Generator] | None = None
        self._at = 0.0

    def set_progress(self, at: float) -> None:
        """Begin a new series of masks; called at every training step with the share of training that is done."""
        self._at, self._drawn = at, None

    def forward(self, x: Tensor, steps: int) -> Tensor:
        """Return `x` [steps * B, ...], time outermost, with values set to 0."""
        if not self.training or self.p == 0.0:
            return x
        rows = x.shape[0] if self.per_step else x.shape[0] // steps
        shape = (rows, *x.shape[1:-1], 1) if self.strips else (rows, *x.shape[1:])
        mask = torch.empty(shape, dtype=x.dtype, device=x.device)
        mask.bernoulli_(1.0 - self.p, generator=self._generator(x.device)).div_(1.0 - self.p)
        if self.per_step:
            return x * mask
        return (x.view(steps, rows, *x.shape[1:]) * mask).view_as(x)

    def _generator(self, device: torch.device) -> torch.Generator:
        if self._drawn is None or self._drawn[0] != device:
            # Hashed, since a generator may heed the lower bits of its seed alone.
            digest = hashlib.sha256(f"{self._key} {self._at!r}".encode()).digest()
            self._drawn = device, torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))
        return self._drawn[1]

    def extra_repr(self) -> str:
        """Show the options in `print(model)`."""
        return f"p={self.p}, per_step={self.per_step}, strips={self.strips}"
