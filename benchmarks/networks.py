"""Training steps of ResNet-19 and VGG-SNN: this project, the same network with ReLU, SpikingJelly and BrainCog.

On a CPU two shapes of each: the one that recipes have at scale `mini`, on one thread as they train it, and full width
on all threads. The networks fire at the rate of trained ones (`density.py`).

A step is forward pass, cross-entropy of the mean logits, backward pass and AdamW in one kernel, the same for all. The
floor and the peers are measured in each form that may be their fastest; the line to hold against is the best one. On
CUDA convolutions are in bfloat16, and a form may be recorded as a CUDA graph, as the trainer does; SEW-ResNet-50 at 224
pixels is measured there, too, against itself with ReLU.
"""

from __future__ import annotations

import copy
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from benchmarks import peers
from benchmarks.density import fire_at, trained_rate
from benchmarks.memory import Memory
from benchmarks.parts import lacking
from benchmarks.timing import Candidate, Case
from tksbench.snn.kit import PLAIN, Kit, ReLU
from tksbench.snn.losses import baseline
from tksbench.snn.resnet import SpikingResNet19
from tksbench.snn.sew import sew_resnet50
from tksbench.snn.vgg import VGGSNN
from tksbench.train.cpu import keep_freed_memory
from tksbench.train.graph import GraphedStep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from benchmarks.parts import Options
    from tksbench.snn.layers import SpikingNetwork

NEEDS = ()
FULL_ON_A_GPU = True
REFERENCE = "ReLU"
# Batch sizes: small, full, and on CUDA.
RESNET_BATCH = (4, 16, 128)
VGG_BATCH = (1, 8, 64)
CLASSES = 10
FRAME = 48
# What recipes/cifar100.yaml and dvs_cifar10.yaml have at scale mini.
MINI_WIDTH, MINI_BATCH, MINI_SIZE = 0.125, (64, 16), (16, 32)
SEW_BATCH, SEW_SIZE = 32, 224


class Step:
    """A training step of one network; made when it is first called, and let go with `close`."""

    def __init__(self, make: Callable[[], nn.Module], images: Tensor, form: str, device: torch.device) -> None:
        """Say what to train.

        Args:
            make: Makes the network.
            images: Its input.
            form: "eager", "contiguous" (eager, and not channels-last), "compiled", "graph" (eager, recorded) or
                "compiled graph".
            device: Where to train it.
        """
        self.make, self.form, self.device = make, form, device
        self.images = images.to(device, memory_format=self._memory_format(images))
        self.labels = torch.arange(len(images), device=device) % CLASSES
        self.network: Any = None
        self.graph: GraphedStep | None = None

    def __call__(self) -> float:
        """Train once and wait for it; the loss before."""
        if self.network is None:
            self._begin()
        (loss,) = self.graph(self.images, self.labels) if self.graph else self._train(self.images, self.labels)
        return loss.item()

    def values(self) -> dict[str, float]:
        """Megabytes of one more step: peak above what lies there between steps, and kept for the backward pass.

        A graph holds its memory between steps: its peak is not measured. On CUDA also what part of the device's
        measured rate of bfloat16 products the step makes of the convolutions' operations.
        """
        memory = Memory(self.device)
        found = {}
        if self.device.type == "cuda":
            operations = training_operations(self.make().to(self.device), self.images)
            found["matrix %"] = 100 * operations / (seconds(self) * matrix_rate(self.device))
        if self.graph is None:
            found |= {"peak MB": memory.peak(self) / 1e6, "kept MB": memory.kept(self, self.network) / 1e6}
        return found

    def _train(self, images: Tensor, labels: Tensor) -> tuple[Tensor]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logits = self.network(images)
        loss = baseline(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return (loss.detach(),)

    def _begin(self) -> None:
        network = self.make().to(self.device)
        if self.form != "contiguous":
            network = network.to(memory_format=torch.channels_last)
        network.train()
        capturable = self.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True, capturable=capturable)
        self.network = torch.compile(network) if self.form.startswith("compiled") else network
        self.graph = GraphedStep(self._train) if self.form.endswith("graph") else None

    def _memory_format(self, images: Tensor) -> torch.memory_format:
        return torch.channels_last if images.dim() == 4 and self.form != "contiguous" else torch.preserve_format


def cases(options: Options) -> Iterator[Case]:
    """Both networks; compiled forms take a minute each and are left out of the small VGG-SNN."""
    keep_freed_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = 2 if device.type == "cuda" else int(options.full)
    libraries = _libraries()
    torch.manual_seed(0)
    if device.type == "cpu":
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        (batch, many), (pixels, frame) = MINI_BATCH, MINI_SIZE
        title = f"mini ResNet-19, batch {batch}, T=4, {pixels}x{pixels}, one thread"
        yield _case(title, SpikingResNet19(width=MINI_WIDTH), _images(batch, pixels), libraries, device, compiled=True)
        title = f"mini VGG-SNN, batch {many}, T=10, {frame}x{frame}, one thread"
        ours = VGGSNN(width=MINI_WIDTH, img_size=frame)
        yield _case(title, ours, _frames(many, frame), libraries, device, compiled=True)
        torch.set_num_threads(threads)
    batch = RESNET_BATCH[size]
    name = f"ResNet-19, batch {batch}, T=4, 32x32"
    yield _case(name, SpikingResNet19(), _images(batch, 32), libraries, device, compiled=True)
    batch = VGG_BATCH[size]
    name = f"VGG-SNN, batch {batch}, T=10, {FRAME}x{FRAME}"
    yield _case(name, VGGSNN(img_size=FRAME), _frames(batch, FRAME), libraries, device, compiled=size > 0)

    if device.type == "cuda":
        yield sew_case(f"SEW-ResNet-50, batch {SEW_BATCH}, T=4, {SEW_SIZE}x{SEW_SIZE}", sew_resnet50, SEW_BATCH, device)


def sew_case(name: str, make: Callable[..., SpikingNetwork], batch: int, device: torch.device) -> Case:
    """A network with its own neurons, and with ReLU in their place; both at their initial weights.

    Args:
        name: Of the case.
        make: Makes the network of a kit.
        batch: Images of `SEW_SIZE` pixels.
        device: On CUDA each is recorded as a graph as well.
    """
    images = _images(batch, SEW_SIZE)
    candidates = []
    for form in ("eager", *["graph"] * (device.type == "cuda")):
        named = f", {form}" * (form != "eager")
        for label, kit in ((REFERENCE, Kit(neuron=ReLU)), ("this project", PLAIN)):
            step = Step(partial(make, kit=kit), images, form, device)
            candidates.append(Candidate(f"{label}{named}", step, step.values))
    return Case(name=name, candidates=candidates, reference=REFERENCE)


def _images(batch: int, size: int) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))


def _frames(batch: int, size: int) -> Tensor:
    return torch.poisson(torch.full((batch, 10, 2, size, size), 0.3), generator=torch.Generator().manual_seed(0))


def training_operations(network: nn.Module, images: Tensor) -> float:
    """Floating-point operations of a training step's convolutions: forward, and twice as many backward.

    As if an image that is repeated over time were convolved at every step, whatever the network does.
    """
    steps = network.T if images.dim() == 4 else images.shape[1]
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal total
        weight: Any = module.weight
        repeats = steps if inputs[0].shape[0] == images.shape[0] else 1
        total += 2 * weight[0].numel() * out.numel() * repeats

    handles = [one.register_forward_hook(count) for one in network.modules() if isinstance(one, torch.nn.Conv2d)]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()
    return 3.0 * total


def matrix_rate(device: torch.device, size: int = 8192) -> float:
    """Operations a second of a product of two bfloat16 matrices."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))

    def product() -> None:
        torch.matmul(left, right)
        torch.cuda.synchronize(device)

    return 2 * size**3 / seconds(product)


def seconds(work: Callable[[], object], calls: int = 10) -> float:
    """Mean seconds of a call, each of which waits for the device, after one that does not count."""
    work()
    started = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - started) / calls


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
    ours: SpikingNetwork,
    images: Tensor,
    libraries: dict[str, Callable[[], peers.Library]],
    device: torch.device,
    *,
    compiled: bool,
) -> Case:
    """All candidates of a network. They start from the same weights, which `ours` holds while it is not trained."""
    few = images[: 8 if ours.width < 1 else 2]
    wanted = trained_rate("spiking_resnet19" if isinstance(ours, SpikingResNet19) else "vgg_snn")
    name += f", {100 * fire_at(ours, few, wanted):.0f} % spikes"
    weights = {key: value.clone() for key, value in ours.state_dict().items()}
    again = partial(_again, copy.deepcopy(ours).cpu(), weights)
    cuda = device.type == "cuda"
    forms = ["eager", "contiguous", *["compiled"] * compiled, *["graph", "compiled graph"] * cuda]
    named = {"eager": "", "contiguous": ", NCHW"} | {form: f", {form}" for form in forms[2:]}
    steps = {
        f"{REFERENCE}{named[form]}": Step(lambda: network(peers.relu(), again()), images, form, device)
        for form in forms
    }
    steps["this project"] = Step(again, images, "eager", device)
    if cuda:
        steps["this project, graph"] = Step(again, images, "graph", device)
    for label, library in libraries.items():
        made = partial(_of_library, library, again)
        mine = forms if label == "SpikingJelly" else ["contiguous"]  # BrainCog compiles badly, and is slower otherwise
        steps |= {f"{label}{named[form]}": Step(made, images, form, device) for form in mine}
    candidates = [Candidate(label, step, step.values) for label, step in steps.items()]
    return Case(name=name, candidates=candidates, reference=REFERENCE)


def _again(like: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    made = copy.deepcopy(like)
    made.load_state_dict(weights)
    return made


def _of_library(library: Callable[[], peers.Library], ours: Callable[[], nn.Module]) -> nn.Module:
    return network(library(), ours())
