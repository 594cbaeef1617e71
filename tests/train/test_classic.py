"""Classic runs: features of recordings, a classifier, and what is kept when they are broken off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tksbench.data.base import Data
from tksbench.data.event_recordings import RecordingSplit
from tksbench.data.framing import Events
from tksbench.recipe import Run, expand, load_recipe
from tksbench.runs.paths import RunDir
from tksbench.train import kept
from tksbench.train.classic import Classic
from tksbench.train.errors import Interrupted, TrainError

HATS = "{name: hats, cell: 5, radius: 1, window: 1000}"
DART = "{name: dart, queue: 20, every: 5, rings: 2, wedges: 4, r_max: 4.0, words: 4, sample: 40}"
SIDE, CLASSES = 10, 3


class Recordings(RecordingSplit):
    """Events around a place that is their class."""

    def __init__(self, labels: list[int], seed: int) -> None:
        super().__init__([], np.array(labels), lambda path: pytest.fail(f"{path} is read"), (SIDE, SIDE))
        self.read, self.seed = list[int](), seed

    def recording(self, index: int) -> Events:
        self.read.append(index)
        draw = np.random.default_rng([self.seed, index])
        x, y = draw.integers(0, 4, (2, 60)) + 3 * np.array([[self.labels[index]], [0]])
        t = np.sort(draw.integers(0, 2000, 60))
        return Events(x.astype(np.int16), y.astype(np.int16), t, draw.integers(0, 2, 60).astype(np.uint8))


def half(labels: list[int], seed: int) -> Any:
    return Recordings(labels, seed)


def data(train: int = 30, classes: int = CLASSES) -> Data:
    return Data(
        half([i % classes for i in range(train)], 1), half([0, 1, 2, 2], 2), CLASSES, {"recordings": "sha256:1"}
    )


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Classic]:
    """A classic run of some features, as each attempt makes it."""
    monkeypatch.setattr(kept, "BLOCK", 8)

    def made(features: str = HATS, of: Data | None = None, stop_at: int = 10**9, classifier: str = "") -> Classic:
        path = tmp_path / "classic.yaml"
        path.write_text(
            "protocol: {data: {name: nmnist, augment: none}}\n"
            f"runs: [{{kind: classic, features: {features}, classifier: {{name: linear_svm{classifier}}}, name: a}}]\n"
        )
        (run,) = expand(load_recipe(path))
        assert isinstance(run, Run)
        folder = tmp_path / run.id
        folder.mkdir(exist_ok=True)
        calls = iter(range(10**9))
        halves = of or data()
        one = Classic(run, RunDir(folder), halves, torch.device("cpu"), lambda: next(calls) >= stop_at)
        one.resume()
        return one

    return made


@pytest.mark.parametrize("features", [HATS, DART])
def test_recordings_are_put_into_their_classes(make: Callable[..., Classic], features: str) -> None:
    one = make(features)
    one.fit()
    outcome = one.outcome()
    assert outcome.last["top1"] == outcome.best["top1"] == 100
    assert outcome.right_last.tolist() == [True] * 4
    assert np.load(one.dir.logits_last).shape == (4, 1, CLASSES)
    assert one.place == (1, 0)
    assert not any(one.dir.checkpoints.iterdir())  # features are kept until the run is over


@pytest.mark.parametrize("features", [HATS, DART])
def test_an_attempt_goes_on_with_what_is_kept_and_ends_the_same(make: Callable[..., Classic], features: str) -> None:
    whole = make(features)
    whole.fit()
    learns = features == DART
    broken = make(features, stop_at=30 * learns + 20)
    with pytest.raises(Interrupted):
        broken.fit()
    halves = data()
    again = make(features, of=halves)
    again.fit()
    assert isinstance(halves.train, Recordings)
    assert halves.train.read == list(range(16, 30))
    assert again.outcome().weights == whole.outcome().weights
    assert again.outcome().last == whole.outcome().last


def test_what_is_kept_of_other_recordings_is_not_used(make: Callable[..., Classic]) -> None:
    with pytest.raises(Interrupted):
        make(stop_at=20).fit()
    other = data()
    other.manifest["recordings"] = "sha256:2"
    make(of=other).fit()
    assert isinstance(other.train, Recordings)
    assert other.train.read == list(range(30))


def test_the_cost_is_that_of_features_and_planes(make: Callable[..., Classic]) -> None:
    one = make()
    one.fit()
    outcome = one.outcome()
    count = 4 * 2 * 9
    assert outcome.parameters == CLASSES * (count + 1)
    assert outcome.snn is not None
    features, classifier = outcome.snn["layers"]
    assert classifier["macs"] == CLASSES * count
    assert features["macs"] == np.mean([one.features.macs(one.data.test.recording(index)) for index in range(4)])  # type: ignore[attr-defined]
    assert outcome.snn["macs"] == features["macs"] + classifier["macs"]
    assert outcome.snn["energy_mj"] == pytest.approx(outcome.snn["macs"] * 4.6e-9)


def test_a_class_without_training_samples_is_never_decided_for(make: Callable[..., Classic]) -> None:
    one = make(of=data(classes=2))
    one.fit()
    logits = np.load(one.dir.logits_last)[:, 0]
    assert (logits[:, 2] < logits[:, :2].min()).all()
    assert np.array_equal(logits[:, 0], -logits[:, 1])
    assert one.outcome().right_last.tolist() == [True, True, False, False]


def test_features_that_cannot_be_are_refused_before_anything_is_read(make: Callable[..., Classic]) -> None:
    with pytest.raises(
        TrainError, match=r"features 'dart', classifier 'linear_svm': r_max 2.0 must be above r_min 2.0"
    ):
        make("{name: dart, r_max: 2.0}")


def test_parameters_reach_the_classifier(make: Callable[..., Classic]) -> None:
    one = make(classifier=", C: 0.25, loss: hinge, intercept: false")
    params = one.classifier.get_params()
    asked = {key: params[key] for key in ("C", "loss", "fit_intercept", "random_state")}
    assert asked == {"C": 0.25, "loss": "hinge", "fit_intercept": False, "random_state": 42}
