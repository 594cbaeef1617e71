"""Kill anywhere: a run that is killed with -9 again and again ends as the one that is left alone, to the bit."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

from tests.torture.world import World, kill, outcome, wait
from tksbench.runs import RunDir

SHORT = 5  # rounds of `make test`


class Killer:
    """Rounds of one run, compared with the run that nobody killed; the same seed, the same plan of kills."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.world.train(self.world.prepare("first"))  # makes the miniature
        whole = self.world.prepare("whole")
        counted = folder / "fsyncs"
        started = time.monotonic()
        code = self.world.train(whole, count_fsyncs, str(counted))
        self.seconds = time.monotonic() - started
        if code:
            raise RuntimeError(f"the undisturbed run ended with status {code}: {self.world.log(whole).read_text()}")
        self.fsyncs = counted.stat().st_size
        self.want = outcome(whole)

    def round(self, number: int) -> dict[str, Any]:
        """Kill and start again until the run is done.

        Half of the kills come by the clock, uniformly over the undisturbed run's time; the others at a uniformly random
        moment at which a file is on its way to the disk, half of those among the last, where the record is.

        Returns:
            How many kills there were and what they fell into, and what differs from the undisturbed run.
        """
        rng = random.Random(number)  # noqa: S311 - a plan that can be repeated
        run_dir = self.world.prepare(f"round{number}")
        kills: list[str] = []
        while True:
            by_clock = rng.random() < 0.5
            if by_clock:
                child = self.world.start(run_dir)
                child.join(rng.uniform(0, self.seconds))
                if child.exitcode is None:
                    kill(child)
            else:
                late = rng.random() < 0.5
                left = rng.randint(1, 4) if late else 0
                child = self.world.start(run_dir, die_at_fsync, left or rng.randint(1, self.fsyncs), late, self.fsyncs)
                wait(child)
            if child.exitcode != -signal.SIGKILL:
                if kills or child.exitcode != 0:
                    break
                self.world.remove(run_dir)  # it was faster than the kill: that is no round
                run_dir = self.world.prepare(f"round{number}")
                continue
            kills.append(self._place(run_dir))
        problems = [] if child.exitcode == 0 else [f"ended with status {child.exitcode}"]
        if not problems:
            got = outcome(run_dir)
            problems = [f"{name} differs" for name, content in self.want.items() if got[name] != content]
        problems += [f"left behind: {name}" for name in self.world.temporaries(run_dir)]
        if not problems:
            self.world.remove(run_dir)
        return {"round": number, "kills": kills, "problems": problems}

    def _place(self, run_dir: RunDir) -> str:
        """What a kill fell into, by what it left."""
        left = [path.name for path in run_dir.path.rglob(".*.tmp")]
        if any(".safetensors." in name for name in left):
            return "writing a checkpoint"
        if any(name.startswith(".record.json") for name in left):
            return "writing the record"
        if left:
            return "writing another file"
        if list(self.world.cache(run_dir).glob(".*.tmp")):
            return "building the frame cache"
        if run_dir.record.exists():
            return "after the record"
        if run_dir.logits_best.exists():
            return "after training, before the record"
        return "training" if run_dir.attempts.exists() else "before training"


def count_fsyncs(path: str) -> None:
    """Add a byte to a file whenever this process waits for the disk."""
    real = os.fsync

    def counting(descriptor: int) -> None:
        with Path(path).open("ab") as file:
            file.write(b".")
        real(descriptor)

    os.fsync = counting


def die_at_fsync(number: int, from_end: bool, total: int) -> None:
    """Die when something is written but not yet on the disk, or on it and not yet in place.

    Args:
        number: At which wait for the disk.
        from_end: Count only those from the moment on that a whole run's best logits are moved to their place.
        total: How many a whole run has.
    """
    real, replace, seen = os.fsync, Path.replace, [-total if from_end else 0]

    def dying(descriptor: int) -> None:
        seen[0] += 1
        if seen[0] == number:
            os.killpg(0, signal.SIGKILL)
        real(descriptor)

    def watching(self: Path, target: Path) -> Path:
        if target.name == "logits_best.npy":
            seen[0] = max(seen[0], 0)
        return replace(self, target)

    os.fsync = dying
    Path.replace = watching  # type: ignore[method-assign,assignment]
