"""A cluster's profile: what `slurm/*.yaml` may say, read as strictly as a recipe."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError, model_validator

from tksbench.launch.errors import LaunchError
from tksbench.recipe.errors import RecipeError
from tksbench.recipe.explain import explain
from tksbench.recipe.schema import Model
from tksbench.recipe.yamltree import read

DEFAULT_PROFILE = "slurm/default.yaml"
# What may stand in an #SBATCH line: that line ends at a newline, and sbatch has its own idea of quotes.
_PLAIN = re.compile(r"[A-Za-z0-9_.,:;@/+=%&|*()\[\]-]+")
_OPTION = re.compile(r"[a-z][a-z-]*")
# Set by the launcher, or they would let two jobs train one run.
_OWN = {
    "array",
    "dependency",
    "job-name",
    "open-mode",
    "output",
    "error",
    "parsable",
    "requeue",
    "no-requeue",
    "signal",
}
_OWN |= {"nodes", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "mem", "time", "wrap", "chdir", "ntasks"}


def _plain(text: str) -> str:
    if not _PLAIN.fullmatch(text):
        raise ValueError(f"expected one word of letters, digits and _.,:;@/+=%&|*()[]-, got {text!r}")
    return text


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"expected one printable line, got {text!r}")
    return text


def _options(options: dict[str, str]) -> dict[str, str]:
    for name in options:
        # sbatch takes the beginning of an option's name for the whole
        if any(own.startswith(name) for own in _OWN) or not _OPTION.fullmatch(name):
            raise ValueError(f"'{name}' is not an option of sbatch that a profile may set here")
    return options


Word = Annotated[str, AfterValidator(_plain)]
Line = Annotated[str, AfterValidator(_one_line)]


class SlurmProfile(Model):
    """Where and how jobs run: one run is one job (or one element of a job array) with these resources.

    None of it may change a result: a profile is no part of a run's identity.
    """

    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    constraint: Word | None = None
    options: Annotated[dict[str, Word], AfterValidator(_options)] = Field(
        default_factory=dict
    )  # further ones of sbatch

    nodes: Annotated[int, Field(ge=1, le=4096)] = 1
    gpus_per_node: Annotated[int, Field(ge=0, le=64)] = 1  # 0: the runs train on CPUs
    tasks_per_node: Annotated[int, Field(ge=1, le=256)] | None = None  # None: one for each GPU, or one
    cpus_per_task: Annotated[int, Field(ge=1, le=1024)] = 8
    mem_gb: Annotated[float, Field(gt=0)] | None = None  # for each node; None: the cluster's default
    minutes: Annotated[int, Field(ge=1)] = 720  # time limit of one start; what is not finished then is requeued
    signal_seconds: Annotated[int, Field(ge=1)] = 180  # before the limit: a step, a checkpoint, and Slurm's own 60 s

    requeue: bool = True  # `scontrol requeue` may be used on the compute nodes
    chain: Annotated[int, Field(ge=0, le=100)] = 0  # jobs queued behind the first, for clusters without requeue
    retries: Annotated[int, Field(ge=0, le=100)] = 3  # starts without progress (dead nodes, kills) that are forgiven
    parallel: Annotated[int, Field(ge=1)] = 64  # runs of one array at a time
    max_array: Annotated[int, Field(ge=1)] | None = None  # None: the cluster's MaxArraySize

    setup: list[Line] = Field(default_factory=list)  # shell lines before training: modules, environments
    srun: list[Line] = Field(default_factory=list)  # more arguments of srun: containers
    python: Line | None = None  # interpreter in the container; None: the launcher's own

    @model_validator(mode="after")
    def _fits(self) -> SlurmProfile:
        if self.signal_seconds + 60 > self.minutes * 60:
            raise ValueError(
                f"signal_seconds {self.signal_seconds} leaves less than a minute of {self.minutes} minutes"
            )
        if self.requeue and self.chain:
            raise ValueError("chain is for clusters without requeue: set requeue: false")
        return self

    def tasks(self, gpus: int) -> int:
        """Processes a node of a run that asks for so many GPUs a node."""
        return self.tasks_per_node or max(1, gpus)


def load_profile(path: str) -> SlurmProfile:
    """Read a profile.

    Raises:
        LaunchError: If there is no such file.
        RecipeError: Anything wrong in it, each with file and line.
    """
    file = Path(path)
    if not file.is_file():
        known = sorted(str(item) for item in Path(DEFAULT_PROFILE).parent.glob("*.yaml"))
        raise LaunchError(f"--slurm {path}: no such profile; profiles here: {', '.join(known) or 'none'}")
    tree = read(file)
    try:
        return SlurmProfile.model_validate(tree.plain() or {})
    except ValidationError as error:
        raise RecipeError(list(explain(error, tree, SlurmProfile))) from None
