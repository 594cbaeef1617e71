"""`python -m tksbench.tables`: what it prints and writes, drift, why, publishing, and bad input."""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from tksbench.cli import run_command
from tksbench.recipe import expand, load_recipe
from tksbench.report.markup import escape_latex, escape_markdown
from tksbench.report.why import nearest
from tksbench.runs import Lease, attempt_ended, attempt_started, write_json
from tksbench.runs.record import save_record, unpack_correct
from tksbench.tables import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import World

ROOT = Path(__file__).parents[2]


def test_markdown_has_every_row_and_both_error_bars(world: World) -> None:
    world.publish(world.run(), 79.0)
    world.publish(world.run(seed=43), 81.0)
    assert main(["table1"]) == 0
    rows = [line for line in world.read("table1.md").splitlines() if line.startswith("| CIFAR")]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    assert cells[1][1:5] == [r"Other\_net & co [5]\*", "–", "–", "67.04"]
    assert cells[2] == [
        "CIFAR10",
        r"TKS\*",
        "ResNet-19",
        "4",
        "80.00",
        "",
        "80.00 ± 1.41",
        "80.00 ± 1.41",
        "2",
        "paper",
        "57.99 to 100.00",
        "73.91 to 84.95",
        "undecided (n=2)",
    ]
    assert len(cells) == 4


def test_each_state_of_a_run_is_told_in_both_formats(world: World) -> None:
    for name in ("tks", "baseline"):
        attempt_started(world.ledger.prepare(world.run("mini", name)))
    failed, running = (world.ledger.run_dir(world.run("mini", name).id) for name in ("tks", "baseline"))
    attempt_ended(failed, "failed", "50% of a_b is lost & {gone}")
    write_json(running.progress, {"epochs": 100})
    running.metrics.write_text('{"epoch": 61}\n')
    with Lease.acquire(running):
        main([])
    told = {
        "table1.md": [r"failed (50% of a\_b is lost & {gone})", "not run (no recipe)"],
        "table1.tex": [r"failed (50\% of a\_b is lost \& \{gone\})", "not run (no recipe)"],
        "table3.md": ["running 62 %"],
        "table3.tex": [r"running 62\,\%"],
    }
    for name, verdicts in told.items():
        assert [one for one in verdicts if one not in world.read(name)] == [], name
    shutil.rmtree(world.root / "results" / "runs")
    main([])
    assert re.search(r"\| not run \(about [\d.]+ GPU-h\) +\|", world.read("table1.md"))
    assert re.search(r"& not run \(about [\d.]+ GPU-h\) ", world.read("table1.tex"))


def test_files_are_equal_to_the_byte_when_rebuilt(world: World) -> None:
    for seed in (44, 42, 43):
        world.publish(world.run("mini", seed=seed), 50.0 + seed)
    main([])
    before = {path.name: path.read_bytes() for path in (world.root / "results" / "tables").iterdir()}
    shutil.rmtree(world.root / "results" / "tables")
    main([])
    assert before == {path.name: path.read_bytes() for path in (world.root / "results" / "tables").iterdir()}
    names = ("costs", "latency", "other-data", "smoke-checks", "table1", "table3", "twin")
    assert set(before) == {f"{name}.{suffix}" for name in names for suffix in ("md", "tex")}


def test_format_chooses_the_files(world: World) -> None:
    main(["table1", "--format", "tex"])
    assert [path.name for path in (world.root / "results" / "tables").iterdir()] == ["table1.tex"]


def test_terminal_fits_80_columns(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.publish(world.run("mini"), 62.5)
    main(["table1"])
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines()) <= 80
    assert "[36]" in out
    assert "62.50" in out
    assert "not comparable" in out


def test_wide_terminal_has_all_columns(world: World) -> None:
    from tksbench.report.evidence import Evidence
    from tksbench.report.paper_file import load_paper
    from tksbench.report.tables import build_table
    from tksbench.report.terminal import show

    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    show(build_table("table1", load_paper(world.root / "results"), {}, Evidence(), lambda _: None), console)
    text = console.export_text()
    assert "Test 95 %" in text
    assert "Scale" in text


def test_check_passes_on_what_was_written_and_fails_on_an_edited_number(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.publish(world.run("mini"), 62.5)
    main([])
    assert main(["--check"]) == 0
    path = world.root / "results" / "tables" / "table1.md"
    path.write_text(path.read_text().replace("62.50", "72.50", 1))
    capsys.readouterr()
    assert main(["--check"]) == 1
    assert "drift: results/tables/table1.md:7: is not what the records give" in capsys.readouterr().err


def test_check_fails_on_a_table_without_a_published_record(world: World) -> None:
    main([])
    world.publish(world.run("mini"))
    assert main(["--check"]) == 1


def test_check_fails_on_a_missing_file(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "table1", "--format", "md"]) == 1
    assert "table1.md: missing" in capsys.readouterr().err


def test_check_fails_on_a_damaged_published_record(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    record = world.publish(world.run("mini"))
    path = world.ledger.published(record.id)
    path.write_text(path.read_text()[:500])
    main([])
    assert main(["--check"]) == 1
    assert str(path.name) in capsys.readouterr().err


def test_what_is_refused_is_named_and_the_rest_is_aggregated(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    good = [world.publish(world.run("mini", seed=seed), 60.0) for seed in (42, 43, 44)]
    doctored = world.publish(world.run("mini", seed=45), 70.0)
    _edit(world.ledger.published(doctored.id), lambda plain: plain["metrics"]["best"].update(top1=99.0))
    altered = world.publish(world.run("mini", seed=46), 70.0)
    _edit(world.ledger.published(altered.id), lambda plain: plain["spec"]["optim"].update(lr=0.5))
    copied = world.ledger.published("0123456789abcdef")
    shutil.copy(world.ledger.published(good[0].id), copied)
    doubled = world.finish(world.run("mini", seed=44), 90.0)
    incomplete = world.finish(world.run("mini", seed=47), 70.0)
    world.ledger.run_dir(incomplete.id).logits_last.unlink()
    assert main([]) == 0
    refused = [line for line in capsys.readouterr().err.splitlines() if line.startswith("refused: ")]
    for record, reason in (
        (doctored.id, "metrics.best.top1 says 99.0, but 140 of 200 samples are right"),
        (altered.id, f"id is {altered.id}, but the spec hashes to "),
        ("0123456789abcdef", f"is the record of run {good[0].id}"),
        (doubled.id, f"run {doubled.id} is published with other content, which counts"),
        (incomplete.id, "logits_last.npy is missing"),
    ):
        assert [line for line in refused if record in line and reason in line], reason
    assert len(refused) == 5
    row = next(line for line in world.read("table1.md").splitlines() if "mini" in line)
    assert [cell.strip() for cell in row.split("|")][7:10] == ["60.00 ± 0.00", "60.00 ± 0.00", "3"]


def test_no_record_is_left_for_the_collector(world: World) -> None:
    def records() -> int:  # those that fixtures of other tests keep are not meant
        return [type(one).__name__ for one in gc.get_objects()].count("Record")

    world.publish(world.run("mini"), 70.0)
    gc.collect()
    gc.disable()  # thousands of records in a cycle would cost a tenth of the time that all tables take
    try:
        before = records()
        main(["--format", "md,tex,html"])
        assert records() == before
    finally:
        gc.enable()


def test_a_record_under_another_scale_than_its_spec_has_is_refused(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    run = world.run("mini")
    world.publish(run, 70.0)
    _edit(world.ledger.published(run.id), lambda plain: plain.update(scale="paper"))
    assert main([]) == 0
    assert "says scale paper, but its spec is that of scale mini" in capsys.readouterr().err
    assert "70.00" not in world.read("table1.md")


def test_a_record_keeps_its_cell_when_its_run_gets_another_name(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    run = world.run("mini")
    world.publish(run, 70.0)
    _edit(world.ledger.published(run.id), lambda plain: plain.update(name="as/it/was"))
    assert main([]) == 0
    assert "refused" not in capsys.readouterr().err
    assert "70.00" in world.read("table1.md")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda plain: plain["metrics"]["curve"].update(test_top1_halves=[None, None]), "epoch 1 lacks the test acc"),
        (lambda plain: plain["metrics"]["curve"].update(test_top1_halves=[None, [99.0, 99.0]]), "its halves are 99.0"),
        (lambda plain: plain["metrics"]["curve"].update(test_top1=[None, 99.0]), "epoch 1 says 99.0"),
        (lambda plain: plain["metrics"]["curve"]["train_loss"].pop(), "columns of unequal length"),
        (
            lambda plain: plain["metrics"]["curve"].update(test_top1=[90.0, 70.0], test_top1_halves=[[90.0] * 2] * 2),
            "epoch 1 says 70.0, but its halves are 90.0 and 90.0",
        ),
        (
            lambda plain: plain["metrics"]["curve"].update(
                test_top1=[90.0, 70.0], test_top1_halves=[[90.0] * 2, plain["metrics"]["last"]["top1_halves"]]
            ),
            "rises to 90.0, but metrics.best.top1 is 70.0",
        ),
        (
            lambda plain: plain["metrics"]["best"].update(top1_halves=[0.0, 1.0]),
            "metrics.best differ in the halves at epoch 1",
        ),
        (lambda plain: plain["metrics"]["best"].update(epoch=7), "says None of epoch 7, metrics.best.top1 70.0"),
        (lambda plain: plain["metrics"]["best"].update(top1_step=[70.0]), "1 of them alone, 2 as prefixes"),
        (lambda plain: plain["cost"].update(snn={"macs": 1}), "spike_rate is None, not a number"),
        (lambda plain: plain["metrics"]["best"].update(first_step_recall=[250.0]), "first_step_recall.0: Input should"),
        (lambda plain: plain["metrics"]["best"].update(ece=7.0), "metrics.best.ece: Input should be less"),
        (lambda plain: plain["metrics"]["last"].update(loss=-5.0), "metrics.last.loss: Input should be greater"),
    ],
)
def test_a_doctored_curve_or_cost_is_refused_before_anything_is_built_from_it(
    world: World, capsys: pytest.CaptureFixture[str], change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    world.publish(world.run("mini"), 60.0)
    doctored = world.publish(world.run("mini", seed=43), 70.0)
    _edit(world.ledger.published(doctored.id), change)
    assert main([]) == 0
    refused = [line for line in capsys.readouterr().err.splitlines() if line.startswith("refused: ")]
    assert len(refused) == 1
    assert doctored.id in refused[0] and reason in refused[0]
    row = next(line for line in world.read("table1.md").splitlines() if "mini" in line)
    assert [cell.strip() for cell in row.split("|")][7:10] == ["60.00", "60.00", "1"]


def test_the_optimism_of_one_scale_is_not_averaged_with_that_of_another(world: World) -> None:
    def gains(plain: dict[str, Any]) -> None:  # epoch 0 is the best of one half and bad on the other
        plain["metrics"]["curve"].update(
            test_top1=[60.0, 70.0], test_top1_halves=[[90.0, 30.0], plain["metrics"]["last"]["top1_halves"]]
        )

    paper = world.root / "results" / "paper.yaml"  # another data set, which may be shown at another scale
    paper.write_text(paper.read_text().replace("cifar10, label: Baseline", "cifar100, label: Baseline"))
    mini = world.publish(world.run("mini"), 70.0)
    _edit(world.ledger.published(mini.id), gains)
    world.publish(world.run("smoke", method="baseline"), 70.0)
    main(["table1", "table3"])
    even, odd = mini.metrics.best.top1_halves
    gain = ((90.0 - 30.0) + (odd - even)) / 2 / 2**0.5
    assert f"points of top-1: {gain:.2f} at scale mini (split-half" in world.read("table1.md")
    assert f": 0.00 at scale smoke, {gain:.2f} at scale mini (" in world.read("table3.md")


def test_check_names_a_record_that_no_table_holds_and_fails_if_it_is_doctored(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    run = expand(load_recipe("recipes/cifar10.yaml"), "mini", overrides=["optim.epochs=7"])[0]
    record = world.publish(run, 70.0)
    main([])
    capsys.readouterr()
    assert main(["--check"]) == 0
    assert capsys.readouterr().out.endswith(f"in none of them, as no recipe asks for such runs now: {run.id}\n")
    _edit(world.ledger.published(record.id), lambda plain: plain["metrics"]["best"].update(top1=99.0))
    assert main(["--check"]) == 1


def test_a_table_with_a_run_of_this_machine_leaves_the_committed_one_as_it_is(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.publish(world.run("smoke"), 30.0)
    main([])
    committed = {path.name: path.read_bytes() for path in (world.root / "results" / "tables").iterdir()}
    world.finish(world.run("mini"), 62.5)
    capsys.readouterr()
    main(["table1"])
    assert capsys.readouterr().out.endswith("written to results/local/tables: table1.md, table1.tex\n")
    assert "62.50" in world.read("table1.md")
    assert "Includes 1 finished run(s) of this machine" in world.read("table1.md")
    assert committed == {path.name: path.read_bytes() for path in (world.root / "results" / "tables").iterdir()}
    assert main(["--check"]) == 0


def test_each_table_lies_where_its_own_runs_put_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.finish(world.run("mini", method="baseline"), 62.5)  # which Table 1 does not have
    main(["table1", "table3", "--format", "md"])
    assert capsys.readouterr().out.endswith(
        "written to results/tables: table1.md\nwritten to results/local/tables: table3.md\n"
    )


def test_a_table_of_published_records_alone_takes_the_place_of_the_local_one(world: World) -> None:
    world.finish(world.run("mini"), 62.5)
    main(["table1"])
    local = world.root / "results" / "local" / "tables"
    assert sorted(path.name for path in local.iterdir()) == ["table1.md", "table1.tex"]
    main(["table1", "--only-published"])
    assert list(local.iterdir()) == []
    assert "62.50" not in world.read("table1.md")


def test_a_committed_table_of_a_run_that_is_not_published_is_drift(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.finish(world.run("mini"))
    main([])
    main(["--only-published"])
    assert main(["--check"]) == 0
    main([])
    shutil.copytree(world.root / "results" / "local" / "tables", world.root / "results" / "tables", dirs_exist_ok=True)
    assert main(["--check"]) == 1
    printed = capsys.readouterr().err
    assert "drift: results/tables/table1.md: shows runs that are not published; rebuild with: " in printed
    assert "python -m tksbench.tables table1 --only-published\n" in printed


def test_a_results_folder_that_cannot_be_written_is_one_message(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.finish(world.run("mini"))
    (world.root / "results" / "local").write_text("in the way")
    assert run_command(main, ["table1"]) == 2
    assert "results/local" in capsys.readouterr().err


def test_publish_copies_to_the_byte_and_builds_what_may_be_committed(world: World) -> None:
    record = world.finish(world.run("mini"), 62.5)
    assert main(["--publish"]) == 0
    local, target = world.ledger.run_dir(record.id).record, world.ledger.published(record.id)
    assert target.read_bytes() == local.read_bytes()
    shutil.rmtree(world.root / "results" / "runs")
    assert main(["--check"]) == 0
    assert "62.50" in world.read("table1.md")


def test_publish_takes_a_run_whose_test_set_was_halved_in_its_own_order(world: World) -> None:
    record = world.finish(world.run("mini"), 62.5)
    right = unpack_correct(record.test.correct_last, record.test.n)
    halves = [sum(half) for half in (right[::2], right[1::2])]  # of a hundred samples each
    assert halves != record.metrics.last.top1_halves

    def halve(plain: dict[str, Any]) -> None:
        for choice in ("last", "best"):
            plain["metrics"][choice]["top1_halves"] = halves
        plain["metrics"]["curve"]["test_top1_halves"] = [None, halves]

    _edit(world.ledger.run_dir(record.id).record, halve)
    assert main(["--publish"]) == 0
    assert world.ledger.published(record.id).exists()


def test_publish_never_overwrites(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.finish(world.run("mini"), 62.5)
    record = world.publish(world.run("mini"), 70.0)
    before = world.ledger.published(record.id).read_bytes()
    assert main(["--publish"]) == 1
    assert "has other content" in capsys.readouterr().err
    assert world.ledger.published(record.id).read_bytes() == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "logits_best.npy").unlink(), "logits_best.npy is missing"),
        (lambda folder: (folder / "labels.npy").write_bytes(b"x"), "labels.npy is not the file that the record was"),
        (
            lambda folder: _edit(folder / "record.json", lambda plain: plain["metrics"]["best"].update(loss=1.0)),
            "metrics.loss does not follow from logits_best.npy",
        ),
        (lambda folder: (folder / "record.json").write_text("{"), "not a record"),
        (lambda folder: _claim(folder, commit=None, dirty=None), "names no commit, as it was trained outside a git"),
        (
            lambda folder: _claim(folder, commit="amended"),
            "its commit is on no branch, so that nobody else can get it: git",
        ),
        (lambda folder: _claim(folder, diff="x\n[cut: 30,000 bytes in all]\n"), "more uncommitted changes than"),
        (lambda folder: _claim(folder, dirty=False, diff="", code="1" * 16), "code-1111111111111111.json, which names"),
    ],
)
def test_publish_refuses_what_its_files_do_not_bear_out(
    world: World,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    spoil: object,
    message: str,
) -> None:
    monkeypatch.setattr("tksbench.report.publish.on_a_branch", {"amended": False}.get)
    record = world.finish(world.run("mini"))
    good = world.finish(world.run("mini", method="baseline"))
    spoil(world.ledger.run_dir(record.id).path)  # type: ignore[operator]
    assert main(["--publish"]) == 1
    assert message in capsys.readouterr().err
    assert not world.ledger.published(record.id).exists()
    assert world.ledger.published(good.id).exists()


def test_publish_says_how_many_take_more_than_their_commit(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    _claim(world.ledger.run_dir(world.finish(world.run("mini")).id).path, dirty=False, diff="")
    assert main(["--publish"]) == 0
    assert capsys.readouterr().out.startswith("1 records published, 0 were already\n")
    world.finish(world.run("mini", seed=43))
    main(["--publish"])
    said = "1 records published, 1 were already; 1 not of the commit alone: --why says of what else"
    assert capsys.readouterr().out.startswith(said)


def _claim(folder: Path, **claims: object) -> None:
    """Let a record say this of its code."""
    _edit(folder / "record.json", lambda plain: plain["provenance"].update(claims))


def _edit(path: Path, change: object) -> None:
    plain = json.loads(path.read_text())
    plain.pop("seal")  # as whoever means to deceive would
    change(plain)  # type: ignore[operator]
    path.write_text(json.dumps(plain))


def test_why_tells_runs_spec_commit_data_log_and_command(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    record = world.finish(world.run("mini"), 62.5)
    world.ledger.run_dir(record.id).log.write_text("first\nthe last line\n")
    assert main(["--why", "table1/cifar10/resnet19/tks"]) == 0
    out = capsys.readouterr().out
    for expected in (
        "  paper       80.00 top-1 (%)",
        "python -m tksbench.launch recipes/cifar10.yaml --scale paper --only cifar10/spiking_resnet19/tks",
        f"run {record.id}: cifar10/spiking_resnet19/tks, scale mini, seed 42",
        "best epoch, 2 of 3: top-1 62.50 %",
        "commit: c0ffee, and more than that (below)",
        "torch 2.15.0",
        f"{'0' * 32}  test_batch",
        '      name: "spiking_resnet19"',
        "    the last line",
        "    TKSBENCH_RESULTS=again python -m tksbench.launch r\n"
        f"    python -m tksbench.diff {record.id} again/runs/{record.id}\n",
    ):
        assert expected in out


CODE = {"commit": "c0ffee", "dirty": True, "code": "1" * 16, "machine": {"kind": "Z80", "instructions": "AVX2"}}
CODE |= {"environment": {"ATEN_CPU_CAPABILITY": "avx2"}}


def test_why_says_what_it_takes_to_make_a_run_of_uncommitted_code_again(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    record = world.finish(world.run("mini"))
    run_dir = world.ledger.run_dir(record.id)
    patch = "diff --git a/snn.py b/snn.py\n--- a/snn.py\n+++ b/snn.py\n@@ -1 +1 @@\n-a = 1\n+a = 2\n"

    def claim(plain: dict[str, Any]) -> None:
        plain["provenance"].update(CODE, diff=patch)
        plain["attempts"] = [{"event": "start", "time": "t", "patch": "2" * 16}]

    _edit(run_dir.record, claim)
    run_dir.patch("2" * 16).write_text(patch)
    main(["--why", record.id])
    out = capsys.readouterr().out
    patched = run_dir.patch("2" * 16).relative_to(world.root)
    assert f"    git checkout c0ffee\n    git apply {patched}\n    TKSBENCH_RESULTS=again" in out
    assert f"code: {'1' * 16}, the digest of all files" in out
    assert "machine: Z80, instructions AVX2, ATEN_CPU_CAPABILITY=avx2" in out
    run_dir.patch("2" * 16).unlink()  # as on another machine
    main(["--why", record.id])
    first, second, third, *_ = capsys.readouterr().out.partition("and compared:\n")[2].splitlines()
    assert (second, third) == ("    git checkout c0ffee", "    git apply changes.diff")
    (world.root / "snn.py").write_text("a = 1\n")
    subprocess.run(["bash", "-c", first], check=True)
    subprocess.run(["git", "apply", "changes.diff"], check=True)
    assert (world.root / "snn.py").read_text() == "a = 2\n"


def test_why_of_attempts_that_were_not_alike_promises_no_command(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    record = world.finish(world.run("mini"))
    _claim(world.ledger.run_dir(record.id).path, diff="# from epoch 0, step 0: torch 1.0")
    main(["--why", record.id])
    out = capsys.readouterr().out
    assert "# its attempts were not alike (below), so that no one state makes all of it" in out
    assert "beside the commit:\n    # from epoch 0, step 0: torch 1.0\n" in out


def test_why_of_a_cell_says_verdict_and_mean_first_and_one_spec(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, top1 in ((42, 60.0), (43, 61.0), (44, 63.5)):
        world.publish(world.run("mini", seed=seed), top1)
    world.publish(world.run("smoke"), 20.0)
    assert main(["--why", "table1/cifar10/resnet19/tks"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[:7] == [
        "cell table1/cifar10/resnet19/tks",
        "  paper       80.00 top-1 (%)",
        "  best epoch  61.50 ± 1.80 (ours, scale mini, n = 3)",
        "  last epoch  61.50 ± 1.80",
        "  run 95 %    52.54 to 70.46: where one further run of ours would lie",
        "  test 95 %   54.60 to 67.97: the error of a test set of this size",
        "  verdict     not comparable (scale mini): only the full protocol, scale paper,",
    ]
    assert out.count("warmup_epochs:") == 2  # of the three runs at mini, and of the single one at smoke
    assert re.findall(r"^  4\d +[0-9a-f]{16} +(\d\d\.\d\d)", out, re.MULTILINE) == ["60.00", "61.00", "63.50"]


def test_why_of_an_id_shows_all_of_that_run(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    record = world.publish(world.run("mini"), 62.5)
    world.publish(world.run("mini", seed=43), 60.0)
    assert main(["--why", record.id[:8]]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"run {record.id}: cifar10/spiking_resnet19/tks, scale mini, seed 42\n")
    assert "beside the commit:\n    -old\n" in out


def test_why_of_a_smoke_check_says_what_it_is(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.publish(world.run("smoke", real=False), 62.5)
    assert main(["--why", "table1/cifar10/resnet19/tks"]) == 0
    out = capsys.readouterr().out
    assert "verdict     smoke check passed: trained on stand-in data alone" in out
    assert "scale smoke, stand-in data, group" in out


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("table2/dvs_cifar10/plif", "table2/dvs_cifar10/cnn6/plif-7"),
        ("table2/dvs_cifar10/resnet19/plif", "table2/dvs_cifar10/cnn6/plif-7"),
        ("table1/cifar10/plif", "table1/cifar10/cnn6/plif-8"),
        ("table2/plif/", None),
        ("plif", None),
        ("table2/dvs_cifar10/plfi", None),
    ],
)
def test_a_cell_named_without_its_network_or_steps_is_found(name: str, near: str | None) -> None:
    words = ["table1/cifar10/cnn6/plif-8", "table2/dvs_cifar10/liaf_net", "table2/dvs_cifar10/cnn6/plif-7"]
    assert nearest(name, words) == near


def test_why_of_a_cell_without_runs_tells_the_command(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--why", "cifar10/spiking_resnet19/baseline"])
    out = capsys.readouterr().out
    assert "cell table3/cifar10/resnet19/baseline/top1" in out
    assert "--scale smoke --only cifar10/spiking_resnet19/baseline" in out


def test_why_of_a_table_lists_its_cells_and_verdicts(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.publish(world.run("mini"), 62.5)
    assert main(["--why", "table1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "table1: 4 cells; what stands behind one:"
    assert lines[3].split() == ["table1/cifar10/rate-36", "cited"]
    assert lines[5].split(maxsplit=1) == ["table1/cifar10/resnet19/tks", "not comparable (scale mini)"]
    assert lines[6].split()[:3] == ["table1/cifar100/resnet19/tks", "not", "run"]


def test_why_of_a_part_of_a_table_lists_that_part(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--why", "table1/cifar100/"]) == 0
    assert capsys.readouterr().out.splitlines()[3:] == ["table1/cifar100/resnet19/tks  not run (no recipe)"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--why", "tabel1"], "no such cell; did you mean 'table1'?"),
        (["--why", "cifar10/tks"], "no such cell; did you mean 'cifar10/spiking_resnet19/tks'?"),
        (["--why", "table1/cifar1"], "no such cell; did you mean 'table1/cifar10"),
        (["tabel1"], "no table or figure 'tabel1'; did you mean 'table1'?"),
        (["--why", "table1/cifar10/resnet19/tk"], "did you mean 'table1/cifar10/resnet19/tks'?"),
        (["--format", "pdf"], "--format pdf: expected md, tex"),
        (["--check", "--publish"], "exclude each other"),
        (["--verify", ""], "'' names nothing"),
        (["--chek"], "unrecognized arguments: --chek"),
    ],
)
def test_bad_input_is_one_message_and_status_2(
    world: World, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run_command(main, words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (world.root / "results" / "tables").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("tables: [", "paper.yaml: not YAML"),
        ("paper: {}\ndatasets: {}\ntables: {table1: {title: x}}\n", "paper.yaml: tables.table1.rows: Field required"),
    ],
)
def test_damaged_paper_yaml_is_named(
    world: World, capsys: pytest.CaptureFixture[str], spoil: str, message: str
) -> None:
    (world.root / "results" / "paper.yaml").write_text(spoil)
    assert run_command(main, []) == 2
    assert message in capsys.readouterr().err


def test_outside_a_checkout_it_says_where_to_go(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(world.root / "recipes")
    assert run_command(main, []) == 2
    assert "run this from the checkout's root folder" in capsys.readouterr().err


def test_no_torch_is_imported(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    code = (
        "import sys; from tksbench.tables import main; main([]); main(['--check']);"
        "sys.exit(bool({'torch', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_latex_escapes_what_tex_would_take_for_markup() -> None:
    assert escape_latex(r"50 % of_a&b #1 $x {y} ~^ \z") == (
        r"50\,\% of\_a\&b \#1 \$x \{y\} \textasciitilde{}\textasciicircum{} \textbackslash{}z"
    )
    assert escape_latex("[5] ± 日本 é\x1b") == r"{[}5{]} $\pm$ ?? é?"


def test_markdown_escapes_what_would_break_the_table() -> None:
    assert escape_markdown("a|b\n*c*_d_ <e>") == r"a\|b \*c\*\_d\_ \<e\>"


def test_a_run_that_has_one_file_of_logits_for_both_epochs_is_published(world: World) -> None:
    run = world.run("mini")
    files = {name: digest for name, digest in world.record(run).files.items() if name != "logits_best.npy"}
    save_record(world.ledger.run_dir(run.id).record, world.record(run, changes={"files": files}))
    world.ledger.run_dir(run.id).logits_best.unlink()
    assert main(["--publish"]) == 0
    assert world.ledger.published(run.id).exists()
