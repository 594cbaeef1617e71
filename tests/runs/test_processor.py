"""The processor's kind, from Linux's own words."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from tksbench.runs import processor
from tksbench.runs.processor import cpu_name, describe_cpu, onednn_isa

ZEN3 = "sse4_1 avx f16c fma avx2 rdseed"
ZEN5 = f"{ZEN3} avx_vnni avx512f avx512bw avx512vl avx512dq avx512_vnni avx512_bf16"
XEON = f"{ZEN5} avx512_fp16 amx_tile amx_int8 amx_bf16"


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor, "_CPUINFO", path)
    return path


def write(path: Path, flags: str, model: int = 1) -> None:
    kind = f"vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t: {model}\nmodel name\t: AMD EPYC\nstepping\t: 1\n"
    path.write_text(f"processor\t: 0\n{kind}flags\t\t: fpu {flags} zz\n\nprocessor\t: 1\nmodel name\t: another\n")


def test_processors_of_one_name_are_kept_apart(cpuinfo: Path) -> None:
    write(cpuinfo, ZEN3)
    first = describe_cpu()
    assert first == {
        "processor": "AMD EPYC",
        "kind": "AuthenticAMD family 25 model 1 stepping 1",
        "flags": "sse4_1 avx f16c fma avx2",
    }
    write(cpuinfo, ZEN5, model=17)
    assert cpu_name() == "AMD EPYC"
    assert describe_cpu() != first


@pytest.mark.parametrize(
    ("flags", "limit", "isa"),
    [
        (ZEN3, "", "AVX2"),
        (ZEN5, "", "AVX512_CORE_BF16"),
        (XEON, "", "AVX512_CORE_AMX"),
        (XEON, "avx2", "AVX2"),
        (XEON, "AVX2_VNNI", "AVX2_VNNI"),
        (XEON, "AVX512_CORE", "AVX512_CORE"),
        (ZEN3, "AVX512_CORE", "AVX2"),
        (XEON, "DEFAULT", "AVX512_CORE_AMX"),
        ("", "", ""),
    ],
)
def test_onednn_uses_what_the_processor_has_up_to_the_limit(cpuinfo: Path, flags: str, limit: str, isa: str) -> None:
    write(cpuinfo, flags)
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        assert onednn_isa({name: limit}) == isa


@pytest.mark.parametrize("text", [None, "processor\t: 0\n"])
def test_without_a_name_the_processor_is_its_architecture(cpuinfo: Path, text: str | None) -> None:
    if text is not None:
        cpuinfo.write_text(text)
    assert cpu_name() == platform.machine()
    assert describe_cpu() == {"processor": platform.machine()}
