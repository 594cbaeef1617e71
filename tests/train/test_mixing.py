"""Mixed training samples: keyed by (seed, epoch, step), the same for every share of a batch and after every resume."""

from __future__ import annotations

import pytest
import torch

from tests.train.conftest import MakeRun
from tksbench.data.base import Data
from tksbench.recipe import RunSpec
from tksbench.snn.losses import baseline, label_smoothing, tet
from tksbench.train.batch_shares import cut
from tksbench.train.errors import Interrupted
from tksbench.train.loop import Trainer
from tksbench.train.mixing import Mixing, Part, soft_targets
from tksbench.train.schedule import TrainBatches

CPU = torch.device("cpu")


class Halves:
    """Puts the partner's lower half in place of a sample's own; keeps what it was given."""

    partners = "set"

    def __init__(self) -> None:
        self.rows: list[torch.Tensor] = []

    def draw(self, rng, samples, shape):  # type: ignore[no-untyped-def]
        return rng.random((samples, 2)) + samples

    def __call__(self, images, others, draws):  # type: ignore[no-untyped-def]
        self.rows.append(draws)
        half = images.shape[-2] // 2
        return torch.cat([images[..., :half, :], others[..., half:, :]], -2), draws[:, 0] % 1


def mixing(spec: RunSpec, data: Data, partners: str) -> Mixing:
    one = Mixing(spec, data, 0, CPU)
    one.mix = Halves()
    one.mix.partners = partners  # type: ignore[assignment]
    return one


@pytest.mark.parametrize("partners", ["set", "batch"])
def test_parts_of_a_batch_are_mixed_as_the_whole_batch_is(make_run: MakeRun, tiny_data: Data, partners: str) -> None:
    spec = make_run()[0].spec
    batches = list(TrainBatches(tiny_data.train, spec.optim, spec.seed, 1, 2).numbered())
    assert [(epoch, step) for epoch, step, _ in batches] == [(1, 2), (2, 0), (2, 1), (2, 2)]
    (whole,) = mixing(spec, tiny_data, partners).read([Part(*batches[0], slice(0, 16))])
    parts = [
        next(mixing(spec, tiny_data, partners).read([Part(*batches[0], part)]))
        for rank in range(2)
        for part in cut(16, None, rank, 2)
    ]
    for one, several in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(one, torch.cat(several))


def test_a_step_of_an_epoch_has_draws_of_its_own_and_the_same_ones_again(make_run: MakeRun, tiny_data: Data) -> None:
    spec = make_run()[0].spec
    batch = next(iter(TrainBatches(tiny_data.train, spec.optim, spec.seed)))
    places = [(0, 0, spec), (0, 1, spec), (1, 0, spec), (0, 0, spec.model_copy(update={"seed": 7})), (0, 0, spec)]
    mixed = [
        next(mixing(one, tiny_data, "set").read([Part(epoch, step, batch, slice(0, 16))]))[0]
        for epoch, step, one in places
    ]
    assert torch.equal(mixed[0], mixed[4])
    assert not any(torch.equal(mixed[0], other) for other in mixed[1:4])


def test_a_sample_is_read_once_however_often_it_is_wanted(make_run: MakeRun, tiny_data: Data) -> None:
    spec = make_run()[0].spec
    asked: list[int] = []
    read = tiny_data.train.pack

    def counted(keys):  # type: ignore[no-untyped-def]
        asked.append(len(keys))
        return read(keys)

    tiny_data.train.pack = counted  # type: ignore[method-assign]
    batch = next(iter(TrainBatches(tiny_data.train, spec.optim, spec.seed)))
    list(mixing(spec, tiny_data, "batch").read([Part(0, 0, batch, slice(0, 16))]))
    assert asked == [16]


def test_a_mixed_run_that_is_stopped_and_goes_on_has_the_same_bits(make_run: MakeRun, tiny_data: Data) -> None:
    weights = []
    for folder, stops in (("whole", ()), ("stopped", (2, 4))):
        run, run_dir = make_run(folder, "optim.epochs=2", "optim.warmup_epochs=0", method="baseline")
        for limit in (*stops, 100):
            steps = iter(range(limit))
            trainer = Trainer(run, run_dir, tiny_data, CPU, stopping=lambda steps=steps: next(steps, None) is None)
            trainer.mixing.mix = Halves()
            trainer.resume()
            try:
                trainer.fit()
            except Interrupted:
                continue
        weights.append(trainer.model.state_dict())
    assert all(torch.equal(one, two) for one, two in zip(*map(dict.values, weights), strict=True))


def test_soft_targets_sum_to_one_and_meet_where_both_labels_are_equal() -> None:
    targets = soft_targets(torch.tensor([0, 2]), torch.tensor([1, 2]), torch.tensor([0.25, 0.3]), 3)
    assert torch.equal(targets, torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.0, 1.0]]))


@pytest.mark.parametrize("loss", [baseline, label_smoothing, tet])
def test_a_loss_gives_for_certain_shares_what_it_gives_for_labels(loss) -> None:  # type: ignore[no-untyped-def]
    logits = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = torch.tensor([0, 3, 1, 1, 2])
    shares = torch.nn.functional.one_hot(target, 4).double()
    torch.testing.assert_close(loss(logits, shares), loss(logits, target))
    half = loss(logits, (shares + shares.roll(1, 1)) / 2)
    torch.testing.assert_close(half, (loss(logits, target) + loss(logits, (target + 1) % 4)) / 2)
