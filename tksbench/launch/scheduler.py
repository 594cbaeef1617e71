"""Slurm's own commands, each called in one place: sbatch, squeue, scancel, scontrol."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tksbench.launch.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

COMMANDS = ("sbatch", "squeue", "scontrol")
_TIMEOUT_S = 120
_MAX_ARRAY = 1001  # Slurm's default MaxArraySize
_OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "REVOKED"}
# Shown for some seconds before the job is pending again; believed only when they stay.
_PASSING = {"NODE_FAIL", "PREEMPTED", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"}
_PASSING_S = 8


class NoAnswer(LaunchError):
    """A Slurm command that hangs, or does not print what it should."""


class JobId(NamedTuple):
    """A job as sbatch prints it: its number, and the cluster that has it where one was named."""

    number: str
    cluster: str | None = None


@dataclass(frozen=True)
class Task:
    """One element of an array as squeue lists it; cluster None is the one that Slurm's commands ask by default."""

    job: str
    index: int
    state: str
    reason: str
    name: str
    cluster: str | None = None

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
        where = f" on cluster {self.cluster}" if self.cluster else ""
        return f"job {self.id}{where} is {self.state}{why}"


def has_slurm() -> bool:
    """Whether this machine can submit."""
    return shutil.which("sbatch") is not None


def submit(script: Path) -> JobId:
    """Submit a script.

    Raises:
        LaunchError: If Slurm refuses it.
        NoAnswer: If Slurm does not answer, or not with a job's number: the job may or may not be there.
    """
    printed = call("sbatch", "--parsable", str(script))  # a site's own sbatch may print a greeting, too
    found = re.findall(r"^(\d+)(?:;(\S+))?$", printed, re.MULTILINE)  # "123;gpu" of named clusters
    if not found:
        last = printed.strip().rpartition("\n")[2][:200] or "nothing"
        raise NoAnswer(
            f"sbatch printed {last} in place of a job's number; the same command finds the job, if there is one"
        )
    number, cluster = found[-1]
    return JobId(number, cluster or None)


def my_tasks(wanted: Mapping[str, Collection[str | None]]) -> list[Task]:
    """The array elements of this user's jobs that Slurm remembers, finished ones for some minutes.

    Args:
        wanted: The clusters on which a job may be (None: the default one), by the job's name.

    Raises:
        LaunchError: If Slurm cannot be asked: nothing may be concluded then.
    """
    clusters = sorted({cluster for names in wanted.values() for cluster in names}, key=str)
    deadline = time.monotonic() + _PASSING_S
    while True:
        tasks = [task for cluster in clusters for task in _queue(cluster) if cluster in wanted.get(task.name, ())]
        if not any(task.state in _PASSING for task in tasks) or time.monotonic() >= deadline:
            return tasks
        time.sleep(1)


def cancel(tasks: Sequence[Task]) -> None:
    """Cancel array elements.

    Raises:
        LaunchError: If Slurm refuses.
    """
    ids = defaultdict[str | None, list[str]](list)
    for task in tasks:
        ids[task.cluster].append(task.id)
    for cluster, own in ids.items():
        for start in range(0, len(own), 500):  # a command line has its limits
            call("scancel", *_on(cluster), *own[start : start + 500])


def release(task: Task) -> None:
    """Let a held element start.

    Raises:
        LaunchError: If Slurm refuses.
    """
    call("scontrol", *_on(task.cluster), "release", task.id)


def max_array_size(*clusters: str) -> int:
    """The most elements that an array may have on each of these clusters, or on the default one."""
    return min(map(_max_array_size, clusters or (None,)))


def _max_array_size(cluster: str | None) -> int:
    try:
        found = show_config(cluster).get("MaxArraySize", "")
    except LaunchError:
        found = ""
    return max(1, int(found)) if found.isdecimal() else _MAX_ARRAY


def missing_commands() -> list[str]:
    """Those of `COMMANDS` that are not on this machine."""
    return [name for name in COMMANDS if shutil.which(name) is None]


def show_config(cluster: str | None = None) -> dict[str, str]:
    """Slurm's configuration, of one cluster (None: the default one).

    Raises:
        LaunchError: If Slurm cannot be asked.
    """
    pairs = re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", call("scontrol", *_on(cluster), "show", "config"), re.MULTILINE)
    return dict(pairs)


def _queue(cluster: str | None) -> list[Task]:
    words = ["--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%F|%K|%T|%r|%j"]
    tasks = []
    # One call a cluster: with several, only lines between ("CLUSTER: gpu") would say whose a job is.
    for line in call("squeue", *_on(cluster), *words).splitlines():
        parts = line.split("|", 4)
        if len(parts) == 5 and parts[1].isdecimal():
            tasks.append(Task(parts[0], int(parts[1]), parts[2], parts[3], parts[4], cluster))
    return tasks


def _on(cluster: str | None) -> list[str]:
    return [f"--clusters={cluster}"] if cluster else []


def call(*words: str) -> str:
    """Standard output of a Slurm command."""
    try:
        done = subprocess.run(  # noqa: S603 - Slurm's own commands, no shell
            words, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False, env=environment()
        )
    except FileNotFoundError:
        raise LaunchError(f"{words[0]} is not on this machine: launch from a login node of the cluster") from None
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{words[0]} did not answer within {_TIMEOUT_S} s; try again later") from None
    if done.returncode != 0:
        told = done.stderr.replace(f"{words[0]}: error: ", "").strip().splitlines()
        raise LaunchError(f"{words[0]}: {'; '.join(told)[:600] or f'exit status {done.returncode}'}")
    return done.stdout


def environment() -> dict[str, str]:
    """The environment without what a surrounding job or the user's habits would add to ours."""
    keep = ("SLURM_CONF", "SLURM_JWT")
    names = ("SLURM_", "SBATCH_", "SQUEUE_", "SCANCEL_", "SRUN_")
    return {key: value for key, value in os.environ.items() if key in keep or not key.startswith(names)}
