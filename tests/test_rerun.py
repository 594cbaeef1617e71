"""A record made once more: equal to the bit, or told where not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.records import make
from tksbench import rerun
from tksbench.cli import BAD_INPUT, run_command
from tksbench.launch.__main__ import main as launch
from tksbench.recipe import expand, load_recipe
from tksbench.runs import Ledger
from tksbench.runs.record import load_record, save_record

ROOT = Path(__file__).resolve().parents[1]
RECIPE = """
protocol:
  data: {name: cifar10, source: miniature, augment: none, train_subset: 64, test_subset: 32, image_size: 16}
  model: {name: spiking_resnet19, T: 2, width: 0.0625}
  optim: {name: adamw, lr: 1e-3, weight_decay: 0.0, epochs: 2, batch_size: 16, warmup_epochs: 0}
methods: {tks: {}}
runs: [{method: tks}]
scales: {smoke: {execution: {device: cpu, threads: 1}}}
"""


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    Path("r.yaml").write_text(RECIPE)
    return Ledger()


def test_a_run_made_again_is_equal_and_one_that_is_not_is_told(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch(["r.yaml", "--scale", "smoke", "--seeds", "2"]) == 0
    second = next(one for one in ledger.run_dirs() if load_record(one.record).seed == 43)
    before = second.record.read_bytes()
    capsys.readouterr()
    assert rerun.main([second.id[:6]]) == 0
    assert capsys.readouterr().out.endswith("\nequal to the bit\n")
    assert [one.id for one in Ledger(Path("build/rerun")).run_dirs()] == [second.id]  # its seed alone
    assert second.record.read_bytes() == before

    other = Path(f"{second.id}.json")
    save_record(other, load_record(second.record).model_copy(update={"weights_sha256": "0" * 64}))
    assert rerun.main([str(other.absolute())]) == 1  # trained already, compared only
    out = capsys.readouterr().out
    assert "started on CPU" not in out
    assert out.endswith("different: weights\n")


def test_it_is_executed_as_it_was(ledger: Ledger) -> None:
    run = expand(load_recipe("r.yaml"), "smoke", seeds=2)[1]
    record = make(run, 40.0, 0.0)
    proof = record.provenance.model_copy(update={"threads": 3})
    again = rerun.run_of(record.model_copy(update={"provenance": proof}))
    assert (again.id, again.seed, again.spec) == (run.id, 43, run.spec)
    assert (again.execution.device, again.execution.threads) == ("cpu", 3)
    again = rerun.run_of(make(run, 40.0, 0.5))
    assert (again.execution.device, again.execution.threads) == ("cuda", None)


def test_what_cannot_be_made_again_is_one_message(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run = expand(load_recipe("r.yaml"), "smoke")[0]
    run_dir = ledger.prepare(run)
    assert run_command(rerun.main, [run.id]) == BAD_INPUT
    assert "only what has a record can be made again" in capsys.readouterr().err
    save_record(run_dir.record, make(run, 40.0, 0.5))
    assert run_command(rerun.main, [run.id]) == BAD_INPUT
    assert "the record is of a GPU, and there is none here" in capsys.readouterr().err
    assert not Path("build").exists()
