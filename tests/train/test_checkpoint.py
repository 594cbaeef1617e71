"""Checkpoints: what is read is what was written, or it is refused by name."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from tksbench.runs.errors import LedgerError
from tksbench.train import checkpoint
from tksbench.train.errors import CheckpointError, TrainError


def network(seed: int = 0) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model(torch.randn(2, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    return model, optimizer


def save(folder: Path, epoch: int, seed: int = 0) -> Path:
    state = checkpoint.State("run", epoch=epoch, step=3, losses=[1.5, 0.1 + 0.2], best={"epoch": 1, "top1": 50.0})
    return checkpoint.save_checkpoint(folder, state, checkpoint.tensors_of(*network(seed)))


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    save(tmp_path, 2)
    found = checkpoint.newest(tmp_path, "run")
    assert found is not None
    state, tensors, damaged = found
    assert (state.epoch, state.step, state.losses, damaged) == (2, 3, [1.5, 0.1 + 0.2], [])
    model, optimizer = network(seed=1)
    checkpoint.restore(tensors, model, optimizer)
    want = checkpoint.tensors_of(*network(seed=0))
    got = checkpoint.tensors_of(model, optimizer)
    assert want.keys() == got.keys()
    assert all(torch.equal(want[name], got[name]) for name in want)


def test_a_folder_whose_name_is_no_text_can_be_read_again(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    save(folder, 2)
    found = checkpoint.newest(folder, "run")
    assert found is not None
    assert found[0].losses == [1.5, 0.1 + 0.2]


def test_the_two_newest_are_kept(tmp_path: Path) -> None:
    for epoch in range(4):
        save(tmp_path, epoch)
    assert [path.name[:10] for path in checkpoint.list_checkpoints(tmp_path)] == ["epoch00003", "epoch00002"]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_one_that_was_passed_over_takes_no_good_ones_place(tmp_path: Path) -> None:
    save(tmp_path, 5)
    damaged = save(tmp_path, 9)
    damaged.write_bytes(b"damaged")
    for epoch in (6, 7):
        save(tmp_path, epoch)
        found = [checkpoint.read_checkpoint(path, "run")[0].epoch for path in checkpoint.list_checkpoints(tmp_path)]
        assert found == [epoch, epoch - 1]


def test_what_cannot_be_written_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for epoch in (5, 9):
        save(tmp_path, epoch)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LedgerError):
        save(tmp_path, 6)
    assert [path.name[:10] for path in checkpoint.list_checkpoints(tmp_path)] == ["epoch00009", "epoch00005"]


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.5, 0.999])
def test_cut_file_is_passed_over_for_the_one_before(tmp_path: Path, fraction: float) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * fraction)])
    found = checkpoint.newest(tmp_path, "run")
    assert found is not None
    assert found[0].epoch == 1
    assert str(path) in found[2][0]


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path, 2)
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            state, tensors = checkpoint.read_checkpoint(path, "run")
        except CheckpointError:
            continue
        # A flip may fall on a blank that pads the header: then all that counts is unchanged.
        path.write_bytes(whole)
        same_state, same = checkpoint.read_checkpoint(path, "run")
        assert state == same_state
        assert checkpoint.digest(tensors) == checkpoint.digest(same)


def test_nothing_whole_is_an_error_and_nothing_is_lost(tmp_path: Path) -> None:
    path = save(tmp_path, 2)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match="to train the run from its beginning"):
        checkpoint.newest(tmp_path, "run")
    assert path.exists()


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "absent", "run") is None


def test_other_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="belongs to run run, not to other"):
        checkpoint.read_checkpoint(save(tmp_path, 0), "other")


def test_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    _, tensors = checkpoint.read_checkpoint(save(tmp_path, 0), "run")
    model = torch.nn.Conv2d(3, 5, 3)
    with pytest.raises(CheckpointError, match="does not fit"):
        checkpoint.restore(tensors, model, torch.optim.AdamW(model.parameters()))


def test_pickles_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "epoch00001-step0000000.safetensors"
    torch.save({"model": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError):
        checkpoint.read_checkpoint(path, "run")


def test_a_state_of_an_optimizer_that_is_no_tensor_is_refused() -> None:
    model, optimizer = network()
    optimizer.state[next(model.parameters())]["calls"] = 3
    with pytest.raises(TrainError, match="AdamW keeps 'calls' of its state as int, and checkpoints hold tensors"):
        checkpoint.tensors_of(model, optimizer)
