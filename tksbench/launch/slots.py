"""Where runs go on this machine: one at a time on each GPU, and on the CPU as many as it has cores for."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tksbench.recipe import Execution

_NVIDIA_SMI_S = 20  # seconds; the first call after boot loads the driver
_RUN_BYTES = 2 << 30  # memory set aside for each run on the CPU; of scale mini they take 0.6 to 1.6 GiB
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Slot:
    """A place for one run at a time: `gpu` is one entry of CUDA_VISIBLE_DEVICES, None for the CPU."""

    gpu: str | None = None

    def __str__(self) -> str:
        return "CPU" if self.gpu is None else f"GPU {self.gpu}"

    def environment(self) -> dict[str, str]:
        """What the job's environment says about devices."""
        if self.gpu is None:
            return {"CUDA_VISIBLE_DEVICES": ""}
        return {"CUDA_VISIBLE_DEVICES": self.gpu, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


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
    """Memory that is free or can be freed, as Linux tells it; without end elsewhere."""
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


def cores_of(execution: Execution, cores: int) -> int:
    """How many of `cores` a run on the CPU takes: its threads, and the processes that load its data."""
    return cores if execution.threads is None else min(execution.threads + execution.workers, cores)


def _allowed() -> list[str] | None:
    """What CUDA_VISIBLE_DEVICES allows; None where it is not set."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return None
    names = [name.strip() for name in allowed.split(",")]
    return [name for name in names if name and name not in ("-1", "NoDevFiles")]


def lock_slot(slot: Slot, folder: Path | None = None) -> int | None:
    """Reserve a GPU against other launchers of the same user on this machine.

    The lock belongs to the open file: passed on to the job, it ends with the job, however that ends.

    Args:
        slot: The slot; the CPU is shared and needs no lock.
        folder: Where lock files lie; None takes a folder under the system's temporary one.

    Returns:
        A file descriptor to pass to the job and then close, -1 where nothing has to be (or can be)
        locked, or None if the slot is taken.
    """
    if slot.gpu is None:
        return -1
    folder = folder or Path(tempfile.gettempdir()) / f"tksbench-{os.getuid()}"
    name = re.sub(r"[^A-Za-z0-9-]", "_", slot.gpu)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / f"gpu-{name}.lock", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    except OSError:
        return -1  # a convenience only: the lease keeps runs apart, this keeps GPUs from being shared
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # a file system without locks: not a taken slot, or the launcher would wait for ever
        os.close(descriptor)
        return -1
    return descriptor
