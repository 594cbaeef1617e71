"""Errors of the ledger: each names the file and what to do about it."""

from __future__ import annotations

from tksbench.errors import TksbenchError


class LedgerError(TksbenchError):
    """The results folder, or a file of it, cannot be used."""


class RecordError(LedgerError):
    """A record that is no record: cut, altered, of another schema, or of another run."""


class LeaseHeld(LedgerError):
    """Somebody else is training this run."""


class LeaseLost(LedgerError):
    """This process was taken for dead and another one has taken its run over."""
