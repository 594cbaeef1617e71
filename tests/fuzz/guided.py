"""Inputs from atheris, led by what they reach: `python -m tests.fuzz.guided READER INPUTS CORPUS OUTCOME NUMBER`.

A process of its own, for the engine never gives the control back. It keeps inputs that reach something new in the
folder CORPUS, and writes the outcome into a file.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import zlib
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.driver import Outcome

LACKING = "atheris is not installed (make env EXTRAS=torture): the other ways take its share of the inputs"
LONGEST = 1 << 14  # bytes of an input


def installed() -> bool:
    """Whether the engine is there."""
    return find_spec("atheris") is not None


def explore(name: str, corpus: Path, outcome: Outcome, inputs: int, number: int) -> None:
    """Give a reader so many inputs in a process of its own.

    Raises:
        RuntimeError: The process died, which no input may bring about.
    """
    corpus.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outcome.json"
        command = [sys.executable, "-m", "tests.fuzz.guided", name, str(inputs), str(corpus), str(path), str(number)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if not path.exists():
            raise RuntimeError(f"{name}: the reader's process died with {done.returncode}: {done.stderr[-2000:]}")
        found = Outcome(**json.loads(path.read_text()))
    outcome.inputs += found.inputs
    outcome.refused += found.refused
    outcome.slowest_s = max(outcome.slowest_s, found.slowest_s)
    outcome.memory = max(outcome.memory, found.memory)
    outcome.escaped += found.escaped


def main(name: str, inputs: int, corpus: Path, told: Path, number: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["tksbench", "yaml"]):
        from tests.fuzz.driver import Watched, judge
        from tests.fuzz.readers import READERS
    reader, outcome = READERS[name], Outcome()
    for place, raw in enumerate(reader.seeds()):
        (corpus / f"seed{place}").write_bytes(raw)
    folder = Path(tempfile.mkdtemp(dir=told.parent))

    def give(raw: bytes) -> None:
        rng = random.Random(zlib.crc32(raw))  # noqa: S311 - to be repeated, not to be secret
        content = reader.repair(rng, raw)
        before = len(outcome.escaped)
        judge(reader, folder, content, outcome, f"atheris {number}")
        outcome.escaped[before:] = [f"{line} of {content[:60]!r}" for line in outcome.escaped[before:]]
        if outcome.inputs >= inputs or len(outcome.escaped) >= 20:
            told.write_text(json.dumps(asdict(outcome)))
            os._exit(0)

    options = [f"-seed={number + 1}", f"-max_len={LONGEST}", "-rss_limit_mb=0", "-timeout=60", "-len_control=0"]
    atheris.Setup([sys.argv[0], *options, "-verbosity=0", "-print_final_stats=0", str(corpus)], give)
    with Watched(reader, folder):
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))
