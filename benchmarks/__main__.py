"""`python -m benchmarks`, from the checkout: measure, print, and keep the results."""

from __future__ import annotations

import sys
import tempfile
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import results
from benchmarks.parts import NOTES, PARTS, BenchError, Options, lacking, load_part
from benchmarks.timing import MIN_ROUNDS, measure
from tksbench.cli import CommandParser
from tksbench.data.registry import data_root

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from benchmarks.timing import Row

_ABOUT = """\
Measure this project beside its peers: candidates in turn within one process, ratios to a named
reference. Close other programs first. The results go to <machine>-<date>.json and .md."""


def main(argv: list[str] | None = None) -> int:
    """Obey a command line.

    Args:
        argv: Arguments without the program's name; None takes the process's own.

    Returns:
        The exit status.

    Raises:
        TksbenchError: For anything that the user can put right.
    """
    options = _parse(sys.argv[1:] if argv is None else argv)
    about, today = results.machine(), datetime.now(UTC).date().isoformat()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(f"--out {options.out}: cannot be made: {error.strerror}") from error
    path = options.out / f"{about['name']}-{today}.json"
    found = False
    for name in options.parts:
        part = _measure(name, options, on_gpu=bool(about["gpus"]))
        if options.case and not part["rows"]:
            continue  # of all parts, few may have such a case
        found = True
        results.save(path, about, [part])  # after each part: a later one may fail
    if not found:
        raise BenchError(f"--case {options.case!r}: no case of {', '.join(options.parts)} has this in its name")
    sys.stdout.write(f"written to {path} and {path.with_suffix('.md').name}\n")
    return 0


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parts = "\n".join(f"  {name:<10} {what}" for name, what in PARTS.items())
    parser = CommandParser("python -m benchmarks", _ABOUT, f"parts:\n{parts}")
    parser.add_argument("parts", nargs="*", metavar="PART", help="what to measure; all parts if none is named")
    parser.add_argument("--rounds", type=int, default=MIN_ROUNDS, metavar="N", help=f"default {MIN_ROUNDS}")
    parser.add_argument("--case", default="", metavar="TEXT", help="only cases whose name has this text")
    parser.add_argument("--full", action="store_true", help="full shapes instead of small ones")
    parser.add_argument("--data", type=Path, metavar="DIR", help="data root; default TKSBENCH_DATA, else data/")
    parser.add_argument("--out", type=Path, default=Path("results/bench"), metavar="DIR", help="default results/bench")
    options = parser.parse_args(words)
    if options.rounds < MIN_ROUNDS:
        raise BenchError(f"--rounds {options.rounds}: fewer than {MIN_ROUNDS} rounds say nothing on a shared machine")
    if options.data is not None and not options.data.is_dir():
        raise BenchError(f"--data {options.data}: no such folder")
    options.data = options.data or data_root()
    options.parts = list(dict.fromkeys(options.parts or PARTS))
    for name in options.parts:
        load_part(name)  # a wrong name is refused before anything is measured
    return options


def _measure(name: str, options: argparse.Namespace, *, on_gpu: bool) -> dict[str, object]:
    """Measure a part, printing each case as soon as it is done."""
    part = load_part(name)
    full = options.full or (on_gpu and getattr(part, "FULL_ON_A_GPU", False))
    started, before = datetime.now(UTC).isoformat(timespec="seconds"), results.conditions()
    skipped = lacking(part.NEEDS)
    rows: list[Row] = []
    if skipped:
        sys.stdout.write(f"{name}: skipped: {skipped}\n\n")
    else:
        with tempfile.TemporaryDirectory(prefix="tksbench-bench-") as scratch:
            for case in part.cases(Options(full, options.data, Path(scratch))):
                if options.case not in case.name:
                    continue  # one may take minutes
                measured = measure(name, case, options.rounds)
                rows += measured
                plain = [row.to_json() for row in measured]
                title = textwrap.fill(f"{name}: {case.name}", 80)
                sys.stdout.write(f"{title}\n{results.table(plain, 'simple')}\n\n")
                sys.stdout.flush()
            if rows and name in NOTES:
                sys.stdout.write(f"{textwrap.fill(NOTES[name], 80)}\n\n")
    return results.make_part(name, rows, full=full, started=started, before=before, skipped=skipped)


if __name__ == "__main__":
    from tksbench.cli import run_script

    run_script(main)
