"""Live curves for whoever watches, through accelerate's trackers: `execution.track=tensorboard`, wandb or trackio.

It only looks on: the leading process hands over values that the loop has fetched anyway, at most once a second and at
the end of an epoch, and a tracker that fails is let go with a line in the log. TensorBoard's files lie in the run's
directory (`tensorboard --logdir results/runs`); the others lie where their own settings say.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tksbench.recipe import Run
    from tksbench.runs.paths import RunDir

log = logging.getLogger("tksbench.train")
_PROJECT = "tksbench"


class Tracker:
    """What one attempt at a run shows; does nothing unless the recipe or the command line asks for it.

    Args:
        run: The run; its `execution.track` says which tracker.
        run_dir: Where its files are.
        done: Steps since the run began; what an earlier attempt has shown beyond is replaced where that can be.
    """

    def __init__(self, run: Run, run_dir: RunDir, done: int) -> None:
        self._tracker: Any = None
        name = run.execution.track
        if name == "none":
            return
        project, options = _PROJECT, dict[str, Any]()
        if name == "tensorboard":
            project = f"{run.name}/{run.scale}-{run.seed}"  # the curve's name in the list at the left
            options = {"logging_dir": str(run_dir.path / "tensorboard"), "purge_step": done}
        else:
            options = {"name": f"{run.name} {run.scale} seed {run.seed}", "config": run.spec.model_dump(mode="json")}
            options |= {"resume": "allow"}
            if name == "wandb":
                options |= {"id": run.id, "dir": str(run_dir.path)}
        self._do("begin", lambda: _start(name, project, options))

    def show(self, step: int, values: Mapping[str, float | None]) -> None:
        """Hand over values that belong to a step, counted since the run began; None stands for no value."""
        told = {key: value for key, value in values.items() if value is not None}
        if self._tracker is not None and told:
            self._do("go on", lambda: self._tracker.log(told, step=step) or self._tracker)

    def close(self) -> None:
        """Let everything reach its place."""
        if self._tracker is not None:
            self._do("end", lambda: self._tracker.finish())

    def _do(self, what: str, act: Any) -> None:
        try:
            self._tracker = act()
        except Exception as error:  # a full disk, no network, a foreign library: no reason to stop training
            self._tracker = None
            log.warning("the tracker cannot %s (%s: %s); training goes on without", what, type(error).__name__, error)


def _start(name: str, project: str, options: dict[str, Any]) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # tensorboard may load tensorflow where that is installed
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState(
        cpu=True
    )  # of one process; where several have met it is there already. accelerate's trackers ask it which process this is
    tracker = LOGGER_TYPE_TO_CLASS[name](project, **options)
    tracker.start()
    return tracker
