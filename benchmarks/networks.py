"""Training steps of ResNet-19 and VGG-SNN: this project, the same network with ReLU, SpikingJelly and BrainCog.

A step is forward pass, cross-entropy of the mean logits, backward pass and AdamW in one kernel, the same for all. The
floor and the peers are measured in each form that may be their fastest; the line to hold against is the best one.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from benchmarks import peers
from benchmarks.memory import Memory
from benchmarks.parts import lacking
from benchmarks.timing import Candidate, Case
from tksbench.snn.losses import baseline
from tksbench.snn.resnet import SpikingResNet19
from tksbench.snn.vgg import VGGSNN
from tksbench.train.memory import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from benchmarks.parts import Options

NEEDS = ()
REFERENCE = "ReLU"
# Batch sizes: small, full, and on CUDA.
RESNET_BATCH = (4, 16, 128)
VGG_BATCH = (1, 8, 64)
CLASSES = 10
FRAME = 48


class Step:
    """A training step of one network; made when it is first called, and let go with `close`."""

    def __init__(self, make: Callable[[], nn.Module], images: Tensor, form: str, device: torch.device) -> None:
        """Say what to train.

        Args:
            make: Makes the network.
            images: Its input.
            form: "eager", "contiguous" (eager, and not channels-last) or "compiled".
            device: Where to train it.
        """
        self.make, self.form, self.device = make, form, device
        self.images = images.to(device, memory_format=self._memory_format(images))
        self.labels = torch.arange(len(images), device=device) % CLASSES
        self.network: Any = None

    def __call__(self) -> float:
        """Train once and wait for it; the loss before."""
        if self.network is None:
            self._begin()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logits = self.network(self.images)
        loss = baseline(logits, self.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.item()

    def values(self) -> dict[str, float]:
        """Megabytes of one more step: peak above what lies there between steps, and kept for the backward pass."""
        memory = Memory(self.device)
        return {"peak MB": memory.peak(self) / 1e6, "kept MB": memory.kept(self, self.network) / 1e6}

    def _begin(self) -> None:
        network = self.make().to(self.device)
        if self.form != "contiguous":
            network = network.to(memory_format=torch.channels_last)
        network.train()
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
        self.network = torch.compile(network) if self.form == "compiled" else network

    def _memory_format(self, images: Tensor) -> torch.memory_format:
        return torch.channels_last if images.dim() == 4 and self.form != "contiguous" else torch.preserve_format


def cases(options: Options) -> Iterator[Case]:
    """Both networks; compiled forms take a minute each and are left out of the small VGG-SNN."""
    keep_freed_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = 2 if device.type == "cuda" else int(options.full)
    libraries = _libraries()
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    batch = RESNET_BATCH[size]
    images = torch.randn(batch, 3, 32, 32, generator=generator)
    yield _case(f"ResNet-19, batch {batch}, T=4, 32x32", SpikingResNet19(), images, libraries, device, compiled=True)
    batch = VGG_BATCH[size]
    frames = torch.poisson(torch.full((batch, 10, 2, FRAME, FRAME), 0.3), generator=generator)
    name = f"VGG-SNN, batch {batch}, T=10, {FRAME}x{FRAME}"
    yield _case(name, VGGSNN(img_size=FRAME), frames, libraries, device, compiled=size > 0)


def network(library: peers.Library, ours: nn.Module) -> nn.Module:
    """The same network of another library's layers."""
    return peers.resnet19(library, ours) if isinstance(ours, SpikingResNet19) else peers.vgg_snn(library, ours)  # type: ignore[arg-type]


def _libraries() -> dict[str, Callable[[], peers.Library]]:
    """The peers that are installed; of the others, a line on how to get them."""
    found = {}
    for name, module, library in (
        ("SpikingJelly", "spikingjelly", peers.spikingjelly),
        ("BrainCog", "braincog", peers.braincog),
    ):
        if missing := lacking((module,)):
            sys.stdout.write(f"networks: without {name}: {missing}\n")
        else:
            found[name] = library
    return found


def _case(
    name: str,
    ours: nn.Module,
    images: Tensor,
    libraries: dict[str, Callable[[], peers.Library]],
    device: torch.device,
    *,
    compiled: bool,
) -> Case:
    """All candidates of a network. They start from the same weights, which `ours` holds while it is not trained."""
    weights = {key: value.clone() for key, value in ours.state_dict().items()}
    again = partial(_again, type(ours), weights)
    forms = ["eager", "contiguous", *["compiled"] * compiled]
    named = {"eager": "", "contiguous": ", NCHW", "compiled": ", compiled"}
    steps = {
        f"{REFERENCE}{named[form]}": Step(lambda: network(peers.relu(), again()), images, form, device)
        for form in forms
    }
    steps["this project"] = Step(again, images, "eager", device)
    if device.type == "cuda":
        steps["this, compiled"] = Step(again, images, "compiled", device)
    for label, library in libraries.items():
        made = partial(_of_library, library, again)
        mine = forms if label == "SpikingJelly" else ["contiguous"]  # BrainCog compiles badly, and is slower otherwise
        steps |= {f"{label}{named[form]}": Step(made, images, form, device) for form in mine}
    candidates = [Candidate(label, step, step.values) for label, step in steps.items()]
    return Case(name=name, candidates=candidates, reference=REFERENCE)


def _again(kind: type[nn.Module], weights: dict[str, Tensor]) -> nn.Module:
    made = kind()
    made.load_state_dict(weights)
    return made


def _of_library(library: Callable[[], peers.Library], ours: Callable[[], nn.Module]) -> nn.Module:
    return network(library(), ours())
