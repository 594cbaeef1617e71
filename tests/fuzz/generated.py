"""Inputs from hypothesis: seeds with edits, and bytes of any kind; what escapes is made as small as it can be."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.driver import Outcome, judge
from tests.fuzz.mutate import NUMBERS, WORDS
from tests.fuzz.reader import Reader

_NUMBER = st.sampled_from(NUMBERS) | st.integers(0, 1000)
_INSERT = (
    st.just(b"")
    | st.binary(min_size=1, max_size=9)
    | st.sampled_from(WORDS)
    | st.builds(
        lambda value, width, order: (value % (1 << 8 * width)).to_bytes(width, order),
        _NUMBER,
        st.sampled_from((1, 2, 4, 8)),
        st.sampled_from(("little", "big")),
    )
    | st.builds(lambda value: b"%d" % value, _NUMBER)
)
# Where, how many bytes go (None: as many as come), what comes.
_EDIT = st.tuples(st.integers(0, 2**16), st.sampled_from((None, None, 0, 1, 4, 16, 2**20)), _INSERT)


def inputs(reader: Reader) -> st.SearchStrategy[bytes]:
    """What the reader is given."""
    seeds = st.sampled_from(reader.seeds())
    edited = st.builds(_edited, seeds, st.lists(_EDIT, min_size=1, max_size=5))
    repaired = st.builds(lambda raw, key: reader.repair(random.Random(key), raw), edited, st.integers(0, 99))  # noqa: S311
    return st.binary(max_size=300) | repaired | repaired | repaired  # the first is what a failure shrinks to


def _edited(raw: bytes, edits: list[tuple[int, int | None, bytes]]) -> bytes:
    content = bytearray(raw)
    for place, gone, new in edits:
        start = place % (len(content) + 1)
        content[start : start + (len(new) if gone is None else gone)] = new
    return bytes(content)


def explore(reader: Reader, folder: Path, outcome: Outcome, inputs_more: int, number: int) -> None:
    """Give a reader so many inputs; the same number gives the same ones. Call it with `Watched` around it."""
    end = outcome.inputs + inputs_more
    smallest: list[str] = []

    @seed(number)
    @settings(
        max_examples=inputs_more,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
        print_blob=False,
    )
    @given(inputs(reader))
    def give(raw: bytes) -> None:
        before = len(outcome.escaped)
        judge(reader, folder, raw, outcome, f"hypothesis {number}")
        if escaped := outcome.escaped[before:]:
            del outcome.escaped[before:]  # the smallest one that is found is kept
            smallest[:] = [f"{told} of {raw[:60]!r}" for told in escaped]
            raise AssertionError

    while outcome.inputs < end and not smallest:  # it may find nothing new sooner
        try:
            give()
        except AssertionError:
            if not smallest:
                raise
        outcome.escaped += smallest
        number += 1_000_003
