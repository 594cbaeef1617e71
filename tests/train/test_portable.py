"""A narrow run has the same bits on every processor with AVX2: each machine that runs this test is a witness."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tksbench.runs import environment
from tksbench.snn import eventconv

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/train/portable.json"
# What libraries choose by the processor. Numbers that change with one of these would be other numbers elsewhere.
OTHER_MACHINE = {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41"}


def weights(**variables: str) -> dict[str, str]:
    names = [*environment.LIMITS, "OMP_NUM_THREADS", "MKL_NUM_THREADS"]
    own = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-m", "tests.train.portable"]
    done = subprocess.run(
        command, cwd=ROOT, env=own | variables, capture_output=True, text=True, timeout=300, check=True
    )
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.skipif(eventconv.library() is None, reason="no C compiler, or a processor without AVX2")
@pytest.mark.parametrize("variables", [{}, OTHER_MACHINE], ids=["as it is", "other choices of the libraries"])
def test_weights_are_those_of_every_other_machine(variables: dict[str, str]) -> None:
    assert weights(**variables) == json.loads(GOLDEN.read_text())


def test_a_trainer_pins_what_torch_would_choose_by_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    monkeypatch.delitem(sys.modules, "torch")
    assert "ATEN_CPU_CAPABILITY" not in environment.settle()
    assert os.environ["ATEN_CPU_CAPABILITY"] == "avx2"


def test_what_somebody_else_has_chosen_stays_and_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert environment.settle()["ATEN_CPU_CAPABILITY"] == "default"
