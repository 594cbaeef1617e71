"""Checks of the machine: Python, packages, environment variables, GPUs, the compiled neuron."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from tksbench.doctor.findings import Finding, State
from tksbench.runs import environment

if TYPE_CHECKING:
    from tksbench.snn.neuron import Backend

_SHOWN = ("torch", "timm", "accelerate")  # the others share a line
_INSTALL = "make env, or pip install -c constraints.txt -e ."


def python() -> list[Finding]:
    """Python's version against the range of pyproject.toml."""
    from packaging.specifiers import SpecifierSet  # accelerate brings it

    needs, _ = _ranges()
    fits = platform.python_version() in SpecifierSet(needs)
    advice = "" if fits else f"make env PYTHON=... with a Python {needs}"
    detail = f"{platform.python_version()} (needs {needs})"
    return [Finding("Python", "ok" if fits else "FAILED", detail, advice)]


def packages() -> list[Finding]:
    """Installed versions against the ranges of pyproject.toml."""
    from packaging.requirements import Requirement

    found, others, wrong = [], 0, []
    for requirement in map(Requirement, _ranges()[1]):
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            version = ""
        fits = bool(version) and requirement.specifier.contains(version, prereleases=True)
        needs = ",".join(sorted(map(str, requirement.specifier), reverse=True))  # lower bound first
        detail = f"{version or 'not installed'} (needs {needs or 'any'})"
        if requirement.name in _SHOWN:
            found.append(Finding(requirement.name, "ok" if fits else "FAILED", detail, "" if fits else _INSTALL))
        elif fits:
            others += 1
        else:
            wrong.append(f"{requirement.name} {detail}")
    state: State = "FAILED" if wrong else "ok"
    told = "; ".join(wrong) or f"{others} others within their ranges"
    return [*found, Finding("packages", state, told, _INSTALL if wrong else "")]


def variables() -> list[Finding]:
    """Environment variables of the libraries that train: which are not heeded, and which would stand in records."""
    not_heeded, changing = environment.overriding(os.environ), environment.changing()
    found = []
    if not_heeded:
        found.append(Finding("variables", "ok", environment.not_heeded(not_heeded)))
    if changing:
        listed = ", ".join(f"{name}={value}" for name, value in changing.items())
        advice = "unset what is not meant: a record is made again to the bit under the same ones"
        found.append(Finding("variables", "warning", f"can change bits, and stand in records: {listed}", advice))
    return found or [Finding("variables", "ok", "none that changes results")]


def _ranges() -> tuple[str, list[str]]:
    """What pyproject.toml asks of Python and of packages; an installed copy has kept both."""
    file = Path(__file__).parents[2] / "pyproject.toml"
    if file.is_file():
        project = tomllib.loads(file.read_text())["project"]
        return project["requires-python"], project["dependencies"]
    about = importlib.metadata.metadata("tksbench")
    needs = [line for line in about.get_all("Requires-Dist") or [] if "extra ==" not in line]
    return about["Requires-Python"], needs


def gpus() -> list[Finding]:
    """Whether torch sees GPUs and can compute on each."""
    import torch

    from tksbench.devices import find_gpus

    if not torch.cuda.is_available():
        listed = find_gpus()
        if listed:
            built = torch.version.cuda or "no CUDA at all"
            detail = f"the driver lists {len(listed)}, torch {torch.__version__} (built for {built}) sees none"
            return [Finding("GPUs", "FAILED", detail, "install the torch build for this driver: https://pytorch.org")]
        return [Finding("GPUs", "warning", "none: runs train on the CPU, which is enough for smoke and mini")]
    found = []
    for index in range(torch.cuda.device_count()):
        name = f"{torch.cuda.get_device_name(index)}, {torch.cuda.mem_get_info(index)[1] / 2**30:.0f} GiB"
        try:
            ones = torch.ones(256, 256, device=f"cuda:{index}")
            right = float((ones @ ones).sum()) == 256.0**3
        except RuntimeError as error:
            advice = "is another process holding it (nvidia-smi)? is torch built for this architecture?"
            found.append(Finding(f"GPU {index}", "FAILED", f"{name}: {str(error).splitlines()[0]}", advice))
            continue
        advice = "" if right else "do not train on it; see dmesg for Xid errors"
        detail = name if right else f"{name}: a product of matrices of ones is wrong"
        found.append(Finding(f"GPU {index}", "ok" if right else "FAILED", detail, advice))
    return found


def compiled_neuron() -> list[Finding]:
    """Whether the compiled neuron can be had on the CPU, and has the spikes and gradients of plain torch."""
    import torch

    from tksbench.snn import native
    from tksbench.snn.neuron import lif

    if native.library() is None:
        why = native.problem()
        return [Finding("neuron", "warning", f"not compiled ({why}); plain torch does its work, slower")]
    current = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))
    results = []
    backends: tuple[Backend, ...] = ("native", "reference")
    for backend in backends:
        leaf = current.clone().requires_grad_()
        spikes = lif(leaf, backend=backend)
        (gradient,) = torch.autograd.grad(spikes.square().sum(), leaf)
        results.append((spikes.detach(), gradient))
    same = all(torch.allclose(ours, plain, rtol=1e-5, atol=1e-6) for ours, plain in zip(*results, strict=True))
    if not same:
        advice = "remove the folder tksbench in ~/.cache; if that does not help: numerics.neuron=fused"
        return [Finding("neuron", "FAILED", "the compiled neuron differs from plain torch", advice)]
    return [Finding("neuron", "ok", "compiled for this CPU, with the spikes and gradients of plain torch")]
