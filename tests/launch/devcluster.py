"""What tests on the two-node Slurm share: its script, and waiting."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests import watchdog

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "slurm" / "devcluster"


def bring_up(check: bool = False) -> subprocess.CompletedProcess[str]:
    """Start the cluster, or what is down of it, for as long as this process runs."""
    environment = watchdog.unmarked() | {"DEVCLUSTER_FOR": str(os.getpid())}
    return subprocess.run([SCRIPT, "up"], env=environment, capture_output=True, text=True, check=check)


def until(condition: Callable[[], object], seconds: float = 240) -> None:
    """Wait for something, or fail."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {seconds} s"
        time.sleep(0.3)
