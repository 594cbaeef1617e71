"""HATS: golden values of both definitions, and what implementations get wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tksbench.data.framing import Events
from tksbench.systems.hats import HATS, time_surfaces

GOLDEN = [(0, 0, 0, 1), (1, 0, 10, 1), (1, 1, 30, 1), (0, 0, 30, 0), (1, 0, 80, 1), (2, 0, 85, 1), (0, 1, 90, 1),
          (1, 1, 90, 1)]  # fmt: skip
CONSTANTS: dict[str, Any] = {"cell": 2, "radius": 1, "tau": 100.0, "window": 60}


def events(rows: list[tuple[int, int, int, int]]) -> Events:
    x, y, t, p = (np.array(column) for column in zip(*rows, strict=True))
    return Events(x.astype(np.int16), y.astype(np.int16), t.astype(np.int64), p.astype(np.uint8))


def at_random(n: int, side: int, duration: int, seed: int = 0) -> Events:
    draw = np.random.default_rng(seed)
    t = np.sort(draw.integers(0, duration, n))
    return events(list(zip(*(draw.integers(0, side, n) for _ in range(2)), t, draw.integers(0, 2, n), strict=True)))


def pair_by_pair(recording: Events, side: int, cell: int, radius: int, tau: float, window: int, form: str) -> Any:
    """The definition, written out."""
    cells = -(-side // cell)
    out = np.zeros((cells * cells, 2, 2 * radius + 1, 2 * radius + 1))
    own = (recording.y // cell) * cells + recording.x // cell
    for i in range(len(recording)):
        if form == "self":
            out[own[i], recording.p[i], radius, radius] += 1
        for j in range(i):
            dx, dy = int(recording.x[j]) - int(recording.x[i]), int(recording.y[j]) - int(recording.y[i])
            age = int(recording.t[i] - recording.t[j])
            alike = own[i] == own[j] and recording.p[i] == recording.p[j]
            if alike and max(abs(dx), abs(dy)) <= radius and age <= window and (age or form == "self"):
                out[own[i], recording.p[i], dy + radius, dx + radius] += math.exp(-age / tau)
    for number in range(len(out)):
        for p in range(2):
            counted = (own == number) & ((recording.p == p) | (form == "past"))
            out[number, p] /= max(counted.sum(), 1)
    return out


def test_golden_values_of_the_paper_s_form() -> None:
    got = time_surfaces(events(GOLDEN), 4, 4, **CONSTANTS)
    expected = [[0.105831, 0.246224, 0.129262], [0.129262, 0.078402, 0.078402], [0, 0.086647, 0]]
    assert got.shape == (4, 2, 3, 3)
    assert got[0, 1] == pytest.approx(np.array(expected), abs=1e-6)
    assert got.sum() == pytest.approx(0.854031, abs=1e-6)
    assert np.count_nonzero(got) == 7


def test_golden_values_of_the_form_with_the_event_itself() -> None:
    got = time_surfaces(events(GOLDEN), 4, 4, form="self", **CONSTANTS)
    expected = [[0.12347, 0.287261, 0.150806], [0.317473, 1.091469, 0.091469], [0, 0.101088, 0]]
    assert got[0, 1] == pytest.approx(np.array(expected), abs=1e-6)
    assert got[0, 0, 1, 1] == got[1, 1, 1, 1] == 1
    assert got.sum() == pytest.approx(4.163036, abs=1e-6)


@pytest.mark.parametrize("form", ["past", "self"])
@pytest.mark.parametrize(("cell", "radius"), [(5, 2), (4, 3), (3, 4), (16, 1)])
def test_any_recording_has_the_surfaces_of_the_definition(form: Any, cell: int, radius: int) -> None:
    recording = at_random(250, side=11, duration=400)
    got = time_surfaces(recording, 11, 11, cell=cell, radius=radius, tau=50.0, window=90, form=form)
    expected = pair_by_pair(recording, 11, cell, radius, 50.0, 90, form)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("cell", "radius"), [(5, 2), (4, 1)])
def test_the_form_with_the_event_itself_is_tonic_s(cell: int, radius: int) -> None:
    functional = pytest.importorskip("tonic.functional.to_averaged_timesurface")
    recording = at_random(250, side=11, duration=400)
    names = [("t", int), ("x", int), ("y", int), ("p", int)]
    plain = np.array(list(zip(recording.t, recording.x, recording.y, recording.p, strict=True)), names)
    expected = functional.to_averaged_timesurface_numpy(plain, (11, 11, 2), cell, 2 * radius + 1, 90, 50.0, "exp")
    got = time_surfaces(recording, 11, 11, cell=cell, radius=radius, tau=50.0, window=90, form="self")
    assert got == pytest.approx(expected, rel=1e-5, abs=1e-6)  # which computes in 32 bits


def test_neighbours_in_another_cell_are_not_seen() -> None:
    across = events([(1, 0, 0, 1), (2, 0, 10, 1)])
    assert not time_surfaces(across, 4, 4, **CONSTANTS).any()
    assert time_surfaces(across, 4, 4, **CONSTANTS | {"cell": 4}).any()


def test_a_microsecond_counts_late_in_a_long_recording() -> None:
    late = [(x, y, t + 2**40, p) for x, y, t, p in GOLDEN]
    assert np.array_equal(
        time_surfaces(events(late), 4, 4, **CONSTANTS), time_surfaces(events(GOLDEN), 4, 4, **CONSTANTS)
    )


def test_surfaces_are_of_the_number_of_events_not_of_the_duration() -> None:
    twice = [*GOLDEN, *((x, y, t + 1000, p) for x, y, t, p in GOLDEN)]
    assert time_surfaces(events(twice), 4, 4, **CONSTANTS) == pytest.approx(
        time_surfaces(events(GOLDEN), 4, 4, **CONSTANTS)
    )


def test_one_event_alone_has_no_past() -> None:
    assert not HATS(34, 34).transform(events([(3, 3, 0, 1)])).any()


def test_events_off_the_sensor_are_refused() -> None:
    with pytest.raises(ValueError, match="1 rows by 5 columns, more than the sensor's 4 by 4"):
        time_surfaces(events([(4, 0, 0, 1)]), 4, 4, **CONSTANTS)


def test_features_have_the_size_of_the_cells_and_norm_one_if_asked_for() -> None:
    recording = at_random(300, side=34, duration=1000)
    plain = HATS(34, 34).transform(recording)
    assert plain.shape == (16 * 2 * 49,)
    assert plain.dtype == np.float32
    scaled = HATS(34, 34, rows="l2").transform(recording)
    assert np.linalg.norm(scaled) == pytest.approx(1)
    assert scaled * np.linalg.norm(plain) == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("form", ["past", "self"])
def test_each_neighbour_and_each_feature_is_an_operation(form: Any) -> None:
    recording = at_random(250, side=11, duration=400)
    made = HATS(11, 11, cell=4, radius=3, tau=5.0, window=90, form=form)
    features = pair_by_pair(recording, 11, 4, 3, math.inf, 90, form)
    number = np.bincount(2 * ((recording.y // 4) * 3 + recording.x // 4) + recording.p, minlength=18).reshape(9, 2)
    number = number if form == "self" else number.sum(1, keepdims=True)
    assert made.macs(recording) == pytest.approx((features * number[..., None, None]).sum() + features.size)
