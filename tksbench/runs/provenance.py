"""Where a result comes from: commit and uncommitted changes, versions, machine. Informs, never decides."""

from __future__ import annotations

import hashlib
import platform
import shlex
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tksbench

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tksbench.recipe import Run
    from tksbench.runs.record import Record

PACKAGES = (
    "accelerate",
    "deepspeed",
    "numpy",
    "pandas",
    "pillow",
    "pydantic",
    "safetensors",
    "scikit-learn",
    "scipy",
    "timm",
    "torch",
    "torchvision",
)
MAX_DIFF = 20_000  # bytes of uncommitted changes kept
_WATCHED = ("tksbench", "recipes", "constraints.txt", "pyproject.toml")  # results and prose change no number
_GIT_S = 20  # seconds a git command may take


def collect_provenance(
    *,
    command: str,
    started: str,
    finished: str,
    devices: Sequence[str],
    data: Mapping[str, str],
    threads: int | None = None,
    processes: int = 1,
    nodes: int = 1,
    code: Mapping[str, Any] | None = None,
    trained_by: Sequence[str] = (),
) -> dict[str, Any]:
    """The `provenance` part of a record.

    Args:
        command: The command that makes the run again, see `rerun_command`.
        started: Time of the first attempt, ISO 8601.
        finished: Time of the end, ISO 8601.
        devices: Names of the devices that trained, for example `torch.cuda.get_device_name(0)`;
            empty for a CPU, whose own name is then taken.
        data: Checksum by data file.
        threads: Threads that torch computed with, in each process.
        processes: Number of processes that trained the run together, in the attempt that finished it.
        nodes: Number of machines that they were on.
        code: What `code_state` said when the training code was imported; None for now.
        trained_by: Commits of the run's attempts: several are told as changes.
    """
    code = dict(code or code_state())
    if len(trained_by) > 1:
        code |= {"dirty": True, "diff": f"attempts of commits {', '.join(trained_by)}\n{code['diff']}"}
    return {
        **code,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "devices": list(devices) or [cpu_name()],
        "threads": threads,
        "processes": processes,
        "nodes": nodes,
        "data": dict(data),
        "command": command,
        "started": started,
        "finished": finished,
    }


def code_state() -> dict[str, Any]:
    """What would train now: `git_state`, and `versions` under that name."""
    return {**git_state(), "versions": versions()}


def rerun_command(run: Run, threads: int | None = None) -> str:
    """The shell command that trains (or shows) this run, among its other seeds.

    Args:
        run: The run.
        threads: Threads that a CPU computed with, which its last bits depend on; of use where the run names none.
    """
    words = ["python", "-m", "tksbench.launch", run.recipe, *run.overrides, "--scale", run.scale, "--only", run.name]
    if run.seed > run.first_seed:  # seeds are run in order, so reaching this one takes those before it
        words += ["--seeds", str(run.seed - run.first_seed + 1)]
    chosen = f"OMP_NUM_THREADS={threads} " if threads and run.execution.threads is None else ""
    return chosen + shlex.join(words)


def versions() -> dict[str, str]:
    """Installed versions of what can change a number; what is not installed is left out."""
    found = {"tksbench": tksbench.__version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def state_name() -> str | None:
    """A name of folders for this commit with these packages; None if the code has changes or no commit."""
    here = git_state()
    if here["commit"] is None or here["dirty"]:
        return None
    packages = hashlib.sha256(repr(sorted(versions().items())).encode()).hexdigest()
    return f"{here['commit'][:12]}-{packages[:6]}"


def told_apart(record: Record) -> list[str]:
    """What is known to change the last bits of a record's run if it is trained here, a line each."""
    proof, here, packages = record.provenance, git_state(), versions()
    found = []
    if proof.processes > 1:
        found.append(f"the record was trained by {proof.processes} processes, this will be by one")
    if record.cost.gpu_hours == 0 and record.cost.device != cpu_name():
        found.append(f"the record is of {record.cost.device}, this is {cpu_name()}")
    if proof.commit != here["commit"] or here["dirty"]:
        found.append(f"the record is of commit {(proof.commit or 'unknown')[:12]}, this is another state of the code")
    others = [
        name for name in sorted(packages.keys() & proof.versions.keys()) if packages[name] != proof.versions[name]
    ]
    if others:
        told = ", ".join(f"{name} {proof.versions[name]} (here {packages[name]})" for name in others)
        found.append(f"the record is of {told}")
    return found


def git_state(package: Path | None = None) -> dict[str, Any]:
    """Commit, whether code or recipes were changed since, and how.

    Args:
        package: Folder of the package; only a checkout that tracks it counts, so that a copy
            installed inside some other repository does not borrow that one's commit.

    Returns:
        `commit` (None outside a checkout), `dirty` and `diff` (cut at `MAX_DIFF` bytes, untracked files by name).
    """
    package = package or Path(__file__).resolve().parents[1]
    top = package.parent
    if _git(top, "ls-files", "--error-unmatch", f"{package.name}/__init__.py") is None:
        return {"commit": None, "dirty": None, "diff": ""}
    commit = _git(top, "rev-parse", "--verify", "HEAD")
    watched = [name for name in _WATCHED if (top / name).exists()]
    changed = _git(top, "diff", "HEAD", "--", *watched) or ""
    untracked = _git(top, "ls-files", "--others", "--exclude-standard", "--", *watched) or ""
    diff = changed + "".join(f"untracked: {name}\n" for name in untracked.splitlines())
    kept = diff.encode()[:MAX_DIFF].decode(errors="ignore")
    note = "" if kept == diff else f"\n[cut: {len(diff.encode()):,} bytes in all]\n"
    return {"commit": commit.strip() if commit else None, "dirty": bool(diff), "diff": kept + note}


def cpu_name() -> str:
    """The processor's name as Linux tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _git(folder: Path, *words: str) -> str | None:
    """Output of a git command, or None if git is absent, slow, or says no."""
    command = ["git", "-C", str(folder), *words]
    try:
        done = subprocess.run(  # noqa: S603 - fixed words and file names, no shell
            command, capture_output=True, text=True, errors="replace", timeout=_GIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
