from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tksbench.launch.slots import Slot, cores_of, lock_slot
from tksbench.recipe import Execution

if TYPE_CHECKING:
    from pathlib import Path


def test_a_run_takes_its_threads_and_the_processes_that_load_its_data() -> None:
    assert cores_of(Execution(threads=1, workers=2), 8) == 3
    assert cores_of(Execution(threads=4, workers=8), 8) == 8
    assert cores_of(Execution(workers=2), 8) == 8


def test_a_gpu_is_locked_once(tmp_path: Path) -> None:
    first = lock_slot(Slot("0"), tmp_path)
    assert first is not None
    assert first >= 0
    assert lock_slot(Slot("0"), tmp_path) is None
    other = lock_slot(Slot("1"), tmp_path)
    assert other is not None
    os.close(first)
    os.close(other)


def test_a_lock_passed_to_a_job_ends_with_the_job(tmp_path: Path) -> None:
    lock = lock_slot(Slot("0"), tmp_path)
    assert lock is not None
    job = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=(lock,))
    os.close(lock)
    assert lock_slot(Slot("0"), tmp_path) is None
    job.kill()
    job.wait()
    again = lock_slot(Slot("0"), tmp_path)
    assert again is not None
    os.close(again)


def test_the_cpu_needs_no_lock(tmp_path: Path) -> None:
    assert lock_slot(Slot(), tmp_path) == -1
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_no_taken_slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    assert lock_slot(Slot("0"), tmp_path) == -1
