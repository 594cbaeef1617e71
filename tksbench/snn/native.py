"""The neuron as compiled C (lif.c), built with the machine's own compiler when it is first needed.

Torch's own pool of threads does the work: the library is linked without an OpenMP runtime of its own and finds
the one that torch has loaded. Without a compiler, or with one that cannot do this, `library()` is None and the
neuron falls back to its plain torch form, which at the paper's tau computes the same bits.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

log = logging.getLogger("tksbench.snn")
_SOURCE = Path(__file__).with_name("lif.c")
# No contraction into fused multiply-adds, so that the compiler does not decide about the last bit.
_FLAGS = ("-std=c11", "-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fopenmp", "-fPIC")
_TIMEOUT_S = 120


class Affine(NamedTuple):
    """A batch norm as scale * x + shift, [C] each."""

    scale: Tensor
    shift: Tensor


def library() -> ctypes.CDLL | None:
    """The compiled functions, or None where they cannot be had; why not is logged once."""
    return _library()[0]


def problem() -> str:
    """Why the compiled functions cannot be had; empty where they can."""
    return _library()[1]


@functools.cache
def _library() -> tuple[ctypes.CDLL | None, str]:
    try:
        return _load(_build()), ""
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # RuntimeError: a user without a home
        why = _first_line(error)
        log.info("the compiled neuron is not available (%s); plain torch does its work", why)
        return None, why


def forward(current: Tensor, spikes: Tensor, tau: float, threshold: float) -> None:
    """Fill `spikes`; both are contiguous float32 [T, N] on the CPU, and `library()` is there."""
    _functions().lif_forward(current.data_ptr(), spikes.data_ptr(), *current.shape, 1.0 / tau, threshold)


def backward(
    current: Tensor, grad: Tensor, result: Tensor, tau: float, threshold: float, peak: float, slope: float
) -> None:
    """Fill `result` = dL/dI from `grad` = dL/ds; all are contiguous float32 [T, N] on the CPU.

    Args:
        current: Input current I of the forward pass.
        grad: Gradient of the spikes.
        result: Takes the gradient of the current.
        tau: Membrane time constant in time steps.
        threshold: Firing threshold.
        peak: Surrogate gradient at the threshold.
        slope: Its fall with the distance from it.
    """
    pointers = (current.data_ptr(), grad.data_ptr(), result.data_ptr())
    constants = (1.0 / tau, threshold, peak / tau, slope / tau)
    _check(_functions().lif_backward(*pointers, *current.shape, *constants))


def affine(mean: Tensor, invstd: Tensor, weight: Tensor, bias: Tensor) -> Affine:
    """Batch norm as scale * x + shift; all are contiguous float32 [C] on the CPU."""
    scale, shift = torch.empty_like(mean), torch.empty_like(mean)
    pointers = (tensor.data_ptr() for tensor in (mean, invstd, weight, bias, scale, shift))
    _functions().norm_affine(*pointers, len(mean))
    return Affine(scale, shift)


def norm_forward(
    x: Tensor, shortcut: Tensor | None, affine: Affine, spikes: Tensor, tau: float, threshold: float
) -> None:
    """Fill `spikes` of the current scale * x + shift (+ shortcut).

    Args:
        x: [T * B, C, H, W], or [B, C, H, W], the same at each step; float32 on the CPU, channels-last.
        shortcut: Like `spikes`, or None.
        affine: The batch norm.
        spikes: [T, B, C, H, W], each step channels-last.
        tau: Membrane time constant in time steps.
        threshold: Firing threshold.
    """
    arguments = _layer(x, shortcut, affine, spikes.shape)
    _check(_functions().norm_lif_forward(*arguments, spikes.data_ptr(), *_sizes(spikes), 1.0 / tau, threshold))


def norm_backward(
    x: Tensor,
    shortcut: Tensor | None,
    affine: Affine,
    grad: Tensor,
    result: Tensor,
    tau: float,
    threshold: float,
    peak: float,
    slope: float,
) -> None:
    """Fill `result` with the gradient of the current, from `grad` = dL/ds; both are like the spikes of `norm_forward`.

    The other arguments are those of `norm_forward` and of `backward`.
    """
    arguments = _layer(x, shortcut, affine, grad.shape)
    constants = (1.0 / tau, threshold, peak / tau, slope / tau)
    pointers = (grad.data_ptr(), result.data_ptr())
    _check(_functions().norm_lif_backward(*arguments, *pointers, *_sizes(grad), *constants))


def _layer(x: Tensor, shortcut: Tensor | None, affine: Affine, shape: torch.Size) -> tuple[int | None, ...]:
    jump = shape[1:].numel() if x.shape[0] == shape[0] * shape[1] else 0
    other = None if shortcut is None else shortcut.data_ptr()
    return x.data_ptr(), jump, other, affine.scale.data_ptr(), affine.shift.data_ptr()


def _sizes(spikes: Tensor) -> tuple[int, int, int]:
    steps, batch, channels, height, width = spikes.shape
    return steps, batch * height * width, channels


def _check(failed: int) -> None:
    if failed:
        raise MemoryError("no memory for the membranes of one block of neurons")


def _functions() -> ctypes.CDLL:
    found = library()
    assert found is not None  # noqa: S101 - callers ask `library()` first
    return found


def _load(path: Path) -> ctypes.CDLL:
    found = ctypes.CDLL(str(path))  # torch has loaded the OpenMP runtime that the library is going to use
    pointer, long, real = ctypes.c_void_p, ctypes.c_long, ctypes.c_float
    found.lif_forward.argtypes = [pointer, pointer, long, long, real, real]
    found.lif_forward.restype = None
    found.lif_backward.argtypes = [pointer, pointer, pointer, long, long, real, real, real, real]
    found.lif_backward.restype = ctypes.c_int
    found.norm_affine.argtypes = [pointer] * 6 + [long]
    found.norm_affine.restype = None
    layer: list[Any] = [pointer, long, pointer, pointer, pointer]
    sizes: list[Any] = [long, long, long]
    found.norm_lif_forward.argtypes = [*layer, pointer, *sizes, real, real]
    found.norm_lif_forward.restype = ctypes.c_int
    found.norm_lif_backward.argtypes = [*layer, pointer, pointer, *sizes, real, real, real, real]
    found.norm_lif_backward.restype = ctypes.c_int
    return found


def _build() -> Path:
    """Compile unless that was done before on a processor like this one.

    Raises:
        OSError: No compiler, or nowhere to put the result.
        subprocess.SubprocessError: The compiler fails.
    """
    compiler = shutil.which(os.environ.get("CC") or "cc")
    if compiler is None:
        raise FileNotFoundError("no C compiler: install gcc, or name one with CC")
    key = hashlib.sha256("\0".join((*_FLAGS, compiler, _processor())).encode() + _SOURCE.read_bytes()).hexdigest()
    path = _cache() / f"lif-{key[:16]}.so"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".lif-", dir=path.parent) as folder:
        unlinked, linked = Path(folder, "lif.o"), Path(folder, "lif.so")
        for command in (
            [compiler, *_FLAGS, "-c", str(_SOURCE), "-o", str(unlinked)],
            [compiler, "-shared", str(unlinked), "-o", str(linked)],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)  # noqa: S603
        linked.replace(path)
    return path


def _cache() -> Path:
    """The user's cache folder, as the XDG base directory specification has it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tksbench"


def _processor() -> str:
    """What `-march=native` depends on: a home folder may be shared by machines that differ."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(
        {line.partition(":")[0].strip(): line for line in lines if line.startswith(("model name", "flags"))}.values()
    )


def _first_line(error: Exception) -> str:
    told = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    return next((line for line in (told or "").splitlines() if "error" in line.lower()), (told or repr(error)).strip())
