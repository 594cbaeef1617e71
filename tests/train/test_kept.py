"""Features that are kept block by block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from tksbench.train import kept
from tksbench.train.errors import Interrupted, TrainError
from tksbench.train.kept import BLOCK, Blocks

N = 2 * BLOCK + 5


def nothing(*_: Any) -> None:
    pass


class Counting:
    """Features of a sample: its index, and as many zeros as are asked for."""

    def __init__(self, width: int = 3) -> None:
        self.asked: list[int] = []
        self.width = width

    def __call__(self, index: int) -> Any:
        self.asked.append(index)
        return np.array([index, *[0] * (self.width - 1)])


@pytest.mark.parametrize("few", [False, True])
def test_an_attempt_goes_on_after_the_last_whole_block(tmp_path: Path, few: bool) -> None:
    def stop(done: int) -> None:
        if done == BLOCK + 7:
            raise Interrupted

    with pytest.raises(Interrupted):
        Blocks(tmp_path, sparse=few, guard=nothing).of("train", N, Counting(), stop)
    again, done = Counting(), list[int]()
    found = Blocks(tmp_path, sparse=few, guard=nothing).of("train", N, again, done.append)
    assert again.asked == list(range(BLOCK, N))
    assert done == [BLOCK, *range(BLOCK + 1, N + 1)]
    assert sparse.issparse(found) == few
    dense = found.toarray() if few else found
    assert dense.dtype == np.float32
    assert dense[:, 0].tolist() == list(range(N))
    assert not dense[:, 1:].any()


@pytest.mark.parametrize("few", [False, True])
def test_a_damaged_block_is_computed_again(tmp_path: Path, few: bool) -> None:
    Blocks(tmp_path, sparse=few, guard=nothing).of("test", N, Counting(), nothing)
    paths = sorted(tmp_path.iterdir())
    paths[0].write_bytes(paths[0].read_bytes()[:100])
    paths[2].write_bytes(paths[1].read_bytes())  # of more samples
    again = Counting()
    found = Blocks(tmp_path, sparse=few, guard=nothing).of("test", N, again, nothing)
    assert again.asked == [*range(BLOCK), *range(2 * BLOCK, N)]
    assert (found.toarray() if few else found)[:, 0].tolist() == list(range(N))


def test_the_time_of_earlier_attempts_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(kept.time, "monotonic", lambda: next(clock))
    for spared in (0, 4):  # what is learned, and three blocks, at a second each
        blocks = Blocks(tmp_path, sparse=True, guard=nothing)
        blocks.learned(lambda: {"codebook_": np.zeros(3)})
        blocks.of("train", N, Counting(), nothing)
        assert blocks.earlier_seconds == spared


def test_halves_are_kept_apart_and_removed_together(tmp_path: Path) -> None:
    blocks = Blocks(tmp_path, sparse=False, guard=nothing)
    for half in ("train", "test"):
        features = Counting()
        blocks.of(half, 3, features, nothing)
        assert features.asked == [0, 1, 2]
    blocks.clear()
    assert not tmp_path.exists()


def test_what_was_learned_is_learned_once_and_blocks_of_anything_else_go(tmp_path: Path) -> None:
    blocks = Blocks(tmp_path, sparse=False, guard=nothing)
    blocks.of("train", 3, Counting(), nothing)
    book = {"codebook_": np.arange(6, dtype=np.float32).reshape(2, 3)}
    assert blocks.learned(lambda: book)["codebook_"].tolist() == book["codebook_"].tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["learned.npz"]
    found = Blocks(tmp_path, sparse=False, guard=nothing).learned(lambda: pytest.fail("learned twice"))
    assert found.keys() == {"codebook_"}
    assert found["codebook_"].tolist() == book["codebook_"].tolist()


def test_what_cannot_be_kept_is_learned_again_and_so_are_its_blocks(tmp_path: Path) -> None:
    blocks = Blocks(tmp_path / "kept", sparse=False, guard=nothing)
    blocks.of("train", 3, Counting(), nothing)
    assert blocks.learned(lambda: None) == {}
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (np.zeros((2, 2)), r"sample 1 are of shape \[2, 2\] and type float64: expected a list of finite numbers"),
        (np.array([1.0, np.nan, 0.0]), "sample 1 are not finite"),
        (np.array(["a", "b"]), r"sample 1 are of shape \[2\] and type <U1"),
        (np.zeros(4), "sample 1 has 4 features, those before it 3"),
    ],
)
def test_what_are_no_features_is_refused(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(TrainError, match=message):
        Blocks(tmp_path, sparse=False, guard=nothing).of("train", 3, lambda i: row if i else np.zeros(3), nothing)


def test_blocks_of_unlike_width_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=f"sample {BLOCK} has 4 features, those before it 3"):
        Blocks(tmp_path, sparse=True, guard=nothing).of("a", N, lambda i: np.zeros(3 + i // BLOCK), nothing)
