"""Where a result comes from: code, packages, environment, machine, data. Informs, never decides."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
from importlib import metadata
from typing import TYPE_CHECKING, Any

from tksbench.runs import environment
from tksbench.runs.attempts import lasting
from tksbench.runs.code import read_code
from tksbench.runs.processor import describe_cpu
from tksbench.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tksbench.recipe import Run
    from tksbench.runs.attempts import Attempted

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
    "triton",
)
MAX_DIFF = 20_000  # bytes of uncommitted changes kept in a record; the run's directory has all of them
CUT = "\n[cut: "
"""Stands where a record's changes are not all of them."""


def software() -> dict[str, Any]:
    """The part of a setup that is known without torch: packages, Python, and what it runs on."""
    return {
        "versions": versions(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def collect_provenance(
    *,
    command: str,
    started: str,
    finished: str,
    data: Mapping[str, str],
    origin: Mapping[str, Any],
    log: Iterable[dict[str, Any]] = (),
    patch_of: Callable[[str], str] = lambda name: "",
    start: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The `provenance` part of a record.

    Args:
        command: The command that makes the run again, see `rerun_command`.
        started: Time of the first attempt, ISO 8601.
        finished: Time of the end, ISO 8601.
        data: Checksum by data file.
        origin: What the attempt's row says of code and setup that finished the run, see `attempts.attempt_started`.
        log: All rows of the attempts.
        patch_of: Gives the uncommitted changes that a row names.
        start: The run that this one started from, if any.
    """
    history = lasting(log)
    apart = _apart(history, origin)
    changes = _changes(history, origin, patch_of)
    commit = origin.get("commit")
    return {
        "commit": commit,
        "dirty": None if commit is None else bool(apart or changes),
        "code": origin.get("code"),
        "diff": _cut("\n".join(filter(None, ("\n".join(f"# {line}" for line in apart), changes)))),
        **origin["setup"],
        "data": dict(data),
        **({"start": dict(start)} if start else {}),
        "command": command,
        "started": started,
        "finished": finished,
    }


def _apart(history: list[Attempted], origin: Mapping[str, Any]) -> list[str]:
    """Why the commit, and the setup of the last attempt, do not say all, a line each."""
    lines = []
    for attempt in history:
        row, where = attempt.row, f"from epoch {attempt.place[0]}, step {attempt.place[1]}"
        if not same_code(row, origin):
            lines.append(f"{where}: commit {row.get('commit') or 'none'}, code {row.get('code') or 'unknown'}")
        elif row.get("dirty") and not origin.get("dirty"):
            lines.append(f"{where}: uncommitted changes")
        for key, value in flat(setup_apart(row.get("setup") or {}, origin["setup"])).items():
            lines.append(f"{where}: {key} {value}")
        if attempt.late:
            lines.append(f"{where}: written while it was being loaded, or loaded late: {', '.join(attempt.late)}")
    outside = origin["setup"].get("outside") or {}
    lines += [f"from outside the checkout: {name} (sha256 {digest})" for name, digest in sorted(outside.items())]
    return lines


def _changes(history: list[Attempted], origin: Mapping[str, Any], patch_of: Callable[[str], str]) -> str:
    """The uncommitted changes of all attempts that last, each once; the last attempt's are the last."""
    names = [*(attempt.row.get("patch") for attempt in history), origin.get("patch")]
    return "".join(patch_of(name) for name in dict.fromkeys(reversed(names)) if name)


def same_code(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two rows of attempts, or records' provenances, are of the same code, as far as they say it."""
    if first.get("code") and second.get("code"):
        return bool(first["code"] == second["code"])
    return not first.get("commit") or not second.get("commit") or first["commit"] == second["commit"]


def setup_apart(setup: Mapping[str, Any], final: Mapping[str, Any]) -> dict[str, Any]:
    """What is otherwise in the setup of an attempt than in the last one's; what either does not say is left out."""
    found: dict[str, Any] = {}
    for key in setup.keys() & final.keys():
        one, other = setup[key], final[key]
        if isinstance(one, dict) and isinstance(other, dict):
            inner = {name: one.get(name, "") for name in sorted({*one, *other}) if one.get(name) != other.get(name)}
            found |= {key: inner} if inner else {}
        elif one != other:
            found[key] = one
    return dict(sorted(found.items()))


def flat(setup: Mapping[str, Any]) -> dict[str, str]:
    """A setup as one value a line; what is not there is "none".

    >>> flat({"versions": {"torch": "2.14.0"}, "threads": 2})
    {'torch': '2.14.0', 'threads': '2'}
    """
    lines: dict[str, str] = {}
    for key, value in setup.items():
        if isinstance(value, dict):
            lines |= {name: str(inner) or "none" for name, inner in value.items()}
        else:
            lines[key] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return lines


def _cut(diff: str) -> str:
    kept = diff.encode()[:MAX_DIFF].decode(errors="ignore")
    return kept if kept == diff else f"{kept}{CUT}{len(diff.encode()):,} bytes in all]\n"


def rerun_command(run: Run, threads: int | None = None, variables: Mapping[str, str] | None = None) -> str:
    """The shell command that trains (or shows) this run, among its other seeds.

    Args:
        run: The run.
        threads: Threads that a CPU computed with, which its last bits depend on; of use where the run names none.
        variables: Of the environment that it was trained in; those that choose an instruction set are taken over.
    """
    words = ["python", "-m", "tksbench.launch", run.recipe, *run.overrides, "--scale", run.scale, "--only", run.name]
    if run.seed > run.first_seed:  # seeds are run in order, so reaching this one takes those before it
        words += ["--seeds", str(run.seed - run.first_seed + 1)]
    chosen = {name: value for name, value in (variables or {}).items() if name in environment.LIMITS}
    if threads and run.execution.threads is None:
        chosen["OMP_NUM_THREADS"] = str(threads)
    return "".join(f"{name}={shlex.quote(value)} " for name, value in chosen.items()) + shlex.join(words)


def versions() -> dict[str, str]:
    """Installed versions of what can change a number; what is not installed is left out."""
    found = {"tksbench": __version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def state_name() -> str | None:
    """A name of folders for this commit with these packages, this environment and this processor.

    None if the code has changes or no commit.
    """
    code = read_code()
    if code.commit is None or code.dirty:
        return None
    variables = {name: value for name, value in environment.changing(os.environ).items()}
    conditions = [sorted(part.items()) for part in (versions(), variables, describe_cpu())]
    return f"{code.commit[:12]}-{hashlib.sha256(repr(conditions).encode()).hexdigest()[:6]}"
