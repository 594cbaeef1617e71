"""Variables that libraries read: what is taken away from trainers, what stays and is recorded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tksbench.runs import environment
from tksbench.runs.environment import changing, not_heeded, overriding, remove_overriding, settle


@pytest.mark.parametrize(
    "name",
    [
        "ACCELERATE_DYNAMO_BACKEND",
        "ACCELERATE_USE_DEEPSPEED",
        "ACCELERATE_MIXED_PRECISION",
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
        "NVIDIA_TF32_OVERRIDE",
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
        "ONEDNN_DEFAULT_FPMATH_MODE",
        "DNNL_DEFAULT_FPMATH_MODE",
        "CUBLAS_WORKSPACE_CONFIG",
        "TORCH_CUDNN_V8_API_DISABLED",
        "TORCHINDUCTOR_MAX_AUTOTUNE",
        "TRITON_F32_DEFAULT",
        "MKL_CBWR",
    ],
)
def test_what_would_decide_in_the_recipes_place_is_removed(name: str) -> None:
    given = {name: "1", "PATH": "/bin"}
    assert overriding(given) == [name]
    assert remove_overriding(given) == {name: "1"}
    assert given == {"PATH": "/bin"}
    assert changing({name: "1"}) == {}


@pytest.mark.parametrize(
    "name",
    [
        "ATEN_CPU_CAPABILITY",
        "ONEDNN_MAX_CPU_ISA",
        "MKL_ENABLE_INSTRUCTIONS",
        "NCCL_ALGO",
        "LD_PRELOAD",
        "GLIBC_TUNABLES",
        "OMP_DYNAMIC",
        "TORCH_SOMETHING_OF_NEXT_YEAR",
        "ONEDNN_SOMETHING_OF_NEXT_YEAR",
    ],
)
def test_what_may_stay_or_is_not_known_is_recorded(name: str) -> None:
    assert changing({name: "1", "PATH": "/bin"}) == {name: "1"}
    assert remove_overriding({name: "1"}) == {}


@pytest.mark.parametrize(
    "name",
    [
        *("OMP_NUM_THREADS", "GOMP_SPINCOUNT", "ONEDNN_VERBOSE", "NCCL_DEBUG", "NCCL_SOCKET_IFNAME", "TORCH_HOME"),
        *("TRITON_CACHE_DIR", "CUDNN_LOGLEVEL_DBG", "CUDNN_VERSION", "TORCHELASTIC_RUN_ID", "CUDA_VISIBLE_DEVICES"),
        *("PYTORCH_CUDA_ALLOC_CONF", "TORCH_CPP_LOG_LEVEL", "HOME", "TKSBENCH_DATA", "NVIDIA_VISIBLE_DEVICES"),
    ],
)
def test_what_changes_no_bit_is_left_alone(name: str) -> None:
    assert (changing({name: "1"}), overriding({name: "1"})) == ({}, [])


def test_what_the_trainer_sets_itself_is_left_alone() -> None:
    assert overriding({"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}) == []
    assert overriding({"CUBLAS_WORKSPACE_CONFIG": ":16:8"}) == ["CUBLAS_WORKSPACE_CONFIG"]


def test_a_long_value_is_cut() -> None:
    assert changing({"LD_PRELOAD": "x" * 1000}) == {"LD_PRELOAD": "x" * 200}


def test_what_is_removed_too_late_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_had_effect", {})
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert "NVIDIA_TF32_OVERRIDE" not in settle()
    monkeypatch.setitem(sys.modules, "torch", sys)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert settle()["NVIDIA_TF32_OVERRIDE"] == "0"
    assert settle()["NVIDIA_TF32_OVERRIDE"] == "0"  # for as long as the process lives


def test_they_are_named_for_people() -> None:
    assert not_heeded(["A", "B"]) == "A, B: not heeded in training, where the recipe decides"


def test_a_trainer_removes_them_before_torch_is_there() -> None:
    code = "import os, sys, tksbench.train.job; print('torch' in sys.modules, os.environ.get('ACCELERATE_USE_FSDP'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"ACCELERATE_USE_FSDP": "1"},
    )
    assert done.stdout == "False None\n"
