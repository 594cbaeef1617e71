"""`--probe`: real steps, in processes of their own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tksbench.launch.__main__ import main
from tksbench.launch.errors import LaunchError

if TYPE_CHECKING:
    from pathlib import Path

    from tksbench.runs import Ledger

# The baseline's 2 x 18 steps, with images from workers, are enough to be timed; TKS has a single step in all.
RECIPE = """
protocol:
  data: {name: cifar10, source: miniature, augment: strong, train_subset: 288, test_subset: 20}
  model: {name: spiking_resnet19, T: 2, width: 0.05}
  optim: {name: adamw, lr: 1e-3, weight_decay: 0.0, epochs: 2, batch_size: 16, warmup_epochs: 0}
methods: {baseline: {}, tks: {}}
runs:
  - {method: baseline}
  - {method: tks, optim: {epochs: 1, batch_size: 288}}
execution: {workers: 1}
"""


def test_probes_tell_what_no_record_does(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TKSBENCH_RESULTS", str(ledger.root))
    monkeypatch.setenv("TKSBENCH_DATA", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "short.yaml"
    path.write_text(RECIPE)
    assert main([str(path), "--plan", "--probe", "--json", "--seeds", "2"]) == 0
    out, told = capsys.readouterr()
    rows = json.loads(out)
    assert told.count("probe ") == 2  # one for both seeds
    assert "median of 20" in told
    assert "a run of 1 steps is too short to be timed" in told
    assert [row["wall_source"] for row in rows] == ["probe", "unknown"] * 2
    assert [bool(row["probe_failed"]) for row in rows] == [False, True] * 2
    assert 0 < rows[0]["wall_hours"] < 1
    assert not list(ledger.root.rglob("*"))


def test_a_plan_says_which_figures_no_probe_has_measured(
    ledger: Ledger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    recipe: str,
) -> None:
    monkeypatch.setenv("TKSBENCH_RESULTS", str(ledger.root))
    monkeypatch.setenv("TKSBENCH_DATA", str(tmp_path))
    monkeypatch.setattr("tksbench.launch.probe.measure_apart", lambda run: "AttributeError: Can't pickle it")
    assert main([recipe, "--plan", "--probe"]) == 0
    out = capsys.readouterr().out
    assert "note: cifar10/spiking_resnet19/tks: its probe failed, so its time is no measurement (AttributeError" in out


def test_a_probe_needs_something_to_tell(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="--probe goes with --plan or --max-gpu-hours"):
        main(["a.yaml", "--probe"])
