"""What another checkout has trained, and this one has no network, data set or method for, takes one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.records import make
from tksbench.launch.select import KnownRuns
from tksbench.recipe import expand, load_recipe
from tksbench.report.evidence import gather
from tksbench.runs import Ledger
from tksbench.runs.record import save_record
from tksbench.runs.unknown import condensed

if TYPE_CHECKING:
    from pathlib import Path

    from tksbench.recipe import Run

RECIPE = """
protocol:
  data: {name: cifar10, source: miniature, augment: none}
  model: {name: spiking_resnet19, T: 4}
  optim: {name: adamw, lr: 1e-3, weight_decay: 0.0, epochs: 4, batch_size: 128, warmup_epochs: 0}
runs: [{method: tks}]
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "results")


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return expand(load_recipe(path), seeds=28)


def of_another_checkout(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(f'"{old}"', f'"{new}"'))


def test_prepared_runs_of_unknown_networks_are_one_line_in_the_status(
    ledger: Ledger, runs: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    for number, run in enumerate(runs):
        of_another_checkout(
            ledger.prepare(run).run, "spiking_resnet19", "spikformer" if number % 2 else "sew_resnet152"
        )
    known = KnownRuns(ledger)
    assert known() == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"tksbench: warning: {ledger.root}/runs: 28 runs of networks that this checkout does not know"
    )
    assert {"sew_resnet152", "spikformer"} <= set(line.replace(",", "").split())
    assert known() == []
    assert capsys.readouterr().err == ""  # once is enough


def test_records_of_unknown_networks_are_one_line_and_the_others_are_named(ledger: Ledger, runs: list[Run]) -> None:
    for run in runs:
        save_record(ledger.prepare(run).record, make(run))
        if run.seed % 2:
            of_another_checkout(ledger.run_dir(run.id).record, "spiking_resnet19", "spikformer")
    damaged = [ledger.run_dir(run.id).record for run in runs if run.seed % 2 == 0][:2]
    for path in damaged:
        path.write_text("{")
    problems = gather(ledger).problems
    assert [line for line in problems if "spikformer" in line] == [
        f"{ledger.root}/runs: 14 runs of networks that this checkout does not know, left out: spikformer"
    ]
    assert all(any(str(path) in line for line in problems) for path in damaged)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("network", "spec.model.name: Value error, unknown model 'x'; did you mean 'y'?"),
        ("data set", "spec.data.name: Value error, unknown data set 'x'; known: cifar10"),
        ("method", "spec.method: Value error, unknown method 'x'; known: baseline, tks"),
    ],
)
def test_each_kind_of_part_has_its_words(kind: str, reason: str) -> None:
    one = f"results/records/{'0' * 16}.json: not a record: {reason}"
    two = f"results/records/{'1' * 16}.json: not a record: {reason}"
    assert condensed([one]) == [f"results/records: 1 run of a {kind} that this checkout does not know, left out: x"]
    assert condensed([one, two, "a: b"]) == [
        "a: b",
        f"results/records: 2 runs of {kind}s that this checkout does not know, left out: x",
    ]


def test_published_and_local_runs_have_a_line_each() -> None:
    reason = "not a record: spec.model.name: Value error, unknown model 'x'; did you mean 'y'?"
    assert len(condensed([f"r/records/{'0' * 16}.json: {reason}", f"r/runs/{'0' * 16}/record.json: {reason}"])) == 2


def test_the_messages_of_the_schema_are_the_ones_that_are_recognised(ledger: Ledger, runs: list[Run]) -> None:
    for (old, new), run in zip((("spiking_resnet19", "x"), ("cifar10", "y"), ("tks", "z")), runs, strict=False):
        save_record(ledger.prepare(run).record, make(run))
        of_another_checkout(ledger.run_dir(run.id).record, old, new)
    assert sorted(line.rpartition(": ")[2] for line in gather(ledger).problems) == ["x", "y", "z"]
