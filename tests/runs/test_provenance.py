from __future__ import annotations

import dataclasses
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from tksbench.runs.provenance import MAX_DIFF, collect_provenance, git_state, rerun_command
from tksbench.runs.record import Provenance

if TYPE_CHECKING:
    from pathlib import Path

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
