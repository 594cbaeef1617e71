"""Another machine, as a process sees it: FAKE_HOST is its name, its clock is hours off; FAKE_NO_LOCKS: no locks."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import time
import zlib

from tksbench.runs import lease


def pretend() -> None:
    """Become the machine that the environment asks for."""
    host = os.environ.get("FAKE_HOST", "")
    if host:
        real, hours = time.time, zlib.crc32(host.encode()) % 48 - 24
        lease.this_machine = lambda: f"{host} another boot"
        platform.node = lambda: host
        time.time = lambda: real() + 3600.0 * hours
    if os.environ.get("FAKE_NO_LOCKS"):

        def no_locks(*_: object) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        fcntl.flock = fcntl.lockf = no_locks
