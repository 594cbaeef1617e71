"""That the report tells what went wrong, and says so at its head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.torture import faults
from tests.torture.report import report

GOOD: dict[str, Any] = {
    "kill": {"0": {"round": 0, "kills": ["training", "training", "writing the record"], "problems": []}},
    "launchers": {"compete": [], "leases": []},
    "faults": {name: [name, "named"] for name in faults.ALL},
}
AT = {"kill": [{"date": "2026-01-02", "commit": "f" * 40}, {"date": "2026-01-03", "commit": "e" * 40}]}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without the figures of other runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build").mkdir()
    (tmp_path / "results").mkdir()


def fuzzed(**change: object) -> None:
    outcome = {"inputs": 100_000, "refused": 9, "slowest_s": 0.005, "memory": 2.0, "escaped": []} | change
    Path("build/fuzz.json").write_text(json.dumps({"cifar": {"faults": outcome}}))


def covered(lines: int) -> None:
    totals = {"covered_lines": lines, "num_statements": 1000, "covered_branches": 1, "num_branches": 2}
    files = {"tksbench/low.py": {"summary": {"covered_lines": 1, "num_statements": 2}}}
    Path("build/coverage.json").write_text(json.dumps({"totals": totals, "files": files}))


def test_good_figures_are_told_as_such() -> None:
    text, sound = report(GOOD | {"at": AT})
    assert sound
    assert "All that was run is as promised." in text
    assert "1 of 1 rounds equal" in text
    assert "3 kills with -9" in text
    assert "| training | 2 |" in text
    assert "Run on 2026-01-02 at commit ffffffffffff, on 2026-01-03 at commit eeeeeeeeeeee." in text
    assert "make fuzz, make coverage, make mutation." in text
    assert "199 of 200 rounds of kills, make fuzz" in text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kill": {"0": {"round": 7, "kills": [], "problems": ["record differs"]}}}, "round 7: record differs"),
        ({"launchers": {"compete": ["run a: failed"]}}, "run a: failed"),
        ({"faults": {"full_disk": ["a full disk", "BROKEN: not noticed"]}}, "| a full disk | BROKEN: not noticed |"),
    ],
)
def test_what_is_broken_is_told(change: dict[str, Any], told: str) -> None:
    text, sound = report(GOOD | change)
    assert not sound
    assert "Not all is as promised" in text
    assert told in text


def test_what_was_not_run_is_told() -> None:
    assert "make torture (kill), make torture (launchers), make torture (faults)" in report({})[0]


def test_faults_that_were_skipped_are_told_as_not_run() -> None:
    first, second, *rest = faults.ALL
    done = {name: [name, "named"] for name in rest} | {first: [first, "skipped: needs root"]}
    assert (
        f"199 of 200 rounds of kills, the fault {first}, the fault {second}, make fuzz"
        in report(GOOD | {"faults": done})[0]
    )


def test_enough_inputs_without_an_escape_are_good() -> None:
    fuzzed()
    text, sound = report(GOOD)
    assert sound
    assert "| cifar | 100,000 | 100,000 | 9 | 0 | 5 | 2.0 |" in text


@pytest.mark.parametrize("change", [{"inputs": 99_999}, {"escaped": ["1: KeyError"]}])
def test_too_few_inputs_or_an_escape_are_not(change: dict[str, Any]) -> None:
    fuzzed(**change)
    assert not report(GOOD)[1]


@pytest.mark.parametrize(("lines", "sound"), [(900, True), (899, False)])
def test_coverage_has_a_bar(lines: int, sound: bool) -> None:
    covered(lines)
    text, found = report(GOOD)
    assert found is sound
    assert f"{lines / 10} % of 1,000 lines of tksbench/, 50.0 % of branches" in text
    assert "tksbench/low.py 50 %" in text


@pytest.mark.parametrize(("noticed", "left", "sound"), [(80, 0, True), (79, 0, False), (80, 1, False), (95, 15, True)])
def test_mutants_have_a_bar_and_those_not_run_count(noticed: int, left: int, sound: bool) -> None:
    line = (
        f"{noticed} of 100 mutants noticed by a test: {noticed} % (0 hung); {100 - noticed} survived; {left} not run."
    )
    Path("results/mutation.md").write_text(f"# Mutants\n\n2026-01-02, a machine.\n\n{line}\n")
    text, found = report(GOOD)
    assert found is sound
    assert f"{line} 2026-01-02, a machine." in text
