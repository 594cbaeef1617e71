"""`python -m tests.mutation`: run mutmut over what pyproject.toml names, then write results/mutation.md.

A run may be cut; the same command goes on. Mutants whose code or tests have changed since are tried again.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import platform
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from tests.mutation.reasons import UNEXPLAINED, reason
from tksbench.runs import write_bytes
from tksbench.runs.code import read_code
from tksbench.runs.processor import cpu_name

LACKING = "mutmut is not installed: make env EXTRAS=torture"
# -11: a tests' process that crashes has failed as surely as one that says so.
OUTCOMES = {
    -11: "killed",
    0: "survived",
    1: "killed",
    3: "killed",
    33: "survived",
    -24: "hung",
    24: "hung",
    36: "hung",
    152: "hung",
}
BAR = 80.0  # percent


@dataclass(frozen=True)
class Mutant:
    """A changed line.

    Attributes:
        file: Which file, from the package's folder on.
        function: Which function or method.
        before: Its lines that were changed.
        after: What they were changed to.
        outcome: killed, hung or survived; other words are told as they are.
    """

    file: str
    function: str
    before: str
    after: str
    outcome: str


def main() -> int:
    """Obey the command line; the exit status is 1 if too few mutants were noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--processes", type=int, default=2, help="mutants tried at a time (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("results/mutation.md"), help="default %(default)s")
    parser.add_argument("--report", action="store_true", help="only write the report of what was run")
    options = parser.parse_args()
    if not options.report:
        if find_spec("mutmut") is None:
            sys.stderr.write(LACKING + "\n")
            return 2
        done = subprocess.run([sys.executable, "-m", "mutmut", "run", "--max-children", str(options.processes)])
        if done.returncode:
            return done.returncode
    text, score = report(list(mutants(Path("mutants"))))
    write_bytes(options.out, text.encode())
    sys.stdout.write(f"{text.partition('## ')[0]}written to {options.out}\n")
    return 0 if score >= BAR else 1


def mutants(root: Path) -> list[Mutant]:
    """All that mutmut has made below its folder, with what came of each."""
    found = []
    for meta in sorted(root.rglob("*.py.meta")):
        path = meta.with_suffix("")
        codes = json.loads(meta.read_text())["exit_code_by_key"]
        functions = _functions(path.read_text()) if codes else {}
        for key, code in codes.items():
            name = key.rpartition(".")[2]
            origin = name.rpartition("__mutmut_")[0]
            before, after = _difference(functions[f"{origin}__mutmut_orig"], functions[name])
            shown = origin.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
            outcome = "not run" if code is None else OUTCOMES.get(code, f"status {code}")
            found.append(Mutant(path.relative_to(root / "tksbench").as_posix(), shown, before, after, outcome))
    return found


def _functions(source: str) -> dict[str, str]:
    lines = source.splitlines()
    nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef))
    return {node.name: "\n".join(lines[node.lineno - 1 : node.end_lineno]) for node in nodes}


def _difference(before: str, after: str) -> tuple[str, str]:
    """The lines that differ; of the line with the name, which always does, only what follows it."""
    old, new = ([line.split("__mutmut_")[-1].partition("(")[2] or line if "__mutmut_" in line else line for line in
                 text.splitlines()] for text in (before, after))  # fmt: skip
    rows = list(difflib.ndiff(old, new))
    return tuple(" ".join(row[2:].strip() for row in rows if row[0] == sign) for sign in "-+")  # type: ignore[return-value]


def report(found: list[Mutant]) -> tuple[str, float]:
    """The figures and the survivors as Markdown, and the share of mutants that were noticed, in percent."""
    outcomes = Counter(mutant.outcome for mutant in found)
    noticed, tried = outcomes["killed"] + outcomes["hung"], len(found) - outcomes["not run"]
    score = 100.0 * noticed / max(tried, 1)
    commit = read_code().commit or "unknown"
    machine = f"{datetime.now(UTC).date()}, {cpu_name() or platform.machine()}, Python {platform.python_version()}"
    lines = ["# Mutants", "", f"{machine}, {_mutmut()}, commit {commit[:12]}.", ""]
    lines += [
        f"{noticed} of {tried} mutants noticed by a test: {score:.1f} % ({outcomes['hung']} of them hung and were "
        f"stopped); {tried - noticed} survived; {outcomes['not run']} not run.",
        "",
        "Made by `make mutation`. Mutated are the functions of the files below: operators, numbers, truth values, "
        "arguments, assignments and strings, those of messages included. Code outside functions, and functions under "
        "decorators such as `property` and pydantic's validators, is not mutated by mutmut. The tests are those of "
        "tests/runs, tests/recipe and tests/snn/test_losses.py; what they start in processes of their own sees the "
        "mutant too.",
        "",
        "| file | mutants | noticed | % |",
        "|---|---:|---:|---:|",
    ]
    for file in sorted({mutant.file for mutant in found}):
        own = [mutant for mutant in found if mutant.file == file and mutant.outcome != "not run"]
        good = sum(mutant.outcome in ("killed", "hung") for mutant in own)
        lines += [f"| {file} | {len(own)} | {good} | {100 * good / len(own):.0f} |"] if own else []
    groups: dict[str, list[Mutant]] = {}
    for mutant in found:
        if mutant.outcome not in ("killed", "hung", "not run"):
            groups.setdefault(reason(mutant.file, mutant.before, mutant.after), []).append(mutant)
    lines += ["", "## Survivors, by reason", ""]
    for why, group in sorted(groups.items(), key=lambda pair: (pair[0] == UNEXPLAINED, -len(pair[1]))):
        lines += [f"### {why} ({len(group)})", ""]
        for mutant in group:
            told = "" if mutant.outcome == "survived" else f" ({mutant.outcome})"
            lines.append(
                f"- {mutant.file}, {mutant.function}{told}: `{_code(mutant.before)}` → `{_code(mutant.after)}`"
            )
        lines.append("")
    return "\n".join(lines).rstrip() + "\n", score


def _mutmut() -> str:
    try:
        return f"mutmut {metadata.version('mutmut')}"
    except metadata.PackageNotFoundError:
        return "mutmut"


def _code(text: str) -> str:
    """Code between backticks, in part if it is long."""
    text = text.replace("`", "'")
    return text if len(text) <= 160 else f"{text[:157]}..."


if __name__ == "__main__":
    sys.exit(main())
