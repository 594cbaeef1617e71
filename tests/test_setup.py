"""The set-up: pins, the environment script, and what must never be in a tracked file."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PIN = re.compile(r"^([a-z0-9][a-z0-9.-]*)==(\S+)", re.MULTILINE)
HOST = re.compile(r"://|@ |--(extra-)?index|--find-links|--trusted-host")


def pins(name: str) -> dict[str, str]:
    """The packages of a pins file; a package pinned twice (for different Pythons) would hide a difference."""
    found = PIN.findall((ROOT / name).read_text())
    assert len(found) == len(dict(found)), f"{name} pins a package twice"
    return dict(found)


def assert_pinned(requirements: list[str], pinned: dict[str, str]) -> None:
    """Every requirement has a pin, and the pin lies in its range."""
    for requirement in map(Requirement, requirements):
        name = requirement.name.lower().replace("_", "-")
        assert name in pinned, f"{name} is not pinned"
        assert requirement.specifier.contains(pinned[name]), f"{name}: {pinned[name]} is outside {requirement}"


def test_runtime_and_development_dependencies_are_pinned() -> None:
    assert_pinned(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"], pins("constraints.txt"))


def test_every_extra_is_pinned() -> None:
    extras = [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
    assert_pinned(PROJECT["dependencies"] + extras, pins("constraints-extras.txt"))


def test_both_pins_files_agree() -> None:
    extras = pins("constraints-extras.txt")
    assert {name: extras.get(name) for name in pins("constraints.txt")} == pins("constraints.txt")


def test_deepspeed_is_not_installed_by_default() -> None:
    assert not {"deepspeed", "transformers", "spikingjelly"} & pins("constraints.txt").keys()


def test_tensorboard_is_installed_by_default() -> None:
    assert "tensorboard" in pins("constraints.txt")


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-extras.txt"])
def test_pins_have_hashes_and_name_no_host(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not HOST.search(text)
    blocks = re.split(r"\n(?=[a-z0-9])", text)
    assert all("--hash=sha256:" in block for block in blocks if "==" in block)


def test_torchvision_and_timm_match_torch() -> None:
    import timm
    import torch
    import torchvision

    assert timm.list_models("resnet18")
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9], [5.0, 5.0, 6.0, 6.0]])
    kept = torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)  # a compiled operator: fails on a mismatch
    assert kept.tolist() == [0, 2]


def test_torchvision_is_the_build_made_for_the_installed_torch() -> None:
    wanted = [Requirement(line) for line in importlib.metadata.requires("torchvision") or []]
    torch = next(requirement for requirement in wanted if requirement.name == "torch")
    assert torch.specifier.contains(importlib.metadata.version("torch").split("+")[0])


# A path of somebody's machine, or the host of a package index. Put together here so that this file passes.
FORBIDDEN = re.compile(
    r"(?<![\w./-])/(?:work|root|home/\w+)/|" + "|".join(map(re.escape, ("pypi" + ".org", "python" + "hosted")))
)


def tracked_files() -> list[Path]:
    """All files that git tracks."""
    try:
        out = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git work tree: clone the repository to run this test")
    return [ROOT / name for name in out.split("\0") if name and (ROOT / name).is_file()]


def test_no_machine_path_and_no_index_host_in_a_tracked_file() -> None:
    found = []
    for path in tracked_files():
        text = path.read_bytes().decode(errors="ignore")
        found += [f"{path.relative_to(ROOT)}: {match.group()}" for match in FORBIDDEN.finditer(text)]
    assert not found


@pytest.fixture
def setup_venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The environment script on a small project of its own, with every command recorded instead of run."""
    spec = importlib.util.spec_from_file_location("setup_venv", ROOT / ".ci/setup_venv.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / ".ci").mkdir()
    for name in module.INPUTS:
        (tmp_path / name).write_text(f"# {name}\n")
    (tmp_path / module.BASE_PINS).write_text(
        "torch==2\n    --hash=sha256:a\nuv==1.0 \\\n    --hash=sha256:b\n    # via x\n"
    )
    monkeypatch.setattr(module, "ROOT", tmp_path)
    module.commands = []  # type: ignore[attr-defined]
    module.failing = ()  # type: ignore[attr-defined]

    def run(*command: str | Path) -> bool:
        line = " ".join(map(str, command))
        module.commands.append(line)
        if "-m venv" in line:
            (tmp_path / ".venv/bin").mkdir(exist_ok=True)
            (tmp_path / ".venv/bin/python").touch()
        if "uv.txt" in line:
            (tmp_path / ".venv/bin/uv").touch()
        return not any(word in line for word in module.failing)

    monkeypatch.setattr(module, "run", run)
    return module


def test_the_second_call_runs_nothing(setup_venv: ModuleType) -> None:
    assert setup_venv.main([".venv"]) == 0
    assert setup_venv.commands
    setup_venv.commands.clear()
    assert setup_venv.main([".venv"]) == 0
    assert setup_venv.commands == []


@pytest.mark.parametrize("changed", ["constraints.txt", "pyproject.toml"])
def test_changed_pins_are_installed(setup_venv: ModuleType, tmp_path: Path, changed: str) -> None:
    setup_venv.main([".venv"])
    setup_venv.commands.clear()
    with (tmp_path / changed).open("a") as file:
        file.write("# new\n")
    assert setup_venv.main([".venv"]) == 0
    assert any("--require-hashes -r constraints.txt" in line for line in setup_venv.commands)


def test_uv_comes_from_the_pins_with_its_hashes(setup_venv: ModuleType, tmp_path: Path) -> None:
    setup_venv.main([".venv"])
    assert (tmp_path / ".venv/uv.txt").read_text() == "uv==1.0 \\\n    --hash=sha256:b\n    # via x\n"
    assert any("--require-hashes -r" in line and "uv.txt" in line for line in setup_venv.commands)


def test_packages_are_compiled_as_they_are_installed(setup_venv: ModuleType) -> None:
    setup_venv.main([".venv", "deepspeed"])
    by_uv = [line for line in setup_venv.commands if "bin/uv pip" in line]
    assert len(by_uv) == 3
    assert all("--compile-bytecode" in line for line in by_uv)


def test_pip_steps_in_where_uv_fails(setup_venv: ModuleType) -> None:
    setup_venv.failing = ("bin/uv pip",)
    assert setup_venv.main([".venv"]) == 0
    assert any("-m pip install --quiet --require-hashes -r constraints.txt" in line for line in setup_venv.commands)


def test_an_unfinished_installation_is_started_afresh(setup_venv: ModuleType, tmp_path: Path) -> None:
    setup_venv.failing = ("constraints.txt",)
    assert setup_venv.main([".venv"]) == 2
    (tmp_path / ".venv/half").mkdir()
    setup_venv.failing = ()
    assert setup_venv.main([".venv"]) == 0
    assert not (tmp_path / ".venv/half").exists()


def test_an_extra_is_installed_on_top_once(setup_venv: ModuleType) -> None:
    setup_venv.main([".venv"])
    setup_venv.commands.clear()
    assert setup_venv.main([".venv", "deepspeed"]) == 0
    assert [line for line in setup_venv.commands if line.endswith("--extra deepspeed")] == setup_venv.commands
    setup_venv.commands.clear()
    assert setup_venv.main([".venv", "deepspeed"]) == 0
    assert setup_venv.commands == []


def test_a_python_outside_the_pins_is_refused(
    setup_venv: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    assert setup_venv.main([".venv"]) == 2
    assert "Python 3.9" in capsys.readouterr().err
    assert not (tmp_path / ".venv").exists()


def test_a_missing_venv_module_names_its_package(
    setup_venv: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "version_info", (3, 11, 2))
    assert setup_venv.main([".venv"]) == 2
    assert "apt-get install python3.11-venv" in capsys.readouterr().err
