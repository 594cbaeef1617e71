"""Training: deterministic, resumable at every step to the bit, honest about how it failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.train.conftest import MakeRun, TinySplit
from tksbench.data.base import Data
from tksbench.recipe import Run
from tksbench.runs.files import read_jsonl
from tksbench.runs.paths import RunDir
from tksbench.runs.record import make_record
from tksbench.snn.neuron import LIF
from tksbench.systems.dspike import DSpike
from tksbench.train import health
from tksbench.train.checkpoint import State, weights_digest
from tksbench.train.errors import CheckpointError, Diverged, Interrupted
from tksbench.train.graph import may_be_recorded
from tksbench.train.loop import Trainer
from tksbench.train.objective import build_objective
from tksbench.train.origin import Witness, attempt_origin
from tksbench.train.parallel import ALONE
from tksbench.train.summary import record_parts

CPU = torch.device("cpu")


def train(run: Run, run_dir: RunDir, data: Data, stop_after: int | None = None) -> Trainer:
    """Train; with `stop_after`, ask for a stop after that many boundary checks."""
    asked = iter(range(10**6))
    stopping = (lambda: next(asked) >= stop_after) if stop_after is not None else (lambda: False)
    trainer = Trainer(run, run_dir, data, CPU, stopping)
    trainer.resume()
    trainer.fit()
    return trainer


def outcome(run_dir: RunDir, trainer: Trainer) -> tuple[str, bytes, bytes, bytes]:
    trainer.tested.right(trainer.state)
    files = (run_dir.metrics, run_dir.losses, run_dir.logits_best)
    return weights_digest(trainer.model), *(path.read_bytes() for path in files)  # type: ignore[return-value]


def test_two_runs_agree_to_the_bit(make_run: MakeRun, tiny_data: Data) -> None:
    found = [outcome(run_dir, train(run, run_dir, tiny_data)) for run, run_dir in (make_run("a"), make_run("b"))]
    assert found[0] == found[1]


def test_a_gradient_is_not_longer_than_its_bound(make_run: MakeRun, tiny_data: Data) -> None:
    words = (
        "optim.name=sgd",
        "optim.momentum=0.0",
        "optim.nesterov=false",
        "optim.weight_decay=0.0",
        "optim.warmup_epochs=0",
    )
    run, run_dir = make_run("a", *words, "optim.epochs=1", "optim.lr=0.5", "optim.min_lr=0.5", "optim.clip_norm=1e-3")
    trainer = Trainer(run, run_dir, tiny_data, CPU)
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    trainer.fit()
    moved = [(new.detach() - old).square().sum() for new, old in zip(trainer.model.parameters(), before, strict=True)]
    assert 0 < sum(moved) ** 0.5 <= 3 * 0.5 * 1e-3 * 1.001  # three steps


# A boundary is asked after each of 9 steps and after each of 2 test batches in 3 epochs: 15 times, from 0.
@pytest.mark.parametrize("stop_after", [0, 1, 2, 3, 4, 7, 12, 14])
def test_stopped_anywhere_and_resumed_it_ends_the_same(make_run: MakeRun, tiny_data: Data, stop_after: int) -> None:
    run, whole = make_run("whole")
    want = outcome(whole, train(run, whole, tiny_data))
    run, broken = make_run("broken")
    with pytest.raises(Interrupted):
        train(run, broken, tiny_data, stop_after)
    assert outcome(broken, train(run, broken, tiny_data)) == want


class Enlarged(TinySplit):
    """The same images of 16 pixels."""

    def __getitems__(self, keys):  # type: ignore[no-untyped-def]
        images, labels = super().__getitems__(keys)
        return nn.functional.interpolate(images, scale_factor=2.0), labels


SURROGATE = "{name: dspike, temperature: 5.0, adaptive: true}"
DRAWING = (
    f"model={{name: stbp_cifarnet, norm: {{name: tdbn}}, neuron: {{name: iterative_lif, surrogate: {SURROGATE}}}}}"
)


@pytest.mark.parametrize("stop_after", [1, 5, 7])
def test_draws_and_what_is_adapted_are_the_same_after_a_resumption(
    make_run: MakeRun, tiny_data: Data, stop_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hotter(_one: DSpike, network: nn.Module, loss: Callable[[], torch.Tensor], _agreed: object) -> None:
        assert torch.equal(loss(), loss())
        for module in network.modules():
            if isinstance(module, DSpike):
                module.temperature.data += 1

    monkeypatch.setattr(DSpike, "adapt", hotter)
    data = replace(tiny_data, train=Enlarged(60, 0, True), test=Enlarged(25, 1, False))
    run, whole = make_run("whole", DRAWING, "data.image_size=16", method="baseline")
    want = outcome(whole, train(run, whole, data))
    run, broken = make_run("broken", DRAWING, "data.image_size=16", method="baseline")
    with pytest.raises(Interrupted):
        train(run, broken, data, stop_after)
    trainer = train(run, broken, data)
    assert outcome(broken, trainer) == want
    temperatures = {value.item() for name, value in trainer.model.named_parameters() if name.endswith("temperature")}
    assert temperatures == {5.0 + 3}  # once in each epoch


def test_rows_written_after_the_checkpoint_are_not_doubled(make_run: MakeRun, tiny_data: Data) -> None:
    run, run_dir = make_run()
    with pytest.raises(Interrupted):
        train(run, run_dir, tiny_data, 1)  # saved in epoch 0
    unsaved = Trainer(run, run_dir, tiny_data, CPU)
    unsaved.resume()
    unsaved.save = lambda: None  # type: ignore[method-assign]  # as if killed before the next checkpoint
    unsaved.fit()
    assert len(read_jsonl(run_dir.metrics)) == 3
    train(run, run_dir, tiny_data)
    assert [row["epoch"] for row in read_jsonl(run_dir.metrics)] == [0, 1, 2]
    assert [len(row["loss"]) for row in read_jsonl(run_dir.losses)] == [3, 3, 3]


def test_workers_do_not_change_the_result(make_run: MakeRun, tiny_data: Data) -> None:
    run, one = make_run("one", "optim.epochs=1", "optim.warmup_epochs=0")
    run2, two = make_run("two", "optim.epochs=1", "optim.warmup_epochs=0", "execution.workers=2")
    assert run.id == run2.id
    assert outcome(one, train(run, one, tiny_data)) == outcome(two, train(run2, two, tiny_data))


def test_network_learns(make_run: MakeRun, tiny_data: Data) -> None:
    run, run_dir = make_run("x", "optim.epochs=12", "model.width=0.1", method="baseline")
    train(run, run_dir, tiny_data)
    losses = [row["train_loss"] for row in read_jsonl(run_dir.metrics)]
    assert losses[-1] < 0.9 * losses[0]


def test_weight_decay_spares_vectors(make_run: MakeRun, tiny_data: Data) -> None:
    run, run_dir = make_run()
    optimizer = Trainer(run, run_dir, tiny_data, CPU).optimizer
    decay = {p.dim() > 1: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay == {True: 0.01, False: 0.0}


def test_a_loss_gets_float32_whatever_the_network_gives(make_run: MakeRun, tiny_data: Data) -> None:
    class Rough(torch.nn.Module):  # as one from outside under autocast
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return trainer.model(images).bfloat16()  # type: ignore[no-any-return]

    run, run_dir = make_run("x", "numerics.precision=bf16")
    trainer = Trainer(run, run_dir, tiny_data, CPU)
    trainer.network = Rough()
    seen = []
    trainer.objective = replace(  # type: ignore[func-returns-value]
        trainer.objective, loss=lambda logits, *_, **_constants: seen.append(logits.dtype) or logits.sum()
    )
    images, labels = tiny_data.train.__getitems__([(0, 0), (0, 1)])
    loss, _ = trainer._forward(images, labels)
    assert seen == [torch.float32]
    assert loss.dtype == torch.float32


def test_not_a_number_stops_the_run_and_names_the_step(make_run: MakeRun, tiny_data: Data) -> None:
    run, run_dir = make_run()
    trainer = Trainer(run, run_dir, tiny_data, CPU)
    trainer.objective = replace(
        trainer.objective,
        loss=lambda logits, *_, **_constants: logits.sum() * (float("nan") if trainer.state.step == 1 else 1.0),
    )
    with pytest.raises(Diverged, match="the loss is nan at epoch 0, step 1"):
        trainer.fit()


def test_infinite_input_that_neurons_hide_is_noticed_before_it_is_saved(make_run: MakeRun, tiny_data: Data) -> None:
    run, run_dir = make_run("x", "execution.checkpoint_minutes=0")
    tiny_data.train.images[:] = np.inf  # type: ignore[attr-defined]
    with pytest.raises(Diverged, match=r"is not finite at epoch 0, step 1"):
        train(run, run_dir, tiny_data)
    assert not list(run_dir.path.glob("checkpoints/*"))


def test_exploding_membranes_are_noticed_and_the_checkpoint_before_them_is_kept(
    make_run: MakeRun, tiny_data: Data
) -> None:
    run, run_dir = make_run()
    with pytest.raises(Interrupted):
        train(run, run_dir, tiny_data, 1)
    healthy = [path.read_bytes() for path in sorted(run_dir.checkpoints.iterdir())]
    trainer = Trainer(run, run_dir, tiny_data, CPU)
    trainer.resume()
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter *= 1e30
    with pytest.raises(Diverged, match=r"epoch \d, step \d; the checkpoints before it are kept"):
        trainer.fit()
    assert [path.read_bytes() for path in sorted(run_dir.checkpoints.glob("*.safetensors"))] == healthy


@pytest.mark.parametrize("least", [30, 1000])
def test_a_dead_network_is_stopped_after_steps_enough(
    make_run: MakeRun, tiny_data: Data, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    monkeypatch.setattr(health, "STEPS", least)
    run, run_dir = make_run("x", "optim.epochs=14", "optim.warmup_epochs=2", method="baseline")
    trainer = Trainer(run, run_dir, tiny_data, CPU)
    for layer in trainer.model.modules():
        if isinstance(layer, LIF):
            layer.threshold = 1e9
    if least == 30:  # ten epochs of three steps after warm-up
        with pytest.raises(Diverged, match="dead at epoch 11, step 3: since epoch 2 it answers every test sample"):
            trainer.fit()
    else:
        trainer.fit()
    assert len(read_jsonl(run_dir.metrics)) == (12 if least == 30 else 14)


@pytest.mark.parametrize(("correct", "spread", "flat"), [(10, 0.0, True), (30, 0.0, False), (10, 1e-6, False)])
def test_a_network_that_learns_or_answers_otherwise_once_is_not_dead(correct: int, spread: float, flat: bool) -> None:
    state = State("run", epoch=5, correct=correct, seen=100, flat_since=3)
    logits = np.zeros((20, 2, 10), np.float32)
    logits[7, 1, 3] = spread
    health.note_flat(state, logits, np.arange(20) % 10)
    assert state.flat_since == (3 if flat else None)


def test_best_epoch_is_the_first_of_equals_and_its_logits_are_kept(make_run: MakeRun, tiny_data: Data) -> None:
    run, run_dir = make_run()
    trainer = train(run, run_dir, tiny_data)
    found = trainer.outcome()
    last, best, right_last, right_best = found.last, found.best, found.right_last, found.right_best
    tops = [row["test_top1"] for row in read_jsonl(run_dir.metrics)]
    assert best["epoch"] == int(np.argmax(tops))
    assert best["top1"] == max(tops) == pytest.approx(100 * right_best.mean())
    assert last["top1"] == tops[-1] == pytest.approx(100 * right_last.mean())


def test_altered_logits_are_noticed(make_run: MakeRun, tiny_data: Data) -> None:
    run, run_dir = make_run()
    trainer = train(run, run_dir, tiny_data)
    trainer.tested.right(trainer.state)
    raw = bytearray(run_dir.logits_best.read_bytes())
    raw[-1] ^= 1
    run_dir.logits_best.write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"logits_best\.npy: missing or altered"):
        trainer.tested.right(trainer.state)


def test_logits_of_a_best_epoch_that_no_checkpoint_knows_do_no_harm(make_run: MakeRun, tiny_data: Data) -> None:
    """A killed attempt on other hardware may have had another best epoch than the one that follows it."""
    run, run_dir = make_run()
    with pytest.raises(Interrupted):
        train(run, run_dir, tiny_data, 12)  # in epoch 2
    run_dir.best(2).write_bytes(b"of an attempt that was killed")
    trainer = train(run, run_dir, tiny_data)
    trainer.tested.right(trainer.state)
    assert not list(run_dir.checkpoints.glob("best-epoch*.npy"))


def test_record_is_complete(make_run: MakeRun, tiny_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    run, run_dir = make_run("x", "optim.epochs=1", "optim.warmup_epochs=0")
    trainer = train(run, run_dir, tiny_data)
    origin, _ = attempt_origin(Witness(), run_dir.path, CPU, ALONE, {})
    record = make_record(**record_parts(run, run_dir, trainer, origin))
    assert (record.id, record.test.n, record.cost.gpu_hours) == (run.id, 25, 0.0)
    assert record.weights_sha256 == weights_digest(trainer.model)
    arrays = {"logits_last.npy", "logits_best.npy", "labels.npy", "features_last.npz"}
    assert set(record.files) == {*arrays, "metrics.jsonl", "losses.jsonl"}
    assert record.provenance.data == {"tiny": "md5:0"}
    assert record.provenance.command.startswith(f"OMP_NUM_THREADS={torch.get_num_threads()} python -m tksbench.launch ")
    logits = np.load(run_dir.logits_last)
    assert logits.shape == (25, 2, 10)
    assert logits.dtype == np.float32


def test_no_temporary_file_is_left(make_run: MakeRun, tiny_data: Data, tmp_path: Path) -> None:
    run, run_dir = make_run()
    train(run, run_dir, tiny_data)
    assert not [path for path in tmp_path.rglob("*") if ".tmp" in path.name]


@pytest.mark.parametrize("name", ["metrics.jsonl", "losses.jsonl"])
def test_an_altered_log_is_noticed_and_an_older_checkpoint_goes_on(
    make_run: MakeRun, tiny_data: Data, name: str
) -> None:
    run, whole = make_run("whole")
    want = outcome(whole, train(run, whole, tiny_data))
    run, run_dir = make_run("broken", "execution.checkpoint_minutes=0")
    with pytest.raises(Interrupted):
        train(run, run_dir, tiny_data, 5)  # at the first step of epoch 1, whose older checkpoint is of epoch 0
    path = run_dir.path / name
    path.write_bytes(path.read_bytes().replace(b": 0", b": 1", 1))
    assert outcome(run_dir, train(run, run_dir, tiny_data)) == want
    with pytest.raises(CheckpointError, match=f"{name}: its rows of the first 3 epochs were altered"):
        path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
        train(run, run_dir, tiny_data)


def own_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return logits.sum()


def test_a_step_with_a_loss_or_a_layer_from_outside_is_never_a_graph(make_run: MakeRun) -> None:
    """Its Python code may count, or wait for the device."""

    class Own(LIF):
        pass

    (run, _), cuda = make_run(), torch.device("cuda")
    objectives = {name: build_objective(make_run(method=name)[0].spec, 1) for name in ("tks", "baseline")}
    outside = replace(objectives["tks"], loss=partial(own_loss))
    for objective in objectives.values():
        assert may_be_recorded(run.spec, cuda, ALONE, nn.Sequential(LIF()), objective)
        assert not may_be_recorded(run.spec, CPU, ALONE, LIF(), objective)
        assert not may_be_recorded(run.spec, cuda, ALONE, nn.Sequential(Own()), objective)
    assert not may_be_recorded(run.spec, cuda, ALONE, LIF(), outside)


class Annealed(LIF):
    """A neuron that wants to know how far training has come."""

    graph_safe = True

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[float] = []

    def set_progress(self, at: float) -> None:
        self.heard.append(at)


def test_a_module_that_anneals_is_given_the_progress_before_each_step_and_test(
    make_run: MakeRun, tiny_data: Data
) -> None:
    run, run_dir = make_run("x", "optim.epochs=2", "optim.warmup_epochs=0")
    trainer = Trainer(run, run_dir, tiny_data, CPU)
    trainer._annealed = [annealed := Annealed()]
    trainer.fit()
    steps = [0, 1, 2, 3, 3, 4, 5, 6]  # each epoch of three ends with a test
    assert annealed.heard == [step / 6 for step in steps]
    again = Trainer(run, run_dir, tiny_data, CPU)
    again.resume()
    again._annealed = [annealed := Annealed()]
    again.fit()  # the last test is done anew
    assert annealed.heard == [1.0]


def test_a_step_with_a_module_that_anneals_is_never_a_graph(make_run: MakeRun) -> None:
    (run, _), cuda = make_run(), torch.device("cuda")
    assert not may_be_recorded(run.spec, cuda, ALONE, nn.Sequential(Annealed()), build_objective(run.spec, 1))


def test_the_weight_of_the_teacher_is_a_constant_of_the_step(make_run: MakeRun, tiny_data: Data) -> None:
    constants = {}
    for method in ("tks", "baseline"):
        run, run_dir = make_run(method, method=method)
        objective = Trainer(run, run_dir, tiny_data, CPU).objective
        constants[method] = [objective.constants(epoch, 1) for epoch in range(3)]
    run, run_dir = make_run("x", "method.schedule=static")
    assert Trainer(run, run_dir, tiny_data, CPU).objective.constants(0, 0) == {"alpha": 0.7}
    assert constants["baseline"] == [{}] * 3
    assert [one["alpha"] for one in constants["tks"]] == pytest.approx([0.0, 0.7 / 3, 1.4 / 3])
