"""The batch script of a job array: a pure function of the profile and of what it is to train.

Values of a profile stand in #SBATCH lines only if they are plain words; all paths stand in the shell part,
quoted. So no name can become an option or a command.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tksbench.launch.slots import cores_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tksbench.launch.profile import SlurmProfile
    from tksbench.recipe import Run

_LEAVE_S = 300  # after the first of a run's processes has left, srun gives the others so long
NOTHING_TO_DO = 10  # exit status of the job's first step: the run is done, cancelled, or another job's


@dataclass(frozen=True, order=True)
class Resources:
    """What one run gets; runs with the same resources share an array."""

    nodes: int
    tasks_per_node: int
    gpus_per_node: int
    cpus_per_task: int

    @property
    def gpus(self) -> int:
        """GPUs in all."""
        return self.nodes * self.gpus_per_node

    def __str__(self) -> str:
        device = f"{self.gpus_per_node} GPU{'s' * (self.gpus_per_node != 1)}" if self.gpus_per_node else "CPUs"
        ranks = self.nodes * self.tasks_per_node
        return f"{self.nodes} node{'s' * (self.nodes != 1)} x {device}, {ranks} process{'es' * (ranks != 1)}"


def resources_for(run: Run, profile: SlurmProfile) -> Resources:
    """Resources of a run under a profile; a run that asks for a CPU gets no GPU."""
    gpus = 0 if run.execution.device == "cpu" else profile.gpus_per_node
    cpus = profile.cpus_per_task if gpus else cores_of(run.execution, profile.cpus_per_task)
    return Resources(profile.nodes, profile.tasks(gpus), gpus, cpus)


def make_script(profile: SlurmProfile, resources: Resources, name: str, count: int, folder: Path) -> str:
    """The text for sbatch.

    Args:
        profile: The cluster.
        resources: Of each run.
        name: The job's name, by which the launcher finds it again.
        count: Runs in the array.
        folder: The submission's folder, absolute.
    """
    options = _options(profile, resources, name, count)
    flags = [f"#SBATCH {flag}" for flag in as_flags(options)]
    flags.append("#SBATCH --requeue" if profile.requeue else "#SBATCH --no-requeue")
    node = f"{shlex.quote(sys.executable)} -m tksbench.launch.node"
    inside = f"{shlex.quote(profile.python or sys.executable)} -u -m tksbench.launch.node"
    quoted = shlex.quote(str(folder))
    srun = shlex.join(["srun", "--unbuffered", "--kill-on-bad-exit=1", f"--wait={_LEAVE_S}", *profile.srun])
    log = f'{quoted}/log/"${{SLURM_ARRAY_TASK_ID}}".txt'
    return "\n".join(
        [
            "#!/bin/bash",
            *flags,
            "",
            f"exec >>{log} 2>&1",
            f"cd -- {shlex.quote(str(Path.cwd()))} || exit 1",
            # Slurm 22.05 to 23.02: srun forgets --cpus-per-task
            'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK" OMP_NUM_THREADS="$SLURM_CPUS_PER_TASK"',
            *_setup(profile, f"{node} unready {quoted}"),
            f"{node} begin {quoted} || exit $(( $? == {NOTHING_TO_DO} ? 0 : 1 ))",
            f"{srun} {inside} task {quoted}",
            f"{node} end {quoted} $?",
            "",
        ]
    )


def _setup(profile: SlurmProfile, report: str) -> list[str]:
    """The lines of the profile's set-up; the first command of them that fails ends the job, once it is reported.

    A shell would go on behind a module that does not exist, and the run train with whatever is there instead.
    """
    if not profile.setup:
        return []
    return [
        f'unready() {{ local code=$?; {report} $code "$BASH_COMMAND" || true; exit $code; }}',
        "trap unready EXIT",
        "set -e",
        *profile.setup,
        "set +e",
        "trap - EXIT",
    ]


def _options(profile: SlurmProfile, resources: Resources, name: str, count: int) -> dict[str, str]:
    """The #SBATCH options, in the order in which they are written."""
    quoted = {"constraint", *profile.options}
    return {
        "job-name": name,
        "array": f"0-{count - 1}%{min(count, profile.parallel)}",
        # sbatch reads quotes as a shell does, and a constraint may hold what a shell would read
        **{
            key: f"'{value}'" if key in quoted and value else value
            for key, value in placement(profile, resources).items()
        },
        "time": str(profile.minutes),
        # to the processes of the steps, not to this script: it has to live on and requeue the job
        "signal": f"USR2@{profile.signal_seconds}",
        "output": "/dev/null",  # the script writes its own log: sbatch would read % and \\ in the path
        "open-mode": "append",
    }


def placement(profile: SlurmProfile, resources: Resources) -> dict[str, str]:
    """The options that say where a job runs and what it gets, as sbatch and srun know them; empty: without a value."""
    kind = [profile.gpu_type] if profile.gpu_type else []
    options = {
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
        "nodes": str(resources.nodes),
        "ntasks-per-node": str(resources.tasks_per_node),
        # not --gpus-per-task: each task would see one GPU, called 0, while its local rank says otherwise
        "gpus-per-node": ":".join([*kind, str(resources.gpus_per_node)]) if resources.gpus_per_node else None,
        "cpus-per-task": str(resources.cpus_per_task),
        "mem": f"{round(profile.mem_gb * 1024)}M" if profile.mem_gb else None,
        **profile.options,
    }
    return {key: value for key, value in options.items() if value is not None}


def as_flags(options: Mapping[str, str]) -> list[str]:
    """Options as words of a command line."""
    return [f"--{key}={value}" if value else f"--{key}" for key, value in options.items()]
