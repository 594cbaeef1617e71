"""`python -m tksbench.diff`: what differs, where the curves part, the exit status, and bad input."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tksbench.cli import run_command
from tksbench.diff import main
from tksbench.runs import sha256_file
from tksbench.runs.record import save_record

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import World

    from tksbench.runs.record import Record

CURVE = [[2.5, 2.25, 2.0], [1.5, 1.25, 1.0]]


def lay(world: World, seed: int = 42, curve: list[list[float]] = CURVE, **changes: object) -> Record:
    """A finished run with a log of steps."""
    run = world.run("mini", seed=seed)
    folder = world.ledger.prepare(run)
    folder.losses.write_text("".join(json.dumps({"epoch": i, "loss": row}) + "\n" for i, row in enumerate(curve)))
    record = world.record(run, 60.0, {})
    files = {**record.files, folder.losses.name: sha256_file(folder.losses)}
    record = world.record(run, 60.0, {"files": files, **changes})
    save_record(folder.record, record)
    return record


def moved(world: World, tmp_path: Path, record: Record) -> Path:
    """The run's folder as another machine would have it."""
    target = tmp_path / "elsewhere" / "runs" / record.id
    shutil.move(world.ledger.run_dir(record.id).path, target)
    return target


def test_equal_runs_are_status_0_even_where_machine_and_versions_are_others(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = lay(world)
    other = moved(world, tmp_path, record)
    plain = record.model_dump(mode="json", by_alias=True)
    proof = plain["provenance"] | {"versions": {"torch": "2.16.0"}, "commit": "beef"}
    lay(world, provenance=proof, cost=plain["cost"] | {"device": "H100"})
    assert main([record.id[:6], str(other)]) == 0
    out = capsys.readouterr().out
    assert "torch                  A 2.16.0   B 2.15.0" in out
    assert "device                 A H100   B CPU" in out
    assert "commit                 A beef   B c0ffee" in out
    assert "loss        equal over 6 steps" in out
    assert out.endswith("\nequal to the bit\n")


MACHINE = {"kind": "AuthenticAMD family 25", "instructions": "AVX2", "compiler": "gcc 12"}
ORIGIN = {"machine": MACHINE, "environment": {}, "code": "1" * 16, "dirty": False, "diff": ""}


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({}, {"machine": MACHINE | {"instructions": "AVX512"}}, "  instructions           A AVX2   B AVX512\n"),
        (
            {},
            {"environment": {"ONEDNN_MAX_CPU_ISA": "AVX2"}},
            "environment 1 of 1 differ\n  ONEDNN_MAX_CPU_ISA     A not there   B AVX2\n",
        ),
        ({}, {"machine": {}}, "environment B: not recorded, nor the instruction set\n"),
        ({}, {}, "environment equal, no variable that changes bits\n"),
        ({"code": "2" * 16}, {}, f"  code                   A {'2' * 16}   B {'1' * 16}\n"),
        (
            {"dirty": True, "diff": "# from epoch 1, step 0: torch 2.14.0"},
            {},
            "  attempts 1             A from epoch 1, step 0: torch 2.14.0   B not there\n",
        ),
    ],
)
def test_what_is_otherwise_in_machine_environment_and_code_is_named(
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    first: dict[str, object],
    second: dict[str, object],
    said: str,
) -> None:
    plain = lay(world).model_dump(mode="json", by_alias=True)["provenance"] | ORIGIN
    record = lay(world, provenance=plain | first)
    one = moved(world, tmp_path, record)
    lay(world, provenance=plain | second)
    main([str(one), record.id])
    assert said in capsys.readouterr().out


def test_the_first_step_at_which_the_curves_part_is_named(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = lay(world)
    other = moved(world, tmp_path, record)
    lay(world, curve=[CURVE[0], [1.5, 1.375, 0.5]], weights_sha256="b" * 64)
    assert main([record.id, str(other)]) == 1
    out = capsys.readouterr().out
    assert "loss        part at epoch 1, step 1 (from 0), by 0.125\n" in out
    assert "A 1.375   B 1.25" in out
    assert "weights     differ, sha256 A bbbbbbbbbbbb… B aaaaaaaaaaaa…" in out
    assert out.endswith("different: loss, weights\n")
    assert max(map(len, out.splitlines()[5:])) <= 80


def test_records_alone_are_compared_by_epoch_and_a_log_that_is_not_theirs_is_not_used(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = lay(world), lay(world, seed=43)
    world.ledger.run_dir(second.id).losses.write_text(json.dumps({"epoch": 0, "loss": [9.0]}) + "\n")
    assert main([first.id, second.id]) == 1
    out = capsys.readouterr().out
    assert "seed                   A 42   B 43" in out
    assert "loss        equal over 2 epochs; B: no log of steps" in out
    assert out.count("altered") == 1
    assert "   altered since its record was made, not looked at: losses.jsonl\n" in out
    assert "right in one alone, of 200: " in out


def test_an_unfinished_run_is_compared_as_far_as_it_got_and_never_called_equal(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = lay(world)
    other = moved(world, tmp_path, record)
    lay(world, curve=CURVE[:1])
    world.ledger.run_dir(record.id).record.unlink()
    assert main([record.id, str(other)]) == 1
    assert "loss        equal over 3 steps, then only one goes on" in capsys.readouterr().out
    lay(world)
    world.ledger.run_dir(record.id).record.unlink()
    assert main([record.id, str(other)]) == 1
    assert "no difference seen, but not known: metrics, weights" in capsys.readouterr().out


def test_the_beginning_of_two_ids_names_both(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    record = lay(world)
    twin = record.id[:4] + "x"
    shutil.copytree(world.ledger.run_dir(record.id).path, world.ledger.run_dir(twin).path)
    assert run_command(main, [record.id[:4], record.id]) == 2
    assert f"begins 2 ids: {record.id}, {twin}; type more of it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x", "x"], "'x' begins no id under results"),
        (["", "x"], "'' begins no id under results"),
        (["results/records/none.json", "x"], "results/records/none.json: no such record or run folder"),
        (["recipes", "x"], "holds neither record.json nor run.json"),
        (["recipes/cifar10.yaml", "x"], "not a record"),
        (["x"], "the following arguments are required: RUN"),
    ],
)
def test_bad_input_is_one_message_and_status_2(
    world: World, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    lay(world)
    lay(world, seed=43)
    assert run_command(main, words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
