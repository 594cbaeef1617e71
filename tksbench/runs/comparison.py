"""What a record and this checkout do not have in common: said before a run is made again, skipped or gone on with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tksbench.runs import environment
from tksbench.runs.code import (
    can_change_results,
    changed_since,
    contents_of,
    differing,
    digest_of,
    edited_files,
    files_here,
    shown,
)
from tksbench.runs.errors import LedgerError
from tksbench.runs.files import read_json
from tksbench.runs.processor import PORTABLE, cpu_name, describe_cpu, is_portable
from tksbench.runs.provenance import versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tksbench.runs.paths import RunDir
    from tksbench.runs.record import Record

UNKNOWN = ("files that are not known",)
"""Stands for the names of files where only that some differ is known."""


def changed_files(
    code: str | None,
    commit: str | None,
    run_dir: RunDir | None = None,
    edited: Iterable[str] = (),
    here: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """The files that can change a result and are not what a run was trained with; empty if all are, or none is known.

    Args:
        code: What the run's attempt or record names its code.
        commit: The commit that it names.
        run_dir: The run's directory, which may hold its files' checksums; None if there is none.
        edited: Files with uncommitted changes that the record names.
        here: The files to compare with; None for those on the disk.
    """
    here = files_here() if here is None else here
    if code is not None:
        if code == digest_of(here):
            return ()
        then = _kept_files(run_dir, code)
        if then is not None:
            return differing(then, here)
    named = set(filter(can_change_results, edited))
    since = changed_since(commit) if commit is not None else None
    if since is None and not named:
        return UNKNOWN if code is not None else ()
    return tuple(sorted({*(since or ()), *named}))


def _kept_files(run_dir: RunDir | None, code: str) -> dict[str, str] | None:
    """The files of an attempt's code, as the run's directory has them; None where it does not."""
    try:
        kept = read_json(run_dir.code(code)) if run_dir is not None else None
    except LedgerError:
        return None
    return kept if isinstance(kept, dict) else None


def known_differences(record: Record) -> list[str]:
    """What is known to change the last bits of a record's run if it is trained here, a line each."""
    return [line for _, line in _found(record)]


def of_former_arithmetic(record: Record) -> bool:
    """Whether a run on a CPU is of the code whose sums were in an order that the processor decided."""
    return record.cost.gpu_hours == 0 and not record.provenance.machine


def variables_of(record: Record) -> dict[str, str]:
    """The variables under which a record's run computed.

    What torch's own kernels took stands among them although nobody set it: before the launcher held them to AVX2, runs
    on a CPU took what the processor has.
    """
    proof = record.provenance
    found, taken = dict(proof.environment), proof.machine.get("instructions", "").lower()
    for name, value in environment.PINNED.items():
        if taken and taken != value and record.cost.gpu_hours == 0:
            found.setdefault(name, taken)
    return found


def bits_expected(record: Record) -> str:
    """Whether a record's run has equal bits if it is trained here, as far as that is known: one line."""
    proof = record.provenance
    portable = is_portable(proof.machine)
    if of_former_arithmetic(record):
        return (
            "equal bits are not to be expected: the record is of earlier code, whose sums were in an order that the "
            "processor decided"
        )
    apart = {part for part, _ in _found(record)} - ({"processor"} if portable else set())
    if record.cost.gpu_hours > 0:
        apart.discard("processor")
        where = f"on {record.cost.device}, with the record's driver"
    else:
        where = f"(of this run they are {PORTABLE})" if portable else "(of this run they depend on the processor)"
    if not apart:
        return f"equal bits are to be expected {where}"
    listed = ", ".join(sorted(apart))
    if apart == {"code"}:
        return f"equal bits are to be expected {where} if the changes of the code leave its arithmetic as it was"
    return f"equal bits are not to be expected: the record is of other {listed}"


def _found(record: Record) -> Iterator[tuple[str, str]]:
    """What differs, and a line about it."""
    proof, packages = record.provenance, versions()
    if proof.processes > 1:
        yield "processes", f"the record was trained by {proof.processes} processes, this will be by one"
    if record.cost.gpu_hours == 0 and record.cost.device != cpu_name():
        yield "processor", f"the record is of {record.cost.device}, this is {cpu_name()}"
    yield from (("processor", line) for line in _pairs(proof.machine, describe_cpu(), ("kind", "flags")))
    if proof.machine:
        yield from (("variables", line) for line in _pairs(variables_of(record), environment.changing(os.environ)))
    if proof.dirty:
        yield "code", "the record is not of its commit alone: python -m tksbench.tables --why says of what else"
    yield from (("code", line) for line in _code(record))
    others = [
        name for name in sorted(packages.keys() & proof.versions.keys()) if packages[name] != proof.versions[name]
    ]
    if others:
        listed = ", ".join(f"{name} {proof.versions[name]} (here {packages[name]})" for name in others)
        yield "packages", f"the record is of {listed}"


def clean_claim(record: Record, run_dir: RunDir) -> str | None:
    """Why a record that calls itself clean is not of its commit's code; None if it is, or if that cannot be known."""
    proof = record.provenance
    if proof.commit is None or proof.dirty or proof.code is None:
        return None
    kept, committed = _kept_files(run_dir, proof.code), contents_of(proof.commit)
    if kept is None or digest_of(kept) != proof.code:
        return f"{run_dir.code(proof.code).name}, which names its code, is missing or altered"
    if committed is None:
        return None
    wrong = [path for path, content in kept.items() if committed.get(path) != content]
    return f"calls itself clean, but commit {proof.commit[:12]} has other code ({shown(wrong)})" if wrong else None


def _code(record: Record) -> Iterable[str]:
    proof = record.provenance
    changed = changed_files(proof.code, proof.commit, edited=edited_files(proof.diff) if proof.dirty else ())
    commit = (proof.commit or "unknown")[:12]
    if changed:
        yield f"the record is of commit {commit}, since then changed: {shown(changed)}"
    elif proof.commit is None or (proof.code is None and changed_since(proof.commit) is None):
        yield f"the record is of commit {commit}, this is another state of the code"


def _pairs(then: Mapping[str, str], here: Mapping[str, str], keys: Iterable[str] | None = None) -> list[str]:
    """A line for each value that is another one here; `keys` that the record lacks are passed over."""
    asked = [key for key in keys if key in then] if keys is not None else sorted({*then, *here})
    return [
        f"{key}: the record's is {then.get(key) or 'not set'}, here {here.get(key) or 'not set'}"
        for key in asked
        if then.get(key) != here.get(key)
    ]
