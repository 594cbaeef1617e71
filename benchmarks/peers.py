"""The networks of the bench, built of other libraries' layers: the same weights, and the same function.

`nn`-like namespaces make it one description: torch's own layers on time folded into the batch, or SpikingJelly's
layers of the same names on [T, B, ...]. That they compute what this project's networks do is for tests to show.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from benchmarks.parts import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tksbench.snn import resnet, vgg


class Library(NamedTuple):
    """Where layers come from.

    Attributes:
        layers: Has Conv2d, BatchNorm2d, Linear, AvgPool2d, AdaptiveAvgPool2d and Flatten, as torch.nn does.
        neuron: Makes a layer of neurons for a number of steps.
        folded: Whether layers take [T * B, ...]; else [T, B, ...].
        prepare: Done to the finished network.
        reset: Done before each forward pass.
    """

    layers: Any
    neuron: Callable[[int], nn.Module]
    folded: bool = True
    prepare: Callable[[nn.Module], object] = lambda network: None
    reset: Callable[[nn.Module], object] = lambda network: None


class Block(nn.Module):
    """A basic block of ResNet-19; modules in the order of this project's."""

    def __init__(self, library: Library, T: int, inside: int, out: int, stride: int, *, norm_shortcut: bool) -> None:
        """Build the block as `tksbench.snn.resnet.BasicBlock` is."""
        super().__init__()
        layers = library.layers
        self.conv1 = layers.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.bn1 = layers.BatchNorm2d(out)
        self.neuron1 = library.neuron(T)
        self.conv2 = layers.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = layers.BatchNorm2d(out)
        self.shortcut = nn.Sequential()
        if stride != 1 or inside != out:
            self.shortcut.append(layers.Conv2d(inside, out, 1, stride, bias=False))
        if len(self.shortcut) or norm_shortcut:
            self.shortcut.append(layers.BatchNorm2d(out))
        self.neuron2 = library.neuron(T)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes to spikes."""
        y = self.bn2(self.conv2(self.neuron1(self.bn1(self.conv1(x)))))
        return self.neuron2(y + self.shortcut(x))  # type: ignore[no-any-return]


class Network(nn.Module):
    """Layers over time; static images are repeated, as the libraries' own networks do."""

    def __init__(self, library: Library, body: nn.Sequential, T: int) -> None:
        """Take the layers and let the library prepare them."""
        super().__init__()
        self.library, self.body, self.T = library, body, T
        library.prepare(body)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [T, B, C] of images [B, C, H, W] or frames [B, T, C, H, W]."""
        self.library.reset(self.body)
        x = x.expand(self.T, *x.shape) if x.dim() == 4 else x.transpose(0, 1)
        if not self.library.folded:
            return self.body(x)  # type: ignore[no-any-return]
        logits: Tensor = self.body(x.flatten(0, 1))
        return logits.view(self.T, -1, logits.shape[-1])


def resnet19(library: Library, ours: resnet.SpikingResNet19) -> Network:
    """ResNet-19 with the weights of this project's."""
    layers, T = library.layers, ours.T
    out = ours.stem.conv.out_channels
    parts = [layers.Conv2d(ours.in_chans, out, 3, 1, 1, bias=False), layers.BatchNorm2d(out), library.neuron(T)]
    for one in ours.blocks:
        block = cast("resnet.BasicBlock", one)
        conv, bare = cast("nn.Conv2d", block.conv1), len(block.shortcut) == 1  # a batch norm without a convolution
        parts.append(Block(library, T, conv.in_channels, conv.out_channels, conv.stride[0], norm_shortcut=bare))
    parts += [layers.AdaptiveAvgPool2d(1), layers.Flatten(), layers.Linear(ours.fc1.in_features, ours.fc1.out_features)]
    parts += [library.neuron(T), layers.Linear(ours.fc2.in_features, ours.fc2.out_features)]
    return _same_weights(Network(library, nn.Sequential(*parts), T), ours)


def vgg_snn(library: Library, ours: vgg.VGGSNN) -> Network:
    """VGG-SNN with the weights of this project's."""
    layers, parts = library.layers, []
    for stage in ours.stages:
        for one in stage:  # type: ignore[attr-defined]
            parts.append(layers.Conv2d(one.conv.in_channels, one.conv.out_channels, 3, 1, 1, bias=False))
            parts += [layers.BatchNorm2d(one.conv.out_channels), library.neuron(ours.T)]
        parts.append(layers.AvgPool2d(2))
    parts += [layers.Flatten(), layers.Linear(ours.fc.in_features, ours.fc.out_features)]
    return _same_weights(Network(library, nn.Sequential(*parts), ours.T), ours)


def relu() -> Library:
    """The floor: torch's layers with ReLU in the neurons' place."""
    return Library(nn, lambda _T: nn.ReLU(inplace=True))


def spikingjelly() -> Library:
    """SpikingJelly 2 in its multi-step mode; its neuron fires at the threshold, ours above it."""
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

    def lif(_T: int) -> nn.Module:
        gate = surrogate.PiecewiseQuadratic(alpha=2.0)
        made: nn.Module = neuron.LIFNode(
            tau=2.0,
            decay_input=True,
            v_threshold=0.5,
            v_reset=0.0,
            surrogate_function=gate,
            detach_reset=True,
            step_mode="m",
        )
        return made

    return Library(
        layer, lif, folded=False, prepare=lambda net: functional.set_step_mode(net, "m"), reset=functional.reset_net
    )


def braincog() -> Library:
    """BrainCog's neuron in its layer-by-layer mode on torch's layers, as its own networks use it."""
    node = _braincog_nodes()

    def reset(network: nn.Module) -> None:
        for module in network.modules():
            if isinstance(module, node.BaseNode):
                module.n_reset()

    return Library(nn, lambda T: node.LIFNode(threshold=0.5, tau=2.0, step=T, layer_by_layer=True), reset=reset)


def _braincog_nodes() -> Any:
    """BrainCog's module of neurons, without the rest of the package, which needs some seventy others."""
    found = importlib.util.find_spec("braincog")
    if found is None or not found.submodule_search_locations:
        raise BenchError("BrainCog is not installed")
    base = ModuleType("braincog.base")
    base.__path__ = [f"{found.submodule_search_locations[0]}/base"]
    sys.modules.setdefault("braincog.base", base)
    return importlib.import_module("braincog.base.node.node")


def _same_weights(network: Network, ours: nn.Module) -> Network:
    """Copy the weights, which both have in the same order.

    Raises:
        BenchError: The networks differ.
    """
    theirs = [weight for weight in network.parameters() if weight.requires_grad]
    mine = list(ours.parameters())
    if [weight.shape for weight in theirs] != [weight.shape for weight in mine]:
        raise BenchError("the peers' network and this project's differ in their weights")
    with torch.no_grad():
        for weight, value in zip(theirs, mine, strict=True):
            weight.copy_(value)
    return network
