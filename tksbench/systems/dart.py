"""DART: log-polar descriptors of the newest events around an event, counted as words of a codebook.

Source: Ramesh et al., "DART: Distribution Aware Retinal Transform for Event-based Cameras", TPAMI 2020. Its text
was not at hand, and there is no public code: queue, rings, radii and codebook are this project's choice, which the
recipe marks. The votes are the definition in `log_polar`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tksbench.component import component

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pydantic import Field

    from tksbench.data.framing import Events

    Vote = Literal["soft", "hard"]

AT_A_TIME = 1024  # descriptors
PYRAMID = (1, 2, 4)  # parts of the sensor, a side


def log_polar(
    dx: NDArray[np.int64], dy: NDArray[np.int64], *, rings: int, wedges: int, r_min: float, r_max: float, vote: Vote
) -> NDArray[np.float64]:
    """The votes of events at a distance (dx, dy) from the centre.

    With R = sqrt(dx^2 + dy^2), at least r_min, and the angle of (dx, dy) in [0, 2 pi), the place of a vote is
    u = (rings - 1) ln(R / r_min) / ln(r_max / r_min) and w = wedges * angle / (2 pi). A hard vote is for ring
    round(u), wedge floor(w); a soft one is shared by the four bins around (u, w), in proportion to its nearness, the
    wedges being a circle. Events beyond r_max do not vote.

    Args:
        dx: Columns, [N].
        dy: Rows, [N].
        rings: Number of rings, at least 2.
        wedges: Number of wedges.
        r_min: Radius of the innermost ring, in pixels.
        r_max: Radius of the outermost ring, in pixels.
        vote: "soft" or "hard".

    Returns:
        [N, rings, wedges]; those of an event sum to 1, or to 0 beyond r_max.
    """
    distance = np.hypot(dx, dy)
    within = distance <= r_max
    u = (rings - 1) * np.log(np.maximum(distance, r_min) / r_min) / np.log(r_max / r_min)
    w = wedges * (np.arctan2(dy, dx) % (2 * np.pi)) / (2 * np.pi)
    found = np.zeros((len(distance), rings, wedges))
    number = np.arange(len(distance))
    ring, wedge = np.minimum(np.floor(u).astype(int), rings - 1), np.floor(w).astype(int)
    if vote == "hard":
        found[number, np.minimum(np.rint(u).astype(int), rings - 1), wedge % wedges] = 1.0
    else:
        for up, share_u in ((0, 1 - (u - ring)), (1, u - ring)):
            for on, share_w in ((0, 1 - (w - wedge)), (1, w - wedge)):
                found[number, np.minimum(ring + up, rings - 1), (wedge + on) % wedges] += share_u * share_w
    return np.where(within[:, None, None], found, 0.0)


def descriptors(
    events: Events, at: NDArray[np.int64], height: int, width: int, *, queue: int, votes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sum the votes of the newest events around some events, itself among them.

    Args:
        events: Events of one recording, of both polarities.
        at: Which of them, ascending [M].
        height: Rows of the sensor.
        width: Columns of the sensor.
        queue: How many of the newest events vote.
        votes: Of an event at each distance, [2 R + 1, 2 R + 1, bins], rows dy and columns dx from -R to R.

    Returns:
        [M, bins].

    Raises:
        ValueError: Events lie off the sensor.
    """
    if events.height > height or events.width > width:
        span = f"{events.height} rows by {events.width} columns"
        raise ValueError(f"the events span {span}, more than the sensor's {height} by {width}")
    side = votes.shape[0]
    table = votes.reshape(side * side, -1)
    stride = width + side - 1
    place = (events.y.astype(np.int64) + side // 2) * stride + events.x + side // 2
    counts = np.zeros((height + side - 1, stride))  # of the queue, with a margin on each side
    flat, around = counts.reshape(-1), sliding_window_view(counts, (side, side))
    found = np.empty((len(at), table.shape[1]))
    patches = np.empty((min(len(at), AT_A_TIME), side, side))
    low = high = 0  # the queue is place[low:high]
    for start in range(0, len(at), AT_A_TIME):
        chosen = at[start : start + AT_A_TIME]
        for number, (end, x, y) in enumerate(
            zip((chosen + 1).tolist(), events.x[chosen].tolist(), events.y[chosen].tolist(), strict=True)
        ):
            begin = max(end - queue, 0)
            if begin >= high:  # nobody stays
                flat[place[low:high]] = 0.0
                low = high = begin
            np.add.at(flat, place[high:end], 1.0)
            np.subtract.at(flat, place[low:begin], 1.0)
            low, high = begin, end
            patches[number] = around[y, x]
        found[start : start + len(chosen)] = patches[: len(chosen)].reshape(len(chosen), -1) @ table
    return found


@component("features", "dart")
class DART:
    """Histograms of visual words over a spatial pyramid 1x1 + 2x2 + 4x4, of every n-th event of a recording.

    Attributes:
        codebook_: The words [words, rings * wedges], float32, once `fit` has learned them.
    """

    sparse = True  # most words do not occur in most parts of a recording
    codebook_: NDArray[np.float32]

    def __init__(
        self,
        height: int,
        width: int,
        random_state: int,
        *,
        queue: Annotated[int, Field(ge=1)] = 1000,
        every: Annotated[int, Field(ge=1)] = 8,
        rings: Annotated[int, Field(ge=2)] = 7,
        wedges: Annotated[int, Field(ge=1)] = 12,
        r_min: Annotated[float, Field(gt=0)] = 2.0,
        r_max: Annotated[float, Field(gt=0)] = 10.0,
        vote: Literal["soft", "hard"] = "soft",
        words: Annotated[int, Field(ge=2)] = 1000,
        sample: Annotated[int, Field(ge=2)] = 60_000,
        pyramid: bool = True,
    ) -> None:
        """Store the constants.

        Args:
            height: Rows of the sensor.
            width: Columns of the sensor.
            random_state: Seed of the sample and of k-means.
            queue: How many of the newest events vote.
            every: Take the descriptor of every so many-th event.
            rings: Rings of a descriptor.
            wedges: Wedges of a descriptor.
            r_min: Radius of the innermost ring in pixels.
            r_max: Radius of the outermost ring in pixels.
            vote: Whether a vote is shared by the four bins around it.
            words: Size of the codebook.
            sample: Descriptors of the training half that it is learned from, at least `words`.
            pyramid: Whether words are counted by parts of the sensor too.

        Raises:
            ValueError: Radii that are no range, or more words than descriptors to learn them from.
        """
        if r_max <= r_min:
            raise ValueError(f"r_max {r_max} must be above r_min {r_min}")
        if sample < words:
            raise ValueError(f"a codebook of {words} words cannot be learned from {sample} descriptors")
        self._plane, self.random_state = (height, width), random_state
        self.queue, self.every, self.words, self.sample = queue, every, words, sample
        self.levels = PYRAMID if pyramid else PYRAMID[:1]
        reach = int(r_max)
        dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        votes = log_polar(dx.ravel(), dy.ravel(), rings=rings, wedges=wedges, r_min=r_min, r_max=r_max, vote=vote)
        self._votes = votes.reshape(2 * reach + 1, 2 * reach + 1, rings * wedges)

    def fit(self, recordings: Sequence[Events]) -> None:
        """Learn the codebook by k-means, from as many descriptors of each recording.

        Raises:
            ValueError: The recordings have fewer events than there are words.
        """
        from sklearn.cluster import MiniBatchKMeans

        random = np.random.default_rng(self.random_state)
        each = -(-self.sample // len(recordings))
        parts = []
        for events in recordings:
            at = np.arange(self.every - 1, len(events), self.every)
            parts.append(self._descriptors(events, np.sort(random.permutation(at)[:each])))
        found = np.concatenate(parts)
        if len(found) < self.words:
            raise ValueError(f"{len(found)} descriptors are too few for a codebook of {self.words} words")
        kmeans = MiniBatchKMeans(self.words, random_state=self.random_state, batch_size=4096, n_init=1)
        self.codebook_ = kmeans.fit(found).cluster_centers_.astype(np.float32)

    def transform(self, events: Events) -> NDArray[np.float32]:
        """The features [F] of a recording, F = words * 21 (or `words` without a pyramid); their squares sum to 1."""
        at = np.arange(self.every - 1, len(events), self.every)
        found = self._descriptors(events, at)
        half = (self.codebook_**2).sum(axis=1) / 2
        word = np.argmax(found @ self.codebook_.T - half, axis=1)
        counts = []
        for parts in self.levels:
            row = events.y[at].astype(np.int64) * parts // self._plane[0]
            column = events.x[at].astype(np.int64) * parts // self._plane[1]
            cell = (row * parts + column) * self.words + word
            counts.append(np.bincount(cell, minlength=parts * parts * self.words))
        histogram = np.concatenate(counts)
        return np.asarray(np.sqrt(histogram / max(histogram.sum(), 1)), dtype=np.float32)

    def macs(self, events: Events) -> float:
        """Multiply-accumulates that the features of a recording take.

        One for each share of each vote, each bin of a descriptor, which is scaled, and each bin of each word that it is
        compared with.
        """
        at = np.arange(self.every - 1, len(events), self.every)
        shares = np.count_nonzero(self._votes, axis=-1, keepdims=True).astype(np.float64)
        votes = descriptors(events, at, *self._plane, queue=self.queue, votes=shares).sum()
        return float(votes) + len(at) * self._votes.shape[-1] * (1 + self.words)

    def _descriptors(self, events: Events, at: NDArray[np.int64]) -> NDArray[np.float32]:
        """Descriptors [M, rings * wedges] of some events, each of Euclidean norm 1."""
        found = descriptors(events, at, *self._plane, queue=self.queue, votes=self._votes)
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        return np.asarray(found / np.maximum(norms, np.finfo(np.float64).tiny), dtype=np.float32)
