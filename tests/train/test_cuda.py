"""Training on a CUDA device: the graph has the ordinary step's bits, and resuming loses none of them."""

from __future__ import annotations

import pytest
import torch

from tests.train.conftest import MakeRun
from tksbench.data.base import Data
from tksbench.recipe import Run
from tksbench.runs.files import read_jsonl
from tksbench.runs.paths import RunDir
from tksbench.train.checkpoint import weights_digest
from tksbench.train.errors import Interrupted
from tksbench.train.loop import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def train(run: Run, run_dir: RunDir, data: Data, *, stop_after: int = 10**6, graphs: bool = True) -> Trainer:
    asked = iter(range(10**7))
    trainer = Trainer(run, run_dir, data, torch.device("cuda"), lambda: next(asked) >= stop_after)
    if not graphs:
        trainer._graphed = None
    trainer.resume()
    trainer.fit()
    return trainer


def outcome(run_dir: RunDir, trainer: Trainer) -> tuple[str, bytes]:
    return weights_digest(trainer.model), run_dir.losses.read_bytes()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_graph_has_the_ordinary_steps_bits(make_run: MakeRun, tiny_data: Data, precision: str) -> None:
    found = []
    for name in ("graphs", "ordinary"):
        run, run_dir = make_run(name, f"numerics.precision={precision}")
        found.append(outcome(run_dir, train(run, run_dir, tiny_data, graphs=name == "graphs")))
    assert found[0] == found[1]


def test_the_weights_do_change_within_a_graph(make_run: MakeRun, tiny_data: Data) -> None:
    run, run_dir = make_run("x", "optim.epochs=12", "model.width=0.1", method="baseline")
    trainer = train(run, run_dir, tiny_data)
    assert trainer._graphed is not None and trainer._graphed._graph is not None
    losses = [row["train_loss"] for row in read_jsonl(run_dir.metrics)]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("stop_after", [0, 1, 2, 4, 7])
def test_stopped_anywhere_and_resumed_it_ends_the_same(make_run: MakeRun, tiny_data: Data, stop_after: int) -> None:
    run, whole = make_run("whole")
    want = outcome(whole, train(run, whole, tiny_data))
    run, broken = make_run("broken")
    with pytest.raises(Interrupted):
        train(run, broken, tiny_data, stop_after=stop_after)
    assert outcome(broken, train(run, broken, tiny_data)) == want
