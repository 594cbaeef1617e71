from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tksbench.cli import run_command
from tksbench.launch import rehearsal
from tksbench.launch.__main__ import main
from tksbench.launch.plan import collect_runs
from tksbench.recipe import RecipeError, yamltree
from tksbench.runs import attempt_ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from tksbench.recipe import Run
    from tksbench.runs import Ledger

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def environment(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TKSBENCH_RESULTS", str(ledger.root))
    monkeypatch.delenv("TKSBENCH_DATA", raising=False)
    monkeypatch.chdir(ledger.root.parent)


@pytest.mark.parametrize("flag", ["--max-gpu-hours", "--budget"])  # the latter is its former name
def test_gpu_hours_are_limited(recipe: str, capsys: pytest.CaptureFixture[str], flag: str) -> None:
    assert main([recipe, "--plan", "--json", flag, "0"]) == 0
    reasons = {row["reason"].partition(":")[0] for row in json.loads(capsys.readouterr().out)}
    assert reasons == {"over --max-gpu-hours"}


def test_plan_json_keeps_the_contract(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([recipe, "--plan", "--json", "--seeds", "2"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 4
    assert all({"id", "name", "scale", "action", "reason", "gpu_hours"} <= row.keys() for row in rows)
    assert all({"wall_hours", "energy_kwh", "disk_bytes", "done_after_hours"} <= row.keys() for row in rows)


def test_overrides_and_options_may_stand_in_any_order(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["optim.epochs=7", "--plan", recipe, "--json", "model.T=2"])
    assert {row["epochs"] for row in json.loads(capsys.readouterr().out)} == {7}


@pytest.mark.parametrize("command", ["--plan", "--status", "--cancel", "--rehearse"])
def test_an_override_that_no_run_takes_is_refused(recipe: str, command: str) -> None:
    with pytest.raises(RecipeError, match=r"command line 'features.R=2': no run here has features.R; one of kind"):
        main([recipe, command, "features.R=2"])


@pytest.mark.parametrize("command", ["--plan", "--status", "--cancel", "--rehearse"])
def test_the_runs_that_an_override_does_not_change_are_named(
    recipe: str, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "command", lambda *words: 0)
    main([recipe, command, "method.alpha=0.5"])
    note = "note: method.alpha=0.5 changes nothing of cifar10/spiking_resnet19/baseline\n"
    assert note in capsys.readouterr().out
    if command in ("--plan", "--status"):
        main([recipe, command, "method.alpha=0.5", "--json"])
        assert len(json.loads(capsys.readouterr().out)) == 2


def test_a_plan_for_people_fits_80_columns(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([recipe, "--plan"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    counted = lines.index("2 runs: 2 run")
    assert [line.split()[0] for line in lines[counted + 2 :]] == ["GPU-hours", "wall", "energy", "disk"]


def test_a_reason_worth_telling_is_told_at_80_columns_as_well(
    recipe: str, ledger: Ledger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt_ended(ledger.prepare(collect_runs([recipe], "paper")[0]), "failed", "disk full")
    for columns in ("80", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        main([recipe, "--plan"])
        assert capsys.readouterr().out.count("failed before (disk full)") == 1


def test_a_blocked_plan_tells_how_to_get_the_data(real_recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([real_recipe, "--plan"])
    assert capsys.readouterr().out.count("python -m tksbench.data prepare cifar10") == 1


def test_launching_without_data_is_bad_input_and_writes_nothing(
    real_recipe: str, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([real_recipe]) == 2
    assert "blocked: cifar10/spiking_resnet19/tks seed 42: data set cifar10 is not under" in capsys.readouterr().out
    assert not ledger.root.exists()


def test_launching_what_is_done_does_nothing(
    recipe: str, finish: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    for run in collect_runs([recipe], "paper"):
        finish(run)
    assert main([recipe]) == 0
    out = capsys.readouterr().out
    assert "skip: cifar10/spiking_resnet19/tks seed 42: finished here" in out
    assert "2 runs asked for: nothing was left to do" in out


def test_status_of_a_recipe_includes_runs_not_yet_started(
    recipe: str, finish: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    finish(collect_runs([recipe], "paper")[0])
    main([recipe, "--status", "--json"])
    assert [row["state"] for row in json.loads(capsys.readouterr().out)] == ["done", "new"]


def test_status_without_a_recipe_lists_the_results_folder(
    recipe: str, finish: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    run = collect_runs([recipe], "paper")[0]
    finish(run)
    assert main(["--status"]) == 0
    out = capsys.readouterr().out
    assert run.name in out
    assert "1 run: 1 done" in out


def test_status_without_a_recipe_takes_patterns(
    recipe: str, finish: Callable[[Run], None], capsys: pytest.CaptureFixture[str], ledger: Ledger
) -> None:
    finish(collect_runs([recipe], "paper")[0])
    assert main(["--status", "--only", "*/tks"]) == 0
    assert capsys.readouterr().out.endswith("1 run: 1 done\n")
    assert run_command(main, ["--status", "--only", "*/other"]) == 2
    assert capsys.readouterr().err == f"tksbench: error: --only '*/other' matches no run at {ledger.root}\n"


def test_a_long_reason_is_readable_in_the_status_at_80_columns(
    recipe: str, ledger: Ledger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = collect_runs([recipe], "paper")[0]
    attempt_ended(ledger.prepare(run), "failed", "given up after 4 starts")
    for columns in ("80", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        main([recipe, "--status"])
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= int(columns)
        assert out.count("given up after 4 starts") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.yaml", "--plan"], "nowhere.yaml: no such file; recipes here: small.yaml"),
        (["small.yaml", "--scale", "papre"], "no scale 'papre'"),
        (["small.yaml", "optim.epoch=3"], "command line 'optim.epoch=3': optim.epoch: unknown key; did you mean"),
        (["small.yaml", "--only", "nothing"], "--only 'nothing' matches no run at scale paper"),
        (["small.yaml", "--seeds", "0"], "--seeds 0: expected a number from 1 to 1000"),
        (["small.yaml", "--seeds", "two"], "argument --seeds: invalid int value: 'two'"),
        (["small.yaml", "--max-gpu-hours", "nan"], "--max-gpu-hours nan: expected GPU-hours"),
        (["small.yaml", "--budget", "-1"], "--max-gpu-hours -1.0: expected GPU-hours"),
        (["small.yaml", "--plam"], "unrecognized arguments: --plam"),
        (["small.yaml", "--json"], "--json goes with --plan, --rehearse or --status"),
        (["small.yaml", "--plan", "--status"], "exclude each other"),
        (["small.yaml", "--status", "--again"], "--again trains, which --status and --cancel do not"),
        (["small.yaml", "--watch"], "--watch goes with --status"),
        (["--status", "--watch", "--json"], "--watch goes with --status, and not with --json"),
        ([], "no recipe named"),
    ],
)
def test_bad_input_gives_one_message_status_2_and_no_files(
    words: list[str], message: str, recipe: str, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(main, words) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert (out, err.count("\n")) == ("", 1)
    assert not ledger.root.exists()


def test_there_are_at_most_sixteen_flags(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    flags = [line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("-")]
    assert 0 < len(flags) <= 16


def test_a_plan_of_the_papers_recipes_imports_no_torch() -> None:
    recipes = [str(ROOT / "recipes" / f"{name}.yaml") for name in ("cifar10", "cifar100", "imagenet")]
    code = (
        "import sys; from tksbench.launch.__main__ import main; main(sys.argv[1:]);"
        "slow = ('torch', 'numpy', 'pandas', 'timm', 'submitit', 'rich.progress', 'tksbench.runs.record');"
        "print([name for name in slow if name in sys.modules], file=sys.stderr)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    command = [sys.executable, "-c", code, *recipes, "--plan"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "80"})
    print(f"plan: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before:.2f} s of CPU time")  # noqa: T201
    assert done.stderr.strip() == "[]"
    assert "imagenet/sew_resnet50/tks" in done.stdout


def test_a_plan_of_many_recipes_parses_each_file_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed, compose = list[str](), yaml.compose
    monkeypatch.setattr(yaml, "compose", lambda text, **rest: parsed.append(text) or compose(text, **rest))
    yamltree.parse.cache_clear()
    recipes = [str(path) for path in sorted((ROOT / "recipes").rglob("*.yaml"))]
    first = collect_runs(recipes, "paper")
    assert len(parsed) == len(set(parsed)) >= len(recipes)
    assert [run.id for run in collect_runs(recipes, "paper")] == [run.id for run in first]


def test_a_reader_that_leaves_early_sees_no_traceback() -> None:
    recipe = str(ROOT / "recipes" / "cifar10.yaml")
    command = f"{sys.executable} -m tksbench.launch {recipe} --plan --json --seeds 500 | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S602
    assert (done.stdout, done.stderr) == ("[\n", "")


def test_a_reader_that_leaves_does_not_change_the_exit_status(real_recipe: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "tksbench.launch", real_recipe]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=environment)
    os.close(writer)
    assert (done.returncode, done.stderr) == (2, b"")
