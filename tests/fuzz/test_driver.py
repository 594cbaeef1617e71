"""That the fuzzing notices what it is there for: readers that fail on purpose."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fuzz import generated, guided
from tests.fuzz.__main__ import shares
from tests.fuzz.driver import Outcome, Watched, case, feed
from tests.fuzz.reader import Reader
from tksbench.errors import TksbenchError


def fed(read, inputs: int = 24) -> Outcome:  # type: ignore[no-untyped-def]
    """What becomes of a reader that reads its seeds, and is given damaged ones."""
    reader = Reader("bad", lambda: [b"a valid file " * 20], read)
    outcome = Outcome()
    with Watched(reader, Path()):
        feed(reader, Path(), outcome, inputs)
    return outcome


def damaged(raw: bytes) -> bool:
    return raw != b"a valid file " * 20


def test_an_error_that_is_not_the_projects_escapes() -> None:
    def read(raw: bytes, _folder: Path) -> None:
        if damaged(raw):
            raise KeyError("x")

    outcome = fed(read)
    assert outcome.escaped[0] == "0: KeyError: \"'x'\""
    assert outcome.refused == 0


def test_a_named_error_is_a_refusal_unless_it_says_nothing() -> None:
    def read(raw: bytes, _folder: Path) -> None:
        if damaged(raw):
            raise TksbenchError("x: is damaged" if len(raw) % 2 else " ")

    outcome = fed(read)
    assert outcome.inputs >= outcome.refused > len(outcome.escaped) > 0
    assert outcome.escaped[0].endswith("TksbenchError without a message")


def test_an_exit_escapes() -> None:
    def read(raw: bytes, _folder: Path) -> None:
        if damaged(raw):
            raise SystemExit(3)

    assert "SystemExit" in fed(read).escaped[0]


def test_a_reader_that_hangs_is_stopped_whatever_it_catches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.driver.LONGEST_S", 0.05)

    def read(raw: bytes, _folder: Path) -> None:
        while damaged(raw):
            with suppress(Exception):
                sum(range(1000))

    assert "Hang: 'more than 0.05 s'" in fed(read, 2).escaped[0]


def test_a_reader_that_takes_too_much_memory_is_told() -> None:
    outcome = fed(lambda raw, _folder: bytes(100 * (1 << 16)) if damaged(raw) else b"")
    assert outcome.memory >= 100
    assert "times the memory of its" in outcome.escaped[0]


def test_the_same_number_gives_the_same_input() -> None:
    reader = Reader("name", lambda: [b"a valid file"], lambda raw, folder: None)
    inputs = [case(reader, number) for number in range(50)]
    assert inputs == [case(reader, number) for number in range(50)]
    assert len(set(inputs)) > 40


def test_what_hypothesis_finds_is_made_small(tmp_path: Path) -> None:
    def read(raw: bytes, _folder: Path) -> None:
        if len(raw) > 30 and damaged(raw):
            raise KeyError

    reader = Reader("bad", lambda: [b"a valid file " * 20], read)
    outcome = Outcome()
    with Watched(reader, tmp_path):
        generated.explore(reader, tmp_path, outcome, 300, 1)
    assert len(outcome.escaped) == 1
    assert "KeyError" in outcome.escaped[0]
    assert str(bytes(31)) in outcome.escaped[0]


def test_hypothesis_gives_as_many_inputs_as_it_is_asked_for(tmp_path: Path) -> None:
    seen = []
    reader = Reader("good", lambda: [b"a valid file"], lambda raw, folder: seen.append(raw))
    outcome = Outcome()
    with Watched(reader, tmp_path):
        generated.explore(reader, tmp_path, outcome, 150, 1)
    assert outcome.inputs >= 150
    assert len(set(seen)) > 75


def test_repairs_are_made_in_every_way() -> None:
    reader = Reader("x", lambda: [b"seed"], lambda raw, folder: None, lambda rng, raw: b"repaired")
    assert case(reader, 0) == b"repaired"


@pytest.mark.parametrize("there", [True, False])
def test_all_inputs_are_given_with_and_without_atheris(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setattr(guided, "installed", lambda: there)
    wanted = shares(100_000)
    assert sum(wanted.values()) == 100_000
    assert (wanted["atheris"] > 0) is there


def test_nothing_waits_for_the_disk_while_files_are_fed(tmp_path: Path) -> None:
    real = os.fsync
    with Watched(Reader("x", lambda: [b""], lambda raw, folder: None), tmp_path):
        assert os.fsync is not real
    assert os.fsync is real


@pytest.mark.skipif(not guided.installed(), reason=guided.LACKING)
def test_atheris_feeds_a_reader_and_keeps_what_it_reaches(tmp_path: Path) -> None:
    outcome = Outcome()
    guided.explore("recipe", tmp_path / "corpus", outcome, 300, 1)
    assert outcome.inputs == 300
    assert outcome.escaped == []
    assert len(list((tmp_path / "corpus").iterdir())) > 1
