"""Times of runs that no record is of, by the pace of finished runs of the same shape."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.records import record_parts
from tksbench.estimate.records import Costs, recorded_costs, with_pace
from tksbench.launch.__main__ import main
from tksbench.launch.plan import collect_runs
from tksbench.runs.record import make_record, save_record

if TYPE_CHECKING:
    from pathlib import Path

    from tksbench.recipe import Run
    from tksbench.runs import Ledger

ONE_THREAD = "execution.threads=1"


def runs_of(recipe: str, *overrides: str) -> list[Run]:
    return collect_runs([recipe], "paper", overrides=[ONE_THREAD, *overrides])


def finish(ledger: Ledger, run: Run, hours: float = 1.0, gpu_hours: float = 0.0, threads: int | None = 1) -> None:
    parts = record_parts(run, gpu_hours=gpu_hours)
    parts["cost"] |= {"hours": hours}
    parts["provenance"] |= {"threads": threads}
    save_record(ledger.prepare(run).record, make_record(**parts))


def paced(ledger: Ledger, run: Run) -> Costs | None:
    heads = ledger.all_finished()
    return with_pace(recorded_costs(ledger, heads), [run], heads).get(run.group)


def test_seconds_a_step_times_the_steps(recipe: str, ledger: Ledger) -> None:
    finish(ledger, runs_of(recipe)[0], hours=1.0)  # TKS, of four epochs
    baseline = runs_of(recipe, "optim.epochs=8", "data.augment=plain")[1]
    past = paced(ledger, baseline)
    assert past is not None
    assert (past.cpu_hours, past.gpu_hours, past.source) == (pytest.approx(2.0), None, "pace")


def test_the_pace_is_the_median_of_what_there_is(recipe: str, ledger: Ledger) -> None:
    for epochs, hours in ((4, 1.0), (2, 0.6), (6, 6.0)):  # the last one on a busy machine
        finish(ledger, runs_of(recipe, f"optim.epochs={epochs}")[0], hours=hours)
    past = paced(ledger, runs_of(recipe)[1])
    assert past is not None
    assert past.cpu_hours == pytest.approx(4 * 0.3)


@pytest.mark.parametrize(
    "other",
    [
        "model.width=0.5",
        "model.T=2",
        "model.name=sew_resnet19",
        "data.image_size=16",
        "optim.batch_size=64",
        "numerics.precision=bf16",
        "numerics.neuron=reference",
        "execution.threads=2",
    ],
)
def test_another_shape_has_no_say(recipe: str, ledger: Ledger, other: str) -> None:
    finish(ledger, runs_of(recipe)[0])
    assert paced(ledger, runs_of(recipe, other)[1]) is None


def test_a_size_that_is_stated_counts_as_the_same_one_unstated(recipe: str, ledger: Ledger) -> None:
    finish(ledger, runs_of(recipe)[0])
    assert paced(ledger, runs_of(recipe, "data.image_size=32")[1]) is not None


def test_gpus_and_cpus_have_a_pace_of_their_own(recipe: str, ledger: Ledger) -> None:
    finish(ledger, runs_of(recipe)[0], hours=3.0)
    finish(ledger, runs_of(recipe, "optim.epochs=8")[0], hours=0.9, gpu_hours=1.0, threads=None)
    past = paced(ledger, runs_of(recipe)[1])
    assert past is not None
    assert (past.cpu_hours, past.gpu_hours) == (pytest.approx(3.0), pytest.approx(0.5))


def test_costs_of_its_own_group_go_before(recipe: str, ledger: Ledger) -> None:
    finish(ledger, runs_of(recipe)[0], hours=1.0)
    finish(ledger, runs_of(recipe, "optim.epochs=2")[0], hours=9.0)
    past = paced(ledger, runs_of(recipe)[0])
    assert past is not None
    assert (past.cpu_hours, past.source) == (1.0, "records")


def test_a_record_of_a_network_that_is_not_known_here_is_passed_over(recipe: str, ledger: Ledger) -> None:
    run = runs_of(recipe)[0]
    finish(ledger, run)
    path = ledger.run_dir(run.id).record
    path.write_text(path.read_text().replace('"T": 4', '"T": "many"'))
    assert paced(ledger, runs_of(recipe)[1]) is None


def test_the_plan_says_where_its_times_come_from(
    recipe: str,
    ledger: Ledger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TKSBENCH_RESULTS", str(ledger.root))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    words: list[Any] = [recipe, "--plan", "--only", "*/baseline", ONE_THREAD]
    main(words)
    assert "unknown for 1 run; " in capsys.readouterr().out
    finish(ledger, runs_of(recipe)[0], hours=0.5)
    main(words)
    shown = " ".join(capsys.readouterr().out.split())
    assert re.search(r"baseline 42 \S+ 0\.5 ", shown)
    assert "30 min seconds a step in records of the same network, width, image size, T" in shown
