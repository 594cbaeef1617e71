"""The two kinds of static split: arrays in memory (CIFAR) and lists of image files (all others)."""

from __future__ import annotations

import io
import random
import warnings
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from PIL import Image

from tksbench.data import augment
from tksbench.data.base import Split, balanced_subset
from tksbench.data.errors import DataError
from tksbench.data.files import read_file
from tksbench.data.rng import draw_bits, preserved_globals, seed_globals, to_uniform

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tksbench.data.augment import ImageTransform
    from tksbench.data.base import Batch, Key, Packed


class ArraySplit(Split):
    """Small images held in memory as one uint8 array and augmented batch by batch."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        *,
        augmentation: str,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        seed: int,
        subset: int | None = None,
    ) -> None:
        """Keep the images.

        Args:
            images: uint8 [N, 3, H, W].
            labels: int64 [N].
            augmentation: "strong", "plain" or "none".
            mean: Mean subtracted from each channel, in units of the full range.
            std: Standard deviation each channel is divided by.
            seed: The run's seed.
            subset: Keep the first so many in a class-balanced order; None for all.
        """
        if subset is not None:
            order = balanced_subset(labels, subset)
            images, labels = images[order], labels[order]
        self.images, self.labels = images, labels
        self._augmentation, self._mean, self._std, self._seed = augmentation, mean, std, seed
        self._pad = images.shape[-1] // 8
        self._rand_augment = augment.rand_augment(images.shape[-1])
        self._erase = augment.random_erasing()
        self.light = augmentation != "strong"

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Read one batch; see `Split`."""
        return self.unpack(self.pack(keys))

    def pack(self, keys: Sequence[Key]) -> Packed:
        """Everything but the normalisation.

        Returns:
            Images, uint8 [B, 3, H, W], and labels, int64 [B]; if strong also which K images have an erased box,
            int64 [K], and these as they are in the end, float32 [K, 3, H, W]: normal numbers are no levels.
        """
        indices = np.fromiter((index for _, index in keys), dtype=np.int64, count=len(keys))
        labels = torch.from_numpy(self.labels[indices])
        images = self.images[indices]
        if self._augmentation == "none":
            return torch.from_numpy(images), labels
        bits = draw_bits(self._seed, keys, len(self), 5)
        uniform = to_uniform(bits[:, :3])
        top, left = (uniform[:, :2] * (2 * self._pad + 1)).astype(np.int64).T
        images = augment.crop_and_flip(images, top, left, uniform[:, 2] < 0.5, self._pad)
        if self._augmentation == "plain":
            return torch.from_numpy(images), labels
        with preserved_globals():
            coloured = self._coloured(images, bits[:, 3])
            return coloured, labels, *self._erased(coloured, bits[:, 4])

    def unpack(self, packed: Packed) -> Batch:
        """Normalise; see `Split`."""
        pixels, labels, *erased = packed
        images = augment.normalise(pixels, self._mean, self._std)
        return images.index_copy_(0, *erased) if erased else images, labels

    def _coloured(self, images: NDArray[np.uint8], seeds: NDArray[np.uint64]) -> torch.Tensor:
        """Apply RandAugment to uint8 [B, 3, H, W]; what comes back lies channels last."""
        pixels = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        for image, seed in zip(pixels, seeds.tolist(), strict=True):
            seed_globals(seed)
            before = Image.fromarray(image)
            after = self._rand_augment(before)
            if after is not before:  # a quarter of the images are left alone
                image[:] = np.asarray(after)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)

    def _erased(self, pixels: torch.Tensor, seeds: NDArray[np.uint64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Which of the images [B, 3, H, W] have a box erased, and these, normalised."""
        chosen = []
        for number, seed in enumerate(seeds.tolist()):
            random.seed(seed)
            # timm's first draw: three images in four need no more.
            if random.random() <= self._erase.probability:  # noqa: S311
                chosen.append(number)
        erased = augment.normalise(pixels[chosen], self._mean, self._std)
        for image, seed in zip(erased, seeds[chosen].tolist(), strict=True):
            seed_globals(seed)
            self._erase(image)
        return torch.tensor(chosen, dtype=torch.int64), erased


class ImageFiles(Protocol):
    """A list of image files, however they are stored; it is sent to worker processes."""

    def read(self, index: int) -> tuple[bytes, str]:
        """Read one file.

        Returns:
            Its bytes, and where they are from, for messages.

        Raises:
            DataError: It is not there.
        """
        ...


class PathFiles:
    """Image files by their paths."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def read(self, index: int) -> tuple[bytes, str]:
        """Read one file; see `ImageFiles`."""
        path = self._paths[index]
        return read_file(path), str(path)


class FileSplit(Split):
    """Images read from files one by one, transformed by timm or torchvision."""

    def __init__(
        self,
        files: ImageFiles,
        labels: NDArray[np.int64],
        *,
        transform: ImageTransform,
        seed: int,
        subset: int | None = None,
    ) -> None:
        """Keep the list.

        Args:
            files: N image files.
            labels: int64 [N].
            transform: From an RGB image to uint8 [3, H, W]; may draw from the global generators. What it gives
                is normalised by ImageNet's constants.
            seed: The run's seed.
            subset: Keep the first so many in a class-balanced order; None for all.
        """
        self._files, self._order = files, balanced_subset(labels, subset)
        self.labels = labels[self._order]
        self._transform, self._seed = transform, seed

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Read one batch; see `Split`.

        Raises:
            DataError: As `pack`.
        """
        return self.unpack(self.pack(keys))

    def pack(self, keys: Sequence[Key]) -> Packed:
        """Everything but the normalisation.

        Returns:
            Images, uint8 [B, 3, H, W], and labels, int64 [B].

        Raises:
            DataError: A file is absent or is not an image that can be decoded.
        """
        seeds = draw_bits(self._seed, keys, len(self), 1)[:, 0].tolist()
        images = []
        with preserved_globals():
            for (_, index), seed in zip(keys, seeds, strict=True):
                image = decode_rgb(*self._files.read(int(self._order[index])))
                seed_globals(seed)
                images.append(self._transform(image))
        indices = [index for _, index in keys]
        return torch.stack(images), torch.from_numpy(self.labels[indices])

    def unpack(self, packed: Packed) -> Batch:
        """Normalise; see `Split`."""
        pixels, labels = packed
        return augment.normalise(pixels, augment.IMAGENET_MEAN, augment.IMAGENET_STD), labels


MAX_PIXELS = 90_000_000  # the largest image of these sets, one of ImageNet's, has two thirds of it
# What these sets are made of. Pillow would try everything that it knows, for one format by starting a program.
FORMATS = ("JPEG", "PNG")


def decode_rgb(raw: bytes, where: str) -> Image.Image:
    """Decode an image file; greyscale, palette and CMYK are converted to RGB.

    Args:
        raw: The file's bytes.
        where: Where they are from.

    Raises:
        DataError: They cannot be decoded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"{image.width} by {image.height} pixels, more than {MAX_PIXELS:,}")
                return image.convert("RGB")
    except Exception as error:  # a damaged image can raise nearly anything
        raise DataError(f"{where}: cannot be read as an image ({error}); restore the file") from error
