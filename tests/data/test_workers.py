"""What is handed to data workers: every half of every data set, whatever the augmentation, arrives as it was."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest
import torch

from tksbench.data.registry import DATASETS, load
from tksbench.recipe import DataSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "augment"), [(name, augment) for name, facts in DATASETS.items() for augment in facts.augmentations]
)
def test_a_half_that_was_sent_gives_the_same_batches(
    name: str, augment: str, stand_in: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TKSBENCH_CACHE", str(tmp_path))
    spec = DataSpec(name=name, source="miniature", augment=augment, train_subset=6, test_subset=4)
    data = load(spec, 2, 42, stand_in(name))
    for half in (data.train, data.test):
        keys = [(1, index) for index in range(4)]
        before = half.pack(keys)  # what has been used once is sent, too
        sent = pickle.loads(pickle.dumps(half))  # noqa: S301
        assert all(map(torch.equal, sent.pack(keys), before))
        assert torch.equal(sent.unpack(sent.pack(keys))[0], half.unpack(before)[0])
