"""The report of a mutation run, on a run of three mutants."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.mutation.__main__ import Mutant, mutants, report
from tests.mutation.reasons import SAME, TEXT, UNEXPLAINED, reason

SOURCE = """
def x_double__mutmut_orig(value: int) -> int:
    return 2 * value
def x_double__mutmut_1(value: int) -> int:
    return 3 * value
class Thing:
    def xǁThingǁsay__mutmut_orig(self, loud: bool = False) -> str:
        return "hello"
    def xǁThingǁsay__mutmut_1(self, loud: bool = True) -> str:
        return "hello"
    def xǁThingǁsay__mutmut_2(self, loud: bool = False) -> str:
        return "HELLO"
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What mutmut leaves."""
    folder = tmp_path / "mutants" / "tksbench" / "runs"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text(SOURCE)
    codes = {"runs.a.x_double__mutmut_1": 1, "runs.a.xǁThingǁsay__mutmut_1": 0, "runs.a.xǁThingǁsay__mutmut_2": -24}
    (folder / "a.py.meta").write_text(json.dumps({"exit_code_by_key": codes}))
    return tmp_path / "mutants"


def test_mutants_are_read_with_what_they_change(root: Path) -> None:
    assert mutants(root) == [
        Mutant("runs/a.py", "double", "return 2 * value", "return 3 * value", "killed"),
        Mutant(
            "runs/a.py",
            "Thing.say",
            "self, loud: bool = False) -> str:",
            "self, loud: bool = True) -> str:",
            "survived",
        ),
        Mutant("runs/a.py", "Thing.say", 'return "hello"', 'return "HELLO"', "hung"),
    ]


def test_the_share_of_noticed_mutants_is_told_and_survivors_listed(root: Path) -> None:
    text, score = report(mutants(root))
    assert score == pytest.approx(200 / 3)
    assert "2 of 3 mutants noticed by a test: 66.7 % (1 of them hung" in text
    assert "| runs/a.py | 3 | 2 | 67 |" in text
    assert f"### {UNEXPLAINED} (1)" in text
    assert "- runs/a.py, Thing.say: `self, loud: bool = False) -> str:` → `self, loud: bool = True) -> str:`" in text


def test_mutants_that_were_not_tried_count_neither_way() -> None:
    tried = Mutant("a.py", "f", "1", "2", "killed")
    assert report([tried, Mutant("a.py", "f", "1", "3", "not run")])[1] == 100.0


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ('raise ValueError("is no number")', 'raise ValueError("XXis no numberXX")', TEXT),
        ('raise ValueError("is no number")', "raise ValueError(None)", UNEXPLAINED),
        ("return os.pread(descriptor, 1, size)", "return os.pread(descriptor, 2, size)", SAME),
        ("if a < b:", "if a <= b:", UNEXPLAINED),
    ],
)
def test_a_survivor_has_the_reason_that_fits(before: str, after: str, why: str) -> None:
    assert reason("runs/files.py", before, after) == why
