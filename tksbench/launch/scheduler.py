"""Slurm's own commands, each called in one place: sbatch, squeue, scancel, scontrol."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tksbench.launch.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

COMMANDS = ("sbatch", "squeue", "scontrol")
_TIMEOUT_S = 120
_MAX_ARRAY = 1001  # Slurm's default MaxArraySize
_OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "REVOKED"}
# Shown for some seconds before the job is pending again; believed only when they stay.
_PASSING = {"NODE_FAIL", "PREEMPTED", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"}
_PASSING_S = 8


class NoAnswer(LaunchError):
    """A Slurm command that hangs."""


@dataclass(frozen=True)
class Task:
    """One element of an array as squeue tells it."""

    job: str
    index: int
    state: str
    reason: str
    name: str

    @property
    def active(self) -> bool:
        """Whether it still may run."""
        return self.state not in _OVER and self.state not in _PASSING

    @property
    def stuck(self) -> bool:
        """Whether Slurm holds it for good because a launch of it failed; what a person holds is not meant."""
        return self.state == "PENDING" and re.search("launch.failed", self.reason) is not None

    @property
    def id(self) -> str:
        """What scancel takes."""
        return f"{self.job}_{self.index}"

    def __str__(self) -> str:
        why = f" ({self.reason})" if self.state == "PENDING" and self.reason not in ("None", "") else ""
        return f"job {self.id} is {self.state}{why}"


def has_slurm() -> bool:
    """Whether this machine can submit."""
    return shutil.which("sbatch") is not None


def submit(script: Path, dependency: str | None = None) -> str:
    """Submit a script; returns the job's id.

    Raises:
        LaunchError: If Slurm refuses it.
        NoAnswer: If Slurm does not answer: the job may or may not be there.
    """
    words = ["--parsable", *([f"--dependency={dependency}"] if dependency else []), str(script)]
    return _call("sbatch", *words).strip().partition(";")[0]


def my_tasks(names: Collection[str]) -> list[Task]:
    """The array elements of this user's jobs of these names that Slurm remembers, finished ones for some minutes.

    Raises:
        LaunchError: If Slurm cannot be asked: nothing may be concluded then.
    """
    deadline = time.monotonic() + _PASSING_S
    while True:
        tasks = [task for task in _queue() if task.name in names]
        if not any(task.state in _PASSING for task in tasks) or time.monotonic() >= deadline:
            return tasks
        time.sleep(1)


def cancel(ids: Sequence[str]) -> None:
    """Cancel array elements.

    Raises:
        LaunchError: If Slurm refuses.
    """
    for start in range(0, len(ids), 500):  # a command line has its limits
        _call("scancel", *ids[start : start + 500])


def requeue(job: str) -> None:
    """Put the running job back into the queue; it is killed and starts again later.

    Raises:
        LaunchError: If Slurm refuses.
    """
    _call("scontrol", "requeue", job)


def release(job: str) -> None:
    """Let a held job start.

    Raises:
        LaunchError: If Slurm refuses.
    """
    _call("scontrol", "release", job)


def max_array_size() -> int:
    """The most elements that an array may have here."""
    try:
        found = show_config().get("MaxArraySize", "")
    except LaunchError:
        found = ""
    return max(1, int(found)) if found.isdecimal() else _MAX_ARRAY


def missing_commands() -> list[str]:
    """Those of `COMMANDS` that are not on this machine."""
    return [name for name in COMMANDS if shutil.which(name) is None]


def show_config() -> dict[str, str]:
    """Slurm's configuration.

    Raises:
        LaunchError: If Slurm cannot be asked.
    """
    pairs = re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", _call("scontrol", "show", "config"), re.MULTILINE)
    return dict(pairs)


def run_on_node(words: Sequence[str], limit_s: float) -> tuple[str, str]:
    """Run a command on a compute node and wait for it.

    Args:
        words: What follows `srun`.
        limit_s: Patience, the queue included; then the job is cancelled.

    Returns:
        Its standard output, and what went wrong if its exit status is not 0.

    Raises:
        LaunchError: If there is no srun here, or it does not come back in time.
    """
    try:
        child = subprocess.Popen(  # noqa: S603 - Slurm's own command, no shell
            ["srun", *words],  # noqa: S607
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=_environment(),
        )
    except FileNotFoundError:
        raise LaunchError("srun is not on this machine: launch from a login node of the cluster") from None
    try:
        out, err = child.communicate(timeout=limit_s)
    except BaseException as error:
        child.terminate()  # srun cancels its job then
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
        if isinstance(error, subprocess.TimeoutExpired):
            raise NoAnswer(f"srun did not come back within {limit_s:.0f} s") from None
        raise
    return out, "" if child.returncode == 0 else " ".join(err.split())[-600:] or f"exit status {child.returncode}"


def _queue() -> list[Task]:
    form = "%F|%K|%T|%r|%j"
    listing = _call("squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", f"--format={form}")
    tasks = []
    for line in listing.splitlines():
        parts = line.split("|", 4)
        if len(parts) == 5 and parts[1].isdecimal():
            tasks.append(Task(parts[0], int(parts[1]), parts[2], parts[3], parts[4]))
    return tasks


def _call(*words: str) -> str:
    """Standard output of a Slurm command."""
    try:
        done = subprocess.run(  # noqa: S603 - Slurm's own commands, no shell
            words, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False, env=_environment()
        )
    except FileNotFoundError:
        raise LaunchError(f"{words[0]} is not on this machine: launch from a login node of the cluster") from None
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{words[0]} did not answer within {_TIMEOUT_S} s; try again later") from None
    if done.returncode != 0:
        told = done.stderr.replace(f"{words[0]}: error: ", "").strip().splitlines()
        raise LaunchError(f"{words[0]}: {'; '.join(told)[:600] or f'exit status {done.returncode}'}")
    return done.stdout


def _environment() -> dict[str, str]:
    """The environment without what a surrounding job or the user's habits would add to ours."""
    keep = ("SLURM_CONF", "SLURM_JWT")
    names = ("SLURM_", "SBATCH_", "SQUEUE_", "SCANCEL_", "SRUN_")
    return {key: value for key, value in os.environ.items() if key in keep or not key.startswith(names)}
