"""What the processor is: cloud providers give unlike processors one name, and their bits differ."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_CPUINFO = Path("/proc/cpuinfo")
# Flags of /proc/cpuinfo by which torch, oneDNN and compilers choose their instructions.
_FLAGS = (
    *("sse4_1", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx_vnni_int8", "avx_ne_convert"),
    *("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
)
_KIND = {"cpu family": "family", "model": "model", "stepping": "stepping"}
_AVX512 = ("avx512f", "avx512bw", "avx512vl", "avx512dq")
# oneDNN's instruction sets from narrow to wide, each with what it asks for: dnnl_cpu_isa_t of oneDNN 3. Those with
# VNNI for AVX2 lie beside the way to AVX-512: wider processors need not have them.
_ONEDNN = (
    ("SSE41", ("sse4_1",)),
    ("AVX", ("avx",)),
    ("AVX2", ("avx2", "fma", "f16c")),
    ("AVX2_VNNI", ("avx_vnni",)),
    ("AVX2_VNNI_2", ("avx_vnni", "avx_vnni_int8", "avx_ne_convert")),
    ("AVX512_CORE", _AVX512),
    ("AVX512_CORE_VNNI", ("avx512_vnni",)),
    ("AVX512_CORE_BF16", ("avx512_bf16",)),
    ("AVX512_CORE_FP16", ("avx512_fp16",)),
    ("AVX512_CORE_AMX", ("amx_tile", "amx_int8", "amx_bf16")),
    ("AVX512_CORE_AMX_FP16", ("amx_fp16",)),
)


PORTABLE = "the same on every x86-64 processor with AVX2"
"""What a record's `machine` has as `bits` where no processor decides about them; else it has no such key."""
INSTRUCTIONS = "AVX2"
"""What torch's own kernels then use, as torch calls it."""


def is_portable(machine: Mapping[str, str]) -> bool:
    """Whether no processor decides about a run's bits, by what its record has as `machine`.

    Earlier records of runs that the launcher has trained claim it although torch's own kernels were not those of AVX2.
    """
    return machine.get("bits") == PORTABLE and machine.get("instructions") == INSTRUCTIONS


def cpu_name() -> str:
    """The processor's name as Linux has it, else its architecture."""
    return _fields().get("model name") or platform.machine()


def describe_cpu() -> dict[str, str]:
    """The processor of this machine: its name, its kind, and the flags by which libraries choose instructions."""
    fields = _fields()
    kind = [fields.get("vendor_id", ""), *(f"{name} {fields[key]}" for key, name in _KIND.items() if key in fields)]
    flags = fields.get("flags", "").split()
    described = {"processor": cpu_name(), "kind": " ".join(filter(None, kind))}
    described["flags"] = " ".join(flag for flag in _FLAGS if flag in flags)
    return {key: value for key, value in described.items() if value}


def has_avx512() -> bool:
    """Whether the processor has what libraries mean by AVX-512."""
    return set(_fields().get("flags", "").split()).issuperset(_AVX512)


def onednn_isa(environ: Mapping[str, str]) -> str:
    """The widest instruction set that oneDNN may use here; "" where nothing is known.

    Torch's build of the library exports no function for it, so it follows from the processor's flags and the limit
    that is set, as oneDNN's documentation describes both.

    Args:
        environ: The environment that the library has been loaded in.
    """
    flags = set(_fields().get("flags", "").split())
    widest = ""
    limit = environ.get("ONEDNN_MAX_CPU_ISA") or environ.get("DNNL_MAX_CPU_ISA") or ""
    for name, needed in _ONEDNN:
        if flags.issuperset(needed):
            widest = name
        elif not name.startswith("AVX2_VNNI"):
            break
        if name == limit.upper():
            break
    return widest


def _fields() -> dict[str, str]:
    """The first processor's fields in /proc/cpuinfo; none elsewhere than on Linux."""
    try:
        lines = _CPUINFO.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields
