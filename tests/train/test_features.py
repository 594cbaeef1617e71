"""The features of figure 5: exact spike counts of the last LIF layer, from the network that was trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.train.conftest import MakeRun
from tksbench.data.base import Data
from tksbench.snn.neuron import Neuron
from tksbench.train.errors import TrainError
from tksbench.train.features import last_layer_counts, write_features
from tksbench.train.loop import Trainer


@pytest.fixture
def trainer(make_run: MakeRun, tiny_data: Data) -> Trainer:
    run, run_dir = make_run()
    return Trainer(run, run_dir, tiny_data, torch.device("cpu"))


def test_counts_over_time_are_the_mean_spikes_of_the_last_layer_times_the_steps(trainer: Trainer) -> None:
    with torch.no_grad():
        trainer.model.fc1.bias[:4] = torch.tensor([-9.0, 0.3, 0.7, 9.0])  # silent, undecided, once or so, always
    parts = last_layer_counts(trainer)
    images, labels = trainer.data.test.__getitems__([(0, index) for index in range(25)])
    trainer.model.eval()
    with torch.no_grad():
        rates = trainer.model.forward_features(images)  # type: ignore[operator]
    assert parts["counts"].dtype == np.uint8
    assert (parts["counts"][:, 0].max(), parts["counts"][:, 3].min()) == (0, 2)  # T is 2
    np.testing.assert_array_equal(parts["counts"], 2 * rates.numpy())
    np.testing.assert_array_equal(parts["labels"], labels)


def test_network_goes_back_to_training(trainer: Trainer) -> None:
    trainer.model.train()
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    last_layer_counts(trainer)
    assert trainer.model.training
    assert all(torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())


def test_a_part_of_the_test_half_has_all_classes_alike_in_its_own_order(trainer: Trainer) -> None:
    trainer.data.test.labels = np.array([0] * 15 + [1] * 10)
    parts = last_layer_counts(trainer, limit=6)
    assert parts["index"].tolist() == [0, 1, 2, 15, 16, 17]
    assert parts["labels"].tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(parts["counts"], last_layer_counts(trainer)["counts"][parts["index"]])


def test_file_is_the_same_to_the_byte_when_written_again(trainer: Trainer) -> None:
    content = write_features(trainer).read_bytes()
    assert write_features(trainer).read_bytes() == content
    with np.load(trainer.dir.features_last, allow_pickle=False) as stored:
        assert set(stored) == {"counts", "labels", "index"}


def test_nothing_is_written_for_a_run_that_another_process_has_taken_over(trainer: Trainer) -> None:
    def taken() -> None:
        raise RuntimeError("taken over")

    trainer.guard = taken
    with pytest.raises(RuntimeError, match="taken over"):
        write_features(trainer)
    assert not trainer.dir.features_last.exists()


def test_features_that_are_no_spikes_are_kept_as_they_are(trainer: Trainer) -> None:
    class Graded(Neuron):
        def forward(self, current: torch.Tensor, steps: int | None = None) -> torch.Tensor:
            return current.clamp_min(0.0)

    trainer.model.lif = Graded()
    with torch.no_grad():
        trainer.model.fc1.bias[:2] = torch.tensor([1.25, 900.0])
    counts = last_layer_counts(trainer)["counts"]
    assert counts.dtype == np.float32
    assert counts[:, 1].min() > 255


def test_a_network_without_neurons_is_refused_before_it_is_trained(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tksbench.snn.resnet.spiking_resnet19", lambda **_options: torch.nn.Linear(2, 2))
    with pytest.raises(TrainError, match="'spiking_resnet19' has no neurons"):
        Trainer(trainer.run, trainer.dir, trainer.data, torch.device("cpu"))
