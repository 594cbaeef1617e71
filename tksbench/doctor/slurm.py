"""Checks of Slurm here, and the whole report from a compute node."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tksbench.doctor.findings import Finding
from tksbench.launch import scheduler
from tksbench.launch.errors import LaunchError
from tksbench.launch.executor import ArrayExecutor, checked
from tksbench.launch.profile import Resources
from tksbench.launch.submissions import Submission

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tksbench.launch.profile import SlurmProfile

_MINUTES = 15  # the job's own time limit
# Options of a batch job that srun does not know, or that are other here.
_OF_BATCH = ("--array", "--job-name", "--no-requeue", "--open-mode", "--output", "--requeue", "--signal", "--time=")
_QUEUE_S = 300  # patience with the queue
_NO_REQUEUE = "set requeue: false and chain: 3 (or so) in the profile, see slurm/README.md"


def slurm() -> list[Finding]:
    """Slurm's commands, whether its controller answers, and whether jobs may be requeued."""
    missing = scheduler.missing_commands()
    if len(missing) == len(scheduler.COMMANDS):
        return [Finding("Slurm", "ok", "not on this machine: --slurm works on a cluster's login node")]
    if missing:
        advice = f"on compute nodes without scontrol: {_NO_REQUEUE}; on a login node: fix PATH"
        return [Finding("Slurm", "warning", f"not found: {', '.join(missing)}", advice)]
    try:
        config = scheduler.show_config()
    except LaunchError as error:
        advice = "is SLURM_CONF right and the controller up (scontrol ping)? runs without --slurm do not need it"
        return [Finding("Slurm", "warning", str(error), advice)]
    cluster = f"{', '.join(scheduler.COMMANDS)}; cluster {config.get('ClusterName', '?')}"
    found = [Finding("Slurm", "ok", f"{cluster}, {config.get('SLURM_VERSION', 'version unknown')}")]
    if config.get("JobRequeue") == "1":
        return [*found, Finding("requeue", "ok", "allowed (JobRequeue = 1)")]
    detail = f"jobs are not requeued unless they ask for it (JobRequeue = {config.get('JobRequeue', '?')})"
    return [*found, Finding("requeue", "warning", detail, f"if the cluster refuses `scontrol requeue`: {_NO_REQUEUE}")]


def on_node(profile: SlurmProfile) -> dict[str, Any]:
    """The report of one compute node, as `--json` prints it.

    Args:
        profile: Where and with which resources; one node and one process of it.
    """
    gpus = profile.gpus_per_node
    executor = ArrayExecutor(Submission(Path.cwd()), profile, Resources(1, 1, gpus, profile.cpus_per_task))
    header = [line for line in executor.script(1).splitlines() if line.startswith("#SBATCH ")]
    words = [word for line in header for word in shlex.split(line)[1:] if not word.startswith(_OF_BATCH)]
    words += [f"--time={min(profile.minutes, _MINUTES)}", f"--immediate={_QUEUE_S}", "--job-name=tksbench-doctor"]
    python = shlex.quote(profile.python or sys.executable)
    lines = [
        f"cd -- {shlex.quote(str(Path.cwd()))} || exit 2",
        "set -e",  # as in a job: a line of the set-up that fails ends it
        *(part for line in profile.setup for part in checked(line)),
        "set +e",
        f"exec {python} -m tksbench.doctor --json",
    ]
    words += [*profile.srun, "bash", "-c", "\n".join(lines)]
    try:
        out, problem = run_on_node(words, _QUEUE_S + _MINUTES * 60)
    except LaunchError as error:
        out, problem = "", str(error)
    report = _report_in(out)
    if report is None:
        advice = (
            "try it by hand: srun with the profile's partition, account and resources; Python, repository and results "
            "must be under the same path there"
        )
        finding = Finding("srun", "FAILED", problem or "the node printed no report", advice)
        report = {"host": "", "checks": [finding.to_json()]}
    return report


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
            env=scheduler.environment(),
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
            raise LaunchError(f"srun did not come back within {limit_s:.0f} s") from None
        raise
    return out, "" if child.returncode == 0 else " ".join(err.split())[-600:] or f"exit status {child.returncode}"


def _report_in(out: str) -> dict[str, Any] | None:
    """The report among what set-up lines may have printed before it."""
    start = f"\n{out}".find('\n{\n "host"')
    if start < 0:
        return None
    try:
        report, _ = json.JSONDecoder().raw_decode(out[start:])
    except ValueError:
        return None
    return report if isinstance(report, dict) else None
