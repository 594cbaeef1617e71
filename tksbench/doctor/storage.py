"""Checks of the disks: data sets, and the results folder."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from tksbench.doctor.findings import Finding

_MB = 10**6
_PROBE_BYTES = 64 * _MB
_LOW_BYTES, _TOO_LOW_BYTES = 10_000 * _MB, 500 * _MB


def data_sets() -> list[Finding]:
    """Each data set by a quick look at names and sizes; `tksbench.data verify` compares checksums."""
    from tksbench.data.errors import DataError
    from tksbench.data.registry import DATASETS, data_root, look

    try:
        root = data_root()
    except DataError as error:
        return [Finding("data", "FAILED", str(error), "create the folder, or unset TKSBENCH_DATA")]
    found = []
    for name in DATASETS:
        status = look(name, root)
        if status.state == "ok":
            found.append(Finding(name, "ok", f"in {status.path} (by names and sizes)"))
        elif status.state == "missing":
            note = f" ({status.detail})" if status.detail else ""
            found.append(Finding(name, "warning", f"stand-in data only{note}; python -m tksbench.data prepare {name}"))
        elif status.state == "unsorted":
            found.append(Finding(name, "warning", status.detail, f"python -m tksbench.data prepare {name}"))
        else:
            advice = (
                f"python -m tksbench.data verify {name} lists what is wrong; remove what is broken, then prepare {name}"
            )
            found.append(Finding(name, "FAILED", f"corrupt: {status.path}: {status.detail}", advice))
    return found


def results() -> list[Finding]:
    """Whether results can be written durably and atomically, how fast, and how much room there is."""
    from tksbench.runs.files import write_bytes
    from tksbench.runs.paths import results_root

    root = results_root()
    place = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.is_dir())
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=place) as folder:
            speed = _write_speed(Path(folder) / "speed")
            target = Path(folder) / "record.json"
            for content in (b"old", b"new"):  # fsync of the file, rename over the old one, fsync of the folder
                write_bytes(target, content)
            replaced = target.read_bytes() == b"new" and len(list(Path(folder).iterdir())) == 1
            free = shutil.disk_usage(folder).free
    except Exception as error:  # LedgerError, OSError: what a disk may answer
        why = getattr(error, "strerror", None) or str(error)
        advice = "make it writable, free some space, or name another folder with TKSBENCH_RESULTS"
        return [Finding("results", "FAILED", f"{place}: {why}", advice)]
    room = f"{free / 1e9:,.0f} GB free"
    state, advice = ("ok", "") if free >= _LOW_BYTES else ("warning", "--plan prints what runs leave on the disk")
    if free < _TOO_LOW_BYTES:
        state, advice = "FAILED", "free some space, or name another folder with TKSBENCH_RESULTS"
    found = [Finding("results", state, f"{place}: {room}", advice)]  # type: ignore[arg-type]
    if not replaced:
        advice = "use a POSIX file system for results (no object store): name it with TKSBENCH_RESULTS"
        return [*found, Finding("writing", "FAILED", "a rename did not replace the old file", advice)]
    return [*found, Finding("writing", "ok", f"fsync and atomic rename work; {speed:,.0f} MB/s, fsync included")]


def _write_speed(path: Path) -> float:
    """MB a second of one large file, until the disk has it."""
    block = os.urandom(_MB)
    began = time.monotonic()
    with path.open("wb") as file:
        for _ in range(_PROBE_BYTES // _MB):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.monotonic() - began
    path.unlink()
    return _PROBE_BYTES / _MB / max(seconds, 1e-6)
