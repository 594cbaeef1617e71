"""The plan of a run over 8 nodes of 8 GPUs, by its functions alone: who trains what, writes what, and meets where."""

from __future__ import annotations

import os
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tksbench.launch.job import meet
from tksbench.launch.profile import Resources, SlurmProfile
from tksbench.recipe import OptimSpec, expand, load_recipe
from tksbench.train.batch_shares import BatchShares
from tksbench.train.errors import TrainError
from tksbench.train.parallel import ALONE, world_from_env
from tksbench.train.schedule import epoch_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tksbench.train.parallel import World

NODES, GPUS = 8, 8
SIZE = NODES * GPUS
IMAGENET = 1_281_167


def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Each process's world, from what Slurm sets and submitit makes of it."""
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    fixed = {
        "SLURM_ARRAY_JOB_ID": "4711",
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_JOB_ID": "4714",
        "SLURM_NTASKS": str(SIZE),
    }
    fixed |= {"SLURM_JOB_NUM_NODES": str(NODES), "SLURM_JOB_NODELIST": f"gpu[01-{NODES:02d}]"}
    for rank in range(SIZE):
        own = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank % GPUS), "SLURM_NODEID": str(rank // GPUS)}
        for name, value in (fixed | own).items():
            monkeypatch.setenv(name, value)
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            monkeypatch.setenv(name, "-1")  # so that it is taken away again after the test
        meet()
        world = world_from_env()
        assert world
        yield world


def shares(rank: int, samples: int, **optim: Any) -> BatchShares:
    spec = OptimSpec.model_validate({"name": "adam", "lr": 1e-3, "weight_decay": 0.0, "epochs": 1, **optim})
    parallel = SimpleNamespace(rank=rank, size=SIZE, even_passes=False)
    return BatchShares(samples, spec, None, parallel)  # type: ignore[arg-type]


def test_all_processes_meet_at_one_place_of_the_first_node(monkeypatch: pytest.MonkeyPatch) -> None:
    worlds, places = [], set()
    for world in processes(monkeypatch):
        worlds.append(world)
        places.add((os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]))
    assert [(world.rank, world.size, world.local_rank) for world in worlds] == [
        (rank, SIZE, rank % GPUS) for rank in range(SIZE)
    ]
    [(address, _)] = places
    assert address == "gpu01"


@pytest.mark.parametrize("batch", [128, 4096])
def test_each_sample_is_trained_once_an_epoch(batch: int) -> None:
    split: Any = SimpleNamespace(labels=np.zeros(IMAGENET, dtype=np.int64), balanced=False)
    order = epoch_order(split, seed=42, epoch=7)
    steps = IMAGENET // batch
    seen = np.zeros(IMAGENET, dtype=np.int64)
    for rank in range(SIZE):
        (part,) = shares(rank, IMAGENET, batch_size=batch, drop_last=True).cut(batch)
        taken = order[: steps * batch].reshape(steps, batch)[:, part]
        assert taken.shape[1] == batch // SIZE
        np.add.at(seen, taken.ravel(), 1)
    assert Counter(seen.tolist()) == {1: steps * batch, 0: IMAGENET - steps * batch}


def test_a_last_batch_that_leaves_processes_without_a_sample_is_refused() -> None:
    with pytest.raises(TrainError, match="the last batch of an epoch has 15 samples, too few for 64 processes"):
        shares(0, IMAGENET, batch_size=128, drop_last=False)


def test_where_a_run_is_trained_does_not_change_its_id() -> None:
    profile = SlurmProfile(nodes=NODES, gpus_per_node=GPUS)
    run = expand(load_recipe("recipes/imagenet.yaml"), "paper", 1, (), lambda _: True)[0]
    resources = Resources.of(run, profile)
    assert resources.nodes * resources.tasks_per_node == SIZE
    alone = expand(load_recipe("recipes/imagenet.yaml"), "paper", 1, ("execution.workers=0",), lambda _: True)[0]
    assert run.id == alone.id  # a spec has no place for what runs it


def test_one_process_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    lead = type(ALONE).lead.fget
    assert lead
    assert [world.rank for world in processes(monkeypatch) if lead(world)] == [0]
