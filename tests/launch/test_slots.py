from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tksbench.launch import slots
from tksbench.launch.slots import Slot, cores_of, count_cores, find_gpus, lock_slot
from tksbench.recipe import Execution

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("allowed", "gpus"),
    [("0,1", ["0", "1"]), ("3", ["3"]), ("GPU-8f2a, GPU-77", ["GPU-8f2a", "GPU-77"]), ("", []), ("-1", [])],
)
def test_cuda_visible_devices_limits_the_slots(allowed: str, gpus: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert find_gpus() == gpus


@pytest.mark.parametrize(("script", "gpus"), [("echo 0; echo 1", ["0", "1"]), ("echo No devices; exit 6", [])])
def test_nvidia_smi_is_asked_otherwise(
    script: str, gpus: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert find_gpus() == gpus


def test_a_machine_without_nvidia_smi_has_no_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_gpus() == []


@pytest.mark.parametrize(("cores", "gibibytes", "runs"), [(8, 64, 8), (64, 16, 8), (4, 1, 1)])
def test_runs_on_the_cpu_are_as_many_as_cores_and_memory_allow(
    cores: int, gibibytes: int, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(cores)))
    monkeypatch.setattr(slots, "_free_bytes", lambda: gibibytes * 2.0**30)
    monkeypatch.setattr(slots, "_control_groups", list)
    assert count_cores() == runs


@pytest.mark.parametrize(
    ("files", "runs"),
    [
        ({"a/cpu.max": "400000 100000\n"}, 4),
        ({"memory.max": "6442450944\n", "a/memory.max": "max\n"}, 3),
        ({"a/cpu.max": "max 100000\n", "a/memory.max": "max\n", "cpu.max": "50000 100000\n"}, 1),
        ({}, 64),
    ],
)
def test_a_container_or_a_job_has_what_its_control_groups_allow(
    files: dict[str, str], runs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)))
    monkeypatch.setattr(slots, "_free_bytes", lambda: 2.0**40)
    monkeypatch.setattr(slots, "_control_groups", lambda: [tmp_path / "a", tmp_path])
    assert count_cores() == runs


def test_control_groups_and_free_memory_are_those_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"/proc/self/cgroup": "1:cpu:/x\n0::/a/b\n", "/proc/meminfo": "MemFree: 1 kB\nMemAvailable:  2048 kB\n"}
    monkeypatch.setattr(slots, "_word", lambda path: told[str(path)])
    assert [str(group) for group in slots._control_groups()] == [
        "/sys/fs/cgroup/a/b",
        "/sys/fs/cgroup/a",
        "/sys/fs/cgroup",
    ]
    assert slots._free_bytes() == 2 << 20


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
