"""The GPUs, cores and memory of this machine that a process may use. Imports no torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

_NVIDIA_SMI_S = 20  # seconds; the first call after boot loads the driver
_RUN_BYTES = 2 << 30  # memory set aside for each run on the CPU; of scale mini they take 0.6 to 1.6 GiB
_CGROUPS = Path("/sys/fs/cgroup")


def find_gpus() -> list[str]:
    """The GPUs that CUDA_VISIBLE_DEVICES allows, else all that nvidia-smi lists; none on other machines."""
    allowed = _allowed()
    if allowed is not None:
        return allowed
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=index", "--format=csv,noheader"]
    try:
        listing = subprocess.run(  # noqa: S603 - fixed words, no shell
            command, capture_output=True, text=True, timeout=_NVIDIA_SMI_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in listing.splitlines() if line.strip().isdecimal()]


def count_gpus() -> int:
    """How many GPUs `find_gpus` would name, from the driver's device files: nvidia-smi may take seconds."""
    allowed = _allowed()
    return len(list(Path("/dev").glob("nvidia[0-9]*"))) if allowed is None else len(allowed)


def count_cores() -> int:
    """How many runs of one thread each this machine is for: one a core, and no more than there is memory for now.

    Of cores and memory it counts what the process is allowed, by its affinity and its control groups (a container's,
    a Slurm step's).
    """
    cores, memory = float(len(os.sched_getaffinity(0))), _free_bytes()
    for group in _control_groups():
        quota, _, period = _word(group / "cpu.max").partition(" ")
        if quota.isdecimal() and period.isdecimal():
            cores = min(cores, int(quota) / int(period))
        limit = _word(group / "memory.max")
        if limit.isdecimal():
            memory = min(memory, int(limit))
    return max(int(min(cores, memory / _RUN_BYTES)), 1)


def _free_bytes() -> float:
    """Memory that is free or can be freed, as Linux states it; without end elsewhere."""
    for line in _word(Path("/proc/meminfo")).splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024.0
    return float("inf")


def _control_groups() -> list[Path]:
    """The folders of this process's control group (version 2) and of those above it; none elsewhere."""
    for line in _word(Path("/proc/self/cgroup")).splitlines():
        if line.startswith("0::/"):
            own = _CGROUPS / line.removeprefix("0::/")
            return [own, *(above for above in own.parents if above.is_relative_to(_CGROUPS))]
    return []


def _word(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _allowed() -> list[str] | None:
    """What CUDA_VISIBLE_DEVICES allows; None where it is not set."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return None
    names = [name.strip() for name in allowed.split(",")]
    return [name for name in names if name and name not in ("-1", "NoDevFiles")]
