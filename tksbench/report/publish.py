"""From a finished run to a committed record: checked against its files, never overwritten."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tksbench.errors import TksbenchError
from tksbench.metrics import correct, halves, mean_logits, summarize
from tksbench.report.evidence import inconsistency
from tksbench.runs import sha256_file, write_bytes
from tksbench.runs.arrays import read_array
from tksbench.runs.code import on_a_branch
from tksbench.runs.comparison import clean_claim
from tksbench.runs.provenance import CUT
from tksbench.runs.record import load_record

if TYPE_CHECKING:
    from tksbench.runs import Ledger, RunDir
    from tksbench.runs.record import Metrics, Record


class Published(NamedTuple):
    """What `publish` did.

    Attributes:
        added: Ids of records newly laid under results/records.
        present: How many were there already, with the same content.
        refused: One message for each run that was not published.
        dirty: How many of those added take more than their commit to be made again.
    """

    added: list[str]
    present: int
    refused: list[str]
    dirty: int = 0


def publish(ledger: Ledger) -> Published:
    """Copy the record of every finished run to results/records, each to the byte.

    A record is refused if it is not valid, if a file that it names is missing or altered, if its metrics do not
    follow from the stored logits, if it does not say by what code it can be made again, or if another record of the
    same run is published already.

    Raises:
        LedgerError: The results folder cannot be written.
    """
    added: list[str] = []
    refused: list[str] = []
    present = 0
    for run_dir in ledger.run_dirs():
        if not run_dir.record.exists():
            continue
        target, content = ledger.published(run_dir.id), run_dir.record.read_bytes()
        if target.exists() and target.read_bytes() == content:
            present += 1
            continue
        doubt = f"{target} has other content: delete one of the two" if target.exists() else doubts(run_dir)
        if doubt:
            refused.append(f"{run_dir.record}: {doubt}")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, content)
        added.append(run_dir.id)
    dirty = sum(bool(load_record(ledger.published(run)).provenance.dirty) for run in added)
    return Published(added, present, refused, dirty)


def doubts(run_dir: RunDir) -> str | None:
    """Why a finished run's record cannot be published, or None."""
    try:
        record = load_record(run_dir.record)
    except TksbenchError as error:
        return str(error)
    for name, digest in sorted(record.files.items()):
        path = run_dir.path / name
        if not path.is_file():
            return f"{name} is missing"
        if sha256_file(path) != digest:
            return f"{name} is not the file that the record was made from"
    return _unknown_code(run_dir, record) or inconsistency(record) or _recomputed(run_dir, record)


def _unknown_code(run_dir: RunDir, record: Record) -> str | None:
    """Why nobody could make a record again from what it says of its code, or None."""
    proof = record.provenance
    if proof.commit is None:
        return "names no commit, as it was trained outside a git checkout: train it in a clone (--again)"
    if on_a_branch(proof.commit) is False:  # as after git commit --amend, or a rebase
        keep = f"git branch NAME {proof.commit[:12]}"
        return f"its commit is on no branch, so that nobody else can get it: {keep}, or train it anew (--again)"
    if CUT in proof.diff:
        return "has more uncommitted changes than a record holds: commit them, and train it anew (--again)"
    return clean_claim(record, run_dir)


def _recomputed(run_dir: RunDir, record: Record) -> str | None:
    """Compare the metrics with those that the stored logits give."""
    for choice in ("last", "best"):
        stated, path = getattr(record.metrics, choice), run_dir.logits(choice)
        try:
            logits, labels = (read_array(file) for file in (path, run_dir.labels))
            true = summarize(logits, labels)
            in_order = halves(correct(mean_logits(logits), labels))  # how the test set was once halved
            if np.allclose(stated.top1_halves, in_order, rtol=1e-6, atol=1e-6):
                true["top1_halves"] = in_order
            if stated.top1_over_time:  # the logits of a converted run are the mean over its steps, without the first
                del true["first_step_recall"]
                if not np.isclose(stated.top1_over_time[-1][1], true["top1"]):
                    return f"metrics.top1_over_time does not follow from {path.name}"
            wrong = _difference(stated, true)
        except (OSError, ValueError, TksbenchError) as error:
            return f"{path.name}: {error}"
        if wrong:
            return f"metrics.{wrong} does not follow from {path.name}"
    return None


def _difference(stated: Metrics, true: dict[str, object]) -> str | None:
    for name, value in true.items():
        got, expected = (np.asarray(x, dtype=np.float64) for x in (getattr(stated, name), value))
        if got.shape != expected.shape or not np.allclose(got, expected, rtol=1e-6, atol=1e-6, equal_nan=True):
            return name
    return None
