"""Ends whatever the tests have started once their process is gone, however it went: also by SIGKILL or a broken heap.

A process of its own, in a session of its own, waits for that of the tests to end. All that these started, and what that
started in turn, has a mark in its environment; after a moment in which it may end by itself, it is killed.

The Slurm test cluster is another matter, since test processes and other checkouts share it: `slurm/devcluster` ends it
with the last process that it was started for.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

MARK = "TESTS_OF_TKSBENCH"
_POLL_S, _GRACE_S, _ROUNDS = 0.3, 2.0, 5


def start() -> None:
    """Watch this process, unless it was itself started by tests that are being watched."""
    if MARK in os.environ or not Path("/proc/self/environ").exists():
        return
    mark = f"{os.getpid()}-{time.time_ns()}"
    os.environ[MARK] = mark
    subprocess.Popen(
        [sys.executable, "-I", __file__, str(os.getpid()), mark],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={},
    )


def unmarked() -> dict[str, str]:
    """This process's environment without the mark, for what shall outlive the tests."""
    return {name: value for name, value in os.environ.items() if name != MARK}


def watch(parent: int, mark: str) -> None:
    """Wait until `parent`, which started this process, has ended; then end what has the mark."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    deadline = time.monotonic() + _GRACE_S
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    for _ in range(_ROUNDS):  # one may start another just before it goes
        for pid in marked(mark):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)


def marked(mark: str) -> list[int]:
    """Processes that were started with the mark in their environment and run still."""
    words = f"{MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdigit() and words in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2])
