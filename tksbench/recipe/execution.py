"""How and where a run is executed, which is no part of its identity."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tksbench.recipe.catalogue import Model


class Execution(Model):
    """How a run is executed: changes nothing of its result but rounding, and is not part of its identity."""

    workers: Annotated[int, Field(ge=0, le=256)] = 0  # data-loading processes for each device
    checkpoint_minutes: Annotated[float, Field(ge=0)] = 5.0  # at most so much is lost
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: a GPU where there is one
    # That a run on a CPU computes with, which its last bits depend on; as many runs train side by side as there are
    # cores for. None: all cores (or OMP_NUM_THREADS), one run at a time.
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    # ZeRO's stage, of runs over several processes, with the extra `deepspeed`: they divide the optimizer's state (1),
    # also the gradients (2), also the weights (3). Like their number it changes rounding and nothing else.
    zero: Literal[0, 1, 2, 3] = 0
    # Live curves, through accelerate: for whoever watches, nothing depends on them.
    track: Literal["none", "tensorboard", "wandb", "trackio"] = "none"
