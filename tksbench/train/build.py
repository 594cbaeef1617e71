"""From a run's spec to the objects that train it: model, optimizer, numerics."""

from __future__ import annotations

import functools
import inspect
import os
from typing import TYPE_CHECKING, Any

import torch
from timm.optim import create_optimizer_v2, param_groups_weight_decay  # type: ignore[attr-defined]
from torch import nn

from tksbench.data.registry import info
from tksbench.recipe import BuiltInOptim
from tksbench.runs.environment import OWN
from tksbench.snn.kit import Kit
from tksbench.snn.neuron import Neuron
from tksbench.train.components import maker
from tksbench.train.errors import TrainError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tksbench.recipe import Execution, ModelSpec, NumericsSpec, OptimSpec, TrainSpec


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


def build_kit(spec: TrainSpec) -> Kit:
    """The layers that the spec's network is to be made of.

    Raises:
        TrainError: A component from outside cannot be used, or neurons have no such backend.
    """
    backend = spec.numerics.neuron
    neuron = maker("neuron", spec.model.neuron, offered={"backend": backend})
    if backend not in ("auto", "reference") and "backend" not in inspect.signature(neuron).parameters:
        raise TrainError(
            f"numerics.neuron {backend}: neuron '{spec.model.neuron.name}' has its plain form alone; use auto"
        )
    return Kit(neuron=neuron, norm=maker("norm", spec.model.norm, ("channels",), offered={"T": spec.model.T}))


def _is_ignored(chosen: ModelSpec, key: str, network: Callable[..., Any]) -> bool:
    """Whether a choice of the spec would be lost on a network that does not take it."""
    takes = inspect.signature(network).parameters
    word = "width" if key == "width" else "kit"
    anything = any(parameter.kind == parameter.VAR_KEYWORD for parameter in takes.values())
    field = type(chosen).model_fields[key]
    return word not in takes and not anything and getattr(chosen, key) != field.get_default(call_default_factory=True)


def build_model(spec: TrainSpec, num_classes: int, in_chans: int, device: torch.device) -> nn.Module:
    """The network, initialised on the CPU from the spec's seed, channels last.

    Raises:
        TrainError: A component from outside cannot be used, the network ignores a choice of the spec, or it has no
            neurons, of which features and cost could be measured.
    """
    set_numerics(spec.numerics, spec.seed)
    chosen = spec.model
    offered = {
        "num_classes": num_classes,
        "T": chosen.T,
        "width": chosen.width,
        "in_chans": in_chans,
        "kit": build_kit(spec),
        "img_size": spec.data.image_size or info(spec.data.name).size,
    }
    network = maker("model", chosen, offered=offered)
    ignored = [f"model.{key}" for key in ("width", "neuron", "norm") if _is_ignored(chosen, key, network)]
    if ignored:
        raise TrainError(f"model '{chosen.name}' has no choice of {' and '.join(ignored)}: leave it out")
    model: nn.Module = network()
    if not any(isinstance(module, Neuron) for module in model.modules()):
        # Known only when the record is written, it would be known too late.
        raise TrainError(f"model '{spec.model.name}' has no neurons: a layer of them derives from tksbench.snn.Neuron")
    # Convolutions are 1.3 times as fast channels-last on CPUs with AVX-512, and more on tensor cores.
    for tensor in (*model.parameters(), *model.buffers()):  # `Module.to` refuses a module with weights over time, too
        if tensor.dim() == 4:
            tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return model.to(device)


def build_optimizer(spec: TrainSpec, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer; unless the spec says otherwise, weight decay acts on tensors of two or more dimensions only.

    Raises:
        TrainError: It is from outside and cannot be used.
    """
    optim = spec.optim
    made = _build_built_in(optim, model) if isinstance(optim, BuiltInOptim) else _build_component(optim, model)
    if optim.linear_lr is not None:
        _give_linear_layers(made, model, optim.linear_lr)
    return made


def _give_linear_layers(optimizer: torch.optim.Optimizer, model: nn.Module, lr: float) -> None:
    """Put the weights and biases of fully connected layers into groups of their own with another learning rate."""
    layers = (module for module in model.modules() if isinstance(module, nn.Linear))
    linear = {id(parameter) for layer in layers for parameter in layer.parameters(recurse=False)}
    groups = [dict(group) for group in optimizer.param_groups]
    optimizer.param_groups.clear()
    for own in (False, True):  # the first group's learning rate is the one that is logged
        for group in groups:
            chosen = [parameter for parameter in group["params"] if (id(parameter) in linear) == own]
            if chosen:
                optimizer.add_param_group(group | {"params": chosen} | ({"lr": lr} if own else {}))


def _build_built_in(optim: BuiltInOptim, model: nn.Module) -> torch.optim.Optimizer:
    options: dict[str, Any] = {"opt": optim.name, "lr": optim.lr, "weight_decay": optim.weight_decay}
    if optim.name == "sgd":
        options |= {"momentum": optim.momentum, "nesterov": optim.nesterov}
    else:
        options |= {"betas": (optim.beta1, optim.beta2), "eps": optim.eps, "amsgrad": optim.amsgrad}
        # One kernel for all weights. On a CPU their roots are then not MKL's, whose last bits the processor decides.
        options["fused"] = True
        if next(model.parameters()).is_cuda:  # counting its steps on the device
            options["capturable"] = True
    return create_optimizer_v2(model, filter_bias_and_bn=optim.decays == "matrices", **options)


def _build_component(optim: OptimSpec, model: nn.Module) -> torch.optim.Optimizer:
    """One that is a component: given groups of weights, each with its own `weight_decay`, and `lr`."""
    if optim.decays == "matrices":
        groups = param_groups_weight_decay(model, optim.weight_decay)
    else:
        weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        groups = [{"params": weights, "weight_decay": optim.weight_decay}]
    offered = {"lr": optim.lr, "weight_decay": optim.weight_decay}
    made = maker("optim", optim, ("groups",), offered)(groups)
    if not isinstance(made, torch.optim.Optimizer):
        raise TrainError(f"optim '{optim.name}' makes a {type(made).__name__}, not a torch.optim.Optimizer")
    return made


def autocast(spec: NumericsSpec, device: torch.device) -> Callable[[], Any]:
    """A context for the forward pass: bfloat16 convolutions where asked for; neurons, heads and loss stay float32."""
    enabled = spec.precision == "bf16"
    return functools.partial(torch.autocast, device_type=device.type, dtype=torch.bfloat16, enabled=enabled)
