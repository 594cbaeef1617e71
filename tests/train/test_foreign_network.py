"""A network from outside the project, in the trainer: kept from the kernel that writes out of bounds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.conv_calls import FaultyCalls
from tests.train.conftest import MakeRun
from tksbench.data.base import Data
from tksbench.train import build
from tksbench.train.loop import Trainer


class Foreign(nn.Module):
    """Two time steps of a small network with a shortcut of plain torch."""

    T = 2

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.shortcut = nn.Conv2d(4, 6, 1, 2)
        self.head = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(self.shortcut(self.conv(x)).mean((2, 3)))
        return torch.stack([y, 2 * y])


@pytest.mark.parametrize("guarded", [True, False])
def test_a_training_step_does_not_reach_the_kernel(
    make_run: MakeRun, tiny_data: Data, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    def build_foreign(*_args: object) -> nn.Module:
        torch.manual_seed(0)
        return Foreign().to(memory_format=torch.channels_last)

    monkeypatch.setattr(build, "build_model", build_foreign)
    if not guarded:  # then the test sees what it is about
        monkeypatch.setattr("tksbench.train.loop.soundly", lambda *_: torch.enable_grad())
    run, run_dir = make_run("results", "optim.epochs=1", "optim.warmup_epochs=0")
    with FaultyCalls() as calls:
        Trainer(run, run_dir, tiny_data, torch.device("cpu")).fit()
    assert bool(calls.seen) is not guarded
