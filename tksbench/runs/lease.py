"""The lease of a run: one process trains it, and a dead one's run is taken over, without file locks.

The leases of a run are numbered files. Whoever creates number n + 1 (exclusive creation is atomic, also
on NFS) follows whoever held number n; a file that was ever held is never deleted, so a number is won exactly
once and two processes that judge the same holder dead cannot both follow it. The holder keeps changing its own
file (the heartbeat), and writes "released" into it at the end.

A holder on this machine is dead when its process is gone. Of a holder elsewhere only the heartbeat is
known: it is dead when its file has not changed while *this* process watched it for a while by its own
monotonic clock, so clocks of different machines are never compared.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tksbench.process import process_start, this_machine
from tksbench.runs.errors import LeaseHeld, LeaseLost, LedgerError
from tksbench.runs.files import remove_temporaries

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from tksbench.runs.paths import RunDir

BEAT_S = 10.0  # seconds between heartbeats
TAKEOVER_S = 180.0  # silence after which a holder on another machine counts as dead; NFS may cache for 60 s
_SIZE = 512  # bytes of a lease file: always the same, so that a heartbeat overwrites it in one write


@dataclass(frozen=True)
class Holder:
    """Who holds a lease, as its file says."""

    number: int
    raw: bytes
    host: str = "an unknown host"
    machine: str = ""
    pid: int = 0
    started: str = ""
    released: bool = False

    def __str__(self) -> str:
        return f"{self.host}, process {self.pid}" if self.pid else self.host

    @property
    def local(self) -> bool:
        """Whether the holder's process can be looked up here."""
        return self.machine != "" and self.machine == this_machine()

    @property
    def alive(self) -> bool | None:
        """True or False for a holder on this machine, None where only the heartbeat can decide."""
        if self.released:
            return False
        return process_start(self.pid) == self.started if self.local else None


def read_holder(run_dir: RunDir) -> Holder | None:
    """The newest lease of a run, held or released; None if it never had one.

    Raises:
        LedgerError: If what lies there cannot be read, as a folder cannot.
    """
    for number in sorted(_numbers(run_dir), reverse=True):
        with suppress(FileNotFoundError):  # one that could not be written, and was taken back since
            return _read(run_dir, number)
    return None


class Lease:
    """The right to train one run, kept alive by a background thread until `release`.

    Use as a context manager::

        with Lease.acquire(run_dir) as lease:
            ...
            lease.check()  # before anything that must not happen twice
    """

    def __init__(self, path: Path, descriptor: int, number: int, beat_s: float) -> None:
        self.path = path
        self.number = number
        self._descriptor = descriptor
        self._pid = os.getpid()
        self._started = process_start(self._pid)
        self._beats = 0
        self._stop = threading.Event()
        self._beat_s = beat_s
        self._write(released=False)
        os.fsync(descriptor)
        self._thread = threading.Thread(target=self._keep_alive, name="lease", daemon=True)
        try:
            self._thread.start()
        except BaseException:  # a signal's: nobody may write to the descriptor once it is closed
            self._stop.set()
            raise

    @classmethod
    def acquire(cls, run_dir: RunDir, beat_s: float = BEAT_S, takeover_s: float = TAKEOVER_S) -> Lease:
        """Take the lease of a run, from a dead holder if need be, and tidy up what that one left half-written.

        Returns at once if the run is free or its holder died on this machine; watches a holder on
        another machine until its next heartbeat, or for `takeover_s` if there is none.

        Raises:
            LeaseHeld: If somebody else holds it and lives.
            LedgerError: If the run's directory cannot be written.
        """
        try:
            run_dir.leases.mkdir(parents=True, exist_ok=True)
            while True:
                holder = read_holder(run_dir)
                if holder is not None and not _is_dead(run_dir, holder, takeover_s):
                    continue
                number = holder.number + 1 if holder else 1
                path = run_dir.leases / f"{number}.json"
                try:
                    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
                except FileExistsError:
                    continue  # another process followed first: look at it
                try:
                    lease = cls(path, descriptor, number, beat_s)
                except BaseException:  # a full disk, a signal; left empty, it would be watched like a silent holder's
                    path.unlink()
                    os.close(descriptor)
                    raise
                try:
                    remove_temporaries(run_dir.path)
                except BaseException:
                    lease.release()
                    raise
                return lease
        except OSError as error:
            raise LedgerError(f"{run_dir.leases}: cannot be used: {error.strerror}") from error

    @property
    def lost(self) -> bool:
        """Whether another process has followed, having taken this one for dead (suspended, cut off)."""
        return (self.path.parent / f"{self.number + 1}.json").exists()

    def check(self) -> None:
        """Make sure that the run is still this process's.

        Raises:
            LeaseLost: If it is not: stop at once and write nothing more.
        """
        if self.lost:
            raise LeaseLost(f"{self.path.parent.parent}: the lease was taken over while this process was suspended")

    def release(self) -> None:
        """Give the run back; harmless when repeated, and without effect in a forked child."""
        if self._stop.is_set() or os.getpid() != self._pid:
            return
        self._stop.set()
        self._thread.join()
        self._write(released=True)
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _keep_alive(self) -> None:
        while not self._stop.wait(self._beat_s):
            self._beats += 1
            try:
                self._write(released=False)
            except OSError:
                continue  # a full disk or a server that is away: training will report it, the next beat may pass

    def _write(self, *, released: bool) -> None:
        content = {
            "host": platform.node()[:128],
            "machine": this_machine(),
            "pid": self._pid,
            "started": self._started,
            "beat": self._beats,
            "released": released,
        }
        os.pwrite(self._descriptor, json.dumps(content).encode().ljust(_SIZE - 1) + b"\n", 0)


def _numbers(run_dir: RunDir) -> list[int]:
    try:
        return [int(path.stem) for path in run_dir.leases.iterdir() if path.stem.isdecimal()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LedgerError(f"{run_dir.leases}: cannot be used: {error.strerror}") from error


def _read(run_dir: RunDir, number: int) -> Holder:
    path = run_dir.leases / f"{number}.json"
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise
    except IsADirectoryError:
        raise LedgerError(f"{path}: expected a lease, a small file, and is a folder; remove it") from None
    except OSError as error:
        raise LedgerError(f"{path}: the lease cannot be read: {error.strerror}") from error
    try:
        content = json.loads(raw)
        return Holder(
            number,
            raw,
            host=str(content["host"]),
            machine=str(content["machine"]),
            pid=int(content["pid"]),
            started=str(content["started"]),
            released=content["released"] is True,
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return Holder(number, raw)  # just being created, or cut by a crash: its heartbeat will decide


def _is_dead(run_dir: RunDir, holder: Holder, takeover_s: float) -> bool:
    """Wait until `holder` is known to be dead; False if it was never one, LeaseHeld is raised if it lives."""
    deadline = time.monotonic() + takeover_s
    while holder.alive is not False:
        try:
            beats = _read(run_dir, holder.number).raw != holder.raw
        except FileNotFoundError:
            return False  # it could not write its lease, and has taken it back
        if holder.alive or beats:
            raise LeaseHeld(f"{run_dir.path}: held by {holder}")
        if time.monotonic() >= deadline:
            return True
        time.sleep(min(0.5, takeover_s / 10))
    return True
