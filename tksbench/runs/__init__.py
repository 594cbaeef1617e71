"""The ledger: run directories, records, leases, status. Imports no torch and no numpy.

The record's schema is `tksbench.runs.record`, provenance `tksbench.runs.provenance`: import them from there.
"""

from __future__ import annotations

from tksbench.runs.attempts import attempt_ended, attempt_started, read_attempts
from tksbench.runs.errors import LeaseHeld, LeaseLost, LedgerError, RecordError
from tksbench.runs.files import (
    append_jsonl,
    read_json,
    read_jsonl,
    remove_temporaries,
    sha256_file,
    write_bytes,
    write_json,
    write_jsonl,
)
from tksbench.runs.lease import Holder, Lease, read_holder
from tksbench.runs.ledger import Finished, Ledger
from tksbench.runs.paths import RunDir, results_root
from tksbench.runs.status import Status, read_status

__all__ = [
    "Finished",
    "Holder",
    "Lease",
    "LeaseHeld",
    "LeaseLost",
    "Ledger",
    "LedgerError",
    "RecordError",
    "RunDir",
    "Status",
    "append_jsonl",
    "attempt_ended",
    "attempt_started",
    "read_attempts",
    "read_holder",
    "read_json",
    "read_jsonl",
    "read_status",
    "remove_temporaries",
    "results_root",
    "sha256_file",
    "write_bytes",
    "write_json",
    "write_jsonl",
]
