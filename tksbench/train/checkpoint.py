"""Checkpoints: one safetensors file each, checked before it is believed, the two newest kept.

Nothing in a checkpoint can run code. The file's name gives its place in the run, its header holds a
SHA-256 over all tensors and the state, and it appears under its name only when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from tksbench.runs.files import write_bytes
from tksbench.train.errors import CheckpointError, TrainError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor, nn

KEEP = 2
_NAME = re.compile(r"^epoch(\d{5})-step(\d{7})\.safetensors$")


@dataclass
class State:
    """Where a run stands, besides its tensors. Everything is plain data.

    Attributes:
        run: The run's id.
        epoch: Epoch in training, from 0.
        step: Steps of it that are done.
        losses: Loss of each of those steps.
        correct: Training samples classified correctly in those steps.
        seen: Training samples in those steps.
        best: Test metrics of the best epoch so far, with its number; None before the first evaluation.
        best_sha256: Of the file with that epoch's logits.
        logs: SHA-256 of the rows of each log that belong to the epochs before this one, by the log's name.
        data: The checksums of the data set that the run began with; of frames, which are made anew anywhere, none.
        images: Training samples since the run began.
        seconds: Time spent on them; tests and checkpoints are not counted.
        gpu_seconds: Time of training with tests and checkpoints, times the number of GPUs at the time; 0 on a CPU.
        flat_since: First epoch of those in a row after which the network told no two samples apart.
    """

    run: str
    epoch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)
    correct: int = 0
    seen: int = 0
    best: dict[str, Any] | None = None
    best_sha256: str = ""
    logs: dict[str, str] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    images: int = 0
    seconds: float = 0.0
    gpu_seconds: float = 0.0
    flat_since: int | None = None


def checksums(manifest: dict[str, str]) -> dict[str, str]:
    """Those of a manifest that are of files: another machine may round frames, which it makes itself, otherwise."""
    return {name: told for name, told in manifest.items() if not name.endswith(" frames")}


def tensors_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All tensors that a run goes on from, by name.

    Raises:
        TrainError: The optimizer's state holds something else, which a checkpoint cannot keep.
    """
    out = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for index, entry in optimizer.state_dict()["state"].items():
        for key, value in entry.items():
            if not isinstance(value, torch.Tensor):
                what = f"{type(optimizer).__name__} keeps '{key}' of its state as {type(value).__name__}"
                raise TrainError(f"{what}, and checkpoints hold tensors: keep it as one")
            out[f"optimizer/{index}/{key}"] = value
    return {name: tensor.detach().cpu().contiguous() for name, tensor in out.items()}


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and contents."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of parameters and buffers: equal for two runs that ended with the same network."""
    return digest(dict(model.state_dict()))


def save_checkpoint(folder: Path, state: State, tensors: dict[str, Tensor]) -> Path:
    """Write a checkpoint of `tensors_of` atomically; of the others, only the one before it is kept.

    Raises:
        LedgerError: If the disk is full or read-only; the other checkpoints are untouched.
        OSError: If there is no folder yet, and none can be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = json.dumps(vars(state), sort_keys=True)
    check = hashlib.sha256((words + digest(tensors)).encode()).hexdigest()
    path = folder / f"epoch{state.epoch:05d}-step{state.step:07d}.safetensors"
    write_bytes(path, save(tensors, metadata={"state": words, "sha256": check}))
    paths = list_checkpoints(folder)
    # Above it are damaged ones, from before which the run went on: they may not outlast a good one.
    above = sum(other.name > path.name for other in paths)
    for other in paths[:above] + paths[above + KEEP :]:
        other.unlink(missing_ok=True)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a run, newest first."""
    found = [path for path in folder.iterdir() if _NAME.match(path.name)] if folder.is_dir() else []
    return sorted(found, key=lambda path: path.name, reverse=True)


def read_checkpoint(path: Path, run: str) -> tuple[State, dict[str, Tensor]]:
    """Read a checkpoint and make sure that it is whole and of this run.

    Raises:
        CheckpointError: If it is cut, altered or of another run; the message names the file.
    """
    try:
        with path.open("rb") as raw, safe_open(_readable_name(path, raw.fileno()), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        words = header["state"]
        if hashlib.sha256((words + digest(tensors)).encode()).hexdigest() != header["sha256"]:
            raise CheckpointError(f"{path}: its checksum does not match: the file was altered or damaged")
        state = State(**json.loads(words))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: no whole checkpoint ({error})") from None
    if state.run != run:
        raise CheckpointError(f"{path}: belongs to run {state.run}, not to {run}")
    return state, tensors


def _readable_name(path: Path, opened: int) -> str:
    """A name of the opened file that safetensors takes: it refuses a path that is no UTF-8, which Linux allows."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return f"/dev/fd/{opened}"
    return str(path)


def newest(
    folder: Path, run: str, check: Callable[[State], None] = lambda state: None
) -> tuple[State, dict[str, Tensor], list[str]] | None:
    """The newest checkpoint that is whole, and what was wrong with newer ones.

    Args:
        folder: Where the checkpoints are.
        run: The run's id.
        check: Raises CheckpointError where the other files that a checkpoint names are not as it says.

    Returns:
        State, tensors, and a message for each damaged file that was passed over; None if there is no
        checkpoint at all.

    Raises:
        CheckpointError: If there are checkpoints, none of them whole.
    """
    damaged: list[str] = []
    paths = list_checkpoints(folder)
    for path in paths:
        try:
            state, tensors = read_checkpoint(path, run)
            check(state)
            return state, tensors, damaged
        except CheckpointError as error:
            damaged.append(str(error))
    if paths:
        message = "; ".join(damaged)
        raise CheckpointError(f"{message}; remove {folder} to train the run from its beginning")
    return None


def restore(tensors: dict[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a checkpoint's tensors back.

    Raises:
        CheckpointError: If they do not fit the model.
    """
    own = {name.removeprefix("model/"): t for name, t in tensors.items() if name.startswith("model/")}
    try:
        model.load_state_dict(own)
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint does not fit the model: {str(error).splitlines()[0]}") from None
    saved = optimizer.state_dict()
    entries: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/", 2)
            entries.setdefault(int(index), {})[key] = tensor
    saved["state"] = entries
    optimizer.load_state_dict(saved)
    for parameter, entry in optimizer.state.items():
        for key, tensor in entry.items():
            if tensor.shape == parameter.shape:  # as the optimizer makes it: its kernel for CUDA takes nothing else
                entry[key] = torch.empty_like(parameter).copy_(tensor)
