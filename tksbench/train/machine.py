"""What decides the last bits of this process's sums besides code and recipe: processor, torch's build, compiler."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tksbench.runs.processor import describe_cpu, onednn_isa
from tksbench.snn import compiler, native

if TYPE_CHECKING:
    from collections.abc import Mapping


def describe_machine(device: torch.device, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The machine as a record has it.

    Args:
        device: Where the run is trained.
        environ: The environment that torch was imported in; None for the process's own.

    Returns:
        `processor`, `kind` (vendor, family, model, stepping) and `flags` of the CPU; `instructions`, the set that
        torch's own kernels use; `onednn_isa`, the widest that oneDNN may use; `torch_build`, its commit and a hash
        of its build options; `libraries` that it is built with; `compiler` and `compiler_flags` of this package's C
        code; on a GPU, `gpu`.
    """
    described = describe_cpu()
    described["instructions"] = torch.backends.cpu.get_cpu_capability()
    described["onednn_isa"] = onednn_isa(os.environ if environ is None else environ)
    described |= _build()
    if device.type == "cpu":
        native.library()  # built and loaded now, which training would do at its first step
        described |= compiler.describe()
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        described["gpu"] = f"compute capability {major}.{minor}, driver {_driver()}"
    return {key: value for key, value in described.items() if value}


def _driver() -> str:
    """Version of NVIDIA's driver, "unknown" where the kernel does not say it."""
    try:
        return Path("/sys/module/nvidia/version").read_text().strip()
    except OSError:
        return "unknown"


def _build() -> dict[str, str]:
    lines = [line.strip() for line in torch.__config__.show().splitlines()]
    built = [line for line in lines if "CPU capability" not in line]  # which is the machine's, and is named already
    digest = hashlib.sha256("\n".join(built).encode()).hexdigest()[:12]
    text = "\n".join(built)
    found = {
        "MKL": re.search(r"Math Kernel Library Version (\S+?)-", text),
        "oneDNN": re.search(r"MKL-DNN v(\S+)", text),
        "CUDA": re.search(r"CUDA_VERSION=([\d.]+)", text),
        "cuDNN": re.search(r"CUDNN_VERSION=([\d.]+)", text),
    }
    libraries = ", ".join(f"{name} {match[1]}" for name, match in found.items() if match)
    return {"torch_build": f"{(torch.version.git_version or '')[:12]} {digest}".strip(), "libraries": libraries}
