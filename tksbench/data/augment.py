"""The paper's image transforms (docs/protocol.md#the-data).

timm and torchvision do the work on single images. What has to be fast is done here: crop, flip and normalisation on
whole uint8 batches, and those of RandAugment's operations that treat each level alike by tables. The tests compare all
of it with torchvision's and timm's functions, bit for bit.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from PIL import Image, ImageOps
from timm.data.auto_augment import rand_augment_transform
from timm.data.random_erasing import RandomErasing
from timm.data.transforms_factory import create_transform
from torchvision import transforms

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    ImageTransform = Callable[[Image.Image], torch.Tensor]
    Operation = Callable[..., Image.Image]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def cifar_normalisation(train: bool, norm: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation for CIFAR-10 and CIFAR-100.

    "official": the authors' loader trains with ImageNet's constants and tests with CIFAR-10's
    (docs/protocol.md#cifar-10-and-cifar-100). "consistent": CIFAR-10's constants for both, which removes the
    mismatch and changes nothing else.
    """
    return (IMAGENET_MEAN, IMAGENET_STD) if train and norm == "official" else (CIFAR10_MEAN, CIFAR10_STD)


def crop_and_flip(
    images: NDArray[np.uint8], top: NDArray[np.int64], left: NDArray[np.int64], flip: NDArray[np.bool_], pad: int
) -> NDArray[np.uint8]:
    """Crop each image of a zero-padded batch at its own place and mirror some.

    Args:
        images: uint8 [B, C, H, W].
        top: Upper edge of the crop in the padded image, 0..2*pad, [B].
        left: Left edge, [B].
        flip: Whether to mirror left-right after the crop, [B].
        pad: Zero pixels added on each side.

    Returns:
        uint8 [B, C, H, W].
    """
    height, width = images.shape[2:]
    padded = np.zeros((*images.shape[:2], height + 2 * pad, width + 2 * pad), np.uint8)  # np.pad takes twice as long
    padded[:, :, pad : pad + height, pad : pad + width] = images
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    out = windows[np.arange(len(images)), :, top, left]
    out[flip] = out[flip][..., ::-1]
    return out


def normalise(images: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """Scale uint8 images to [0, 1] and standardise each channel, on the device where they are.

    Args:
        images: uint8 [B, C, H, W].
        mean: Mean of each channel, in units of the full range.
        std: Standard deviation of each channel.

    Returns:
        float32 [B, C, H, W], equal to torchvision's ToTensor and Normalize bit for bit.
    """
    full, centre, spread = _constants(mean, std, images.device)
    return images.to(torch.float32).div_(full).sub_(centre).div_(spread)


@lru_cache(maxsize=16)
def _constants(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The full range (a scalar), mean and standard deviation [C, 1, 1]: sent once, since the device is waited for."""
    # CUDA multiplies by the reciprocal of a divisor that is a number; only a tensor is divided by, rounded as on a CPU.
    values = (torch.tensor(255.0), torch.tensor(mean).view(-1, 1, 1), torch.tensor(std).view(-1, 1, 1))
    full, centre, spread = (value.to(device) for value in values)
    return full, centre, spread


def rand_augment(size: int) -> Callable[[Image.Image], Image.Image]:
    """The RandAugment of the strong recipe: two of 15 operations, each with probability 0.5, magnitude N(9, 0.5).

    Bicubic where an operation interpolates, ImageNet's mean colour where it uncovers (timm's own settings for
    "rand-m9-mstd0.5-inc1"; docs/protocol.md#cifar-10-and-cifar-100).
    """
    hparams = {
        "translate_const": int(size * 0.45),
        "img_mean": tuple(min(255, round(255 * value)) for value in IMAGENET_MEAN),
        "interpolation": Image.Resampling.BICUBIC,
    }
    chosen: Any = rand_augment_transform("rand-m9-mstd0.5-inc1", hparams)
    for operation in chosen.ops:
        operation.aug_fn = _FASTER.get(operation.name, operation.aug_fn)
        if operation.name in _POINTWISE:
            operation.aug_fn = Tabulated(operation.aug_fn)
    return cast("Callable[[Image.Image], Image.Image]", chosen)


def posterize(image: Image.Image, bits: int, **options: object) -> Image.Image:
    """Keep the upper bits of each channel; 0 bits give a black image.

    At the clipped magnitude of 10 (2 % of the draws) timm asks for 0 bits. Pillow's bit mask is then empty and
    the image black, as it was when the authors trained; newer releases raise an error instead.
    """
    return Image.new(image.mode, image.size) if bits == 0 else ImageOps.posterize(image, bits)


class Tabulated:
    """The same operation by a table of what it makes of each level, for one that knows neither place nor channel.

    Args:
        operation: From an RGB image and a few whole numbers to an image; a function that workers can import.
    """

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        self._tables: dict[tuple[int, ...], NDArray[np.uint8]] = {}  # a few hundred: the amounts are levels

    def __call__(self, image: Image.Image, *amounts: int, **options: object) -> Image.Image:
        """What the operation makes of an image."""
        table = self._tables.get(amounts)
        if table is None:
            levels = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
            table = np.asarray(self._operation(Image.fromarray(levels), *amounts))[0, :, 0].copy()
            self._tables[amounts] = table
        return Image.fromarray(table.take(np.asarray(image)))


def autocontrast(image: Image.Image, **options: object) -> Image.Image:
    """Stretch each channel linearly over all levels, as `PIL.ImageOps.autocontrast` does."""
    table = np.empty((3, 256), np.uint8)
    for channel, (low, high) in zip(table, cast("list[tuple[int, int]]", image.getextrema()), strict=True):
        scale = 255.0 / (high - low) if high > low else 1.0  # a flat channel stays as it is
        offset = -low * scale if high > low else 0.0
        channel[:] = (_LEVELS * scale + offset).clip(0, 255)
    return Image.fromarray(table.take(np.asarray(image) + _CHANNELS))


def equalize(image: Image.Image, **options: object) -> Image.Image:
    """Spread the levels of each channel until its histogram is even, as `PIL.ImageOps.equalize` does."""
    pixels = np.asarray(image) + _CHANNELS  # each channel has levels of its own
    histogram = np.bincount(pixels.ravel(), minlength=3 * 256).reshape(3, 256)
    below = histogram.cumsum(1) - histogram
    # Pixels a level: those of the highest level that occurs do not count, so that it becomes white.
    step = (below * (histogram > 0)).max(1, keepdims=True) // 255
    table = np.where(step == 0, _LEVELS, np.minimum((below + step // 2) // np.maximum(step, 1), 255))
    return Image.fromarray(table.astype(np.uint8).take(pixels))


_LEVELS, _CHANNELS = np.arange(256), np.arange(3) * 256
_POINTWISE = ("Invert", "PosterizeIncreasing", "SolarizeIncreasing", "SolarizeAdd")
_FASTER: dict[str, Operation] = {
    "PosterizeIncreasing": posterize,
    "AutoContrast": autocontrast,
    "Equalize": equalize,
}


def random_erasing() -> RandomErasing:
    """Erase one box in place with probability 0.25: area 2-33 %, aspect 0.3-3.3, a normal number a pixel."""
    erasing: Any = RandomErasing
    return cast("RandomErasing", erasing(0.25, mode="pixel", device="cpu"))


def imagenet_transform(train: bool, size: int) -> ImageTransform:
    """ImageNet's transform by timm (docs/protocol.md#imagenet), up to the normalisation: to uint8 [3, size, size].

    Training: random resized crop (scale 0.08-1, ratio 3/4-4/3, bilinear or bicubic at random), flip, colour
    jitter 0.4. Test: bicubic resize of the short side to size/0.875, centre crop. No auto-augment or erasing.
    """
    options: dict[str, Any] = {"input_size": size, "normalize": False}
    if train:
        options |= {"is_training": True, "color_jitter": 0.4, "auto_augment": None, "interpolation": "random"}
        options |= {"scale": (0.08, 1.0), "ratio": (3 / 4, 4 / 3), "hflip": 0.5, "re_prob": 0.0}
    else:
        options |= {"is_training": False, "interpolation": "bicubic", "crop_pct": 0.875}
    return cast("ImageTransform", create_transform(**options))


def finegrained_transform(train: bool, size: int) -> ImageTransform:
    """Transform of the fine-grained sets by torchvision, up to the normalisation: to uint8.

    Full images, no boxes, no auto-augment (docs/protocol.md#fine-grained-sets).

    Training: RandomResizedCrop and flip. Test: resize of the short side to size/0.875, centre crop.
    """
    if train:
        geometry = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()]
    else:
        geometry = [transforms.Resize(int(size / 0.875)), transforms.CenterCrop(size)]
    return cast("ImageTransform", transforms.Compose([*geometry, transforms.PILToTensor()]))
