"""GPU-hours of a run before it is trained: a model of one H100-class GPU, not a measurement.

Three terms: multiply-accumulates (2 FLOP each, a training sample costs three forward passes),
memory traffic of the neurons and batch norms between the convolutions, and kernel launches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tksbench.recipe import RunSpec


class _Network(NamedTuple):
    """Size of a network at width 1: per sample and time step, at the given image size in pixels."""

    macs: float
    neurons: float
    pixels: int


_NETWORKS = {  # counted with plain PyTorch from the definitions in the authors' code
    "spiking_resnet19": _Network(2.285e9, 1.44e6, 32),
    "sew_resnet18": _Network(1.814e9, 2.48e6, 224),
    "sew_resnet19": _Network(2.217e9, 1.61e6, 32),
    "sew_resnet34": _Network(3.664e9, 3.74e6, 224),
    "sew_resnet50": _Network(4.089e9, 11.11e6, 224),
    "vgg_snn": _Network(1.362e9, 0.92e6, 48),
}
# Sustained rates, assumed: about a third of an H100's peak in TF32 and a quarter in bf16, two thirds in plain fp32.
_FLOP_PER_S = {"fp32": 45e12, "tf32": 150e12, "bf16": 250e12}
_BANDWIDTH = 2.5e12  # bytes a second
_TRAFFIC = {"reference": 300.0, "fused": 60.0}  # bytes a neuron and step: eager fp32, or in one pass
_LAUNCH_S = {"reference": 3e-3, "fused": 0.5e-3}  # seconds a time step and iteration


def estimate_gpu_hours(spec: RunSpec) -> float | None:
    """Hours that the run would take on one H100-class GPU; None for a network or data set from outside.

    The spike neuron counts as fused unless the recipe asks for the reference one.
    """
    from tksbench.data.registry import DATASETS

    network, data = _NETWORKS.get(spec.model.name), DATASETS.get(spec.data.name)
    if network is None or data is None:
        return None
    optim, T, width = spec.optim, spec.model.T, spec.model.width
    area = ((spec.data.image_size or data.size) / network.pixels) ** 2
    macs, neurons = network.macs * width**2 * area, network.neurons * width * area
    iterations, rest = divmod(min(spec.data.train_subset or data.n_train, data.n_train), optim.batch_size)
    iterations += 1 if rest and not optim.drop_last else 0
    trained = optim.epochs * (iterations * optim.batch_size)
    evaluations = -(-optim.epochs // spec.evaluation.every)
    tested = evaluations * min(spec.data.test_subset or data.n_test, data.n_test)
    neuron = "reference" if spec.numerics.neuron == "reference" else "fused"
    compute = 2 * macs * T * (3 * trained + tested) / _FLOP_PER_S[spec.numerics.precision]
    traffic = neurons * T * trained * _TRAFFIC[neuron] / _BANDWIDTH
    launches = _LAUNCH_S[neuron] * T * iterations * optim.epochs
    return (compute + traffic + launches) / 3600
