"""`python -m tests.fuzz [--inputs N] [--state FILE] [READER ...]`: one line a reader, status 1 if anything escaped.

Of a reader's inputs a tenth comes from hypothesis and a fifth from atheris, which is led by what its inputs reach; the
others are valid files with faults. With a state file a run may be cut and the same command continues it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tests.fuzz import generated, guided
from tests.fuzz.driver import Outcome, Watched, case, feed
from tests.fuzz.readers import READERS
from tksbench.runs.files import write_json

STRIDE = 2500  # inputs between two looks at the state file
WAYS = ("faults", "hypothesis", "atheris")


def shares(inputs: int) -> dict[str, int]:
    """How many inputs a reader gets in each way."""
    made, led = inputs // 10, inputs // 5 if guided.installed() else 0
    return {"faults": inputs - made - led, "hypothesis": made, "atheris": led}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("readers", nargs="*", choices=[[], *READERS], metavar="READER", help=", ".join(READERS))
    parser.add_argument("--inputs", type=int, default=100_000, help="of each reader (100,000)")
    parser.add_argument("--state", type=Path, help="file that remembers how far a run has come")
    parser.add_argument("--show", type=int, metavar="NUMBER", help="write this input of the one READER to stdout")
    options = parser.parse_args()
    if options.show is not None:
        sys.stdout.buffer.write(case(READERS[options.readers[0]], options.show))
        return 0
    if not guided.installed():
        print(guided.LACKING, flush=True)  # noqa: T201
    found = json.loads(options.state.read_text()) if options.state and options.state.exists() else {}
    for name in options.readers or READERS:
        ways = {way: Outcome(**found.get(name, {}).get(way, {})) for way in WAYS}

        def keep(name: str = name, ways: dict[str, Outcome] = ways) -> None:
            found[name] = {way: asdict(outcome) for way, outcome in ways.items()}
            if options.state:
                write_json(options.state, found)

        fuzz(name, ways, shares(options.inputs), keep)
        for way, outcome in ways.items():
            print(outcome.line(f"{name} ({way})"), *outcome.escaped[:10], sep="\n    ", flush=True)  # noqa: T201
    return 1 if any(way["escaped"] for name in options.readers or READERS for way in found[name].values()) else 0


def fuzz(name: str, ways: dict[str, Outcome], wanted: dict[str, int], keep: Callable[[], None]) -> None:
    """Give a reader what it still lacks of its inputs; `keep` is called now and then."""
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        with Watched(reader, folder):
            while (outcome := ways["faults"]).inputs < wanted["faults"]:
                feed(reader, folder, outcome, min(wanted["faults"], outcome.inputs + STRIDE))
                keep()
            while (outcome := ways["hypothesis"]).inputs < wanted["hypothesis"] and not outcome.escaped:
                more = min(STRIDE, wanted["hypothesis"] - outcome.inputs)
                generated.explore(reader, folder, outcome, more, outcome.inputs)
                keep()
        while (outcome := ways["atheris"]).inputs < wanted["atheris"] and len(outcome.escaped) < 20:
            more = min(4 * STRIDE, wanted["atheris"] - outcome.inputs)
            guided.explore(name, folder / "corpus", outcome, more, outcome.inputs)
            keep()


if __name__ == "__main__":
    sys.exit(main())
