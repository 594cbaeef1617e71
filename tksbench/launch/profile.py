"""A cluster's profile: what `slurm/*.yaml` may say, read as strictly as a recipe."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from tksbench.launch.errors import LaunchError
from tksbench.launch.slots import cores_of
from tksbench.recipe.catalogue import Model
from tksbench.recipe.errors import RecipeError
from tksbench.recipe.explain import explain
from tksbench.recipe.yamltree import read
from tksbench.text import count

if TYPE_CHECKING:
    from tksbench.recipe import Run

DEFAULT_PROFILE = "slurm/default.yaml"
# What may stand in an #SBATCH line: that line ends at a newline, and sbatch has its own idea of quotes.
_PLAIN = re.compile(r"[A-Za-z0-9_.,:;@/+=%&|*()\[\]-]+")
_NOT_PLAIN = "expected one word of letters, digits and _.,:;@/+=%&|*()[]-"
_OPTION = re.compile(r"[a-z][a-z-]*")
_GPU = re.compile(r"(^|,)(gres[:/])?gpu\b")
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_ALIASES = {"cluster": "clusters"}  # of sbatch's own options
# Options of sbatch that a profile may not set: the launcher sets them, or could not keep its promises with them.
_REFUSED = {
    **dict.fromkeys(
        ("array", "dependency", "job-name", "open-mode", "output", "error", "parsable", "signal", "wrap", "chdir"),
        "the launcher sets it",
    ),
    **dict.fromkeys(("requeue", "no-requeue"), "say requeue: true or false in the profile"),
    **dict.fromkeys(("nodes", "ntasks"), "say nodes and tasks_per_node in the profile"),
    **dict.fromkeys(
        ("ntasks-per-node", "ntasks-per-gpu", "ntasks-per-socket", "ntasks-per-core"),
        "say tasks_per_node in the profile",
    ),
    **dict.fromkeys(("cpus-per-task", "cpus-per-gpu"), "say cpus_per_task in the profile"),
    **dict.fromkeys(
        ("gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket"),
        "say gpus_per_node in the profile, with a type if need be (a100:1)",
    ),
    "mem": "say mem_gb in the profile",
    "time": "say minutes in the profile",
    **dict.fromkeys(
        ("cluster-constraint", "uid"),
        "the job would be where the launcher does not look for it, and be submitted twice",
    ),
    **dict.fromkeys(("export", "export-file"), "jobs get the launcher's environment; set variables in setup"),
    **dict.fromkeys(("test-only", "help", "usage", "version"), "sbatch would submit nothing"),
    "quiet": "sbatch would not print the job's number",
    "wait": "sbatch would wait for the end of every run; --status --watch does so",
}


def _plain(text: str) -> str:
    if not _PLAIN.fullmatch(text):
        raise ValueError(f"{_NOT_PLAIN}, got {text!r}")
    return text


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"expected one printable line, got {text!r}")
    return text


def _options_as_text(options: object) -> object:
    """Options as text: `true` and nothing are an option without a value (empty text), `false` is none at all."""
    if not isinstance(options, dict):
        return options
    return {_ALIASES.get(name, name): _as_text(value) for name, value in options.items() if value is not False}


def _as_text(value: object) -> object:
    if value is None or value is True:
        return ""
    return str(value) if isinstance(value, int) else value


def _options(options: dict[str, str]) -> dict[str, str]:
    for name, value in options.items():
        if len(name) == 1 or not _OPTION.fullmatch(name):
            raise ValueError(f"'{name}' is no long name of an option of sbatch, such as reservation or mail-type")
        # sbatch takes the beginning of an option's name for the whole
        taken = name if name in _REFUSED else next((own for own in _REFUSED if own.startswith(name)), None)
        if taken:
            whole = "" if taken == name else f" (for sbatch the same as {taken})"
            raise ValueError(f"'{name}'{whole} is not an option for a profile: {_REFUSED[taken]}")
        if name == "gres" and _GPU.search(value):
            raise ValueError(f"'gres' is not for GPUs: {_REFUSED['gpus-per-node']}")
        if name == "clusters" and (not value or "all" in value.split(",")):
            raise ValueError("'clusters': name them, as in {clusters: gpu}: each is asked for the launcher's jobs")
        if value and not _PLAIN.fullmatch(value):
            raise ValueError(f"'{name}': {_NOT_PLAIN}, got {value!r}")
    return options


def _number_of_gpus(gpus: object) -> object:
    if isinstance(gpus, str) and not gpus.strip().isdecimal():
        raise ValueError(f"expected a number, or a type and a number such as a100:1, got {gpus!r}")
    return gpus


def _split_gpus(profile: object) -> object:
    """`gpus_per_node: a100:1` is a type and a number."""
    if isinstance(profile, dict) and isinstance(gpus := profile.get("gpus_per_node"), str):
        kind, colon, count = gpus.rpartition(":")
        if colon and _KIND.fullmatch(kind) and count.isascii() and count.isdecimal() and "gpu_type" not in profile:
            return {**profile, "gpus_per_node": int(count), "gpu_type": kind}
    return profile


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
    options: Annotated[dict[str, str], BeforeValidator(_options_as_text), AfterValidator(_options)] = Field(
        default_factory=dict
    )  # further ones of sbatch; one without a value has an empty text

    nodes: Annotated[int, Field(ge=1, le=4096)] = 1
    gpus_per_node: Annotated[int, BeforeValidator(_number_of_gpus), Field(ge=0, le=64)] = (
        1  # 0: the runs train on CPUs; a100:1 names a type, too
    )
    gpu_type: Annotated[str, Field(pattern=_KIND)] | None = None  # as the cluster calls it
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

    @model_validator(mode="before")
    @classmethod
    def _typed_gpus(cls, profile: object) -> object:
        return _split_gpus(profile)

    @model_validator(mode="after")
    def _fits(self) -> SlurmProfile:
        if self.signal_seconds + 60 > self.minutes * 60:
            raise ValueError(
                f"signal_seconds {self.signal_seconds} leaves less than a minute of {self.minutes} minutes"
            )
        if self.requeue and self.chain:
            raise ValueError("chain is for clusters without requeue: set requeue: false")
        return self

    @property
    def clusters(self) -> list[str]:
        """The clusters of a multi-cluster Slurm to which jobs go, one of which gets each; none: the default one."""
        return [name for name in self.options.get("clusters", "").split(",") if name]

    def tasks(self, gpus: int) -> int:
        """Processes a node of a run that asks for so many GPUs a node."""
        return self.tasks_per_node or max(1, gpus)


@dataclass(frozen=True, order=True)
class Resources:
    """What one run gets; runs with the same resources share an array."""

    nodes: int
    tasks_per_node: int
    gpus_per_node: int
    cpus_per_task: int

    @classmethod
    def of(cls, run: Run, profile: SlurmProfile) -> Resources:
        """Those of a run under a profile; a run that asks for a CPU gets no GPU."""
        gpus = 0 if run.execution.device == "cpu" else profile.gpus_per_node
        cpus = profile.cpus_per_task if gpus else cores_of(run.execution, profile.cpus_per_task)
        return cls(profile.nodes, profile.tasks(gpus), gpus, cpus)

    @property
    def gpus(self) -> int:
        """GPUs in all."""
        return self.nodes * self.gpus_per_node

    def __str__(self) -> str:
        device = count(self.gpus_per_node, "GPU") if self.gpus_per_node else "CPUs"
        return f"{count(self.nodes, 'node')} x {device}, {count(self.nodes * self.tasks_per_node, 'process')}"


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
