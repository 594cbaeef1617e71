"""Check of a kernel of torch's that writes out of bounds on some processors (tksbench.snn.strided), in a child process.

python -m tksbench.doctor.convolution       # the child: dies where the kernel is called
"""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tksbench.doctor.findings import Finding
from tksbench.exits import explain

_PAGE = "docs/reference/upstream-torch-conv.md"
_OURS, _TORCHS = "ours", "torch's"  # what the child prints when it is through with each
_LIMIT_S = 100
_CHANNELS = (2, 5, 7, 12)
_SIZES = (16, 64, 128)  # pixels a side; which are hit depends on the processor


def convolution() -> list[Finding]:
    """Whether this torch has the fault on this processor, and that the project's own layer is free of it."""
    command = [sys.executable, "-m", "tksbench.doctor.convolution"]
    child = subprocess.run(  # noqa: S603 - our own interpreter
        command, env=_checked(), capture_output=True, text=True, errors="replace", timeout=_LIMIT_S, check=False
    )
    through = child.stdout.split("\n")
    if _OURS not in through:
        detail = f"the project's strided 1x1 convolutions were {explain(child.returncode, child.stderr.strip()[-200:])}"
        return [Finding("convolution", "FAILED", detail, "do not train here; report it with the processor's name")]
    if _TORCHS not in through:
        detail = (
            f"torch's strided 1x1 convolutions with few channels damage memory on this processor (a try was "
            f"{explain(child.returncode, child.stderr.strip()[-200:])}); training never calls them"
        )
        return [Finding("convolution", "ok", detail, f"in programs of your own: see {_PAGE}")]
    detail = "strided 1x1 convolutions with few channels, ours and torch's: no memory is damaged"
    return [Finding("convolution", "ok", detail)]


def _checked() -> dict[str, str]:
    """This process's environment, with glibc looking at every piece of memory that is freed, where it can."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_CHECK_": "3"}
    library = "libc_malloc_debug.so.0"  # from glibc 2.34 on
    try:
        ctypes.CDLL(library)
    except OSError:
        return environment
    environment["LD_PRELOAD"] = " ".join(filter(None, (os.environ.get("LD_PRELOAD"), library)))
    return environment


def main() -> None:
    """Compute the gradients that the kernel is for: by the project's layer, which does not call it, then by torch's."""
    import torch
    from torch import nn

    layers: dict[str, Any] = {_OURS: _strided().StridedConv1x1, _TORCHS: nn.Conv2d}
    for name, layer in layers.items():
        for size, channels in itertools.product(_SIZES, _CHANNELS):
            made = layer(channels, 8, stride=2, **({} if name == _OURS else {"kernel_size": 1}))
            images = torch.ones(4, channels, size, size).to(memory_format=torch.channels_last)
            made(images).sum().backward()
            del made, images
        sys.stdout.write(f"{name}\n")
        sys.stdout.flush()


def _strided() -> Any:
    """`tksbench.snn.strided` without its package, which imports timm: twice as long as torch alone."""
    file = Path(__file__).parents[1] / "snn" / "strided.py"
    spec = importlib.util.spec_from_file_location("strided", file)
    assert spec is not None and spec.loader is not None  # noqa: S101 - it lies beside this package
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
