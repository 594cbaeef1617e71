"""`make gpu`: steps in turn within a time, kept, gone on with, and told in a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, networks
from benchmarks.gpu import Step, settle
from benchmarks.parts import BenchError
from tksbench.snn.sew import sew_resnet18

ABOUT: dict[str, Any] = {"name": "a-gpu", "gpus": ["A GPU"]}


def says(name: str, text: str, *, resumes: bool = False) -> Step:
    return Step(name, ("timeit", "-n", "1", "-r", "1", f"print({text!r})"), 60, resumes)


def kept(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())["steps"]
    return found


def test_what_is_done_is_not_done_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gpu" / "a-gpu.json"
    steps = [says("one", "first"), says("two", "second", resumes=True)]
    assert settle(steps, path, ABOUT, 600) == 0
    assert {name: one["state"] for name, one in kept(path).items()} == {"one": "done", "two": "done"}
    capfd.readouterr()
    assert settle(steps, path, ABOUT, 600) == 0
    printed = capfd.readouterr().out
    assert "one: done before" in printed
    assert "first" not in printed
    assert "second" in printed  # it goes on by itself, if there is anything to go on with
    report = path.with_suffix(".md").read_text()
    assert "| one | done |" in report
    assert "second" in report


def test_a_step_that_fails_is_done_again_and_does_not_stop_the_others(tmp_path: Path) -> None:
    path = tmp_path / "a-gpu.json"
    steps = [Step("bad", ("no_such_module_at_all",), 60), says("good", "well")]
    assert settle(steps, path, ABOUT, 600) == 1
    assert [one["state"] for one in kept(path).values()] == ["failed", "done"]
    assert settle([says("bad", "mended"), steps[1]], path, ABOUT, 600) == 0


def test_other_code_does_all_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a-gpu.json"
    settle([says("one", "first")], path, ABOUT, 600)
    plain = json.loads(path.read_text())
    plain["steps"]["one"]["code"] = "another"
    path.write_text(json.dumps(plain))
    settle([says("one", "again")], path, ABOUT, 600)
    assert "again" in kept(path)["one"]["output"]


def test_a_step_ends_when_its_time_is_up(tmp_path: Path) -> None:
    path = tmp_path / "a-gpu.json"
    endless = Step("endless", ("timeit", "-n", "1", "-r", "1", "import time; time.sleep(600)"), 1)
    assert settle([endless, says("next", "reached")], path, ABOUT, 600) == 0
    assert [one["state"] for one in kept(path).values()] == ["stopped", "done"]


def test_without_time_nothing_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert settle([says("one", "first")], tmp_path / "a-gpu.json", ABOUT, 0) == 0
    assert "one: no time left" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_machine_without_a_gpu_is_refused() -> None:
    with pytest.raises(BenchError, match="no CUDA device"):
        gpu.main([])


def test_a_sew_resnet_is_measured_beside_itself_with_relu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "SEW_SIZE", 32)
    case = networks.sew_case("SEW", lambda **kit: sew_resnet18(width=0.0625, T=2, **kit), 2, torch.device("cpu"))
    losses = {one.name: one.run() for one in case.candidates}
    assert set(losses) == {"ReLU", "this project"}
    assert losses["ReLU"] != losses["this project"]
