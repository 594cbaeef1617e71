"""The typed vocabulary of a run: what a recipe may say, and nothing else.

A `RunSpec` holds only what can change a run's result; its hash is the run's identity. How and where
a run is executed is `Execution` (`execution.py`), which never enters the hash. The provenance of values stands in the
recipes; places in the authors' code are written as docs/protocol.md#marks-and-sources says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from tksbench.recipe import catalogue
from tksbench.recipe.catalogue import Component, Model, attributes, common, data_kind, default, fits, takes_soft_targets
from tksbench.recipe.errors import suggest
from tksbench.recipe.optim import OptimSpec  # noqa: TC001  # a field's type

if TYPE_CHECKING:
    from collections.abc import Iterator

SCALES = ("paper", "budget", "mini", "smoke")


def _known_as(source: Any) -> Any:
    """Stand-in data by the name that records have for them."""
    return "miniature" if source == "stand-in" else source


@common("data")
class DataSpec(Component):
    """Which images or recordings, and how they are augmented."""

    # The data set itself, its twin, or stand-in data (`stand-in`; its name in records is `miniature`). auto: the first
    # of these that is there or, of a twin, that can be made of what is there.
    source: Annotated[Literal["real", "miniature", "twin", "auto"], BeforeValidator(_known_as)] = "real"
    # Of the training half: one that the data set has, or a component, by its name or with parameters.
    augment: Annotated[str | SerializeAsAny[Component], BeforeValidator(catalogue.briefly("augment"))]
    norm: Literal["official", "consistent"] = "official"  # official: train/test mismatch as the authors' code
    train_subset: Annotated[int, Field(gt=0)] | None = None  # class-balanced
    test_subset: Annotated[int, Field(gt=0)] | None = None  # likewise
    image_size: Annotated[int, Field(ge=16, le=512)] | None = None  # pixels; None: the data set's own
    framing: Literal["time", "count"] = "time"  # event sets: equal durations or equal event counts
    split: str = "natural"  # one that the data set has: CIFAR10-DVS has no official one
    overflow: bool = True  # ATIS files: row 240 is a timer overflow (as tonic), not an event (as SpikingJelly)
    repair: bool = False  # event files: mend what can be mended instead of refusing
    loops: Annotated[int, Field(ge=1, le=6)] = 6  # of a twin: closed loops a recording; other data have none

    def of_frames(self) -> Iterator[tuple[str, Any]]:
        """What it says of frames of an event set, which recordings as they are do not have: keys and values."""
        if data_kind("data", self.name) == "event":
            has = {"augment": "none", "framing": "time", "image_size": None}
            yield from ((key, getattr(self, key)) for key in has if getattr(self, key) != has[key])

    @property
    def augmentation(self) -> Component | None:
        """The augmentation if it is a component, None if it is the data set's own."""
        if isinstance(self.augment, Component):
            return self.augment
        known = self.augment in catalogue.names("augment")
        return catalogue.load("augment", {"name": self.augment}) if known else None


@common("model")
class ModelSpec(Component):
    """The network: simulation steps, channel multiplier (1.0 is the paper's width), and what it is made of."""

    T: Annotated[int, Field(ge=1, le=1000)]  # time steps; of event sets, frames
    width: Annotated[float, Field(gt=0, le=4)] = 1.0  # factor on all channels
    # What its layers are made of.
    neuron: Annotated[SerializeAsAny[Component], fits("neuron")] = Field(default_factory=lambda: default("neuron"))
    # What stands between a convolution and the neurons.
    norm: Annotated[SerializeAsAny[Component], fits("norm")] = Field(default_factory=lambda: default("norm"))


class EvalSpec(Model):
    """How often the test set is evaluated: the best epoch is picked among these."""

    every: Annotated[int, Field(ge=1)] = 1  # epochs; the last epoch is always evaluated
    batch_size: Annotated[int, Field(ge=1)] = 256  # test samples at a time


class NumericsSpec(Model):
    """Arithmetic: changes the last bits, so it is part of the identity."""

    precision: Literal["fp32", "tf32", "bf16"] = "fp32"  # bf16: of convolutions
    neuron: Literal["auto", "reference", "fused", "native", "triton"] = "auto"  # auto: the fastest of the others here
    deterministic: bool = True  # the same run has the same bits


def _offered(data: DataSpec) -> DataSpec:
    """Refuse what the reader of a data set cannot do; each message begins with the key that it is about."""
    try:
        facts = attributes("data", data.name)
    except ValueError:  # from outside, in a record of another machine
        return data
    one, kind = data.augmentation, facts.get("kind")
    for key, value, known in (
        ("augment", None if one else data.augment, facts.get("augmentations", ("none",))),
        ("split", data.split, facts.get("splits", ("natural",))),
    ):
        if value not in (None, *known):
            more = [name for name in catalogue.names(key) if data_kind(key, name) in (None, kind)]
            raise ValueError(f"{key} '{value}' is not for {data.name}; it has {', '.join((*known, *more))}")
    if one is not None and (wanted := data_kind("augment", one.name)) not in (None, kind):
        raise ValueError(f"augment '{one.name}' is for data of kind {wanted}, and {data.name} is {kind}")
    if data.source == "twin" and not facts.get("twin_of"):
        raise ValueError(f"source 'twin' is not for {data.name}; it has real, stand-in, auto")
    if data.source != "twin" and data.loops != 6:  # of other data it is no choice, so no other run
        return data.model_copy(update={"loops": 6})
    return data


_ORDER = (  # of a spec's keys, in records and run.json
    *("kind", "data", "model", "method", "optim", "T", "start", "features", "classifier"),
    *("evaluation", "numerics", "mix", "seed", "versions"),
)


class RunSpec(Model):
    """All that can change a run's result, fully resolved. What a run does is its kind; each is a subclass.

    A trained run says no kind, so that the ids of those that were trained before there were others stay what they are.

    Attributes:
        kind: `train`, `convert` or `classic`.
    """

    kind: ClassVar[str] = ""
    data: Annotated[SerializeAsAny[DataSpec], fits("data"), AfterValidator(_offered)]
    evaluation: EvalSpec = EvalSpec()
    numerics: NumericsSpec = NumericsSpec()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 42
    versions: dict[str, int] = Field(default_factory=dict)  # bumped by hand when a component's meaning changes

    @property
    def epochs(self) -> int:
        """Epochs of the run; what is not trained counts as one."""
        return 1

    @property
    def steps(self) -> int:
        """Time steps; of event sets, frames."""
        return 1

    @property
    def frames(self) -> int:
        """Frames that a recording of an event set is cut into; 0 if it is read as it is."""
        return self.steps

    @property
    def network(self) -> str:
        """What tables call the network, or what stands in its place."""
        raise NotImplementedError

    @property
    def parent(self) -> RunSpec | None:
        """The run whose weights this one starts from."""
        return None

    def components(self) -> Iterator[tuple[str, str]]:
        """Slot and name of each component that it is made of, but for those of its parent."""
        yield "data", self.data.name
        if self.data.augmentation:
            yield "augment", self.data.augmentation.name

    def with_seed(self, seed: int) -> Self:
        """The same run with another seed; its parent's seed follows."""
        return self.model_copy(update={"seed": seed})

    @model_validator(mode="wrap")
    @classmethod
    def _of_itsdata_kind(cls, plain: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(plain, dict):
            return handler(plain)
        kind = plain.get("kind", TrainSpec.kind)
        if cls is RunSpec:
            return kind_of(kind).model_validate(plain)  # type: ignore[return-value]
        if kind != cls.kind:
            raise ValueError(f"kind {kind!r} is not {cls.kind!r}")
        return handler({key: value for key, value in plain.items() if key != "kind"})

    @model_serializer(mode="wrap")
    def _withdata_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain: dict[str, Any] = handler(self)
        if not isinstance(self, TrainSpec):
            plain["kind"] = self.kind
        return {key: plain[key] for key in _ORDER if key in plain}


class Start(Model):
    """What a run begins with in place of initial weights."""

    run: SerializeAsAny[RunSpec]  # the parent, whose weights these are, in full
    # What is done to the parent's network first.
    convert: Annotated[SerializeAsAny[Component] | None, fits("convert")] = None

    @model_validator(mode="after")
    def _has_weights(self) -> Start:
        if isinstance(self.run, ClassicSpec):
            raise ValueError("run has no network, whose weights another could start from")
        if self.convert is not None and not isinstance(self.run, TrainSpec):
            raise ValueError("convert is for trained networks, and that one is converted already")
        return self

    def with_seed(self, seed: int) -> Start:
        """The same with another seed."""
        return self.model_copy(update={"run": self.run.with_seed(seed)})


class TrainSpec(RunSpec):
    """A network that is trained."""

    kind: ClassVar[str] = "train"
    model: Annotated[SerializeAsAny[ModelSpec], fits("model")]
    method: Annotated[SerializeAsAny[Component], fits("method")]
    optim: Annotated[SerializeAsAny[OptimSpec], fits("optim")]
    mix: Annotated[SerializeAsAny[Component] | None, fits("mix")] = None  # of training samples with others of them
    start: Annotated[Start | None, Field(exclude_if=lambda start: start is None)] = None  # None: initial weights

    @property
    def epochs(self) -> int:
        """Epochs of training."""
        return self.optim.epochs

    @property
    def steps(self) -> int:
        """Time steps; of event sets, frames."""
        return self.model.T

    @property
    def network(self) -> str:
        """The network's name."""
        return self.model.name

    @property
    def parent(self) -> RunSpec | None:
        """The run whose weights this one starts from."""
        return self.start.run if self.start else None

    def components(self) -> Iterator[tuple[str, str]]:
        """See `RunSpec.components`."""
        yield from super().components()
        yield from (("model", self.model.name), ("method", self.method.name))
        yield from (("neuron", self.model.neuron.name), ("norm", self.model.norm.name))
        yield "optim", self.optim.name
        if self.optim.schedule:
            yield "schedule", self.optim.schedule.name
        if self.mix:
            yield "mix", self.mix.name
        if self.start and self.start.convert:
            yield "convert", self.start.convert.name

    def with_seed(self, seed: int) -> Self:
        """See `RunSpec.with_seed`."""
        return self.model_copy(update={"seed": seed} | ({"start": self.start.with_seed(seed)} if self.start else {}))

    @model_validator(mode="after")
    def _fits(self) -> TrainSpec:
        o = self.optim
        o.check()
        subset = self.data.train_subset
        if o.drop_last and subset is not None and subset < o.batch_size:
            raise ValueError(f"optim.batch_size {o.batch_size} is more than data.train_subset {subset}")
        return self

    @model_validator(mode="after")
    def _can_be_mixed(self) -> TrainSpec:
        """Refuse to mix samples of another kind, or for a loss that has no meaning for what comes of it."""
        if self.mix is None:
            return self
        kind, wanted = data_kind("data", self.data.name), data_kind("mix", self.mix.name)
        if None not in (kind, wanted) and kind != wanted:
            raise ValueError(f"mix '{self.mix.name}' is for data of kind {wanted}, and {self.data.name} is {kind}")
        if not takes_soft_targets(self.method.name):
            able = ", ".join(name for name in catalogue.names("method") if takes_soft_targets(name))
            raise ValueError(
                f"mix '{self.mix.name}' gives soft targets, which method '{self.method.name}' does not take; "
                f"these do: {able}"
            )
        return self


class ConvertSpec(RunSpec):
    """The network of a trained run, converted on training images and tested over T time steps; nothing is trained."""

    kind: ClassVar[str] = "convert"
    T: Annotated[int, Field(ge=1, le=10_000)]  # time steps of the test; accuracy is recorded at fewer, too
    start: Start

    @property
    def steps(self) -> int:
        """Time steps."""
        return self.T

    @property
    def network(self) -> str:
        """The parent's network."""
        return self.start.run.network

    @property
    def parent(self) -> RunSpec:
        """The run whose network is converted."""
        return self.start.run

    def components(self) -> Iterator[tuple[str, str]]:
        """See `RunSpec.components`."""
        yield from super().components()
        if self.start.convert:
            yield "convert", self.start.convert.name

    def with_seed(self, seed: int) -> Self:
        """See `RunSpec.with_seed`."""
        return self.model_copy(update={"seed": seed, "start": self.start.with_seed(seed)})

    @model_validator(mode="after")
    def _converts(self) -> ConvertSpec:
        if self.start.convert is None:
            raise ValueError("start.convert is missing: what is done to the parent's network")
        trained, here = self.start.run.data.name, self.data.name
        if trained != here:
            raise ValueError(f"start.run is trained on {trained}, and this run is of {here}: take a network of {here}")
        return self


class ClassicSpec(RunSpec):
    """A classifier of features that are computed from the samples, without a network."""

    kind: ClassVar[str] = "classic"
    features: Annotated[SerializeAsAny[Component], fits("features")]
    classifier: Annotated[SerializeAsAny[Component], fits("classifier")]

    @model_validator(mode="after")
    def _unframed(self) -> ClassicSpec:
        for key, value in self.data.of_frames():
            raise ValueError(f"data.{key} {value!r} is for frames, and features are of the recordings as they are")
        return self

    @property
    def frames(self) -> int:
        """None: features are of events."""
        return 0

    @property
    def network(self) -> str:
        """What the features are called."""
        return self.features.name

    def components(self) -> Iterator[tuple[str, str]]:
        """See `RunSpec.components`."""
        yield from super().components()
        yield from (("features", self.features.name), ("classifier", self.classifier.name))


KINDS: dict[str, type[RunSpec]] = {one.kind: one for one in (TrainSpec, ConvertSpec, ClassicSpec)}


def kind_of(name: Any) -> type[RunSpec]:
    """The schema of a kind of run.

    Raises:
        ValueError: There is none of this name; the message suggests the nearest.
    """
    if name not in KINDS:
        raise ValueError(f"kind {name!r} is none; {suggest(str(name), KINDS)}")
    return KINDS[name]
