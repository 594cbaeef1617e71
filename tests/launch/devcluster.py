"""What tests on the two-node Slurm share: its script, and waiting."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "slurm" / "devcluster"


def until(condition: Callable[[], object], seconds: float = 240) -> None:
    """Wait for something, or fail."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {seconds} s"
        time.sleep(0.3)
