"""The arithmetic of ratios, on made-up seconds; nothing here asserts how long anything takes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks import timing
from benchmarks.timing import Candidate, Case, Sample, compare, make_row, measure


def test_ratios_are_taken_round_by_round() -> None:
    # a machine that slows down tenfold halfway slows both: the ratio stays
    ratio = compare([1.0, 1.0, 10.0, 10.0, 10.0], [2.0, 2.0, 20.0, 20.0, 20.0])
    assert (ratio.median, ratio.low, ratio.high, ratio.min) == (0.5, 0.5, 0.5, 0.5)


def test_median_quartiles_and_minimum() -> None:
    ratio = compare([5.0, 1.0, 4.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0, 0.5])
    # ratios 5, 1, 4, 2, 6; fastest rounds 1 and 0.5
    assert (ratio.median, ratio.low, ratio.high, ratio.min) == (4.0, 2.0, 5.0, 2.0)


def test_one_round_has_no_spread() -> None:
    ratio = compare([3.0], [2.0])
    assert (ratio.median, ratio.low, ratio.high) == (1.5, 1.5, 1.5)


def test_a_clock_too_coarse_to_see_a_call_divides_by_no_zero() -> None:
    assert compare([0.0, 0.0], [0.0, 0.0]).median == 1.0


def test_series_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        compare([1.0], [1.0, 2.0])


def case(*names: str) -> tuple[Case, list[str]]:
    """A case whose candidates write down their turns."""
    turns: list[str] = []
    candidates = [Candidate(name, lambda name=name: turns.append(name)) for name in names]
    return Case("writing", candidates, reference=names[0]), turns


def test_a_row_holds_both_clocks_and_its_reference() -> None:
    one, _ = case("theirs", "ours")
    samples = {"theirs": [Sample(2.0, 4.0), Sample(4.0, 4.0)], "ours": [Sample(1.0, 1.0), Sample(1.0, 2.0)]}
    row = make_row("part", one, "ours", samples, calls=3, values={"bytes": 7.0})
    assert (row.part, row.case, row.candidate, row.reference) == ("part", "writing", "ours", "theirs")
    assert (row.rounds, row.calls, row.values) == (2, 3, {"bytes": 7.0})
    assert (row.wall_ratio_median, row.wall_ratio_min) == (0.375, 0.5)
    assert (row.cpu_ratio_median, row.cpu_ratio_min) == (0.375, 0.25)
    assert (row.wall_s_median, row.wall_s_min, row.cpu_s_median, row.cpu_s_min) == (1.0, 1.0, 1.5, 1.0)
    assert (row.wall_s, row.cpu_s) == ([1.0, 1.0], [1.0, 2.0])


def test_the_reference_is_one_by_definition() -> None:
    one, _ = case("theirs", "ours")
    samples = {"theirs": [Sample(2.0, 4.0), Sample(4.0, 5.0)], "ours": [Sample(1.0, 1.0), Sample(1.0, 2.0)]}
    row = make_row("part", one, "theirs", samples)
    assert (row.wall_ratio_median, row.wall_ratio_low, row.wall_ratio_high, row.cpu_ratio_min) == (1, 1, 1, 1)


def test_candidates_take_turns_and_each_is_first_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MAX_CALLS", 1)
    one, turns = case("a", "b", "c")
    rows = measure("part", one, rounds=3)
    assert "".join(turns) == "abc" + "abc" + "bca" + "cab"  # the first three warm up
    assert [row.rounds for row in rows] == [3, 3, 3]


def test_a_short_call_is_repeated_within_a_round() -> None:
    one, turns = case("a")
    (row,) = measure("part", one, rounds=2)
    assert row.calls > 1
    assert len(turns) == 1 + 2 * row.calls


def test_values_are_asked_for_after_the_last_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MAX_CALLS", 1)
    turns: list[int] = []
    one = Candidate("a", lambda: turns.append(1), values=lambda: {"turns": float(len(turns))})
    (row,) = measure("part", Case("c", [one], "a"), rounds=4)
    assert row.values == {"turns": 5.0}


def test_cpu_time_of_a_child_process_counts() -> None:
    before = timing._cpu_seconds()
    code = "import time\nwhile time.process_time() < 0.05: pass"
    subprocess.run([sys.executable, "-S", "-c", code], check=True)
    assert timing._cpu_seconds() - before >= 0.05
