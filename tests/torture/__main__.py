"""`python -m tests.torture [kill] [launchers] [faults]`: the long forms; goes on where it was broken off.

What is done is in STATE (default build/torture), one JSON file; `--fresh` begins anew. The figures of all parts, and
those that `make fuzz`, `make coverage` and `make mutation` have left, are printed and written to results/torture.md;
the part `report` does nothing but that.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.torture import faults, kill, launchers
from tests.torture.report import LAUNCHERS, ROUNDS, RUNS, report
from tksbench.runs import read_json, write_bytes, write_json
from tksbench.runs.code import read_code

PARTS = ("kill", "launchers", "faults")
REPORT = "report"


class State:
    """What is done of each part, kept in one file after each step."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "state.json"
        folder.mkdir(parents=True, exist_ok=True)
        self.done: dict[str, Any] = read_json(self.path) if self.path.exists() else {}

    def add(self, part: str, key: str, result: Any) -> None:
        """Keep a result, and say it."""
        self.done.setdefault(part, {})[key] = result
        when = {"date": str(datetime.now(UTC).date()), "commit": read_code().commit or "unknown"}
        times = self.done.setdefault("at", {}).setdefault(part, [])
        if not times or times[-1]["commit"] != when["commit"]:
            times.append(when)
        write_json(self.path, self.done)
        sys.stdout.write(f"{part} {key}: {result}\n")
        sys.stdout.flush()

    def has(self, part: str, key: str) -> bool:
        """Whether this was done before."""
        return key in self.done.get(part, {})

    def work(self, name: str) -> Path:
        """An empty folder to work in."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder.absolute()


def main() -> int:
    """Obey the command line; the exit status is 1 if anything is not as promised."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all if none is named")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of kills (default %(default)s)")
    parser.add_argument("--state", type=Path, default=Path("build/torture"), help="default %(default)s")
    parser.add_argument("--out", type=Path, default=Path("results/torture.md"), help="default %(default)s")
    parser.add_argument("--fresh", action="store_true", help="forget what was done before")
    options = parser.parse_args()
    if unknown := set(options.parts) - {*PARTS, REPORT}:
        parser.error(f"{', '.join(sorted(unknown))}: no such part; there are {', '.join(PARTS)}")
    if options.fresh:
        shutil.rmtree(options.state, ignore_errors=True)
    state = State(options.state)
    for part in [part for part in options.parts or PARTS if part != REPORT]:
        {"kill": _kill, "launchers": _launchers, "faults": _faults}[part](state, options.rounds)
    text, sound = report(state.done)
    write_bytes(options.out, text.encode())
    sys.stdout.write(f"\n{text}\nwritten to {options.out}\n")
    return 0 if sound else 1


def _kill(state: State, rounds: int) -> None:
    todo = [number for number in range(rounds) if not state.has("kill", str(number))]
    killer = kill.Killer(state.work("kill")) if todo else None
    for number in todo:
        assert killer is not None
        state.add("kill", str(number), killer.round(number))


def _launchers(state: State, _rounds: int) -> None:
    if not state.has("launchers", "compete"):
        state.add("launchers", "compete", launchers.compete(state.work("compete"), LAUNCHERS, RUNS))
    if not state.has("launchers", "leases"):
        state.add("launchers", "leases", launchers.leases(state.work("leases")))


def _faults(state: State, _rounds: int) -> None:
    todo = [name for name in faults.ALL if not state.has("faults", name)]
    found = faults.Faults(state.work("faults")) if todo else None
    for name in todo:
        what = str(getattr(faults.Faults, name).__doc__).strip().rstrip(".")
        if name in faults.MOUNTS and not faults.can_mount():
            result = "skipped: needs root, to mount a small file system"
        else:
            try:
                result = getattr(found, name)()
            except (AssertionError, OSError, TimeoutError) as error:
                result = f"BROKEN: {' '.join(str(error).split())[:200]}"
        state.add("faults", name, [what, result])


if __name__ == "__main__":
    sys.exit(main())
