"""What the trainer builds from a spec."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tksbench.recipe import expand, load_recipe
from tksbench.train.build import build_model

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize(
    ("recipe", "overrides", "size"),
    [
        ("dvs_cifar10", [], 48),
        ("nmnist", [], 34),
        ("nmnist", ["data.image_size=20"], 20),
        ("ncaltech101", ["data.image_size=32"], 32),
    ],
)
def test_network_for_event_frames_fits_their_size(recipe: str, overrides: list[str], size: int) -> None:
    run = expand(load_recipe(RECIPES / f"{recipe}.yaml"), overrides=[*overrides, "model.width=0.05"])[0]
    model = build_model(run.spec, num_classes=10, in_chans=2, device=torch.device("cpu"))
    assert model(torch.zeros(1, 2, 2, size, size)).shape == (2, 1, 10)
