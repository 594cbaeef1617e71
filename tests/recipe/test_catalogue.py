"""Components: typed by the text of their files, named without a default, each parameter part of the identity."""

from __future__ import annotations

import ast
import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from tksbench.recipe import RunSpec, catalogue, expand, load_recipe, run_id
from tksbench.recipe.catalogue import Component, Sourced
from tksbench.recipe.signature import signature, stated

RECIPES = Path(__file__).parents[2] / "recipes"
SPEC = expand(load_recipe(RECIPES / "cifar10.yaml"))[0].spec
ALL = [(slot, name) for slot in catalogue.SLOTS for name in catalogue.names(slot)]


def other(annotation: Any, default: Any) -> Any:
    """Another value that a parameter may have."""
    if get_origin(annotation) is Literal:
        return next(value for value in get_args(annotation) if value != default)
    if isinstance(default, bool):
        return not default
    return default / 2 + 0.123 if isinstance(default, float) else default + 1


PLACES = {
    "augment": ("data", "augment"),
    "neuron": ("model", "neuron"),
    "norm": ("model", "norm"),
    "surrogate": ("model", "neuron", "surrogate"),
    "convert": ("start", "convert"),
    "encoder": ("model", "encoder"),
    "schedule": ("optim", "schedule"),
}
TOY = {"name": "toys:Toy"}
OPTIM = {"lr": 1.0, "weight_decay": 0.1, "epochs": 300, "batch_size": 100}
BASES: dict[str, dict[str, Any]] = {  # of slots that a trained run does not have
    "convert": {"kind": "convert", "data": SPEC.data.model_dump(), "T": 8, "start": {"run": SPEC.model_dump()}},
    "features": {"kind": "classic", "data": SPEC.data.model_dump(), "classifier": TOY},
    "classifier": {"kind": "classic", "data": SPEC.data.model_dump(), "features": TOY},
}


def plain_of(slot: str, name: str, **params: Any) -> dict[str, Any]:
    plain: dict[str, Any] = copy.deepcopy(BASES.get(slot, SPEC.model_dump()))
    if slot == "augment" and catalogue.attributes(slot, name).get("kind") == "event":
        plain["data"]["name"] = "nmnist"
    if slot == "mix":
        plain["method"] = {"name": "baseline"}
        plain["data"] = {"name": "nmnist", "augment": "none"}
    if slot == "encoder":  # of networks that have a choice of it
        plain["model"] = {"name": "biasfree_resnet20", "T": 4}
    *outer, last = PLACES.get(slot, (slot,))
    inner = plain
    for key in outer:
        inner = inner[key]
    needed = {"model": {"T": 4}, "data": {"augment": "none"}, "optim": OPTIM}
    inner[last] = {"name": name, **needed.get(slot, {}), **params}
    return plain


@pytest.mark.parametrize(("slot", "name"), ALL)
def test_every_parameter_is_part_of_the_identity(slot: str, name: str) -> None:
    base = RunSpec.model_validate(plain_of(slot, name))
    ids = [run_id(base)]
    kind = catalogue.kind(slot, name)
    for key in kind.own or [key for key in kind.model_fields if slot == "optim" and key != "name"]:
        field = kind.model_fields[key]
        inner = get_args(field.annotation)
        if type(None) in inner:  # a component, or a number
            value: Any = {"name": catalogue.names(key)[0]} if key in catalogue.SLOTS else 20
        else:
            value = other(field.annotation, OPTIM[key] if field.is_required() else field.default)
        changed = RunSpec.model_validate(plain_of(slot, name, **{key: value}))
        assert RunSpec.model_validate(changed.model_dump(mode="json")) == changed
        ids.append(run_id(changed))
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("slot", catalogue.SLOTS)
def test_components_of_equal_parameters_are_different_runs(slot: str) -> None:
    ids = {run_id(RunSpec.model_validate(plain_of(slot, name))) for name in catalogue.names(slot)}
    assert len(ids) == len(catalogue.names(slot))


def test_a_component_without_a_name_is_refused() -> None:
    with pytest.raises(ValidationError, match="name"):
        RunSpec.model_validate({**SPEC.model_dump(), "method": {"alpha": 0.5}})


@pytest.mark.parametrize(("slot", "name"), ALL)
def test_each_parameter_is_explained_and_typed(slot: str, name: str) -> None:
    kind = catalogue.kind(slot, name)
    assert kind.__doc__
    assert [key for key in kind.own if not kind.model_fields[key].description] == []


def test_what_a_component_names_is_what_is_imported() -> None:
    from tksbench.snn import losses

    assert [catalogue.resolve("method", catalogue.kind("method", name)(name=name)) for name in ("baseline", "tks")] == [
        losses.baseline,
        losses.TKS,
    ]


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown method 'tkz'; did you mean 'tks'\?"):
        catalogue.kind("method", "tkz")


def test_a_spec_can_be_sent_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(SPEC)) == SPEC  # noqa: S301


def test_one_from_outside_holds_what_is_given_whether_its_file_is_there_or_not() -> None:
    flat = catalogue.load("method", {"name": "gone:loss", "gain": 2, "source": "00"})
    nested = catalogue.load("method", {"name": "gone:loss", "kwargs": {"gain": 2}, "source": "00"})
    assert flat == nested == Sourced(name="gone:loss", kwargs={"gain": 2}, source="00")
    assert flat.model_dump() == {"name": "gone:loss", "kwargs": {"gain": 2}, "source": "00"}
    assert flat.params == {"gain": 2}


def test_outsiders_are_found_wherever_they_stand() -> None:
    class Inner(BaseModel):
        neuron: Component

    class Whole(BaseModel):
        model: Inner
        method: Component

    one, two = Sourced(name="a:b"), Sourced(name="c:d")
    assert list(catalogue.outsiders(Whole(model=Inner(neuron=one), method=two))) == [
        ("model.neuron", one),
        ("method", two),
    ]


def read(text: str, positional: int = 0) -> Any:
    tree = ast.parse(text)
    made = next(node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    return signature(tree, made, ("given",), positional)


def kinds(text: str) -> Iterator[Any]:
    return (kind for kind, _ in read(text).fields.values())


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        ("int", int),
        ("'float'", float),
        ("int | None", int | None),
        ("Literal['a', 'b']", Literal["a", "b"]),
        ("Choice", Literal[1, 2]),
        ("tuple[int, ...]", tuple[int, ...]),
        ("Tensor", None),
        ("__import__('os').system('false')", None),
        ("Field(gt=open('x'))", None),
        ("int[3]", None),
    ],
)
def test_annotations_of_plain_types_are_understood_and_no_others(annotation: str, kind: Any) -> None:
    assert list(kinds(f"Choice = Literal[1, 2]\ndef f(a: {annotation}): ...")) == [kind]


def test_bounds_of_an_annotation_hold() -> None:
    (kind,) = kinds("def f(a: Annotated[float, Field(gt=0, le=-(-1))]): ...")
    assert [(type(bound).__name__) for bound in get_args(kind)[1].metadata] == ["Gt", "Le"]


def test_a_signature_leaves_out_what_is_given_and_says_what_each_other_is_for() -> None:
    text = (
        "LIMIT = 3\nclass C:\n    'What it is.\\n\\nMore.'\n"
        "    def __init__(self, given, a, *, b: int = LIMIT, **more):\n"
        "        '''Do it.\n\n        Args:\n            given: No.\n            a: First\n                of all.\n"
        "            b: Second.\n\n        Raises:\n            E: Never.\n        '''\n"
    )
    found = read(text)
    assert (found.about, found.anything) == ("What it is.", True)
    a, b = found.fields["a"][1], found.fields["b"][1]
    assert (a.is_required(), a.description) == (True, "First of all.")
    assert (b.default, b.description) == (3, "Second.")
    assert read("class C(Base): ...") is None
    assert read("class C: ...").fields == {}
    assert list(read("def f(x, y, z=1): ...", 2).fields) == ["z"]


def with_augment(augment: Any) -> RunSpec:
    plain = SPEC.model_dump()
    plain["data"]["augment"] = augment
    return RunSpec.model_validate(plain)


def test_an_augmentation_of_which_no_more_than_its_name_is_said_is_its_name() -> None:
    assert with_augment({"name": "plain"}).data.augment == with_augment("plain").data.augment == "plain"
    assert run_id(with_augment({"name": "strong"})) == run_id(SPEC)
    alone, given = with_augment("gone:Erase"), with_augment({"name": "gone:Erase", "side": 4})
    assert alone == with_augment({"name": "gone:Erase"}) == with_augment(alone.data.augment)
    assert RunSpec.model_validate_json(given.model_dump_json()) == given
    assert len({run_id(one) for one in (SPEC, alone, given)}) == 3
    assert [key for key, _ in catalogue.outsiders(given)] == ["data.augment"]


@pytest.mark.parametrize("augment", [3, ["plain"], {"side": 4}, {"name": 3}, {"name": "plain", "side": 4}])
def test_what_is_no_augmentation_is_refused(augment: Any) -> None:
    with pytest.raises(ValidationError):
        with_augment(augment)


def test_a_run_that_mixes_nothing_has_the_id_that_it_always_had() -> None:
    plain = SPEC.model_dump()
    assert plain.pop("mix") is None
    assert run_id(RunSpec.model_validate(plain)) == run_id(RunSpec.model_validate({**plain, "mix": None}))


def test_a_mix_needs_a_loss_that_says_that_it_takes_soft_targets() -> None:
    plain = SPEC.model_dump()
    with pytest.raises(ValidationError, match="mix 'gone:Mix' gives soft targets, which method 'tks' does not take"):
        RunSpec.model_validate({**plain, "mix": "gone:Mix"})
    for method in ("baseline", "label_smoothing", "tet", "gone:loss"):
        spec = RunSpec.model_validate({**plain, "mix": "gone:Mix", "method": {"name": method}})
        assert [key for key, _ in catalogue.outsiders(spec) if key == "mix"] == ["mix"]


@pytest.mark.parametrize("name", ["adamw", "gone:Lion"])
def test_a_run_without_a_schedule_has_the_id_that_it_always_had(name: str) -> None:
    plain = plain_of("optim", name)
    spec = RunSpec.model_validate(plain)
    assert "schedule" not in spec.model_dump()["optim"]
    plain["optim"]["schedule"] = None
    assert run_id(RunSpec.model_validate(plain)) == run_id(spec)
    plain["optim"]["schedule"] = "gone:halved"
    other_spec = RunSpec.model_validate(plain)
    assert RunSpec.model_validate_json(other_spec.model_dump_json()) == other_spec
    assert run_id(other_spec) != run_id(spec)


def test_an_optimizer_from_outside_may_have_parameters_that_the_built_in_ones_have() -> None:
    spec = RunSpec.model_validate(plain_of("optim", "gone:Lion", beta1=0.5))
    assert spec.model_dump()["optim"]["kwargs"] == {"beta1": 0.5}
    with pytest.raises(ValidationError, match="beta3"):
        RunSpec.model_validate(plain_of("optim", "adamw", beta3=0.5))


@pytest.mark.parametrize(("name", "kept"), [("adam", 0.8), ("torch.optim.rmsprop:RMSprop", None)])
def test_a_built_in_optimizer_takes_over_the_parameters_of_another_one(name: str, kept: float | None) -> None:
    words = ["optim.beta1=0.8", f"optim.name={name}"]
    optim = expand(load_recipe(RECIPES / "cifar10.yaml"), overrides=words)[0].spec.model_dump()["optim"]
    assert (optim["name"], optim.get("beta1"), optim["epochs"]) == (name, kept, SPEC.epochs)


def test_a_mix_of_recordings_is_not_for_images() -> None:
    plain = {**SPEC.model_dump(), "method": {"name": "baseline"}, "mix": "eventmix"}
    with pytest.raises(ValidationError, match="mix 'eventmix' is for data of kind event, and cifar10 is static"):
        RunSpec.model_validate(plain)


def test_attributes_are_those_of_a_class_its_bases_and_a_function() -> None:
    tree = ast.parse(
        "class A:\n a, b = 1, 2\nclass B(A):\n b = 'x'\n c = f()\ndef g(): ...\ng.soft = True\nh.soft = 1\n"
    )
    assert [stated(tree, name) for name in ("B", "g", "f")] == [{"a": 1, "b": "x"}, {"soft": True}, {}]


def test_what_a_class_makes_is_called_with_the_positional_arguments_and_not_the_class() -> None:
    text = "class C:\n    def __init__(self, bins: int = 3): ...\ndef f(sample, bins: int = 3): ..."
    for made in ast.parse(text).body:
        assert isinstance(made, ast.FunctionDef | ast.ClassDef)
        found = signature(ast.parse(text), made, (), catalogue.SLOTS["features"].by_position(made))
        assert found is not None
        assert list(found.fields) == ["bins"]
