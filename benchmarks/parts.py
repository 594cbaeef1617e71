"""What a part of the bench is, which parts there are, and what each needs.

A part is a module of this folder with two names: `NEEDS`, the optional packages it cannot do without, and
`cases(options)`, which yields what is to be measured. The bench does the rest.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from tksbench.errors import TksbenchError
from tksbench.recipe import suggest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.timing import Case

PARTS = {
    "framing": "event frames from recordings, beside tonic",
    "data": "CIFAR read and augmented, beside torchvision and timm",
    "networks": "training steps of ResNet-19, VGG-SNN (and on CUDA SEW-ResNet-50), beside ReLU, SpikingJelly, BrainCog",
    "conversions": "converted networks over many time steps, beside SpikingJelly's ann2snn",
    "scaling": "two processes on two cores, beside one on one",
    "long": "time and memory of a step after many others",
    "harness": "what the harness itself costs: plan, record, tables",
}
NOTES = {  # what a reader has to know of a part's candidates
    "networks": (
        "ReLU: the same layers over the same T time steps, with ReLU in the place of the neurons. On a CPU with a C "
        "compiler this project has convolutions of its own: docs/speed.md says which, and since when."
    ),
}
INSTALL = "make bench EXTRAS=bench"


class BenchError(TksbenchError):
    """A part that does not exist, or that cannot be measured."""


@dataclass(frozen=True)
class Options:
    """What the command line says to the parts.

    Attributes:
        full: Full shapes instead of small ones.
        data: Data root, which may lack any data set; a part falls back on data that it makes.
        scratch: Empty folder of the part's own, deleted afterwards.
    """

    full: bool
    data: Path
    scratch: Path


class Part(Protocol):
    """A module of this folder that measures something."""

    NEEDS: tuple[str, ...]

    def cases(self, options: Options) -> Iterator[Case]:
        """What to measure; each case is measured before the next one is made."""


def load_part(name: str) -> Part:
    """The part of this name.

    Raises:
        BenchError: There is none.
    """
    if name not in PARTS:
        raise BenchError(f"no part '{name}'; {suggest(name, PARTS)}")
    return cast("Part", importlib.import_module(f"benchmarks.{name}"))


def lacking(needs: Sequence[str]) -> str | None:
    """What to do about packages that are not installed, in one line; None if there are none."""
    missing = [name for name in needs if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return (
        f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed; {INSTALL} installs what it needs"
    )
