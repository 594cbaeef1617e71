"""Augmentation: equal to torchvision's functions, timm's settings, and keyed by (seed, epoch, index) alone."""

from __future__ import annotations

import multiprocessing
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from timm.data import auto_augment
from timm.data.random_erasing import RandomErasing
from torchvision import transforms
from torchvision.transforms import functional

from tksbench.data import augment, load
from tksbench.data.rng import draw_bits, seed_globals, to_uniform
from tksbench.train.loading import read_batches

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tksbench.data.base import Data
    from tksbench.recipe import DataSpec


@pytest.fixture
def images() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)


@pytest.fixture
def loader(static_root: Path, make_spec: Callable[..., DataSpec]) -> Callable[..., Data]:
    def make(name: str, seed: int = 42, **values: Any) -> Data:
        return load(make_spec(name, **values), 4, seed, static_root)

    return make


def test_crop_and_flip_equal_torchvision_on_the_same_parameters(images: np.ndarray[Any, Any]) -> None:
    top, left = np.array([0, 8, 4, 1, 7, 3]), np.array([8, 0, 4, 2, 5, 6])
    flip = np.array([True, False, True, False, True, False])
    found = augment.crop_and_flip(images, top, left, flip, 4)
    for i, image in enumerate(torch.from_numpy(images)):
        expected = functional.crop(functional.pad(image, 4), int(top[i]), int(left[i]), 32, 32)
        expected = functional.hflip(expected) if flip[i] else expected
        assert torch.equal(torch.from_numpy(found[i]), expected)


def test_normalisation_equals_torchvision_bit_for_bit(images: np.ndarray[Any, Any]) -> None:
    found = augment.normalise(torch.from_numpy(images), augment.IMAGENET_MEAN, augment.IMAGENET_STD)
    theirs = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(augment.IMAGENET_MEAN, augment.IMAGENET_STD)]
    )
    for image, ours in zip(images, found, strict=True):
        assert torch.equal(ours, theirs(Image.fromarray(image.transpose(1, 2, 0))))


def test_normalisation_is_three_operations_each_rounded_exactly() -> None:
    # So that every device that keeps to IEEE 754 gives these bits: workers need not send float32.
    levels = np.arange(256, dtype=np.uint8)
    images = torch.from_numpy(levels.reshape(1, 1, 16, 16).repeat(3, axis=1))
    found = augment.normalise(images, augment.CIFAR10_MEAN, augment.CIFAR10_STD)
    for channel, mean, std in zip(found[0], augment.CIFAR10_MEAN, augment.CIFAR10_STD, strict=True):
        scaled = (levels / 255.0).astype(np.float32)
        centred = (scaled.astype(np.float64) - np.float32(mean)).astype(np.float32)
        expected = (centred.astype(np.float64) / np.float32(std)).astype(np.float32)
        np.testing.assert_array_equal(channel.flatten().numpy(), expected)


def test_official_normalisation_differs_between_training_and_test() -> None:
    assert augment.cifar_normalisation(True, "official")[0] == (0.485, 0.456, 0.406)
    assert augment.cifar_normalisation(False, "official") == (
        (0.4914, 0.4822, 0.4465),
        (0.2023, 0.1994, 0.2010),
    )


def test_consistent_normalisation_does_not() -> None:
    assert augment.cifar_normalisation(True, "consistent") == augment.cifar_normalisation(False, "consistent")


def test_rand_augment_is_the_papers() -> None:
    chosen: Any = augment.rand_augment(32)
    names = {operation.name for operation in chosen.ops}
    assert len(names) == len(chosen.ops) == 15
    assert {"PosterizeIncreasing", "SolarizeIncreasing", "TranslateXRel", "TranslateYRel"} <= names
    assert chosen.num_layers == 2
    for operation in chosen.ops:
        assert (operation.prob, operation.magnitude, operation.magnitude_std) == (0.5, 9, 0.5)
        assert operation.kwargs == {"fillcolor": (124, 116, 104), "resample": Image.Resampling.BICUBIC}


@pytest.mark.parametrize(
    ("name", "amounts"),
    [
        ("Invert", [()]),
        ("PosterizeIncreasing", [(bits,) for bits in range(1, 5)]),
        ("SolarizeIncreasing", [(threshold,) for threshold in range(257)]),
        ("SolarizeAdd", [(add,) for add in range(129)]),
    ],
)
def test_tables_give_what_timms_operation_gives(name: str, amounts: list[tuple[int]]) -> None:
    operation: Any = next(op for op in augment.rand_augment(32).ops if op.name == name)  # type: ignore[attr-defined]
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (16, 48, 3), dtype=np.uint8))
    for amount in amounts:
        expected = auto_augment.NAME_TO_OP[name](image, *amount)
        assert operation.aug_fn(image, *amount, **operation.kwargs) == expected


@pytest.mark.parametrize(
    ("ours", "theirs"), [(augment.autocontrast, ImageOps.autocontrast), (augment.equalize, ImageOps.equalize)]
)
def test_histogram_operations_equal_pillows(ours: augment.Operation, theirs: Callable[..., Image.Image]) -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        low, high = sorted(rng.integers(0, 257, 2).tolist())
        pixels = rng.integers(low, max(high, low + 1), (32, 32, 3)).clip(0, 255).astype(np.uint8)
        pixels[:, :, rng.integers(3)] //= np.uint8(rng.integers(1, 256))  # few levels, or one
        image = Image.fromarray(pixels)
        assert ours(image, fillcolor=0) == theirs(image)


def test_strong_is_timms_policy_and_erasing_image_by_image(loader: Callable[..., Data]) -> None:
    split: Any = loader("cifar10", augment="strong").train
    plain: Any = loader("cifar10", augment="plain").train
    mean, std = augment.cifar_normalisation(True, "official")
    hparams = dict(augment.rand_augment(32).ops[0].hparams)  # type: ignore[attr-defined]
    policy: Any = auto_augment.rand_augment_transform("rand-m9-mstd0.5-inc1", hparams)
    erase: Any = RandomErasing(0.25, mode="pixel", device="cpu")
    keys = [(1, index) for index in range(300)]
    bits = draw_bits(42, keys, len(split), 5)
    found, _ = split.__getitems__(keys)
    cropped, _ = plain.pack(keys)
    for image, crop, row in zip(found, cropped, bits.tolist(), strict=True):
        seed_globals(row[3])
        coloured = policy(Image.fromarray(np.ascontiguousarray(crop.permute(1, 2, 0).numpy())))
        expected = augment.normalise(functional.pil_to_tensor(coloured)[None], mean, std)[0]
        seed_globals(row[4])
        assert torch.equal(image, erase(expected))


def test_posterize_to_no_bits_is_black_where_timm_fails() -> None:
    operation: Any = next(op for op in augment.rand_augment(32).ops if op.name == "PosterizeIncreasing")  # type: ignore[attr-defined]
    operation.prob, operation.magnitude, operation.magnitude_std = 1.0, 10, 0.0
    white = Image.new("RGB", (4, 4), (255, 255, 255))
    assert operation(white).getextrema() == ((0, 0),) * 3


def test_random_erasing_is_the_papers() -> None:
    erasing: Any = augment.random_erasing()
    assert (erasing.probability, erasing.min_area, erasing.max_area) == (0.25, 0.02, 1 / 3)
    assert (erasing.per_pixel, erasing.min_count, erasing.max_count) == (True, 1, 1)
    assert np.exp(erasing.log_aspect_ratio) == pytest.approx((0.3, 1 / 0.3))


def test_imagenet_transforms_are_the_papers() -> None:
    crop, flip, jitter, _ = augment.imagenet_transform(True, 224).transforms  # type: ignore[attr-defined]
    assert (crop.size, crop.scale, crop.ratio) == ((224, 224), (0.08, 1.0), (3 / 4, 4 / 3))
    assert len(crop.interpolation) == 2
    assert flip.p == 0.5
    assert jitter.brightness == jitter.contrast == jitter.saturation == (0.6, 1.4)
    assert jitter.hue is None


@pytest.mark.parametrize(("size", "resized"), [(224, 256), (112, 128), (64, 73)])
def test_imagenet_evaluation_resizes_to_size_over_0875(size: int, resized: int) -> None:
    resize, crop, *_ = augment.imagenet_transform(False, size).transforms  # type: ignore[attr-defined]
    assert (resize.size, resize.interpolation.value) == (resized, "bicubic")
    assert crop.size == (size, size)


def test_finegrained_evaluation_resizes_to_256_for_224() -> None:
    resize, crop, *_ = augment.finegrained_transform(False, 224).transforms  # type: ignore[attr-defined]
    assert (resize.size, crop.size) == (256, (224, 224))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("cifar10", {"augment": "strong"}),
        ("cifar10", {"augment": "plain"}),
        ("imagenet", {"image_size": 32}),
        ("cub", {"image_size": 32}),
    ],
)
def test_augmentation_depends_on_seed_epoch_and_index_alone(
    loader: Callable[..., Data], name: str, values: dict[str, Any]
) -> None:
    split = loader(name, **values).train
    keys = [(3, i) for i in range(40)]
    whole, _ = split.__getitems__(keys)
    backwards = torch.cat([split.__getitems__([key])[0] for key in reversed(keys)]).flip(0)
    assert torch.equal(whole, backwards)
    assert torch.equal(loader(name, **values).train.__getitems__(keys)[0], whole)
    assert not torch.equal(split.__getitems__([(4, i) for i in range(40)])[0], whole)
    assert not torch.equal(loader(name, seed=43, **values).train.__getitems__(keys)[0], whole)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("cifar10", {"augment": "strong"}),
        ("cifar10", {"augment": "plain"}),
        ("imagenet", {"image_size": 32}),
        ("cub", {"image_size": 32}),
    ],
)
def test_images_travel_as_bytes(loader: Callable[..., Data], name: str, values: dict[str, Any]) -> None:
    data = loader(name, **values)
    for split in (data.train, data.test):
        assert split.pack([(0, index) for index in range(8)])[0].dtype == torch.uint8


@pytest.mark.gpu
def test_a_gpu_finishes_batches_with_the_bits_of_a_cpu(loader: Callable[..., Data]) -> None:
    device = torch.device("cuda")
    keys = [[(epoch, index) for index in range(128)] for epoch in range(3)]
    for augmentation in ("strong", "plain", "none"):
        split = loader("cifar10", augment=augmentation).train
        list(read_batches(split, keys[:1], 0, device))  # constants are sent once
        torch.cuda.set_sync_debug_mode("error")
        torch.use_deterministic_algorithms(True)
        try:
            found = list(read_batches(split, keys, 0, device))
        finally:
            torch.use_deterministic_algorithms(False)
            torch.cuda.set_sync_debug_mode("default")
        for batch, (images, labels) in zip(keys, found, strict=True):
            expected = split.__getitems__(batch)
            assert torch.equal(images.cpu(), expected[0])
            assert torch.equal(labels.cpu(), expected[1])


def test_no_workers_are_started_for_what_is_read_at_once(loader: Callable[..., Data]) -> None:
    split = loader("cifar10", augment="plain").train
    batches = read_batches(split, [[(0, 0)], [(0, 1)]], 2, torch.device("cpu"))
    next(batches)
    assert not multiprocessing.active_children()


def test_workers_give_the_same_batches(loader: Callable[..., Data]) -> None:
    split = loader("cifar10", augment="strong", train_subset=64).train
    keys = [[(0, i) for i in range(start, start + 16)] for start in (48, 0, 32)]
    with_workers = read_batches(split, keys, 1, torch.device("cpu"))
    for batch, (images, labels) in zip(keys, with_workers, strict=True):
        assert torch.equal(images, split.__getitems__(batch)[0])
        assert torch.equal(labels, torch.from_numpy(split.labels[[i for _, i in batch]]))


@pytest.mark.parametrize("name", ["cifar10", "cub"])
def test_augmentation_leaves_the_global_generators_alone(loader: Callable[..., Data], name: str) -> None:
    split = loader(name, **({} if name == "cifar10" else {"image_size": 32})).train
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[union-attr]
    split.__getitems__([(0, i) for i in range(8)])
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[union-attr]
    assert torch.equal(torch.get_rng_state(), before[2])


@pytest.mark.parametrize("name", ["cifar10", "imagenet"])
def test_test_images_are_never_augmented(loader: Callable[..., Data], name: str) -> None:
    split = loader(name, **({} if name == "cifar10" else {"image_size": 32})).test
    assert torch.equal(split.__getitems__([(0, 5)])[0], split.__getitems__([(9, 5)])[0])


def test_a_subset_draws_the_numbers_of_the_whole() -> None:
    keys = [(2, 0), (7, 3), (2, 9)]
    assert np.array_equal(draw_bits(1, keys, 10, 3), draw_bits(1, keys, 1000, 3))


def test_uniforms_cover_the_unit_interval() -> None:
    uniform = to_uniform(draw_bits(0, [(0, i) for i in range(4000)], 4000, 1))
    assert 0 <= uniform.min() < 0.01
    assert 0.99 < uniform.max() < 1
    assert uniform.mean() == pytest.approx(0.5, abs=0.03)


def test_plain_crops_reach_every_offset_and_flip_half(loader: Callable[..., Data]) -> None:
    split = loader("cifar10", augment="plain").train
    split.images = np.zeros_like(split.images)  # type: ignore[attr-defined]
    split.images[:, :, 0, 0] = 255  # type: ignore[attr-defined]
    images, _ = split.__getitems__([(0, i) for i in range(2000)])
    rows, columns = np.nonzero((images[:, 0] > 0).any(0).numpy())
    # The corner pixel moves by -4..4: it is seen at 0..4, and mirrored at 27..31.
    assert set(rows) == {0, 1, 2, 3, 4}
    assert set(columns) == {0, 1, 2, 3, 4, 27, 28, 29, 30, 31}
