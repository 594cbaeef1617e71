"""A classic run: features of each sample, and a classifier of them; its decision values are logits of one time step."""

from __future__ import annotations

import hashlib
import logging
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tksbench.data.registry import info
from tksbench.train.components import make
from tksbench.train.errors import TrainError
from tksbench.train.outcome import Outcome
from tksbench.train.untrained import Untrained

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tksbench.data.base import Split
    from tksbench.recipe import ClassicSpec

log = logging.getLogger("tksbench.train")


class Samples:
    """The samples of a half, one by one and in its order, as often as they are asked for.

    A split that has `recording(index)` gives its recordings; any other gives what a network would see, as an array.
    """

    def __init__(self, split: Split) -> None:
        self._split = split

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._split)

    def __iter__(self) -> Iterator[Any]:
        """Yield each sample."""
        recording = getattr(self._split, "recording", None)
        for index in range(len(self)):
            yield recording(index) if recording else self._split.__getitems__([(0, index)])[0][0].numpy()


class Classic(Untrained):
    """Computes features, fits the classifier, and tests it."""

    def work(self) -> None:
        """Do all of it.

        Raises:
            TksbenchError: A component cannot be used.
            Interrupted: If `stopping` said so.
        """
        spec, began = cast("ClassicSpec", self.run.spec), time.monotonic()
        given = {"height": self._size, "width": self._size, "random_state": spec.seed}
        self.features: Any = make("features", spec.features, ("sample",), given)
        self.classifier: Any = make("classifier", spec.classifier, (), given)
        if not hasattr(self.classifier, "fit"):  # a function that makes one
            self.classifier = self.classifier()
        train, test = Samples(self.data.train), Samples(self.data.test)
        if hasattr(self.features, "fit"):
            self.features.fit(train)
        self._steps = len(train) + len(test)
        inputs = self._transformed(train, 0)
        log.info("%d features of %d training samples", inputs.shape[1], len(inputs))
        self.classifier.fit(inputs, np.asarray(self.data.train.labels))
        logits = self._decided(self._transformed(test, len(train)))
        labels = np.asarray(self.data.test.labels)
        self.metrics = self.tested(logits, labels)
        self.correct = self.right(logits, labels)
        self.seconds = time.monotonic() - began

    @property
    def _size(self) -> int:
        return self.run.spec.data.image_size or info(self.run.spec.data.name).size

    def _transformed(self, samples: Samples, before: int) -> Any:
        """Features [N, F] of samples, `before` of which come earlier in the run."""
        transform = getattr(self.features, "transform", self.features)
        rows = []
        for number, sample in enumerate(samples, 1):
            rows.append(transform(sample))
            self.show(before + number, self._steps, before + number)
            self.stop_if_asked()
        return np.stack(rows)

    def _decided(self, inputs: Any) -> NDArray[np.float32]:
        """Decision values of all classes [N, C]; classes without a training sample have the lowest of all."""
        values = np.asarray(self.classifier.decision_function(inputs), dtype=np.float32)
        classes = np.asarray(getattr(self.classifier, "classes_", np.arange(self.data.num_classes)))
        if values.ndim == 1:  # of two classes: how much it is the second
            values = np.stack([-values, values], axis=1)
        if values.shape != (len(inputs), len(classes)):
            raise TrainError(f"the classifier's decision values have shape {values.shape}, not one for each class")
        logits = np.full((len(inputs), self.data.num_classes), values.min() - 1, np.float32)
        logits[:, classes] = values
        return logits

    def outcome(self) -> Outcome:
        """What it has brought."""
        fitted = {**_arrays("features", self.features), **_arrays("classifier", self.classifier)}
        total = hashlib.sha256()
        for name, array in sorted(fitted.items()):
            total.update(f"{name} {array.dtype} {list(array.shape)}\n".encode())
            total.update(np.ascontiguousarray(array).tobytes())
        return Outcome(
            last=self.metrics,
            best=self.metrics,
            right_last=self.correct,
            right_best=self.correct,
            curve=(),
            files=(self.dir.logits_last, self.dir.labels),
            seconds=self.seconds,
            gpu_seconds=0.0,
            images=0,
            parameters=sum(array.size for array in fitted.values()),
            snn=None,
            weights=total.hexdigest(),
        )


def _arrays(prefix: str, one: Any) -> dict[str, NDArray[Any]]:
    """What was fitted, by name: attributes that are arrays and end with an underscore, as scikit-learn has them."""
    found = {key: value for key, value in vars(one).items() if key.endswith("_") and isinstance(value, np.ndarray)}
    return {f"{prefix}.{key}": value for key, value in found.items() if key != "classes_"}
