"""Where the processes of one run meet. Imports no torch for a run of one process."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from tksbench.recipe.extras import missing_extra
from tksbench.train.errors import TrainError
from tksbench.train.parallel import ALONE, OneProcess, Verdict, world_from_env

if TYPE_CHECKING:
    from collections.abc import Callable

    from tksbench.recipe import Execution

log = logging.getLogger("tksbench.train")


def join(execution: Execution, on_verdict: Callable[[Verdict], None]) -> OneProcess:
    """Meet the run's other processes, if there are any.

    Args:
        execution: Says on which kind of device to train.
        on_verdict: Called, in another thread, when another process ends the run; then this process exits.

    Raises:
        TrainError: If the environment is contradictory, the processes cannot meet, or ZeRO lacks its packages.
    """
    lacking = missing_extra(execution)
    if lacking:
        raise TrainError(lacking)
    world = world_from_env()
    if world is None:
        if execution.zero:
            log.info("execution.zero %d divides among processes; this run is one, and trains without", execution.zero)
        return ALONE
    # Before torch is loaded: its data parallelism warns in each process of what `processes` asks of it on purpose.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if execution.zero:
        from tksbench.train.zero import ZeroProcesses

        return ZeroProcesses(world, execution, on_verdict)
    from tksbench.train.processes import Processes

    return Processes(world, execution, on_verdict)
