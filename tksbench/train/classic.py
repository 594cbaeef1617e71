"""A classic run: features of each sample, and a classifier of them; its decision values are logits of one time step."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from threadpoolctl import threadpool_limits

from tksbench.data.base import balanced_subset
from tksbench.data.registry import info
from tksbench.snn.cost import MAC_PJ
from tksbench.train.components import make
from tksbench.train.errors import TrainError
from tksbench.train.kept import Blocks
from tksbench.train.outcome import Outcome
from tksbench.train.summary import COST_SAMPLES
from tksbench.train.untrained import Untrained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from tksbench.data.base import Split
    from tksbench.recipe import ClassicSpec

log = logging.getLogger("tksbench.train")


class Samples:
    """The samples of a half in its order: events of a recording, or else what a network would see, as an array.

    Args:
        split: The half.
        before: Called before each is read; may raise to stop.
    """

    def __init__(self, split: Split, before: Callable[[], None]) -> None:
        self._split, self._before = split, before
        self._recording = getattr(split, "recording", None)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._split)

    def __getitem__(self, index: int) -> Any:
        """Read one."""
        self._before()
        if self._recording:
            return self._recording(index)
        return self._split.__getitems__([(0, index)])[0][0].numpy()

    def __iter__(self) -> Iterator[Any]:
        """Read one after the other."""
        return (self[index] for index in range(len(self)))


class Classic(Untrained):
    """Computes features, which are kept until the run is over, fits the classifier, and tests it."""

    def resume(self) -> None:
        """Make the features and the classifier; what is kept of earlier attempts is found when it is needed.

        Raises:
            TrainError: One of them cannot be used.
        """
        spec = cast("ClassicSpec", self.run.spec)
        size = spec.data.image_size or info(spec.data.name).size
        height, width = getattr(self.data.train, "plane", (size, size))
        given = {"height": height, "width": width, "random_state": spec.seed}
        try:
            self.features: Any = make("features", spec.features, ("sample",), given)
            self.classifier: Any = make("classifier", spec.classifier, (), given)
            if not hasattr(self.classifier, "fit"):  # a function that makes one
                self.classifier = self.classifier()
        except ValueError as error:
            raise TrainError(f"features '{spec.features.name}', classifier '{spec.classifier.name}': {error}") from None

    def work(self) -> None:
        """Do all of it.

        Raises:
            TksbenchError: A sample cannot be read, or its features not be used.
            Interrupted: If `stopping` said so.
        """
        with threadpool_limits(self.run.execution.threads):
            self._work()

    def _work(self) -> None:
        began = time.monotonic()
        train, test = (Samples(half, self.stop_if_asked) for half in (self.data.train, self.data.test))
        data = hashlib.sha256(json.dumps(self.data.manifest, sort_keys=True).encode()).hexdigest()[:8]
        blocks = Blocks(
            self.dir.checkpoints / f"features-{data}",
            sparse=getattr(self.features, "sparse", False),
            guard=self.guard,
        )
        if hasattr(self.features, "fit"):
            vars(self.features).update(blocks.learned(lambda: self._learned(train)))
        self._steps = len(train) + len(test)
        inputs = self._transformed(blocks, "train", train, 0)
        log.info("%d features of %d training samples", inputs.shape[1], inputs.shape[0])
        self.classifier.fit(inputs, np.asarray(self.data.train.labels))
        logits = self._decided(self._transformed(blocks, "test", test, len(train)))
        labels = np.asarray(self.data.test.labels)
        self.metrics = self.tested(logits, labels)
        self.correct = self.right(logits, labels)
        self.snn = self._cost(test)
        self.seconds = time.monotonic() - began + blocks.earlier_seconds
        blocks.clear()

    def _learned(self, train: Samples) -> Mapping[str, NDArray[Any]] | None:
        """Let the features learn from the training half: the arrays that they have then and had not before.

        Returns:
            None if they have learned anything else, which is not kept.
        """
        before: dict[str, Any] = dict(vars(self.features))
        self.features.fit(train)
        learned: dict[str, Any] = {
            key: value for key, value in vars(self.features).items() if before.get(key) is not value
        }
        plain = all(isinstance(value, np.ndarray) and value.dtype.kind in "biuf" for value in learned.values())
        return learned if plain else None

    def _transformed(self, blocks: Blocks, half: str, samples: Samples, before: int) -> Any:
        """Features [N, F] of samples, `before` of which come earlier in the run."""
        transform = getattr(self.features, "transform", self.features)

        def after(done: int) -> None:
            self.show(before + done, self._steps, before + done)

        return blocks.of(half, len(samples), lambda index: transform(samples[index]), after)

    def _decided(self, inputs: Any) -> NDArray[np.float32]:
        """Decision values of all classes [N, C]; classes without a training sample have less than all others."""
        values = np.asarray(self.classifier.decision_function(inputs), dtype=np.float32)
        classes = np.asarray(getattr(self.classifier, "classes_", np.arange(self.data.num_classes)))
        if values.ndim == 1:  # of two classes: how much it is the second
            values = np.stack([-values, values], axis=1)
        if values.shape != (inputs.shape[0], len(classes)):
            raise TrainError(f"the classifier's decision values have shape {values.shape}, not one for each class")
        logits = np.full((len(values), self.data.num_classes), values.min() - 1, np.float32)
        logits[:, classes] = values
        return logits

    def _cost(self, test: Samples) -> dict[str, Any] | None:
        """What an inference costs, as `tksbench.snn.cost` has it; None where features or classifier do not say it.

        Features do by `macs`, a linear classifier by its `coef_`: one multiply-accumulate for each.
        """
        macs_of, planes = getattr(self.features, "macs", None), getattr(self.classifier, "coef_", None)
        if macs_of is None or planes is None:
            return None
        chosen = balanced_subset(self.data.test.labels, COST_SAMPLES)[:COST_SAMPLES]
        layers: list[dict[str, Any]] = [
            {"name": "features", "macs": float(np.mean([macs_of(test[index]) for index in chosen.tolist()]))},
            {"name": "classifier", "macs": float(np.size(planes))},
        ]
        macs = sum(layer["macs"] for layer in layers)
        return {
            "steps": 1,
            "parameters": sum(array.size for array in self._fitted().values()),
            "neurons": 0,
            "spike_rate": None,
            "macs_per_step": macs,
            "macs": macs,
            "synops": 0.0,
            "energy_mj": macs * MAC_PJ * 1e-9,
            "layers": layers,
            "lif_layers": [],
            "samples": len(chosen),
        }

    def _fitted(self) -> dict[str, NDArray[Any]]:
        return {**_arrays("features", self.features), **_arrays("classifier", self.classifier)}

    def outcome(self) -> Outcome:
        """What it has brought."""
        fitted, total = self._fitted(), hashlib.sha256()
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
            snn=self.snn,
            weights=total.hexdigest(),
        )


def _arrays(prefix: str, one: Any) -> dict[str, NDArray[Any]]:
    """What was fitted, by name: attributes that are arrays and end with an underscore, as scikit-learn has them."""
    found = {key: value for key, value in vars(one).items() if key.endswith("_") and isinstance(value, np.ndarray)}
    return {f"{prefix}.{key}": value for key, value in found.items() if key != "classes_"}
