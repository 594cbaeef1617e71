"""What the harness itself costs: planning, a record written and read, tables and page from thousands of records."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.parts import BenchError
from benchmarks.timing import Candidate, Case
from tksbench.metrics import optimal_aurc
from tksbench.recipe import expand, load_recipe, run_id
from tksbench.runs import read_json, write_json
from tksbench.runs.record import load_record, make_record, pack_correct, save_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.parts import Options
    from tksbench.recipe import Run
    from tksbench.runs.record import Record

NEEDS = ()
RECORDS = (10_000, 20_000)
ROOT = Path(__file__).resolve().parents[1]
_SAMPLES = 10_000  # test images of CIFAR
_LAYERS = 20
_IMPORTS = "import pydantic, yaml"  # what no planner of typed recipes can do without


def cases(options: Options) -> Iterator[Case]:
    """The plan, a record, tables and page; in full shape records of scale paper, with its epochs, and a smoke run."""
    yield _plan(options.scratch / "empty")
    scale = "paper" if options.full else "mini"
    runs = all_runs(scale)
    yield from _one_record(synthetic_record(runs[0]), options.scratch)
    yield _tables(runs, scale, options.scratch, *RECORDS)
    if options.full:
        smoke = Smoke(options.scratch / "smoke")
        imports = partial(_python, ["-c", Smoke.IMPORTS], options.scratch)
        yield Case(
            name="a smoke run of CIFAR-10, two epochs, in a process of its own",
            candidates=(Candidate("imports", imports), Candidate("smoke run", smoke, smoke.values)),
            reference="imports",
        )


def all_runs(scale: str) -> list[Run]:
    """The first seed of every run of every recipe, each once."""
    runs: dict[str, Run] = {}
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        for run in expand(load_recipe(path), scale, seeds=1):
            runs.setdefault(run.id, run)
    return list(runs.values())


def synthetic_record(run: Run) -> Record:
    """A valid record of a run, as large as a real one of its scale."""
    T, epochs = run.spec.steps, run.spec.epochs
    right = [number % 5 > 0 for number in range(_SAMPLES)]
    top1 = 100 * sum(right) / _SAMPLES
    one: dict[str, Any] = {"epoch": epochs - 1, "top1": top1, "top5": 99.0, "loss": 0.7310585786300049, "ece": 0.0312}
    one |= {"aurc_logit": 213.81094172, "aurc_softmax": 199.87184293}
    one |= {f"e{key}": one[key] - optimal_aurc(right.count(False), _SAMPLES) for key in ("aurc_logit", "aurc_softmax")}
    one |= {"top1_halves": [top1, top1], "top1_prefix": [top1] * T, "top1_step": [top1] * T}
    one |= {"first_step_recall": [45.61] * 10}
    curve = {"epoch": list(range(epochs)), "lr": [0.0037625000000000007] * epochs}
    curve |= {"train_loss": [1.4691485430611233] * epochs, "train_top1": [46.23879640151515] * epochs}
    curve |= {"test_top1": [60.46] * (epochs - 1) + [top1]}
    curve |= {"test_top1_halves": [[60.66, 60.26]] * (epochs - 1) + [one["top1_halves"]]}
    layer = {"name": "blocks.0.conv1", "kind": "conv", "macs_per_step": 589824, "input_rate": 0.15483665466308594}
    spiking: dict[str, Any] = {"steps": T, "layers": [layer | {"macs": 0, "synops": 365305.5}] * _LAYERS}
    spiking |= {"spike_rate": 0.1548, "macs": 1769472, "synops": 365305.5 * _LAYERS, "energy_mj": 0.0123}
    provenance: dict[str, Any] = {"versions": {"torch": "2.15.0"}, "python": "3.11.7", "platform": "Linux x86_64"}
    provenance |= {"devices": ["CPU"], "data": {"test_batch": "0" * 32}, "command": "python -m tksbench.launch"}
    provenance |= {"started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T01:00:00+00:00"}
    parts = {key: value for key, value in run.to_json().items() if key != "execution"}
    return make_record(
        **parts,
        metrics={"last": one, "best": one, "curve": curve},
        test={"n": _SAMPLES, "correct_last": pack_correct(right), "correct_best": pack_correct(right)},
        attempts=[{"event": "start", "time": "2026-01-01T00:00:00+00:00", "host": "here", "pid": 1}],
        cost={"hours": 1.0, "gpu_hours": 0.5, "device": "CPU", "parameters": 12_700_000, "snn": spiking},
        provenance=provenance,
        weights_sha256="a" * 64,
    )


def write_records(runs: Sequence[Run], folder: Path, count: int) -> None:
    """Write `count` records, the runs' seeds in turn, into `folder`/records."""
    records = folder / "records"
    records.mkdir(parents=True)
    texts = [synthetic_record(run).to_bytes() for run in runs]
    for number in range(count):
        run, text = runs[number % len(runs)], texts[number % len(runs)]
        seed = run.seed + number // len(runs)
        name = run_id(run.spec.model_copy(update={"seed": seed}))
        text = text.replace(b'"id": "%b"' % run.id.encode(), b'"id": "%b"' % name.encode())
        text = text.replace(b'"seed": %d' % run.seed, b'"seed": %d' % seed)
        plain = json.loads(text)
        del plain["seal"]  # of the record that it was made from
        (records / f"{name}.json").write_bytes(make_record(**plain).to_bytes())


class Smoke:
    """A smoke run by the user's command, from an empty results folder."""

    IMPORTS = "import torch, torchvision, timm"
    RECIPE, NAME = "recipes/cifar10.yaml", "cifar10/spiking_resnet19/baseline"
    FEWER = ("optim.epochs=2", "optim.warmup_epochs=0")

    def __init__(self, folder: Path) -> None:
        """Take an empty folder, for results and for the miniature."""
        self.folder = folder
        self.wall = 0.0

    def __call__(self) -> None:
        """Train it."""
        shutil.rmtree(self.folder / "results", ignore_errors=True)
        command = ["-m", "tksbench.launch", self.RECIPE, *self.FEWER, "--scale", "smoke", "--only", self.NAME]
        started = time.perf_counter()
        _python(command, self.folder / "results", TKSBENCH_DATA=str(self.folder / "data"))
        self.wall = time.perf_counter() - started

    def values(self) -> dict[str, float]:
        """Seconds of training steps in the last run, of the imports, and of all else: the harness's own."""
        (path,) = (self.folder / "results/runs").glob("*/record.json")
        training = 3600 * float(read_json(path)["cost"]["hours"])
        started = time.perf_counter()
        _python(["-c", self.IMPORTS], self.folder)
        imports = time.perf_counter() - started
        return {"training s": training, "imports s": imports, "else s": self.wall - training - imports}


def _plan(results: Path) -> Case:
    recipes = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "recipes").glob("*.yaml"))
    command = ["-m", "tksbench.launch", *recipes, "--scale", "paper", "--plan", "--json"]
    return Case(
        name=f"plan of all {len(recipes)} recipes, in a process of its own",
        candidates=(
            Candidate("Python and imports", partial(_python, ["-c", _IMPORTS], results)),
            Candidate("plan", partial(_python, command, results)),
        ),
        reference="Python and imports",
    )


def _one_record(record: Record, folder: Path) -> Iterator[Case]:
    path, plain_path = folder / f"{record.id}.json", folder / "plain.json"
    plain = json.loads(record.to_bytes())
    del plain["seal"]  # of the bytes, not of what they say
    write_json(plain_path, plain)  # reading them can be measured alone
    save_record(path, record)
    size = f"{len(record.to_bytes()) / 1000:.0f} kB"
    yield Case(
        name=f"a record of {size}, checked and written to disk",
        candidates=(
            Candidate("the same as JSON", lambda: write_json(plain_path, plain)),
            Candidate("record written", lambda: save_record(path, make_record(**plain))),
        ),
        reference="the same as JSON",
    )
    yield Case(
        name=f"a record of {size}, read and checked",
        candidates=(
            Candidate("the same as JSON", lambda: read_json(plain_path)),
            Candidate("record read", lambda: load_record(path)),
        ),
        reference="the same as JSON",
    )


def _tables(runs: Sequence[Run], scale: str, scratch: Path, *counts: int) -> Case:
    candidates = []
    command = ["-m", "tksbench.tables", "--format", "md,tex,html"]
    for count in counts:
        candidates.append(Candidate(f"{count:,} records", _Tables(runs, scratch / f"{count}", count, command)))
    return Case(
        name=f"all tables and the page from records of scale {scale}, in a process of its own",
        candidates=candidates,
        reference=candidates[0].name,
    )


@dataclass(frozen=True)
class _Tables:
    """Runs a command on records, which are written when it is first run: a minute that a case not asked for saves."""

    runs: Sequence[Run]
    results: Path
    count: int
    command: Sequence[str]

    def __call__(self) -> None:
        if not self.results.exists():
            write_records(self.runs, self.results, self.count)
        _python(self.command, self.results)


def _python(words: Sequence[str], results: Path, **more: str) -> None:
    """Run a command of this checkout, with a results folder of the bench's own.

    Raises:
        BenchError: It failed.
    """
    command = [sys.executable, *words]
    environment = os.environ | {"TKSBENCH_RESULTS": str(results)} | more
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling the libraries anew each time is nobody's normal case
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no message"]
        raise BenchError(f"{' '.join(words[:2])} ended with status {done.returncode}: {said[-1]}")
