"""What all tests share: one torch thread each, and a plain reason where a test's tool is not on the machine."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests import watchdog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Before anything imports torch: test processes run side by side, and their threads would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
for name in ("TKSBENCH_RESULTS", "TKSBENCH_CACHE"):  # the tutorial exports one: no test is about what lies there
    os.environ.pop(name, None)

watchdog.start()


def _has_program(*names: str) -> bool:
    return any(shutil.which(name) for name in names)


def _has_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _has_latex() -> bool:
    if not _has_program("pdflatex") or not _has_program("kpsewhich"):
        return False
    packages = ["booktabs.sty", "longtable.sty", "multirow.sty", "pdflscape.sty"]
    return subprocess.run(["kpsewhich", *packages], capture_output=True, check=False).returncode == 0


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


# marker: (is its tool here?, why the test is skipped and how to get the tool)
TOOLS: dict[str, tuple[Callable[[], bool], str]] = {
    "slurm": (lambda: _has_program("sbatch"), "no Slurm here: slurm/devcluster install (Debian, root)"),
    "gpu": (_has_gpu, "no CUDA device here: run on a machine that has one"),
    "browser": (
        lambda: _has_program("chromium-headless-shell", "chromium") and _has_module("playwright"),
        "no Chromium here, or no playwright: .ci/install-chromium (Debian, root), then make env",
    ),
    "latex": (_has_latex, "no LaTeX here, or no multirow: .ci/install-latex (Debian, root)"),
}


TOGETHER = {  # files whose tests one process has, as they take turns on the test cluster or share a trained network
    "slurm": ("launch/test_devcluster.py", "launch/test_slurm.py", "launch/test_slurm_training.py"),
    "triton": ("snn/test_triton.py",),
    "digits": (
        "systems/test_optimal_conversion.py",
        "systems/test_converted_by_spikes.py",
        "systems/test_fine_tuning.py",
    ),
}


class Together(LoadScopeScheduling):
    """Gives each process of `-n` one test after the other, and some files whole.

    xdist's own `loadgroup` does nothing under pytest 9.2, whose ids of tests it cannot change.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0].removeprefix("tests/")
        return next((group for group, files in TOGETHER.items() if file in files), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    """Which process of `-n` gets which tests."""
    return Together(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a marked test whose tool is missing."""
    for marker, (is_here, reason) in TOOLS.items():
        if item.get_closest_marker(marker) and not is_here():
            pytest.skip(reason)


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make the stand-in data of some data sets, once for all test processes; returns their root, not to change."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "stand-in"
    root.mkdir(exist_ok=True)

    def make(*names: str) -> Path:
        from tksbench.data.registry import ensure_miniature

        for name in names:
            with (root / f"{name}.lock").open("w") as turn:  # else several would make the same
                fcntl.flock(turn, fcntl.LOCK_EX)
                ensure_miniature(name, root)
        return root

    return make


@pytest.fixture
def machine_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variables that imitate another processor, under which all tests may be run."""
    from tksbench.runs.environment import LIMITS

    for name in LIMITS:
        monkeypatch.delenv(name, raising=False)
