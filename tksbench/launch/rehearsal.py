"""`--rehearse`: the first and last steps of each run, trained as it would be, before it costs hours.

A rehearsal is a run of its own that differs from the real one in its length alone (and on a CPU in its batch): two
epochs of a step or two, on the first images of each class. It takes the same way through executor, trainer, workers,
checkpoints and record, twice: the second time it goes on from what the first has saved, and must end with the same
weights. Its results folder is a scratch folder, so no ledger hears of it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tksbench.exits import DONE, FAILED, INTERRUPTED
from tksbench.launch.local import LocalExecutor
from tksbench.launch.plan import Item, make_plan
from tksbench.launch.view import View
from tksbench.progress import working
from tksbench.recipe import ConvertSpec, TrainSpec, run_and_group_id
from tksbench.runs import Ledger
from tksbench.text import count, counted, duration, print_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from tksbench.launch.profile import SlurmProfile
    from tksbench.recipe import Run, RunSpec

Train = Callable[[Item, Ledger], str]
"""Trains the run of an item into a ledger; says why it failed, or nothing. Raises KeyboardInterrupt after Ctrl-C."""

CPU_BATCH = 4
"""Images a step on a CPU, whose memory is not what a run of full size is made for."""
_EPOCHS = 2  # one that warms up, and one in which the teacher has a weight
_CONVERTED_STEPS = 4  # time steps of a converted network's test
_CLASSIC_SAMPLES = 400  # training samples of a classifier, some of each class
_GPU_STEPS = 2  # of an epoch: the first as it is, the second recorded as a CUDA graph
# Numbers of a protocol that decide what is computed, but not by which code; of a method, all numbers are such.
_VALUES = ("lr", "weight_decay", "beta1", "beta2", "eps", "momentum", "epochs", "warmup_lr", "min_lr")


@dataclass(frozen=True)
class Rehearsal:
    """How the rehearsal of a run ended: the contract of `--rehearse --json`.

    Attributes:
        id: The run's.
        name: Its name.
        scale: Its scale.
        ok: Whether it came to its end.
        reason: Why not, in one line; empty if it did.
        log: The trainer's log of a rehearsal that failed; None if it left none.
        like: Name of the run whose rehearsal this one shares, because they differ in numbers alone; None for its own.
        data: "real" or "stand-in".
        batch: Images a step that it was rehearsed with.
        seconds: How long that took.
    """

    id: str
    name: str
    scale: str
    ok: bool
    reason: str
    log: str | None
    like: str | None
    data: str
    batch: int
    seconds: float


def rehearsed(run: Run, *, real: bool, on_gpu: bool, **model: Any) -> Run:
    """A short run that takes the same way as a long one.

    Args:
        run: The long one.
        real: Whether to read its real data; else what stands in for them.
        on_gpu: With its own batch, as on the device that it is for; else with `CPU_BATCH` images.
        model: Further changes of the network, for tests: its width.
    """
    spec, evaluation = run.spec, run.spec.evaluation
    parent = rehearsed(run.parent, real=real, on_gpu=on_gpu, **model) if run.parent else None
    tested = evaluation.batch_size if on_gpu else min(evaluation.batch_size, CPU_BATCH)
    images, changes = _shortened(spec, tested, on_gpu, model)
    data = {"train_subset": images, "test_subset": tested} | ({} if real else {"source": "miniature", "loops": 6})
    changes |= {
        "data": spec.data.model_copy(update=data),
        "evaluation": evaluation.model_copy(update={"batch_size": tested}),
    }
    if parent is not None and isinstance(spec, TrainSpec | ConvertSpec) and spec.start:
        changes["start"] = spec.start.model_copy(update={"run": parent.spec})
    short = spec.model_copy(update=changes)
    # Nothing is sent to a tracker, and ZeRO needs other processes.
    execution = run.execution.model_copy(update={"checkpoint_minutes": 0.0, "track": "none", "zero": 0})
    identity, group = run_and_group_id(short)
    return replace(run, id=identity, group=group, spec=short, execution=execution, parent=parent)


def _shortened(spec: RunSpec, tested: int, on_gpu: bool, model: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Training images of a rehearsal, and what it changes in the parts of the spec that not every kind of run has."""
    if isinstance(spec, ConvertSpec):
        return tested, {"T": min(spec.T, _CONVERTED_STEPS)}
    if not isinstance(spec, TrainSpec):
        return min(spec.data.train_subset or _CLASSIC_SAMPLES, _CLASSIC_SAMPLES), {}
    optim = spec.optim
    batch = optim.batch_size if on_gpu else min(optim.batch_size, CPU_BATCH)
    replica = optim.replica_batch and max(1, optim.replica_batch * batch // optim.batch_size)
    length = {"epochs": _EPOCHS, "warmup_epochs": min(optim.warmup_epochs, 1)}
    return batch * (_GPU_STEPS if on_gpu else 1), {
        "model": spec.model.model_copy(update=model),
        "optim": optim.model_copy(update=length | {"batch_size": batch, "replica_batch": replica}),
    }


def way(run: Run) -> str:
    """What decides by which code a run is trained: two runs with the same differ in their seed or in numbers alone."""
    plain = run.spec.model_dump(mode="json")
    if isinstance(run.spec, TrainSpec):
        plain["method"] = {key: value for key, value in plain["method"].items() if not _is_number(value)}
        plain["optim"] = {key: value for key, value in plain["optim"].items() if key not in _VALUES}
        plain["optim"]["warmup_epochs"] = bool(run.spec.optim.warmup_epochs)
    del plain["seed"], plain["versions"]
    return json.dumps([plain, run.execution.model_dump(mode="json")], sort_keys=True)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def ways(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that go the same way, first seeds alone, in order of the first of each."""
    found: dict[str, list[Run]] = {}
    firsts = {run.group: run.id for run in reversed(runs)}
    for run in runs:
        if run.id == firsts[run.group]:
            found.setdefault(way(run), []).append(run)
    return list(found.values())


def rehearse(
    group: Sequence[Run],
    root: Path,
    train: Train,
    on_gpu: bool,
    has_real: Callable[[str], bool],
    read_back: bool = True,
    **model: Any,
) -> list[Rehearsal]:
    """Rehearse the first of some runs that go the same way.

    Args:
        group: The runs.
        root: A scratch folder; what failed leaves its log there.
        train: Trains it, for example `by_launcher`.
        on_gpu: Whether it is trained on a GPU unless it asks for a CPU.
        has_real: Whether a data set's real files are there.
        read_back: Whether to go on with it, too, from what was saved.
        model: As `rehearsed`'s.

    Returns:
        How it ended for each of them.

    Raises:
        KeyboardInterrupt: After Ctrl-C, when the trainer has ended.
    """
    first, *others = group
    real = _is_real(first, has_real)
    short = rehearsed(first, real=real, on_gpu=on_gpu and first.execution.device != "cpu", **model)
    began = time.monotonic()
    reason, log = _through(short, Ledger(root / "results"), train, 2 if read_back else 1)
    found = Rehearsal(
        id=first.id,
        name=first.name,
        scale=first.scale,
        ok=not reason,
        reason=reason,
        log=log,
        like=None,
        data="real" if real else "stand-in",
        batch=short.spec.optim.batch_size if isinstance(short.spec, TrainSpec) else short.spec.evaluation.batch_size,
        seconds=round(time.monotonic() - began, 1),
    )
    same = [replace(found, id=run.id, name=run.name, scale=run.scale, like=first.name, seconds=0.0) for run in others]
    return [found, *same]


def _is_real(run: Run, has_real: Callable[[str], bool]) -> bool:
    return run.spec.data.source == "real" and has_real(run.spec.data.name)


def _through(run: Run, ledger: Ledger, train: Train, times: int) -> tuple[str, str | None]:
    """Train a short run, then go on with it, after those that it starts from; why that failed, or nothing, its log."""
    for one in run.chain:
        run_dir, weights = ledger.run_dir(one.id), set()
        for _ in range(times):
            run_dir.record.unlink(missing_ok=True)
            (item,) = make_plan([one], ledger, has_real=lambda name: True, known={})
            reason = train(item, ledger)
            if reason:
                return reason, str(run_dir.log) if run_dir.log.exists() else None
            weights.add(json.loads(run_dir.record.read_text())["weights_sha256"])
        if len(weights) > 1:
            return "what was read back from the checkpoint is not what was saved", str(run_dir.log)
    for one in run.chain:
        shutil.rmtree(ledger.run_dir(one.id).path)  # at full width its checkpoints are hundreds of MB
    return "", None


def by_launcher(gpus: Sequence[str]) -> Train:
    """Trains as the launcher does on this machine.

    Args:
        gpus: As `LocalExecutor`'s.
    """

    def train(item: Item, ledger: Ledger) -> str:
        view = _Reason()
        summary = LocalExecutor(ledger, gpus, view).execute([item])
        if summary.stopped:
            raise KeyboardInterrupt
        return "" if summary.done else view.reason

    return train


def by_job(profile: SlurmProfile, gpus: Sequence[str]) -> Train:
    """Trains in a process of this machine by the job that a node of a cluster runs.

    Args:
        profile: The cluster's; of its nodes and processes, one.
        gpus: Of this machine.
    """
    alone = {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": min(1, len(gpus))}
    one = profile.model_copy(update=alone)

    def train(item: Item, ledger: Ledger) -> str:
        from tksbench.launch.trial import try_here

        code = try_here([item], ledger, one, "local", lambda line: None)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        return "" if not code else ledger.status(item.run.id).reason

    return train


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for results and frame caches; what is left of its runs in the end stays, the rest goes."""
    root = Path(tempfile.mkdtemp(prefix="tksbench-rehearsal-"))
    before = os.environ.get("TKSBENCH_CACHE")
    os.environ["TKSBENCH_CACHE"] = str(root / "cache")
    try:
        yield root
    finally:
        if before is None:
            del os.environ["TKSBENCH_CACHE"]
        else:
            os.environ["TKSBENCH_CACHE"] = before
        shutil.rmtree(root / "cache", ignore_errors=True)
        runs = root / "results" / "runs"
        for checkpoints in runs.glob("*/checkpoints"):
            shutil.rmtree(checkpoints, ignore_errors=True)
        if not (runs.is_dir() and any(runs.iterdir())):
            shutil.rmtree(root, ignore_errors=True)


class _Reason(View):
    """Keeps the last reason why a run did not come to its end."""

    reason = "it did not come to its end"

    def event(self, kind: str, text: str) -> None:
        """See `View`."""
        if kind in ("failed", "refused"):
            self.reason = text.partition(": ")[2].partition("\n")[0]


def command(
    console: Console,
    runs: Sequence[Run],
    gpus: Sequence[str],
    has_real: Callable[[str], bool],
    profile: SlurmProfile | None,
    as_json: bool,
) -> int:
    """Rehearse runs and print a line for each as soon as it is known; with `as_json`, all in the end.

    Args:
        console: Where to.
        runs: The runs; of each, the first seed is rehearsed.
        gpus: Of this machine.
        has_real: Whether a data set's real files are there.
        profile: Of the cluster whose job is rehearsed; None for this launcher's own way.
        as_json: Print JSON.

    Returns:
        The exit status: 0 if all of them came to their end, 1 if one did not, 130 after Ctrl-C.
    """
    todo, found = ways(runs), list[Rehearsal]()
    train = by_launcher(gpus) if profile is None else by_job(profile, gpus)
    stopped = False
    if not as_json:
        for note in _notes([group[0] for group in todo], gpus, has_real):
            print_line(console, f"note: {note}")
    try:
        with scratch() as root:
            for number, group in enumerate(todo, 1):
                with working(f"rehearsing {number} of {len(todo)}: {group[0].name}"):
                    ended = rehearse(group, root, train, bool(gpus), has_real)
                found += ended
                if not as_json:
                    for one in ended:
                        print_line(console, _line(one))
    except KeyboardInterrupt:
        stopped = True
    if as_json:
        sys.stdout.write(json.dumps([asdict(one) for one in found], indent=1, allow_nan=False) + "\n")
    else:
        print_line(console, _sum(found, sum(map(len, todo))))
    return INTERRUPTED if stopped else DONE if all(one.ok for one in found) else FAILED


def _notes(runs: Sequence[Run], gpus: Sequence[str], has_real: Callable[[str], bool]) -> Iterator[str]:
    """What the rehearsals will not be like the runs in."""
    absent = sorted({run.spec.data.name for run in runs if not _is_real(run, has_real)})
    if absent:
        yield f"on stand-in data, because the real data are not there: {', '.join(absent)}"
    if any(not gpus or run.execution.device == "cpu" for run in runs):
        yield f"on the CPU with {CPU_BATCH} images a step: whether a GPU's memory holds the runs is not rehearsed"


def _line(one: Rehearsal) -> str:
    """A line for one run, or three if it failed.

    >>> _line(Rehearsal("1f", "a/tks", "paper", True, "", None, None, "real", 4, 12.3))
    'ok      a/tks: 12 s'
    """
    if not one.ok and one.like is None:
        return f"FAILED  {one.name}: {one.reason}" + (f"\n        log: {one.log}" if one.log else "")
    how = duration(one.seconds) if one.like is None else f"as {one.like}"
    return f"{'ok' if one.ok else 'FAILED':<7} {one.name}: {how}"


def _sum(found: Sequence[Rehearsal], asked: int) -> str:
    shared = sum(one.like is not None for one in found)
    ok = sum(one.ok for one in found)
    counts = {"ok": ok, "failed": len(found) - ok, "not rehearsed": asked - len(found)}
    how = f" ({shared} by the rehearsal of another run, from which they differ in numbers alone)" if shared else ""
    return f"{count(asked)}: {counted(counts)}{how}"
