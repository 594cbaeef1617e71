"""Several processes that divide optimizer state, gradients and weights among them: DeepSpeed's ZeRO.

The loop sees what it sees of data parallelism. Checkpoints are those of any other run, put together for the leading
process, so a run may go on with another stage, another number of processes, or none of this.

Accelerate makes the processes meet, as without ZeRO; its own way into DeepSpeed is not taken, because that one
gathers checkpoints into files of its own, and asks for the version of a library that nothing here uses.
"""

from __future__ import annotations

import copy
import io
import logging
import os
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

import torch

from tksbench.recipe import BuiltInOptim
from tksbench.train.build import pick_device
from tksbench.train.errors import Diverged, TrainError
from tksbench.train.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn
    from torch.optim import Optimizer

    from tksbench.recipe import Execution
    from tksbench.recipe.schema import TrainSpec
    from tksbench.train.parallel import Verdict, World


log = logging.getLogger("tksbench.train")


class ZeroProcesses(Processes):
    """This process among the others of its run, under ZeRO.

    Args:
        world: Which one this is.
        execution: Says on which kind of device to train, and which stage of ZeRO.
        on_verdict: As for `Processes`.

    Raises:
        TrainError: If the processes cannot meet, or DeepSpeed lacks what it needs here.
    """

    def __init__(self, world: World, execution: Execution, on_verdict: Callable[[Verdict], None]) -> None:
        self._stage = execution.zero
        self.even_passes = self._stage >= 2  # gradients are reduced at each backward pass, not at a step's last one
        self._on_cpu = pick_device(execution).type == "cpu"
        if self._on_cpu:
            os.environ["DS_ACCELERATOR"] = "cpu"
        self._engine: Any = None
        self._whole: nn.Module | None = None  # the model, while it holds all weights at stage 3
        self._parameters: list[nn.Parameter] = []  # those that are trained, in the optimizer's order
        super().__init__(world, execution, on_verdict)

    def engage(self, spec: TrainSpec, model: nn.Module, optimizer: Optimizer) -> nn.Module:
        """The model in DeepSpeed's engine, which also takes the optimizer apart.

        Raises:
            TrainError: DeepSpeed is missing, or the optimizer may not work weight by weight.
        """
        if not isinstance(spec.optim, BuiltInOptim):
            raise TrainError(
                f"execution.zero {self._stage} divides the weights of a layer, which optim '{spec.optim.name}' may "
                "need whole: choose execution.zero=0"
            )
        with _silence():
            try:
                import deepspeed
            except ImportError as error:
                raise TrainError(f"execution.zero {self._stage}: DeepSpeed cannot be imported: {error}") from None
        saved = optimizer.state_dict()["state"]
        optimizer.state.clear()
        trained = _twin(model, optimizer) if self._stage == 3 else model
        for parameter in trained.parameters():  # DeepSpeed sends weights byte by byte, in their standard order
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
        self._parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        log.info("starting DeepSpeed")
        with _silence():
            # On a CPU it would compile a library for a minute, or wait for ever on the lock of a killed compilation.
            # That library sums activations of models that are divided for inference, which is not done here.
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
            config = _config(self._stage, spec)
            self._engine = deepspeed.initialize(model=trained, optimizer=optimizer, config=config)[0]
        assert all(a is b for a, b in zip(model.buffers(), trained.buffers(), strict=True))  # noqa: S101
        self._scatter(saved, optimizer)
        self._whole = model if self._stage == 3 else None
        return self._engine  # type: ignore[no-any-return]

    @contextmanager
    def accumulating(self, network: nn.Module) -> Iterator[None]:
        """A context for the passes before a step's last one."""
        self._engine.set_gradient_accumulation_boundary(False)
        try:
            yield
        finally:
            self._engine.set_gradient_accumulation_boundary(True)

    def backward(self, network: nn.Module, loss: Tensor) -> None:
        """Add a loss's gradient to those of the step."""
        if self._whole is not None:
            for parameter in self._whole.parameters():
                parameter.data = parameter.new_empty(0)
            self._whole = None
        self._engine.backward(loss)

    def step(self, network: nn.Module, optimizer: Optimizer, clip_norm: float | None = None) -> None:
        """Change the weights, and forget the gradients, which DeepSpeed clips itself.

        Raises:
            Diverged: If a gradient is no finite number; DeepSpeed leaves the weights alone then, and says nothing.
        """
        self._engine.step()
        if not self._engine.was_step_applied():
            raise Diverged("a gradient is not finite; the checkpoints before it are kept")

    def make_whole(self, model: nn.Module) -> None:
        """Copy the weights into the model; below stage 3 they never leave it."""
        if self._engine is None or self._stage < 3:
            return
        from deepspeed.utils import safe_get_full_fp32_param

        for whole, part in zip(model.parameters(), self._engine.module.parameters(), strict=True):
            whole.data = safe_get_full_fp32_param(part).clone()
        self._whole = model

    def tensors(self, model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
        """What a checkpoint holds: under the names and in the shapes of a run without ZeRO."""
        from deepspeed.utils import safe_get_full_optimizer_state

        out = {f"model/{name}": tensor for name, tensor in model.state_dict().items()} if self.lead else {}
        self._link(optimizer)
        state: dict[str, Tensor] = next(iter(optimizer.state.values()), {})
        for index, parameter in enumerate(self._parameters):
            for key, value in state.items():
                # What has no dimension is the number of steps; a file has one for each weight.
                whole = safe_get_full_optimizer_state(parameter, key) if value.dim() else value.clone()
                if self.lead:
                    out[f"optimizer/{index}/{key}"] = whole.cpu()
        return {name: tensor.detach().cpu().contiguous() for name, tensor in out.items()}

    def _scatter(self, saved: dict[int, dict[str, Tensor]], optimizer: Optimizer) -> None:
        """Give each process its part of the optimizer's state, as a run without ZeRO has it."""
        if not saved:
            return
        from deepspeed.utils import safe_set_full_optimizer_state

        device = self._parameters[0].device
        for flat in self._flats():
            optimizer.state[flat] = {
                key: value.clone() if value.dim() == 0 else torch.zeros_like(flat) for key, value in saved[0].items()
            }
        self._link(optimizer)
        for index, parameter in enumerate(self._parameters):
            for key, value in saved[index].items():
                if value.dim():
                    safe_set_full_optimizer_state(parameter, value.to(device), key)

    def _flats(self) -> list[Tensor]:
        """This process's part of the weights, as the optimizer sees it."""
        zero = self._engine.optimizer
        name = "fp32_partitioned_groups_flat" if self._stage == 3 else "single_partition_of_fp32_groups"
        return getattr(zero, name)  # type: ignore[no-any-return]

    def _link(self, optimizer: Optimizer) -> None:
        """Let DeepSpeed find each weight's state: it looks once, too early to see any group's but the first."""
        if self._stage == 3 or not optimizer.state:
            return
        from deepspeed.utils import lazy_init_hp_params_optimizer_state

        for group, flat in zip(self._engine.optimizer.bit16_groups, self._flats(), strict=True):
            lazy_init_hp_params_optimizer_state(group, flat, optimizer.state)


def _twin(model: nn.Module, optimizer: Optimizer) -> nn.Module:
    """A copy to train in the model's place, with the same buffers: stage 3 leaves no weights in what it is given.

    The model is made whole for tests, checkpoints and the record, some of which the leading process makes alone.
    """
    twin = copy.deepcopy(model, {id(buffer): buffer for buffer in model.buffers()})
    of = dict(zip(model.parameters(), twin.parameters(), strict=True))
    for group in optimizer.param_groups:
        group["params"] = [of[parameter] for parameter in group["params"]]
    return twin


@contextmanager
def _silence() -> Iterator[None]:
    """Keep compilers' command lines and other small talk out of the run's log."""
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _config(stage: int, spec: TrainSpec) -> dict[str, Any]:
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,  # must be said; only DeepSpeed's own statistics use it
        "zero_optimization": {"stage": stage},
        "gradient_clipping": spec.optim.clip_norm or 0.0,  # DeepSpeed's default is not 0
        "zero_allow_untested_optimizer": True,  # the built-in ones work weight by weight, so any division is right
        "steps_per_print": None,
    }
    if spec.numerics.precision == "bf16":
        # DeepSpeed switches off the loop's autocast unless given it. No module's gradients are sent as bfloat16.
        config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16", "lower_precision_safe_modules": []}
    return config
