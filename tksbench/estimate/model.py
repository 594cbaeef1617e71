"""What a run costs before it is trained, from its recipe alone: a model, not a measurement.

GPU-hours are those of one H100-class GPU, in three terms: multiply-accumulates (2 FLOP each, a training sample costs
three forward passes), memory traffic of the neurons and batch norms between the convolutions, and kernel launches.
Disk is what a finished run leaves: two checkpoints, the logits of two epochs, logs and the record.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from tksbench.recipe.catalogue import attributes
from tksbench.recipe.optim import BuiltInOptim
from tksbench.recipe.schema import ClassicSpec, TrainSpec

if TYPE_CHECKING:
    from tksbench.data.dataset import DatasetInfo
    from tksbench.recipe import RunSpec


class _Network(NamedTuple):
    """Size of a network at width 1: per sample and time step, at the given image size in pixels.

    `parameters` are those with ten classes; each further class adds `per_class`.
    """

    macs: float
    neurons: float
    pixels: int
    parameters: float
    per_class: int


_NETWORKS = {  # counted with plain PyTorch from the definitions in the authors' code
    "spiking_resnet19": _Network(2.285e9, 1.44e6, 32, 12.70e6, 257),
    "sew_resnet18": _Network(1.814e9, 2.48e6, 224, 11.18e6, 513),
    "sew_resnet19": _Network(2.217e9, 1.61e6, 32, 12.63e6, 257),
    "sew_resnet34": _Network(3.664e9, 3.74e6, 224, 21.29e6, 513),
    "sew_resnet50": _Network(4.089e9, 11.11e6, 224, 23.53e6, 2049),
    "vgg_snn": _Network(1.362e9, 0.92e6, 48, 9.27e6, 4609),
}
_FLOAT = 4  # bytes
_CHECKPOINTS, _LOGITS = 2, 2  # files of each kind that a finished run leaves
_STEP_BYTES, _REST_BYTES = 20, 150_000  # a loss in the log; record, features, logs
# Sustained rates, assumed: about a third of an H100's peak in TF32 and a quarter in bf16, two thirds in plain fp32.
_FLOP_PER_S = {"fp32": 45e12, "tf32": 150e12, "bf16": 250e12}
_BANDWIDTH = 2.5e12  # bytes a second
_TRAFFIC = {"reference": 300.0, "fused": 60.0}  # bytes a neuron and step: eager fp32, or in one pass
_LAUNCH_S = {"reference": 3e-3, "fused": 0.5e-3}  # seconds a time step and iteration


def estimate_gpu_hours(spec: RunSpec) -> float | None:
    """Hours that the run would take on one H100-class GPU; None for one that is unlike those counted here.

    The spike neuron counts as fused unless the recipe asks for the reference one.
    """
    if isinstance(spec, ClassicSpec):  # features and classifiers compute on a CPU
        return 0.0
    known = _known(spec)
    if known is None or not isinstance(spec, TrainSpec):
        return None
    network, data = known
    optim, T, width = spec.optim, spec.model.T, spec.model.width
    area = ((spec.data.image_size or data.size) / network.pixels) ** 2
    macs, neurons = network.macs * width**2 * area, network.neurons * width * area
    steps = _steps(spec, data)
    trained = steps * optim.batch_size
    tested = -(-optim.epochs // spec.evaluation.every) * _tested(spec, data)
    neuron = "reference" if spec.numerics.neuron == "reference" else "fused"
    compute = 2 * macs * T * (3 * trained + tested) / _FLOP_PER_S[spec.numerics.precision]
    traffic = neurons * T * trained * _TRAFFIC[neuron] / _BANDWIDTH
    launches = _LAUNCH_S[neuron] * T * steps
    return (compute + traffic + launches) / 3600


def estimate_disk_bytes(spec: RunSpec) -> float | None:
    """Bytes that the run's directory holds when it is done; None as for `estimate_gpu_hours`."""
    known = _known(spec)
    if known is None or not isinstance(spec, TrainSpec):
        return None
    network, data = known
    optim, width, classes = spec.optim, spec.model.width, data.num_classes
    parameters = network.parameters * width**2 + network.per_class * width * (classes - 10)
    moments = 2  # also of one that is not known
    if isinstance(optim, BuiltInOptim) and optim.name == "sgd":
        moments = 1 if optim.momentum else 0
    checkpoint = _FLOAT * parameters * (1 + moments)
    logits = _FLOAT * _tested(spec, data) * spec.model.T * classes
    return _CHECKPOINTS * checkpoint + _LOGITS * logits + _STEP_BYTES * _steps(spec, data) + _REST_BYTES


def training_steps(spec: RunSpec) -> int | None:
    """Optimizer steps of a whole run; None for a data set whose file is not here, and for what is not trained."""
    data = dataset(spec)
    return None if data is None or not isinstance(spec, TrainSpec) else _steps(spec, data)


def dataset(spec: RunSpec) -> DatasetInfo | None:
    """What is known of a run's data set; None where its file is not here."""
    from tksbench.data.registry import known

    return known(spec.data.name)


def _known(spec: RunSpec) -> tuple[_Network, DatasetInfo] | None:
    network, data = _NETWORKS.get(spec.network) or _stated(spec.network), dataset(spec)
    return (network, data) if network and data else None


@functools.cache
def _stated(name: str) -> _Network | None:
    """What the class of another network states as its `size`; nothing is imported."""
    try:
        return _Network(*attributes("model", name)["size"])
    except (KeyError, TypeError, ValueError):
        return None


def _steps(spec: TrainSpec, data: DatasetInfo) -> int:
    samples = min(spec.data.train_subset or data.n_train, data.n_train)
    full, rest = divmod(samples, spec.optim.batch_size)
    return spec.optim.epochs * (full + (1 if rest and not spec.optim.drop_last else 0))


def _tested(spec: RunSpec, data: DatasetInfo) -> int:
    return min(spec.data.test_subset or data.n_test, data.n_test)
