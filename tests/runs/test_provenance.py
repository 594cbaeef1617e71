from __future__ import annotations

import dataclasses
import platform
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tksbench
from tksbench.runs.provenance import MAX_DIFF, collect_provenance, cpu_name, git_state, rerun_command, versions
from tksbench.runs.record import Provenance

if TYPE_CHECKING:
    from tksbench.recipe import Run


def _git(folder: Path, *words: str) -> None:
    names = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(folder), *names, *words], check=True, capture_output=True)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A committed package in a checkout of its own."""
    package = tmp_path / "checkout" / "tksbench"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("a = 1\n")
    _git(package.parent, "init", "-q")
    _git(package.parent, "add", ".")
    _git(package.parent, "commit", "-q", "-m", "first")
    return package


def test_a_clean_checkout_has_a_commit_and_no_diff(package: Path) -> None:
    state = git_state(package)
    assert len(state["commit"]) == 40
    assert (state["dirty"], state["diff"]) == (False, "")


def test_changed_and_new_code_is_kept(package: Path) -> None:
    (package / "__init__.py").write_text("a = 2\n")
    (package / "new.py").touch()
    state = git_state(package)
    assert state["dirty"]
    assert "+a = 2" in state["diff"]
    assert "untracked: tksbench/new.py" in state["diff"]


def test_results_do_not_make_a_checkout_dirty(package: Path) -> None:
    (package.parent / "results").mkdir()
    (package.parent / "results" / "table1.md").touch()
    assert not git_state(package)["dirty"]


def test_a_long_diff_is_cut(package: Path) -> None:
    (package / "__init__.py").write_text("a = 2\n" * MAX_DIFF)
    diff = git_state(package)["diff"]
    assert len(diff) < MAX_DIFF + 100
    assert "[cut: " in diff


def test_a_copy_inside_another_checkout_borrows_no_commit(package: Path) -> None:
    copy = package.parent / ".venv" / "tksbench"
    copy.mkdir(parents=True)
    (copy / "__init__.py").touch()
    assert git_state(copy) == {"commit": None, "dirty": None, "diff": ""}


def test_what_is_collected_fits_the_record() -> None:
    collected = collect_provenance(command="c", started="s", finished="f", devices=[], data={"x": "0"}, threads=1)
    checked = Provenance.model_validate(collected)
    assert checked.versions["tksbench"]
    assert checked.versions["torch"]
    assert checked.devices[0]


def test_the_rerun_command_names_recipe_scale_run_and_overrides(run: Run) -> None:
    words = shlex.split(rerun_command(run))
    assert words[:4] == ["python", "-m", "tksbench.launch", run.recipe]
    assert words[-4:] == ["--scale", "paper", "--only", run.name]


@pytest.mark.parametrize("first", [0, 7, 42])
def test_the_rerun_command_reaches_the_seed_from_the_recipes_first(run: Run, first: int) -> None:
    third = dataclasses.replace(run, first_seed=first, seed=first + 2)
    assert shlex.split(rerun_command(third))[-2:] == ["--seeds", "3"]
    assert "--seeds" not in rerun_command(dataclasses.replace(run, first_seed=first, seed=first))


def test_staged_changes_count(package: Path) -> None:
    (package / "__init__.py").write_text("a = 2\n")
    _git(package.parent, "add", ".")
    assert "+a = 2" in git_state(package)["diff"]


def test_ignored_files_do_not_count_and_new_ones_are_listed_one_a_line(package: Path) -> None:
    (package / ".gitignore").write_text("*.pyc\n")
    _git(package.parent, "add", ".")
    _git(package.parent, "commit", "-q", "-m", "second")
    for name in ("a.py", "b.py", "c.pyc"):
        (package / name).touch()
    assert git_state(package)["diff"] == "untracked: tksbench/a.py\nuntracked: tksbench/b.py\n"


def test_a_cut_diff_ends_with_a_whole_letter(package: Path) -> None:
    (package / "__init__.py").write_text("µ" * MAX_DIFF)
    diff = git_state(package)["diff"]
    assert "�" not in diff
    assert "µ\n[cut: " in diff


def test_a_checkout_without_a_commit_has_none(tmp_path: Path) -> None:
    package = tmp_path / "tksbench"
    package.mkdir()
    (package / "__init__.py").touch()
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", ".")
    assert git_state(package)["commit"] is None


def test_this_package_is_looked_at_unless_another_is_named() -> None:
    assert git_state() == git_state(Path(tksbench.__file__).parent)


def test_no_git_is_no_commit(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state(package) == {"commit": None, "dirty": None, "diff": ""}


def test_a_slow_git_is_not_waited_for(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def slow(command: list[str], **options: object) -> None:
        asked.append(options["timeout"])
        raise subprocess.TimeoutExpired(command, 20)

    monkeypatch.setattr("subprocess.run", slow)
    assert git_state(package)["commit"] is None
    assert asked == [20]


def test_the_processors_name_is_linuxs(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "processor\t: 0\nmodel name\t: A: fast one\nprocessor\t: 1\nmodel name\t: another\n"
    monkeypatch.setattr("pathlib.Path.read_text", lambda self, **_: text if str(self) == "/proc/cpuinfo" else "")
    assert cpu_name() == "A: fast one"


@pytest.mark.parametrize("text", [None, "processor\t: 0\n"])
def test_without_a_name_the_processor_is_its_architecture(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    def read(_self: Path, **_options: object) -> str:
        if text is None:
            raise FileNotFoundError
        return text

    monkeypatch.setattr("pathlib.Path.read_text", read)
    assert cpu_name() == platform.machine()


def test_one_process_on_one_node_unless_told_otherwise() -> None:
    collected = collect_provenance(command="c", started="s", finished="f", devices=["GPU"], data={"x": "0"})
    rest = {key: collected[key] for key in ("processes", "nodes", "threads", "devices", "command", "started", "data")}
    assert rest == {
        "processes": 1,
        "nodes": 1,
        "threads": None,
        "devices": ["GPU"],
        "command": "c",
        "started": "s",
        "data": {"x": "0"},
    }
    assert (collected["finished"], collected["python"]) == ("f", platform.python_version())
    assert collected["platform"] == f"{platform.system()} {platform.machine()}"


def test_the_whole_rerun_command(run: Run) -> None:
    third = dataclasses.replace(run, recipe="r.yaml", overrides=("optim.lr=1", "data.name=a b"), seed=44)
    command = "python -m tksbench.launch r.yaml optim.lr=1 'data.name=a b' --scale paper --only " + run.name
    assert rerun_command(third) == command + " --seeds 3"
    assert rerun_command(third, threads=2) == f"OMP_NUM_THREADS=2 {command} --seeds 3"


def test_packages_that_are_not_there_have_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tksbench.runs.provenance.PACKAGES", ("numpy", "no-such-package", "torch"))
    assert list(versions()) == ["tksbench", "numpy", "torch"]


def test_changed_prose_does_not_make_a_checkout_dirty(package: Path) -> None:
    notes = package.parent / "README.md"
    notes.write_text("one\n")
    _git(package.parent, "add", ".")
    _git(package.parent, "commit", "-q", "-m", "second")
    notes.write_text("two\n")
    assert not git_state(package)["dirty"]


def test_a_diff_of_bytes_that_are_no_text_is_kept_as_far_as_it_is(package: Path) -> None:
    (package / "__init__.py").write_bytes(b"a = '\xe9'\n")
    assert "+a = '\ufffd'" in git_state(package)["diff"]


def test_an_untracked_package_in_a_checkout_borrows_no_commit(package: Path) -> None:
    other = package.parent / "other"
    other.mkdir()
    (other / "__init__.py").touch()
    assert git_state(other)["commit"] is None
