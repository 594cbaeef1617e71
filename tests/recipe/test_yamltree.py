"""YAML traps: a recipe's words mean what YAML 1.2 says."""

from __future__ import annotations

import pytest

from tksbench.recipe import RecipeError
from tksbench.recipe.yamltree import parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("6.25e-4", 0.000625),
        ("1.", 1.0),
        ("010", 10),
        ("-7", -7),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("12:30", "12:30"),
        ("2026-11-23", "2026-11-23"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("'10'", "10"),
        ('"true"', "true"),
    ],
)
def test_scalar(text: str, value: object) -> None:
    found = parse(f"key: {text}", "x.yaml").plain()["key"]
    assert found == value
    assert type(found) is type(value)


def test_every_value_knows_its_line() -> None:
    root = parse("a: 1\nb:\n  c: 2\n  d: [3,\n      4]\n", "x.yaml")
    assert root.get("b").get("c").where == "x.yaml:3"  # type: ignore[union-attr]
    assert [node.where for node in root.get("b").get("d").value] == ["x.yaml:4", "x.yaml:5"]  # type: ignore[union-attr]


def test_duplicate_key_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"x\.yaml:3: a: given twice \(first at x\.yaml:1\)"):
        parse("a: 1\nb: 2\na: 3\n", "x.yaml")


@pytest.mark.parametrize("text", ["a: !!python/object/apply:os.system [ls]", "a: !include b.yaml", "a: !!binary aGk="])
def test_tags_are_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="tag"):
        parse(text, "x.yaml")


def test_alias_bomb_is_refused() -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(8)
    )
    with pytest.raises(RecipeError, match="more than"):
        parse(bomb, "x.yaml")


@pytest.mark.parametrize("text", ["[" * 500 + "]" * 500, "- " * 400_000, "{a: " * 900 + "1" + "}" * 900])
def test_deep_nesting_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"x\.yaml:1: nested deeper than 20"):
        parse(text, "x.yaml")


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "\t- x", "a: 'b"])
def test_broken_yaml_names_the_line(text: str) -> None:
    with pytest.raises(RecipeError, match=r"x\.yaml:\d+: not valid YAML"):
        parse("ok: 1\n" + text, "x.yaml")
