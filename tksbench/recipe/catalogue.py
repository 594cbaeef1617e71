"""The components that recipes can name: those of this package, read in the text of their files, and any from outside.

A component's own parameters are typed by its signature. Its name has no default, ever: values at their default stay
out of a run's identity, and two components with equal parameters would be one run.
"""

from __future__ import annotations

import ast
import functools
import pkgutil
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, create_model, model_validator

from tksbench.recipe.errors import suggest
from tksbench.recipe.signature import UNREADABLE, Definition, Holds, Signature, about, parse, signature, stated
from tksbench.recipe.source import source_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PACKAGE = Path(__file__).parents[1]
_FILES = ("snn/*.py", "data/*.py", "systems/*.py", "train/schedule.py")
CALLED = {"data": "data set", "augment": "augmentation", "optim": "optimizer"}
_OFFER = re.compile(r'^@component\("(\w+)", "(\w+)"\)$', re.MULTILINE)


class Slot(NamedTuple):
    """What every component of a slot is given beside its own parameters.

    Attributes:
        given: Names of parameters that no recipe says.
        positional: How many are given by position.
        called: Whether these are of a call of what a class makes, so that its `__init__` gets none by position.
        default: The component where a recipe names none; "" for slots that have to be filled, or may be empty.
        common: Keys beside `name` that a recipe says for every component.
        alone: Whether a recipe may write its name alone, in place of keys and values.
        flat: Names of components that have all their parameters in common, by one schema; see `flat`.
    """

    given: tuple[str, ...] = ()
    positional: int = 0
    default: str = ""
    common: tuple[str, ...] = ()
    alone: bool = False
    called: bool = False
    flat: tuple[str, ...] = ()

    def by_position(self, made: Definition) -> int:
        """How many parameters of a function, or of a class's `__init__`, are given by position."""
        return 0 if self.called and isinstance(made, ast.ClassDef) else self.positional


_DATA_KEYS = (
    "source", "augment", "norm", "train_subset", "test_subset", "image_size", "framing", "split", "overflow", "repair",
    "loops",
)  # fmt: skip
_OPTIM_KEYS = (
    "lr", "weight_decay", "decays", "linear_lr", "epochs", "warmup_epochs", "warmup_lr", "min_lr", "cosine_epochs",
    "drop_every", "batch_size", "clip_norm", "replica_batch", "drop_last", "schedule",
)  # fmt: skip
SLOTS = {
    "method": Slot(positional=2, called=True),  # a function: (logits, target)
    "model": Slot(
        ("pretrained", "num_classes", "T", "in_chans", "width", "kit", "img_size"),
        common=("T", "width", "neuron", "norm"),
    ),
    "neuron": Slot(("backend",), default="lif"),
    "norm": Slot(("T",), positional=1, default="batch_norm"),  # channels
    "surrogate": Slot(),
    "data": Slot(common=_DATA_KEYS),
    "convert": Slot(("random_state",), positional=3, called=True),  # (network, images, T)
    "features": Slot(("height", "width", "random_state"), positional=1, called=True),  # (sample)
    "classifier": Slot(("random_state",)),
    "augment": Slot(alone=True),
    "mix": Slot(alone=True),
    "encoder": Slot(),
    "optim": Slot(("lr", "weight_decay"), positional=1, common=_OPTIM_KEYS, flat=("adamw", "adam", "sgd")),  # (groups)
    "schedule": Slot(("min_lr",), positional=3, called=True, alone=True),  # (epoch, epochs, lr)
}


class Model(BaseModel):
    """Base of all parts: frozen, no unknown keys, no silent conversion of types, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Component(Model):
    """A name and its own parameters."""

    slot: ClassVar[str] = ""
    own: ClassVar[tuple[str, ...]] = ()
    name: str

    @property
    def params(self) -> dict[str, Any]:
        """Its parameters, complete."""
        return {key: getattr(self, key) for key in self.own}

    def __reduce__(self) -> Any:
        """Let it be sent to another process, where its class is made anew."""
        return (load, (self.slot, self.model_dump())) if self.slot else super().__reduce__()


C = TypeVar("C", bound=Component)
_BASES: dict[str, type[Component]] = {}
_FLAT: dict[str, type[Component]] = {}
_HASH = Field(None, description="Hash of its file, filled in when the recipe is read: new code, new runs.")


class Outside(Component):
    """One from outside the project, named `module:name`."""

    hashed: ClassVar[str] = ""  # the field that has the hash of its file
    kwargs: dict[str, bool | int | float | str | SerializeAsAny[Component]] = Field(
        default_factory=dict,
        description="Its own parameters, as they are given; a recipe may write them beside `name`.",
    )

    @property
    def digest(self) -> str | None:
        """Hash of its file, as it was planned."""
        return getattr(self, self.hashed)  # type: ignore[no-any-return]

    @property
    def params(self) -> dict[str, Any]:
        """Its parameters, as far as they are given."""
        return dict(self.kwargs)

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, plain: Any) -> Any:
        if not isinstance(plain, dict) or not isinstance(plain.get("kwargs", {}), dict):
            return plain
        own = {key: value for key, value in plain.items() if key in cls.model_fields and key != "kwargs"}
        rest = {key: value for key, value in plain.items() if key not in cls.model_fields}
        kwargs = {
            key: load(key, value) if key in SLOTS else value
            for key, value in {**plain.get("kwargs", {}), **rest}.items()
        }
        return own | ({"kwargs": kwargs} if kwargs or "kwargs" in plain else {})


class Sourced(Outside):
    """One from outside the project, named `module:name`."""

    hashed: ClassVar[str] = "source"
    source: str | None = _HASH


@functools.cache
def _offers() -> dict[str, dict[str, Path]]:
    """The file of each component of this package, by slot and name."""
    found: dict[str, dict[str, Path]] = {}
    for pattern in _FILES:
        for path in sorted(_PACKAGE.glob(pattern)):
            for slot, name in _OFFER.findall(path.read_text(encoding="utf-8")):
                found.setdefault(slot, {})[name] = path
    return found


def names(slot: str) -> list[str]:
    """What the components of this package are called that fit a slot."""
    return sorted((*_offers().get(slot, {}), *SLOTS.get(slot, Slot()).flat))


@functools.cache
def kind(slot: str, name: str) -> type[Component]:
    """The schema of a component.

    Raises:
        ValueError: There is none of this name; the message suggests the nearest.
    """
    if ":" in name:
        return _outside(slot)
    if name in SLOTS[slot].flat:
        return _FLAT[slot]
    if name not in _offers().get(slot, {}):
        raise ValueError(f"unknown {CALLED.get(slot, slot)} {name!r}; {suggest(name, names(slot))}")
    path = _offers()[slot][name]
    tree = parse(path)
    defined = _offered(tree, slot, name)
    made = signature(tree, defined, SLOTS[slot].given, SLOTS[slot].by_position(defined))
    if made is None and slot == "data":  # which has facts in place of parameters
        made = Signature(about(defined), {})
    if made is None or any(type_ is None for type_, _ in made.fields.values()):
        raise ValueError(f"{slot} {name!r}: {path} does not say in plain words what it takes")
    if not made.fields:
        return _bare(slot)
    fields: dict[str, Any] = {"name": (Literal[name], ...)}
    fields |= {key: (_typed(type_), default) for key, (type_, default) in made.fields.items()}
    found = cast("Any", create_model(name, __base__=_base(slot), __doc__=made.about, **fields))
    found.slot, found.own = slot, tuple(made.fields)
    return found  # type: ignore[no-any-return]


@functools.cache
def _bare(slot: str) -> type[Component]:
    """Any without parameters of its own: pydantic takes a millisecond for each schema, which many share so."""
    found = cast("Any", create_model("Bare", __base__=_base(slot), __doc__="One without parameters."))
    found.slot = slot
    return found  # type: ignore[no-any-return]


@functools.cache
def _outside(slot: str) -> type[Component]:
    """One from outside, with what all components of a slot have."""
    if _base(slot) is Component:
        return Sourced
    if slot == "data":  # whose source is that of the data
        found = cast("Any", create_model("Outside", __base__=(Outside, _base(slot)), code=(str | None, _HASH)))
        found.hashed = "code"
    else:
        found = cast("Any", create_model("Outside", __base__=(Sourced, _base(slot))))
    found.slot = slot
    return found  # type: ignore[no-any-return]


def common(slot: str) -> Callable[[type[C]], type[C]]:
    """Makes a class what all components of a slot have in common."""

    def register(base: type[C]) -> type[C]:
        _BASES[slot] = base
        return base

    return register


def flat(slot: str) -> Callable[[type[C]], type[C]]:
    """Makes a class the schema of all components in the `flat` of a slot: the trainer knows them by their names."""

    def register(schema: type[C]) -> type[C]:
        _FLAT[slot] = schema
        return schema

    return register


def _base(slot: str) -> type[Component]:
    return _BASES.get(slot, Component)


def _typed(type_: Any) -> Any:
    """The type of a parameter; one that holds a component may be left out."""
    if isinstance(type_, Holds):
        return Annotated[SerializeAsAny[Component] | None, fits(type_.slot)]
    return type_


def _offered(tree: ast.Module, slot: str, name: str) -> ast.FunctionDef | ast.ClassDef:
    """The definition below `@component(slot, name)`."""
    made = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.decorator_list)
    wanted = f"component({slot!r}, {name!r})"
    return next(node for node in made if wanted in map(ast.unparse, node.decorator_list))


def load(slot: str, plain: Any) -> Any:
    """A component of what a recipe or a record says of it; what is no mapping is left as it is.

    Raises:
        ValueError: Its name is not known, or (as a ValidationError) its parameters are not right.
    """
    if not isinstance(plain, dict):
        return plain
    if "name" not in plain:
        return Component.model_validate({})  # which says so, and no more
    if not isinstance(plain["name"], str):
        raise ValueError(
            f"unknown {CALLED.get(slot, slot)} {plain['name']!r}; {suggest(str(plain['name']), names(slot))}"
        )
    return kind(slot, plain["name"]).model_validate(plain)


def attributes(slot: str, name: str) -> dict[str, Any]:
    """Attributes that a component's class states in its body as plain values, or a base class in the same file does.

    Those of a function are assigned below it, `function.attribute = value`.

    Raises:
        ValueError: There is none of this name, or its file cannot be read.
    """
    if ":" not in name:
        return _own_attributes(slot, name)
    path = source_file(name)
    try:
        tree = parse(path) if path else None
    except UNREADABLE:
        tree = None
    if tree is None:
        raise ValueError(f"{slot} '{name}': its file cannot be read")
    return stated(tree, name.partition(":")[2])


@functools.cache
def _own_attributes(slot: str, name: str) -> dict[str, Any]:
    """The same of a component of this package, whose files are what they were."""
    kind(slot, name)  # which says what is wrong with the name
    tree = parse(_offers()[slot][name])
    return stated(tree, _offered(tree, slot, name).name)


def data_kind(slot: str, name: str) -> str | None:
    """The kind of data that a component is of, or is for; None: for all, or its file is not here."""
    try:
        return attributes(slot, name).get("kind")
    except ValueError:
        return None


def takes_soft_targets(method: str) -> bool:
    """Whether a loss says of itself that it takes soft targets; one whose file is not here may."""
    try:
        return bool(attributes("method", method).get("soft_targets"))
    except ValueError:
        return True


def default(slot: str) -> Any:
    """The component of a slot where a recipe names none."""
    return load(slot, {"name": SLOTS[slot].default})


def fits(slot: str) -> BeforeValidator:
    """For the type of a field that holds a component of a slot, which is `SerializeAsAny[Component]`."""

    def held(plain: Any) -> Any:
        alone = SLOTS[slot].alone and isinstance(plain, str)
        return load(slot, {"name": plain} if alone else plain)

    return BeforeValidator(held)


def briefly(slot: str) -> Callable[[Any], Any]:
    """For a field of a slot that holds names too: a component of which its name alone is said is that name."""

    def brief(plain: Any) -> Any:
        if isinstance(plain, dict) and set(plain) == {"name"}:
            plain = plain["name"]
        if isinstance(plain, str):
            return load(slot, {"name": plain}) if ":" in plain else plain
        if not isinstance(plain, dict | Component):
            raise ValueError(f"expected a name, or keys and values of which one is 'name', got {plain!r}")
        one = load(slot, plain)
        alone = not isinstance(one, Outside) and one.model_dump(exclude_defaults=True) == {"name": one.name}
        return one.name if alone else one

    return brief


def outsiders(spec: BaseModel) -> Iterator[tuple[str, Outside]]:
    """The components from outside in a spec, each with the dotted key where it stands."""
    for key, value in spec:
        if isinstance(value, Outside):
            yield key, value
        if isinstance(value, BaseModel):
            yield from ((f"{key}.{inner}", one) for inner, one in outsiders(value))


def resolve(slot: str, one: Component) -> Any:
    """Import what a component names.

    Raises:
        ImportError: It cannot be imported; AttributeError or ValueError likewise.
    """
    if isinstance(one, Outside):
        return pkgutil.resolve_name(one.name)
    path = _offers()[slot][one.name]
    module = ".".join(path.relative_to(_PACKAGE.parent).with_suffix("").parts)
    return pkgutil.resolve_name(f"{module}:{_offered(parse(path), slot, one.name).name}")
