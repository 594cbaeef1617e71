"""Environment variables that libraries read and that change results: which are taken away, which stay and are recorded.

The recipe decides about arithmetic. A variable that would decide in its place (accelerate's mixed precision, TF32,
oneDNN's bfloat16 mode) is removed from a trainer's environment before torch is imported. One that imitates or limits
a machine (an instruction set), or that a cluster needs (NCCL), stays and stands in the record. A variable of these
libraries that no list names stays too, and is recorded: what is not known counts as able to change bits.
"""

from __future__ import annotations

import os
import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping

REMOVED = (
    # accelerate: precision, compilers, gradient accumulation, DeepSpeed and FSDP, all of which a recipe has words for
    "ACCELERATE_*",
    "FSDP_*",
    "MEGATRON_LM_*",
    "PARALLELISM_CONFIG_*",
    "XLA_USE_BF16",
    "XLA_DOWNCAST_BF16",
    "DS_ACCELERATOR",
    # the precision of products: numerics.precision of the recipe
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE",
    "CUBLAS_EMULAT*",
    # the choice among a library's algorithms: numerics.deterministic of the recipe
    "CUBLAS_WORKSPACE_CONFIG",
    "CUBLASLT_WORKSPACE_SIZE",
    "CUDNN_*",
    "TORCH_CUDNN_*",
    "TORCH_BLAS_PREFER_*",
    "TORCH_CUBLAS*",
    "TORCH_LINALG_PREFER_*",
    "TORCH_LINEAR_FLATTEN_3D",
    "TORCH_MKLDNN_*",
    "DISABLE_ADDMM_CUDA_LT",
    "MKL_CBWR",
    "MKL_DISABLE_FAST_MM",
    # what compilers within torch do to a network
    "PYTORCH_JIT",
    "PYTORCH_JIT_OPT_LIMIT",
    "PYTORCH_TENSOREXPR*",
    "PYTORCH_TUNABLEOP_*",
    "TORCHDYNAMO_*",
    "TORCHINDUCTOR_*",
    "TORCH_COMPILE_*",
    "TRITON_*",
    "DISABLE_PTXAS_OPT",
    "TIMM_*",
)
"""Patterns of variables that would override a recipe."""

OWN = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
"""What the trainer sets itself, for deterministic kernels; under this value it is nobody else's choice."""

PINNED = {"ATEN_CPU_CAPABILITY": "avx2"}
"""What a trainer chooses for the machine unless somebody else has: the instructions of torch's own CPU kernels.

Initial weights, the optimizer and all else that torch computes on a CPU then have the same bits on every processor with
AVX2. Convolutions and batch norms have kernels of their own, which need no choice.
"""

LIMITS = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_CPU_ISA_HINTS",
    "DNNL_MAX_CPU_ISA",
    "GLIBC_TUNABLES",
    "MKL_DEBUG_CPU_TYPE",
    "MKL_ENABLE_INSTRUCTIONS",
    "NPY_DISABLE_CPU_FEATURES",
    "NPY_ENABLE_CPU_FEATURES",
    "ONEDNN_CPU_ISA_HINTS",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
)
"""Variables that choose among a processor's instruction sets; they imitate another machine, and stay."""

_OUTPUT = ("*_CACHE_DIR", "*_DUMP_DIR", "*_HOME", "*_VERSION", "*LOG*", "*VERBOSE*")
"""Names of variables that say where files lie and what is printed, whichever library reads them."""

_HARMLESS = (
    *_OUTPUT,
    "DS_SKIP_*",
    "GOMP_*",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "KMP_DUPLICATE_LIB_OK",
    "KMP_INIT_AT_FORK",
    "MKL_NUM_THREADS",
    "NCCL_DEBUG*",
    "NCCL_IB_*",
    "NCCL_NET*",
    "NCCL_SOCKET_*",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY",
    "OMP_DISPLAY_*",
    "OMP_NUM_THREADS",
    "OMP_PLACES",
    "OMP_PROC_BIND",
    "OMP_STACKSIZE",
    "OMP_WAIT_POLICY",
    "PYTORCH_*ALLOC_CONF",
    "PYTORCH_BUILD_*",
    "TORCHELASTIC_*",
    "TORCH_ADDR2LINE_BINARY",
    "TORCH_CUDA_ARCH_LIST",
    "TORCH_DISABLE_ADDR2LINE",
    "TORCH_DISTRIBUTED_DEBUG",
    "TORCH_EXTENSIONS_DIR",
    "TORCH_FR_*",
    "TORCH_NCCL_*",
    "TORCH_SHOW_*",
    "TORCH_SYMBOLIZE_MODE",
)
"""Of the families below, those that cannot change a bit, or do it by the number of threads, which records name."""

_FAMILIES = (
    "ATEN_*",
    "BLIS_*",
    "CUBLAS*",
    "DEEPSPEED_*",
    "DNNL_*",
    "DS_*",
    "GLIBC_TUNABLES",
    "KMP_*",
    "LD_PRELOAD",
    "MKLDNN_*",
    "MKL_*",
    "NCCL_*",
    "NPY_*",
    "OMP_*",
    "ONEDNN_*",
    "OPENBLAS_*",
    "PYTORCH_*",
    "TORCH*",
)
"""The libraries that compute, and what loads them."""

_LONGEST = 200  # characters of a value that a record keeps
_had_effect: dict[str, str] = {}  # removed too late in this process


def overriding(environ: Mapping[str, str]) -> list[str]:
    """Names of the variables that would override a recipe, sorted."""
    names = [name for name in environ if _fits(name, REMOVED) and not _fits(name, _OUTPUT)]
    return sorted(name for name in names if environ[name] != OWN.get(name))


def remove_overriding(environ: MutableMapping[str, str] | None = None) -> dict[str, str]:
    """Take those variables out of an environment, by default this process's, and return them.

    It has its full effect in a process that has not imported torch yet, and in those that are started afterwards.
    """
    environ = os.environ if environ is None else environ
    return {name: environ.pop(name) for name in overriding(environ)}


def pin() -> None:
    """Choose the instructions of torch's own kernels, unless somebody else has: before torch is imported.

    It holds for this process and those that it starts.
    """
    for name, value in PINNED.items():
        os.environ.setdefault(name, value)


def changing(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables that stay and can change the bits of a result, by name."""
    environ = os.environ if environ is None else environ
    kept = [name for name in environ if _fits(name, (*_FAMILIES, *LIMITS)) and not _fits(name, (*_HARMLESS, *REMOVED))]
    return {name: environ[name][:_LONGEST] for name in sorted(kept) if environ[name] != PINNED.get(name)}


def settle() -> dict[str, str]:
    """Make this process's environment that of a trainer; returns what a record says of it.

    What is removed only after torch has been imported may have had its effect, and is recorded as if it had stayed.
    """
    late = "torch" in sys.modules
    removed = remove_overriding()
    if not late:
        pin()
    if late:
        _had_effect.update({name: value[:_LONGEST] for name, value in removed.items()})
    return dict(sorted({**changing(), **_had_effect}.items()))


def not_heeded(names: Iterable[str]) -> str:
    """One line for people about variables that were removed.

    >>> not_heeded(["NVIDIA_TF32_OVERRIDE"])
    'NVIDIA_TF32_OVERRIDE: not heeded in training, where the recipe decides'
    """
    return f"{', '.join(names)}: not heeded in training, where the recipe decides"


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
