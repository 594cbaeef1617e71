"""`make gpu`: what a quarter of an hour on one GPU can settle, the most valuable first; the same command goes on.

1. The tests of CUDA code, which no machine without a GPU runs.
2. Time and memory of a training step of ResNet-19 and of SEW-ResNet-50 at 224 pixels against the same networks with
   ReLU, and what part of the chip's measured matrix rate they make (`python -m benchmarks networks`).
3. CIFAR-100 with ResNet-19 at scale `budget`, baseline and TKS, three seeds each, as many runs as fit.

What is done is kept in results/gpu/<machine>.json and is not done again for the same code; the report beside it says
what was seen. Runs under way are saved when time is up, and published by hand (`python -m tksbench.tables --publish`).
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import results
from benchmarks.parts import BenchError
from tksbench.cli import CommandParser
from tksbench.runs import LedgerError, read_json, write_bytes, write_json
from tksbench.runs.code import read_code

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

_ABOUT = """\
What a quarter of an hour on one GPU settles, the most valuable first: tests of
CUDA code, times and memory of training steps, runs of CIFAR-100 at scale
budget. What is done is not done again: the same command goes on."""
_GRACE_S = 60.0  # for runs to be saved
_SHOWN = 40  # lines of a step's output in the report


@dataclass(frozen=True)
class Step:
    """One thing to settle.

    Attributes:
        name: What it is called.
        words: Of `python -m`.
        most_s: Seconds that it may take at most.
        resumes: Whether it goes on where it was stopped; others begin anew.
    """

    name: str
    words: tuple[str, ...]
    most_s: float
    resumes: bool = False


STEPS = (
    Step("tests of CUDA code", ("pytest", "-q", "-rs", "tests/test_devices.py", "tests/train/test_cuda.py",
                                "tests/snn/test_triton.py"), 240),
    Step("steps of ResNet-19", ("benchmarks", "networks", "--case", "ResNet-19, batch"), 300),
    Step("steps of SEW-ResNet-50", ("benchmarks", "networks", "--case", "SEW-ResNet-50"), 120),
    Step("CIFAR-100 at budget", ("tksbench.launch", "recipes/cifar100.yaml", "--scale", "budget", "--seeds", "3",
                                 "--only", "cifar100/spiking_resnet19/baseline",
                                 "--only", "cifar100/spiking_resnet19/tks"), 3600, resumes=True),
    Step("what the runs say", ("tksbench.tables", "compare", "tks", "baseline", "--scale", "budget"), 60, resumes=True),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a step ended.

    Attributes:
        state: "done", "failed" or "stopped" (time was up).
        seconds: That it took.
        output: Its last lines.
        code: Digest of the code.
    """

    state: str
    seconds: float
    output: str
    code: str


def main(argv: Sequence[str] | None = None) -> int:
    """Do what is left to do within the time.

    Args:
        argv: Arguments without the program's name; None takes the process's own.

    Returns:
        0 if nothing has failed, 1 otherwise.

    Raises:
        BenchError: There is no GPU, or the report cannot be written.
    """
    options = _parse(sys.argv[1:] if argv is None else argv)
    about = results.machine()
    if not about["gpus"]:
        raise BenchError("this machine has no CUDA device that torch sees; make gpu is for one that has")
    return settle(STEPS, options.out / f"{about['name']}.json", about, 60 * options.minutes)


def settle(steps: Sequence[Step], path: Path, about: dict[str, Any], budget_s: float) -> int:
    """Do the steps in turn, as far as time goes; the file and the report are written after each.

    Args:
        steps: The most valuable first.
        path: Where outcomes are kept; the report lies beside it, as .md.
        about: The machine.
        budget_s: Seconds in all.

    Returns:
        0 if nothing has failed, 1 otherwise.
    """
    code, ends = read_code().digest, time.monotonic() + budget_s
    before = _read(path)
    kept = {name: one for name, one in before.items() if one.code == code}
    for step in steps:
        known = kept.get(step.name)
        if known and known.state == "done" and not step.resumes:
            sys.stdout.write(f"{step.name}: done before, in {known.seconds:.0f} s\n")
            continue
        left = ends - time.monotonic()
        if left < min(step.most_s, _GRACE_S):
            sys.stdout.write(f"{step.name}: no time left; the same command goes on\n")
            continue
        sys.stdout.write(f"{step.name}: python -m {' '.join(step.words)}\n")
        sys.stdout.flush()
        kept[step.name] = _do(step, min(step.most_s, left), code)
        _write(path, kept, about)
    sys.stdout.write(f"written to {path} and {path.with_suffix('.md').name}\n")
    return int(any(one.state == "failed" for one in kept.values()))


def _do(step: Step, most_s: float, code: str) -> Outcome:
    """Run a step's command; when its time is up it is interrupted, as by Ctrl-C, and may save."""
    started, lines = time.monotonic(), list[str]()
    process = subprocess.Popen(
        [sys.executable, "-m", *step.words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    stopped = _Alarm(process, max(1.0, most_s - (_GRACE_S if step.resumes else 0.0)))
    with process, stopped:
        for line in process.stdout or ():
            sys.stdout.write(line)
            sys.stdout.flush()
            lines.append(line.rstrip())
    state = "stopped" if stopped.rang else "done" if process.returncode == 0 else "failed"
    return Outcome(state, time.monotonic() - started, "\n".join(lines[-_SHOWN:]), code)


class _Alarm:
    """Interrupts a process when its time is up, and ends it if that does not help."""

    def __init__(self, process: subprocess.Popen[str], seconds: float) -> None:
        self.process, self.seconds, self.rang = process, seconds, False

    def __enter__(self) -> _Alarm:
        self.before: Callable[..., Any] | int | None = signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, self.seconds)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)

    def _ring(self, *_: object) -> None:
        if self.rang:
            self.process.kill()
            return
        self.rang = True
        self.process.send_signal(signal.SIGINT)
        signal.setitimer(signal.ITIMER_REAL, _GRACE_S)


def _read(path: Path) -> dict[str, Outcome]:
    """What was done before; nothing where the file is absent or is of another version."""
    try:
        plain = read_json(path)
        return {name: Outcome(**one) for name, one in plain["steps"].items()}
    except (LedgerError, KeyError, TypeError, AttributeError):
        return {}


def _write(path: Path, outcomes: dict[str, Outcome], about: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(f"{path.parent}: cannot be made: {error.strerror}") from error
    write_json(path, {"machine": about, "steps": {name: asdict(one) for name, one in outcomes.items()}})
    write_bytes(path.with_suffix(".md"), report(outcomes, about).encode())


def report(outcomes: dict[str, Outcome], about: dict[str, Any]) -> str:
    """What was seen, as Markdown: a table of the steps, and the last lines that each printed."""
    parts = [f"# A quarter of an hour on {', '.join(about['gpus'])}"]
    rows = [f"| {name} | {one.state} | {one.seconds:.0f} s |" for name, one in outcomes.items()]
    parts.append("\n".join(["| what | state | time |", "|---|---|---:|", *rows]))
    parts += [f"## {name}\n\n```text\n{one.output}\n```" for name, one in outcomes.items()]
    return "\n\n".join(parts) + "\n"


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = CommandParser("python -m benchmarks.gpu", _ABOUT, "")
    parser.add_argument("--minutes", type=float, default=15.0, metavar="N", help="in all (15)")
    parser.add_argument("--out", type=Path, default=Path("results/gpu"), metavar="DIR", help="default results/gpu")
    return parser.parse_args(words)


if __name__ == "__main__":
    from tksbench.cli import run_script

    run_script(main)
