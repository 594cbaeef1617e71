"""The twin of CIFAR10-DVS on disk: which recordings a run needs, writing them, checking them against the real ones.

Recordings of each number of loops have a folder of their own, `<data root>/twin/<n>-loops`: what a run reads depends
neither on what else has been made nor on when.
"""

from __future__ import annotations

import json
import logging
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tksbench.atomic import replacing
from tksbench.data import twin
from tksbench.data.cifar import CIFAR10
from tksbench.data.errors import DataError
from tksbench.data.event_splits import Listing, read_manifest
from tksbench.data.events import read_aedat2
from tksbench.data.frame_cache import turn
from tksbench.data.miniature_events import CIFAR_CLASSES, write_aedat2
from tksbench.data.registry import TWIN_MARK, folder_of, has_real, info

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from tksbench.recipe import DataSpec

log = logging.getLogger("tksbench.data")
VERSION = 1  # of the recordings: bump when their bytes change
NAME = "dvs_cifar10"
FOLDER = "twin"  # under the data root
TRAIN_PER_CLASS, TEST_PER_CLASS = 900, 100
_EVENTS_MEAN = (170_000, 240_000)  # of a whole recording; the real ones have about 205,000


class Check(NamedTuple):
    """One property of a twin: what it is, what was found, and whether that lies where it should."""

    name: str
    found: str
    ok: bool


class _Task(NamedTuple):
    """One recording to be made."""

    path: Path
    label: int
    number: int


def asked(spec: DataSpec) -> Listing:
    """The recordings of a twin that a run reads: the first ones of each class, as many as its subsets hold."""
    return _first(
        spec.split,
        _per_class(spec.train_subset, TRAIN_PER_CLASS),
        _per_class(spec.test_subset, TEST_PER_CLASS),
    )


def ensure_twin(spec: DataSpec, root: Path) -> Path:
    """Make what a run needs of a twin, unless it is there.

    Returns:
        The folder that holds the layout of the original.

    Raises:
        DataError: As `make_twin`.
    """
    train, test = _per_class(spec.train_subset, TRAIN_PER_CLASS), _per_class(spec.test_subset, TEST_PER_CLASS)
    return make_twin(root, train, test, spec.loops, split=spec.split)


def make_twin(
    root: Path,
    train: int = TRAIN_PER_CLASS,
    test: int = TEST_PER_CLASS,
    loops: int = twin.LOOPS,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    split: str = "natural",
) -> Path:
    """Write what is missing of the twin of CIFAR10-DVS; what was broken off goes on where it was.

    Args:
        root: The data root, which holds the real CIFAR-10 (`cifar-10-batches-py/`).
        train: Training recordings of each class: the first so many of the split, by number.
        test: Test recordings of each class, likewise.
        loops: Loops of 200 ms a recording; the original has six.
        processes: Side by side; None for one a core.
        progress: Called with the number of recordings done and in all.
        split: Of the data set.

    Returns:
        The folder `<root>/twin/<loops>-loops`, which holds `CIFAR10DVS/<class>/cifar10_<class>_<n>.aedat`.

    Raises:
        DataError: CIFAR-10 is absent or altered, a number is out of range, or the folder cannot be written.
    """
    _check_range("training", train, TRAIN_PER_CLASS)
    _check_range("test", test, TEST_PER_CLASS)
    _check_range("loops", loops, twin.LOOPS)
    home = root / FOLDER / f"{loops}-loops"
    folder = home / info(NAME).folder
    try:
        with turn(home, f"another process makes the twin in {home}"):
            current = read_about(home).get("version") == VERSION
            wanted = _tasks(folder, _first(split, train, test))
            tasks = [task for task in wanted if not (current and task.path.exists())]
            if tasks and not has_real("cifar10", root):
                found = f"{len(tasks):,} recordings of it are not in {folder}, and CIFAR-10 is not complete in "
                raise DataError(
                    f"a twin is made of the real CIFAR-10: {found}{folder_of('cifar10', root)}: "
                    "`python -m tksbench.data prepare cifar10`"
                )
            _begin(home, folder, loops)
            _record_all(root, tasks, loops, processes or len(os.sched_getaffinity(0)), progress)
    except OSError as error:
        raise DataError(f"{home}: the twin cannot be written: {error.strerror or error}") from error
    return home


def read_about(home: Path) -> dict[str, int]:
    """What a twin's folder says of itself: `version` and `loops`; empty if there is no twin or it is unreadable."""
    try:
        about = json.loads((home / TWIN_MARK).read_text())
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def check_twin(home: Path, sample: int = 100) -> list[Check]:
    """Compare recordings of a twin with what is known of the real ones.

    Args:
        home: The folder that `make_twin` returned.
        sample: Recordings to read, evenly over the classes.

    Returns:
        Events a recording, share of each polarity, share of pixels ever active, and the autocorrelation of the rate
        of events at the loop's period and at half of it.

    Raises:
        DataError: There is no twin.
    """
    loops = read_about(home).get("loops", 0)
    folder = home / info(NAME).folder
    files = sorted(folder.glob("*/*.aedat"))
    if not loops or not files:
        raise DataError(f"{home}: no twin; `python -m tksbench.data twin dvs_cifar10` makes one")
    files = [files[index] for index in np.linspace(0, len(files) - 1, min(sample, len(files))).astype(int)]
    counts, rising, active, at_period, at_half = (
        np.array(column) for column in zip(*map(_measure, files), strict=True)
    )
    lowest, highest = (bound * loops / twin.LOOPS for bound in _EVENTS_MEAN)
    checks = [
        Check(
            "events a recording",
            f"{counts.mean():,.0f} on average, {counts.min():,} to {counts.max():,}",
            bool(lowest < counts.mean() < highest),
        ),
        Check("share of rising events", f"{rising.mean():.3f}", bool(abs(rising.mean() - 0.5) < 0.02)),
        Check("share of pixels ever active", f"{active.mean():.2f}", bool(active.mean() > 0.5)),
    ]
    if loops > 1:
        found = f"{at_period.mean():.2f}, at half of it {at_half.mean():.2f}"
        holds = at_period.mean() > 0.7 and at_period.mean() > at_half.mean() + 0.2
        checks.append(Check(f"autocorrelation at {twin.LOOP_MS} ms", found, bool(holds)))
    return checks


def _check_range(what: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise DataError(f"{what}: {value} is not between 1 and {most}")


def _per_class(subset: int | None, whole: int) -> int:
    """Recordings of each class that a subset takes, the last of which perhaps not of every class."""
    return whole if subset is None else min(-(-subset // len(CIFAR_CLASSES)), whole)


def _first(split: str, train: int, test: int) -> Listing:
    """The first so many recordings of each class in either half of a split, in its order."""
    whole = read_manifest(NAME, split)
    halves = []
    for names, most in ((whole.train, train), (whole.test, test)):
        of_class = {label: [name for name in names if name.startswith(f"{label}/")] for label in CIFAR_CLASSES}
        chosen = {name for some in of_class.values() for name in some[:most]}
        halves.append(tuple(name for name in names if name in chosen))
    return Listing(*halves)


def _begin(home: Path, folder: Path, loops: int) -> None:
    """Note what is going to be made; recordings of another version are moved aside."""
    about = read_about(home)
    if about.get("version") == VERSION and folder.is_dir():
        return
    if folder.is_dir():
        folder.rename(home / f"{folder.name}-of-version-{about.get('version', 0)}")
    for name in CIFAR_CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    _write(home / TWIN_MARK, json.dumps({"version": VERSION, "loops": loops, "seed": twin.SEED}).encode() + b"\n")


def _tasks(folder: Path, listing: Listing) -> list[_Task]:
    """What is to be recorded, the first of each class before any second."""
    found = []
    for half in (listing.train, listing.test):
        numbers = {name: int(name.rpartition("_")[2].removesuffix(".aedat")) for name in half}
        ordered = sorted(half, key=numbers.__getitem__)
        found += [_Task(folder / name, CIFAR_CLASSES.index(name.partition("/")[0]), numbers[name]) for name in ordered]
    return found


def _record_all(
    root: Path, tasks: list[_Task], loops: int, processes: int, progress: Callable[[int, int], None] | None
) -> None:
    if not tasks:
        return
    log.info("recording %s images of CIFAR-10 with a simulated camera, once", f"{len(tasks):,}")
    images, labels, _ = CIFAR10().read_half(folder_of("cifar10", root), train=False)
    of_class = [images[labels == label] for label in range(len(CIFAR_CLASSES))]
    chosen = [of_class[task.label][task.number] for task in tasks]
    make = partial(_record, loops=loops)
    if processes == 1:
        for done, _ in enumerate(map(make, tasks, chosen), start=1):
            _report(progress, done, len(tasks))
        return
    with ProcessPoolExecutor(processes) as pool:
        for done, _ in enumerate(pool.map(make, tasks, chosen, chunksize=8), start=1):
            _report(progress, done, len(tasks))


def _report(progress: Callable[[int, int], None] | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)


def _record(task: _Task, image: NDArray[np.uint8], loops: int) -> None:
    """Make one recording; its file is either whole or absent."""
    building = task.path.with_name(f".{task.path.name}.{os.getpid()}.tmp")
    write_aedat2(building, twin.record(image, task.label, task.number, loops))
    building.replace(task.path)


def _write(path: Path, raw: bytes) -> None:
    with replacing(path, durable=False) as file:
        file.write(raw)


def _measure(path: Path) -> tuple[int, float, float, float, float]:
    """Events, share of rising ones, share of active pixels, autocorrelation of the rate at one loop and half a loop."""
    events = read_aedat2(path)
    bin_ms = 5
    rate = np.bincount(events.t // (1000 * bin_ms)).astype(float)
    rate -= rate.mean()
    active = np.unique(events.y.astype(np.int64) * twin.SIDE + events.x).size / twin.SIDE**2
    lags = (twin.LOOP_MS // bin_ms, twin.LOOP_MS // 2 // bin_ms)
    correlations = (np.corrcoef(rate[:-lag], rate[lag:])[0, 1] if 2 * lag <= len(rate) else 0.0 for lag in lags)
    whole, half = (float(value) for value in correlations)
    return len(events), float(events.p.mean()), active, whole, half
