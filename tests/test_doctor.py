"""`python -m tksbench.doctor`: what it finds, and that nothing in it hangs or leaves anything behind."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tksbench.data.registry import DATASETS, ensure_miniature, look
from tksbench.doctor import __main__ as command
from tksbench.doctor import convolution, golden, machine, slurm, storage
from tksbench.doctor.findings import Check, Finding, run_checks
from tksbench.launch import scheduler
from tksbench.launch.errors import LaunchError
from tksbench.launch.profile import SlurmProfile

if TYPE_CHECKING:
    from pathlib import Path


def _states(findings: list[Finding]) -> list[str]:
    return [finding.state for finding in findings]


def test_a_check_that_hangs_dies_or_raises_is_a_failure_with_advice() -> None:
    hangs, dies, raises, works = run_checks(
        [
            Check("hangs", "signal:pause", 3, "look at it"),
            Check("dies", "os:abort", 60, ""),
            Check("raises", "json:loads", 60, ""),
            Check("Python", "tksbench.doctor.machine:python", 60, ""),
        ]
    )
    assert hangs == Finding("hangs", "FAILED", "no answer within 3 s", "look at it")
    assert (dies.state, raises.state, works.state) == ("FAILED", "FAILED", "ok")
    assert "SIGABRT" in dies.detail
    assert "loads() missing 1 required" in raises.detail
    assert dies.advice


def test_leaving_early_ends_the_children() -> None:
    began = time.monotonic()
    findings = run_checks(
        [Check("one", "tksbench.doctor.machine:python", 60, ""), Check("two", "signal:pause", 600, "")]
    )
    next(findings)
    findings.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(("findings", "code"), [(["ok", "warning"], 0), (["ok", "FAILED"], 1)])
def test_the_exit_status_tells_whether_something_failed(
    findings: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [Finding(f"a {state}", state, "detail", "do this") for state in findings]  # type: ignore[arg-type]
    monkeypatch.setattr(command, "run_checks", lambda checks: iter(made))
    assert command.main([]) == code
    out = capsys.readouterr().out
    assert all(f"a {state}" in out for state in findings)
    assert "-> do this" in out
    assert command.main(["--json"]) == code
    assert json.loads(capsys.readouterr().out)["failed"] == code


def test_a_report_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    finding = Finding("ncaltech101", "FAILED", "word " * 60, "/a/path/without/a/place/to/break" * 5)
    command._print(Console(width=80), "host", [finding])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_versions_out_of_range_and_missing_packages_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _states(machine.packages()) == ["ok"] * 4
    monkeypatch.setattr(machine, "_ranges", lambda: (">=4", ["torch>=99", "no-such-package-at-all>=1"]))
    torch, others = machine.packages()
    assert (torch.check, torch.state) == ("torch", "FAILED")
    assert "no-such-package-at-all not installed (needs >=1)" in others.detail
    assert _states(machine.python()) == ["FAILED"]


def test_variables_of_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {"PATH": "/bin", "OMP_NUM_THREADS": "1"})
    assert _states(machine.variables()) == ["ok"]
    monkeypatch.setattr("os.environ", {"NVIDIA_TF32_OVERRIDE": "1", "ONEDNN_MAX_CPU_ISA": "AVX2"})
    not_heeded, limiting = machine.variables()
    assert (not_heeded.state, not_heeded.detail.startswith("NVIDIA_TF32_OVERRIDE: not heeded")) == ("ok", True)
    assert (limiting.state, "ONEDNN_MAX_CPU_ISA=AVX2" in limiting.detail) == ("warning", True)


def test_losses_are_golden_and_a_learning_rate_wrong_by_a_tenth_is_seen() -> None:
    expected = json.loads(golden._FILE.read_text())["losses"]
    assert golden.judge(golden.losses(golden.spec()), expected).state == "ok"
    assert golden.judge(golden.losses(golden.spec(lr=0.45)), expected).state == "FAILED"
    assert golden.judge([float("nan")] * len(expected), expected).state == "FAILED"


def test_a_quick_look_tells_whole_missing_and_broken_data_sets(tmp_path: Path) -> None:
    folder = tmp_path / "cifar10" / DATASETS["cifar10"].folder
    root = folder.parent
    assert look("cifar10", tmp_path).state == "missing"
    ensure_miniature("cifar10", tmp_path)
    (tmp_path / "miniature").rename(root)
    assert look("cifar10", root).state == "corrupt"  # too small to be the real one
    (folder / "data_batch_3").unlink()
    assert look("cifar10", root).detail == "without data_batch_3"
    for name in ("train", "val"):
        (tmp_path / "ILSVRC2012" / name / "n01440764").mkdir(parents=True)
    assert look("imagenet", tmp_path).state == "ok"
    (tmp_path / "ILSVRC2012" / "val" / "n01440764").rmdir()
    assert look("imagenet", tmp_path).detail == "empty folder"


def test_broken_data_fail_with_advice_and_absent_ones_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TKSBENCH_DATA", str(tmp_path))
    (tmp_path / DATASETS["cifar10"].folder).mkdir()
    (tmp_path / DATASETS["cifar10"].folder / "test_batch").touch()
    found = {finding.check: finding for finding in storage.data_sets()}
    assert (found["cifar10"].state, found["cifar100"].state) == ("FAILED", "warning")
    assert "tksbench.data verify cifar10" in found["cifar10"].advice
    monkeypatch.setenv("TKSBENCH_DATA", str(tmp_path / "nowhere"))
    assert _states(storage.data_sets()) == ["FAILED"]


def test_the_results_folder_is_probed_and_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TKSBENCH_RESULTS", str(tmp_path / "not" / "yet"))
    assert "FAILED" not in _states(storage.results())
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("TKSBENCH_RESULTS", "/proc/none")
    assert _states(storage.results()) == ["FAILED"]


@pytest.mark.parametrize(
    ("missing", "config", "states"),
    [
        (["sbatch", "squeue", "scontrol"], {}, ["ok"]),
        (["scontrol"], {}, ["warning"]),
        ([], {"JobRequeue": "1"}, ["ok", "ok"]),
        ([], {"JobRequeue": "0"}, ["ok", "warning"]),
        ([], None, ["warning"]),
    ],
)
def test_slurm_is_judged_by_its_commands_and_its_configuration(
    missing: list[str], config: dict[str, str] | None, states: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask() -> dict[str, str]:
        if config is None:
            raise LaunchError("scontrol: no controller")
        return config

    monkeypatch.setattr(scheduler, "missing_commands", lambda: missing)
    monkeypatch.setattr(scheduler, "show_config", ask)
    assert _states(slurm.slurm()) == states


def test_a_nodes_report_is_found_behind_what_the_set_up_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    report = {
        "host": "node7",
        "failed": 0,
        "checks": [{"check": "Python", "state": "ok", "detail": "3.12", "advice": ""}],
    }

    def srun(words: list[str], limit_s: float) -> tuple[str, str]:
        seen.extend(words)
        return f"loading cuda\n{{\n}}\n{json.dumps(report, indent=1)}\nbye\n", ""

    monkeypatch.setattr(slurm, "run_on_node", srun)
    profile = SlurmProfile(
        partition="gpu", nodes=4, gpus_per_node=2, minutes=600, setup=["module load cuda"], srun=["-v"]
    )
    assert slurm.on_node(profile) == report
    assert {"--partition=gpu", "--nodes=1", "--ntasks-per-node=1", "--gpus-per-node=2", "--time=15", "-v"} <= set(seen)
    assert "set -e\nmodule load cuda\nset +e\nexec " in seen[-1]


def test_a_node_that_cannot_be_had_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(slurm, "run_on_node", lambda words, limit_s: ("", "srun: error: Invalid partition"))
    profile = tmp_path / "profile.yaml"
    profile.write_text("partition: none\n")
    assert command.main(["--slurm", str(profile), "--json"]) == 1
    assert "Invalid partition" in json.loads(capsys.readouterr().out)["checks"][0]["detail"]


@pytest.mark.parametrize(
    ("printed", "state", "detail"),
    [("ours\ntorch's\n", "ok", "no memory is damaged"), ("ours\n", "ok", "SIGABRT"), ("", "FAILED", "SIGABRT")],
)
def test_what_a_try_of_the_convolution_means(
    printed: str, state: str, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = subprocess.CompletedProcess([], 0 if "torch" in printed else -6, printed, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: child)
    [finding] = convolution.convolution()
    assert finding.state == state
    assert detail in finding.detail


def test_the_project_s_own_convolution_leaves_memory_as_it_was_without_avx_512(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert _states(convolution.convolution()) == ["ok"]


def test_the_command_line_imports_no_torch() -> None:
    code = "import sys, tksbench.doctor.__main__, tksbench.doctor.slurm; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_two_processes_meet() -> None:
    [finding] = run_checks([Check("gloo", "tksbench.doctor.processes:gloo", 180, "")])
    assert finding == Finding("gloo", "ok", "two processes here add up their numbers")
