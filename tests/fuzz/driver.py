"""Feeding a reader with damaged files, and what came out.

Every input is a function of the reader's name and the input's number, so that any of them can be made again and a
long run can be cut and continued.
"""

from __future__ import annotations

import os
import random
import signal
import time
import tracemalloc
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from tests.fuzz.mutate import mutated
from tests.fuzz.reader import Reader
from tksbench.errors import TksbenchError

LONGEST_S = 1.0  # of processor time, so that a busy machine is no fault of a reader
MEMORY = 64  # times the file's size; a file counts as 64 KiB at least
SMALL = 1 << 16
WEIGHED = 8  # memory is looked at in every so many inputs: to watch each allocation doubles a reader's time


class Hang(BaseException):
    """A reader took too long; no `except Exception` keeps it."""


@dataclass
class Outcome:
    """What became of the inputs so far."""

    inputs: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    memory: float = 0.0
    escaped: list[str] = field(default_factory=list)

    def line(self, name: str) -> str:
        """One line for people."""
        figures = f"{self.refused:7d} refused, {len(self.escaped)} escaped, slowest {self.slowest_s * 1e3:4.0f} ms"
        return f"{name:<24} {self.inputs:7d} inputs, {figures}, memory {self.memory:4.1f} x"


def case(reader: Reader, number: int) -> bytes:
    """The input of this number."""
    rng = random.Random(f"{reader.name}/{number}")  # noqa: S311 - to be repeated, not to be secret
    return reader.repair(rng, mutated(rng, reader.seeds()))


def feed(reader: Reader, folder: Path, outcome: Outcome, inputs: int) -> None:
    """Feed a reader until it has had so many inputs; call it with `Watched` around it."""
    while outcome.inputs < inputs:
        judge(reader, folder, case(reader, outcome.inputs), outcome, str(outcome.inputs))


def judge(reader: Reader, folder: Path, raw: bytes, outcome: Outcome, label: str) -> None:
    """Give a reader one input; what must not come out goes into the outcome, under a label that finds the input."""
    weighed = outcome.inputs % WEIGHED == 0
    if weighed:
        tracemalloc.start()
    started = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
    try:
        reader.read(raw, folder)
    except TksbenchError as error:
        outcome.refused += 1
        if not str(error).strip():
            outcome.escaped.append(f"{label}: {type(error).__name__} without a message")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # what must not come out: Rust's panics, hangs and all else
        outcome.escaped.append(f"{label}: {type(error).__name__}: {str(error)[:100]!r}")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    outcome.slowest_s = max(outcome.slowest_s, time.process_time() - started)
    outcome.inputs += 1
    if weighed:
        memory = tracemalloc.get_traced_memory()[1] / max(len(raw), SMALL)
        tracemalloc.stop()
        outcome.memory = max(outcome.memory, memory)
        if memory > MEMORY:
            outcome.escaped.append(f"{label}: took {memory:.0f} times the memory of its {len(raw)} bytes")


class Watched:
    """While this is entered, an input that takes too long is stopped, and warnings are off."""

    def __init__(self, reader: Reader, folder: Path) -> None:
        reader.read(reader.seeds()[0], folder)  # what is imported late is not the reader's time and memory

    def __enter__(self) -> None:
        self._handler = signal.signal(signal.SIGPROF, _stop)
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("ignore")
        self._fsync, os.fsync = os.fsync, lambda _descriptor: None  # nothing here need outlast the power

    def __exit__(self, *_: object) -> None:
        os.fsync = self._fsync
        self._warnings.__exit__(None, None, None)
        signal.signal(signal.SIGPROF, self._handler)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Hang(f"more than {LONGEST_S} s")
