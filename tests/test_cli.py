"""The dispatcher `tksbench`."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest

from tksbench import cli
from tksbench.errors import TksbenchError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module that stands for a subcommand; the test sets its `main`."""
    module = types.ModuleType("tksbench_fake_command")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(cli, "COMMANDS", {"launch": (module.__name__, "train")})
    return module


def test_hands_the_arguments_on_and_returns_the_status(command: types.ModuleType) -> None:
    seen: list[str] = []
    command.main = lambda argv: seen.extend(argv) or 1  # type: ignore[attr-defined]
    assert cli.main(["launch", "a.yaml", "--plan"]) == 1
    assert seen == ["a.yaml", "--plan"]


def test_no_arguments_for_a_command_are_not_those_of_the_process(command: types.ModuleType) -> None:
    command.main = lambda argv: 0 if argv == [] else 1  # type: ignore[attr-defined]
    assert cli.main(["launch"]) == 0


def test_a_users_mistake_is_one_line_and_status_2(
    command: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(argv: list[str] | None) -> int:
        raise TksbenchError("a.yaml:3: unknown key 'epoch'; did you mean 'epochs'?")

    command.main = fail  # type: ignore[attr-defined]
    assert cli.main(["launch"]) == 2
    assert capsys.readouterr().err == "tksbench: error: a.yaml:3: unknown key 'epoch'; did you mean 'epochs'?\n"


def test_ctrl_c_is_status_130(command: types.ModuleType) -> None:
    def interrupt(argv: list[str] | None) -> int:
        raise KeyboardInterrupt

    command.main = interrupt  # type: ignore[attr-defined]
    assert cli.main(["launch"]) == 130


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lunch"]) == 2
    assert capsys.readouterr().err == "tksbench: error: unknown command 'lunch'; did you mean 'launch'?\n"


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_help_names_every_command(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_answers_help_on_80_columns(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "usage:" in out
    assert [line for line in out.splitlines() if len(line) > 80] == []


def test_the_dispatcher_imports_no_heavy_library() -> None:
    heavy = "{'torch', 'numpy', 'pandas', 'timm', 'matplotlib'}"
    code = f"import sys, tksbench.cli; print(sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "[]\n"


@pytest.mark.parametrize("module", ["tksbench", "tksbench.launch"])
def test_a_reader_who_has_seen_enough_is_no_error(module: str) -> None:
    words = [*(["launch"] * (module == "tksbench")), "recipes/cifar10.yaml", "--scale", "paper", "--plan"]
    command = [sys.executable, "-m", module, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        told = process.stderr.read().decode()
    assert (process.returncode, "Traceback" in told) == (0, False), told
