"""results/torture.md: the figures of all long runs, as their own files tell them."""

from __future__ import annotations

import json
import platform
import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.torture import faults
from tksbench.runs.code import read_code
from tksbench.runs.processor import cpu_name
from tksbench.runs.provenance import versions

# What the other long runs leave: `make fuzz`, `make coverage`, `make mutation`.
FUZZ, COVERAGE, MUTATION = Path("build/fuzz.json"), Path("build/coverage.json"), Path("results/mutation.md")
INPUTS, LINES, MUTANTS = 100_000, 90.0, 80.0  # what they must reach
ROUNDS = 200
LAUNCHERS, RUNS = 8, 20
Times = list[dict[str, str]] | None


class Report:
    """Lines of Markdown, and whether all is as promised."""

    def __init__(self) -> None:
        commit = read_code().commit or "unknown"
        machine = f"{datetime.now(UTC).date()}, {cpu_name() or platform.machine()}, Python {platform.python_version()}"
        self.lines = ["# Torture", "", f"{machine}, torch {versions().get('torch', '?')}, commit {commit[:12]}.", ""]
        self.lines += [
            "Made by `make torture`, after `make fuzz`, `make coverage` and `make mutation`, whose figures it"
        ]
        self.lines[-1] += " takes over; `make test` runs the same drivers in short."
        self.sound = True

    def section(self, title: str, at: Times, *lines: str) -> None:
        """Add a section; `at` tells when and at which commits it was run, where that is known."""
        self.lines += ["", f"## {title}", ""]
        if at:
            told = ", ".join(f"on {time['date']} at commit {time['commit'][:12]}" for time in at)
            self.lines += [f"Run {told}.", ""]
        self.lines += lines

    def promise(self, kept: bool) -> None:
        """Take in whether something is as promised."""
        self.sound &= kept

    def text(self) -> str:
        """All of it."""
        verdict = "All that was run is as promised." if self.sound else "Not all is as promised: see below."
        return "\n".join([*self.lines[:4], verdict, "", *self.lines[4:]]) + "\n"


def report(done: dict[str, Any]) -> tuple[str, bool]:
    """The figures as Markdown, and whether all is as promised."""
    page, at = Report(), done.get("at", {})
    if done.get("kill"):
        _kill(page, list(done["kill"].values()), at.get("kill"))
    if done.get("launchers"):
        _launchers(page, done["launchers"], at.get("launchers"))
    if done.get("faults"):
        _faults(page, done["faults"], at.get("faults"))
    if FUZZ.exists():
        _fuzz(page, json.loads(FUZZ.read_text()))
    if COVERAGE.exists():
        _coverage(page, json.loads(COVERAGE.read_text()))
    if MUTATION.exists():
        _mutation(page, MUTATION.read_text())
    lacking = [f"make torture ({part})" for part in ("kill", "launchers", "faults") if not done.get(part)]
    if 0 < len(done.get("kill", {})) < ROUNDS:
        lacking.append(f"{ROUNDS - len(done['kill'])} of {ROUNDS} rounds of kills")
    if done.get("faults"):
        skipped = [name for name in faults.ALL if done["faults"].get(name, ["", "skipped"])[1].startswith("skipped")]
        lacking += [f"the fault {name}" for name in skipped]
    commands = (("fuzz", FUZZ), ("coverage", COVERAGE), ("mutation", MUTATION))
    lacking += [f"make {name}" for name, path in commands if not path.exists()]
    if lacking:
        page.section("Not run", None, f"{', '.join(lacking)}.")
    return page.text(), page.sound


def _kill(page: Report, rounds: list[dict[str, Any]], at: Times) -> None:
    equal = sum(not row["problems"] for row in rounds)
    kills = Counter(place for row in rounds for place in row["kills"])
    page.promise(equal == len(rounds))
    page.section(
        "Kill anywhere",
        at,
        f"{equal} of {len(rounds)} rounds equal to the undisturbed run to the bit: weights, logs, logits, features, "
        f"record; no temporary file left. {kills.total()} kills with -9, half of them at moments uniform over the "
        "run's time, half at a uniformly random wait for the disk.",
        "",
        "| what a kill fell into | kills |",
        "|---|---:|",
        *(f"| {place} | {count} |" for place, count in kills.most_common()),
        *(f"- round {row['round']}: {'; '.join(row['problems'])}" for row in rounds if row["problems"]),
    )


def _launchers(page: Report, done: dict[str, list[str]], at: Times) -> None:
    told = {
        "compete": (
            f"{LAUNCHERS} launchers x {RUNS} runs, one launcher killed, four hosts with clocks hours off, no locks",
            "every run trained exactly once",
        ),
        "leases": (
            "a living holder elsewhere keeps its run, a dead one is followed, whatever the clocks say",
            "so it was",
        ),
    }
    page.promise(not any(done.values()))
    page.section(
        "Many launchers",
        at,
        *(f"- {told[key][0]}: {'; '.join(problems) or told[key][1]}." for key, problems in done.items()),
    )


def _faults(page: Report, done: dict[str, list[str]], at: Times) -> None:
    page.promise(not any(outcome.startswith("BROKEN") for _, outcome in done.values()))
    groups = (("Disks", faults.DISK), ("Flipped bits", faults.BITS), ("Numbers", faults.NUMBERS))
    for title, names in groups:
        rows = [done[name] for name in names if name in done]
        if rows:
            page.section(title, at, "| fault | outcome |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows))


def _fuzz(page: Report, found: dict[str, dict[str, dict[str, Any]]]) -> None:
    rows, lacking = [], 0
    for name, ways in found.items():
        counts = {way: outcome["inputs"] for way, outcome in ways.items()}
        total, escaped = sum(counts.values()), sum(len(outcome["escaped"]) for outcome in ways.values())
        slowest = max(outcome["slowest_s"] for outcome in ways.values())
        memory = max(outcome["memory"] for outcome in ways.values())
        refused = sum(outcome["refused"] for outcome in ways.values())
        lacking += total < INPUTS
        page.promise(not escaped)
        parts = " | ".join(f"{count:,}" for count in (total, *counts.values(), refused))
        rows.append(f"| {name} | {parts} | {escaped} | {1e3 * slowest:.0f} | {memory:.1f} |")
    page.promise(not lacking)
    page.section(
        "Damaged files",
        None,
        "Each input gives data or one of the project's named errors; what else came out is counted as escaped, as is "
        "more than one second, or more memory than 64 times the file (64 KiB at least; looked at in every eighth "
        "input, as Python's allocator tells).",
        "",
        "| reader | inputs | planted faults | hypothesis | atheris | refused | escaped | slowest, ms | memory |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *rows,
        *(["", f"{lacking} readers have had fewer than {INPUTS:,} inputs."] if lacking else []),
    )


def _coverage(page: Report, found: dict[str, Any]) -> None:
    totals, when = found["totals"], found.get("meta", {}).get("timestamp", "")[:10]
    lines = 100 * totals["covered_lines"] / totals["num_statements"]
    branches = 100 * totals["covered_branches"] / max(totals["num_branches"], 1)
    page.promise(lines >= LINES)
    shares = {
        name: file["summary"]["covered_lines"] / max(file["summary"]["num_statements"], 1)
        for name, file in found["files"].items()
        if file["summary"]["num_statements"]
    }
    lowest = sorted((share, name) for name, share in shares.items() if share < LINES / 100)
    page.section(
        "Coverage",
        None,
        f"{lines:.1f} % of {totals['num_statements']:,} lines of tksbench/, {branches:.1f} % of branches ({when}).",
        *(
            ["", "Files below 90 %: " + ", ".join(f"{name} {100 * share:.0f} %" for share, name in lowest) + "."]
            if lowest
            else []
        ),
    )


def _mutation(page: Report, text: str) -> None:
    found = re.search(r"^((\d+) of (\d+) mutants noticed by a test: .*?(\d+) not run\.)$", text, re.MULTILINE)
    if found:  # those that were not run count as not noticed
        page.promise(100 * int(found[2]) >= MUTANTS * (int(found[3]) + int(found[4])))
        when = text.splitlines()[2]
        page.section("Mutants", None, f"{found[1]} {when} Survivors with their reasons: [mutation.md](mutation.md).")
