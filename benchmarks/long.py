"""Whether steps become slower or memory grows over a long run: a network that has trained long beside a fresh one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from benchmarks.memory import resident
from benchmarks.networks import Step
from benchmarks.timing import Candidate, Case
from tksbench.snn.resnet import SpikingResNet19
from tksbench.train.cpu import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.parts import Options

NEEDS = ()
STEPS = (300, 2_000)  # small, full
SETTLED = 100  # steps after which memory should no longer grow
WIDTH, BATCH = 0.125, 8


def cases(options: Options) -> Iterator[Case]:
    """One case: a step now, and a step after many, with what the process has grown by meanwhile."""
    keep_freed_memory()
    count = STEPS[options.full]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = torch.randn(BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    fresh, old = (Step(lambda: SpikingResNet19(width=WIDTH), images, "eager", device) for _ in range(2))
    for _ in range(SETTLED):
        old()
    before = resident()
    for _ in range(count - SETTLED):
        old()
    grown = {"grown MB": (resident() - before) / 1e6}
    yield Case(
        name=f"ResNet-19 of width {WIDTH:g}, batch {BATCH}: a step after {count:,} others",
        candidates=(Candidate("fresh", fresh), Candidate("after long", old, lambda: grown)),
        reference="fresh",
    )
