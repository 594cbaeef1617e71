from __future__ import annotations

import dataclasses
import platform
import shlex
from typing import TYPE_CHECKING, Any

import pytest

from tksbench.runs import provenance
from tksbench.runs.code import Code
from tksbench.runs.provenance import (
    CUT,
    MAX_DIFF,
    collect_provenance,
    rerun_command,
    same_code,
    setup_apart,
    software,
    state_name,
    versions,
)
from tksbench.runs.record import Provenance

if TYPE_CHECKING:
    from tksbench.recipe import Run

SETUP: dict[str, Any] = {**software(), "devices": ["CPU"], "threads": 1, "environment": {}, "outside": {}}
CLEAN: dict[str, Any] = {"commit": "c" * 40, "dirty": False, "code": "1" * 16, "setup": SETUP}


def collect(log: list[dict[str, Any]] | None = None, **origin: Any) -> dict[str, Any]:
    """Provenance of a run that was finished by an attempt of this origin."""
    last = CLEAN | origin
    return collect_provenance(
        command="c", started="s", finished="f", data={"x": "0"}, origin=last, log=log or [], patch_of="<{}>\n".format
    )


def start(epoch: int, **origin: Any) -> dict[str, Any]:
    return {"event": "start", **CLEAN, **origin, "epoch": epoch, "step": 0}


def test_what_is_collected_fits_the_record() -> None:
    checked = Provenance.model_validate(collect())
    assert checked.versions["tksbench"]
    assert checked.versions["torch"]
    assert (checked.commit, checked.dirty, checked.diff, checked.code) == ("c" * 40, False, "", "1" * 16)
    assert (checked.python, checked.platform) == (
        platform.python_version(),
        f"{platform.system()} {platform.machine()}",
    )


def test_without_a_commit_nothing_is_called_clean_or_dirty() -> None:
    assert (collect(commit=None)["commit"], collect(commit=None)["dirty"]) == (None, None)


def test_attempts_of_one_code_under_one_setup_are_clean_whatever_commits_were_made_in_between() -> None:
    assert collect([start(0), start(2, commit="b" * 40)], commit="b" * 40)["dirty"] is False


CHANGED = {"dirty": True, "patch": "p" * 16}


@pytest.mark.parametrize(
    ("first", "lines"),
    [
        (CHANGED, ["# from epoch 0, step 0: uncommitted changes", f"<{'p' * 16}>"]),
        (
            {"code": "2" * 16, "commit": "b" * 40},
            [f"# from epoch 0, step 0: commit {'b' * 40}, code {'2' * 16}"],
        ),
        ({"code": None, "commit": "b" * 40}, [f"# from epoch 0, step 0: commit {'b' * 40}, code unknown"]),
        ({"setup": SETUP | {"threads": 2}}, ["# from epoch 0, step 0: threads 2"]),
        (
            {"setup": SETUP | {"versions": versions() | {"torch": "1.0"}}},
            ["# from epoch 0, step 0: torch 1.0"],
        ),
        (
            {"setup": SETUP | {"environment": {"ATEN_CPU_CAPABILITY": "default"}}},
            ["# from epoch 0, step 0: ATEN_CPU_CAPABILITY default"],
        ),
    ],
)
def test_an_attempt_that_lasts_makes_the_record_dirty_and_is_named(first: dict[str, Any], lines: list[str]) -> None:
    collected = collect([start(0, **first), start(2)])
    assert (collected["dirty"], collected["diff"].splitlines()) == (True, lines)
    rolled_back = [start(0), start(2, **first), start(1)]
    assert collect(rolled_back)["dirty"] is False


def test_changes_of_the_last_attempt_and_of_those_before_are_kept_once_each() -> None:
    log = [start(0, **CHANGED), start(1, dirty=True, patch="q" * 16), start(2, **CHANGED)]
    assert collect(log, **CHANGED)["diff"] == f"<{'p' * 16}>\n<{'q' * 16}>\n"


def test_what_was_loaded_late_or_from_elsewhere_is_named() -> None:
    late = {"event": "end", "late": ["tksbench/data/cifar.py"]}
    said = collect([start(0), late])["diff"]
    assert said == "# from epoch 0, step 0: written while it was being loaded, or loaded late: tksbench/data/cifar.py"
    outside = collect(setup=SETUP | {"outside": {"mine": "ab"}})
    assert (outside["dirty"], outside["diff"]) == (True, "# from outside the checkout: mine (sha256 ab)")


def test_a_long_diff_is_cut_at_a_whole_letter() -> None:
    collected = collect_provenance(
        command="c",
        started="s",
        finished="f",
        data={},
        origin=CLEAN | CHANGED,
        patch_of=lambda name: "a" + "µ" * MAX_DIFF,
    )
    assert len(collected["diff"]) < MAX_DIFF + 100
    assert f"µ{CUT}{2 * MAX_DIFF + 1:,} bytes in all]" in collected["diff"]
    assert "�" not in collected["diff"]


def test_rows_of_earlier_versions_are_compared_by_their_commits() -> None:
    assert same_code({"commit": "a"}, {"commit": "a", "code": "1"})
    assert not same_code({"commit": "a"}, {"commit": "b", "code": "1"})
    assert same_code({}, {"commit": "b", "code": "1"})


def test_a_setup_is_reduced_to_what_is_otherwise() -> None:
    setup = {"threads": 2, "nodes": 1, "versions": {"torch": "1", "numpy": "2"}, "old": 1}
    final = {"threads": 1, "nodes": 1, "versions": {"torch": "2", "numpy": "2", "timm": "3"}}
    assert setup_apart(setup, final) == {"threads": 2, "versions": {"timm": "", "torch": "1"}}
    assert setup_apart(final, final) == {}


def test_the_rerun_command_names_recipe_scale_run_and_overrides(run: Run) -> None:
    words = shlex.split(rerun_command(run))
    assert words[:4] == ["python", "-m", "tksbench.launch", run.recipe]
    assert words[-4:] == ["--scale", "paper", "--only", run.name]


@pytest.mark.parametrize("first", [0, 7, 42])
def test_the_rerun_command_reaches_the_seed_from_the_recipes_first(run: Run, first: int) -> None:
    third = dataclasses.replace(run, first_seed=first, seed=first + 2)
    assert shlex.split(rerun_command(third))[-2:] == ["--seeds", "3"]
    assert "--seeds" not in rerun_command(dataclasses.replace(run, first_seed=first, seed=first))


def test_the_whole_rerun_command(run: Run) -> None:
    third = dataclasses.replace(run, recipe="r.yaml", overrides=("optim.lr=1", "data.name=a b"), seed=44)
    command = "python -m tksbench.launch r.yaml optim.lr=1 'data.name=a b' --scale paper --only " + run.name
    assert rerun_command(third) == command + " --seeds 3"
    assert rerun_command(third, threads=2) == f"OMP_NUM_THREADS=2 {command} --seeds 3"
    variables = {"ATEN_CPU_CAPABILITY": "avx2", "NCCL_ALGO": "Ring"}
    assert rerun_command(third, None, variables) == f"ATEN_CPU_CAPABILITY=avx2 {command} --seeds 3"


def test_packages_that_are_not_there_have_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tksbench.runs.provenance.PACKAGES", ("numpy", "no-such-package", "torch"))
    assert list(versions()) == ["tksbench", "numpy", "torch"]


@pytest.mark.usefixtures("machine_as_it_is")
def test_a_state_is_named_after_commit_packages_environment_and_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    code = Code({}, "c0ffee" * 7)
    monkeypatch.setattr(provenance, "read_code", lambda: code)
    name = state_name()
    assert name is not None
    assert name.startswith("c0ffeec0ffee-")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert state_name() not in (None, name)
    for other in (Code({}), Code({}, "c0ffee" * 7, ("tksbench/snn/losses.py",), "diff")):
        monkeypatch.setattr(provenance, "read_code", lambda other=other: other)
        assert state_name() is None
