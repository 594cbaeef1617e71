"""Inference of a converted network over many time steps, beside SpikingJelly's `ann2snn`.

Both convert the same ReLU network, with its initial weights, on the same images to the same neurons: thresholds are
the largest activations, spikes as high as the threshold, soft reset, and a membrane at the threshold fires. What is
measured is what a test over time does: the sum of the outputs of T steps, from rest. SpikingJelly computes it step by
step, this project in parts.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchmarks.networks import seconds
from benchmarks.timing import Candidate, Case
from tksbench.snn.biasfree import BiasFreeResNet, BiasFreeVGG, Layer
from tksbench.snn.kit import Kit, ReLU
from tksbench.snn.overtime import outputs_at
from tksbench.systems.optimal_conversion import OptimalConversion
from tksbench.train.cpu import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.parts import Options
    from tksbench.snn.biasfree import Block

NEEDS = ("spikingjelly",)
FULL_ON_A_GPU = True
REFERENCE = "SpikingJelly"
STEPS = 128
# Width, pixels, batch: those of the recipes at scale mini, on one thread; and of the published networks.
MINI, FULL = (0.125, 16, 256), (1.0, 32, 64)


class AnalogBlock(nn.Module):
    """A residual block of torch's layers, with the weights of this project's."""

    def __init__(self, ours: Block) -> None:
        """Copy the weights."""
        super().__init__()
        self.conv1, self.conv2 = convolution(ours.conv1), convolution(ours.conv2)
        self.shortcut = nn.Identity() if ours.shortcut is None else convolution(ours.shortcut)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Rates to rates."""
        return self.relu2(self.conv2(self.relu1(self.conv1(x))) + self.shortcut(x))  # type: ignore[no-any-return]


def convolution(ours: Any) -> nn.Conv2d:
    """Torch's convolution with the weights of one of this project's."""
    size = ours.kernel_size[0]
    made = nn.Conv2d(ours.in_channels, ours.out_channels, size, ours.stride, size // 2, bias=False)
    made.weight = copy.deepcopy(ours.weight)
    return made


def linear(ours: nn.Linear) -> nn.Linear:
    """Torch's linear layer with the weights of one of this project's."""
    made = nn.Linear(ours.in_features, ours.out_features, bias=False)
    made.weight = copy.deepcopy(ours.weight)
    return made


def analog(ours: BiasFreeResNet | BiasFreeVGG) -> nn.Sequential:
    """The same ReLU network of torch's layers, in evaluation mode."""
    parts: list[nn.Module] = []
    if isinstance(ours, BiasFreeResNet):
        for layer in ours.stem:
            parts += [convolution(layer.synapses), nn.ReLU()]
        parts.append(nn.AvgPool2d(ours.pool))
        parts += [AnalogBlock(block) for block in ours.blocks]  # type: ignore[arg-type]
        parts.append(nn.Flatten())
    else:
        for one in ours.layers:
            parts += [convolution(one.synapses), nn.ReLU()] if isinstance(one, Layer) else [nn.AvgPool2d(2)]
        parts.append(nn.Flatten())
        for hidden in ours.hidden:
            parts += [linear(hidden.synapses), nn.ReLU()]  # type: ignore[arg-type]
    return nn.Sequential(*parts, linear(ours.fc)).eval()


def by_spikingjelly(ours: BiasFreeResNet | BiasFreeVGG, images: Tensor) -> nn.Module:
    """SpikingJelly's conversion of the same network."""
    from spikingjelly.activation_based.ann2snn import Converter
    from spikingjelly.activation_based.ann2snn.recipes import RateCodingRecipe

    made: nn.Module = Converter(RateCodingRecipe(dataloader=[images], mode="Max")).convert(analog(ours).to(images))
    return made.eval()


def step_by_step(network: nn.Module, images: Tensor, steps: int) -> Tensor:
    """What a network of SpikingJelly's neurons sums up to over some steps, from rest."""
    from spikingjelly.activation_based import functional

    functional.reset_net(network)
    with torch.inference_mode():
        total: Tensor = network(images)
        for _ in range(steps - 1):
            total = total + network(images)
    return total


def converted(ours: BiasFreeResNet | BiasFreeVGG, images: Tensor) -> Any:
    """This project's conversion to the same neurons."""
    return OptimalConversion(shift="none", readout="membrane")(copy.deepcopy(ours), [images], STEPS).eval()


def cases(options: Options) -> Iterator[Case]:
    """ResNet-20 and VGG-11."""
    keep_freed_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    width, pixels, batch = FULL if options.full else MINI
    threads = torch.get_num_threads()
    if not options.full:
        torch.set_num_threads(1)
    images = torch.randn(batch, 3, pixels, pixels, generator=torch.Generator().manual_seed(0)).to(device)
    kit = Kit(neuron=ReLU)
    for name, make in (
        ("ResNet-20", partial(BiasFreeResNet, (2, 2, 2, 2))),
        ("VGG-11", partial(BiasFreeVGG, "vgg11")),
    ):
        torch.manual_seed(0)
        ours = make(width=width, img_size=pixels, num_classes=10, kit=kit).to(device).eval()
        yield _case(f"{name} of width {width:g}, {batch} images, T={STEPS}, {pixels}x{pixels}", ours, images)
    torch.set_num_threads(threads)


def _case(name: str, ours: BiasFreeResNet | BiasFreeVGG, images: Tensor) -> Case:
    last = images.contiguous(memory_format=torch.channels_last)
    theirs = by_spikingjelly(ours, images)
    theirs_last = copy.deepcopy(theirs).to(memory_format=torch.channels_last)
    mine = converted(ours, images).to(memory_format=torch.channels_last)
    runs: dict[str, Callable[[], Tensor]] = {
        REFERENCE: partial(step_by_step, theirs, images, STEPS),
        f"{REFERENCE}, channels-last": partial(step_by_step, theirs_last, last, STEPS),
        "this project": lambda: outputs_at(mine, last, [STEPS])[0],
    }
    candidates = [Candidate(label, _waited(run), partial(_rate, run, len(images))) for label, run in runs.items()]
    return Case(name=name, candidates=candidates, reference=REFERENCE)


def _waited(run: Callable[[], Tensor]) -> Callable[[], float]:
    return lambda: float(run().sum())


def _rate(run: Callable[[], Tensor], images: int) -> dict[str, float]:
    """Thousands of images times steps in a second."""
    return {"k images x T / s": images * STEPS / seconds(_waited(run), 1) / 1e3}
