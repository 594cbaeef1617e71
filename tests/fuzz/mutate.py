"""Damage to valid files: what storage, transfers and enemies do."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
WORDS = (
    b"-1",
    b"1e999",
    b"NaN",
    b"-Infinity",
    b"null",
    b"[]",
    b"{}",
    b'""',
    b"9" * 30,
    b"9" * 5000,
    b"\0",
    b"\n",
    b"/",
)
WORDS += (
    b"../",
    b"%s",
    b"\xc2\xb2",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"[" * 200,
    b"&a ",
    b"*a ",
    b"- ",
    b": ",
    b"\t",
    b" ",
)
_DIGITS = re.compile(rb"[0-9]+")


def mutated(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One input: some random bytes, or a seed with one to six faults."""
    if rng.random() < 0.04:
        return rng.randbytes(rng.randrange(300))
    raw = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        rng.choice(_FAULTS)(rng, raw, seeds)
    return bytes(raw)


def _flip(rng: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    if raw:
        raw[_place(rng, raw)] ^= 1 << rng.randrange(8)


def _set(rng: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    if raw:
        raw[_place(rng, raw)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _number(rng: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    """A length, offset or count that says something else."""
    width, start = rng.choice((1, 2, 4, 4, 8)), _place(rng, raw)
    value = rng.choice((*NUMBERS, len(raw), rng.randrange(1, 1000)))
    raw[start : start + width] = (value % (1 << 8 * width)).to_bytes(width, rng.choice(("little", "big")))


def _decimal(rng: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    found = [match.span() for match in _DIGITS.finditer(raw)]
    if found:
        start, end = rng.choice(found)
        raw[start:end] = rng.choice((*WORDS, b"%d" % rng.choice(NUMBERS), b"%d" % rng.randrange(100)))


def _word(rng: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    start = _place(rng, raw)
    raw[start : start + rng.choice((0, 0, 1, 4))] = rng.choice(WORDS)


def _cut(rng: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    del raw[_place(rng, raw) :]


def _drop(rng: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    start = _place(rng, raw)
    del raw[start : start + rng.choice((1, 2, 8, 64, 512))]


def _repeat(rng: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    start = _place(rng, raw)
    raw[start:start] = raw[start : start + rng.choice((1, 8, 64, 512))] * rng.choice((1, 2, 20))


def _splice(rng: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    other = rng.choice(seeds)
    start, place = _place(rng, raw), rng.randrange(len(other) + 1)
    raw[start : start + rng.choice((0, 16, 256))] = other[place : place + rng.choice((4, 64, 1024))]


def _line(rng: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    """A line twice, gone, or elsewhere."""
    lines = raw.splitlines(keepends=True)
    if lines:
        line = lines.pop(rng.randrange(len(lines)))
        for _ in range(rng.randrange(3)):
            lines.insert(rng.randrange(len(lines) + 1), line)
        raw[:] = b"".join(lines)


def _place(rng: random.Random, raw: bytearray) -> int:
    """Anywhere; headers, which are at the front, more often."""
    end = min(len(raw), rng.choice((32, 600, len(raw), len(raw))))
    return rng.randrange(end) if end else 0


_FAULTS = (_flip, _flip, _set, _number, _number, _decimal, _word, _cut, _drop, _repeat, _splice, _line)
