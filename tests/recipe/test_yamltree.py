"""YAML traps: a recipe's words mean what YAML 1.2 says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tksbench.recipe import RecipeError
from tksbench.recipe.yamltree import MAX_BYTES, MAX_NODES, parse, read


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
        ("|-\n  10", "10"),
        (">-\n  10", "10"),
        ("9" * 19, 10**19 - 1),
        ("9" * 20, "9" * 20),
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


def test_what_is_nested_too_deep_beside_what_was_closed_is_refused_unfollowed() -> None:
    text = "a:\n  " + "[" * 12 + "[[]], " + "[" * 8 + "]" * 20
    with pytest.raises(RecipeError) as caught:
        parse(text, "x.yaml")
    assert str(caught.value) == "x.yaml:2: nested deeper than 20"


def test_as_long_a_text_as_allowed_is_read_and_no_longer() -> None:
    assert parse("#" * MAX_BYTES, "x.yaml").plain() == {}
    with pytest.raises(RecipeError) as caught:
        parse("#" * (MAX_BYTES + 1), "x.yaml")
    assert str(caught.value) == "x.yaml:1: larger than 1,000,000 bytes: not a recipe"


def test_a_text_that_says_nothing_is_placed_at_its_first_line() -> None:
    assert parse("# nothing", "x.yaml").where == "x.yaml:1"


def test_broken_yaml_is_told_at_the_line_that_is_broken() -> None:
    with pytest.raises(RecipeError, match=r"^x\.yaml:2: not valid YAML: "):
        parse("ok: 1\na: b: c\nok: 3\n", "x.yaml")


def test_a_control_character_is_told() -> None:
    with pytest.raises(RecipeError, match=r"^x\.yaml:1: not valid YAML: .*control characters are not allowed$"):
        parse("ok: \x00\n", "x.yaml")


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "\t- x", "a: 'b"])
def test_broken_yaml_names_the_line(text: str) -> None:
    with pytest.raises(RecipeError, match=r"x\.yaml:\d+: not valid YAML"):
        parse("ok: 1\n" + text, "x.yaml")


def test_a_key_that_is_no_word_is_refused_at_its_line() -> None:
    with pytest.raises(RecipeError) as caught:
        parse("a: 1\n? [b]\n: 2\n", "x.yaml")
    assert str(caught.value) == "x.yaml:2: a key must be a plain word"


def test_as_many_values_as_allowed_are_read_and_no_more() -> None:
    most = MAX_NODES - 1  # beside the list itself
    assert len(parse(f"[{'x,' * most}]", "x.yaml").plain()) == most
    with pytest.raises(RecipeError, match=f"more than {MAX_NODES} values"):
        parse(f"[{'x,' * (most + 1)}]", "x.yaml")


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}")])
def test_as_deep_a_nest_as_allowed_is_read(opening: str, closing: str) -> None:
    found = parse(opening * 20 + "7" + closing * 20, "x.yaml").plain()
    for _ in range(20):
        (found,) = found.values() if isinstance(found, dict) else found
    assert found == 7


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}")])
def test_aliases_nest_no_deeper_than_allowed_either(opening: str, closing: str) -> None:
    inner = opening * 12 + "7" + closing * 12
    outer = opening * 12 + "*inner" + closing * 12
    with pytest.raises(RecipeError, match="nested deeper than 20"):
        parse(f"a: &inner {inner}\nb: {outer}\n", "x.yaml")


def test_a_recipe_is_utf8_here_and_in_the_plain_locale(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes("about: caf\u00e9".encode())
    assert read(path).plain() == {"about": "caf\u00e9"}
    code = "import sys, pathlib; from tksbench.recipe.yamltree import read; "
    code += "print(ascii(read(pathlib.Path(sys.argv[1])).plain()))"
    # The plain C locale: without the two settings Python would take UTF-8 instead.
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-c", code, str(path)], env=plain, capture_output=True, text=True)
    assert done.stdout == "{'about': 'caf\\xe9'}\n"


@pytest.mark.parametrize(("there", "near"), [([], "none"), (["b.yaml", "a.yaml"], "a.yaml, b.yaml")])
def test_a_missing_recipe_is_told_with_those_that_are_there(tmp_path: Path, there: list[str], near: str) -> None:
    for name in there:
        (tmp_path / name).touch()
    with pytest.raises(RecipeError) as caught:
        read(tmp_path / "x.yaml")
    assert str(caught.value) == f"{tmp_path}/x.yaml: no such file; recipes here: {near}"


def test_a_folder_is_told_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        read(tmp_path)
    (problem,) = caught.value.problems
    assert problem.where == str(tmp_path)


def test_a_file_that_is_no_text_is_told_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff")
    with pytest.raises(RecipeError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: cannot be read: 'utf-8' codec can't decode byte 0xff")


def test_a_name_that_no_file_can_have_is_shown_without_its_null_byte(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        read(tmp_path / "a\0b.yaml")
    assert str(caught.value) == f"{tmp_path}/a\\0b.yaml: cannot be read: embedded null byte"
