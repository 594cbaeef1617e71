"""Which optional packages the execution of a run needs and this machine lacks."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tksbench.recipe.execution import Execution


def missing_package(execution: Execution) -> str:
    """The package that `missing_extra` names, in a word."""
    if execution.zero and find_spec("deepspeed") is None:
        return "DeepSpeed"
    return execution.track


def missing_extra(execution: Execution) -> str | None:
    """What to do about a package that is not installed, in one line; None if nothing is missing."""
    if execution.zero and find_spec("deepspeed") is None:
        return (
            f"execution.zero {execution.zero} needs DeepSpeed: make env EXTRAS=deepspeed "
            "(or pip install 'tksbench[deepspeed]'); execution.zero=0 trains without it"
        )
    if execution.track != "none" and find_spec(execution.track) is None:
        how = f"{'make env, or ' if execution.track == 'tensorboard' else ''}pip install {execution.track}"
        return f"execution.track {execution.track} needs that package: {how}; execution.track=none trains without it"
    return None
