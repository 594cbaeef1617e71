"""`python -m tests.fuzz [--inputs N] [--state FILE] [READER ...]`: one line a reader, status 1 if anything escaped.

With a state file a run may be cut and the same command continues it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.fuzz.driver import Outcome, Watched, case, feed
from tests.fuzz.readers import READERS
from tksbench.runs.files import write_json

STRIDE = 1000  # inputs between two looks at the state file


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
    found = json.loads(options.state.read_text()) if options.state and options.state.exists() else {}
    escaped = 0
    for name in options.readers or READERS:
        outcome = Outcome(**found.get(name, {}))
        with tempfile.TemporaryDirectory() as folder, Watched(READERS[name], Path(folder)):
            while outcome.inputs < options.inputs:
                feed(READERS[name], Path(folder), outcome, min(options.inputs, outcome.inputs + STRIDE))
                if options.state:
                    write_json(options.state, found | {name: asdict(outcome)})
        found[name] = asdict(outcome)
        escaped += len(outcome.escaped)
        print(outcome.line(name), *outcome.escaped[:10], sep="\n    ", flush=True)  # noqa: T201
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main())
