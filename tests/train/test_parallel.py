"""One run over several processes: the same run as in one, and one end for all of them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.train import ranks
from tests.train.conftest import MakeRun
from tksbench.recipe import OptimSpec
from tksbench.runs import Ledger
from tksbench.runs.attempts import read_attempts
from tksbench.runs.files import read_jsonl
from tksbench.runs.lease import Lease
from tksbench.runs.paths import RunDir
from tksbench.runs.record import load_record
from tksbench.train import job
from tksbench.train.batch_shares import BatchShares, cut
from tksbench.train.checkpoint import list_checkpoints, read_checkpoint
from tksbench.train.errors import TrainError
from tksbench.train.parallel import ALONE, World, world_from_env


def losses(run_dir: RunDir) -> list[float]:
    return [loss for row in read_jsonl(run_dir.losses) for loss in row["loss"]]


@pytest.fixture(autouse=True)
def no_world(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "MASTER_")) or name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
            monkeypatch.delenv(name)


def test_two_processes_train_as_one_does(make_run: MakeRun) -> None:
    _, one = make_run("one")
    assert ranks.run_ranks(one.path, 1) == [0]
    _, two = make_run("two")
    assert ranks.run_ranks(two.path, 2, ranks.override_the_recipe) == [0, 0]
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    record = load_record(two.record)
    assert (record.provenance.processes, record.provenance.nodes, record.cost.gpu_hours) == (2, 1, 0.0)
    assert [row.event for row in record.attempts] == ["start", "end"]
    assert two.log.read_text().count("ACCELERATE_MIXED_PRECISION, ACCELERATE_USE_FSDP: not heeded in training") == 1
    assert two.labels.read_bytes() == one.labels.read_bytes()


def test_batch_norm_sees_the_global_batch(make_run: MakeRun) -> None:
    _, run_dir = make_run()
    assert ranks.run_ranks(run_dir.path, 2, ranks.compare_batch_norms) == [0, 0], run_dir.log.read_text()


def test_compiled_batch_norm_and_neuron_see_the_global_batch(make_run: MakeRun) -> None:
    _, run_dir = make_run()
    assert ranks.run_ranks(run_dir.path, 2, ranks.compare_fused_batch_norms) == [0, 0], run_dir.log.read_text()


def test_signal_to_one_process_stops_all_and_they_go_on_to_the_same_weights(make_run: MakeRun) -> None:
    _, whole = make_run("whole")
    assert ranks.run_ranks(whole.path, 2) == [0, 0]
    run, broken = make_run("broken")
    assert ranks.run_ranks(broken.path, 2, ranks.stop_process_1) == [job.SAVED] * 2
    state, tensors = read_checkpoint(list_checkpoints(broken.checkpoints)[0], run.id)
    assert (state.epoch, state.step) == (1, 2)  # three steps an epoch
    assert not any(name.startswith("model/module.") for name in tensors)
    assert ranks.run_ranks(broken.path, 2) == [0, 0]
    assert load_record(broken.record).weights_sha256 == load_record(whole.record).weights_sha256
    assert broken.losses.read_bytes() == whole.losses.read_bytes()
    assert broken.logits_best.read_bytes() == whole.logits_best.read_bytes()


def test_run_goes_on_with_another_number_of_processes(make_run: MakeRun) -> None:
    _, run_dir = make_run()
    assert ranks.run_ranks(run_dir.path, 2, ranks.stop_process_1) == [job.SAVED] * 2
    assert ranks.run_ranks(run_dir.path, 1) == [0]
    assert [(row.epoch, row.step) for row in load_record(run_dir.record).attempts if row.event == "start"] == [
        (0, 0),
        (1, 2),
    ]


def test_sums_over_three_processes_resume_to_the_bit(make_run: MakeRun) -> None:
    # Two summands commute; of three or more, the order in which they are added shows in the last bit.
    overrides = ("optim.batch_size=15", "optim.epochs=2")
    _, whole = make_run("whole", *overrides)
    assert ranks.run_ranks(whole.path, 3) == [0] * 3
    _, broken = make_run("broken", *overrides)
    assert ranks.run_ranks(broken.path, 3, ranks.stop_process_1) == [job.SAVED] * 3
    assert ranks.run_ranks(broken.path, 3) == [0] * 3
    assert load_record(broken.record).weights_sha256 == load_record(whole.record).weights_sha256


def test_replica_batches_do_not_depend_on_the_number_of_processes(make_run: MakeRun) -> None:
    _, one = make_run("one", "optim.replica_batch=4", "optim.drop_last=false")
    assert ranks.run_ranks(one.path, 1) == [0]
    _, two = make_run("two", "optim.replica_batch=4", "optim.drop_last=false")
    assert ranks.run_ranks(two.path, 2) == [0, 0]
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    tests = [[row["test_loss"] for row in read_jsonl(run_dir.metrics)] for run_dir in (one, two)]
    assert tests[0] == pytest.approx(tests[1], abs=1e-4)
    found = [load_file(list_checkpoints(run_dir.checkpoints)[0]) for run_dir in (one, two)]
    statistics = [{key: x for key, x in tensors.items() if re.search("running|tracked", key)} for tensors in found]
    torch.testing.assert_close(*statistics, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("hook", "reason"),
    [(ranks.fail_in_process_1, "process 1 .*the disk of node 2 is gone"), (ranks.kill_process_1, "")],
)
def test_no_process_waits_for_one_that_failed(make_run: MakeRun, hook: ranks.Hook, reason: str) -> None:
    run, run_dir = make_run()
    found = ranks.run_ranks(run_dir.path, 2, hook, limit_s=120)
    assert found == [job.FAILED, -9 if hook is ranks.kill_process_1 else job.FAILED]
    status = Ledger(run_dir.path.parent.parent).status(run.id)
    assert status.state == "failed"
    assert [row["event"] for row in read_attempts(run_dir)] == ["start", "end"]
    assert re.search(reason, status.reason)


def test_lease_of_another_launch_turns_all_processes_away(make_run: MakeRun) -> None:
    _, run_dir = make_run()
    with Lease.acquire(run_dir):
        assert ranks.run_ranks(run_dir.path, 2) == [job.HELD] * 2
    assert not run_dir.attempts.exists()


def test_batch_that_cannot_be_shared_is_one_clear_error(make_run: MakeRun) -> None:
    _, run_dir = make_run("results", "optim.batch_size=15")
    log: Path = run_dir.path.parent / "log.txt"
    assert ranks.run_ranks(run_dir.path, 2, log=log) == [job.BAD_INPUT] * 2
    assert not run_dir.path.exists()
    errors = [line for line in log.read_text().splitlines() if "optim.batch_size 15" in line]
    assert len(errors) == 2  # process 0's own, and why process 1 left
    assert "cannot be shared evenly among 2 processes" in errors[0]


def test_processes_are_told_by_torch_or_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1"}
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    assert world_from_env() is None  # a batch job of Slurm's, but nobody says where to meet
    monkeypatch.setenv("MASTER_ADDR", "node1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert world_from_env() == World(3, 4, 1)
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert world_from_env() == World(0, 2, 0)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert world_from_env() is None


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "0"}, "RANK=0, WORLD_SIZE=, LOCAL_RANK=: each must be a number"),
        ({"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "RANK=2 is none of the 2 processes"),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "x"}, "MASTER_PORT: must say where"),
    ],
)
def test_contradictory_environment(environment: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainError, match=message):
        world_from_env()


@pytest.mark.parametrize("replica", [None, 4])
@pytest.mark.parametrize(("total", "size"), [(16, 1), (16, 2), (16, 4), (11, 2), (13, 3)])
def test_parts_are_the_batch_in_order(total: int, size: int, replica: int | None) -> None:
    found = [part for rank in range(size) for part in cut(total, replica, rank, size)]
    assert [index for part in found for index in range(total)[part]] == list(range(total))
    if replica:
        assert [part.start for part in found] == list(range(0, total, replica))


def test_last_batch_too_short_to_share() -> None:
    class Eight(type(ALONE)):  # type: ignore[misc]
        size = 8

    optim = OptimSpec(name="adamw", lr=1e-3, weight_decay=0.0, epochs=9, batch_size=16, drop_last=False)
    with pytest.raises(TrainError, match="last batch of an epoch has 3 samples, too few for 8 processes"):
        BatchShares(35, optim, None, Eight())  # type: ignore[arg-type]
