"""`python -m tksbench.doctor`: the command line of the doctor."""

from __future__ import annotations

import json
import platform
import sys
from collections import Counter
from typing import TYPE_CHECKING

from tksbench.cli import CommandParser
from tksbench.doctor.findings import Check, Finding, run_checks
from tksbench.exits import DONE, FAILED
from tksbench.progress import working

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console

_STYLES = {"ok": "green", "warning": "yellow", "FAILED": "bold red"}
_NAME_WIDTH = 11

_ABOUT = """\
Look whether this machine, or with --slurm a compute node of the cluster, can
train, and say what to do where it cannot. Takes about a minute; leaves nothing
behind; no check can hang."""
_EXAMPLES = """\
examples:
  python -m tksbench.doctor
  python -m tksbench.doctor --slurm slurm/default.yaml

exit status: 0 nothing failed (there may be warnings), 1 something failed,
2 bad input"""

_SLOW = "starting Python hangs: is the file system that holds it slow or gone (df, mount)?"
_TORCH = "importing torch or starting CUDA hangs: is the file system of this Python slow, the GPU driver healthy?"
_DISK = "the file system hangs: see `df`, `mount` and the system's log; name another folder with {}"
CHECKS = (
    Check("Python", "tksbench.doctor.machine:python", 30, _SLOW),
    Check("packages", "tksbench.doctor.machine:packages", 30, _SLOW),
    Check("variables", "tksbench.doctor.machine:variables", 30, _SLOW),
    Check("GPUs", "tksbench.doctor.machine:gpus", 120, f"{_TORCH} (nvidia-smi)"),
    Check("neuron", "tksbench.doctor.machine:compiled_neuron", 180, _TORCH),
    Check("convolution", "tksbench.doctor.convolution:convolution", 120, _TORCH),
    Check(
        "gloo", "tksbench.doctor.processes:gloo", 120, "a firewall on the loopback interface? see GLOO_SOCKET_IFNAME"
    ),
    Check("NCCL", "tksbench.doctor.processes:nccl", 120, "NCCL_DEBUG=INFO prints more; try NCCL_P2P_DISABLE=1"),
    Check("data", "tksbench.doctor.storage:data_sets", 60, _DISK.format("TKSBENCH_DATA")),
    Check("results", "tksbench.doctor.storage:results", 120, _DISK.format("TKSBENCH_RESULTS")),
    Check("Slurm", "tksbench.doctor.slurm:slurm", 150, "the controller does not answer: scontrol ping"),
    Check("training", "tksbench.doctor.golden:training", 300, "one step should take a tenth of a second: is it busy?"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments after the command's name; None reads those of the process.

    Returns:
        0 if nothing failed, else 1.

    Raises:
        TksbenchError: For a profile that cannot be read.
    """
    from rich.console import Console

    parser = CommandParser("python -m tksbench.doctor", _ABOUT, _EXAMPLES)
    parser.add_argument(
        "--slurm",
        nargs="?",
        const="slurm/default.yaml",
        metavar="PROFILE",
        help="look at a compute node through srun, with a profile's options (default slurm/default.yaml)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(argv)
    host = platform.node()
    if options.slurm is None:
        findings: Iterable[Finding] = run_checks(CHECKS)
    else:
        from tksbench.doctor.slurm import on_node
        from tksbench.launch.profile import load_profile

        profile = load_profile(options.slurm)
        with working("asking a compute node"):
            report = on_node(profile)
        host, findings = report["host"], [Finding(**found) for found in report["checks"]]
    if options.json:
        seen = list(findings)
        report = {"host": host, "failed": _failed(seen), "checks": [finding.to_json() for finding in seen]}
        sys.stdout.write(json.dumps(report, indent=1) + "\n")
    else:
        seen = _print(Console(highlight=False), host, findings)
    return FAILED if _failed(seen) else DONE


def _awaited(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The same, with a word on the screen while one is waited for."""
    iterator = iter(findings)
    while True:
        with working("checking"):
            finding = next(iterator, None)
        if finding is None:
            return
        yield finding


def _failed(findings: Iterable[Finding]) -> int:
    return sum(finding.state == "FAILED" for finding in findings)


def _print(console: Console, host: str, findings: Iterable[Finding]) -> list[Finding]:
    """Print each finding as soon as it is there, then how many there were."""
    from rich.table import Table
    from rich.text import Text

    if host:
        console.print(Text(f"{host}, {platform.system()}" if host == platform.node() else host, style="bold"))
    seen = []
    for finding in _awaited(findings):
        line = Table.grid(padding=(0, 1, 0, 0))
        line.add_column(width=7, no_wrap=True)
        line.add_column(width=_NAME_WIDTH, no_wrap=True)
        line.add_column(overflow="fold")
        line.add_row(Text(finding.state, style=_STYLES[finding.state]), Text(finding.check), Text(finding.detail))
        if finding.advice:
            line.add_row("", "", Text(f"-> {finding.advice}"))
        console.print(line)
        seen.append(finding)
    states = Counter[str](finding.state for finding in seen)
    console.print(", ".join(f"{states[state]} {state}" for state in _STYLES if states[state]))
    return seen


if __name__ == "__main__":
    from tksbench.cli import run_script

    run_script(main)
