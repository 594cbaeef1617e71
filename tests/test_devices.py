from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tksbench import devices
from tksbench.devices import count_cores, find_gpus

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("allowed", "gpus"),
    [("0,1", ["0", "1"]), ("3", ["3"]), ("GPU-8f2a, GPU-77", ["GPU-8f2a", "GPU-77"]), ("", []), ("-1", [])],
)
def test_cuda_visible_devices_limits_the_gpus(allowed: str, gpus: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.setattr(devices, "_free_bytes", lambda: gibibytes * 2.0**30)
    monkeypatch.setattr(devices, "_control_groups", list)
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
    monkeypatch.setattr(devices, "_free_bytes", lambda: 2.0**40)
    monkeypatch.setattr(devices, "_control_groups", lambda: [tmp_path / "a", tmp_path])
    assert count_cores() == runs


def test_control_groups_and_free_memory_are_those_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"/proc/self/cgroup": "1:cpu:/x\n0::/a/b\n", "/proc/meminfo": "MemFree: 1 kB\nMemAvailable:  2048 kB\n"}
    monkeypatch.setattr(devices, "_word", lambda path: told[str(path)])
    assert [str(group) for group in devices._control_groups()] == [
        "/sys/fs/cgroup/a/b",
        "/sys/fs/cgroup/a",
        "/sys/fs/cgroup",
    ]
    assert devices._free_bytes() == 2 << 20
