"""Checks, each in a process of its own with a time limit, and what they find. Imports nothing heavy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from tksbench.exits import explain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

State = Literal["ok", "warning", "FAILED"]
_AT_ONCE = 2  # checks; more would disturb each other's time on a small machine
_GRACE_S = 10  # a child whose parent was killed ends by itself this long after its limit
_REAP_S = 5.0  # patience with a killed child: one in a dead file system cannot be killed


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        check: What was looked at.
        state: "warning" is what narrows what can be trained here, "FAILED" what must be put right.
        detail: What was found, in one line.
        advice: What to do; empty if nothing.
    """

    check: str
    state: State
    detail: str
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Check:
    """Something to look at.

    Attributes:
        name: What it is called if it comes to no finding of its own.
        target: "module:function" without arguments that returns findings.
        limit_s: Seconds after which it counts as hanging.
        hangs: What to do then.
    """

    name: str
    target: str
    limit_s: float
    hangs: str


def run_checks(checks: Sequence[Check]) -> Iterator[Finding]:
    """Make all checks, some at a time; yields their findings in the order of the checks."""
    children: list[subprocess.Popen[str]] = []
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        for findings in pool.map(lambda check: _run_check(check, children), checks):
            yield from findings
    finally:  # after Ctrl-C as well
        pool.shutdown(wait=False, cancel_futures=True)
        for child in children:
            _kill(child)


def _run_check(check: Check, children: list[subprocess.Popen[str]]) -> list[Finding]:
    """Make one check in a child process; whatever happens there becomes a finding."""
    command = [sys.executable, "-m", "tksbench.doctor.child", check.target, str(round(check.limit_s) + _GRACE_S)]
    child = subprocess.Popen(  # noqa: S603 - our own interpreter
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # so that its children can be ended with it
    )
    children.append(child)
    try:
        out, err = child.communicate(timeout=check.limit_s)
    except subprocess.TimeoutExpired:
        _kill(child)
        return [Finding(check.name, "FAILED", f"no answer within {check.limit_s:g} s", check.hangs)]
    try:
        return [Finding(**found) for found in json.loads(out.splitlines()[-1])]
    except (IndexError, ValueError, TypeError):
        return [Finding(check.name, "FAILED", explain(child.returncode, _last_line(err)), _BROKEN)]


_BROKEN = "the check itself broke off: see whether `import tksbench, torch` works in this Python; report it otherwise"


def _kill(child: subprocess.Popen[str]) -> None:
    if child.poll() is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    deadline = time.monotonic() + _REAP_S
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")
