"""Prints what a few steps of each network end with, as JSON: a program of its own, in a trainer's environment."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tksbench.runs import environment

environment.settle()

import torch  # noqa: E402

from tksbench.recipe import expand, load_recipe  # noqa: E402
from tksbench.snn.losses import tks  # noqa: E402
from tksbench.train import build  # noqa: E402
from tksbench.train.checkpoint import weights_digest  # noqa: E402

RUNS = {  # recipe, scale, name, and the shape of a batch
    "spiking_resnet19": ("cifar10", "mini", "cifar10/spiking_resnet19/tks", (12, 3, 16, 16)),
    "sew_resnet19": ("cifar10", "smoke", "cifar10/sew_resnet19/tks", (12, 3, 16, 16)),
    "sew_resnet18": ("cub", "smoke", "cub/sew_resnet18/tks", (8, 3, 32, 32)),
    "vgg_snn": ("dvs_cifar10", "mini", "dvs_cifar10/vgg_snn/tks", (4, 10, 2, 32, 32)),
}
STEPS = 3


def images(shape: tuple[int, ...], step: int) -> torch.Tensor:
    """Numbers that no generator draws, so that they are the same everywhere."""
    count = torch.Size(shape).numel()
    mixed = (torch.arange(count, dtype=torch.int64) + 7919 * step) * 2_654_435_761 % 2**32 // 2**16
    return mixed.remainder(4 if shape[1] == 10 else 255).float().view(shape).div(1 if shape[1] == 10 else 64)


def train(recipe: str, scale: str, name: str, shape: tuple[int, ...]) -> str:
    """SHA-256 of the weights after some steps."""
    path = Path(__file__).parents[2] / "recipes" / f"{recipe}.yaml"
    # One learning rate for all: a scale may get another one, which changes no arithmetic.
    runs = expand(load_recipe(path), scale, 1, ["optim.lr=5e-3"], lambda _: False)
    spec = next(run for run in runs if run.name == name).spec
    classes = 100 if recipe == "cifar100" else 10
    model = build.build_model(spec, classes, shape[-3], torch.device("cpu"))
    optimizer = build.build_optimizer(spec, model)
    for step in range(STEPS):
        x, target = images(shape, step), torch.arange(shape[0]).remainder(10)
        loss = tks(model(x), target, alpha=0.04, temperature=3.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return weights_digest(model)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps({network: train(*run) for network, run in RUNS.items()}) + "\n")
