"""What a static image is shown as over time: by default itself at every step (direct coding); here, as spikes."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor, nn

from tksbench.component import component

if TYPE_CHECKING:
    from pydantic import Field


class Encoder(nn.Module):
    """Maps images [B, C, H, W] and a number of steps to [steps, B, C, H, W].

    Attributes:
        carried: What goes on in the next call of a presentation in parts (`tksbench.snn.overtime.continued`); None
            if each call is a presentation of its own.
    """

    graph_safe = False
    carried: dict[str, object] | None = None

    def forward(self, images: Tensor, steps: int) -> Tensor:
        """Return what the network sees at each step."""
        raise NotImplementedError


def signed_spikes(images: Tensor, uniform: Tensor, scale: float = 1.0) -> Tensor:
    """sign(x) where u <= scale |x|, else 0: the mean over u is sign(x) min(1, scale |x|).

    Args:
        images: Pixels, of any sign.
        uniform: Random numbers in [0, 1), one a pixel; may have leading dimensions more.
        scale: Factor on the rates.
    """
    return (uniform <= scale * images.abs()).to(images.dtype) * images.sign()


@component("encoder", "poisson")
class Poisson(Encoder):
    """Signed rate coding: at each step a pixel x is a spike of its sign with probability min(1, scale |x|).

    Source: Hybrid:self_models/resnet_spiking.py:22 and Hybrid:self_models/vgg_spiking.py:27. The random numbers of an
    image are a function of the image, the seed and, in training, the step: results depend neither on the batch nor on
    the processes that an image is shared by, and a resumed run draws what it would have drawn.
    """

    def __init__(self, *, scale: Annotated[float, Field(gt=0)] = 1.0, draw: Annotated[int, Field(ge=0)] = 0) -> None:
        """Store the constants.

        Args:
            scale: Factor on the rates; 1 in the authors' VGG, 0.9 in their ResNet.
            draw: Which draw of the noise, to measure its spread.
        """
        super().__init__()
        self.scale, self.draw = scale, draw
        self.seed = torch.initial_seed()
        self.at = 0.0

    def set_progress(self, at: float) -> None:
        """Remember the share of the training that is done."""
        self.at = at

    def forward(self, images: Tensor, steps: int) -> Tensor:
        """Return spikes -1, 0 and 1, [steps, B, C, H, W]."""
        generators = self._generators(images)
        spikes = torch.empty((steps, *images.shape), dtype=images.dtype, device=images.device)
        for number, generator in enumerate(generators):
            uniform = torch.rand((steps, *images.shape[1:]), generator=generator, device=images.device)
            spikes[:, number] = signed_spikes(images[number], uniform, self.scale)
        return spikes

    def _generators(self, images: Tensor) -> list[torch.Generator]:
        if self.carried is not None and "generators" in self.carried:
            return self.carried["generators"]  # type: ignore[return-value]
        kind = f"{self.seed} {self.draw} {self.at if self.training else None}".encode()
        keys = [zlib.crc32(image.numpy().tobytes(), zlib.crc32(kind)) for image in images.float().cpu().contiguous()]
        made = [torch.Generator(images.device).manual_seed(key) for key in keys]
        if self.carried is not None:
            self.carried["generators"] = made
        return made
