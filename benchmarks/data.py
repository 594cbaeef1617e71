"""The data path alone: CIFAR-10 read, augmented, batched and sent to the device, beside torchvision and timm.

The reference is what one would write with these libraries: a data set of PIL transforms, one image at a time, behind
torch's `DataLoader`. A call reads all batches, the start of workers included where there are any; this project starts
none for "plain", whose batches take less time than it takes to hand one over. That both paths augment alike, bit for
bit on the same random numbers, is what tests/data/test_augment.py shows.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from timm.data.auto_augment import rand_augment_transform
from timm.data.random_erasing import RandomErasing
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.timing import Candidate, Case
from tksbench.data import load
from tksbench.data.augment import IMAGENET_MEAN, IMAGENET_STD, posterize, rand_augment
from tksbench.data.registry import info
from tksbench.data.static import ArraySplit
from tksbench.recipe import DataSpec
from tksbench.train.loading import read_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from benchmarks.parts import Options
    from tksbench.data.base import Batch

NEEDS = ()
REFERENCE = "torchvision, timm"
BATCH, WORKERS = 128, 2
BATCHES = (24, 240)  # small, full
PAD = 4


def cases(options: Options) -> Iterator[Case]:
    """Both augmentations of CIFAR, in one process and with workers; real images where the data root has them."""
    real = (options.data / info("cifar10").folder).is_dir()
    count = BATCHES[options.full] * BATCH
    images, labels = _read(options) if real else _made_up(count)
    what = "images of CIFAR-10" if real else "made-up images"
    for augmentation in ("plain", "strong"):
        candidates = []
        for name, path in ((REFERENCE, _reference), ("this project", _ours)):
            for workers in (0, WORKERS):
                reading = Reading(path(images, labels, augmentation, workers), count)
                label = f"{name}, {workers} workers" if workers else name
                candidates.append(Candidate(label, reading, reading.values))
        yield Case(
            name=f"{augmentation} augmentation, {count:,} {what} in batches of {BATCH}",
            candidates=candidates,
            reference=REFERENCE,
        )


class Reading:
    """Reads all batches, and knows how fast it was at best."""

    def __init__(self, start: Callable[[], Iterable[Batch]], count: int) -> None:
        """Say what to read.

        Args:
            start: Begins to read.
            count: Images in all.
        """
        self.start, self.count, self.fastest = start, count, float("inf")

    def __call__(self) -> Batch:
        """Read everything and wait for it, with one thread as in a worker; the last batch, on its device."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        began = time.perf_counter()
        try:
            for batch in self.start():
                last = batch
            if last[0].device.type == "cuda":
                torch.cuda.synchronize()
        finally:
            torch.set_num_threads(threads)
        self.fastest = min(self.fastest, time.perf_counter() - began)
        return last

    def values(self) -> dict[str, float]:
        """The rate of the fastest call."""
        return {"images/s": self.count / self.fastest}


def reference_transform(augmentation: str, size: int) -> Any:
    """What one writes with torchvision and timm: from uint8 [H, W, 3] to float32 [3, H, W]."""
    steps: list[Any] = [transforms.ToPILImage(), transforms.RandomCrop(size, PAD), transforms.RandomHorizontalFlip()]
    tail: list[Any] = [transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    if augmentation == "strong":
        ours: Any = rand_augment(size)
        policy: Any = rand_augment_transform("rand-m9-mstd0.5-inc1", dict(ours.ops[0].hparams))
        for operation in policy.ops:
            if operation.name == "PosterizeIncreasing":
                operation.aug_fn = posterize  # timm's own fails with new releases of Pillow in 2 % of the draws
        erasing: Any = RandomErasing
        steps.append(policy)
        tail.append(erasing(0.25, mode="pixel", device="cpu"))
    return transforms.Compose([*steps, *tail])


class _Images(Dataset[Any]):
    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64], transform: Any) -> None:
        self.images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        self.labels, self.transform = labels, transform

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])

    def __len__(self) -> int:
        return len(self.labels)


def _reference(
    images: NDArray[np.uint8], labels: NDArray[np.int64], augmentation: str, workers: int
) -> Callable[[], Iterable[Batch]]:
    data, device = _Images(images, labels, reference_transform(augmentation, images.shape[-1])), _device()
    loader = DataLoader(data, batch_size=BATCH, num_workers=workers, pin_memory=device.type == "cuda")

    def start() -> Iterator[Batch]:
        for pixels, classes in loader:
            yield pixels.to(device, non_blocking=True), classes.to(device, non_blocking=True)

    return start


def _ours(
    images: NDArray[np.uint8], labels: NDArray[np.int64], augmentation: str, workers: int
) -> Callable[[], Iterable[Batch]]:
    split = ArraySplit(images, labels, augmentation=augmentation, mean=IMAGENET_MEAN, std=IMAGENET_STD, seed=0)
    keys = [[(0, index) for index in range(start, start + BATCH)] for start in range(0, len(labels), BATCH)]
    return lambda: read_batches(split, keys, workers, _device())


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _read(options: Options) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    count = BATCHES[options.full] * BATCH
    spec = DataSpec(name="cifar10", augment="none", train_subset=count, test_subset=1)
    train: Any = load(spec, 1, 0, options.data).train
    return train.images, train.labels


def _made_up(count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    return rng.integers(256, size=(count, 3, 32, 32), dtype=np.uint8), rng.integers(10, size=count)
