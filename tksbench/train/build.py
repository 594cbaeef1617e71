"""From a run's spec to the objects that train it: model, optimizer, numerics."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

import timm
import torch
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]

import tksbench.snn
from tksbench.data.registry import info
from tksbench.runs.environment import OWN
from tksbench.snn.neuron import Neuron
from tksbench.train.errors import TrainError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from tksbench.recipe import Execution, NumericsSpec, RunSpec

_registered = tksbench.snn  # importing it is what makes timm know the networks


def pick_device(execution: Execution) -> torch.device:
    """The device a run is executed on.

    Raises:
        TrainError: If CUDA is asked for and there is none.
    """
    if execution.device == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    if execution.device == "cuda":
        raise TrainError("execution.device is cuda, but torch sees no CUDA device; use execution.device=cpu")
    return torch.device("cpu")


def set_numerics(spec: NumericsSpec, seed: int) -> None:
    """Seed torch and choose its arithmetic; deterministic kernels unless the recipe says otherwise."""
    torch.manual_seed(seed)
    if spec.deterministic:
        os.environ |= OWN
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a pass over memory
    torch.backends.cudnn.deterministic = spec.deterministic
    torch.backends.cudnn.benchmark = not spec.deterministic
    tf32 = spec.precision in ("tf32", "bf16")
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32


def build_model(spec: RunSpec, num_classes: int, in_chans: int, device: torch.device) -> nn.Module:
    """The network, initialised on the CPU from the spec's seed, channels last.

    Raises:
        TrainError: It has no neurons, of which features and cost could be measured.
    """
    set_numerics(spec.numerics, spec.seed)
    options: dict[str, Any] = {}
    if spec.model.name == "vgg_snn":  # the one network whose linear layer depends on the size of the frames
        options["img_size"] = spec.data.image_size or info(spec.data.name).size
    model = timm.create_model(
        spec.model.name,
        num_classes=num_classes,
        T=spec.model.T,
        width=spec.model.width,
        in_chans=in_chans,
        backend=spec.numerics.neuron,
        **options,
    )
    if not any(isinstance(module, Neuron) for module in model.modules()):
        # Known only when the record is written, it would be known too late.
        raise TrainError(f"model '{spec.model.name}' has no neurons: a layer of them derives from tksbench.snn.Neuron")
    # Convolutions are 1.3 times as fast channels-last on CPUs with AVX-512, and more on tensor cores.
    return model.to(device=device, memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


def build_optimizer(spec: RunSpec, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer; weight decay acts on tensors of two or more dimensions only, as timm does."""
    optim = spec.optim
    options: dict[str, Any] = {"opt": optim.name, "lr": optim.lr, "weight_decay": optim.weight_decay}
    if optim.name == "sgd":
        options["momentum"] = optim.momentum
    else:
        options |= {"betas": (optim.beta1, optim.beta2), "eps": optim.eps}
        # One kernel for all weights. On a CPU their roots are then not MKL's, whose last bits the processor decides.
        options["fused"] = True
        if next(model.parameters()).is_cuda:  # counting its steps on the device
            options["capturable"] = True
    return create_optimizer_v2(model, **options)


def autocast(spec: NumericsSpec, device: torch.device) -> Callable[[], Any]:
    """A context for the forward pass: bfloat16 convolutions where asked for; neurons, heads and loss stay float32."""
    enabled = spec.precision == "bf16"
    return functools.partial(torch.autocast, device_type=device.type, dtype=torch.bfloat16, enabled=enabled)
