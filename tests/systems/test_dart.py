"""DART: golden values of the votes, the queue, and the words of a codebook."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tksbench.data.framing import Events
from tksbench.systems.dart import DART, descriptors, log_polar

QUEUE = [(6, 5), (5, 7), (2, 5), (5, 1), (7, 7), (9, 9), (5, 5)]
GRID: dict[str, Any] = {"rings": 3, "wedges": 8, "r_min": 1.0, "r_max": 4.0}
SMALL: dict[str, Any] = {"queue": 40, "every": 5, "rings": 3, "wedges": 4, "r_max": 6.0, "words": 8, "sample": 100}


def events(places: list[tuple[int, int]], step: int = 10) -> Events:
    x, y = (np.array(column, np.int16) for column in zip(*places, strict=True))
    t = np.arange(len(places), dtype=np.int64) * step
    return Events(x, y, t, (np.arange(len(places)) % 2).astype(np.uint8))


def at_random(n: int, seed: int, side: int = 16) -> Events:
    return events([tuple(place) for place in np.random.default_rng(seed).integers(0, side, (n, 2)).tolist()])


def votes(vote: Any, reach: int = 4, **grid: Any) -> Any:
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    found = log_polar(dx.ravel(), dy.ravel(), vote=vote, **GRID | grid)
    return found.reshape(2 * reach + 1, 2 * reach + 1, -1)


def last(recording: Events, vote: Any, queue: int = 100) -> Any:
    at = np.array([len(recording) - 1])
    return descriptors(recording, at, 12, 12, queue=queue, votes=votes(vote))[0].reshape(3, 8)


def test_golden_values_of_hard_votes() -> None:
    expected = np.zeros((3, 8))
    expected[0, 0], expected[1, 2], expected[2, [1, 4, 6]] = 2, 1, 1
    got = last(events(QUEUE), "hard")
    assert got.tolist() == expected.tolist()
    assert np.linalg.norm(got) == pytest.approx(2.828427, abs=1e-6)


def test_golden_values_of_soft_votes() -> None:
    expected = np.zeros((3, 8))
    expected[0, 0] = 2
    expected[1, [1, 2, 4]] = 0.5, 1, 0.415037
    expected[2, [1, 4, 6]] = 0.5, 0.584963, 1
    got = last(events(QUEUE), "soft")
    assert got == pytest.approx(expected, abs=1e-6)
    assert got.sum() == pytest.approx(6)
    assert np.linalg.norm(got) == pytest.approx(2.648478, abs=1e-6)


def test_wedges_are_a_circle() -> None:
    (got,) = log_polar(np.array([2]), np.array([-1]), vote="soft", **GRID)
    assert got[:, 0].sum() + got[:, 7].sum() == pytest.approx(1)
    assert got[:, 7].sum() == pytest.approx(8 * np.arctan2(1, 2) / (2 * np.pi))


@pytest.mark.parametrize("queue", [1, 3, 20, 1000])
def test_the_queue_holds_the_newest_events_however_long_they_took(queue: int) -> None:
    recording = at_random(60, 0, side=12)
    at = np.array([2, 3, 30, 59])
    table = votes("soft")
    got = descriptors(recording, at, 12, 12, queue=queue, votes=table)
    for row, end in zip(got, at, strict=True):
        newest = np.arange(max(0, end + 1 - queue), end + 1)
        dx, dy = (column[newest].astype(int) - int(column[end]) for column in (recording.x, recording.y))
        assert row == pytest.approx(log_polar(dx, dy, vote="soft", **GRID).sum(0).ravel(), abs=1e-12)
    slow = Events(recording.x, recording.y, recording.t * 1000, recording.p)
    assert np.array_equal(descriptors(slow, at, 12, 12, queue=queue, votes=table), got)


def test_events_off_the_sensor_are_refused() -> None:
    with pytest.raises(ValueError, match="10 rows by 10 columns, more than the sensor's 8 by 8"):
        descriptors(events(QUEUE), np.array([0]), 8, 8, queue=3, votes=votes("soft"))


def test_words_are_counted_over_the_whole_its_quarters_and_sixteenths() -> None:
    made = DART(16, 16, 0, **SMALL)
    made.fit([at_random(200, seed) for seed in range(3)])
    assert made.codebook_.shape == (8, 12)
    shares = made.transform(at_random(200, 9)).astype(float) ** 2
    assert shares.shape == (21 * 8,)
    assert shares.sum() == pytest.approx(1)
    whole, quarters, sixteenths = shares[:8], shares[8:40].reshape(4, 8), shares[40:].reshape(16, 8)
    assert quarters.sum(0) == pytest.approx(whole, abs=1e-6)
    assert sixteenths.sum(0) == pytest.approx(whole, abs=1e-6)
    assert sixteenths.reshape(2, 2, 2, 2, 8).sum((1, 3)).reshape(4, 8) == pytest.approx(quarters, abs=1e-6)


def test_the_seed_decides_the_codebook() -> None:
    recordings = [at_random(200, seed) for seed in range(3)]
    books = []
    for seed in (0, 0, 1):
        made = DART(16, 16, seed, **SMALL | {"sample": 30})
        made.fit(recordings)
        books.append(made.codebook_)
    assert np.array_equal(books[0], books[1])
    assert not np.array_equal(books[0], books[2])


def test_a_recording_of_fewer_events_than_are_skipped_has_no_words() -> None:
    made = DART(16, 16, 0, **SMALL)
    made.fit([at_random(200, 0)])
    assert not made.transform(at_random(3, 1)).any()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"r_max 2.0 must be above r_min 2.0"):
        DART(16, 16, 0, r_max=2.0)
    with pytest.raises(ValueError, match="8 words cannot be learned from 5 descriptors"):
        DART(16, 16, 0, **SMALL | {"sample": 5})
    with pytest.raises(ValueError, match="4 descriptors are too few for a codebook of 8 words"):
        DART(16, 16, 0, **SMALL).fit([at_random(20, 0)])


@pytest.mark.parametrize(("vote", "shares"), [("hard", 6), ("soft", 1 + 1 + 2 + 1 + 1 + 2)])
def test_each_vote_and_each_word_is_an_operation(vote: Any, shares: int) -> None:
    made = DART(12, 12, 0, **SMALL | {"rings": 3, "wedges": 8, "r_min": 1.0, "r_max": 4.0, "every": 7, "vote": vote})
    assert made.macs(events(QUEUE)) == shares + 24 * (1 + 8)
