"""Records as a table of data: what is in it, the files it is written to, and the page that explains it."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tksbench
from tksbench.cli import run_command
from tksbench.errors import TksbenchError
from tksbench.recipe import expand, load_recipe
from tksbench.runs.record import save_record
from tksbench.tables import main

if TYPE_CHECKING:
    from conftest import World

ROOT = Path(__file__).parents[2]


def test_each_run_has_a_row_for_each_metric_and_epoch_choice(world: World) -> None:
    record = world.publish(world.run("mini"), 62.5)
    frame = tksbench.records()
    (row,) = frame.query("metric == 'top1' and epoch_choice == 'best'").to_dict("records")
    assert {key: row[key] for key in ("dataset", "network", "method", "T", "scale", "data", "seed", "value")} == {
        "dataset": "cifar10",
        "network": "spiking_resnet19",
        "method": "tks",
        "T": 2,
        "scale": "mini",
        "data": "real",
        "seed": 42,
        "value": 62.5,
    }
    assert (row["id"], row["commit"], row["device"], row["epoch"]) == (record.id, "c0ffee", "CPU", 2)
    assert (row["dirty"], row["instructions"] or None) == (True, None)
    assert (row["current"], row["published"], row["overrides"]) == (True, True, "")
    steps = frame.query("metric == 'top1_prefix' and epoch_choice == 'last'")
    assert dict(zip(steps["step"], steps["value"], strict=True)) == {1: record.metrics.last.top1_prefix[0], 2: 62.5}
    assert not frame.duplicated(["id", "epoch_choice", "metric", "step", "label"]).any()
    assert frame["value"].notna().all()


def test_stand_in_data_and_subsets_are_named(world: World) -> None:
    subset = expand(load_recipe("recipes/cifar10.yaml"), "mini", overrides=["data.test_subset=200"])[0]
    for run in (world.run("smoke", real=False), world.run("smoke"), subset):
        world.publish(run)
    frame = tksbench.records().drop_duplicates("id").set_index("id")
    assert frame["data"].to_dict() == {
        world.run("smoke", real=False).id: "stand-in",
        world.run("smoke").id: "real",
        subset.id: "subset",
    }
    assert frame["current"].to_dict()[subset.id] is False
    assert frame["overrides"].to_dict()[subset.id] == "data.test_subset=200"


def test_runs_of_this_machine_are_there_and_marked(world: World) -> None:
    world.finish(world.run("mini"), 62.5)
    assert tksbench.records()["published"].unique().tolist() == [False]


def test_a_record_that_contradicts_itself_is_left_out_and_named(world: World) -> None:
    record = world.publish(world.run("mini"), 70.0)
    metrics = json.loads(record.to_bytes())["metrics"]
    metrics["best"]["top1"] = 99.0
    save_record(world.ledger.published(record.id), world.record(world.run("mini"), 70.0, {"metrics": metrics}))
    with pytest.warns(UserWarning, match=r"top1 says 99\.0"):
        assert tksbench.records().empty


def test_curves_are_there_if_wanted(world: World) -> None:
    world.publish(world.run("mini"), 62.5)
    assert tksbench.records().query("metric == 'train_loss'").empty
    loss = tksbench.records(curves=True).query("metric == 'train_loss'")
    assert loss[["epoch", "value"]].to_numpy().tolist() == [[1, 2.0], [2, 1.0]]


def test_a_folder_that_is_not_there_is_named(world: World) -> None:
    with pytest.raises(TksbenchError, match="nowhere: no such folder"):
        tksbench.records("nowhere")


def test_export_writes_what_records_gives(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.publish(world.run("mini"), 62.5)
    assert main(["--export", "runs.csv"]) == 0
    with Path("runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    frame = tksbench.records()
    assert [row["value"] for row in rows] == [repr(value) for value in frame["value"].tolist()]
    assert list(rows[0]) == list(frame.columns)
    assert capsys.readouterr().out == f"runs.csv: {len(rows)} rows of 1 run\n"
    assert not (world.root / "results" / "tables").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--export", "runs.xlsx"], "--export runs.xlsx: expected a name that ends in .csv or .parquet"),
        (["--export", "runs.parquet"], "need the package pyarrow, which is not installed"),
        (["--export", "no/runs.csv"], "no/runs.csv: cannot be written"),
        (["--export", ""], "'' names nothing"),
        (["table1", "--export", "runs.csv"], "leave out table1"),
    ],
)
def test_what_cannot_be_exported_is_one_message(
    world: World,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.setattr("tksbench.report.frame.find_spec", lambda name: None)
    assert run_command(main, words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_parquet_is_read_back_as_it_was(world: World) -> None:
    pytest.importorskip("pyarrow")
    import pandas as pd

    world.publish(world.run("mini"), 62.5)
    assert main(["--export", "runs.parquet"]) == 0
    pd.testing.assert_frame_equal(pd.read_parquet("runs.parquet"), tksbench.records())


def test_to_import_the_package_imports_neither_pandas_nor_torch() -> None:
    heavy = "{'pandas', 'torch'} & set(sys.modules)"
    code = f"import sys, tksbench; print({heavy}); tksbench.records; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["set()", "set()"]


def test_the_code_of_the_page_runs_on_the_published_records(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "records-as-data.md").read_text()
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    for name in ("recipes", "results"):
        (tmp_path / name).symlink_to(ROOT / name)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TKSBENCH_")}
    environment = clean | {"MPLBACKEND": "agg", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", code + "\nassert len(cifar) and len(nmnist) and len(curves)"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("methods.png", "steps.png"):
        assert (tmp_path / name).stat().st_size > 5_000
