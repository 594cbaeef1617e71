"""Checks of Slurm here, and the whole report from a compute node."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tksbench.doctor.findings import Finding
from tksbench.launch import scheduler
from tksbench.launch.errors import LaunchError
from tksbench.launch.sbatch import Resources, as_flags, placement

if TYPE_CHECKING:
    from tksbench.launch.profile import SlurmProfile

_MINUTES = 15  # the job's own time limit
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
        return [Finding("Slurm", "FAILED", str(error), advice)]
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
    words = as_flags(placement(profile, Resources(1, 1, gpus, profile.cpus_per_task)))
    words += [f"--time={min(profile.minutes, _MINUTES)}", f"--immediate={_QUEUE_S}", "--job-name=tksbench-doctor"]
    python = shlex.quote(profile.python or sys.executable)
    lines = [
        f"cd -- {shlex.quote(str(Path.cwd()))} || exit 2",
        "set -e",  # as in a job: a line of the set-up that fails ends it
        *profile.setup,
        "set +e",
        f"exec {python} -m tksbench.doctor --json",
    ]
    words += [*profile.srun, "bash", "-c", "\n".join(lines)]
    try:
        out, problem = scheduler.run_on_node(words, _QUEUE_S + _MINUTES * 60)
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
