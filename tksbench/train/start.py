"""The weights that a run starts from: those of another run, checked, in a network of its own or of the parent's."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from tksbench.data.registry import info
from tksbench.recipe import TrainSpec
from tksbench.runs import Ledger
from tksbench.train import build
from tksbench.train.checkpoint import digest, newest
from tksbench.train.components import make
from tksbench.train.errors import TrainError
from tksbench.train.loading import read_batches
from tksbench.train.schedule import epoch_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from tksbench.data.base import Data, Split
    from tksbench.recipe import Run
    from tksbench.recipe.catalogue import Component
    from tksbench.runs.paths import RunDir
    from tksbench.train.loop import Trainer

log = logging.getLogger("tksbench.train")


class TrainingImages:
    """Batches of training images [B, C, H, W] on a device, as training would see them in its first epoch.

    Each iteration gives the same batches: a conversion looks at as many as it needs, as often as it needs.

    Args:
        train: Training half.
        seed: The run's, which decides their order and augmentation.
        batch_size: Images at a time.
        device: Where to.
    """

    def __init__(self, train: Split, seed: int, batch_size: int, device: torch.device) -> None:
        self._train, self._seed, self._batch_size, self._device = train, seed, batch_size, device

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the images of each batch."""
        order, size = epoch_order(self._train, self._seed, 0).tolist(), self._batch_size
        keys = [[(0, index) for index in order[at : at + size]] for at in range(0, len(order), size)]
        return (images for images, _ in read_batches(self._train, keys, 0, self._device))


def start_of(run: Run, ledger: Ledger) -> dict[str, str]:
    """What a run's record says of the run that it started from: `id`, `name`, `weights_sha256`; empty if there is none.

    Args:
        run: The run.
        ledger: Where its parent is.

    Raises:
        TrainError: The parent is not done.
    """
    if run.parent_id is None:
        return {}
    weights = ledger.weights(run.parent_id)
    if weights is None:
        raise TrainError(f"{_called(run)} is not done: train it first")
    return {"id": run.parent_id, "name": run.parent.name if run.parent else "", "weights_sha256": weights}


def _called(run: Run) -> str:
    name = f"{run.parent.name} seed {run.parent.seed}" if run.parent else "the run"
    return f"{name} ({run.parent_id}), which this run starts from,"


def start_tensors(run: Run, ledger: Ledger) -> dict[str, Tensor]:
    """The weights that a run starts from: parameters and buffers of its parent's network by name.

    Args:
        run: The run, which has a parent.
        ledger: Where that is.

    Raises:
        TrainError: The parent is not done, its weights are not here, or they are not those of its record.
    """
    weights, called, parent = start_of(run, ledger)["weights_sha256"], _called(run), str(run.parent_id)
    folder = ledger.run_dir(parent).checkpoints
    found = newest(folder, parent)
    if found is None:
        raise TrainError(f"{called} is done, but its weights are not here: bring back {folder}, or train it anew")
    tensors = {key.removeprefix("model/"): one for key, one in found[1].items() if key.startswith("model/")}
    if digest(tensors) != weights:
        raise TrainError(f"{called} has other weights in {folder} than its record is of: bring those back")
    return tensors


def load_tensors(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Give a network the weights of another; what that other does not have (thresholds, leaks) stays as it is made.

    Raises:
        TrainError: A tensor has no place in the network, or one of another shape, or a weight is given by none.
    """
    own = network.state_dict()
    for name, tensor in tensors.items():
        if name not in own:
            raise TrainError(
                f"start.run: its network has {name}, and this one has no such weight: not the same network"
            )
        if own[name].shape != tensor.shape:
            shapes = f"{list(tensor.shape)}, here {list(own[name].shape)}"
            raise TrainError(f"start.run: {name} has the shape {shapes}: not the same network")
    missing = sorted(own.keys() - tensors.keys())
    synapses = [name for name in missing if own[name].dim() > 1]
    if synapses:
        raise TrainError(f"start.run: its network has no {synapses[0]}, which this one has: not the same network")
    if missing:
        log.info("not in the network that this run starts from: %s", ", ".join(missing))
    network.load_state_dict(tensors, strict=False)


def begin_from_parent(trainer: Trainer) -> None:
    """Give a network that is about to be trained the weights that its spec starts from, if it does.

    Raises:
        TksbenchError: The parent is not done or not here, its network is another, or it cannot be converted so.
    """
    start, network, spec = trainer.spec.start, trainer.model, trainer.spec
    if start is None:
        return
    load_tensors(network, trainer.parallel.from_lead(lambda: start_tensors(trainer.run, ledger_of(trainer.dir))))
    if start.convert is None:
        return
    images = TrainingImages(trainer.data.train, spec.seed, spec.evaluation.batch_size, trainer.device)
    before, encoder = _parts(network), getattr(network, "encoder", None)
    result = converted(network, start.convert, images, spec.model.T, spec.seed)
    if hasattr(network, "encoder"):
        # A conversion may have an encoder of its own to balance with. Training has the model's, which takes part in its
        # progress, and which alone an attempt has that goes on from a checkpoint.
        network.encoder = encoder  # type: ignore[assignment]
    if result is not network or _parts(network) != before:
        raise TrainError(
            f"convert '{start.convert.name}' has replaced what is to be trained: give model.neuron neurons whose "
            "thresholds it can set, or convert in a run of its own"
        )


def _parts(network: nn.Module) -> dict[str, int]:
    """Which modules and parameters a network is made of."""
    return {name: id(one) for name, one in (*network.named_modules(), *network.named_parameters())}


def ledger_of(run_dir: RunDir) -> Ledger:
    """The results folder that a run's directory is in."""
    return Ledger(run_dir.path.parent.parent)


def parent_network(run: Run, data: Data, tensors: dict[str, Tensor], device: torch.device) -> nn.Module:
    """The network of a trained parent with its weights.

    Raises:
        TrainError: As `build.build_model`, or the weights are not of that network.
    """
    spec = run.spec.parent
    assert isinstance(spec, TrainSpec)  # noqa: S101 - `Start` sees to it
    network = build.build_model(spec, data.num_classes, info(spec.data.name).in_chans, device)
    load_tensors(network, tensors)
    return network


def converted(network: nn.Module, convert: Component, images: TrainingImages, T: int, seed: int) -> nn.Module:
    """A network converted on training images.

    Args:
        network: With its weights; it may be changed in place.
        convert: How.
        images: Batches of training images.
        T: Time steps that it is going to be asked for.
        seed: The run's.

    Raises:
        TksbenchError: It cannot be converted.
    """
    torch.manual_seed(seed)
    convert_it = make("convert", convert, ("network", "images", "T"), {"random_state": seed})
    result = convert_it(network, images, T)
    if not isinstance(result, torch.nn.Module):
        raise TrainError(f"convert '{convert.name}' has returned no network, but {type(result).__name__}")
    return result
