"""The Triton kernels: run by Triton's interpreter against plain torch, and compiled for GPUs; neither needs one."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.snn.norm_lif_cases import compare
from tksbench.snn.errors import SnnError
from tksbench.snn.neuron import lif

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton comes with torch for CUDA")
ROOT = Path(__file__).resolve().parents[2]

INTERPRETED = """
import torch
from tksbench.snn.neuron import lif

torch.manual_seed(0)
for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)):
    for shape in ((4, 3000), (1, 7), (10, 1025), (4, 2, 5, 3, 3)):
        for tau in (1.0, 2.0, 3.3):
            current = (1.5 * torch.randn(shape) + 0.4).to(dtype)
            if len(shape) == 5:
                current = current.permute(0, 1, 4, 2, 3)
            upstream = torch.randn(current.shape).to(dtype)
            found = []
            for backend in ("fused", "triton"):
                leaf = current.clone(memory_format=torch.preserve_format).requires_grad_()
                spikes = lif(leaf, tau=tau, backend=backend)
                spikes.backward(upstream)
                found.append((spikes.detach(), leaf.grad))
            (spikes, grad), (their_spikes, their_grad) = found
            equal = spikes == their_spikes
            assert equal.all() or (tau == 3.3 and equal.float().mean() > 0.9999), (dtype, shape, tau)  # 1/3.3 rounds
            if equal.all():
                torch.testing.assert_close(their_grad, grad, rtol=tolerance, atol=tolerance)
            assert their_spikes.stride() == spikes.stride() and their_spikes.dtype == dtype
"""

NORM_INTERPRETED = """
from tests.snn.norm_lif_cases import compare
compare("cpu", ((4, 2, 16, 5, 3), (1, 3, 7, 4, 4), (10, 2, 24, 3, 5), (4, 3, 200, 4, 4)))
"""

NOT_A_NUMBER = """
import torch
from torch import nn
from tksbench.snn.neuron import LIF, lif
from tksbench.snn.normlif import norm_lif

torch.manual_seed(0)
found = {}
for backend in ("reference", "triton"):
    current = torch.ones(4, 5)
    current[1, 2] = torch.nan
    lif(current.requires_grad_(), backend=backend).sum().backward()
    norm = nn.BatchNorm2d(3)
    with torch.no_grad():
        norm.weight[1] = torch.nan
    x = torch.ones(4, 3, 2, 2).cumsum(0).contiguous(memory_format=torch.channels_last).requires_grad_()
    norm_lif(norm, LIF(backend=backend), x, 2).sum().backward()
    found[backend] = [grad.isnan() for grad in (current.grad, x.grad, norm.weight.grad, norm.bias.grad)]
assert all(mask.any() for mask in found["reference"])
assert all(map(torch.equal, found["reference"], found["triton"]))
"""

STATISTICS = """
import torch
from torch import nn
from tksbench.snn import triton_normlif as kernels

torch.manual_seed(0)
for rows, channels in ((2**16, 4), (1000, 130), (16, 6)):
    for first in (0.0, 30.0, 1000.0):
        x = 0.1 * torch.randn(rows, channels) + 0.3
        x[0] += 0.1 * first
        norm = nn.BatchNorm2d(channels)
        mean, invstd, _, _ = kernels.statistics(x, kernels.Layout(1, rows, channels, False), norm)
        exact = x.double()
        var = exact.var(0, unbiased=False)
        assert ((mean - exact.mean(0)) / var.sqrt()).abs().max() < 1e-5, (rows, channels, first)
        assert (invstd * (var + norm.eps).sqrt() - 1).abs().max() < 1e-5, (rows, channels, first)
"""

NORM_COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from tksbench.snn import triton_normlif as kernels

common = {"rows": "i32", "channels": "i32"}
numbers = {"rate": "fp32", "threshold": "fp32", "peak": "fp32", "slope": "fp32"}
for kind in ("*fp32", "*bf16"):
    x = {"x": kind, "shortcut": kind, "upstream": kind, "fixed": "*fp32"}
    tile = {"BR": 8, "BC": 128}
    form = {"T": 4, "SHORTCUT": True, "REPEATED": False, **tile}
    result = {"totals": "*fp32", "result": kind, "beside": kind, **common, "n": "fp32", **numbers}
    for kernel, signature, constants in (
        (kernels._sum, {"x": kind, "sums": "*fp32", **common, "share": "i32"}, tile),
        (
            kernels._finish_statistics,
            dict.fromkeys(("sums", "weight", "bias", "running_mean", "running_var", "out"), "*fp32")
            | {"splits": "i32", "channels": "i32", "rows": "i32", "share": "i32"}
            | {"momentum": "fp32", "unbiased": "fp32", "eps": "fp32"},
            {"SPLITS": 1024, "BC": 4},
        ),
        (kernels._sum_gradients, x | {"sums": "*fp32", **common, "share": "i32", **numbers}, form),
        (kernels._propagate, x | result, form | {"BESIDE": True}),
    ):
        source = ASTSource(kernel, signature | dict.fromkeys(constants, "constexpr"), constants)
        made = triton.compile(source, target=GPUTarget("cuda", 80, 32), options={"num_warps": 8})
        assert made.asm["cubin"] and made.metadata.shared < 48_000
"""

COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from tksbench.snn import triton_lif

for kind in ("*fp32", "*bf16"):
    common = {"steps": "i32", "neurons": "i32", "rate": "fp32", "threshold": "fp32"}
    forward = {"current": kind, "spikes": kind, **common}
    backward = {"current": kind, "upstream": kind, "membranes": "*fp32", "result": kind, **common}
    backward |= {"peak": "fp32", "slope": "fp32"}
    for kernel, signature in ((triton_lif._forward, forward), (triton_lif._backward, backward)):
        source = ASTSource(kernel, signature | {"BLOCK": "constexpr"}, {"BLOCK": triton_lif.BLOCK})
        made = triton.compile(source, target=GPUTarget("cuda", 80, 32), options={"enable_fp_fusion": False})
        assert "fma" not in made.asm["ptx"]
        assert made.asm["cubin"]
"""


SECTIONS = """
import json, sys, traceback

found = {}
for name, code in json.load(sys.stdin).items():
    try:
        exec(compile(code, name, "exec"), {"__name__": name})
        found[name] = ""
    except Exception:
        found[name] = traceback.format_exc()
json.dump(found, sys.stdout)
"""


def problems(folder: Path, sections: dict[str, str], **environment: str) -> dict[str, str]:
    """What went wrong in each of some programs, "" for nothing; in one process, which loads torch and Triton once."""
    command = [sys.executable, "-W", "ignore", "-c", SECTIONS]
    known = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    env = known | {"TRITON_CACHE_DIR": str(folder), "OMP_NUM_THREADS": "1"} | environment
    asked = json.dumps(sections)
    done = subprocess.run(command, cwd=ROOT, env=env, input=asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    assert found.keys() == sections.keys()
    return found


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return problems(
        tmp_path_factory.mktemp("interpreted"),
        {
            "neuron": INTERPRETED,
            "norm and neuron": NORM_INTERPRETED,
            "not a number": NOT_A_NUMBER,
            "statistics": STATISTICS,
        },
        TRITON_INTERPRET="1",
    )


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return problems(tmp_path_factory.mktemp("compiled"), {"neuron": COMPILED, "norm and neuron": NORM_COMPILED})


@needs_triton
def test_the_interpreted_kernels_equal_the_fused_pass(interpreted: dict[str, str]) -> None:
    assert not interpreted["neuron"]


@needs_triton
def test_interpreted_norm_and_neuron_equal_float64(interpreted: dict[str, str]) -> None:
    assert not interpreted["norm and neuron"]


@needs_triton
def test_interpreted_gradients_are_no_numbers_where_the_reference_says_so(interpreted: dict[str, str]) -> None:
    assert not interpreted["not a number"]


@needs_triton
def test_interpreted_statistics_keep_their_digits_where_the_first_row_is_far_off(interpreted: dict[str, str]) -> None:
    assert not interpreted["statistics"]


@needs_triton
def test_the_kernels_compile_for_a_gpu_without_contraction(compiled: dict[str, str]) -> None:
    assert not compiled["neuron"]


@needs_triton
def test_the_kernels_of_norm_and_neuron_compile_for_a_gpu(compiled: dict[str, str]) -> None:
    assert not compiled["norm and neuron"]


@needs_triton
def test_triton_is_refused_on_a_cpu() -> None:
    with pytest.raises(SnnError, match=r"triton needs float32, bfloat16 or float16 on CUDA, not torch.float32 on cpu"):
        lif(torch.randn(4, 5), backend="triton")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_triton_equals_the_reference(dtype: torch.dtype) -> None:
    current = (1.5 * torch.randn(4, 100_000) + 0.4).to("cuda", dtype)
    upstream = torch.randn(4, 100_000).to("cuda", dtype)
    found = []
    for backend in ("reference", "triton"):
        leaf = current.clone().requires_grad_()
        spikes = lif(leaf, backend=backend)  # type: ignore[arg-type]
        spikes.backward(upstream)
        found.append((spikes.detach(), leaf.grad))
    torch.testing.assert_close(found[1], found[0], rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_norm_and_neuron_equal_float64(dtype: torch.dtype) -> None:
    shapes = (
        (4, 2, 16, 5, 3),
        (1, 3, 7, 4, 4),
        (10, 2, 24, 3, 5),
        (16, 5, 200, 8, 4),
        (4, 3, 512, 8, 8),
        (4, 16, 128, 32, 32),
    )
    compare("cuda", shapes, dtype)
