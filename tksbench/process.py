"""Who a process is: told apart from any other by machine, process id and time of start."""

from __future__ import annotations

import platform
from pathlib import Path


def process_start(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty if it is gone (a zombie is gone too)."""
    try:  # the kernel cuts a process's name at 15 bytes, which may be inside a letter
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # man 5 proc: state is field 3, starttime field 22


def this_machine() -> str:
    """This machine, boot and process namespace: where a process id has one meaning. Empty if it is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()[:128]} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
