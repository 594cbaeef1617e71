"""What conversions of an analog network into a spiking one share: measure its layers, and replace their neurons.

A conversion is called as `convert(network, images, T)`: the network with its trained weights, batches of training
images [B, C, H, W] on its device, and the number of steps that it is going to be asked for. It returns the network.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tksbench.snn.errors import SnnError
from tksbench.snn.kit import ReLU
from tksbench.snn.neuron import Neuron, split_time
from tksbench.snn.overtime import at_once, continued, parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tksbench.snn.encoder import Encoder
    from tksbench.snn.integrate import IntegrateAndFire
    from tksbench.snn.layers import SpikingNetwork


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """In evaluation mode and without gradients; the network is put back into the mode that it was in."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)


def first_images(images: Iterable[Tensor], samples: int) -> Tensor:
    """The first so many images as one batch.

    Raises:
        SnnError: There are none.
    """
    batches: list[Tensor] = []
    missing = samples
    for batch in images:
        batches.append(batch[:missing])
        missing -= len(batches[-1])
        if not missing:
            break
    if not batches:
        raise SnnError("a conversion needs training images, and was given none")
    return torch.cat(batches)


def neurons_in_order(network: SpikingNetwork, images: Tensor) -> list[str]:
    """Names of the layers of neurons, in the order in which they are computed.

    Args:
        network: The network.
        images: A batch that it accepts; one image is enough.

    Raises:
        SnnError: There are none, or one is computed more than once.
    """
    order: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda _module, _inputs, name=name: order.append(name))
        for name, module in network.named_modules()
        if isinstance(module, Neuron)
    ]
    try:
        with evaluating(network):
            network.present(images[:1], 1)
    finally:
        for handle in handles:
            handle.remove()
    if not order or len(set(order)) < len(order):
        raise SnnError(f"{type(network).__name__}: a conversion needs neurons, each layer of which is computed once")
    return order


def replace(network: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module in the place of another, on the device and in the mode of the network."""
    above, _, last = name.rpartition(".")
    place = next(iter(network.parameters())).device
    setattr(network.get_submodule(above), last, module.to(place).train(network.training))


def rectified(network: SpikingNetwork) -> None:
    """Make sure that a network is analog, so that its rates are what a conversion imitates.

    Raises:
        SnnError: It has other neurons than rectifiers.
    """
    for name, module in network.named_modules():
        if isinstance(module, Neuron) and not isinstance(module, ReLU):
            kind = type(module).__name__
            raise SnnError(f"{name} is {kind}: this conversion is for networks of neuron `relu` or `threshold_relu`")


def maxima(network: SpikingNetwork, names: Sequence[str], images: Iterable[Tensor]) -> dict[str, float]:
    """The largest output of each of some modules over training images, in evaluation mode.

    Args:
        network: An analog network.
        names: Of its modules.
        images: Batches.

    Raises:
        SnnError: There is no image, or the largest output is not above 0.
    """
    found = dict.fromkeys(names, float("-inf"))

    def see(name: str, out: Tensor) -> None:
        found[name] = max(found[name], float(out.max()))

    handles = [
        network.get_submodule(name).register_forward_hook(lambda _module, _inputs, out, name=name: see(name, out))
        for name in names
    ]
    try:
        with evaluating(network):
            for batch in images:
                network.present(batch, 1)
    finally:
        for handle in handles:
            handle.remove()
    for name, value in found.items():
        if not value > 0:
            raise SnnError(f"{name}: its largest output on the training images is {value}; a threshold is above 0")
    return found


class _Measured(Exception):
    """The layer that is balanced has its input: those behind it need not be computed."""


def balance(
    network: SpikingNetwork, names: Iterable[str], images: Tensor, steps: int, percentile: float = 100.0
) -> dict[str, float]:
    """Set thresholds layer by layer to the largest weighted input that spikes bring, below them all thresholds set.

    Args:
        network: A network of `IntegrateAndFire` neurons.
        names: The layers, in the order in which they are computed; all others keep the threshold that they have.
        images: Training images [B, C, H, W].
        steps: Steps that they are presented for.
        percentile: Of all inputs of the layer at a step, of which the maximum over steps is taken; 100 is the maximum.

    Returns:
        The thresholds found.

    Raises:
        SnnError: A layer gets no input above 0 in so many steps.
    """
    found: dict[str, float] = {}
    for name in names:
        found[name] = _largest_input(network, name, images, steps, percentile)
        if not found[name] > 0:
            raise SnnError(
                f"{name}: its largest input in {steps} steps is {found[name]:g}, and a threshold is above 0; balance "
                f"over more steps"
            )
        set_threshold(network.get_submodule(name), found[name])
    return found


def _largest_input(network: SpikingNetwork, name: str, images: Tensor, steps: int, percentile: float) -> float:
    seen: list[Tensor] = []

    def see(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        current = inputs[0]
        series = current if len(inputs) == 1 or inputs[1] is None else split_time(current, inputs[1])
        seen.append(torch.stack([upper(one, percentile) for one in series.unbind(0)]).max())
        raise _Measured

    handle = network.get_submodule(name).register_forward_pre_hook(see)
    # A maximum is that of parts of the images, too; a percentile is of all of them.
    size = at_once(images) if percentile >= 100 else len(images)
    try:
        for some in torch.split(images, size):
            with evaluating(network), continued(network):
                for part in parts(len(some), steps, some[0, 0].numel()):
                    with suppress(_Measured):
                        network.present(some, part)
    finally:
        handle.remove()
    return float(torch.stack(seen).max())


def upper(values: Tensor, percentile: float) -> Tensor:
    """A percentile as DIET-SNN takes it: the k-th smallest of n values, k = 1 + round(percentile / 100 (n - 1)).

    Rounding is half to even; nothing is interpolated.
    """
    flat = values.reshape(-1)
    if percentile >= 100:
        return flat.max()
    return flat.kthvalue(1 + round(percentile / 100 * (flat.numel() - 1))).values


def set_threshold(neuron: nn.Module, value: float) -> None:
    """Set the threshold of a layer, which is a tensor that is saved with the weights."""
    with torch.no_grad():
        neuron.threshold.fill_(value)  # type: ignore[operator]


def is_residual(network: nn.Module, name: str) -> bool:
    """Whether a layer belongs to a residual block, as the block's class says of itself (`after_sum`)."""
    words = name.split(".")
    return any(hasattr(network.get_submodule(".".join(words[:end])), "after_sum") for end in range(1, len(words)))


def is_sum(network: nn.Module, name: str) -> bool:
    """Whether a layer stands behind the sum of a residual block."""
    above, _, last = name.rpartition(".")
    return getattr(network.get_submodule(above), "after_sum", None) == last


def spiking_twin(
    network: SpikingNetwork, names: Iterable[str], neuron: Callable[[], IntegrateAndFire]
) -> SpikingNetwork:
    """A copy of a network with other neurons.

    Args:
        network: The network, which stays as it is.
        names: Its layers of neurons.
        neuron: Makes one.
    """
    twin = copy.deepcopy(network)
    for name in names:
        replace(twin, name, neuron())
    return twin


def settle(network: SpikingNetwork, twin: SpikingNetwork, names: Iterable[str]) -> None:
    """Give a network what its twin was balanced to: thresholds to neurons that have one to train, or its neurons."""
    for name in names:
        neuron, own = twin.get_submodule(name), network.get_submodule(name)
        if isinstance(getattr(own, "threshold", None), Tensor):
            set_threshold(own, float(neuron.threshold))  # type: ignore[arg-type]
        else:
            replace(network, name, neuron)


def convert_by_spikes(
    network: SpikingNetwork,
    images: Iterable[Tensor],
    T: int,
    *,
    neuron: Callable[[], IntegrateAndFire],
    samples: int,
    steps: int,
    percentile: float = 100.0,
    block_threshold: float | None = None,
    factor: float | Callable[[Callable[[float], SpikingNetwork], Tensor], float] = 1.0,
    encoder: Encoder | None = None,
) -> SpikingNetwork:
    """Balance thresholds by spikes, and give them to a network.

    Args:
        network: With the weights of an analog one; neurons that have a threshold of their own get the balanced one,
            others are replaced.
        images: Batches of training images.
        T: Steps that the network is going to be asked for.
        neuron: Makes the neurons that thresholds are balanced for.
        samples: Images that are looked at.
        steps: Steps that they are presented for.
        percentile: As in `balance`.
        block_threshold: Threshold in residual blocks, not balanced; None balances them as well.
        factor: On all thresholds found; or what chooses it, given a function that makes the network with a factor, and
            the images.
        encoder: What makes spikes of images; None leaves the network its own.

    Raises:
        SnnError: A layer gets no input above 0, or there are no images.
    """
    batch = first_images(images, samples)
    if encoder is not None:
        network.encoder = encoder.to(batch.device)
    names = neurons_in_order(network, batch)
    twin = spiking_twin(network, names, neuron)
    kept = [name for name in names if block_threshold is not None and is_residual(network, name)]
    for name in kept:
        set_threshold(twin.get_submodule(name), block_threshold or 1.0)
    found = balance(twin, [name for name in names if name not in kept], batch, steps, percentile)

    def scaled(by: float) -> SpikingNetwork:
        for name, threshold in found.items():
            set_threshold(twin.get_submodule(name), by * threshold)
        return twin

    settle(network, scaled(factor if isinstance(factor, float) else factor(scaled, batch)), names)
    network.T = T
    return network
