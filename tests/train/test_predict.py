"""One way to ask the network as it is."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.train.conftest import TinySplit
from tksbench.train.predict import Predictor

SPLIT = TinySplit(25, 1, noisy=False)


class Linear(nn.Module):
    """A linear network of two steps, with dropout that only training has."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.fc = nn.Dropout(0.9), nn.Linear(192, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(x.flatten(1))).expand(2, -1, -1)

    def forward_features(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3]


def predictor(batch_size: int) -> Predictor:
    torch.manual_seed(0)
    return Predictor(Linear(), torch.device("cpu"), nullcontext, batch_size)


def test_logits_are_those_of_every_sample_in_order_whatever_the_batch() -> None:
    (logits, labels), (other, _) = (predictor(size).logits(SPLIT) for size in (7, 25))
    assert logits.shape == (25, 2, 4)
    np.testing.assert_array_equal(labels, SPLIT.labels)
    np.testing.assert_allclose(logits, other, atol=1e-6)
    np.testing.assert_array_equal(logits[:, 0], logits[:, 1])


def test_the_network_goes_back_into_its_mode_even_if_asked_to_stop() -> None:
    asked = predictor(7)

    def stop() -> None:
        assert not asked.network.training
        raise InterruptedError

    with pytest.raises(InterruptedError):
        asked.logits(SPLIT, at_batch=stop)
    assert asked.network.training


def test_features_and_images_are_those_of_the_samples_asked_for() -> None:
    index = np.array([3, 11, 20])
    wanted = torch.tensor(SPLIT.images[index], dtype=torch.float32)
    assert torch.equal(predictor(2).images(SPLIT, index), wanted)
    features = predictor(2).features(SPLIT, index, keep=lambda part: part)
    np.testing.assert_array_equal(features, wanted.flatten(1)[:, :3].numpy())
