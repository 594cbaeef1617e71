"""Event frames: this project's reader and framing beside `tonic.transforms.ToFrame` on the same events.

The time of the reference holds no reading: its events lie in memory, in tonic's own layout. That both give the same
frames, bin for bin, is what tests/data/test_events.py shows.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.timing import Candidate, Case
from tksbench.data.events import Events, read_aedat2, read_atis, to_frames
from tksbench.data.miniature_events import write_aedat2, write_atis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from benchmarks.parts import Options

NEEDS = ("tonic",)
REFERENCE = "tonic ToFrame"
T = 10
SMALL, FULL = 8, 64  # recordings of a case


class _Kind(NamedTuple):
    """A data set's recordings: where they lie, how they are read, and what a made-up one is like.

    Attributes:
        name: For the table.
        places: Patterns under the data root, the first that matches is taken.
        read: Reads a file.
        write: Writes a made-up one.
        height: Rows of the sensor.
        width: Columns of the sensor.
        n: Events of a made-up recording, about as many as a real one has.
    """

    name: str
    places: tuple[str, ...]
    read: Callable[[Path], Events]
    write: Callable[[Path, Events], None]
    height: int
    width: int
    n: int


_KINDS = (
    _Kind("N-MNIST", ("n_mnist/Test/*/*.bin",), read_atis, write_atis, 34, 34, 4_000),
    _Kind("N-Caltech101", ("Caltech101/*/*.bin",), read_atis, write_atis, 180, 240, 115_000),
    _Kind("DVS128", ("CIFAR10DVS/*/*.aedat", "aedat2_dvs128/*.aedat"), read_aedat2, write_aedat2, 128, 128, 200_000),
)


def cases(options: Options) -> Iterator[Case]:
    """One case for each sensor: real recordings where the data root has them, else made-up ones."""
    count = FULL if options.full else SMALL
    for kind in _KINDS:
        found = [sorted(options.data.glob(place)) for place in kind.places]
        real = next((files for files in found if files), [])
        files = real[:: max(1, len(real) // count)][:count] or _make_up(kind, options.scratch, count)
        yield _case(kind, files, "recordings" if real else "synthetic recordings")


def synthetic(n: int, height: int, width: int, rng: np.random.Generator) -> Events:
    """Events [n] spread evenly over the sensor and over 300 ms."""
    return Events(
        x=rng.integers(width, size=n, dtype=np.int16),
        y=rng.integers(height, size=n, dtype=np.int16),
        t=np.sort(rng.integers(300_000, size=n)),
        p=rng.integers(2, size=n, dtype=np.uint8),
    )


def tonic_array(events: Events) -> Any:
    """Events in tonic's layout."""
    from tonic.io import make_structured_array

    return make_structured_array(events.x, events.y, events.t, events.p)


def tonic_framing(height: int, width: int) -> Callable[[Any], Any]:
    """Tonic's transform that cuts a recording into T equal time bins."""
    from tonic.transforms import ToFrame

    framing: Callable[[Any], Any] = ToFrame(sensor_size=(width, height, 2), n_time_bins=T)
    return framing


def _make_up(kind: _Kind, folder: Path, count: int) -> list[Path]:
    rng = np.random.default_rng(len(kind.name))
    files = [folder / f"{kind.name}_{number}" for number in range(count)]
    for file in files:
        kind.write(file, synthetic(kind.n, kind.height, kind.width, rng))
    return files


def _last(frames: Iterable[Any]) -> Any:
    """Frame one recording after the other and keep the last: as in use, no more than one lies in memory."""
    return deque(frames, maxlen=1)[0]


def _case(kind: _Kind, files: Sequence[Path], what: str) -> Case:
    recordings = [kind.read(file) for file in files]
    arrays = [tonic_array(events) for events in recordings]
    mean = round(sum(map(len, recordings)) / len(recordings))
    frame = partial(to_frames, T=T, height=kind.height, width=kind.width)
    theirs = tonic_framing(kind.height, kind.width)
    return Case(
        name=f"{kind.name}, {len(files)} {what} of {mean:,} events, T={T}, {kind.height}x{kind.width}",
        candidates=(
            Candidate(REFERENCE, lambda: _last(map(theirs, arrays))),
            Candidate("framing", lambda: _last(map(frame, recordings))),
            Candidate("reading and framing", lambda: _last(frame(kind.read(file)) for file in files)),
        ),
        reference=REFERENCE,
    )
