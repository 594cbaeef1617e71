"""Trainers on the CPU, forked from one process that has imported torch already.

Importing torch, timm and torchvision takes as long as a whole smoke run, so each launcher does it once, in the
server process of multiprocessing's forkserver method. A trainer is then a process of its own as any other: own
session, own log, killed or finished without touching the next. GPU runs are long, and CUDA is best begun in a
fresh process: they do not come here.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing import forkserver
from typing import TYPE_CHECKING

from tksbench.train.errors import TrainError

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PRELOADED = (
    *("tksbench.train.job", "tksbench.train.loop", "tksbench.train.summary", "tksbench.train.probe"),
    "tksbench.train.preloaded",
)


class ForkedTrainer:
    """A trainer process with the part of `subprocess.Popen`'s interface that the executor uses.

    Args:
        run_dir: The run's directory.
        log: File that standard output and error are appended to.
        environment: The trainer's whole environment.
    """

    def __init__(self, run_dir: Path, log: Path, environment: dict[str, str]) -> None:
        try:
            self._process = forked(_train, run_dir, log, environment)
        except (EOFError, OSError) as error:
            raise TrainError(f"the process that trainers are forked from cannot be had ({error}); try again") from None
        assert self._process.pid is not None  # noqa: S101 - it has been started
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self) -> int:
        """Wait for its end; returns the exit status."""
        self._process.join()
        code = self._process.exitcode
        return 0 if code is None else code

    def send_signal(self, number: int) -> None:
        """Send a signal unless it is gone."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Preload:
    """Starts the process that trainers are forked from, which imports torch, while the launcher goes on."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def done(self) -> bool:
        """Whether a trainer can be forked without waiting; the first call begins."""
        if self._thread is None:
            self._thread = threading.Thread(target=_fork_once, name="preload", daemon=True)
            self._thread.start()
        return not self._thread.is_alive()


def _fork_once() -> None:
    """Return when the server has imported everything: it forks nothing before."""
    with suppress(EOFError, OSError):  # the first trainer will say what is wrong
        forked(int).join()


def forked(target: Callable[..., object], *arguments: object) -> ForkServerProcess:
    """A process forked from the server, started, whose target calls `begin` first."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    process = context.Process(target=target, args=arguments)
    # The server shares the launcher's process group, so Ctrl-C reaches it too: it starts with signals blocked.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    process.start()
    return process


def begin() -> None:
    """What each of these processes does first: a session of its own, and the end when its launcher ends."""
    os.setsid()  # Ctrl-C reaches the launcher alone, which passes it on once
    threading.Thread(target=_follow_the_launcher, name="launcher", daemon=True).start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _follow_the_launcher() -> None:
    """Ask this process to save and leave when the launcher dies (the server that forked us outlives it)."""
    launcher = multiprocessing.parent_process()
    if launcher is not None:
        multiprocessing.connection.wait([launcher.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _train(run_dir: Path, log: Path, environment: dict[str, str]) -> None:
    """What a trainer's process does."""
    from tksbench.train.job import configure_logging, run_job

    begin()
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for number in (1, 2):
        os.dup2(descriptor, number)
    os.close(descriptor)
    sys.stdout = os.fdopen(1, "w", buffering=1, errors="backslashreplace", closefd=False)  # paths may be no text
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    configure_logging()
    sys.exit(run_job(run_dir))
